// Runs packets through the tables: look up, count, apply, write, go to, and at the end the action set.
// The same code traces a packet: give it an observer and a sink that sends nothing.
//
//   process ─ parse ─ run(table) ─┬─ lookup (path cache, else classifier) ─ instructions ─ next table …
//                                 ├─ action set
//                                 └─ copies that ct() queued: run(their table), until none is left
//
// Source: OpenFlow 1.3.5, 5.1–5.10 and 5.12; ovs-actions(7) for Nicira actions.
// Invariants: key and headers always describe the packet; a shared packet is copied before it is changed; each
// packet reference is freed exactly once; every packet ends in an output or in one drop counter.
// Thread: datapath worker. Hot: yes.
import { OFPP_IN_PORT, OFPTT_ALL } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { ActionSet } from "./action-set.js";
import { BurstRunner, type Forward } from "./burst-runner.js";
import { type CtProgram, clearConnection, hasConnection, swapConnection } from "./ct-program.js";
import type { DropCounters } from "./drop-counters.js";
import * as D from "./drop-reasons.js";
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import { FragmentGate } from "./fragment-gate.js";
import { HeaderOperations } from "./header-operations.js";
import { InHand } from "./in-hand.js";
import { InnerRuns } from "./inner-runs.js";
import * as K from "./key.js";
import { Lessons } from "./lessons.js";
import { NESTING_MAX, STEPS_MAX } from "./limits.js";
import { METER_DROP, METER_PASS } from "./meters.js";
import { Onlookers } from "./onlookers.js";
import { Outputs } from "./outputs.js";
import { Path } from "./path.js";
import { PathCache } from "./path-cache.js";
import { Pauses } from "./pauses.js";
import type { PipelineObserver, PipelineOptions, Tracker } from "./pipeline-modules.js";
import * as P from "./program.js";
import { RareOperations } from "./rare-operations.js";
import type { ResumedFrame, Resumption } from "./resumption.js";
import { setBits } from "./run-on-key.js";
import { ValueOperations } from "./value-operations.js";
import { VerdictRecorder } from "./verdict-recorder.js";

export class Pipeline {
  readonly cache: PathCache;
  readonly fragments: FragmentGate;
  readonly onlookers: Onlookers;
  readonly #hand: InHand;
  readonly #pool: PacketPool;
  readonly #tables: FlowTables;
  readonly #tracker: Tracker;
  readonly #observer: PipelineObserver | null;
  readonly #path: Path;
  readonly #set = new ActionSet();
  readonly #headers: HeaderOperations;
  readonly #values: ValueOperations;
  readonly #outputs: Outputs;
  readonly #inner: InnerRuns;
  readonly #rare: RareOperations;
  readonly #pauses: Pauses;
  readonly #lessons: Lessons;
  readonly #recorder = new VerdictRecorder();

  constructor(options: PipelineOptions) {
    this.#pool = options.pool;
    this.#tables = options.tables;
    this.#tracker = options.tracker;
    this.#observer = options.observer ?? null;
    this.cache = new PathCache(options.observer === undefined ? options.pathCacheEntries : 2);
    this.#path = new Path(this.cache, options.tables);
    this.#hand = new InHand(options.pool, this.#path, this.#observer);
    this.onlookers = new Onlookers(this.#hand);
    this.fragments = new FragmentGate(this.#hand);
    this.#values = new ValueOperations(this.#hand, options.sink);
    this.#outputs = new Outputs(this.#hand, options.sink, this.#values);
    this.#headers = new HeaderOperations(this.#hand, this.#outputs);
    this.#lessons = new Lessons(options.tables);
    this.#pauses = new Pauses(this.#hand, this.#outputs, this.#values);
    this.#inner = new InnerRuns({
      hand: this.#hand,
      tables: options.tables,
      sink: options.sink,
      set: this.#set,
      values: this.#values,
      recorder: this.#recorder,
      execute: (program) => this.#execute(program),
      pauses: this.#pauses,
    });
    this.#rare = new RareOperations({
      hand: this.#hand,
      tables: options.tables,
      outputs: this.#outputs,
      values: this.#values,
      lessons: this.#lessons,
      recorder: this.#recorder,
      pauses: this.#pauses,
      clone: (program) => this.#inner.isolate(program, true),
    });
  }

  /** Takes bursts through these tables; `forward` gets those that go to one port unchanged. */
  burstRunner(forward: Forward): BurstRunner {
    return new BurstRunner({
      hand: this.#hand,
      tables: this.#tables,
      sink: this.#outputs.sink,
      outputs: this.#outputs,
      headers: this.#headers,
      values: this.#values,
      recorder: this.#recorder,
      tracker: this.#tracker,
      process: (packet, inPort, nowMs) => this.process(packet, inPort, nowMs),
      ct: (ct) => this.#ct(ct),
      finish: (behind) => this.#finish(behind),
      forward,
    });
  }

  get key(): Int32Array {
    return this.#hand.key;
  }
  get headers(): K.Headers {
    return this.#hand.headers;
  }
  get dropCounters(): DropCounters {
    return this.#hand.drops;
  }
  /** Of the packet in hand. */
  get nowMs(): number {
    return this.#hand.nowMs;
  }
  /** The queue that set_queue chose for the packet in hand, or −1. */
  get queueId(): number {
    return (this.#hand.key[K.K_QUEUE]! >>> 0) - 1;
  }

  /** Takes the packet (one reference) through the tables from table 0. `nowMs` is monotonic. */
  process(packet: number, inPort: number, nowMs: number): void {
    this.#begin(packet, inPort, nowMs);
    this.#arrive(0, true);
    this.#finish();
  }

  /** Packets have these pipeline words of a key when they come in: for traces. */
  give(words: Int32Array): void {
    this.#hand.given = words;
  }

  /** Takes the packet through an action list, as a packet-out does. */
  execute(packet: number, inPort: number, program: P.Program, nowMs: number): void {
    this.#begin(packet, inPort, nowMs);
    this.#path.openUncached();
    this.#set.clear();
    this.#hand.tableId = OFPTT_ALL;
    this.#hand.runTable = -1;
    this.#hand.key[K.K_ACTSET_OUTPUT] = K.OFPP_UNSET;
    this.#execute(program);
    // A resubmit may have written actions.
    this.#executeSet();
    this.#endRun();
    this.#finish();
  }

  /** Takes a packet that was paused on from where it was. */
  resume(packet: number, resumption: Resumption, nowMs: number): void {
    const hand = this.#hand;
    this.#begin(packet, resumption.inPort, nowMs);
    this.#path.openUncached();
    this.#set.clear();
    hand.runTable = -1;
    resumption.restore(hand, this.#values, this.#set);
    const { frames } = resumption;
    for (let f = 0; f < frames.length && !hand.dropped && !hand.exited; f++) {
      this.#resumeFrame(frames[f]!, f === frames.length - 1);
      if (this.#pauses.isUnwinding) this.#pauses.leaveFrames(frames, f + 1);
    }
    this.#executeSet();
    this.#endRun();
    this.#finish();
  }

  #resumeFrame({ flow, tableId }: ResumedFrame, isLast: boolean): void {
    const hand = this.#hand;
    for (let next: Flow | null = flow, table = tableId; next !== null; ) {
      table = this.#instructions(next, table);
      if (table < 0 || hand.dropped) return;
      next = this.#lookup(table);
      if (next === null && isLast) this.#outputs.miss();
    }
  }

  /** The run through the tables is over. */
  #executeSet(): void {
    const hand = this.#hand;
    hand.exited = false;
    if (this.#pauses.isUnwinding) {
      this.#recorder.giveUp();
      this.#pauses.end(this.#set);
    } else if (this.#set.last >= 0 && !hand.dropped) this.#inner.executeSet();
  }

  #begin(packet: number, inPort: number, nowMs: number): void {
    const hand = this.#hand;
    const key = hand.key;
    if (hand.marked) hand.clearPipelineWords();
    key[K.K_IN_PORT] = inPort;
    hand.packet = packet;
    hand.nowMs = nowMs;
    hand.flow = null;
    hand.renew();
    this.#values.depth = 0;
    hand.steps = 0;
    hand.nesting = 0;
    hand.sizeBytes = this.#pool.length[packet]!;
    this.#outputs.waiting.length = 0;
    hand.headers.parseNew(this.#pool, packet, key);
  }

  /** The packet in hand ends; those that wait go on, of which `behind` have done so before. */
  #finish(behind = 0): void {
    const hand = this.#hand;
    this.#pool.free(hand.packet);
    const waiting = this.#outputs.waiting;
    for (let next = behind; next < waiting.length; next++) {
      hand.packet = waiting.packets[next]!;
      waiting.restore(next, hand.key, this.#values);
      hand.marked = true;
      hand.renew();
      hand.nesting = 0;
      hand.sizeBytes = this.#pool.length[hand.packet]!;
      hand.headers.parseNew(this.#pool, hand.packet, hand.key);
      const table = waiting.tables[next]!;
      if (this.#observer !== null && hand.writable())
        this.#observer.recirculate(table, hand.key, hand.packet);
      this.#arrive(table, false);
      this.#pool.free(hand.packet);
    }
    hand.flow = null;
    hand.tableId = -1;
  }

  // --- Tables

  #arrive(tableId: number, first: boolean): void {
    const isFragment = (this.#hand.key[K.K_IP]! & 0xff) !== 0;
    if (isFragment && this.fragments.holds && !this.fragments.admits()) return;
    this.#run(tableId, first);
  }

  #run(tableId: number, first: boolean): void {
    const hand = this.#hand;
    if (this.#observer === null) this.#path.open(hand.key, tableId, first);
    else this.#path.openUncached();
    this.#set.clear();
    hand.runTable = tableId;
    hand.key[K.K_ACTSET_OUTPUT] = K.OFPP_UNSET;
    let table = tableId;
    for (;;) {
      const flow = this.#lookup(table);
      if (flow === null) {
        if (this.#outputs.miss()) this.#recorder.giveUp();
        else if (this.#recorder.active) this.#recorder.drop(D.DROP_TABLE_MISS, table, hand.flow);
        break;
      }
      table = this.#instructions(flow, table);
      if (hand.dropped || table < 0) break;
    }
    if (!this.#path.close(tableId, hand.dropped, hand.sizeBytes, hand.nowMs)) this.#recorder.giveUp();
    const missed = hand.dropped;
    this.#executeSet();
    if (hand.dropped !== missed) this.#recorder.giveUp();
    this.#endRun();
    if (this.#recorder.armed) this.#recorder.onRunEnd();
  }

  #endRun(): void {
    const hand = this.#hand;
    this.#lessons.end(hand.nowMs);
    if (this.#observer !== null) this.#observer.done(hand.key, hand.packet);
    if (hand.dropped || hand.outputs !== 0) return;
    if (this.#recorder.active) this.#recorder.drop(D.DROP_NO_OUTPUT, hand.tableId, hand.flow);
    hand.countDrop(D.DROP_NO_OUTPUT);
  }

  /** Does what the flow says; returns the next table or −1. */
  #instructions(flow: Flow, tableId: number): number {
    const hand = this.#hand;
    hand.flow = flow;
    hand.tableId = tableId;
    const program = flow.program;
    if (program.meterId !== 0 && !this.#meter(program.meterId)) return -1;
    if (program.apply !== null) {
      this.#execute(program.apply);
      if (this.#pauses.isUnwinding) this.#pauses.leaveInstructions(flow.instructions);
      if (hand.dropped || hand.exited) return -1;
    }
    if (this.#observer !== null) this.#observer.applied(flow);
    if (program.clear || program.write.length > 0) {
      if (program.clear) this.#set.clear();
      this.#set.write(program.write);
      hand.key[K.K_ACTSET_OUTPUT] = this.#set.outputPort();
      hand.marked = true;
    }
    const metadata = program.metadata;
    if (metadata !== null) {
      const key = hand.key;
      key[K.K_METADATA] = (key[K.K_METADATA]! & ~metadata[0]!) | metadata[2]!;
      key[K.K_METADATA + 1] = (key[K.K_METADATA + 1]! & ~metadata[1]!) | metadata[3]!;
      hand.marked = true;
    }
    return program.gotoTable;
  }

  #lookup(tableId: number): Flow | null {
    const hand = this.#hand;
    hand.tableId = tableId;
    if (++hand.steps > STEPS_MAX) {
      hand.drop(D.DROP_NESTING);
      return null;
    }
    const flow = this.#path.next(tableId, hand.key);
    if (this.#recorder.active) this.#recorder.met(tableId, flow);
    if (hand.isAttended) this.#attend(tableId, flow);
    else this.#tables.count(tableId, flow, hand.sizeBytes, hand.nowMs);
    return flow;
  }

  #attend(tableId: number, flow: Flow | null): void {
    const hand = this.#hand;
    if (this.#observer !== null) this.#observer.table(tableId, flow, hand.key, hand.packet);
    else this.#tables.count(tableId, flow, hand.sizeBytes, hand.nowMs);
    if (flow !== null) hand.watch?.hit(hand.packet, hand.key, tableId, flow);
  }

  // --- Actions

  #execute(program: P.Program): void {
    const code = program.code;
    const hand = this.#hand;
    const recorder = this.#recorder;
    for (let at = 0; at < code.length && !hand.dropped && !hand.exited; ) {
      if (this.#observer !== null)
        this.#observer.operation(program, at, hand.key, hand.packet, this.#values.depth);
      switch (code[at]) {
        case P.OP_OUTPUT:
          if (recorder.active) this.#recordOutput(code[at + 1]! >>> 0, code[at + 2]!);
          this.#outputs.output(code[at + 1]! >>> 0, code[at + 2]!);
          at += 3;
          break;
        case P.OP_GROUP:
          // A bucket is chosen by the key, and that of what has come to light since does not follow from it.
          if (this.#path.hasLeft) recorder.giveUp();
          recorder.needsWholeKey();
          this.#inner.group(code[at + 1]! >>> 0);
          at += 2;
          break;
        case P.OP_SET:
          if (code[at + 1] === P.W_NONE) {
            hand.marked = true;
            at = setBits(code, at + 3, code[at + 2]!, hand.key);
          } else at = this.#recordOperation(code, at, this.#values.assign(code, at));
          break;
        case P.OP_MOVE:
          // What it writes into the packet stands in no operand.
          if (code[at + 1] !== P.W_NONE) recorder.giveUp();
          recorder.needsWholeKey();
          at = this.#values.assign(code, at);
          break;
        case P.OP_RESUBMIT:
          this.#resubmit(code[at + 1]! >>> 0, code[at + 2]!, code[at + 3] === 1);
          at += 4;
          break;
        case P.OP_CT:
          this.#ct(program.ct[code[at + 1]!]!);
          at += 2;
          break;
        case P.OP_CT_CLEAR:
          clearConnection(hand.key);
          at += 1;
          break;
        case P.OP_DEC_NW_TTL:
        case P.OP_DEC_MPLS_TTL:
        case P.OP_DEC_TTL_IDS:
          at = this.#recordOperation(code, at, this.#headers.decrement(code, at));
          break;
        case P.OP_SET_QUEUE:
        case P.OP_POP_QUEUE:
          at = this.#recordOperation(code, at, hand.chooseQueue(code, at));
          break;
        default:
          at =
            code[at]! >= P.OP_OUTPUT_REG || code[at] === P.OP_CONTROLLER
              ? this.#rare.run(program, at)
              : this.#recordOperation(code, at, this.#headers.run(code, at));
      }
      if (this.#pauses.isUnwinding) this.#pauses.leaveActions(program, at);
    }
  }

  #recordOutput(port: number, maxLength: number): void {
    const { key, tableId, flow } = this.#hand;
    this.#recorder.output(port, key[K.K_IN_PORT]! >>> 0, maxLength, tableId, flow);
  }

  /** An operation on the packet's headers has been done. */
  #recordOperation(code: Int32Array, from: number, to: number): number {
    const { tableId, flow } = this.#hand;
    if (this.#recorder.active) this.#recorder.operation(code, from, to, tableId, flow);
    return to;
  }

  // --- Meters, resubmit, connection tracking

  #meter(meterId: number): boolean {
    if (this.#observer !== null) return true;
    const hand = this.#hand;
    const { meters } = this.#tables;
    const recorder = this.#recorder;
    if (!meters.onlyDrops(meterId)) recorder.giveUp();
    else if (recorder.active) recorder.meter(meterId, hand.tableId, hand.flow);
    const verdict = meters.measure(meterId, this.#pool.length[hand.packet]!, hand.nowMs);
    if (verdict === METER_PASS) return true;
    if (verdict === METER_DROP) {
      recorder.abandon();
      hand.drop(D.DROP_METER);
      return false;
    }
    if (!hand.writable()) return false;
    if (hand.rewriter.lowerPrecedence(hand.packet, verdict)) this.#path.leave();
    return true;
  }

  /** Looks the packet up as if it had come in by `port`, does what that says, and goes on. Write-actions add to the set. */
  #resubmit(port: number, tableId: number, withCt: boolean): void {
    const hand = this.#hand;
    if (hand.nesting >= NESTING_MAX) {
      hand.drop(D.DROP_NESTING);
      return;
    }
    const { flow: flowBefore, tableId: tableBefore } = hand;
    hand.nesting++;
    if (this.#observer !== null) this.#observer.enter(null);
    let table = tableId === OFPTT_ALL ? tableBefore : tableId;
    let flow = this.#lookupAs(port, table, withCt);
    while (flow !== null) {
      table = this.#instructions(flow, table);
      if (table < 0 || hand.dropped) break;
      flow = this.#lookup(table);
    }
    hand.nesting--;
    if (this.#observer !== null) this.#observer.leave();
    hand.flow = flowBefore;
    hand.tableId = tableBefore;
  }

  /** Only the lookup sees the other port, or the addresses of the connection's first packet. */
  #lookupAs(port: number, table: number, withCt: boolean): Flow | null {
    const key = this.#hand.key;
    const inPort = key[K.K_IN_PORT]!;
    if (withCt) {
      // Which bits are looked at is noted by where they stand, and that is elsewhere now.
      this.#recorder.needsWholeKey();
      if (!hasConnection(key)) return null;
      swapConnection(key);
    }
    if (port !== OFPP_IN_PORT) key[K.K_IN_PORT] = port;
    const flow = this.#lookup(table);
    key[K.K_IN_PORT] = inPort;
    if (withCt) swapConnection(key);
    return flow;
  }

  #ct(ct: CtProgram): void {
    const hand = this.#hand;
    const { key, headers, nowMs } = hand;
    const zone = ct.zone >= 0 ? ct.zone : (key[ct.zoneWord]! >>> ct.zoneShift) & 0xffff;
    const recorder = this.#recorder;
    // What has come to light since does not follow from the key.
    if (this.#path.hasLeft) recorder.giveUp();
    if (recorder.active) recorder.beforeCt(key);
    hand.marked = true;
    if (ct.nat !== null) {
      this.#path.leave();
      if (!hand.writable()) return;
    }
    const dry = this.#observer !== null;
    const reason = this.#tracker.track(hand.packet, key, headers, ct, zone, nowMs, dry);
    const { found } = this.#tracker;
    recorder.tracked(found, found < 0 ? 0 : this.#tracker.epochOf(found), key[K.K_CT_STATE]!);
    if (reason !== -1) recorder.giveUp();
    else if (recorder.active) recorder.ct(ct, zone, hand.tableId, hand.flow);
    if (reason >= 0) hand.drop(reason);
    else if (reason === D.TRACK_HELD) this.#outputs.goOn(this.#tracker, ct.tableId);
    else if (ct.tableId >= 0) {
      this.#outputs.queue(ct.tableId);
      hand.outputs++;
    }
    // Only the copy that goes on in the table sees what was found.
    clearConnection(key);
  }
}
