// What a bridge does without a controller. `secure`: nothing, its flows stay as they are. `standalone`: it becomes
// an ordinary learning switch, by a flow that everything matches: with the lowest priority when no controller is
// configured, with a very high one when the configured ones have been away for three probe intervals.
// Source: ovs-vswitchd.conf.db(5), Bridge:fail_mode. Thread: main.

import type { Logger } from "../../base/log/index.js";
import {
  type FlowMod,
  type FlowModCommand,
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_NORMAL,
} from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { SwitchModel } from "./switch-model.js";

export type FailMode = "secure" | "standalone";

const DEFAULT_PRIORITY = 0;
const FAIL_OPEN_PRIORITY = 0xf0f0;
const ALL_ONES = 0xffffffffffffffffn;

export interface ControllersSeen {
  readonly configured: number;
  readonly connected: number;
  /** Of the slowest controller. */
  readonly probeIntervalMs: number;
}

export class FailModeKeeper {
  readonly #model: SwitchModel;
  readonly #clock: Clock;
  readonly #log: Logger;
  #mode: FailMode = "standalone";
  #seen: ControllersSeen = { configured: 0, connected: 0, probeIntervalMs: 0 };
  /** The priority of our flow; undefined = there is none; "unknown" = an agent before us may have left one. */
  #installed: number | undefined | "unknown" = "unknown";
  #timer: Timer | undefined;

  constructor(model: SwitchModel, clock: Clock, log: Logger) {
    this.#model = model;
    this.#clock = clock;
    this.#log = log;
  }

  /** Brings the flow in line with the mode and the controllers there are. */
  update(mode: FailMode, seen: ControllersSeen): void {
    const wasAlone = this.#isAlone();
    this.#mode = mode;
    this.#seen = seen;
    if (!this.#isAlone()) {
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#install(mode === "standalone" && seen.configured === 0 ? DEFAULT_PRIORITY : undefined);
    } else if (!wasAlone) {
      this.#install(undefined);
      this.#timer = this.#clock.after(seen.probeIntervalMs * 3, () => this.#install(FAIL_OPEN_PRIORITY));
    }
  }

  close(): void {
    this.#timer?.cancel();
  }

  /** Controllers are configured, the mode is standalone, and none is connected. */
  #isAlone(): boolean {
    return this.#mode === "standalone" && this.#seen.configured > 0 && this.#seen.connected === 0;
  }

  #install(priority: number | undefined): void {
    if (priority === this.#installed) return;
    const changes: FlowMod[] = [];
    const old = this.#installed === "unknown" ? [DEFAULT_PRIORITY, FAIL_OPEN_PRIORITY] : [this.#installed];
    for (const one of old) if (one !== undefined) changes.push(failModeFlow("delete_strict", one));
    if (priority !== undefined) changes.push(failModeFlow("add", priority));
    this.#installed = priority;
    this.#model.change(changes).then(
      (results) => {
        for (const refusal of results)
          if (refusal) this.#log.error(refusal, "the fail-mode flow was refused");
      },
      (error: Error) => this.#log.error({ error: error.message }, "the fail-mode flow was not installed"),
    );
  }
}

/** Deletes only what is as we add it: without a cookie, and to NORMAL. */
function failModeFlow(command: FlowModCommand, priority: number): FlowMod {
  const isDelete = command === "delete_strict";
  return {
    type: "flow_mod",
    xid: 0,
    command,
    tableId: 0,
    cookie: 0n,
    cookieMask: isDelete ? ALL_ONES : 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority,
    bufferId: OFP_NO_BUFFER,
    outPort: isDelete ? OFPP_NORMAL : OFPP_ANY,
    outGroup: OFPG_ANY,
    flags: 0,
    match: [],
    instructions: isDelete
      ? []
      : [{ type: "apply_actions", actions: [{ type: "output", port: OFPP_NORMAL, maxLength: 0 }] }],
  };
}
