// The Nicira actions as bytes: load, move, resubmit, ct, nat, ct_clear, controller.
// Source: ovs-actions(7) for meaning; the layouts are those that Open vSwitch prints and accepts (checked in
// message-wire.test.ts). A reader here starts behind the experimenter id.

import type { Action, NiciraAction, SetFieldAction } from "./actions.js";
import { packRange, rangeOf, readFieldHeader } from "./bit-range-wire.js";
import { OFPP_IN_PORT, OFPP_MAX, OFPTT_ALL } from "./constants.js";
import { onesMask, readMaskedField, writeOxm, writeOxmHeader } from "./match-wire.js";
import {
  NXAST_CT,
  NXAST_NAT,
  type ReadNested,
  readCt,
  readNat,
  type WriteNested,
  writeCt,
  writeNat,
} from "./nicira-ct-wire.js";
import { OFPXMC_EXPERIMENTER, OXM_FIELDS, type OxmField } from "./oxm-fields.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const NXAST_RESUBMIT = 1;
const NXAST_SET_TUNNEL = 2;
const NXAST_REG_MOVE = 6;
const NXAST_REG_LOAD = 7;
const NXAST_SET_TUNNEL64 = 9;
const NXAST_RESUBMIT_TABLE = 14;
const NXAST_CONTROLLER = 20;
const NXAST_REG_LOAD2 = 33;
const NXAST_CT_CLEAR = 43;
const NXAST_RESUBMIT_TABLE_CT = 44;

/** Reasons of packet-ins, shared with packet_in messages. */
export const OFPR = { no_match: 0, action: 1, invalid_ttl: 2 } as const;

/** Reads one Nicira action to the body's end; `readNested` reads the actions inside ct. */
export function readNiciraAction(body: Reader, readNested: ReadNested): Action {
  const at = body.offset;
  const subtype = body.u16("action.subtype");
  switch (subtype) {
    case NXAST_RESUBMIT:
    case NXAST_RESUBMIT_TABLE:
    case NXAST_RESUBMIT_TABLE_CT:
      return readResubmit(body, subtype);
    case NXAST_SET_TUNNEL:
      body.skip(2);
      return setTunnel(BigInt(body.u32("set_tunnel.tun_id")));
    case NXAST_SET_TUNNEL64:
      body.skip(6);
      return setTunnel(body.u64("set_tunnel.tun_id"));
    case NXAST_REG_MOVE:
      return readMove(body);
    case NXAST_REG_LOAD:
      return readLoad(body);
    case NXAST_REG_LOAD2:
      return readLoad2(body);
    case NXAST_CONTROLLER:
      return readController(body);
    case NXAST_CT:
      return readCt(body, readNested);
    case NXAST_NAT:
      return readNat(body);
    case NXAST_CT_CLEAR:
      body.skip(body.left);
      return { type: "ct_clear" };
    default:
      throw body.fail("OFPBAC_BAD_EXP_TYPE", "action.subtype", `unknown Nicira action ${subtype}`, at);
  }
}

/** Whether the action is a Nicira extension on the wire. */
export function isNiciraAction(action: Action): action is NiciraAction | SetFieldAction {
  switch (action.type) {
    case "load":
    case "move":
    case "resubmit":
    case "ct":
    case "nat":
    case "ct_clear":
    case "controller":
      return true;
    case "set_field":
      return action.mask !== undefined;
    default:
      return false;
  }
}

/** Writes the action from its subtype on; the caller has written the header before and pads after. */
export function writeNiciraAction(
  writer: Writer,
  action: NiciraAction | SetFieldAction,
  writeNested: WriteNested,
): void {
  switch (action.type) {
    case "load":
      writer.u16(NXAST_REG_LOAD).u16(packRange(action.destination));
      writeOxmHeader(writer, OXM_FIELDS[action.destination.field], false);
      writer.u64(action.value);
      return;
    case "move":
      writer.u16(NXAST_REG_MOVE).u16(action.source.bits);
      writer.u16(action.source.offset).u16(action.destination.offset);
      writeOxmHeader(writer, OXM_FIELDS[action.source.field], false);
      writeOxmHeader(writer, OXM_FIELDS[action.destination.field], false);
      return;
    case "set_field":
      writer.u16(NXAST_REG_LOAD2).zero(6);
      writeOxm(writer, action);
      return;
    case "resubmit":
      writer.u16(action.withCt ? NXAST_RESUBMIT_TABLE_CT : NXAST_RESUBMIT_TABLE);
      writer
        .u16(action.port & 0xffff)
        .u8(action.tableId)
        .zero(3);
      return;
    case "controller":
      writer.u16(NXAST_CONTROLLER).u16(action.maxLength).u16(action.controllerId);
      writer.u8(OFPR[action.reason]).zero(1);
      return;
    case "ct":
      writeCt(writer, action, writeNested);
      return;
    case "nat":
      writeNat(writer, action);
      return;
    case "ct_clear":
      writer.u16(NXAST_CT_CLEAR);
  }
}

function setTunnel(id: bigint): SetFieldAction {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigUint64(0, id);
  return { type: "set_field", field: "tunnel_id", value };
}

// --- Loads and moves

function requireWritable(body: Reader, field: OxmField, name: string): void {
  if (!field.writable) throw body.fail("OFPBAC_BAD_SET_TYPE", name, `${field.name} may not be set`);
}

function readLoad(body: Reader): Action {
  const packed = body.u16("load.ofs_nbits");
  const field = readFieldHeader(body, "load.dst");
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

function readLoad2(body: Reader): Action {
  body.skip(6);
  const { field, value, mask } = readMaskedField(body);
  body.skip(body.left);
  const action = { type: "set_field", field: field.name, value } as const;
  const ones = onesMask(field);
  return mask.every((byte, i) => byte === ones[i]) ? action : { ...action, mask };
}

function readMove(body: Reader): Action {
  const bits = body.u16("move.n_bits");
  const sourceOffset = body.u16("move.src_ofs");
  const destinationOffset = body.u16("move.dst_ofs");
  const from = readFieldHeader(body, "move.src");
  const to = readFieldHeader(body, "move.dst");
  requireWritable(body, to, "move.dst");
  body.skip(body.left);
  return {
    type: "move",
    source: rangeOf(body, from, sourceOffset, bits, "move.src_ofs"),
    destination: rangeOf(body, to, destinationOffset, bits, "move.dst_ofs"),
  };
}

// --- Resubmit and controller

/** OpenFlow 1.0 port numbers have 16 bits; its reserved ones map to the top of our 32. */
function widenPort(port: number): number {
  return port >= 0xff00 ? (0xffff0000 | port) >>> 0 : port;
}

function readResubmit(body: Reader, subtype: number): Action {
  const port = widenPort(body.u16("resubmit.in_port"));
  if (port > OFPP_MAX && port < OFPP_IN_PORT) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "resubmit.in_port", `0x${port.toString(16)} is no port`);
  }
  if (subtype === NXAST_RESUBMIT) {
    body.skip(4);
    return { type: "resubmit", port, tableId: OFPTT_ALL, withCt: false };
  }
  const tableId = body.u8("resubmit.table");
  body.skip(3);
  return { type: "resubmit", port, tableId, withCt: subtype === NXAST_RESUBMIT_TABLE_CT };
}

function readController(body: Reader): Action {
  const maxLength = body.u16("controller.max_len");
  const controllerId = body.u16("controller.controller_id");
  const reason = nameOf(OFPR, body.u8("controller.reason"));
  body.skip(1);
  if (reason === undefined) throw body.fail("OFPBAC_BAD_ARGUMENT", "controller.reason", "unknown reason");
  return { type: "controller", maxLength, controllerId, reason };
}
