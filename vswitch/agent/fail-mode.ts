// What a bridge does without a controller. `secure`: nothing, its flows stay as they are. `standalone`: it becomes
// an ordinary learning switch, by a flow that everything matches: with the lowest priority when no controller is
// configured, with a very high one when the configured ones have been away for three probe intervals.
//
// Whoever takes a bridge over finds it empty: when the first controller comes, when the last one goes, and when the mode
// changes while there is none, flows, groups and meters are cleared. What outlived a restart is not: the standing, which
// is noted beside the flows, tells whether something has changed.
// Source: ovs-vswitchd.conf.db(5), Bridge:fail_mode; the clearing as Open vSwitch 3.1 does it. Thread: main.

import type { Logger } from "../../base/log/index.js";
import {
  type FlowMod,
  type FlowModCommand,
  type GroupMod,
  type MeterMod,
  OFP_NO_BUFFER,
  OFPG_ALL,
  OFPG_ANY,
  OFPM_ALL,
  OFPP_ANY,
  OFPP_NORMAL,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { SwitchChange, SwitchModel } from "./switch-model.js";

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

/** What decides whether the tables are to be cleared. */
type Standing = `${FailMode} ${"alone" | "controlled"}`;
const STANDINGS: readonly Standing[] = [
  "standalone alone",
  "standalone controlled",
  "secure alone",
  "secure controlled",
];

/** Which flow an agent may have left; that of a bridge without controllers stays gone where it has been deleted. */
const LEFT_BEHIND: Readonly<Record<Standing, number | undefined>> = {
  "standalone alone": DEFAULT_PRIORITY,
  "standalone controlled": FAIL_OPEN_PRIORITY,
  "secure alone": undefined,
  "secure controlled": undefined,
};

/** Where the standing of a bridge outlives the agent, as a number that is not 0. */
export interface StandingNote {
  /** What an agent before this one has kept; 0 = nothing. */
  readonly last: number;
  /** In order with the changes of the switch: what is asked for afterwards is in force after `standing` is kept. */
  keep(standing: number): void;
}

const FORGETFUL: StandingNote = { last: 0, keep: () => undefined };

export class FailModeKeeper {
  readonly #model: SwitchModel;
  readonly #clock: Clock;
  readonly #log: Logger;
  #mode: FailMode = "standalone";
  #seen: ControllersSeen = { configured: 0, connected: 0, probeIntervalMs: 0 };
  /** The priority of our flow; undefined = there is none; "unknown" = an agent before us may have left one. */
  #installed: number | undefined | "unknown" = "unknown";
  #timer: Timer | undefined;
  readonly #note: StandingNote;
  #standing: Standing | undefined;

  constructor(model: SwitchModel, clock: Clock, log: Logger, note: StandingNote = FORGETFUL) {
    this.#model = model;
    this.#clock = clock;
    this.#log = log;
    this.#note = note;
    this.#standing = STANDINGS[note.last - 1];
    if (this.#standing !== undefined) this.#installed = LEFT_BEHIND[this.#standing];
  }

  /** Brings the flow in line with the mode and the controllers there are. */
  update(mode: FailMode, seen: ControllersSeen): void {
    const wasAlone = this.#isAlone();
    this.#mode = mode;
    this.#seen = seen;
    this.#stand(`${mode} ${seen.configured === 0 ? "alone" : "controlled"}`);
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

  #stand(standing: Standing): void {
    const last = this.#standing;
    if (standing === last) return;
    this.#standing = standing;
    // With controllers the mode alone changes nothing of theirs.
    if (last !== undefined && (standing.endsWith("alone") || last.endsWith("alone"))) {
      this.#timer?.cancel();
      this.#installed = undefined;
      if (standing === "standalone alone") this.#installed = DEFAULT_PRIORITY;
      const flow = this.#installed === undefined ? [] : [failModeFlow("add", DEFAULT_PRIORITY)];
      this.#log.info({ standing }, "flows, groups and meters are cleared");
      this.#change([...CLEAR_ALL, ...flow]);
    }
    this.#note.keep(STANDINGS.indexOf(standing) + 1);
  }

  #install(priority: number | undefined): void {
    if (priority === this.#installed) return;
    const changes: FlowMod[] = [];
    const old = this.#installed === "unknown" ? [DEFAULT_PRIORITY, FAIL_OPEN_PRIORITY] : [this.#installed];
    for (const one of old) if (one !== undefined) changes.push(failModeFlow("delete_strict", one));
    if (priority !== undefined) changes.push(failModeFlow("add", priority));
    this.#installed = priority;
    this.#change(changes);
  }

  #change(changes: readonly SwitchChange[]): void {
    this.#model.change(changes).then(
      (results) => {
        for (const refusal of results)
          if (refusal) this.#log.error(refusal, "the fail-mode flow was refused");
      },
      (error: Error) => this.#log.error({ error: error.message }, "the fail-mode flow was not installed"),
    );
  }
}

/** Deletes all flows, of whatever table. */
export const CLEAR_FLOWS: FlowMod = {
  ...failModeFlow("delete", 0),
  tableId: OFPTT_ALL,
  cookieMask: 0n,
  outPort: OFPP_ANY,
};

const CLEAR_ALL: readonly (FlowMod | GroupMod | MeterMod)[] = [
  CLEAR_FLOWS,
  { type: "group_mod", xid: 0, command: "delete", groupType: "all", groupId: OFPG_ALL, buckets: [] },
  { type: "meter_mod", xid: 0, command: "delete", flags: 0, meterId: OFPM_ALL, bands: [] },
];

/** Deletes only what is as we add it: without a cookie, and to NORMAL. */
function failModeFlow(command: FlowModCommand, priority: number): FlowMod {
  const isDelete = command !== "add";
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
