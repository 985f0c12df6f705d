// What a pipeline is given: where packets go, who tracks connections, and who watches when a packet is traced.
// Thread: datapath worker.
import type { Continuation } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import type { CtProgram } from "./ct-program.js";
import type { DropReason } from "./drop-reasons.js";
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import type { Group, GroupBucket } from "./groups.js";
import type { Headers } from "./key.js";
import type { Program } from "./program.js";

/** What is left to do of a packet; the bridge adds its own name. */
export type Remainder = Omit<Continuation, "bridge">;

/** What a packet is handed to controllers for. */
export interface ControllerRequest {
  readonly maxLength: number;
  /** Indexes REASONS. */
  readonly reason: number;
  readonly controllerId: number;
  /** Limits how often controllers are told; 0 = the one of all controllers. */
  readonly meterId: number;
  readonly tableId: number;
  /** Null for a packet-out. */
  readonly flow: Flow | null;
  /** What the controller action wants to go along, or null. */
  readonly userdata: Uint8Array | null;
  /** The packet waits with the controller: what it is to go on with. Null when it does not wait. */
  readonly remainder: Remainder | null;
}

/** Where packets go. A sink that keeps a packet retains it. */
export interface PacketSink {
  /** `port` is no reserved port, but may not exist. */
  output(packet: number, port: number): void;
  /** To every port but `inPort`; with `all` also to those that do not take part in flooding. */
  flood(packet: number, inPort: number, all: boolean): void;
  /**
   * Forwards as an ordinary learning switch. Returns the port when the packet went to one port unchanged, so that a frame
   * with the same addresses and tag would now go there too; −1 otherwise. Of the key, input port and addresses count.
   */
  normal(packet: number, key: Int32Array, headers: Headers): number;
  controller(packet: number, key: Int32Array, request: ControllerRequest): void;
  /** Whether miss() is to be called for packets that no flow matches; otherwise they are dropped. */
  readonly wantsMisses: boolean;
  miss(packet: number, key: Int32Array, tableId: number): void;
  /** Whether a group may use the port. */
  isLive(port: number): boolean;
}

/** Connection tracking, as the pipeline needs it. */
export interface Tracker {
  /**
   * Looks the packet's connection up in `zone`, commits it if asked, translates addresses, and sets the ct words of
   * `key`. Returns −1, TRACK_HELD, or the drop reason of a packet that may not go on. `dry` changes nothing but packet and key.
   */
  track(
    packet: number,
    key: Int32Array,
    headers: Headers,
    ct: CtProgram,
    zone: number,
    nowMs: number,
    dry: boolean,
  ): number;
  /**
   * After TRACK_HELD: the next fragment that may go on, tracked, its pipeline words in `key`; its reference is the
   * caller's. −1 when there is none, or no more. A releaseReason ≥ 0 is why the fragment is to be dropped.
   */
  release(key: Int32Array): number;
  readonly releaseReason: number;
  /**
   * After track(): names the packet's connection and its direction in it, for pass(); −1 where the next packet like it
   * must be tracked too.
   */
  readonly found: number;
  /** Changes when what `found` names becomes another connection, or its mark or label changes. */
  epochOf(found: number): number;
  /** What note() has noted of what `found` names since epochOf() changed last; 0 = nothing. */
  noteOf(found: number): number;
  note(found: number, note: number): void;
  /** A note that no connection has. */
  nextNote(): number;
  /**
   * Writes to found[from] up to found[to] what the packets in these places may belong to in `zone`, for pass(); −1 = to
   * nothing that is known. Cheap for many packets at once.
   */
  seek(packets: Int32Array, from: number, to: number, zone: number, found: Int32Array): void;
  /**
   * Does what track() would, all but telling the key, if the packet is one of many alike: plain IPv4, of the connection
   * that `found` names, and nothing of interest happens to that. Returns the packet's ct_state, or 0: nothing has been
   * done. The packet must not be shared if `ct` translates.
   */
  pass(packet: number, found: number, ct: CtProgram, zone: number, nowMs: number): number;
  /**
   * Does what track() would, all but telling the key, for a packet that plainly begins a connection: plain IPv4, UDP or
   * TCP, that belongs to nothing and is expected by nobody. Returns its ct_state, which is new and nothing else, or 0:
   * nothing has been done. `port` is the packet's in_port. Until another packet is met or tracked, it is the one of open().
   */
  meet(packet: number, ct: CtProgram, zone: number, port: number, nowMs: number): number;
  /**
   * Commits the packet that was met last, as track() would with `ct`; of its key, told of it, mark and label are changed
   * where `ct` does. False: nothing has been done, it is to be tracked.
   */
  open(ct: CtProgram, zone: number, port: number, nowMs: number, key: Int32Array): boolean;
  /** What that packet, or one that meet() has committed itself, belongs to from then on; as `found`. */
  readonly opened: number;
  /** Sets the ct words of `key` to the connection that `found` names, or (−1) to what the packet met last is, and `state`. */
  tell(found: number, state: number, key: Int32Array): void;
}

/** Sees every step; only for traces. */
export interface PipelineObserver {
  /** Whether learn() and fin_timeout() of the packet in hand are carried out. */
  readonly teaches: boolean;
  table(tableId: number, flow: Flow | null, key: Int32Array, packet: number): void;
  /** `stacked`: how many values are on the stack. */
  operation(program: Program, at: number, key: Int32Array, packet: number, stacked: number): void;
  /** The flow's meter and apply-actions are behind the packet; its other instructions follow. */
  applied(flow: Flow): void;
  /** The action set is about to be executed. */
  actionSet(): void;
  /** A group that has to choose sends the packet to this bucket; null: none is live. */
  chosen(group: Group, bucket: GroupBucket | null, key: Int32Array): void;
  /** What follows, until leave(), happens inside a bucket, or inside a resubmit (null). */
  enter(bucket: GroupBucket | null): void;
  leave(): void;
  drop(reason: DropReason): void;
  /** The next output, of which the sink gets the whole packet, is to be cut to so many bytes. */
  cut(length: number): void;
  /** May set what connection tracking is to have found, and change addresses and ports; the packet is not shared. */
  recirculate(tableId: number, key: Int32Array, packet: number): void;
  /** The way through the tables is over; the packet is as it ended. */
  done(key: Int32Array, packet: number): void;
}

/** Sees live packets meet flows and be dropped; only while somebody captures them. Keeps no packet. */
export interface PacketWatch {
  hit(packet: number, key: Int32Array, tableId: number, flow: Flow): void;
  /** `reason` is a DROP_ number; `flow` the last that the packet had met. */
  dropped(packet: number, key: Int32Array, reason: number, tableId: number, flow: Flow | null): void;
}

export interface PipelineOptions {
  readonly pool: PacketPool;
  readonly tables: FlowTables;
  readonly tracker: Tracker;
  readonly sink: PacketSink;
  /** A trace: counters, caches and connections stay as they are, and tables too unless the observer teaches. */
  readonly observer?: PipelineObserver;
  /** How many packets' ways through the tables are remembered: a power of two. Absent: PATH_CACHE_ENTRIES. */
  readonly pathCacheEntries?: number | undefined;
}
