// The Nicira actions as bytes: which one a subtype is, and the small ones.
// Source: ovs-actions(7) for meaning; the layouts are those that Open vSwitch prints and accepts (checked in
// test/conformance/flow-text.test.ts). A reader here starts behind the experimenter id.

import type { Action, SetFieldAction } from "./actions.js";
import {
  NXAST_BUNDLE,
  NXAST_BUNDLE_LOAD,
  NXAST_MULTIPATH,
  readBundle,
  readMultipath,
  writeBundle,
  writeMultipath,
} from "./choice-wire.js";
import { NXAST_LEARN, NXAST_LEARN2, readLearn, writeLearn } from "./learn-wire.js";
import type { NiciraAction } from "./nicira-actions.js";
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
import * as F from "./nicira-field-wire.js";
import * as H from "./nicira-header-wire.js";
import * as O from "./nicira-output-wire.js";
import { OXM_FIELDS } from "./oxm-fields.js";
import { setFieldOf } from "./set-field-loads.js";
import { type Reader, type Writer, zerosToEnd } from "./wire.js";

export { OFPR, reasonCode } from "./nicira-output-wire.js";

const NXAST_POP_QUEUE = 5;
const NXAST_NOTE = 8;
const NXAST_EXIT = 17;
const NXAST_FIN_TIMEOUT = 19;
const NXAST_DEC_TTL_CNT_IDS = 21;
const NXAST_CONJUNCTION = 34;
const NXAST_CLONE = 42;
const NXAST_CT_CLEAR = 43;

const NOTE_MIN = 6;
const CLAUSES_MIN = 2;
const CLAUSES_MAX = 64;

type Read = (body: Reader, readNested: ReadNested, subtype: number) => Action;

const READERS = new Map<number, Read>([
  [O.NXAST_RESUBMIT, (body, _, subtype) => O.readResubmit(body, subtype)],
  [O.NXAST_RESUBMIT_TABLE, (body, _, subtype) => O.readResubmit(body, subtype)],
  [O.NXAST_RESUBMIT_TABLE_CT, (body, _, subtype) => O.readResubmit(body, subtype)],
  [O.NXAST_OUTPUT_REG, (body, _, subtype) => O.readOutputReg(body, subtype)],
  [O.NXAST_OUTPUT_REG2, (body, _, subtype) => O.readOutputReg(body, subtype)],
  [O.NXAST_OUTPUT_TRUNC, O.readOutputTrunc],
  [O.NXAST_CONTROLLER, O.readController],
  [O.NXAST_CONTROLLER2, O.readController2],
  [F.NXAST_WRITE_METADATA, F.readWriteMetadata],
  [F.NXAST_REG_MOVE, F.readMove],
  [F.NXAST_REG_LOAD, F.readLoad],
  [F.NXAST_REG_LOAD2, F.readLoad2],
  [F.NXAST_STACK_PUSH, (body) => F.readStack(body, "push")],
  [F.NXAST_STACK_POP, (body) => F.readStack(body, "pop")],
  [F.NXAST_CHECK_PKT_LARGER, F.readCheckPacketLarger],
  [NXAST_MULTIPATH, readMultipath],
  [NXAST_BUNDLE, (body, _, subtype) => readBundle(body, subtype)],
  [NXAST_BUNDLE_LOAD, (body, _, subtype) => readBundle(body, subtype)],
  [NXAST_LEARN, (body, _, subtype) => readLearn(body, subtype)],
  [NXAST_LEARN2, (body, _, subtype) => readLearn(body, subtype)],
  [NXAST_CT, readCt],
  [NXAST_NAT, readNat],
  [F.NXAST_SET_TUNNEL, (body) => F.setTunnel(BigInt(after(body, 2).u32("set_tunnel.tun_id")), "set_tunnel")],
  [F.NXAST_SET_TUNNEL64, (body) => F.setTunnel(after(body, 6).u64("set_tunnel.tun_id"), "set_tunnel64")],
  [NXAST_NOTE, readNote],
  [NXAST_FIN_TIMEOUT, readFinTimeout],
  [NXAST_DEC_TTL_CNT_IDS, readDecTtlIds],
  [NXAST_CONJUNCTION, readConjunction],
  [NXAST_CLONE, (body, readNested) => ({ type: "clone", actions: readNested(after(body, 6)) })],
  [H.NXAST_ENCAP, H.readEncap],
  [H.NXAST_DECAP, H.readDecap],
  [H.NXAST_DELETE_FIELD, H.readDeleteField],
  [H.NXAST_SAMPLE, (body, _, subtype) => H.readSample(body, subtype)],
  [H.NXAST_SAMPLE2, (body, _, subtype) => H.readSample(body, subtype)],
  [H.NXAST_SAMPLE3, (body, _, subtype) => H.readSample(body, subtype)],
  ...bare(H.NXAST_DEC_NSH_TTL, "dec_nsh_ttl"),
  ...bare(NXAST_CT_CLEAR, "ct_clear"),
  ...bare(NXAST_EXIT, "exit"),
  ...bare(NXAST_POP_QUEUE, "pop_queue"),
]);

function bare(subtype: number, type: "ct_clear" | "exit" | "pop_queue" | "dec_nsh_ttl"): [number, Read][] {
  return [[subtype, (body) => padded(body, { type })]];
}

/** The body behind `size` bytes of padding. */
function after(body: Reader, size: number): Reader {
  body.skip(size);
  return body;
}

/** `value`, after which there is only padding. */
function padded<T>(body: Reader, value: T): T {
  body.skip(body.left);
  return value;
}

/** How deep actions may nest: ct or clone inside a list, their own actions inside them. */
export const NESTING_MAX = 4;

/** Those that stand in a standard place from 1.1 on are read in v10/actions-wire.ts. Reads one Nicira action to the body's end; `readNested` reads the actions inside ct and clone. */
export function readNiciraAction(body: Reader, readNested: ReadNested): Action {
  const at = body.offset;
  const subtype = body.u16("action.subtype");
  const read = READERS.get(subtype);
  if (read === undefined)
    throw body.fail("OFPBAC_BAD_EXP_TYPE", "action.subtype", `unknown Nicira action ${subtype}`, at);
  return read(body, readNested, subtype);
}

function readNote(body: Reader): Action {
  return { type: "note", data: body.rest() };
}

function readFinTimeout(body: Reader): Action {
  const idleTimeoutSeconds = body.u16("fin_timeout.idle_timeout");
  const hardTimeoutSeconds = body.u16("fin_timeout.hard_timeout");
  body.skip(2);
  return { type: "fin_timeout", idleTimeoutSeconds, hardTimeoutSeconds };
}

function readDecTtlIds(body: Reader): Action {
  const count = body.u16("dec_ttl.n_controllers");
  zerosToEnd(body.within(4, "dec_ttl"), "dec_ttl");
  const controllerIds = Array.from({ length: count }, () => body.u16("dec_ttl.controller_id"));
  return padded(body, { type: "dec_ttl_ids", controllerIds });
}

function readConjunction(body: Reader): Action {
  const clause = body.u8("conjunction.clause");
  const clauseCount = body.u8("conjunction.n_clauses");
  const id = body.u32("conjunction.id");
  if (clauseCount < CLAUSES_MIN || clauseCount > CLAUSES_MAX || clause >= clauseCount)
    throw body.fail("NXBAC_BAD_CONJUNCTION", "conjunction.clause", `${clause + 1} of ${clauseCount}`);
  return { type: "conjunction", id, clause, clauseCount };
}

const NICIRA_TYPES: ReadonlySet<string> = new Set<NiciraAction["type"]>([
  "load",
  "move",
  "resubmit",
  "ct",
  "nat",
  "ct_clear",
  "exit",
  "pop_queue",
  "controller",
  "output_reg",
  "output_trunc",
  "note",
  "push",
  "pop",
  "dec_ttl_ids",
  "multipath",
  "bundle",
  "learn",
  "fin_timeout",
  "conjunction",
  "clone",
  "check_pkt_larger",
  "encap",
  "decap",
  "delete_field",
  "sample",
  "dec_nsh_ttl",
]);

/** Whether the action is a Nicira extension on the wire. */
export function isNiciraAction(action: Action): action is NiciraAction | SetFieldAction {
  if (action.type === "set_field") return action.mask !== undefined || action.form !== undefined;
  return NICIRA_TYPES.has(action.type);
}

/** Writes the action from its subtype on; the caller has written the header before and pads after. */
export function writeNiciraAction(
  writer: Writer,
  action: NiciraAction | SetFieldAction,
  writeNested: WriteNested,
): void {
  switch (action.type) {
    case "load":
      // Of what has no size of its own there are only masked loads, as in Open vSwitch.
      if (OXM_FIELDS[action.destination.field].isVariable) F.writeLoad2(writer, setFieldOf(action));
      else F.writeLoad(writer, action);
      return;
    case "move":
      F.writeMove(writer, action);
      return;
    case "set_field":
      if (action.form === undefined) F.writeLoad2(writer, action);
      else F.writeForm(writer, action);
      return;
    case "push":
    case "pop":
      F.writeStack(writer, action);
      return;
    case "check_pkt_larger":
      F.writeCheckPacketLarger(writer, action);
      return;
    case "resubmit":
      O.writeResubmit(writer, action);
      return;
    case "controller":
      O.writeController(writer, action);
      return;
    case "output_reg":
      O.writeOutputReg(writer, action);
      return;
    case "output_trunc":
      O.writeOutputTrunc(writer, action);
      return;
    case "ct":
      writeCt(writer, action, writeNested);
      return;
    case "nat":
      writeNat(writer, action);
      return;
    case "learn":
      writeLearn(writer, action);
      return;
    case "multipath":
      writeMultipath(writer, action);
      return;
    case "bundle":
      writeBundle(writer, action);
      return;
    case "encap":
      H.writeEncap(writer, action);
      return;
    case "decap":
      H.writeDecap(writer, action);
      return;
    case "delete_field":
      H.writeDeleteField(writer, action);
      return;
    case "sample":
      H.writeSample(writer, action);
      return;
    default:
      writeSmall(writer, action, writeNested);
  }
}

type SmallAction = Extract<
  NiciraAction,
  {
    readonly type:
      | "ct_clear"
      | "exit"
      | "pop_queue"
      | "note"
      | "dec_ttl_ids"
      | "fin_timeout"
      | "conjunction"
      | "clone"
      | "dec_nsh_ttl";
  }
>;

function writeSmall(writer: Writer, action: SmallAction, writeNested: WriteNested): void {
  switch (action.type) {
    case "ct_clear":
      writer.u16(NXAST_CT_CLEAR);
      return;
    case "exit":
      writer.u16(NXAST_EXIT);
      return;
    case "pop_queue":
      writer.u16(NXAST_POP_QUEUE);
      return;
    case "dec_nsh_ttl":
      writer.u16(H.NXAST_DEC_NSH_TTL);
      return;
    case "note": {
      const { data } = action;
      writer
        .u16(NXAST_NOTE)
        .put(data)
        .zero(Math.max(0, NOTE_MIN - data.byteLength));
      return;
    }
    case "dec_ttl_ids":
      writer.u16(NXAST_DEC_TTL_CNT_IDS).u16(action.controllerIds.length).zero(4);
      for (const id of action.controllerIds) writer.u16(id);
      return;
    case "fin_timeout":
      writer.u16(NXAST_FIN_TIMEOUT).u16(action.idleTimeoutSeconds).u16(action.hardTimeoutSeconds).zero(2);
      return;
    case "conjunction":
      writer.u16(NXAST_CONJUNCTION).u8(action.clause).u8(action.clauseCount).u32(action.id);
      return;
    case "clone":
      writer.u16(NXAST_CLONE).zero(6);
      writeNested(writer, action.actions);
  }
}
