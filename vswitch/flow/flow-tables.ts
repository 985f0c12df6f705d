// The tables of one bridge: flow-mods in, lookups out, with counters, time-outs and statistics.
// Source: OpenFlow 1.3.5, 5.2–5.5, 6.4 (flow table modification), 6.5 (removal), 7.3.4.1.
// Invariants: a modification is applied whole or refused whole; `version` grows with every change that could alter what
// is cached, and nothing that was cached under an older version is used again. A change of a flow alters nothing that is
// cached when no packet asked for what it matches since (asked-values.ts): then the version stays.
// Thread: datapath worker. Hot: yes (lookup, count).
import {
  type AggregateStats,
  type FlowMod,
  type FlowRemoved,
  type FlowRemovedReason,
  type FlowStats,
  type FlowStatsFilter,
  type GroupMod,
  type GroupStats,
  type Instruction,
  type MeterMod,
  type MeterStats,
  OFP_NO_BUFFER,
  OFPFF_CHECK_OVERLAP,
  OFPFF_RESET_COUNTS,
  OFPFF_SEND_FLOW_REM,
  OFPTT_ALL,
  type TableStats,
  type Unsent,
} from "../../base/openflow/index.js";
import { compileInstructions, type FlowContext } from "./compile-instructions.js";
import { flowError } from "./errors.js";
import { compilePassingMatch, keptMatch, type MaskedKey } from "./fields.js";
import { expiryMs, Flow, FlowCounters, isTimed } from "./flow.js";
import type { FlowChange, OnFlowChange } from "./flow-change.js";
import { FlowJournal, type JournalledTables, stateOf } from "./flow-journal.js";
import { type FlowLimit, FlowLimits } from "./flow-limits.js";
import { aggregateOf, bytesOf, flowRemovedOf, flowStatsOf, flowsMeant, packetsOf } from "./flow-report.js";
import { GroupTable } from "./groups.js";
import { type LearnProgram, learnedMod, learnFrom } from "./learn-program.js";
import { LearnedFlows } from "./learned-flows.js";
import { FLOWS_MAX, TABLES } from "./limits.js";
import { MeterTable } from "./meters.js";
import { fitFlowMod } from "./option-changes.js";
import type { FlowProgram } from "./program.js";
import { countReferences, groupsIn, isSentTo, metersIn } from "./references.js";
import { SharedPrograms } from "./shared-programs.js";
import { chosenBy, EVERYTHING, TableSet } from "./table-set.js";
import { TableBook, type TableSettings } from "./table-settings.js";
import { TunnelOptions } from "./tunnel-options.js";

const NO_DETAILS = {};

export interface FlowTablesOptions {
  /** Tables 0 to `tables` − 1; all 255 when absent. */
  readonly tables?: number;
  /** Called for each flow that goes and wants it told (OFPFF_SEND_FLOW_REM). */
  readonly onRemoved?: (message: Unsent<FlowRemoved>) => void;
  /** Called for every change of a flow while `isWatched`: what flowChange() takes. `encoded`: the flow-mod that brought about
   *  this and nothing else, if applyFlowMod() was given it. */
  readonly onChange?: OnFlowChange;
  /**
   * Packets may fare otherwise now or soon, and counters be read for the last time: whoever judges by what he knows stops.
   * Of a flow it is called before that is touched, if a packet may have met it since invalidate() was called last.
   */
  readonly onChanging?: () => void;
}

export class FlowTables {
  readonly groups: GroupTable;
  readonly options = new TunnelOptions();
  readonly meters = new MeterTable();
  readonly counters = new FlowCounters();
  /** Changes whenever a packet whose fate is cached might fare differently than before. */
  version = 0;
  /** Changes with every flow. */
  revision = 0;
  readonly #tables: TableSet;
  readonly #book: TableBook;
  /** Flows with a time-out. */
  readonly #timed = new Set<Flow>();
  readonly #learned = new LearnedFlows();
  readonly #limits = new FlowLimits();
  readonly #onRemoved: (message: Unsent<FlowRemoved>) => void;
  /** Whether onChange is to be called. */
  isWatched = false;
  readonly #onChange: OnFlowChange;
  readonly #onChanging: () => void;
  /** What the actions of flows may refer to. */
  readonly #context: FlowContext;
  readonly #programs = new SharedPrograms();
  #flowCount = 0;
  /** While a bundle is being applied. */
  #journal: FlowJournal | undefined;

  constructor(options: FlowTablesOptions = {}) {
    this.#tables = new TableSet(options.tables ?? TABLES);
    this.#book = new TableBook(this.#tables.count, FLOWS_MAX);
    this.#onRemoved = options.onRemoved ?? (() => undefined);
    this.#onChange = options.onChange ?? (() => undefined);
    this.#onChanging = options.onChanging ?? (() => undefined);
    this.groups = new GroupTable(this.options);
    this.#context = {
      groupExists: (groupId) => this.groups.has(groupId),
      meterExists: (meterId) => this.meters.has(meterId),
      options: this.options,
    };
  }

  get tableCount(): number {
    return this.#tables.count;
  }
  get flowCount(): number {
    return this.#flowCount;
  }

  // --- Packets

  /** The flow for `key` in the table, or null; see ConjunctiveClassifier.lookup. */
  lookup(tableId: number, key: Int32Array, consulted: Int32Array | null): Flow | null {
    return this.#tables.lookup(tableId, key, consulted);
  }

  /** Counts one packet that was looked up in the table and met `flow`. */
  count(tableId: number, flow: Flow | null, sizeBytes: number, nowMs: number): void {
    this.countMany(tableId, flow, 1, sizeBytes, nowMs);
  }

  /** As count(), for several packets of `sizeBytes` bytes together. */
  countMany(tableId: number, flow: Flow | null, packets: number, sizeBytes: number, nowMs: number): void {
    this.#tables.countPackets(tableId, packets, flow !== null);
    if (flow !== null) this.counters.countMany(flow.slot, packets, sizeBytes, nowMs);
  }

  /** Whatever is cached is to be judged anew, e.g. because a port came or went. */
  invalidate(): void {
    this.#onChanging();
    this.version++;
    this.#tables.asked.clear();
  }

  // --- Flow modifications

  /** The modification in hand as it came, until something is told of it. */
  #encoded: Uint8Array | undefined;

  /**
   * Throws PlinthError with the OpenFlow error's name as code; nothing has been changed then. `encoded` is the modification
   * as a message of OpenFlow 1.3, where it is there.
   */
  applyFlowMod(given: FlowMod, nowMs: number, encoded?: Uint8Array): void {
    // Of these two the flow that they name is told first. What else goes with it is told by itself.
    const isOfOneFlow = given.command === "add" || given.command === "delete_strict";
    this.#encoded = isOfOneFlow ? encoded : undefined;
    try {
      this.#applyFlowMod(given, nowMs);
    } finally {
      this.#encoded = undefined;
    }
  }

  #tell(event: FlowChange["event"], flow: Flow, details: Pick<FlowChange, "reason" | "before">): void {
    const encoded = this.#encoded;
    this.#encoded = undefined;
    if (this.isWatched) this.#onChange(event, flow, details, encoded);
  }

  #applyFlowMod(given: FlowMod, nowMs: number): void {
    const mod = fitFlowMod(given, this.options);
    const deleting = mod.command === "delete" || mod.command === "delete_strict";
    this.#book.check(mod);
    if (!deleting && mod.bufferId !== OFP_NO_BUFFER)
      throw flowError("OFPBRC_BUFFER_UNKNOWN", "this switch buffers no packets");
    // Only a flow that comes keeps its key, and what else is set off makes none.
    const key = compilePassingMatch(mod.match, this.options);
    if (deleting) this.#delete(mod, key, nowMs);
    else {
      const program = this.#compile(mod);
      const found = mod.command !== "add" && this.#modify(mod, key, program);
      const isToAdd = mod.command === "add" || (mod.openflow10 === true && mod.cookieMask === 0n); // cold
      if (!found && isToAdd) this.#add(mod, keptMatch(key), program, nowMs);
    }
  }

  applyGroupMod(mod: GroupMod, nowMs: number): void {
    this.#onChanging();
    if (this.#journal !== undefined) this.#journal.groups ??= this.groups.snapshot();
    const gone = this.groups.apply(mod, nowMs);
    this.#removeNaming(new Set(gone), groupsIn, "group_delete", nowMs);
    this.invalidate();
  }

  applyMeterMod(mod: MeterMod, nowMs: number): void {
    this.#onChanging();
    if (this.#journal !== undefined) this.#journal.meters ??= this.meters.snapshot();
    const gone = this.meters.apply(mod, nowMs);
    this.#removeNaming(new Set(gone), metersIn, "delete", nowMs);
    this.invalidate();
  }

  /** Removes the flows that name a group or meter which is gone. */
  #removeNaming(
    gone: ReadonlySet<number>,
    namedBy: (instructions: readonly Instruction[]) => ReadonlySet<number>,
    reason: FlowRemovedReason,
    nowMs: number,
  ): void {
    const list = gone.size === 0 ? [] : this.flowsOf(OFPTT_ALL);
    for (let f = 0; f < list.length; f++) {
      const flow = list[f]!;
      if ([...namedBy(flow.instructions)].some((id) => gone.has(id))) this.#remove(flow, reason, nowMs); // cold
    }
  }

  /** Makes the tables exactly these. Flows of those that go or change are removed, and no flow-removed is sent. */
  configure(tables: readonly TableSettings[], nowMs: number): void {
    this.#onChanging();
    const changed = this.#book.configure(tables);
    for (let t = 0; t < changed.length; t++) {
      const list = this.#tables.find(changed[t]!)?.covered(EVERYTHING) ?? [];
      for (let f = 0; f < list.length; f++) {
        list[f]!.flags &= ~OFPFF_SEND_FLOW_REM;
        this.#remove(list[f]!, "delete", nowMs);
      }
    }
    this.invalidate();
  }

  /** What is too many already gives way with time, where it may. */
  limitFlows(limits: readonly FlowLimit[]): void {
    this.#limits.configure(limits, (tableId) => this.flowsOf(tableId));
  }

  #compile({ instructions, tableId, match, openflow10 }: FlowMod): FlowProgram {
    const known = this.#programs.find(instructions, tableId);
    if (known !== undefined) return known;
    const program = compileInstructions(
      instructions,
      tableId,
      this.#tables.count - 1,
      this.#context,
      openflow10 === true ? undefined : match,
    );
    this.#programs.keep(instructions, tableId, program);
    return program;
  }

  #add(mod: FlowMod, key: MaskedKey, program: FlowProgram, nowMs: number): Flow {
    const tableId = mod.tableId === OFPTT_ALL ? 0 : mod.tableId;
    const table = this.#tables.at(tableId);
    this.#beforeChange(tableId, key);
    const old = table.findStrict(key, mod.priority);
    if ((mod.flags & OFPFF_CHECK_OVERLAP) !== 0) {
      if (table.findOverlap(key, mod.priority) !== null)
        throw flowError("OFPFMFC_OVERLAP", `overlaps a flow of priority ${mod.priority} in table ${tableId}`);
    }
    if (old === null && this.#isFull(tableId) && !this.#evict(tableId, nowMs))
      throw flowError("OFPFMFC_TABLE_FULL", `table ${tableId} has ${table.size} of ${this.#flowCount} flows`);
    let kept: readonly [number, number] | null = null;
    if (old !== null) {
      if ((mod.flags & OFPFF_RESET_COUNTS) === 0)
        kept = [packetsOf(old, this.counters), bytesOf(old, this.counters)];
      this.#unlink(old);
    }
    const flow = new Flow({
      tableId,
      priority: mod.priority,
      cookie: mod.cookie,
      match: mod.match,
      key,
      // Every add of 1.0 resets counters: that is no property of the flow.
      flags: mod.openflow10 === true ? mod.flags & ~OFPFF_RESET_COUNTS : mod.flags,
      idleTimeoutSeconds: mod.idleTimeoutSeconds,
      hardTimeoutSeconds: mod.hardTimeoutSeconds,
      instructions: mod.instructions,
      program,
      slot: this.counters.allocate(nowMs),
      nowMs,
    });
    if (kept !== null) this.counters.set(flow.slot, kept[0], kept[1]);
    this.#link(flow);
    this.#journal?.added(flow);
    this.#tell("added", flow, old === null ? NO_DETAILS : { before: old.instructions });
    return flow;
  }

  #isFull(tableId: number): boolean {
    const size = this.#tables.sizeOf(tableId);
    const most = Math.min(this.#book.maxEntries(tableId), this.#limits.flowsMax(tableId));
    return this.#flowCount >= FLOWS_MAX || size >= most;
  }

  /** Whether a flow has given way. */
  #evict(tableId: number, nowMs: number): boolean {
    const victim = this.#limits.victim(tableId, this.counters);
    if (victim !== null) this.#remove(victim, "delete", nowMs);
    return victim !== null;
  }

  /** A flow with this match comes, changes or goes. What else that may alter is seen when it is made: #noteChange(). */
  #beforeChange(tableId: number, key: MaskedKey): void {
    if (this.#tables.find(tableId)?.mayHaveAsked(key) === true) this.#onChanging();
  }

  #change(flow: Flow, instructions: readonly Instruction[], program: FlowProgram): void {
    this.#learned.left(flow);
    const table = this.#tables.at(flow.tableId);
    this.#noteChange(table.remove(flow));
    flow.instructions = instructions;
    flow.program = program;
    flow.learned = null;
    this.#noteChange(table.add(flow));
    this.#learned.entered(flow);
  }

  #noteChange(isFelt: boolean): void {
    this.revision++;
    if (isFelt) this.invalidate();
  }

  #link(flow: Flow): void {
    this.#noteChange(this.#tables.at(flow.tableId).add(flow));
    this.#learned.entered(flow);
    this.#limits.entered(flow);
    this.#flowCount++;
    if (isTimed(flow)) this.#timed.add(flow);
  }

  /** Whether there was a flow to modify. */
  #modify(mod: FlowMod, key: MaskedKey, program: FlowProgram): boolean {
    const strict = mod.command === "modify_strict";
    const list = this.#tables.meant(mod.tableId).flatMap((table) => chosenBy(mod, key, table, strict));
    for (let f = 0; f < list.length; f++) {
      const flow = list[f]!;
      this.#beforeChange(flow.tableId, flow.key);
      this.#journal?.modified(flow, stateOf(flow, this.counters));
      const before = flow.instructions;
      this.#change(flow, mod.instructions, program);
      this.#tell("modified", flow, { before });
      if ((mod.flags & OFPFF_RESET_COUNTS) !== 0) this.counters.set(flow.slot, 0, 0);
    }
    return list.length > 0;
  }

  #delete(mod: FlowMod, key: MaskedKey, nowMs: number): void {
    const strict = mod.command === "delete_strict";
    const tables = this.#tables.meant(mod.tableId);
    for (let t = 0; t < tables.length; t++) {
      const table = tables[t]!;
      const list = chosenBy(mod, key, table, strict);
      for (let f = 0; f < list.length; f++) {
        const flow = list[f]!;
        if (isSentTo(flow.instructions, mod.outPort, mod.outGroup)) this.#remove(flow, "delete", nowMs);
      }
    }
  }

  // --- Changes by packets

  /** Adds the flow that the packet with `key` teaches, or renews it; false when there is no room. May only look. */
  learn(program: LearnProgram, key: Int32Array, nowMs: number, isFinal: boolean): boolean {
    const { tableId, priority, limit, cookie } = program.action;
    if (!this.#book.exists(tableId)) return false;
    learnFrom(program, key);
    const old = this.#tables.find(tableId)?.findStrict(program.key, priority) ?? null;
    if (old !== null && program.taught(old)) {
      if (!isFinal) return true;
      old.renewedMs = nowMs;
      this.counters.lastUsedMs[old.slot] = nowMs;
      return true;
    }
    if (old === null && limit !== 0 && this.#learned.count(tableId, cookie) >= limit) return false;
    if (old === null && this.#isFull(tableId) && !this.#limits.mayEvict(tableId)) return false;
    if (!isFinal) return true;
    const mod = learnedMod(program);
    const flow = this.#add(mod, program.keyNow(), this.#compile(mod), nowMs);
    flow.learned = program.lessonNow();
    return true;
  }

  /** Makes the flow's time-outs no longer than these; 0 = as they are. */
  shorten(flow: Flow, idleSeconds: number, hardSeconds: number): void {
    flow.shorten(idleSeconds, hardSeconds);
    if (isTimed(flow)) this.#timed.add(flow);
    this.#limits.entered(flow);
  }

  // --- Removal

  /** Removes flows whose time is over, and those that give way to a lower limit. Call about once a second. */
  expire(nowMs: number): void {
    const list = [...this.#timed];
    for (let f = 0; f < list.length; f++) {
      const flow = list[f]!;
      if (expiryMs(flow, this.counters) > nowMs) continue;
      const hardMs = flow.hardTimeoutSeconds * 1000;
      const isHard = hardMs !== 0 && nowMs - flow.renewedMs >= hardMs;
      this.#remove(flow, isHard ? "hard_timeout" : "idle_timeout", nowMs);
    }
    const isOver = (id: number): boolean => this.#tables.sizeOf(id) > this.#limits.flowsMax(id);
    while (this.#limits.tableIds.some((id) => isOver(id) && this.#evict(id, nowMs)));
  }

  #remove(flow: Flow, reason: FlowRemovedReason, nowMs: number): void {
    this.#beforeChange(flow.tableId, flow.key);
    if ((flow.flags & OFPFF_SEND_FLOW_REM) !== 0) {
      this.#onRemoved(flowRemovedOf(flow, reason, this.counters, nowMs));
    }
    this.#tell("deleted", flow, { reason });
    this.#unlink(flow);
    this.#removeLearned(flow, nowMs);
  }

  /** What nobody learns any more goes too, where its learner said so (delete_learned). */
  #removeLearned(learner: Flow, nowMs: number): void {
    const orphans = this.#learned.orphansOf(learner);
    for (let i = 0; i < orphans.length; i++) {
      const { tableId, cookie } = orphans[i]!;
      const flows = this.#tables.find(tableId)?.covered(EVERYTHING) ?? [];
      for (let f = 0; f < flows.length; f++) {
        const flow = flows[f]!;
        if (flow.cookie === cookie) this.#remove(flow, "delete", nowMs);
      }
    }
  }

  #unlink(flow: Flow): void {
    this.#takeOut(flow);
    if (this.#journal === undefined) this.counters.free(flow.slot);
    else this.#journal.removed(flow);
  }

  #takeOut(flow: Flow): void {
    this.#learned.left(flow);
    this.#noteChange(this.#tables.at(flow.tableId).remove(flow));
    if (isTimed(flow)) this.#timed.delete(flow);
    this.#limits.left(flow);
    this.#flowCount--;
  }

  // --- Bundles

  /** From here on every modification can be undone; ended by commit() or rollBack(). */
  begin(): void {
    this.#journal = new FlowJournal();
  }

  commit(): void {
    this.#journal?.commit(this.#journalled);
    this.#journal = undefined;
  }

  /** Flows, groups and meters are what they were at begin(), counters included. */
  rollBack(): void {
    const journal = this.#journal;
    if (journal === undefined) return;
    this.#journal = undefined;
    journal.rollBack(this.#journalled);
    if (journal.groups !== undefined) this.groups.restore(journal.groups);
    if (journal.meters !== undefined) this.meters.restore(journal.meters);
    this.invalidate();
  }

  readonly #journalled: JournalledTables = {
    link: (flow) => this.#link(flow),
    unlink: (flow) => this.#takeOut(flow),
    freeCounters: (flow) => this.counters.free(flow.slot),
    restore: (flow, before) => {
      this.#change(flow, before.instructions, before.program);
      this.counters.set(flow.slot, before.packets, before.bytes);
    },
  };

  // --- Statistics

  flowStats(filter: FlowStatsFilter, nowMs: number): FlowStats[] {
    const flows = flowsMeant(filter, this.#tables, this.options);
    return flows.map((flow) => flowStatsOf(flow, this.counters, nowMs));
  }

  aggregateStats(filter: FlowStatsFilter): AggregateStats {
    return aggregateOf(flowsMeant(filter, this.#tables, this.options), this.counters);
  }

  tableStats(): TableStats[] {
    return this.#tables.stats((tableId) => this.#book.exists(tableId));
  }

  groupStats(nowMs: number): GroupStats[] {
    return this.groups.stats(nowMs, countReferences(this.flowsOf(OFPTT_ALL), groupsIn));
  }

  meterStats(nowMs: number): MeterStats[] {
    return this.meters.stats(nowMs, countReferences(this.flowsOf(OFPTT_ALL), metersIn));
  }

  flowsOf(tableId: number): Flow[] {
    return this.#tables.flowsOf(tableId);
  }
}
