// Ranges of bits inside fields, as Nicira actions write them: a field's header, an offset and a number of bits.

import type { BitRange } from "./actions.js";
import { type OxmErrors, readOxmHeader, writeOxmHeader } from "./match-wire.js";
import { OXM_FIELDS, type OxmField, type OxmFieldName } from "./oxm-fields.js";
import { type Reader, WireError, type Writer } from "./wire.js";

export function packRange(range: BitRange): number {
  return (range.offset << 6) | (range.bits - 1);
}

export function rangeOf(body: Reader, field: OxmField, offset: number, bits: number, name: string): BitRange {
  if (bits < 1 || offset + bits > field.bits) {
    throw body.fail("OFPBAC_BAD_SET_LEN", name, `bits ${offset}..${offset + bits - 1} exceed ${field.name}`);
  }
  return { field: field.name, offset, bits };
}

/** Open vSwitch tells of such headers what it tells of those in a match; a size that is wrong makes another field. */
const HEADER_ERRORS: OxmErrors = {
  unknown: "OFPBMC_BAD_FIELD",
  size: "OFPBMC_BAD_FIELD",
  value: "OFPBAC_BAD_SET_ARGUMENT",
  mask: "OFPBMC_BAD_MASK",
};

/** The field of an OXM header inside an action: without mask. */
export function readFieldHeader(
  body: Reader,
  name: string,
  mayBeMasked: (field: OxmField) => boolean = () => false,
): OxmField {
  const { field, hasMask } = readOxmHeader(body, HEADER_ERRORS);
  if (hasMask && !mayBeMasked(field))
    throw body.fail("OFPBMC_BAD_MASK", name, "the header of a field says that it is masked");
  return field;
}

/** The same in the older actions, whose headers have 4 bytes. */
export function readShortHeader(body: Reader, name: string): OxmField {
  try {
    // What has no size of its own is told by its number alone.
    return readFieldHeader(body, name, ({ isVariable }) => isVariable);
  } catch (thrown) {
    if (!(thrown instanceof WireError) || !thrown.error.startsWith("OFPBMC_")) throw thrown;
    throw body.fail("OFPBAC_BAD_SET_TYPE", name, "is no field", thrown.offset);
  }
}

/** As Open vSwitch does inside its actions: the field's Nicira header where it has one. */
export function writeFieldHeader(writer: Writer, name: OxmFieldName): void {
  const field = OXM_FIELDS[name];
  const [alias] = field.aliases;
  if (alias === undefined) writeOxmHeader(writer, field, false);
  else
    writer
      .u16(alias[0])
      .u8(alias[1] << 1)
      .u8(field.size);
}

/** A header and an offset; the number of bits stands elsewhere. */
export function readRange(body: Reader, bits: number, name: string): BitRange {
  const field = readShortHeader(body, name);
  return rangeOf(body, field, body.u16(name), bits, name);
}

export function writeRange(writer: Writer, range: BitRange): void {
  writeFieldHeader(writer, range.field);
  writer.u16(range.offset);
}
