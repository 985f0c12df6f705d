// Values of protocols as JSON can carry them. Pure.

import type { Instruction, Match } from "../../base/openflow/index.js";
import { formatInstructions } from "./instruction-text.js";
import { formatMatch } from "./match-text.js";

const DEPTH_MAX = 32;

/** Numbers stay numbers where they are exact, bytes become hexadecimal, match and instructions flow syntax. */
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
    if (key === "instructions" && Array.isArray(one))
      return ["actions", formatInstructions(one as Instruction[])];
    return [key, toPlain(one, depth + 1)];
  });
  return Object.fromEntries(entries);
}
