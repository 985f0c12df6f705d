// Actions compiled to a compact program of 32-bit words that the pipeline runs without looking at objects.
//
//   code: | op | operands … | op | operands … | end of the array ends the program
//
// Invariant: a program that was made is safe to run on any packet: what a packet lacks makes its action do nothing.
// Source: OpenFlow 1.3.5, 7.2.4 and 7.2.5 for meaning, ovs-actions(7) for Nicira actions. Thread: datapath worker.
import {
  type Action,
  type BitRange,
  type Instruction,
  type Match,
  OFPP_CONTROLLER,
  OXM_FIELDS,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { type CtProgram, compileCt } from "./ct-program.js";
import { flowError } from "./errors.js";
import { keyField, ones, putBits, toBigInt } from "./fields.js";
import * as K from "./key.js";
import { ACTIONS_MAX } from "./limits.js";
import { Prerequisites } from "./prerequisites.js";

export const OP_OUTPUT = 1; // port, maxLength
export const OP_CONTROLLER = 2; // maxLength, reason, controllerId
export const OP_GROUP = 3; // groupId
export const OP_SET = 4; // writer, count, (word, mask, value)…
export const OP_MOVE = 5; // writer, count, (fromWord, fromShift, toWord, toShift, bits)…
export const OP_PUSH_VLAN = 6; // etherType
export const OP_POP_VLAN = 7;
export const OP_PUSH_MPLS = 8; // etherType
export const OP_POP_MPLS = 9; // etherType
export const OP_PUSH_PBB = 10; // etherType
export const OP_POP_PBB = 11;
export const OP_SET_NW_TTL = 12; // ttl
export const OP_DEC_NW_TTL = 13;
export const OP_SET_MPLS_TTL = 14; // ttl
export const OP_DEC_MPLS_TTL = 15;
export const OP_COPY_TTL_OUT = 16;
export const OP_COPY_TTL_IN = 17;
export const OP_RESUBMIT = 18; // port, tableId
export const OP_CT = 19; // index into Program.ct
export const OP_CT_CLEAR = 20;

/** How a changed key field gets into the packet. */
export const W_NONE = 0;
export const W_ETH_DST = 1;
export const W_ETH_SRC = 2;
export const W_ETH_TYPE = 3;
export const W_VLAN = 4;
export const W_TOS = 5;
export const W_PROTO = 6;
export const W_TTL = 7;
export const W_SOURCE = 8;
export const W_DESTINATION = 9;
export const W_PORTS = 10;
export const W_ICMP = 11;
export const W_ARP_OP = 12;
export const W_SHA = 13;
export const W_THA = 14;
export const W_ND_TARGET = 15;
export const W_ND_LINK_LAYER = 16;
export const W_FLOW_LABEL = 17;
export const W_MPLS = 18;
export const W_ISID = 19;
export const W_ND_RESERVED = 20;
export const W_ND_OPTION = 21;

const WRITERS: Partial<Record<OxmFieldName, number>> = {
  eth_dst: W_ETH_DST,
  eth_src: W_ETH_SRC,
  eth_type: W_ETH_TYPE,
  vlan_tci: W_VLAN,
  vlan_vid: W_VLAN,
  vlan_pcp: W_VLAN,
  ip_dscp: W_TOS,
  ip_ecn: W_TOS,
  ip_tos: W_TOS,
  ip_proto: W_PROTO,
  nw_ttl: W_TTL,
  ipv4_src: W_SOURCE,
  ipv6_src: W_SOURCE,
  arp_spa: W_SOURCE,
  ipv4_dst: W_DESTINATION,
  ipv6_dst: W_DESTINATION,
  arp_tpa: W_DESTINATION,
  tcp_src: W_PORTS,
  tcp_dst: W_PORTS,
  udp_src: W_PORTS,
  udp_dst: W_PORTS,
  sctp_src: W_PORTS,
  sctp_dst: W_PORTS,
  icmpv4_type: W_ICMP,
  icmpv4_code: W_ICMP,
  icmpv6_type: W_ICMP,
  icmpv6_code: W_ICMP,
  arp_op: W_ARP_OP,
  arp_sha: W_SHA,
  arp_tha: W_THA,
  ipv6_nd_target: W_ND_TARGET,
  ipv6_nd_sll: W_ND_LINK_LAYER,
  ipv6_nd_tll: W_ND_LINK_LAYER,
  ipv6_flabel: W_FLOW_LABEL,
  mpls_label: W_MPLS,
  mpls_tc: W_MPLS,
  mpls_bos: W_MPLS,
  mpls_ttl: W_MPLS,
  pbb_isid: W_ISID,
  nd_reserved: W_ND_RESERVED,
  nd_options_type: W_ND_OPTION,
};

export const REASONS = ["no_match", "action", "invalid_ttl"] as const;

export interface Program {
  readonly code: Int32Array;
  readonly ct: readonly CtProgram[];
  /** What was compiled, for traces: action n begins at offsets[n]. */
  readonly actions: readonly Action[];
  readonly offsets: readonly number[];
}

/** A flow's instructions, in the order in which they are executed (5.9). */
export interface FlowProgram {
  /** 0 = no meter. */
  readonly meterId: number;
  readonly apply: Program | null;
  readonly clear: boolean;
  /** Write-actions: each with its place in the action set. */
  readonly write: readonly ActionSetEntry[];
  readonly metadata: Int32Array | null;
  /** −1: the pipeline ends here. */
  readonly gotoTable: number;
}

export interface ActionSetEntry {
  readonly slot: number;
  readonly program: Program;
}

/** Places in the action set (5.10): executed in this order, each holding one action. */
export const SLOT_GROUP = 90;
export const SLOT_OUTPUT = 91;
export const ACTION_SET_SLOTS = 92;
const SLOTS: Partial<Record<Action["type"], number>> = {
  copy_ttl_in: 0,
  pop_vlan: 1,
  pop_mpls: 2,
  pop_pbb: 3,
  push_mpls: 4,
  push_pbb: 5,
  push_vlan: 6,
  copy_ttl_out: 7,
  dec_mpls_ttl: 8,
  dec_nw_ttl: 9,
  set_mpls_ttl: 10,
  set_nw_ttl: 11,
  group: SLOT_GROUP,
  output: SLOT_OUTPUT,
  controller: SLOT_OUTPUT,
};
const SLOT_SET_FIELD = 12;
const FIELD_INDEX = new Map(Object.keys(OXM_FIELDS).map((name, index) => [name, index]));

/** What actions may refer to. */
export interface ActionContext {
  readonly groupExists: (groupId: number) => boolean;
  /** A port that may be output to; reserved ports are always accepted. */
  readonly portExists: (port: number) => boolean;
}

/** Compiles an action list. `match` is the flow's, for prerequisites; undefined in groups and packet-outs. */
export function compileActions(
  actions: readonly Action[],
  context: ActionContext,
  match: Match | undefined,
): Program {
  if (actions.length > ACTIONS_MAX)
    throw flowError("OFPBAC_TOO_MANY", `${actions.length} actions; at most ${ACTIONS_MAX}`);
  const code: number[] = [];
  const ct: CtProgram[] = [];
  const offsets: number[] = [];
  const prerequisites = new Prerequisites(match);
  for (const action of actions) {
    offsets.push(code.length);
    compileAction(action, context, prerequisites, code, ct);
    prerequisites.after(action);
  }
  return { code: Int32Array.from(code), ct, actions, offsets };
}

/** Compiles actions in the order of an action set: for write-actions and buckets. */
function compileActionSet(
  actions: readonly Action[],
  context: ActionContext,
  match: Match | undefined,
): ActionSetEntry[] {
  const bySlot = new Map<number, Action>();
  for (const action of actions) bySlot.set(slotOf(action), action);
  const ordered = [...bySlot].sort(([a], [b]) => a - b);
  compileActions(
    ordered.map(([, action]) => action),
    context,
    match,
  );
  return ordered.map(([slot, action]) => ({ slot, program: compileActions([action], context, undefined) }));
}

/** A bucket: its actions as one program in the order of an action set; a group beats an output. */
export function compileBucket(actions: readonly Action[], context: ActionContext): Program {
  const listOnly = actions.some((action) => SLOTS[action.type] === undefined && action.type !== "set_field");
  if (listOnly) return compileActions(actions, context, undefined);
  const bySlot = new Map<number, Action>();
  for (const action of actions) bySlot.set(slotOf(action), action);
  if (bySlot.has(SLOT_GROUP)) bySlot.delete(SLOT_OUTPUT);
  const ordered = [...bySlot].sort(([a], [b]) => a - b).map(([, action]) => action);
  return compileActions(ordered, context, undefined);
}

function slotOf(action: Action): number {
  if (action.type === "set_field") return SLOT_SET_FIELD + (FIELD_INDEX.get(action.field) as number);
  const slot = SLOTS[action.type];
  if (slot === undefined)
    throw flowError("OFPBAC_UNSUPPORTED_ORDER", `${action.type} has no place in an action set`);
  return slot;
}

/** Compiles and checks the instructions of a flow in `tableId`. */
export function compileInstructions(
  instructions: readonly Instruction[],
  tableId: number,
  tableIdMax: number,
  context: ActionContext & { readonly meterExists: (meterId: number) => boolean },
  match: Match,
): FlowProgram {
  let meterId = 0;
  let apply: Program | null = null;
  let clear = false;
  let write: ActionSetEntry[] = [];
  let metadata: Int32Array | null = null;
  let gotoTable = -1;
  for (const instruction of instructions) {
    switch (instruction.type) {
      case "meter":
        if (!context.meterExists(instruction.meterId))
          throw flowError("OFPMMFC_UNKNOWN_METER", `there is no meter ${instruction.meterId}`);
        meterId = instruction.meterId;
        break;
      case "apply_actions":
        apply = compileActions(instruction.actions, context, match);
        break;
      case "clear_actions":
        clear = true;
        break;
      case "write_actions":
        write = compileActionSet(instruction.actions, context, undefined);
        break;
      case "write_metadata":
        metadata = new Int32Array(4);
        putBits(metadata, 0, 64, instruction.mask);
        putBits(metadata, 64, 64, instruction.metadata & instruction.mask);
        break;
      case "goto_table":
        if (instruction.tableId <= tableId || instruction.tableId > tableIdMax)
          throw flowError("OFPBIC_BAD_TABLE_ID", `table ${tableId} cannot go to ${instruction.tableId}`);
        gotoTable = instruction.tableId;
        break;
      case "experimenter":
        throw flowError("OFPBIC_BAD_EXPERIMENTER", "experimenter instructions are not supported");
    }
  }
  return { meterId, apply, clear, write, metadata, gotoTable };
}

function compileAction(
  action: Action,
  context: ActionContext,
  prerequisites: Prerequisites,
  code: number[],
  ct: CtProgram[],
): void {
  switch (action.type) {
    case "output":
      if (action.port === OFPP_CONTROLLER) code.push(OP_CONTROLLER, action.maxLength, 1, 0);
      else {
        if (!context.portExists(action.port))
          throw flowError("OFPBAC_BAD_OUT_PORT", `port ${action.port} cannot be output to`);
        code.push(OP_OUTPUT, action.port, action.maxLength);
      }
      return;
    case "controller":
      code.push(OP_CONTROLLER, action.maxLength, REASONS.indexOf(action.reason), action.controllerId);
      return;
    case "group":
      if (!context.groupExists(action.groupId))
        throw flowError("OFPBAC_BAD_OUT_GROUP", `there is no group ${action.groupId}`);
      code.push(OP_GROUP, action.groupId);
      return;
    case "set_field":
      prerequisites.check(action.field, "OFPBAC_MATCH_INCONSISTENT");
      compileSet(
        { field: action.field, offset: 0, bits: OXM_FIELDS[action.field].bits },
        toBigInt(action.value),
        code,
        action.mask === undefined ? undefined : toBigInt(action.mask),
      );
      return;
    case "load":
      prerequisites.check(action.destination.field, "OFPBAC_MATCH_INCONSISTENT");
      compileSet(action.destination, action.value, code);
      return;
    case "move":
      prerequisites.check(action.source.field, "OFPBAC_MATCH_INCONSISTENT");
      prerequisites.check(action.destination.field, "OFPBAC_MATCH_INCONSISTENT");
      compileMove(action.source, action.destination, code);
      return;
    case "resubmit":
      if (action.withCt) throw flowError("OFPBAC_BAD_ARGUMENT", "resubmit with ct is not supported");
      code.push(OP_RESUBMIT, action.port, action.tableId);
      return;
    case "ct":
      code.push(OP_CT, ct.length);
      ct.push(compileCt(action, rangeStart, (inner) => compileActions(inner, context, undefined)));
      return;
    case "ct_clear":
      code.push(OP_CT_CLEAR);
      return;
    case "nat":
      throw flowError("OFPBAC_BAD_ARGUMENT", "nat stands only inside ct");
    case "set_queue":
      throw flowError("OFPBAC_BAD_QUEUE", "this switch has no queues");
    case "experimenter":
      throw flowError("OFPBAC_BAD_EXPERIMENTER", "unknown experimenter action");
    default:
      compileHeaderAction(action, code);
  }
}

type HeaderAction = Extract<
  Action,
  {
    readonly type:
      | `push_${string}`
      | `pop_${string}`
      | `copy_${string}`
      | `dec_${string}`
      | `set_${string}_ttl`;
  }
>;

function compileHeaderAction(action: HeaderAction, code: number[]): void {
  switch (action.type) {
    case "push_vlan":
      needType(action.etherType, [0x8100, 0x88a8]);
      code.push(OP_PUSH_VLAN, action.etherType);
      return;
    case "push_mpls":
      needType(action.etherType, [0x8847, 0x8848]);
      code.push(OP_PUSH_MPLS, action.etherType);
      return;
    case "push_pbb":
      needType(action.etherType, [0x88e7]);
      code.push(OP_PUSH_PBB, action.etherType);
      return;
    case "pop_vlan":
      code.push(OP_POP_VLAN);
      return;
    case "pop_mpls":
      code.push(OP_POP_MPLS, action.etherType);
      return;
    case "pop_pbb":
      code.push(OP_POP_PBB);
      return;
    case "set_nw_ttl":
      code.push(OP_SET_NW_TTL, action.ttl);
      return;
    case "set_mpls_ttl":
      code.push(OP_SET_MPLS_TTL, action.ttl);
      return;
    case "dec_nw_ttl":
      code.push(OP_DEC_NW_TTL);
      return;
    case "dec_mpls_ttl":
      code.push(OP_DEC_MPLS_TTL);
      return;
    case "copy_ttl_out":
      code.push(OP_COPY_TTL_OUT);
      return;
    case "copy_ttl_in":
      code.push(OP_COPY_TTL_IN);
      return;
  }
}

function needType(etherType: number, allowed: readonly number[]): void {
  if (!allowed.includes(etherType))
    throw flowError("OFPBAC_BAD_ARGUMENT", `EtherType 0x${etherType.toString(16)} cannot be pushed`);
}

/** The run of key bits that a range of a field means. */
function rangeStart(range: BitRange): number {
  const field = keyField(range.field);
  if (field === undefined)
    throw flowError("OFPBAC_BAD_SET_TYPE", `${range.field} is not known to this switch`);
  if (range.bits < 1 || range.offset < 0 || range.offset + range.bits > field.bits)
    throw flowError("OFPBAC_BAD_ARGUMENT", `bits ${range.offset}+${range.bits} exceed ${range.field}`);
  return field.start + field.bits - range.offset - range.bits;
}

/** Sets the bits of the range that `mask` has, all of them without one. */
function compileSet(range: BitRange, value: bigint, code: number[], mask = ones(range.bits)): void {
  if (!OXM_FIELDS[range.field].writable)
    throw flowError("OFPBAC_BAD_SET_TYPE", `${range.field} cannot be set`);
  const start = rangeStart(range);
  const masks = new Int32Array(K.KEY_WORDS);
  const values = new Int32Array(K.KEY_WORDS);
  putBits(masks, start, range.bits, mask & ones(range.bits));
  putBits(values, start, range.bits, value & mask & ones(range.bits));
  const first = start >>> 5;
  const last = (start + range.bits - 1) >>> 5;
  code.push(OP_SET, WRITERS[range.field] ?? W_NONE, last - first + 1);
  for (let word = first; word <= last; word++) code.push(word, masks[word] as number, values[word] as number);
}

function compileMove(source: BitRange, destination: BitRange, code: number[]): void {
  if (!OXM_FIELDS[destination.field].writable)
    throw flowError("OFPBAC_BAD_SET_TYPE", `${destination.field} cannot be set`);
  if (source.bits !== destination.bits)
    throw flowError("OFPBAC_BAD_ARGUMENT", "source and destination differ in width");
  // From the least significant bit upwards, in pieces that stay within one word on both sides.
  let from = rangeStart(source) + source.bits;
  let to = rangeStart(destination) + destination.bits;
  const pieces: number[] = [];
  for (let left = source.bits; left > 0; ) {
    const bits = Math.min(left, ((from - 1) & 31) + 1, ((to - 1) & 31) + 1);
    pieces.push((from - 1) >>> 5, 31 - ((from - 1) & 31), (to - 1) >>> 5, 31 - ((to - 1) & 31), bits);
    from -= bits;
    to -= bits;
    left -= bits;
  }
  code.push(OP_MOVE, WRITERS[destination.field] ?? W_NONE, pieces.length / 5, ...pieces);
}
