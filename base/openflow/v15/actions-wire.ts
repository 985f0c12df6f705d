// The actions that OpenFlow 1.5 adds, and the ONF's extension for 1.3 and 1.4 that one of them comes from.
// Source: OpenFlow Switch Specification 1.5.1, 7.2.6.7 to 7.2.6.11; ONF extension 320.

import type { Action, SetFieldAction } from "../actions.js";
import { rangeOf, readFieldHeader } from "../bit-range-wire.js";
import { OFPM_MAX } from "../constants.js";
import { onesMask, readMaskedField, writeOxm, writeOxmHeader } from "../match-wire.js";
import type { MoveAction } from "../nicira-actions.js";
import { OXM_FIELDS } from "../oxm-fields.js";
import { setFieldOf } from "../set-field-loads.js";
import type { Reader, Writer } from "../wire.js";

const OFPAT_SET_FIELD = 25;
const OFPAT_COPY_FIELD = 28;
const OFPAT_METER = 29;
const ONFACT_COPY_FIELD = 3200;

/** Undefined when 1.3 has the type too. */
export function readAction15(type: number, body: Reader): Action | undefined {
  switch (type) {
    case OFPAT_SET_FIELD:
      return readSetField15(body);
    case OFPAT_COPY_FIELD:
      return readCopyField(body);
    case OFPAT_METER: {
      const meterId = body.u32("meter.meter_id");
      if (meterId === 0 || meterId > OFPM_MAX)
        throw body.fail("OFPMMFC_INVALID_METER", "meter.meter_id", `0x${meterId.toString(16)}`);
      return { type: "meter", meterId };
    }
    default:
      return undefined;
  }
}

function readSetField15(body: Reader): SetFieldAction {
  const { field, value, mask } = readMaskedField(body);
  const at = body.offset;
  const padding = body.rest();
  if (padding.some((byte) => byte !== 0))
    throw body.fail("NXBRC_MUST_BE_ZERO", "set_field.padding", "is not zero", at);
  const ones = onesMask(field, value.byteLength);
  const isWhole = mask.every((byte, i) => byte === ones[i]);
  return { type: "set_field", field: field.name, value, ...(isWhole ? {} : { mask }) };
}

/** ONF actions: copy-field of 1.5 under another header. */
export function readOnfAction(body: Reader): Action {
  const at = body.offset;
  const expType = body.u16("action.exp_type");
  if (expType !== ONFACT_COPY_FIELD)
    throw body.fail("OFPBAC_BAD_EXP_TYPE", "action.exp_type", `${expType}`, at);
  body.skip(2);
  return readCopyField(body);
}

function readCopyField(body: Reader): MoveAction {
  const bits = body.u16("copy_field.n_bits");
  const sourceOffset = body.u16("copy_field.src_offset");
  const destinationOffset = body.u16("copy_field.dst_offset");
  body.skip(2);
  const from = readFieldHeader(body, "copy_field.src");
  const to = readFieldHeader(body, "copy_field.dst");
  if (!to.writable) throw body.fail("OFPBAC_BAD_SET_TYPE", "copy_field.dst", `${to.name} may not be set`);
  body.skip(body.left);
  return {
    type: "move",
    source: rangeOf(body, from, sourceOffset, bits, "copy_field.src_offset"),
    destination: rangeOf(body, to, destinationOffset, bits, "copy_field.dst_offset"),
  };
}

/** False, with nothing written, for what is said as in 1.3. Padding and length are the caller's. */
export function writeAction15(writer: Writer, action: Action): boolean {
  switch (action.type) {
    case "load":
      writer.u16(OFPAT_SET_FIELD).u16(0);
      writeOxm(writer, setFieldOf(action));
      return true;
    case "move":
      writer.u16(OFPAT_COPY_FIELD).u16(0).u16(action.source.bits);
      writer.u16(action.source.offset).u16(action.destination.offset).zero(2);
      writeOxmHeader(writer, OXM_FIELDS[action.source.field], false);
      writeOxmHeader(writer, OXM_FIELDS[action.destination.field], false);
      return true;
    case "meter":
      writer.u16(OFPAT_METER).u16(0).u32(action.meterId);
      return true;
    default:
      return false;
  }
}
