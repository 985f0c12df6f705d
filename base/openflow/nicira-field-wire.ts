// The Nicira actions on fields as bytes: load, masked set_field, move, push, pop, check_pkt_larger, set_tunnel.
// Source: ovs-actions(7) for meaning; layouts as Open vSwitch writes and accepts them. A reader starts behind the
// subtype, a writer begins with it.

import type { Action, BitRange, SetFieldAction } from "./actions.js";
import { packRange, rangeOf, readFieldHeader, readShortHeader, writeFieldHeader } from "./bit-range-wire.js";
import { onesMask, readMaskedField, writeNiciraOxm } from "./match-wire.js";
import type { CheckPacketLargerAction, LoadAction, MoveAction, StackAction } from "./nicira-actions.js";
import { OFPXMC_EXPERIMENTER, type OxmField } from "./oxm-fields.js";
import { type Reader, type Writer, zerosToEnd } from "./wire.js";

export const NXAST_SET_TUNNEL = 2;
export const NXAST_SET_TUNNEL64 = 9;
export const NXAST_WRITE_METADATA = 22;
export const NXAST_REG_MOVE = 6;
export const NXAST_REG_LOAD = 7;
export const NXAST_STACK_PUSH = 27;
export const NXAST_STACK_POP = 28;
export const NXAST_REG_LOAD2 = 33;
export const NXAST_CHECK_PKT_LARGER = 49;

function requireWritable(body: Reader, field: OxmField, name: string): void {
  if (!field.writable) throw body.fail("OFPBAC_BAD_SET_TYPE", name, `${field.name} may not be set`);
}

export function readLoad(body: Reader): Action {
  const packed = body.u16("load.ofs_nbits");
  const field = readShortHeader(body, "load.dst");
  if (field.oxmClass === OFPXMC_EXPERIMENTER) {
    throw body.fail("OFPBAC_BAD_SET_TYPE", "load.dst", `${field.name} has no 4-byte header`);
  }
  requireWritable(body, field, "load.dst");
  const value = body.u64("load.value");
  const destination = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "load.ofs_nbits");
  if (value >> BigInt(destination.bits) !== 0n) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "load.value", `does not fit ${destination.bits} bits`);
  }
  return { type: "load", destination, value };
}

export function writeLoad(writer: Writer, action: LoadAction): void {
  writer.u16(NXAST_REG_LOAD).u16(packRange(action.destination));
  writeFieldHeader(writer, action.destination.field);
  writer.u64(action.value);
}

/** The field follows the subtype without padding, as Open vSwitch reads it. */
export function readLoad2(body: Reader): Action {
  const { field, value, mask } = readMaskedField(body);
  zerosToEnd(body, "load", "OFPBAC_BAD_SET_ARGUMENT");
  const action = { type: "set_field", field: field.name, value } as const;
  const ones = onesMask(field);
  return mask.every((byte, i) => byte === ones[i]) ? action : { ...action, mask };
}

export function writeLoad2(writer: Writer, action: SetFieldAction): void {
  writer.u16(NXAST_REG_LOAD2);
  writeNiciraOxm(writer, action);
}

export function readMove(body: Reader): Action {
  const bits = body.u16("move.n_bits");
  const sourceOffset = body.u16("move.src_ofs");
  const destinationOffset = body.u16("move.dst_ofs");
  const from = readFieldHeader(body, "move.src");
  const to = readFieldHeader(body, "move.dst");
  zerosToEnd(body, "move");
  requireWritable(body, to, "move.dst");
  return {
    type: "move",
    source: rangeOf(body, from, sourceOffset, bits, "move.src_ofs"),
    destination: rangeOf(body, to, destinationOffset, bits, "move.dst_ofs"),
  };
}

export function writeMove(writer: Writer, action: MoveAction): void {
  writer.u16(NXAST_REG_MOVE).u16(action.source.bits);
  writer.u16(action.source.offset).u16(action.destination.offset);
  writeFieldHeader(writer, action.source.field);
  writeFieldHeader(writer, action.destination.field);
}

export function readStack(body: Reader, type: "push" | "pop"): Action {
  const offset = body.u16(`${type}.offset`);
  const field = readFieldHeader(body, `${type}.field`);
  if (type === "pop") requireWritable(body, field, "pop.field");
  const bits = body.u16(`${type}.n_bits`);
  zerosToEnd(body, type);
  const range = rangeOf(body, field, offset, bits, `${type}.offset`);
  return { type, range };
}

export function writeStack(writer: Writer, { type, range }: StackAction): void {
  writer.u16(type === "push" ? NXAST_STACK_PUSH : NXAST_STACK_POP).u16(range.offset);
  writeFieldHeader(writer, range.field);
  writer.u16(range.bits);
}

export function readCheckPacketLarger(body: Reader): Action {
  const sizeBytes = body.u16("check_pkt_larger.pkt_len");
  const offset = body.u16("check_pkt_larger.offset");
  const field = readFieldHeader(body, "check_pkt_larger.dst");
  zerosToEnd(body, "check_pkt_larger");
  requireWritable(body, field, "check_pkt_larger.dst");
  const destination: BitRange = rangeOf(body, field, offset, 1, "check_pkt_larger.offset");
  return { type: "check_pkt_larger", sizeBytes, destination };
}

export function writeCheckPacketLarger(writer: Writer, action: CheckPacketLargerAction): void {
  writer.u16(NXAST_CHECK_PKT_LARGER).u16(action.sizeBytes).u16(action.destination.offset);
  writeFieldHeader(writer, action.destination.field);
  writer.zero(6);
}

/** NXAST_SET_TUNNEL and NXAST_SET_TUNNEL64 are a set_field by another name. */
export function setTunnel(id: bigint, form: "set_tunnel" | "set_tunnel64"): SetFieldAction {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigUint64(0, id);
  return { type: "set_field", field: "tunnel_id", value, form };
}

/** NXAST_WRITE_METADATA, the instruction of 1.1 as an action. */
export function readWriteMetadata(body: Reader): Action {
  body.skip(6);
  const value = body.copy(8, "write_metadata.metadata");
  const mask = body.copy(8, "write_metadata.mask");
  const isWhole = mask.every((byte) => byte === 0xff);
  return {
    type: "set_field",
    field: "metadata",
    value,
    ...(isWhole ? {} : { mask }),
    form: "write_metadata",
  };
}

/** Of an action with a form. */
export function writeForm(writer: Writer, { value, mask, form }: SetFieldAction): void {
  if (form === "set_tunnel") writer.u16(NXAST_SET_TUNNEL).zero(2).put(value.subarray(4));
  else if (form === "set_tunnel64") writer.u16(NXAST_SET_TUNNEL64).zero(6).put(value);
  else
    writer
      .u16(NXAST_WRITE_METADATA)
      .zero(6)
      .put(value)
      .put(mask ?? new Uint8Array(8).fill(0xff));
}
