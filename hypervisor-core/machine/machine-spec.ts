// A virtual machine as the hypervisor core knows it: inert data, complete enough to start QEMU from it alone.
// Nothing here names a resource of the API; the host agent translates. Pure.
import { UNIX_PATH_BYTES_MAX } from "../../base/unix-path/index.js";
import { hypervisorError } from "../errors.js";
import {
  MACHINE_CPUS_MAX,
  MACHINE_DISKS_MAX,
  MACHINE_INTERFACES_MAX,
  MACHINE_MEMORY_BYTES_MAX,
  MACHINE_MEMORY_BYTES_MIN,
} from "../limits.js";

export type Accelerator = "kvm" | "tcg";

export interface MachineInterface {
  /** The name inside the guest (guest image only) and of the device in QEMU. */
  readonly name: string;
  readonly macAddress: string;
  /**
   * How frames leave QEMU; in both, QEMU listens and the switch dials the machine's net<N>.sock. `vhost-user` shares
   * memory, and QEMU stays silent until the switch has come; `stream` sends length-prefixed frames and waits for nobody.
   */
  readonly backend: "vhost-user" | "stream";
}

export interface MachineDisk {
  /** At most 20 bytes reach the guest as the disk's serial number (virtio 1.2, 5.2.6: VIRTIO_BLK_ID_BYTES). */
  readonly name: string;
  /** A unix socket of an NBD server. */
  readonly socket: string;
  readonly exportName: string;
  readonly readOnly: boolean;
}

export type MachineBoot =
  | {
      readonly type: "kernel";
      readonly kernel: string;
      readonly initramfs?: string | undefined;
      /** Added behind the arguments the console needs. */
      readonly arguments: string;
    }
  /** A disk image that is booted from and never written: changes are thrown away with the machine. */
  | { readonly type: "disk"; readonly path: string; readonly format: string };

export interface MachineSpec {
  /** For people: shown in QEMU's process title. */
  readonly name: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly accelerator: Accelerator;
  readonly boot: MachineBoot;
  readonly interfaces: readonly MachineInterface[];
  readonly disks: readonly MachineDisk[];
}

/** The places of one machine below its run directory. */
export interface MachinePaths {
  readonly runDir: string;
  readonly qmp: string;
  readonly serial: string;
  readonly serialLog: string;
  readonly agent: string;
  readonly kernel: string;
  readonly initramfs: string;
  network(index: number): string;
  disk(index: number): string;
}

/** Throws MACHINE_SPEC_INVALID when a socket would not fit into a unix address. */
export function machinePaths(runDir: string): MachinePaths {
  const socket = (name: string): string => {
    const path = `${runDir}/${name}`;
    if (Buffer.byteLength(path) > UNIX_PATH_BYTES_MAX) {
      throw hypervisorError("MACHINE_SPEC_INVALID", `${path} exceeds ${UNIX_PATH_BYTES_MAX} bytes`, {
        remedy: "choose a shorter --dir",
      });
    }
    return path;
  };
  return {
    runDir,
    qmp: socket("qmp.sock"),
    serial: socket("serial.sock"),
    serialLog: `${runDir}/serial.log`,
    agent: socket("agent.sock"),
    kernel: `${runDir}/kernel`,
    initramfs: `${runDir}/initramfs`,
    network: (index) => socket(`net${index}.sock`),
    disk: (index) => socket(`disk${index}.sock`),
  };
}

/** Throws MACHINE_SPEC_INVALID naming the field that cannot be built. */
export function checkMachineSpec(spec: MachineSpec): void {
  check(/^[\w.-]{1,128}$/.test(spec.name), "name", spec.name);
  check(Number.isInteger(spec.cpus) && spec.cpus >= 1 && spec.cpus <= MACHINE_CPUS_MAX, "cpus", spec.cpus);
  const { memoryBytes } = spec;
  check(
    Number.isInteger(memoryBytes) &&
      memoryBytes >= MACHINE_MEMORY_BYTES_MIN &&
      memoryBytes <= MACHINE_MEMORY_BYTES_MAX,
    "memoryBytes",
    memoryBytes,
  );
  check(memoryBytes % (1024 * 1024) === 0, "memoryBytes", `${memoryBytes} (not a multiple of 1 MiB)`);
  check(spec.interfaces.length <= MACHINE_INTERFACES_MAX, "interfaces", spec.interfaces.length);
  check(spec.disks.length <= MACHINE_DISKS_MAX, "disks", spec.disks.length);
  for (const { name, macAddress } of spec.interfaces) {
    check(/^[\w.-]{1,15}$/.test(name), "interfaces.name", name);
    check(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(macAddress), "interfaces.macAddress", macAddress);
  }
  for (const { name } of spec.disks) check(/^[\w.-]{1,63}$/.test(name), "disks.name", name);
}

function check(holds: boolean, field: string, value: unknown): void {
  if (!holds)
    throw hypervisorError("MACHINE_SPEC_INVALID", `machine: ${field} cannot be ${value}`, { field });
}
