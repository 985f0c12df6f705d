// Keeps what a bridge's tables hold in a file, and gives it back to them after a restart.
// Invariant: what is kept is what is in force; when the file cannot take a change, nothing is kept at all, so that no
// restart brings back half of the truth. Thread: datapath worker.
import { PlinthError } from "../../base/errors/index.js";
import {
  type FlowMod,
  type GroupMod,
  type MeterMod,
  NX_EXPERIMENTER,
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPP_ANY,
  OFPTT_ALL,
  type OfpErrorName,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import { changeOptions, type FlowTables, flowChange, NXT_TLV_TABLE_MOD } from "../flow/index.js";
import type { BridgeEvent } from "./events.js";
import { FlowLog } from "./flow-log.js";
import type { RestoredFlows } from "./requests.js";

/** Records beyond twice the flows that a file may have. */
const RECORDS_SPARE = 1000;

type FlowChangeEvent = Extract<BridgeEvent, { type: "flow_change" }>;

export class FlowKeeper {
  /** Why nothing is kept; empty while all is well. */
  problem = "";
  readonly #log: FlowLog;
  readonly #tables: FlowTables;
  /** Another process keeps what is in force in the file; nothing in the tables ends by itself meanwhile. */
  follows = false;
  /** Records that were read while it did. */
  #records = 0;

  constructor(path: string, tables: FlowTables) {
    this.#log = new FlowLog(path);
    this.#tables = tables;
  }

  /** Gives the tables what another process keeps in the file, which goes on doing so. */
  follow(nowMs: number): void {
    this.follows = true;
    this.#records = this.#log.read((message) => this.#apply(message, nowMs));
  }

  /** After follow(): what the other process has appended since. False: the file has become another. */
  followOn(nowMs: number): boolean {
    const more = this.#log.readOn((message) => this.#apply(message, nowMs));
    this.#records += more ?? 0;
    return more !== undefined;
  }

  /** After follow(), just before restore(): does what that need not do while nobody forwards. */
  rehearse(nowMs: number): void {
    this.followOn(nowMs);
    // The time-outs of all begin now; those of what comes until restore() begin with it.
    for (const flow of this.#tables.flowsOf(OFPTT_ALL)) {
      flow.renewedMs = nowMs;
      this.#tables.counters.lastUsedMs[flow.slot] = nowMs;
    }
  }

  /** After rehearse(), when the other process has ended: the file is ours. */
  #takeOver(nowMs: number): boolean {
    const more = this.#log.readOn((message) => this.#apply(message, nowMs));
    if (more === undefined) return false;
    this.follows = false;
    // Nobody forwards meanwhile: a file that has grown is made small again later.
    if (this.#records + more > 0) this.#resume();
    else this.#rewrite();
    return true;
  }

  /**
   * Gives the tables what they held in an earlier life and begins to keep. False when the file is no longer the one that
   * was followed; the tables are of no use then.
   */
  restore(nowMs: number): boolean {
    if (this.follows) return this.#takeOver(nowMs);
    const records = this.#log.read((message) => this.#apply(message, nowMs));
    this.#begin(records);
    return true;
  }

  #begin(records: number): void {
    // Writing it anew takes as long as reading it: only when it is mostly about what is no longer in force.
    if (records > 0 && records <= RECORDS_SPARE + 2 * this.#tables.flowCount) this.#resume();
    else this.#rewrite();
  }

  /** See FlowLog.note. */
  get note(): number {
    return this.problem === "" ? this.#log.note : 0;
  }

  setNote(note: number): void {
    this.#try(() => this.#log.setNote(note));
  }

  /** A group or meter was changed so. */
  keep(message: GroupMod | MeterMod): void {
    this.#append(message);
  }

  /** A message of OpenFlow 1.3 brought about what it says. */
  keepMessage(encoded: Uint8Array): void {
    this.#try(() => this.#log.appendBytes(encoded));
  }

  /** Which options of tunnels are mapped was changed so. */
  keepOptions(mod: Uint8Array): void {
    this.#append(optionsMessage(mod));
  }

  /** What is learned for a time is learned again. */
  keepFlow(change: FlowChangeEvent): void {
    const isTimed = change.idleTimeoutSeconds !== 0 || change.hardTimeoutSeconds !== 0;
    if (change.event !== "deleted" && change.origin === 0 && change.xid === 0 && isTimed) return;
    this.#append(flowMessage(change));
  }

  /** Now and then: makes the file small again. */
  tend(): void {
    if (this.problem === "" && this.#log.isGrown) this.#rewrite();
  }

  close(): void {
    this.#log.close();
  }

  /** The bridge is no more. */
  remove(): void {
    this.#log.remove();
  }

  #apply(message: OpenFlowMessage, nowMs: number): void {
    try {
      if (message.type === "group_mod") this.#tables.applyGroupMod(message, nowMs);
      else if (message.type === "meter_mod") this.#tables.applyMeterMod(message, nowMs);
      else if (message.type === "experimenter") changeOptions(this.#tables, message.data);
      // What was accepted once needs no second look at what its match asks for.
      else if (message.type === "flow_mod")
        this.#tables.applyFlowMod({ ...message, openflow10: true }, nowMs);
    } catch (thrown) {
      // Of an earlier version that knew more; everything else is as it was.
      if (!(thrown instanceof PlinthError)) throw thrown;
    }
  }

  #append(message: OpenFlowMessage): void {
    this.#try(() => this.#log.append(message));
  }

  #resume(): void {
    this.#try(() => this.#log.resume());
  }

  #rewrite(): void {
    this.#try(() => this.#log.rewrite(messagesOf(this.#tables)));
  }

  #try(step: () => void): void {
    if (this.problem !== "") return;
    try {
      step();
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      this.problem = thrown.message;
      this.#log.remove();
    }
  }
}

/** Whose flows are kept. */
interface Kept {
  readonly tables: FlowTables;
  readonly news: { keeper: FlowKeeper | null };
}

/** The tables become what another process keeps in the file at `path`. No port may be there before keepFlows(). */
export function followFlows({ tables, news }: Kept, path: string, nowMs: number): void {
  news.keeper = new FlowKeeper(path, tables);
  news.keeper.follow(nowMs);
}

/**
 * From now on what is in force is kept in the file at `path`, from which it is taken first. undefined when they followed
 * a file that has become another: the tables are of no use.
 */
export function keepFlows({ tables, news }: Kept, path: string, nowMs: number): RestoredFlows | undefined {
  const keeper = news.keeper ?? new FlowKeeper(path, tables);
  if (!keeper.restore(nowMs)) return undefined;
  news.keeper = keeper;
  tables.isWatched = true;
  const restored = { flows: tables.flowCount, note: keeper.note };
  return keeper.problem === "" ? restored : { ...restored, problem: keeper.problem };
}

/** What makes empty tables hold what these do. */
function messagesOf(tables: FlowTables): OpenFlowMessage[] {
  const { options } = tables;
  const groups = tables.groups.descriptions();
  const group = (command: "add" | "modify", description: (typeof groups)[number]): GroupMod => ({
    ...{ type: "group_mod", xid: 0, command, ...description },
  });
  return [
    ...(options.size === 0 ? [] : [optionsMessage(options.whole())]),
    // Groups may name each other: first all of them, then what they do.
    ...groups.map((one) => group("add", one.groupType === "indirect" ? one : { ...one, buckets: [] })),
    ...groups.map((one) => group("modify", one)),
    ...tables.meters
      .configs()
      .map((meter): MeterMod => ({ type: "meter_mod", xid: 0, command: "add", ...meter })),
    ...tables.flowsOf(OFPTT_ALL).map((flow) => flowMessage(flowChange("added", flow))),
  ];
}

/** Carries out the body of a NXT_TLV_TABLE_MOD, and keeps it; the error that it deserves, if any. */
export function changeTunnelOptions({ tables, news }: Kept, mod: Uint8Array): OfpErrorName | undefined {
  const error = changeOptions(tables, mod);
  if (error === undefined) news.keeper?.keepOptions(mod);
  return error;
}

function optionsMessage(data: Uint8Array): OpenFlowMessage {
  return { type: "experimenter", xid: 0, experimenter: NX_EXPERIMENTER, expType: NXT_TLV_TABLE_MOD, data };
}

/** The flow-mod that brings about what the change says. */
function flowMessage(change: Omit<FlowChangeEvent, "origin" | "xid">): FlowMod {
  const { tableId, priority, cookie, idleTimeoutSeconds, hardTimeoutSeconds, flags, match } = change;
  const isGone = change.event === "deleted";
  return {
    type: "flow_mod",
    xid: 0,
    command: isGone ? "delete_strict" : "add",
    tableId,
    priority,
    cookie,
    cookieMask: 0n,
    idleTimeoutSeconds,
    hardTimeoutSeconds,
    bufferId: OFP_NO_BUFFER,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    flags,
    match,
    instructions: isGone ? [] : change.instructions,
  };
}
