// Values of protocols as JSON can carry them. Pure.

import type { Instruction, Match } from "../../base/openflow/index.js";
import { formatInstructions } from "./instruction-text.js";
import { formatMatch } from "./match-text.js";

const DEPTH_MAX = 32;

/** What a switch says of a counter that it does not keep (OpenFlow 1.3.5, 5.8). */
const UNKNOWN_COUNT = 0xffffffffffffffffn;
/** Cookies, metadata and generations are as long, and may be that number. */
const COUNTER = /(?:Count|Packets|Bytes|Dropped|Errors|collisions)$/;

/**
 * Numbers stay numbers where they are exact, bytes become hexadecimal, match and instructions flow syntax; a counter
 * that the switch does not keep is null.
 */
export function toPlain(value: unknown, depth = 0): unknown {
  if (depth > DEPTH_MAX) return null;
  if (typeof value === "bigint") {
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : `0x${value.toString(16)}`;
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (Array.isArray(value)) return value.map((one) => toPlain(one, depth + 1));
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([key, one]) => {
    if (key === "match" && Array.isArray(one)) return [key, formatMatch(one as Match)];
    if (key === "instructions" && Array.isArray(one) && !one.some(isNumbered))
      return ["actions", formatInstructions(one as Instruction[])];
    if (one === UNKNOWN_COUNT && COUNTER.test(key)) return [key, null];
    return [key, toPlain(one, depth + 1)];
  });
  return Object.fromEntries(entries);
}

/** What a table supports is told by the numbers of types (OpenFlow 1.3.5, 7.3.5.5.2), and is no list to carry out. */
function isNumbered(instruction: { readonly type: unknown }): boolean {
  return typeof instruction.type === "number";
}
