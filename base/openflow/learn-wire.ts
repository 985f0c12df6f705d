// The learn action as bytes. Source: ovs-actions(7) for meaning; layout as Open vSwitch writes and accepts it.
//
//   spec: | 2 bits 0 | source 1 | destination 2 | bits 11 |, then source: a value in whole 16-bit words or a range,
//   then destination: a range, or nothing for output. A zero ends the list, which zeros pad.
//
// A reader starts behind the subtype.
import type { Action, BitRange } from "./actions.js";
import { rangeOf, readFieldHeader, readRange, writeFieldHeader, writeRange } from "./bit-range-wire.js";
import type { LearnAction, LearnSpec } from "./nicira-actions.js";
import type { Reader, Writer } from "./wire.js";

export const NXAST_LEARN = 16;
export const NXAST_LEARN2 = 45;

const NX_LEARN_F_SEND_FLOW_REM = 1;
const NX_LEARN_F_DELETE_LEARNED = 2;
const NX_LEARN_F_WRITE_RESULT = 4;
const BITS = 0x7ff;
const DST_SHIFT = 11;
const DST = { match: 0, load: 1, output: 2 } as const;
const SRC_IMMEDIATE = 1 << 13;

export function readLearn(body: Reader, subtype: number): Action {
  const idleTimeoutSeconds = body.u16("learn.idle_timeout");
  const hardTimeoutSeconds = body.u16("learn.hard_timeout");
  const priority = body.u16("learn.priority");
  const cookie = body.u64("learn.cookie");
  const flags = body.u16("learn.flags");
  const tableId = body.u8("learn.table_id");
  const padding = body.u8("learn.pad");
  const finIdleTimeoutSeconds = body.u16("learn.fin_idle_timeout");
  const finHardTimeoutSeconds = body.u16("learn.fin_hard_timeout");
  if (tableId === 0xff || padding !== 0 || flags > (subtype === NXAST_LEARN ? 3 : 7))
    throw body.fail("OFPBAC_BAD_ARGUMENT", "learn.flags", `flags ${flags}, table ${tableId}, pad ${padding}`);
  const limit = subtype === NXAST_LEARN2 ? body.u32("learn.limit") : 0;
  const result = subtype === NXAST_LEARN2 ? readResult(body, flags) : undefined;
  return {
    type: "learn",
    idleTimeoutSeconds,
    hardTimeoutSeconds,
    priority,
    cookie,
    tableId,
    finIdleTimeoutSeconds,
    finHardTimeoutSeconds,
    sendFlowRemoved: (flags & NX_LEARN_F_SEND_FLOW_REM) !== 0,
    deleteLearned: (flags & NX_LEARN_F_DELETE_LEARNED) !== 0,
    limit,
    ...(result === undefined ? {} : { result }),
    specs: readSpecs(body),
  };
}

function readResult(body: Reader, flags: number): BitRange | undefined {
  const offset = body.u16("learn.result_dst_ofs");
  const padding = body.u16("learn.pad2");
  if (padding !== 0) throw body.fail("NXBAC_MUST_BE_ZERO", "learn.pad2", "is not zero");
  if ((flags & NX_LEARN_F_WRITE_RESULT) === 0) {
    if (offset !== 0) throw body.fail("OFPBAC_BAD_ARGUMENT", "learn.result_dst_ofs", "of no result");
    return undefined;
  }
  const field = readFieldHeader(body, "learn.result_dst");
  if (!field.writable) throw body.fail("OFPBAC_BAD_SET_TYPE", "learn.result_dst", "may not be set");
  return rangeOf(body, field, offset, 1, "learn.result_dst");
}

function readSpecs(body: Reader): LearnSpec[] {
  const specs: LearnSpec[] = [];
  while (body.left >= 2) {
    const header = body.u16("learn.spec");
    if (header === 0) break;
    specs.push(readSpec(body, header));
  }
  while (body.left > 0)
    if (body.u8("learn.padding") !== 0)
      throw body.fail("OFPBAC_BAD_ARGUMENT", "learn", "is not padded with zeros");
  return specs;
}

function readSpec(body: Reader, header: number): LearnSpec {
  const bits = header & BITS;
  const destinationKind = (header >> DST_SHIFT) & 3;
  const isImmediate = (header & SRC_IMMEDIATE) !== 0;
  // The two highest bits have no meaning.
  if (destinationKind === 3 || bits === 0)
    throw body.fail("OFPBAC_BAD_ARGUMENT", "learn.spec", `0x${header.toString(16)}`);
  if (destinationKind === DST.output) {
    if (isImmediate) throw body.fail("OFPBAC_BAD_ARGUMENT", "learn.spec", "output of a fixed value");
    return { kind: "output", source: readRange(body, bits, "learn.src") };
  }
  const source = isImmediate ? readImmediate(body, bits) : readRange(body, bits, "learn.src");
  const destination = readRange(body, bits, "learn.dst");
  return { kind: destinationKind === DST.match ? "match" : "load", source, destination };
}

/** What does not fit stays, down to whole bytes, so that it is told as in Open vSwitch; it does nothing. */
function readImmediate(body: Reader, bits: number): bigint {
  let value = 0n;
  for (const byte of body.copy(2 * Math.ceil(bits / 16), "learn.value")) value = (value << 8n) | BigInt(byte);
  return BigInt.asUintN(8 * Math.ceil(bits / 8), value);
}

/** Writes the action from its subtype on. */
export function writeLearn(writer: Writer, action: LearnAction): void {
  const { limit, result } = action;
  const second = limit !== 0 || result !== undefined;
  const flags =
    (action.sendFlowRemoved ? NX_LEARN_F_SEND_FLOW_REM : 0) |
    (action.deleteLearned ? NX_LEARN_F_DELETE_LEARNED : 0) |
    (result === undefined ? 0 : NX_LEARN_F_WRITE_RESULT);
  writer.u16(second ? NXAST_LEARN2 : NXAST_LEARN);
  writer.u16(action.idleTimeoutSeconds).u16(action.hardTimeoutSeconds).u16(action.priority);
  writer.u64(action.cookie).u16(flags).u8(action.tableId).zero(1);
  writer.u16(action.finIdleTimeoutSeconds).u16(action.finHardTimeoutSeconds);
  if (second)
    writer
      .u32(limit)
      .u16(result?.offset ?? 0)
      .zero(2);
  if (result !== undefined) writeFieldHeader(writer, result.field);
  for (const spec of action.specs) writeSpec(writer, spec);
}

function writeSpec(writer: Writer, spec: LearnSpec): void {
  const bits = spec.kind === "output" ? spec.source.bits : spec.destination.bits;
  const isImmediate = typeof spec.source === "bigint";
  writer.u16(bits | (DST[spec.kind] << DST_SHIFT) | (isImmediate ? SRC_IMMEDIATE : 0));
  if (typeof spec.source === "bigint") {
    for (let shift = 16 * (Math.ceil(bits / 16) - 1); shift >= 0; shift -= 16)
      writer.u16(Number((spec.source >> BigInt(shift)) & 0xffffn));
  } else writeRange(writer, spec.source);
  if (spec.kind !== "output") writeRange(writer, spec.destination);
}
