// One flow entry: what it matches, what it does, and where its counters are.
// Thread: datapath worker.
import type { Instruction, Match } from "../../base/openflow/index.js";
import type { MaskedKey } from "./fields.js";
import { type MatchShape, matchOf, shapeOf, valuesOf } from "./kept-matches.js";
import type { Lesson } from "./learn-program.js";
import type { FlowProgram } from "./program.js";
import type { Twins } from "./twins.js";

export interface FlowOptions {
  readonly tableId: number;
  readonly priority: number;
  readonly cookie: bigint;
  readonly match: Match;
  readonly key: MaskedKey;
  readonly flags: number;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly instructions: readonly Instruction[];
  readonly program: FlowProgram;
  /** Index of its counters. */
  readonly slot: number;
  readonly nowMs: number;
}

export class Flow {
  readonly tableId: number;
  readonly priority: number;
  readonly key: MaskedKey;
  readonly #shape: MatchShape;
  readonly #values: Uint8Array;
  /** fin_timeout shortens it, and the next. */
  idleTimeoutSeconds: number;
  hardTimeoutSeconds: number;
  readonly slot: number;
  readonly createdMs: number;
  /** When it was added or last learned anew: its hard time-out counts from here. */
  renewedMs: number;
  /** What taught it, or null. */
  learned: Lesson | null = null;
  readonly cookie: bigint;
  flags: number;
  instructions: readonly Instruction[];
  program: FlowProgram;
  /** Of its subtable: the chain that it is in, and all flows with its match where it stands for them. */
  next: Flow | null = null;
  twins: Twins | null = null;
  hash = 0;

  constructor(options: FlowOptions) {
    this.tableId = options.tableId;
    this.priority = options.priority;
    this.#shape = shapeOf(options.match);
    this.#values = valuesOf(options.match);
    this.key = options.key;
    this.idleTimeoutSeconds = options.idleTimeoutSeconds;
    this.hardTimeoutSeconds = options.hardTimeoutSeconds;
    this.slot = options.slot;
    this.createdMs = options.nowMs;
    this.renewedMs = options.nowMs;
    this.cookie = options.cookie;
    this.flags = options.flags;
    this.instructions = options.instructions;
    this.program = options.program;
  }

  /** As the controller wrote it; made anew each time. */
  get match(): Match {
    return matchOf(this.#shape, this.#values);
  }

  get matchesAll(): boolean {
    return this.#shape.length === 0;
  }

  /** Makes the time-outs no longer than these; 0 = as they are. */
  shorten(idleSeconds: number, hardSeconds: number): void {
    this.idleTimeoutSeconds = shorter(this.idleTimeoutSeconds, idleSeconds);
    this.hardTimeoutSeconds = shorter(this.hardTimeoutSeconds, hardSeconds);
  }
}

export function isTimed({ idleTimeoutSeconds, hardTimeoutSeconds }: Flow): boolean {
  return idleTimeoutSeconds !== 0 || hardTimeoutSeconds !== 0;
}

/** When the flow goes if it is neither met nor learned anew; infinity for one without a time-out. */
export function expiryMs(flow: Flow, counters: FlowCounters): number {
  const idleMs = flow.idleTimeoutSeconds * 1000;
  const hardMs = flow.hardTimeoutSeconds * 1000;
  return Math.min(
    idleMs === 0 ? Number.POSITIVE_INFINITY : counters.lastUsedMs[flow.slot]! + idleMs,
    hardMs === 0 ? Number.POSITIVE_INFINITY : flow.renewedMs + hardMs,
  );
}

function shorter(now: number, most: number): number {
  return most !== 0 && (now === 0 || now > most) ? most : now;
}

/** Packet and byte counts and the time of last use, by slot; slots are reused. Exact up to 2^53. Hot: yes. */
export class FlowCounters {
  packets = new Float64Array(1024);
  bytes = new Float64Array(1024);
  lastUsedMs = new Float64Array(1024);
  #free: number[] = [];
  #next = 0;

  allocate(nowMs: number): number {
    const slot = this.#free.pop() ?? this.#next++;
    if (slot >= this.packets.length) this.#grow();
    this.packets[slot] = 0;
    this.bytes[slot] = 0;
    this.lastUsedMs[slot] = nowMs;
    return slot;
  }

  free(slot: number): void {
    this.#free.push(slot);
  }

  /** Packets and bytes become these. */
  set(slot: number, packets: number, bytes: number): void {
    this.packets[slot] = packets;
    this.bytes[slot] = bytes;
  }

  /** Counts `packets` packets of `sizeBytes` bytes together. */
  countMany(slot: number, packets: number, sizeBytes: number, nowMs: number): void {
    this.packets[slot] = this.packets[slot]! + packets;
    this.bytes[slot] = this.bytes[slot]! + sizeBytes;
    this.lastUsedMs[slot] = nowMs;
  }

  #grow(): void {
    const grown = (old: Float64Array): Float64Array<ArrayBuffer> => {
      const larger = new Float64Array(old.length * 2);
      larger.set(old);
      return larger;
    };
    this.packets = grown(this.packets);
    this.bytes = grown(this.bytes);
    this.lastUsedMs = grown(this.lastUsedMs);
  }
}
