// Ranges of bits inside fields, as Nicira actions write them: a field's header, an offset and a number of bits.

import type { BitRange } from "./actions.js";
import { readOxmHeader } from "./match-wire.js";
import type { OxmField } from "./oxm-fields.js";
import type { Reader } from "./wire.js";

export function packRange(range: BitRange): number {
  return (range.offset << 6) | (range.bits - 1);
}

export function rangeOf(body: Reader, field: OxmField, offset: number, bits: number, name: string): BitRange {
  if (bits < 1 || offset + bits > field.bits) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", name, `bits ${offset}..${offset + bits - 1} exceed ${field.name}`);
  }
  return { field: field.name, offset, bits };
}

/** The field of an OXM header inside an action: without mask. */
export function readFieldHeader(body: Reader, name: string): OxmField {
  const { field, hasMask } = readOxmHeader(body);
  if (hasMask) throw body.fail("OFPBAC_BAD_SET_TYPE", name, "the header of a field says that it is masked");
  return field;
}
