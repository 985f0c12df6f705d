// Runs the set and move operations of a program on a key alone, without a packet: for what ct() does to ct_mark.
// Thread: datapath worker. Hot: yes.
import { OP_MOVE, OP_SET, type Program } from "./program.js";

export function runOnKey(program: Program, key: Int32Array): void {
  const code = program.code;
  for (let at = 0; at < code.length; ) {
    const count = code[at + 2]!;
    if (code[at] === OP_SET) at = setBits(code, at + 3, count, key);
    else if (code[at] === OP_MOVE) at = moveBits(code, at + 3, count, key, key);
    else return;
  }
}

/** (word, mask, value) × count from `at`; returns where they end. */
export function setBits(code: Int32Array, at: number, count: number, key: Int32Array): number {
  const end = at + 3 * count;
  for (; at < end; at += 3) {
    const word = code[at]!;
    key[word] = (key[word]! & ~code[at + 1]!) | code[at + 2]!;
  }
  return end;
}

/** (fromWord, fromShift, toWord, toShift, bits) × count from `at`, out of `from` into `to`; returns where they end. */
export function moveBits(
  code: Int32Array,
  at: number,
  count: number,
  from: Int32Array,
  to: Int32Array,
): number {
  const end = at + 5 * count;
  for (; at < end; at += 5) {
    const bits = code[at + 4]!;
    const mask = bits === 32 ? -1 : (1 << bits) - 1;
    const shift = code[at + 3]!;
    const value = (from[code[at]!]! >>> code[at + 1]!) & mask;
    const word = code[at + 2]!;
    to[word] = (to[word]! & ~(mask << shift)) | (value << shift);
  }
  return end;
}
