// Where the connections stand: one piece of memory, which may outlive the process that wrote it. All that a packet of a
// known connection needs lies in two lines of the cache side by side.
//
//   entries of 32 words │ marks i32 │ labels i32×4
//   entry: 0–9 first tuple (tuple.ts) | 10–11 expiry f64 | 12 state u8, flags u8, port u16
//          13 states of TCP's ends u8×2, their scales u8×2 | 14–15 notes, of each direction
//          16–25 tuple of the answers | of each end of TCP 26–27 sent, 28–29 limit, 30–31 window
//
// Invariants: what finds connections (index, counts) is not here, it is made anew, and notes mean nothing to another
// process; a slot's state is written last when a connection begins and first when it ends, so that at any moment a slot
// with a state is whole. Thread: datapath worker.

export interface ConnectionMemory {
  /** The same bytes four times: all entries. */
  readonly words: Int32Array;
  readonly halves: Uint16Array;
  readonly bytes: Uint8Array;
  readonly times: Float64Array;
  readonly marks: Int32Array;
  readonly labels: Int32Array;
}

const ENTRY_BYTES = 128;
const MORE_BYTES = 4 + 16;

/** In `words`, of direction or end d at c × 32 + d. */
export const W_SENT_END = 26;
export const W_LIMIT = 28;
export const W_WINDOW_MAX = 30;
export const W_NOTE = 14;
/** In `bytes`, at c × 128; the last two of each end. */
const B_STATE = 48;
const B_FLAGS = 49;
const B_PEER_STATE = 52;
const B_SCALE = 54;

/** Changes whenever what stands where in the memory, or what it means, does. */
export const CONNECTION_MEMORY_VERSION = 2;

/** Bytes for `capacity` connections. */
export function connectionMemorySize(capacity: number): number {
  return capacity * (ENTRY_BYTES + MORE_BYTES);
}

/** Arrays for `capacity` connections, an even number, over `buffer` from `at` on; over memory of its own when absent. */
export function connectionMemory(
  capacity: number,
  buffer: ArrayBuffer = new ArrayBuffer(connectionMemorySize(capacity)),
  at = 0,
): ConnectionMemory {
  const size = capacity * ENTRY_BYTES;
  return {
    words: new Int32Array(buffer, at, size >>> 2),
    halves: new Uint16Array(buffer, at, size >>> 1),
    bytes: new Uint8Array(buffer, at, size),
    times: new Float64Array(buffer, at, size >>> 3),
    marks: new Int32Array(buffer, at + size, capacity),
    labels: new Int32Array(buffer, at + size + 4 * capacity, 4 * capacity),
  };
}

/** Where in `words` the tuple of connection × 2 + direction begins. */
export function tupleAt(found: number): number {
  return found << 4;
}

/** Where in `words` what is at `word` stands of connection × 2 + direction, or end. */
export function wordAt(found: number, word: number): number {
  return ((found >> 1) << 5) + word + (found & 1);
}

export function stateAt(connection: number): number {
  return (connection << 7) + B_STATE;
}
export function flagsAt(connection: number): number {
  return (connection << 7) + B_FLAGS;
}
/** In `halves`. */
export function portAt(connection: number): number {
  return (connection << 6) + 25;
}
/** In `times`. */
export function expiryAt(connection: number): number {
  return (connection << 4) + 5;
}
/** Of connection × 2 + end. */
export function peerStateAt(end: number): number {
  return ((end >> 1) << 7) + B_PEER_STATE + (end & 1);
}
export function scaleAt(end: number): number {
  return ((end >> 1) << 7) + B_SCALE + (end & 1);
}
