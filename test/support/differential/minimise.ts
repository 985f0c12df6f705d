// Makes a case that shows a difference smaller, by leaving parts of it out as long as a difference remains.
import { compareCase, type Difference, type DifferentialCase } from "./compare.js";
import type { SwitchPair } from "./switch-pair.js";

const TIME_MS = 120_000;
const PARTS = ["frames", "configuration", "openflow", "portConfigs"] as const;

interface Found {
  readonly one: DifferentialCase;
  readonly difference: Difference;
}

/** The smallest case that was found within two minutes. */
export async function minimise(
  pair: SwitchPair,
  one: DifferentialCase,
  difference: Difference,
): Promise<Found> {
  const end = performance.now() + TIME_MS;
  let found: Found = { one: cut(one, difference), difference };
  for (let before = -1; before !== size(found.one); ) {
    before = size(found.one);
    for (const part of PARTS) {
      for (let length = half(partOf(found.one, part).length); length > 0; length = half(length)) {
        found = await withoutPieces(pair, found, part, length, end);
        if (length === 1) break;
      }
    }
  }
  return found;
}

/** Tries to do without every piece of `length` elements, from the end. */
async function withoutPieces(
  pair: SwitchPair,
  found: Found,
  part: (typeof PARTS)[number],
  length: number,
  end: number,
): Promise<Found> {
  for (let first = partOf(found.one, part).length - length; first > -length; first -= length) {
    if (performance.now() > end) return found;
    const rest = partOf(found.one, part).filter((_, n) => n < first || n >= first + length);
    const smaller = { ...found.one, [part]: rest };
    const difference = await compareCase(pair, smaller);
    // A case that is refused differently shows another difference than one whose frames go elsewhere.
    const isSame = difference !== undefined && (difference.frames === 0) === (found.difference.frames === 0);
    if (isSame) found = { one: cut(smaller, difference), difference };
  }
  return found;
}

/** What comes after the difference has no part in it. */
function cut(one: DifferentialCase, { frames }: Difference): DifferentialCase {
  return { ...one, frames: one.frames.slice(0, frames) };
}

function partOf(one: DifferentialCase, part: (typeof PARTS)[number]): readonly unknown[] {
  return one[part] ?? [];
}

function half(length: number): number {
  return Math.ceil(length / 2);
}

function size(one: DifferentialCase): number {
  return PARTS.reduce((sum, part) => sum + partOf(one, part).length, 0);
}
