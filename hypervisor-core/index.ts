// The only door of the hypervisor core.
export { hypervisorError } from "./errors.js";
export { ExecClient } from "./guest/exec-client.js";
export type { ExecResult } from "./guest/exec-session.js";
export type { ExecRequest } from "./guest/exec-wire.js";
export { AGENT_PORT_NAME, READY_MARKER } from "./image/guest-files.js";
export { ensureGuestImage, type GuestImage, type GuestImageOptions } from "./image/guest-image.js";
export type { GuestSeed } from "./image/guest-seed.js";
export * as limits from "./limits.js";
export { type AcceleratorVerdict, probeAccelerator } from "./machine/accelerator.js";
export { commandLine } from "./machine/command-line.js";
export { diskSize, growDisk } from "./machine/disk-growth.js";
export { type MachineChange, MachineDriver, type MachineDriverOptions } from "./machine/machine-driver.js";
export {
  type Accelerator,
  type MachineBoot,
  type MachineDisk,
  type MachineInterface,
  type MachinePaths,
  type MachineSpec,
  machinePaths,
} from "./machine/machine-spec.js";
export type { MachineState } from "./machine/machine-states.js";
export { findProcesses, findQemu, killProcesses, usersOfProcesses } from "./machine/qemu-process.js";
export { ControlGroups, type LimitOutcome } from "./machine/resource-limits.js";
export { allocateUid, MACHINE_UID_COUNT, MACHINE_UID_MIN } from "./machine/uid-pool.js";
export { type Placement, type PlacementHost, type PlacementRequest, place } from "./placement/scheduler.js";
export { QmpClient } from "./qmp/qmp-client.js";
