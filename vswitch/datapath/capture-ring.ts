// The way of captured frames out of the datapath worker: a ring of records in shared memory, one writer, one reader.
//
//   words  0 HEAD  bytes written, modulo 2^32     1 TAIL  bytes read, modulo 2^32     2–15 unused
//   then   records: 56 bytes of header, the captured bytes, padding to 8; a negative size: go on at the beginning
//
// Invariants: a record lies in one piece; HEAD − TAIL ≤ size; a record is whole before HEAD passes it, and is not
// written again before TAIL has passed it. A full ring refuses, so that a slow reader costs records, never time.
// Thread: writer in the datapath worker, reader in the main thread. Hot: yes (write), while something is captured.
import { PlinthError } from "../../base/errors/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import type { Flow } from "../flow/index.js";

const HEAD = 0;
const TAIL = 1;
const CONTROL_SIZE = 64;
const RECORD_HEADER = 56;

const R_SIZE = 0;
const R_PORT = 1;
const R_WHAT = 2;
const R_CAPTURED = 3;
const R_ORIGINAL = 4;
const R_REASON = 5;
const R_TABLE = 6;
const R_PRIORITY = 7;
/** As a float, at an even word. */
const R_TIME = 8;
const R_COOKIE_HIGH = 10;
const R_COOKIE_LOW = 11;
const R_HAS_FLOW = 12;

/** What a record tells of. */
export const CAPTURED_IN = 0;
export const CAPTURED_OUT = 1;
export const CAPTURED_HIT = 2;
export const CAPTURED_DROP = 3;

/** Smallest and largest ring, bytes; sizes are powers of two. */
export const CAPTURE_RING_SIZE_MIN = 1 << 18;
export const CAPTURE_RING_SIZE_MAX = 1 << 26;

/** Shared memory for a ring of `sizeBytes`. Throws CAPTURE_INVALID. */
export function createCaptureMemory(sizeBytes: number): SharedArrayBuffer {
  const isPower = (sizeBytes & (sizeBytes - 1)) === 0;
  if (!isPower || sizeBytes < CAPTURE_RING_SIZE_MIN || sizeBytes > CAPTURE_RING_SIZE_MAX)
    throw new PlinthError("CAPTURE_INVALID", `a ring of ${sizeBytes} bytes`, { field: "buffer" });
  return new SharedArrayBuffer(CONTROL_SIZE + sizeBytes);
}

export class CaptureRingWriter {
  readonly #control: Int32Array;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #size: number;
  #head: number;

  constructor(memory: SharedArrayBuffer) {
    this.#size = memory.byteLength - CONTROL_SIZE;
    this.#control = new Int32Array(memory, 0, CONTROL_SIZE / 4);
    this.#words = new Int32Array(memory, CONTROL_SIZE);
    this.#floats = new Float64Array(memory, CONTROL_SIZE);
    this.#bytes = new Uint8Array(memory, CONTROL_SIZE);
    this.#head = this.#control[HEAD]!;
  }

  /** Appends the first `snapLength` bytes of the packet; false when there is no room. The reader sees it after publish(). */
  write(
    what: number,
    port: number,
    pool: PacketPool,
    packet: number,
    snapLength: number,
    wallMs: number,
    reason: number,
    tableId: number,
    flow: Flow | null,
  ): boolean {
    const original = pool.length[packet]!;
    const captured = original < snapLength ? original : snapLength;
    const size = (RECORD_HEADER + captured + 7) & ~7;
    const at = this.#reserve(size);
    if (at < 0) return false;
    const words = this.#words;
    const word = at >>> 2;
    words[word + R_SIZE] = size;
    words[word + R_PORT] = port;
    words[word + R_WHAT] = what;
    words[word + R_CAPTURED] = captured;
    words[word + R_ORIGINAL] = original;
    words[word + R_REASON] = reason;
    words[word + R_TABLE] = tableId;
    words[word + R_PRIORITY] = flow === null ? 0 : flow.priority;
    this.#floats[(at >>> 3) + (R_TIME >>> 1)] = wallMs;
    words[word + R_HAS_FLOW] = flow === null ? 0 : 1;
    if (flow !== null) {
      words[word + R_COOKIE_HIGH] = Number(flow.cookie >> 32n) | 0; // cold
      words[word + R_COOKIE_LOW] = Number(flow.cookie & 0xffffffffn) | 0; // cold
    }
    const from = pool.offset[packet]!;
    const bytes = this.#bytes;
    const to = at + RECORD_HEADER;
    if (captured <= SHORT) for (let i = 0; i < captured; i++) bytes[to + i] = pool.bytes[from + i]!;
    else bytes.set(pool.bytes.subarray(from, from + captured), to); // cold
    return true;
  }

  /** Shows the reader what was written. Once per burst. */
  publish(): void {
    Atomics.store(this.#control, HEAD, this.#head);
  }

  /** Where a record of `size` bytes may be written, or −1. */
  #reserve(size: number): number {
    const at = (this.#head >>> 0) & (this.#size - 1);
    const toEnd = this.#size - at;
    const needed = size <= toEnd ? size : toEnd + size;
    const used = (this.#head - Atomics.load(this.#control, TAIL)) | 0;
    if (needed > this.#size - used) return -1;
    this.#head = (this.#head + needed) | 0;
    if (size <= toEnd) return at;
    this.#words[at >>> 2] = -toEnd;
    return 0;
  }
}

/** Up to here a loop is faster than a view. */
const SHORT = 128;

/** What was captured. `data` is a view into the ring: good until release(). */
export interface CapturedRecord {
  readonly what: number;
  readonly port: number;
  readonly wallMs: number;
  readonly data: Uint8Array;
  readonly originalLength: number;
  /** DROP_ number; −1 unless it was dropped. */
  readonly reason: number;
  /** −1: no table. */
  readonly tableId: number;
  readonly flow: { readonly cookie: bigint; readonly priority: number } | undefined;
}

export class CaptureRingReader {
  readonly #control: Int32Array;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #size: number;
  #tail = 0;

  constructor(memory: SharedArrayBuffer) {
    this.#size = memory.byteLength - CONTROL_SIZE;
    this.#control = new Int32Array(memory, 0, CONTROL_SIZE / 4);
    this.#words = new Int32Array(memory, CONTROL_SIZE);
    this.#floats = new Float64Array(memory, CONTROL_SIZE);
    this.#bytes = new Uint8Array(memory, CONTROL_SIZE);
  }

  /** The next record, or undefined when the reader has caught up. */
  next(): CapturedRecord | undefined {
    const head = Atomics.load(this.#control, HEAD);
    if (head === this.#tail) return undefined;
    let at = (this.#tail >>> 0) & (this.#size - 1);
    let size = this.#words[at >>> 2]!;
    if (size < 0) {
      this.#tail = (this.#tail - size) | 0;
      at = 0;
      size = this.#words[0]!;
    }
    this.#tail = (this.#tail + size) | 0;
    const word = at >>> 2;
    const words = this.#words;
    const captured = words[word + R_CAPTURED]!;
    return {
      what: words[word + R_WHAT]!,
      port: words[word + R_PORT]! >>> 0,
      wallMs: this.#floats[(at >>> 3) + (R_TIME >>> 1)]!,
      data: this.#bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + captured), // cold
      originalLength: words[word + R_ORIGINAL]!,
      reason: words[word + R_REASON]!,
      tableId: words[word + R_TABLE]!,
      flow: words[word + R_HAS_FLOW] === 0 ? undefined : this.#flow(word),
    };
  }

  /** Gives back the room of what next() returned. */
  release(): void {
    Atomics.store(this.#control, TAIL, this.#tail);
  }

  #flow(word: number): { readonly cookie: bigint; readonly priority: number } {
    const high = BigInt(this.#words[word + R_COOKIE_HIGH]! >>> 0); // cold
    const low = BigInt(this.#words[word + R_COOKIE_LOW]! >>> 0); // cold
    return { cookie: (high << 32n) | low, priority: this.#words[word + R_PRIORITY]! }; // cold
  }
}
