// Instruction lists that were read not long ago, by their bytes. Most flows of a controller do one of few things: a list
// that comes again need not be read again, nor be kept again with each flow.
// Invariant: what is given is what the same bytes would be read as; nobody changes what was read.
import type { Instruction } from "./actions.js";

/** A power of two. */
const PLACES = 256;
/** Longer lists are rare, and seldom the same. */
const SIZE_MAX = 64;
export const NO_INSTRUCTIONS: readonly Instruction[] = [];

interface Remembered {
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly instructions: readonly Instruction[];
}

export class RememberedInstructions {
  readonly #places = new Array<Remembered | undefined>(PLACES).fill(undefined);

  /** What bytes[from] up to bytes[to] were read as in that version, or undefined. */
  find(version: number, bytes: Uint8Array, from: number, to: number): readonly Instruction[] | undefined {
    if (to - from > SIZE_MAX) return undefined;
    const one = this.#places[placeOf(bytes, from, to)];
    if (one === undefined || one.version !== version || one.bytes.length !== to - from) return undefined;
    for (let i = 0; i < one.bytes.length; i++) if (one.bytes[i] !== bytes[from + i]) return undefined;
    return one.instructions;
  }

  keep(
    version: number,
    bytes: Uint8Array,
    from: number,
    to: number,
    instructions: readonly Instruction[],
  ): void {
    if (to - from > SIZE_MAX) return;
    this.#places[placeOf(bytes, from, to)] = { version, bytes: bytes.slice(from, to), instructions };
  }
}

function placeOf(bytes: Uint8Array, from: number, to: number): number {
  let hash = to - from;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return (hash ^ (hash >>> 15)) & (PLACES - 1);
}
