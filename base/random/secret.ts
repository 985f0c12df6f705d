// Randomness that nobody outside can know.
import { randomInt } from "node:crypto";

/**
 * An odd multiplier for a hash table whose keys come from outside, below 2³¹. Who knew it could choose keys that all
 * fall into one place, and make every lookup there a walk past thousands of entries. Odd, so that nothing is lost.
 */
export function secretMultiplier(): number {
  return randomInt(2 ** 31) | 1;
}
