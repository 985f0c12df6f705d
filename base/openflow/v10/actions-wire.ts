// Action lists of OpenFlow 1.0, as the actions of 1.3 that do the same.
// Source: OpenFlow Switch Specification 1.0.0, 5.2.4. What 1.0 writes as one action may be several of ours and is
// put together again when written: a VLAN action sets bits of the tag, which adds one where there is none; enqueue
// chooses a queue, outputs, and goes back to the default queue.

import { peekAction } from "../action-shapes.js";
import type { Action, Instruction, SetFieldAction } from "../actions.js";
import { NX_EXPERIMENTER, OFPG_MAX } from "../constants.js";
import type { LoadAction, NiciraAction } from "../nicira-actions.js";
import { isNiciraAction, NESTING_MAX, readNiciraAction, writeNiciraAction } from "../nicira-wire.js";
import type { OxmFieldName } from "../oxm-fields.js";
import { isLoadable, loadsOf } from "../set-field-loads.js";
import type { Reader, Writer } from "../wire.js";
import { nameOf } from "../wire.js";
import { bigEndian, narrowPort, numberOf, widenPort } from "./numbers.js";

const OFPAT10 = {
  output: 0,
  set_vlan_vid: 1,
  set_vlan_pcp: 2,
  strip_vlan: 3,
  set_dl_src: 4,
  set_dl_dst: 5,
  set_nw_src: 6,
  set_nw_dst: 7,
  set_nw_tos: 8,
  set_tp_src: 9,
  set_tp_dst: 10,
  enqueue: 11,
  vendor: 0xffff,
} as const;

/** Nicira's actions for what 1.0 lacks and 1.3 has. */
const NXAST_SET_QUEUE = 4;
const NXAST_DEC_TTL = 18;
const NXAST_PUSH_MPLS = 23;
const NXAST_POP_MPLS = 24;
const NXAST_SET_MPLS_TTL = 25;
const NXAST_DEC_MPLS_TTL = 26;
const NXAST_SET_MPLS_LABEL = 30;
const NXAST_SET_MPLS_TC = 31;
const NXAST_GROUP = 40;

const VLAN_PRESENT = 0x1000;

/** Reads actions to the reader's end. `depth` counts the actions around this list. */
export function readActions10(reader: Reader, depth = 0): readonly Action[] {
  const actions: Action[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const { length } = peekAction(reader);
    const type = reader.u16("action.type");
    reader.skip(2);
    const name = nameOf(OFPAT10, type);
    if (name === undefined) throw reader.fail("OFPBAC_BAD_TYPE", "action.type", `unknown type ${type}`, at);
    const body = reader.within(length - 4, "action", "OFPBAC_BAD_LEN");
    const read = readAction(name, body, depth);
    body.finish(`${name} action`);
    const fault = reader.checks?.actions(read, reader.version);
    if (fault !== undefined) throw reader.fail(fault, name, "is refused", at);
    actions.push(...read);
  }
  return actions;
}

function readAction(name: keyof typeof OFPAT10, body: Reader, depth: number): readonly Action[] {
  switch (name) {
    case "output": {
      const port = outputPort(body, body.u16("output.port"));
      return [{ type: "output", port, maxLength: body.u16("output.max_len") }];
    }
    case "set_vlan_vid": {
      const vid = body.u16("set_vlan_vid.vlan_vid");
      body.skip(2);
      if (vid > 0xfff) throw body.fail("OFPBAC_BAD_ARGUMENT", "set_vlan_vid.vlan_vid", `${vid}`);
      return [tagBits(0, 13, VLAN_PRESENT | vid)];
    }
    case "set_vlan_pcp": {
      const pcp = body.u8("set_vlan_pcp.vlan_pcp");
      body.skip(3);
      if (pcp > 7) throw body.fail("OFPBAC_BAD_ARGUMENT", "set_vlan_pcp.vlan_pcp", `${pcp}`);
      return [tagBits(12, 4, (pcp << 1) | 1)];
    }
    case "strip_vlan":
      body.skip(4);
      return [{ type: "pop_vlan" }];
    case "enqueue": {
      const port = outputPort(body, body.u16("enqueue.port"));
      body.skip(6);
      return enqueue(port, body.u32("enqueue.queue_id"));
    }
    case "vendor":
      return [readVendor(body, depth)];
    default:
      return [readSet(name, body)];
  }
}

function outputPort(body: Reader, port: number): number {
  if (port === 0xffff || (port >= 0xff00 && port < 0xfff8))
    throw body.fail("OFPBAC_BAD_OUT_PORT", "output.port", `0x${port.toString(16)} is no output port`);
  return widenPort(port);
}

/** Sets bits of the VLAN tag, its presence among them. */
function tagBits(offset: number, bits: number, value: number): LoadAction {
  return { type: "load", destination: { field: "vlan_tci", offset, bits }, value: BigInt(value) };
}

function enqueue(port: number, queueId: number): readonly Action[] {
  return [
    { type: "set_queue", queueId },
    { type: "output", port, maxLength: 0 },
    { type: "set_queue", queueId: 0 },
  ];
}

type SetName = Exclude<
  keyof typeof OFPAT10,
  "output" | "set_vlan_vid" | "set_vlan_pcp" | "strip_vlan" | "enqueue" | "vendor"
>;
const SETS: Readonly<Record<SetName, readonly [field: OxmFieldName, size: number]>> = {
  set_dl_src: ["eth_src", 6],
  set_dl_dst: ["eth_dst", 6],
  set_nw_src: ["ipv4_src", 4],
  set_nw_dst: ["ipv4_dst", 4],
  set_nw_tos: ["ip_dscp", 1],
  set_tp_src: ["tcp_src", 2],
  set_tp_dst: ["tcp_dst", 2],
};

function readSet(name: SetName, body: Reader): Action {
  const [field, size] = SETS[name];
  const value = body.copy(size, name);
  body.skip(size === 6 ? 6 : 4 - size);
  if (name !== "set_nw_tos") return { type: "set_field", field, value };
  const tos = value[0] as number;
  if ((tos & 3) !== 0) throw body.fail("OFPBAC_BAD_ARGUMENT", name, `0x${tos.toString(16)} has ECN bits`);
  return { type: "set_field", field, value: Uint8Array.of(tos >> 2) };
}

function readVendor(body: Reader, depth: number): Action {
  const experimenter = body.u32("action.vendor");
  if (experimenter !== NX_EXPERIMENTER) return { type: "experimenter", experimenter, data: body.rest() };
  const subtype = body.u16("action.subtype");
  const plain = readNicira10(subtype, body);
  if (plain !== undefined) return plain;
  body.offset -= 2;
  return readNiciraAction(body, (nested) => {
    if (depth + 1 >= NESTING_MAX) {
      throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.actions", "actions are nested too deeply");
    }
    return readActions10(nested, depth + 1);
  });
}

/** What is an action of its own in 1.3; undefined for everything else. */
function readNicira10(subtype: number, body: Reader): Action | undefined {
  switch (subtype) {
    case NXAST_SET_QUEUE:
      body.skip(2);
      return { type: "set_queue", queueId: body.u32("set_queue.queue_id") };
    case NXAST_DEC_TTL:
      body.skip(6);
      return { type: "dec_nw_ttl" };
    case NXAST_DEC_MPLS_TTL:
      body.skip(6);
      return { type: "dec_mpls_ttl" };
    case NXAST_SET_MPLS_TTL: {
      const ttl = body.u8("set_mpls_ttl.ttl");
      body.skip(5);
      return { type: "set_mpls_ttl", ttl };
    }
    case NXAST_PUSH_MPLS:
    case NXAST_POP_MPLS: {
      const etherType = body.u16("mpls.ethertype");
      body.skip(4);
      if (subtype === NXAST_POP_MPLS) return { type: "pop_mpls", etherType };
      if (etherType !== 0x8847 && etherType !== 0x8848)
        throw body.fail("OFPBAC_BAD_ARGUMENT", "push_mpls.ethertype", `0x${etherType.toString(16)}`);
      return { type: "push_mpls", etherType };
    }
    case NXAST_SET_MPLS_LABEL: {
      body.skip(2);
      const label = body.u32("set_mpls_label.label") & 0xfffff;
      return { type: "set_field", field: "mpls_label", value: bigEndian(label, 4) };
    }
    case NXAST_SET_MPLS_TC: {
      const tc = body.u8("set_mpls_tc.tc") & 7;
      body.skip(5);
      return { type: "set_field", field: "mpls_tc", value: Uint8Array.of(tc) };
    }
    case NXAST_GROUP: {
      body.skip(2);
      const groupId = body.u32("group.group_id");
      if (groupId > OFPG_MAX) throw body.fail("OFPBAC_BAD_OUT_GROUP", "group.group_id", `${groupId}`);
      return { type: "group", groupId };
    }
    default:
      return undefined;
  }
}

// --- Writing

function bigEndian64(number: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, number);
  return bytes;
}

/** The list of a flow whose instructions 1.0 can say; goto-table becomes a resubmit, the others are left out. */
export function actionsOf10(instructions: readonly Instruction[]): readonly Action[] {
  return instructions.flatMap((instruction): readonly Action[] => {
    if (instruction.type === "apply_actions") return instruction.actions;
    if (instruction.type === "write_metadata") {
      const [value, mask] = [bigEndian64(instruction.metadata), bigEndian64(instruction.mask)];
      return [{ type: "set_field", field: "metadata", value, mask, form: "write_metadata" }];
    }
    if (instruction.type !== "goto_table") return [];
    return [{ type: "resubmit", port: 0xfffffff8, tableId: instruction.tableId, withCt: false }];
  });
}

export function writeActions10(writer: Writer, actions: readonly Action[]): void {
  for (let i = 0; i < actions.length; i++) {
    const [first, second, third] = actions.slice(i, i + 3);
    if (
      first?.type === "set_queue" &&
      second?.type === "output" &&
      third?.type === "set_queue" &&
      third.queueId === 0
    ) {
      writer.u16(OFPAT10.enqueue).u16(16).u16(narrowPort(second.port)).zero(6).u32(first.queueId);
      i += 2;
    } else writeAction(writer, first as Action);
  }
}

function writeAction(writer: Writer, action: Action): void {
  if (action.type === "load" && action.destination.field === "vlan_tci" && writeTag(writer, action)) return;
  if (action.type !== "set_field" && isNiciraAction(action)) {
    writeNicira(writer, action);
    return;
  }
  const start = writer.size;
  if (!writePlain(writer, action)) return;
  writer.align8(start);
  writer.setLength(start + 2, start);
}

/** False when the bits are not those of a VLAN action. */
function writeTag(writer: Writer, action: LoadAction): boolean {
  const { offset, bits } = action.destination;
  const value = Number(action.value);
  if (offset === 0 && bits === 13 && (value & VLAN_PRESENT) !== 0)
    writer
      .u16(OFPAT10.set_vlan_vid)
      .u16(8)
      .u16(value & 0xfff)
      .zero(2);
  else if (offset === 12 && bits === 4 && (value & 1) !== 0)
    writer
      .u16(OFPAT10.set_vlan_pcp)
      .u16(8)
      .u8(value >> 1)
      .zero(3);
  else return false;
  return true;
}

/** False when there is no action whose length is to be told: 1.0 cannot say it, or it has been written whole. */
function writePlain(writer: Writer, action: Action): boolean {
  const nicira = (subtype: number): Writer =>
    writer.u16(OFPAT10.vendor).u16(0).u32(NX_EXPERIMENTER).u16(subtype);
  switch (action.type) {
    case "output":
      writer.u16(OFPAT10.output).u16(0).u16(narrowPort(action.port)).u16(action.maxLength);
      return true;
    case "pop_vlan":
      writer.u16(OFPAT10.strip_vlan).u16(0).zero(4);
      return true;
    case "set_field":
      return writeSet(writer, action);
    case "set_nw_ttl":
      writeNicira(writer, {
        type: "load",
        destination: { field: "nw_ttl", offset: 0, bits: 8 },
        value: BigInt(action.ttl),
      });
      return false;
    case "set_queue":
      nicira(NXAST_SET_QUEUE).zero(2).u32(action.queueId);
      return true;
    case "group":
      nicira(NXAST_GROUP).zero(2).u32(action.groupId);
      return true;
    case "dec_nw_ttl":
      nicira(NXAST_DEC_TTL).zero(6);
      return true;
    case "dec_mpls_ttl":
      nicira(NXAST_DEC_MPLS_TTL).zero(6);
      return true;
    case "set_mpls_ttl":
      nicira(NXAST_SET_MPLS_TTL).u8(action.ttl).zero(5);
      return true;
    case "push_mpls":
    case "pop_mpls":
      nicira(action.type === "push_mpls" ? NXAST_PUSH_MPLS : NXAST_POP_MPLS)
        .u16(action.etherType)
        .zero(4);
      return true;
    case "experimenter":
      writer.u16(OFPAT10.vendor).u16(0).u32(action.experimenter).put(action.data);
      return true;
    default:
      return false;
  }
}

const SET_NAMES: Readonly<Partial<Record<OxmFieldName, SetName>>> = {
  eth_src: "set_dl_src",
  eth_dst: "set_dl_dst",
  ipv4_src: "set_nw_src",
  ipv4_dst: "set_nw_dst",
  ip_dscp: "set_nw_tos",
  tcp_src: "set_tp_src",
  tcp_dst: "set_tp_dst",
  udp_src: "set_tp_src",
  udp_dst: "set_tp_dst",
  sctp_src: "set_tp_src",
  sctp_dst: "set_tp_dst",
};

/** As the set action of 1.0, or as Nicira's loads. */
function writeSet(writer: Writer, action: SetFieldAction): boolean {
  const { field, mask, form } = action;
  if (mask === undefined && (field === "vlan_vid" || field === "vlan_pcp")) {
    const number = numberOf(action.value);
    return writeTag(
      writer,
      field === "vlan_vid" ? tagBits(0, 13, VLAN_PRESENT | number) : tagBits(12, 4, (number << 1) | 1),
    );
  }
  const name = mask === undefined ? SET_NAMES[field] : undefined;
  if (name !== undefined) {
    const [, size] = SETS[name];
    const value = name === "set_nw_tos" ? bigEndian(numberOf(action.value) << 2, 1) : action.value;
    writer
      .u16(OFPAT10[name])
      .u16(0)
      .put(value)
      .zero(size === 6 ? 6 : 4 - size);
    return true;
  }
  if (mask === undefined && (field === "mpls_label" || field === "mpls_tc")) {
    writer.u16(OFPAT10.vendor).u16(0).u32(NX_EXPERIMENTER);
    if (field === "mpls_label") writer.u16(NXAST_SET_MPLS_LABEL).zero(2).put(action.value);
    else writer.u16(NXAST_SET_MPLS_TC).put(action.value).zero(5);
    return true;
  }
  const parts = form === undefined && isLoadable(field) ? loadsOf(action) : [action];
  for (const part of parts) writeNicira(writer, part);
  return false;
}

function writeNicira(writer: Writer, action: NiciraAction | SetFieldAction): void {
  const start = writer.size;
  writer.u16(OFPAT10.vendor).u16(0).u32(NX_EXPERIMENTER);
  writeNiciraAction(writer, action, writeActions10);
  writer.align8(start);
  writer.setLength(start + 2, start);
}
