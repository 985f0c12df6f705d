// Matches of flows, kept small: what many flows have in common, their fields and masks, is kept once, and of each flow
// only the bytes of its values, in one piece. As a controller wrote it, a match of five fields is eleven objects, which
// a garbage collector has to copy for each flow that comes.
// Invariant: what was kept comes back equal, in the same order. Thread: datapath worker.
import type { Match, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";

interface ShapeField {
  readonly field: OxmFieldName;
  readonly sizeBytes: number;
  readonly mask: Uint8Array | undefined;
}

/** All of a match but its values. */
export type MatchShape = readonly ShapeField[];

/** Shapes that were kept last: a controller uses few. */
const SHAPES_SHARED = 16;

const shapes: MatchShape[] = [];
let oldest = 0;

/** The shape of the match, shared with others where it can be. */
export function shapeOf(match: Match): MatchShape {
  for (let i = 0; i < shapes.length; i++) if (isOfShape(match, shapes[i]!)) return shapes[i]!;
  const shape = match.map(({ field, value, mask }) => ({
    field,
    sizeBytes: value.byteLength,
    mask: mask?.slice(),
  }));
  shapes[oldest] = shape;
  oldest = (oldest + 1) % SHAPES_SHARED;
  return shape;
}

/** The values of the match, one behind the other. */
export function valuesOf(match: Match): Uint8Array {
  let size = 0;
  for (let i = 0; i < match.length; i++) size += match[i]!.value.byteLength;
  const values = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < match.length; i++) {
    const { value } = match[i]!;
    for (let n = 0; n < value.byteLength; n++) values[at + n] = value[n]!;
    at += value.byteLength;
  }
  return values;
}

/** The match of that shape with these values. Its masks are the shape's. */
export function matchOf(shape: MatchShape, values: Uint8Array): Match {
  const match: OxmEntry[] = [];
  let at = 0;
  for (const { field, sizeBytes, mask } of shape) {
    const value = values.slice(at, at + sizeBytes);
    match.push(mask === undefined ? { field, value } : { field, value, mask });
    at += sizeBytes;
  }
  return match;
}

function isOfShape(match: Match, shape: MatchShape): boolean {
  if (match.length !== shape.length) return false;
  for (let i = 0; i < match.length; i++) {
    const { field, value, mask } = match[i]!;
    const wanted = shape[i]!;
    if (field !== wanted.field || value.byteLength !== wanted.sizeBytes) return false;
    if (!isSame(mask, wanted.mask)) return false;
  }
  return true;
}

function isSame(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.byteLength !== b.byteLength) return false;
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return false;
  return true;
}
