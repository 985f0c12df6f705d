// Every maximum of the hypervisor core. Reaching one is ordinary: it is refused with a name, counted, and tested.

/** One QMP message; `query-qmp-schema` (about 200 KiB) is the largest in practice. */
export const QMP_MESSAGE_SIZE_BYTES_MAX = 4 * 1024 * 1024;
/** Nesting of one QMP message. */
export const QMP_DEPTH_MAX = 256;
/** Commands sent and not yet answered, per monitor. */
export const QMP_COMMANDS_IN_FLIGHT_MAX = 64;

export const MACHINE_CPUS_MAX = 64;
export const MACHINE_MEMORY_BYTES_MIN = 32 * 1024 * 1024;
export const MACHINE_MEMORY_BYTES_MAX = 4 * 1024 * 1024 * 1024 * 1024;
export const MACHINE_INTERFACES_MAX = 8;
export const MACHINE_DISKS_MAX = 16;

/** The serial log of a machine is cut to nothing above this size (QEMU appends, so it simply goes on). */
export const SERIAL_LOG_BYTES_MAX = 1024 * 1024;

/** One `vm exec`: the quoted command, its input, and each of its two outputs. */
export const EXEC_COMMAND_BYTES_MAX = 16 * 1024;
export const EXEC_INPUT_BYTES_MAX = 64 * 1024;
export const EXEC_OUTPUT_BYTES_MAX = 256 * 1024;
export const EXEC_TIMEOUT_MS_MAX = 600_000;
/** Commands running at once in one guest. */
export const EXEC_IN_FLIGHT_MAX = 16;
/** The longest line either side of the exec protocol sends; longer ones are skipped to the next line feed. */
export const EXEC_LINE_BYTES_MAX = 32 * 1024;

export const USER_DATA_BYTES_MAX = 64 * 1024;
