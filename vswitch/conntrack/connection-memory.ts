// Where the connections stand: arrays over one piece of memory, which may outlive the process that wrote it.
//
//   expiry f64 │ tuples i32×20 │ labels i32×4 │ marks, TCP sent, limit, window i32×(1+2+2+2) │ ports u16 │ bytes u8×6
//
// Invariants: what finds connections (index, counts) is not here, it is made anew; a slot's state is written last when a
// connection begins and first when it ends, so that at any moment a slot with a state is whole. Thread: datapath worker.
import { TUPLE_WORDS } from "./tuple.js";

export interface ConnectionMemory {
  readonly expiresMs: Float64Array;
  readonly tuples: Int32Array;
  readonly labels: Int32Array;
  readonly marks: Int32Array;
  readonly sentEnd: Int32Array;
  readonly limit: Int32Array;
  readonly windowMax: Int32Array;
  readonly ports: Uint16Array;
  readonly states: Uint8Array;
  readonly flags: Uint8Array;
  readonly peerStates: Uint8Array;
  readonly scales: Uint8Array;
}

const WORDS = 2 * TUPLE_WORDS + 4 + 1 + 3 * 2;
const BYTES = 1 + 1 + 2 + 2;

/** Changes whenever what stands where in the memory, or what it means, does. */
export const CONNECTION_MEMORY_VERSION = 1;

/** Bytes for `capacity` connections. */
export function connectionMemorySize(capacity: number): number {
  return capacity * (8 + 4 * WORDS + 2 + BYTES);
}

/** Arrays for `capacity` connections, an even number, over `buffer` from `at` on; over memory of its own when absent. */
export function connectionMemory(
  capacity: number,
  buffer: ArrayBuffer = new ArrayBuffer(connectionMemorySize(capacity)),
  at = 0,
): ConnectionMemory {
  let next = at;
  const take = (bytes: number): number => {
    const here = next;
    next += bytes;
    return here;
  };
  const words = (each: number): Int32Array =>
    new Int32Array(buffer, take(4 * each * capacity), each * capacity);
  const bytes = (each: number): Uint8Array => new Uint8Array(buffer, take(each * capacity), each * capacity);
  return {
    expiresMs: new Float64Array(buffer, take(8 * capacity), capacity),
    tuples: words(2 * TUPLE_WORDS),
    labels: words(4),
    marks: words(1),
    sentEnd: words(2),
    limit: words(2),
    windowMax: words(2),
    ports: new Uint16Array(buffer, take(2 * capacity), capacity),
    states: bytes(1),
    flags: bytes(1),
    peerStates: bytes(2),
    scales: bytes(2),
  };
}
