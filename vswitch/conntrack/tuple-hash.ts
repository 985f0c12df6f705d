// Hashes of tuples, by multipliers that nobody outside knows: who could choose colliding ones would make everybody's slow.
// Pure. Hot: yes.
import { secretMultiplier } from "../../base/random/index.js";
import { isIpv6, T_DST, T_KIND, T_PORTS, T_SRC, TUPLE_WORDS } from "./tuple.js";

const MIX = Int32Array.from({ length: TUPLE_WORDS }, secretMultiplier);

/** Of a tuple in `words` from `at`. */
export function hashTuple(words: Int32Array, at: number): number {
  const kind = words[at + T_KIND]!;
  if (!isIpv6(kind)) return hashIpv4(words[at + T_SRC]!, words[at + T_DST]!, words[at + T_PORTS]!, kind);
  let hash = 0;
  for (let i = 0; i < TUPLE_WORDS; i++) {
    hash = Math.imul((hash ^ (hash >>> 15)) + words[at + i]!, MIX[i]!);
  }
  hash ^= hash >>> 16;
  return hash ^ (hash >>> 7);
}

const [MIX_SOURCE, MIX_DESTINATION, MIX_PORTS, MIX_KIND] = [T_SRC, T_DST, T_PORTS, T_KIND].map(
  (i) => MIX[i]!,
) as [number, number, number, number];

/** The same of a tuple of IPv4, by those of its words that are not zero. */
export function hashIpv4(source: number, destination: number, ports: number, kind: number): number {
  let hash = Math.imul(source, MIX_SOURCE);
  hash = Math.imul((hash ^ (hash >>> 15)) + destination, MIX_DESTINATION);
  hash = Math.imul((hash ^ (hash >>> 15)) + ports, MIX_PORTS);
  hash = Math.imul((hash ^ (hash >>> 15)) + kind, MIX_KIND);
  hash ^= hash >>> 16;
  return hash ^ (hash >>> 7);
}

/** Of its zone and source. */
export function hashSource(words: Int32Array, at: number): number {
  let hash = Math.imul(words[at + T_KIND]! & 0xffff, MIX[0]!);
  for (let i = 0; i < 4; i++) hash = Math.imul((hash ^ (hash >>> 15)) + words[at + i]!, MIX[i + 1]!);
  return hash ^ (hash >>> 16);
}
