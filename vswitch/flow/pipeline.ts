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
import * as D from "./drop-reasons.js";
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import { GROUP_ALL, GROUP_FF, GROUP_SELECT, type Group, type GroupBucket, NOT_WATCHED } from "./groups.js";
import {
  Headers,
  K_CT_MARK,
  K_CT_STATE,
  K_CT_ZONE,
  K_IN_PORT,
  K_IP,
  K_METADATA,
  K_MPLS,
  K_PIPELINE,
  K_TYPE_TCI,
  K_V6,
  KEY_WORDS,
  L3_IPV4,
  L3_IPV6,
} from "./key.js";
import { LOOKUPS_MAX, NESTING_MAX, PATH_LENGTH_MAX, RECIRCULATIONS_MAX } from "./limits.js";
import { METER_DROP, METER_PASS } from "./meters.js";
import { hashConversation, PathCache, SHAPE_PIPELINE, SHAPE_WIDE } from "./path-cache.js";
import * as P from "./program.js";
import { Rewriter } from "./rewrite.js";
import { moveBits, setBits } from "./run-on-key.js";

/** Where packets go. A sink that keeps a packet retains it. */
export interface PacketSink {
  /** `port` is no reserved port, but may not exist. */
  output(packet: number, port: number): void;
  /** To every port but `inPort`; with `all` also to those that do not take part in flooding. */
  flood(packet: number, inPort: number, all: boolean): void;
  /** Forwards as an ordinary learning switch; answers false when it dropped the packet (and counted it). */
  normal(packet: number, key: Int32Array, headers: Headers): boolean;
  /** `reason` indexes REASONS; `flow` is null for a packet-out. */
  controller(
    packet: number,
    key: Int32Array,
    maxLength: number,
    reason: number,
    controllerId: number,
    tableId: number,
    flow: Flow | null,
  ): void;
  /** Whether a group may use the port. */
  isLive(port: number): boolean;
}

/** Connection tracking, as the pipeline needs it. */
export interface Tracker {
  /**
   * Looks the packet's connection up in `zone`, commits it if asked, translates addresses, and sets the ct words of
   * `key`. Returns −1, or the drop reason of a packet that may not go on. `dry` changes nothing but packet and key.
   */
  track(
    packet: number,
    key: Int32Array,
    headers: Headers,
    rewriter: Rewriter,
    ct: P.CtProgram,
    zone: number,
    nowMs: number,
    dry: boolean,
  ): number;
}

/** Sees every step; only for traces. */
export interface PipelineObserver {
  table(tableId: number, flow: Flow | null, key: Int32Array): void;
  operation(program: P.Program, at: number, key: Int32Array): void;
  drop(reason: D.DropReason): void;
  recirculate(tableId: number, key: Int32Array): void;
}

export interface PipelineOptions {
  readonly pool: PacketPool;
  readonly tables: FlowTables;
  readonly tracker: Tracker;
  readonly sink: PacketSink;
  /** A trace: counters, caches and connections stay as they are. */
  readonly observer?: PipelineObserver;
}

const SAVED_WORDS = KEY_WORDS - K_PIPELINE + 1;

export class Pipeline {
  /** By the D.DROP_ numbers. */
  readonly drops = new Float64Array(D.DROP_REASONS.length);
  readonly cache: PathCache;
  readonly key = new Int32Array(KEY_WORDS);
  readonly headers = new Headers();
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

  // Path cache: replaying entry #entry, or recording into #recorded when it is negative.
  #entry = -1;
  #position = 0;
  #replayLength = 0;
  #cacheable = false;
  readonly #recorded: (Flow | null)[] = new Array<Flow | null>(PATH_LENGTH_MAX).fill(null);
  readonly #startKey = new Int32Array(KEY_WORDS);

  // Action set: one program per slot, slots in use lie in [#setFirst, #setLast].
  readonly #set: (P.Program | null)[] = new Array<P.Program | null>(P.ACTION_SET_SLOTS).fill(null);
  #setFirst = P.ACTION_SET_SLOTS;
  #setLast = -1;

  // Copies waiting for recirculation, and keys saved around buckets.
  readonly #waitingPackets = new Int32Array(RECIRCULATIONS_MAX);
  readonly #waitingTables = new Int32Array(RECIRCULATIONS_MAX);
  readonly #waitingKeys = new Int32Array(RECIRCULATIONS_MAX * SAVED_WORDS);
  #waiting = 0;
  readonly #savedKeys = new Int32Array((NESTING_MAX + 1) * KEY_WORDS);

  constructor(options: PipelineOptions) {
    this.#pool = options.pool;
    this.#tables = options.tables;
    this.#tracker = options.tracker;
    this.#sink = options.sink;
    this.#observer = options.observer ?? null;
    this.cache = new PathCache(options.observer === undefined ? undefined : 2);
    this.#rewriter = new Rewriter(options.pool, this.key, this.headers);
  }

  /** Takes the packet (one reference) through the tables from table 0. `nowMs` is monotonic. */
  process(packet: number, inPort: number, nowMs: number): void {
    this.#begin(packet, inPort, nowMs);
    this.#run(0);
    this.#finish();
  }

  /** Takes the packet through an action list, as a packet-out does. */
  execute(packet: number, inPort: number, program: P.Program, nowMs: number): void {
    this.#begin(packet, inPort, nowMs);
    this.#cacheable = false;
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
    for (let i = K_PIPELINE; i < KEY_WORDS; i++) key[i] = 0;
    key[K_IN_PORT] = inPort;
    this.#packet = packet;
    this.#inPort = inPort;
    this.#nowMs = nowMs;
    this.#lookups = 0;
    this.#nesting = 0;
    this.#outputs = 0;
    this.#dropped = false;
    this.#waiting = 0;
    this.headers.parse(this.#pool, packet, key);
  }

  #finish(): void {
    this.#pool.free(this.#packet);
    for (let next = 0; next < this.#waiting; next++) {
      this.#packet = this.#waitingPackets[next]!;
      const base = next * SAVED_WORDS;
      for (let i = K_PIPELINE; i < KEY_WORDS; i++) this.key[i] = this.#waitingKeys[base + i - K_PIPELINE]!;
      this.key[K_IN_PORT] = this.#waitingKeys[base + SAVED_WORDS - 1]!;
      this.#inPort = this.key[K_IN_PORT]!;
      this.#outputs = 0;
      this.#dropped = false;
      this.#nesting = 0;
      this.headers.parse(this.#pool, this.#packet, this.key);
      const table = this.#waitingTables[next]!;
      if (this.#observer !== null) this.#observer.recirculate(table, this.key);
      this.#run(table);
      this.#pool.free(this.#packet);
    }
  }

  // --- Tables

  #run(tableId: number): void {
    this.#openPath(tableId);
    this.#clearSet();
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
    this.#closePath(tableId);
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
    if (program.clear) this.#clearSet();
    const write = program.write;
    for (let i = 0; i < write.length; i++) this.#writeSet(write[i]!);
    const metadata = program.metadata;
    if (metadata !== null) {
      const key = this.key;
      key[K_METADATA] = (key[K_METADATA]! & ~metadata[0]!) | metadata[2]!;
      key[K_METADATA + 1] = (key[K_METADATA + 1]! & ~metadata[1]!) | metadata[3]!;
    }
    return program.gotoTable;
  }

  #lookup(tableId: number): Flow | null {
    if (++this.#lookups > LOOKUPS_MAX) {
      this.#dropNow(D.DROP_NESTING);
      return null;
    }
    const tables = this.#tables;
    let flow: Flow | null;
    if (this.#entry >= 0 && this.#position < this.#replayLength) {
      flow = this.cache.flows[this.#entry * PATH_LENGTH_MAX + this.#position]!;
      this.#position++;
    } else {
      flow = tables.lookup(tableId, this.key, null);
      if (this.#entry >= 0 || this.#position >= PATH_LENGTH_MAX) this.#cacheable = false;
      else this.#recorded[this.#position++] = flow;
    }
    if (this.#observer !== null) this.#observer.table(tableId, flow, this.key);
    else tables.count(tableId, flow, this.#pool.length[this.#packet]!, this.#nowMs);
    return flow;
  }

  // --- Path cache

  #openPath(tableId: number): void {
    this.#position = 0;
    this.#entry = -1;
    this.#cacheable = this.#observer === null;
    if (!this.#cacheable) return;
    const found = this.cache.find(this.key, tableId, this.#shape(), this.#tables.version);
    if (found >= 0) {
      this.#entry = found;
      this.#replayLength = this.cache.lengths[found]!;
      return;
    }
    this.#entry = found;
    this.#startKey.set(this.key);
  }

  /** Keeps the recorded path if what was met depended on nothing but the key at the start. */
  #closePath(tableId: number): void {
    if (this.#entry >= 0 || !this.#cacheable || this.#position === 0) return;
    // A path cut short by a meter, or a flow table change, would be taken for the whole of it.
    if (this.#dropped && this.#recorded[this.#position - 1] !== null) return;
    const entry = -1 - this.#entry;
    this.cache.fill(entry, this.#startKey, tableId, shapeOf(this.#startKey), this.#tables.version);
    this.cache.lengths[entry] = this.#position;
    const base = entry * PATH_LENGTH_MAX;
    for (let i = 0; i < this.#position; i++) this.cache.flows[base + i] = this.#recorded[i]!;
  }

  #shape(): number {
    return shapeOf(this.key);
  }

  // --- Action set

  #clearSet(): void {
    for (let i = this.#setFirst; i <= this.#setLast; i++) this.#set[i] = null;
    this.#setFirst = P.ACTION_SET_SLOTS;
    this.#setLast = -1;
  }

  #writeSet(entry: P.ActionSetEntry): void {
    const { slot } = entry;
    this.#set[slot] = entry.program;
    if (slot < this.#setFirst) this.#setFirst = slot;
    if (slot > this.#setLast) this.#setLast = slot;
  }

  #executeSet(): void {
    if (this.#setLast < 0) return;
    if (this.#set[P.SLOT_GROUP] !== null) this.#set[P.SLOT_OUTPUT] = null;
    // A group's buckets may not see this set: take it out as it is executed.
    const last = this.#setLast;
    for (let i = this.#setFirst; i <= last && !this.#dropped; i++) {
      const program = this.#set[i]!;
      if (program !== null) this.#execute(program);
    }
    this.#clearSet();
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
          at = this.#setBits(code, at);
          break;
        case P.OP_MOVE:
          at = this.#moveBits(code, at);
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
          this.key[K_CT_STATE] = 0;
          this.key[K_CT_ZONE] = 0;
          this.key[K_CT_MARK] = 0;
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
        if (this.headers.tags > 1) this.#cacheable = false;
        rewriter.popVlan(packet);
        return at + 1;
      case P.OP_PUSH_MPLS:
        if (!rewriter.pushMpls(packet, operand)) this.#dropNow(D.DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_MPLS:
        this.#cacheable = false;
        rewriter.popMpls(packet, operand);
        return at + 2;
      case P.OP_PUSH_PBB:
        if (!rewriter.pushPbb(packet, operand)) this.#dropNow(D.DROP_NO_BUFFER);
        return at + 2;
      case P.OP_POP_PBB:
        this.#cacheable = false;
        rewriter.popPbb(packet);
        return at + 1;
      case P.OP_SET_NW_TTL:
        rewriter.setTtl(operand);
        return at + 2;
      case P.OP_DEC_NW_TTL:
        this.#decrementTtl();
        return at + 1;
      case P.OP_SET_MPLS_TTL:
        rewriter.setMplsTtl(operand);
        return at + 2;
      case P.OP_DEC_MPLS_TTL:
        this.#decrementMplsTtl();
        return at + 1;
      case P.OP_COPY_TTL_OUT:
        this.#cacheable = false;
        rewriter.copyTtlOut();
        return at + 1;
      default:
        rewriter.copyTtlIn();
        return at + 1;
    }
  }

  #setBits(code: Int32Array, at: number): number {
    const writer = code[at + 1]!;
    const count = code[at + 2]!;
    if (writer !== P.W_NONE && !this.#writable()) return at + 3 + 3 * count;
    const end = setBits(code, at + 3, count, this.key);
    if (writer !== P.W_NONE) this.#write(writer);
    return end;
  }

  #moveBits(code: Int32Array, at: number): number {
    const writer = code[at + 1]!;
    const count = code[at + 2]!;
    if (writer !== P.W_NONE && !this.#writable()) return at + 3 + 5 * count;
    const end = moveBits(code, at + 3, count, this.key);
    if (writer !== P.W_NONE) this.#write(writer);
    return end;
  }

  #write(writer: number): void {
    // These bring to light what the key at the start did not hold.
    if (writer === P.W_ETH_TYPE || writer === P.W_PROTO || writer === P.W_ICMP) this.#cacheable = false;
    this.#rewriter.write(this.#packet, writer);
  }

  #decrementTtl(): void {
    const { l3Kind } = this.headers;
    if (l3Kind !== L3_IPV4 && l3Kind !== L3_IPV6) return;
    const ttl = (this.key[K_IP]! >>> 8) & 0xff;
    if (ttl <= 1) this.#ttlExceeded();
    else this.#rewriter.setTtl(ttl - 1);
  }

  #decrementMplsTtl(): void {
    if (!this.#rewriter.hasMpls()) return;
    const ttl = this.key[K_MPLS]! & 0xff;
    if (ttl <= 1) this.#ttlExceeded();
    else this.#rewriter.setMplsTtl(ttl - 1);
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
    const bucket = this.#chooseBucket(group);
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
    const base = this.#nesting++ * KEY_WORDS;
    for (let i = 0; i < KEY_WORDS; i++) this.#savedKeys[base + i] = this.key[i]!;
    const packet = this.#packet;
    this.#pool.retain(packet);
    this.#execute(bucket.program);
    this.#pool.free(this.#packet);
    this.#packet = packet;
    this.#dropped = false;
    for (let i = 0; i < KEY_WORDS; i++) this.key[i] = this.#savedKeys[base + i]!;
    this.headers.parse(this.#pool, packet, this.key);
    this.#nesting--;
  }

  #chooseBucket(group: Group): GroupBucket | null {
    const buckets = group.buckets;
    if (group.kind === GROUP_FF) {
      for (let i = 0; i < buckets.length; i++) if (this.#isLive(buckets[i]!, 0)) return buckets[i]!;
      return null;
    }
    if (group.kind !== GROUP_SELECT) return buckets[0] ?? null;
    let total = 0;
    for (let i = 0; i < buckets.length; i++) if (this.#isLive(buckets[i]!, 0)) total += buckets[i]!.weight;
    if (total === 0) return null;
    let point = hashConversation(this.key) % total;
    for (let i = 0; i < buckets.length; i++) {
      if (!this.#isLive(buckets[i]!, 0)) continue;
      point -= buckets[i]!.weight;
      if (point < 0) return buckets[i]!;
    }
    return null;
  }

  #isLive(bucket: GroupBucket, depth: number): boolean {
    if (bucket.watchPort !== NOT_WATCHED && this.#sink.isLive(bucket.watchPort)) return true;
    if (bucket.watchGroup !== NOT_WATCHED && depth < NESTING_MAX) {
      const watched = this.#tables.groups.get(bucket.watchGroup);
      if (watched !== undefined) {
        for (let i = 0; i < watched.buckets.length; i++) {
          if (this.#isLive(watched.buckets[i]!, depth + 1)) return true;
        }
      }
    }
    return bucket.watchPort === NOT_WATCHED && bucket.watchGroup === NOT_WATCHED;
  }

  #meter(meterId: number): boolean {
    if (this.#observer !== null) return true;
    const verdict = this.#tables.meters.measure(meterId, this.#pool.length[this.#packet]!, this.#nowMs);
    if (verdict === METER_PASS) return true;
    if (verdict === METER_DROP) {
      this.#dropNow(D.DROP_METER);
      return false;
    }
    this.#remark(verdict);
    return !this.#dropped;
  }

  /** Raises the drop precedence of an assured-forwarding DSCP (RFC 2597) by `levels`, at most to 3. */
  #remark(levels: number): void {
    const tos = (this.key[K_IP]! >>> 16) & 0xff;
    const dscp = tos >>> 2;
    const { l3Kind } = this.headers;
    if ((l3Kind !== L3_IPV4 && l3Kind !== L3_IPV6) || dscp < 10 || dscp > 38 || (dscp & 1) !== 0) return;
    const precedence = (dscp >>> 1) & 3;
    if (precedence === 0 || !this.#writable()) return;
    const raised = Math.min(3, precedence + levels);
    // From here on the key differs from that of the cached path: neither follow it nor keep it.
    this.#cacheable = false;
    if (this.#entry >= 0) this.#replayLength = this.#position;
    this.key[K_IP] =
      (this.key[K_IP]! & ~0xff0000) | (((((dscp & ~6) | (raised << 1)) << 2) | (tos & 3)) << 16);
    this.#rewriter.write(this.#packet, P.W_TOS);
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
    let table = tableId === OFPTT_ALL ? tableBefore : tableId;
    while (table >= 0 && !this.#dropped) {
      const flow = this.#lookup(table);
      if (flow === null) break;
      table = this.#instructions(flow, table);
    }
    this.#nesting--;
    this.#setInPort(inPort);
    this.#flow = flowBefore;
    this.#tableId = tableBefore;
  }

  #setInPort(port: number): void {
    this.#inPort = port;
    this.key[K_IN_PORT] = port;
  }

  #ct(ct: P.CtProgram): void {
    const key = this.key;
    const zone = ct.zone >= 0 ? ct.zone : (key[ct.zoneWord]! >>> ct.zoneShift) & 0xffff;
    if (ct.nat !== null) {
      this.#cacheable = false;
      if (!this.#writable()) return;
    }
    const state = key[K_CT_STATE]!;
    const zoneBefore = key[K_CT_ZONE]!;
    const mark = key[K_CT_MARK]!;
    const dry = this.#observer !== null;
    const reason = this.#tracker.track(
      this.#packet,
      key,
      this.headers,
      this.#rewriter,
      ct,
      zone,
      this.#nowMs,
      dry,
    );
    if (reason >= 0) {
      this.#dropNow(reason);
      return;
    }
    if (ct.tableId >= 0) {
      this.#queue(ct.tableId);
      this.#outputs++;
    }
    // Only the copy that goes on in the table sees what was found.
    key[K_CT_STATE] = state;
    key[K_CT_ZONE] = zoneBefore;
    key[K_CT_MARK] = mark;
  }

  /** A copy of the packet goes on in `tableId` when this run is over. */
  #queue(tableId: number): void {
    if (this.#waiting >= RECIRCULATIONS_MAX) {
      this.drop(D.DROP_NESTING);
      return;
    }
    const slot = this.#waiting++;
    this.#pool.retain(this.#packet);
    this.#waitingPackets[slot] = this.#packet;
    this.#waitingTables[slot] = tableId;
    const base = slot * SAVED_WORDS;
    for (let i = K_PIPELINE; i < KEY_WORDS; i++) this.#waitingKeys[base + i - K_PIPELINE] = this.key[i]!;
    this.#waitingKeys[base + SAVED_WORDS - 1] = this.#inPort;
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

function shapeOf(key: Int32Array): number {
  let pipeline = 0;
  for (let i = K_PIPELINE; i < KEY_WORDS; i++) pipeline |= key[i]!;
  const type = key[K_TYPE_TCI]! >>> 16;
  let wide = 0;
  if (type !== 0x0800) wide = SHAPE_WIDE;
  else for (let i = K_V6; i < K_PIPELINE; i++) if (key[i]! !== 0) wide = SHAPE_WIDE;
  return wide | (pipeline === 0 ? 0 : SHAPE_PIPELINE);
}
