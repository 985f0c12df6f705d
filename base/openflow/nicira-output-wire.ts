// The Nicira actions that send a packet somewhere, as bytes: output to a register's port, truncated output, resubmit,
// controller in both forms. Source: ovs-actions(7) for meaning; layouts as Open vSwitch writes and accepts them.
// A reader starts behind the subtype, a writer begins with it.

import type { Action, PacketInReason } from "./actions.js";
import { packRange, rangeOf, readFieldHeader, readShortHeader, writeFieldHeader } from "./bit-range-wire.js";
import { OFP14_VERSION, OFPP_ANY, OFPP_IN_PORT, OFPP_MAX, OFPTT_ALL } from "./constants.js";
import type {
  ControllerAction,
  OutputRegAction,
  OutputTruncAction,
  ResubmitAction,
} from "./nicira-actions.js";
import { OFPXMC_EXPERIMENTER, OXM_FIELDS } from "./oxm-fields.js";
import { widenPort } from "./v10/numbers.js";
import { nameOf, type Reader, type Writer, zerosToEnd } from "./wire.js";

export const NXAST_RESUBMIT = 1;
export const NXAST_RESUBMIT_TABLE = 14;
export const NXAST_OUTPUT_REG = 15;
export const NXAST_CONTROLLER = 20;
export const NXAST_OUTPUT_REG2 = 32;
export const NXAST_CONTROLLER2 = 37;
export const NXAST_OUTPUT_TRUNC = 39;
export const NXAST_RESUBMIT_TABLE_CT = 44;

/** Reasons of packet-ins, shared with packet_in messages (1.4.1, 7.4.1). Controller actions have all in any version. */
export const OFPR = {
  no_match: 0,
  action: 1,
  invalid_ttl: 2,
  action_set: 3,
  group: 4,
  packet_out: 5,
} as const;

/** The number that a packet-in of that version tells, and that its masks go by: "action" for what only 1.4 tells apart. */
export function reasonCode(reason: PacketInReason, version: number): number {
  return version < OFP14_VERSION && OFPR[reason] > OFPR.invalid_ttl ? OFPR.action : OFPR[reason];
}

const NXAC2PT = { max_len: 0, controller_id: 1, reason: 2, userdata: 3, pause: 4, meter_id: 5 } as const;
const WHOLE_PACKET = 0xffff;
const EMPTY = new Uint8Array(0);
/** An Ethernet header is always sent. */
const TRUNCATED_MIN = 14;

/** Of 16 bits, and a port or a word for one. */
function readPort(body: Reader, name: string): number {
  const at = body.offset;
  const port = body.u16(name);
  const wide = widenPort(port);
  if ((wide > OFPP_MAX && wide < OFPP_IN_PORT) || wide === OFPP_ANY)
    throw body.fail("OFPBAC_BAD_OUT_PORT", name, `0x${port.toString(16)} is no port`, at);
  return wide;
}

export function readResubmit(body: Reader, subtype: number): Action {
  // It is compared only: any number will do.
  const port = widenPort(body.u16("resubmit.in_port"));
  if (subtype === NXAST_RESUBMIT) {
    body.skip(4);
    return { type: "resubmit", port, tableId: OFPTT_ALL, withCt: false, form: "short" };
  }
  const tableId = body.u8("resubmit.table");
  zerosToEnd(body, "resubmit", "OFPBAC_BAD_ARGUMENT");
  return { type: "resubmit", port, tableId, withCt: subtype === NXAST_RESUBMIT_TABLE_CT };
}

export function writeResubmit(writer: Writer, { port, tableId, withCt, form }: ResubmitAction): void {
  if (form === "short") {
    writer
      .u16(NXAST_RESUBMIT)
      .u16(port & 0xffff)
      .zero(4);
    return;
  }
  writer.u16(withCt ? NXAST_RESUBMIT_TABLE_CT : NXAST_RESUBMIT_TABLE);
  writer
    .u16(port & 0xffff)
    .u8(tableId)
    .zero(3);
}

export function readOutputReg(body: Reader, subtype: number): Action {
  const packed = body.u16("output_reg.ofs_nbits");
  let maxLength = subtype === NXAST_OUTPUT_REG2 ? body.u16("output_reg.max_len") : 0;
  const isShort = subtype === NXAST_OUTPUT_REG;
  const field = (isShort ? readShortHeader : readFieldHeader)(body, "output_reg.src");
  if (subtype === NXAST_OUTPUT_REG) maxLength = body.u16("output_reg.max_len");
  zerosToEnd(body, "output_reg", isShort ? "OFPBAC_BAD_ARGUMENT" : undefined);
  const source = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "output_reg.ofs_nbits");
  return { type: "output_reg", source, maxLength };
}

/** The first form where the field's header has the 4 bytes that it takes. */
export function writeOutputReg(writer: Writer, { source, maxLength }: OutputRegAction): void {
  const { oxmClass, aliases } = OXM_FIELDS[source.field];
  if (oxmClass === OFPXMC_EXPERIMENTER && aliases.length === 0) {
    writer.u16(NXAST_OUTPUT_REG2).u16(packRange(source)).u16(maxLength);
    writeFieldHeader(writer, source.field);
    return;
  }
  writer.u16(NXAST_OUTPUT_REG).u16(packRange(source));
  writeFieldHeader(writer, source.field);
  writer.u16(maxLength).zero(6);
}

export function readOutputTrunc(body: Reader): Action {
  const port = readPort(body, "output_trunc.port");
  const maxLength = body.u32("output_trunc.max_len");
  if (maxLength < TRUNCATED_MIN)
    throw body.fail(
      "OFPBAC_BAD_ARGUMENT",
      "output_trunc.max_len",
      `${maxLength} is less than ${TRUNCATED_MIN}`,
    );
  return { type: "output_trunc", port, maxLength };
}

export function writeOutputTrunc(writer: Writer, { port, maxLength }: OutputTruncAction): void {
  writer
    .u16(NXAST_OUTPUT_TRUNC)
    .u16(port & 0xffff)
    .u32(maxLength);
}

export function readController(body: Reader): Action {
  const maxLength = body.u16("controller.max_len");
  const controllerId = body.u16("controller.controller_id");
  const reason = readReason(body);
  body.skip(1);
  return { type: "controller", maxLength, controllerId, reason };
}

function readReason(body: Reader): PacketInReason {
  const reason = nameOf(OFPR, body.u8("controller.reason"));
  if (reason === undefined) throw body.fail("OFPBAC_BAD_ARGUMENT", "controller.reason", "unknown reason");
  return reason;
}

/** Properties of a type and a length each, padded to 8 bytes; what is absent has its usual value. */
export function readController2(body: Reader): Action {
  zerosToEnd(body.within(6, "controller"), "controller");
  const action: { -readonly [K in keyof ControllerAction]: ControllerAction[K] } = {
    type: "controller",
    maxLength: WHOLE_PACKET,
    controllerId: 0,
    reason: "action",
  };
  while (body.left > 0) {
    const at = body.offset;
    const type = body.u16("controller.property");
    const length = body.u16("controller.property.length");
    const name = nameOf(NXAC2PT, type);
    if (name === undefined)
      throw body.fail("OFPTFFC_BAD_TYPE", "controller.property", `${type} is not known`, at);
    if (length < 4 || length - 4 > body.left)
      throw body.fail("OFPTFFC_BAD_LEN", "controller.property.length", `${length}`, at);
    const property = body.within(length - 4, "controller.property", "OFPTFFC_BAD_LEN");
    readProperty(property, name, action);
    body.skip(Math.min(body.left, (8 - (length % 8)) % 8));
  }
  return action;
}

function readProperty(
  body: Reader,
  name: keyof typeof NXAC2PT,
  action: { -readonly [K in keyof ControllerAction]: ControllerAction[K] },
): void {
  switch (name) {
    case "max_len":
      action.maxLength = body.u16("controller.max_len");
      return;
    case "controller_id":
      action.controllerId = body.u16("controller.controller_id");
      return;
    case "reason":
      action.reason = readReason(body);
      return;
    case "userdata":
      action.userdata = body.rest();
      return;
    case "pause":
      action.pause = true;
      return;
    case "meter_id": {
      // There is no meter 0.
      const meterId = body.u32("controller.meter_id");
      if (meterId !== 0) action.meterId = meterId;
    }
  }
}

/** The first form when it can say everything. */
export function writeController(writer: Writer, action: ControllerAction): void {
  const { maxLength, controllerId, reason, userdata, pause, meterId } = action;
  const data = userdata ?? EMPTY;
  if (data.byteLength === 0 && pause === undefined && meterId === undefined) {
    writer.u16(NXAST_CONTROLLER).u16(maxLength).u16(controllerId).u8(OFPR[reason]).zero(1);
    return;
  }
  writer.u16(NXAST_CONTROLLER2).zero(6);
  if (maxLength !== WHOLE_PACKET) writer.u16(NXAC2PT.max_len).u16(8).u16(maxLength).zero(2);
  if (controllerId !== 0) writer.u16(NXAC2PT.controller_id).u16(8).u16(controllerId).zero(2);
  if (reason !== "action") writer.u16(NXAC2PT.reason).u16(5).u8(OFPR[reason]).zero(3);
  if (data.byteLength > 0) {
    const start = writer.size;
    writer
      .u16(NXAC2PT.userdata)
      .u16(4 + data.byteLength)
      .put(data)
      .align8(start);
  }
  if (pause !== undefined) writer.u16(NXAC2PT.pause).u16(4).zero(4);
  if (meterId !== undefined) writer.u16(NXAC2PT.meter_id).u16(8).u32(meterId);
}
