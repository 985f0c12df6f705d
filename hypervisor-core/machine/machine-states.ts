// The life of one machine on this host. Every change goes through moveState, which knows the table; a change that is
// not in it is our bug. Pure.
//
//   stopped ──▶ starting ──▶ running ◀──▶ paused
//      ▲            │           │            │
//      │            ▼           ▼            ▼
//      ├───────── failed ◀──────┴────────────┤
//      └───────── stopping ◀─────────────────┘     (stopping is entered from starting, running, paused)
import { assert } from "../../base/assert/index.js";

export type MachineState = "stopped" | "starting" | "running" | "paused" | "stopping" | "failed";

export const MACHINE_TRANSITIONS: Readonly<Record<MachineState, readonly MachineState[]>> = {
  // Adoption enters running, paused and starting from stopped: the driver is new, the machine is not.
  stopped: ["starting", "running", "paused"],
  starting: ["running", "paused", "stopping", "failed"],
  running: ["paused", "stopping", "stopped", "failed"],
  paused: ["running", "stopping", "stopped", "failed"],
  stopping: ["stopped"],
  failed: ["starting", "stopped"],
};

/** `to`, when the table allows it from `from`; staying is always allowed. */
export function moveState(from: MachineState, to: MachineState): MachineState {
  assert(from === to || MACHINE_TRANSITIONS[from].includes(to), `machine state ${from} cannot become ${to}`);
  return to;
}

/** What QEMU's RunState (qapi/run-state.json) means to us; undefined while it is not yet decided. */
export function stateOfRunState(runState: unknown): "running" | "paused" | undefined {
  switch (runState) {
    case "running":
      return "running";
    case "paused":
    case "io-error":
    case "internal-error":
    case "guest-panicked":
    case "suspended":
    case "watchdog":
      return "paused";
    default:
      return undefined;
  }
}
