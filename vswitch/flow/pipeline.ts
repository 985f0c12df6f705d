// Runs packets through the tables: look up, count, apply, write, go to, and at the end the action set.
// The same code traces a packet: give it an observer and a sink that sends nothing.
//
//   process ─ parse ─ run(table) ─┬─ lookup (path cache, else classifier) ─ instructions ─ next table …
//                                 ├─ action set
//                                 └─ copies that ct() queued: run(their table), until none is left
//
// Source: OpenFlow 1.3.5, 5.1–5.10 and 5.12; ovs-actions(7) for resubmit and ct.
// Invariants: key and headers always describe the packet; a shared packet is copied before it is changed; each
// packet reference is freed exactly once; every packet ends in an output or in one drop counter.
// Thread: datapath worker. Hot: yes.
import {
  OFPP_ALL,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_NORMAL,
  OFPP_TABLE,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { ActionSet } from "./action-set.js";
import { type CtProgram, clearConnection } from "./ct-program.js";
import * as D from "./drop-reasons.js";
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import { chooseBucket } from "./group-choice.js";
import { GROUP_ALL, type GroupBucket } from "./groups.js";
import * as K from "./key.js";
import { LOOKUPS_MAX, NESTING_MAX } from "./limits.js";
import { METER_DROP, METER_PASS } from "./meters.js";
import { Path } from "./path.js";
import { PathCache } from "./path-cache.js";
import type { PacketSink, PipelineObserver, PipelineOptions, Tracker } from "./pipeline-modules.js";
import * as P from "./program.js";
import { Recirculation } from "./recirculation.js";
import { Rewriter } from "./rewrite.js";
import { moveBits, setBits } from "./run-on-key.js";

export class Pipeline {
  /** By the D.DROP_ numbers. */
  readonly drops = new Float64Array(D.DROP_REASONS.length);
  readonly cache: PathCache;
  readonly key = new Int32Array(K.KEY_WORDS);
  readonly headers = new K.Headers();
  readonly #pool: PacketPool;
  readonly #tables: FlowTables;
  readonly #tracker: Tracker;
  readonly #sink: PacketSink;
  readonly #observer: PipelineObserver | null;
  readonly #rewriter: Rewriter;

  // State of the packet in hand.
  #packet = -1;
  #inPort = 0;
  #nowMs = 0;
  #flow: Flow | null = null;
  #tableId = 0;
  #outputs = 0;
  #dropped = false;
  #lookups = 0;
  #nesting = 0;

  readonly #path: Path;
  readonly #set = new ActionSet();
  readonly #waiting = new Recirculation();
  /** Keys saved around buckets. */
  readonly #savedKeys = new Int32Array((NESTING_MAX + 1) * K.KEY_WORDS);

  constructor(options: PipelineOptions) {
    this.#pool = options.pool;
    this.#tables = options.tables;
    this.#tracker = options.tracker;
    this.#sink = options.sink;
    this.#observer = options.observer ?? null;
    this.cache = new PathCache(options.observer === undefined ? undefined : 2);
    this.#path = new Path(this.cache, options.tables);
    this.#rewriter = new Rewriter(options.pool, this.key, this.headers);
  }

  /** Takes the packet (one reference) through the tables from table 0. `nowMs` is monotonic. */
  process(packet: number, inPort: number, nowMs: number): void {
    this.#begin(packet, inPort, nowMs);
    this.#run(0, true);
    this.#finish();
  }

  /** Takes the packet through an action list, as a packet-out does. */
  execute(packet: number, inPort: number, program: P.Program, nowMs: number): void {
    this.#begin(packet, inPort, nowMs);
    this.#path.openUncached();
    this.#flow = null;
    this.#tableId = OFPTT_ALL;
    this.#execute(program);
    this.#endRun();
    this.#finish();
  }

  /** Counts a packet that somebody else dropped. */
  drop(reason: number): void {
    this.drops[reason] = this.drops[reason]! + 1;
    if (this.#observer !== null) this.#observer.drop(D.DROP_REASONS[reason]!);
  }

  #begin(packet: number, inPort: number, nowMs: number): void {
    const key = this.key;
    for (let i = K.K_PIPELINE; i < K.KEY_WORDS; i++) key[i] = 0;
    key[K.K_IN_PORT] = inPort;
    this.#packet = packet;
    this.#inPort = inPort;
    this.#nowMs = nowMs;
    this.#lookups = 0;
    this.#nesting = 0;
    this.#outputs = 0;
    this.#dropped = false;
    this.#waiting.length = 0;
    this.headers.parse(this.#pool, packet, key);
  }

  #finish(): void {
    this.#pool.free(this.#packet);
    const waiting = this.#waiting;
    for (let next = 0; next < waiting.length; next++) {
      this.#packet = waiting.packets[next]!;
      waiting.restore(next, this.key);
      this.#inPort = this.key[K.K_IN_PORT]!;
      this.#outputs = 0;
      this.#dropped = false;
      this.#nesting = 0;
      this.headers.parse(this.#pool, this.#packet, this.key);
      const table = waiting.tables[next]!;
      if (this.#observer !== null) this.#observer.recirculate(table, this.key);
      this.#run(table, false);
      this.#pool.free(this.#packet);
    }
  }

  // --- Tables

  #run(tableId: number, first: boolean): void {
    if (this.#observer === null) this.#path.open(this.key, tableId, first);
    else this.#path.openUncached();
    this.#set.clear();
    let table = tableId;
    for (;;) {
      const flow = this.#lookup(table);
      if (flow === null) {
        this.#dropNow(D.DROP_TABLE_MISS);
        break;
      }
      table = this.#instructions(flow, table);
      if (this.#dropped || table < 0) break;
    }
    this.#path.close(tableId, this.#dropped);
    if (!this.#dropped) this.#executeSet();
    this.#endRun();
  }

  #endRun(): void {
    if (!this.#dropped && this.#outputs === 0) this.drop(D.DROP_NO_OUTPUT);
  }

  /** Does what the flow says; returns the next table or −1. */
  #instructions(flow: Flow, tableId: number): number {
    this.#flow = flow;
    this.#tableId = tableId;
    const program = flow.program;
    if (program.meterId !== 0 && !this.#meter(program.meterId)) return -1;
    if (program.apply !== null) {
      this.#execute(program.apply);
      if (this.#dropped) return -1;
    }
    if (this.#observer !== null) this.#observer.applied(flow);
    if (program.clear) this.#set.clear();
    this.#set.write(program.write);
    const metadata = program.metadata;
    if (metadata !== null) {
      const key = this.key;
      key[K.K_METADATA] = (key[K.K_METADATA]! & ~metadata[0]!) | metadata[2]!;
      key[K.K_METADATA + 1] = (key[K.K_METADATA + 1]! & ~metadata[1]!) | metadata[3]!;
    }
    return program.gotoTable;
  }

  #lookup(tableId: number): Flow | null {
    if (++this.#lookups > LOOKUPS_MAX) {
      this.#dropNow(D.DROP_NESTING);
      return null;
    }
    const flow = this.#path.next(tableId, this.key);
    if (this.#observer !== null) this.#observer.table(tableId, flow, this.key);
    else this.#tables.count(tableId, flow, this.#pool.length[this.#packet]!, this.#nowMs);
    return flow;
  }

  #executeSet(): void {
    const set = this.#set;
    if (this.#observer !== null) this.#observer.actionSet();
    for (let slot = set.first; slot <= set.last && !this.#dropped; slot++) {
      const program = set.at(slot);
      if (program !== null) this.#execute(program);
    }
    set.clear();
  }

  // --- Actions

  #execute(program: P.Program): void {
    const code = program.code;
    for (let at = 0; at < code.length && !this.#dropped; ) {
      if (this.#observer !== null) this.#observer.operation(program, at, this.key);
      switch (code[at]) {
        case P.OP_OUTPUT:
          this.#output(code[at + 1]! >>> 0);
          at += 3;
          break;
        case P.OP_CONTROLLER:
          this.#outputs++;
          this.#toController(code[at + 1]!, code[at + 2]!, code[at + 3]!);
          at += 4;
          break;
        case P.OP_GROUP:
          this.#group(code[at + 1]! >>> 0);
          at += 2;
          break;
        case P.OP_SET:
        case P.OP_MOVE:
          at = this.#assign(code, at);
          break;
        case P.OP_RESUBMIT:
          this.#resubmit(code[at + 1]! >>> 0, code[at + 2]!);
          at += 3;
          break;
        case P.OP_CT:
          this.#ct(program.ct[code[at + 1]!]!);
          at += 2;
          break;
        case P.OP_CT_CLEAR:
          clearConnection(this.key);
          at += 1;
          break;
        default:
          at = this.#header(code, at);
      }
    }
  }

  /** Actions on tags, labels and TTLs. */
  #header(code: Int32Array, at: number): number {
    const op = code[at]!;
    const operand = code[at + 1]!;
    if (!this.#writable()) return at + 1;
    const rewriter = this.#rewriter;
    const packet = this.#packet;
    switch (op) {
      case P.OP_PUSH_VLAN:
        if (!rewriter.pushVlan(packet, operand)) this.#dropNow(D.DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_VLAN:
        if (this.headers.tags > 1) this.#path.leave();
        rewriter.popVlan(packet);
        return at + 1;
      case P.OP_PUSH_MPLS:
        if (!rewriter.pushMpls(packet, operand)) this.#dropNow(D.DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_MPLS:
        this.#path.leave();
        rewriter.popMpls(packet, operand);
        return at + 2;
      case P.OP_PUSH_PBB:
        if (!rewriter.pushPbb(packet, operand)) this.#dropNow(D.DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_PBB:
        this.#path.leave();
        rewriter.popPbb(packet);
        return at + 1;
      case P.OP_SET_NW_TTL:
        rewriter.setTtl(operand);
        return at + 2;
      case P.OP_DEC_NW_TTL:
        if (!rewriter.decrementTtl()) this.#ttlExceeded();
        return at + 1;
      case P.OP_SET_MPLS_TTL:
        rewriter.setMplsTtl(operand);
        return at + 2;
      case P.OP_DEC_MPLS_TTL:
        if (!rewriter.decrementMplsTtl()) this.#ttlExceeded();
        return at + 1;
      case P.OP_COPY_TTL_OUT:
        this.#path.leave();
        rewriter.copyTtlOut();
        return at + 1;
      default:
        rewriter.copyTtlIn();
        return at + 1;
    }
  }

  /** OP_SET and OP_MOVE: changes bits of the key, and the packet where they stand for bytes of it. */
  #assign(code: Int32Array, at: number): number {
    const set = code[at] === P.OP_SET;
    const writer = code[at + 1]!;
    const count = code[at + 2]!;
    const start = at + 3;
    if (writer !== P.W_NONE && !this.#writable()) return start + (set ? 3 : 5) * count;
    const end = set ? setBits(code, start, count, this.key) : moveBits(code, start, count, this.key);
    if (writer !== P.W_NONE) this.#write(writer);
    return end;
  }

  #write(writer: number): void {
    // These bring to light what the key at the start did not hold.
    if (writer === P.W_ETH_TYPE || writer === P.W_PROTO || writer === P.W_ICMP) this.#path.leave();
    this.#rewriter.write(this.#packet, writer);
  }

  #ttlExceeded(): void {
    this.#toController(0xffff, 2, 0);
    this.#dropNow(D.DROP_TTL);
  }

  #toController(maxLength: number, reason: number, controllerId: number): void {
    this.#sink.controller(this.#packet, this.key, maxLength, reason, controllerId, this.#tableId, this.#flow);
  }

  #output(port: number): void {
    switch (port) {
      case OFPP_IN_PORT:
        this.#outputs++;
        this.#sink.output(this.#packet, this.#inPort >>> 0);
        return;
      case OFPP_NORMAL:
        this.#outputs++;
        this.#sink.normal(this.#packet, this.key, this.headers);
        return;
      case OFPP_FLOOD:
      case OFPP_ALL:
        this.#outputs++;
        this.#sink.flood(this.#packet, this.#inPort >>> 0, port === OFPP_ALL);
        return;
      case OFPP_TABLE:
        this.#outputs++;
        this.#queue(0);
        return;
      default:
        if (port === this.#inPort >>> 0) {
          this.#outputs++;
          this.drop(D.DROP_OUTPUT_TO_INPUT);
          return;
        }
        this.#outputs++;
        this.#sink.output(this.#packet, port);
    }
  }

  // --- Groups, meters, resubmit, connection tracking

  #group(groupId: number): void {
    const group = this.#tables.groups.get(groupId);
    if (group === undefined || this.#nesting >= NESTING_MAX) {
      this.#outputs++;
      this.drop(group === undefined ? D.DROP_NO_LIVE_BUCKET : D.DROP_NESTING);
      return;
    }
    const sizeBytes = this.#pool.length[this.#packet]!;
    if (this.#observer === null) {
      group.packets++;
      group.bytes += sizeBytes;
    }
    if (group.kind === GROUP_ALL) {
      for (let i = 0; i < group.buckets.length; i++) this.#bucket(group.buckets[i]!, sizeBytes);
      return;
    }
    const bucket = chooseBucket(group, this.#tables.groups, this.#sink, this.key);
    if (bucket !== null) this.#bucket(bucket, sizeBytes);
    else {
      this.#outputs++;
      this.drop(D.DROP_NO_LIVE_BUCKET);
    }
  }

  /** Runs the bucket on a copy: what it does to the packet ends with it. */
  #bucket(bucket: GroupBucket, sizeBytes: number): void {
    if (this.#observer === null) {
      bucket.packets++;
      bucket.bytes += sizeBytes;
    }
    const base = this.#nesting++ * K.KEY_WORDS;
    for (let i = 0; i < K.KEY_WORDS; i++) this.#savedKeys[base + i] = this.key[i]!;
    const packet = this.#packet;
    this.#pool.retain(packet);
    if (this.#observer !== null) this.#observer.enter(bucket);
    this.#execute(bucket.program);
    if (this.#observer !== null) this.#observer.leave();
    this.#pool.free(this.#packet);
    this.#packet = packet;
    this.#dropped = false;
    for (let i = 0; i < K.KEY_WORDS; i++) this.key[i] = this.#savedKeys[base + i]!;
    this.headers.parse(this.#pool, packet, this.key);
    this.#nesting--;
  }

  #meter(meterId: number): boolean {
    if (this.#observer !== null) return true;
    const verdict = this.#tables.meters.measure(meterId, this.#pool.length[this.#packet]!, this.#nowMs);
    if (verdict === METER_PASS) return true;
    if (verdict === METER_DROP) {
      this.#dropNow(D.DROP_METER);
      return false;
    }
    if (!this.#writable()) return false;
    if (this.#rewriter.lowerPrecedence(this.#packet, verdict)) this.#path.leave();
    return true;
  }

  /** Looks the packet up as if it had come in by `port`, does what that says, and goes on. Write-actions add to the set. */
  #resubmit(port: number, tableId: number): void {
    if (this.#nesting >= NESTING_MAX) {
      this.#dropNow(D.DROP_NESTING);
      return;
    }
    const inPort = this.#inPort;
    const flowBefore = this.#flow;
    const tableBefore = this.#tableId;
    if (port !== OFPP_IN_PORT) this.#setInPort(port);
    this.#nesting++;
    if (this.#observer !== null) this.#observer.enter(null);
    let table = tableId === OFPTT_ALL ? tableBefore : tableId;
    while (table >= 0 && !this.#dropped) {
      const flow = this.#lookup(table);
      if (flow === null) break;
      table = this.#instructions(flow, table);
    }
    this.#nesting--;
    if (this.#observer !== null) this.#observer.leave();
    this.#setInPort(inPort);
    this.#flow = flowBefore;
    this.#tableId = tableBefore;
  }

  #setInPort(port: number): void {
    this.#inPort = port;
    this.key[K.K_IN_PORT] = port;
  }

  #ct(ct: CtProgram): void {
    const key = this.key;
    const zone = ct.zone >= 0 ? ct.zone : (key[ct.zoneWord]! >>> ct.zoneShift) & 0xffff;
    if (ct.nat !== null) {
      this.#path.leave();
      if (!this.#writable()) return;
    }
    const dry = this.#observer !== null;
    const now = this.#nowMs;
    const reason = this.#tracker.track(this.#packet, key, this.headers, this.#rewriter, ct, zone, now, dry);
    if (reason >= 0) {
      this.#dropNow(reason);
      return;
    }
    if (ct.tableId >= 0) {
      this.#queue(ct.tableId);
      this.#outputs++;
    }
    // Only the copy that goes on in the table sees what was found.
    clearConnection(key);
  }

  /** A copy of the packet goes on in `tableId` when this run is over. */
  #queue(tableId: number): void {
    if (this.#waiting.push(this.#packet, tableId, this.key)) this.#pool.retain(this.#packet);
    else this.drop(D.DROP_NESTING);
  }

  #dropNow(reason: number): void {
    if (!this.#dropped) this.drop(reason);
    this.#dropped = true;
  }

  /** Makes sure that nobody else holds the packet's bytes; false when there was no room for a copy. */
  #writable(): boolean {
    if (!this.#pool.isShared(this.#packet)) return true;
    const twin = this.#pool.copy(this.#packet);
    if (twin < 0) {
      this.#dropNow(D.DROP_NO_BUFFER);
      return false;
    }
    this.#pool.free(this.#packet);
    this.#packet = twin;
    this.headers.parse(this.#pool, twin, this.key);
    return true;
  }
}
