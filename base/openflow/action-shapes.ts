// Which actions each version of OpenFlow has, Nicira's among them, and how long they may be.
// Source: OpenFlow Switch Specification 1.0.0 to 1.5.1; of Nicira's actions, and of those of 1.1 that 1.2 and later keep
// beside their set-field, what Open vSwitch accepts in each version.

import {
  NX_EXPERIMENTER,
  OFP11_VERSION,
  OFP12_VERSION,
  OFP13_VERSION,
  OFP14_VERSION,
  OFP15_VERSION,
  ONF_EXPERIMENTER,
} from "./constants.js";
import { OFP10_VERSION } from "./v10/numbers.js";
import type { Reader } from "./wire.js";

export interface ActionShape {
  /** As Open vSwitch calls it. */
  readonly name: string;
  /** Bytes with the header. */
  readonly lengthMin: number;
  readonly lengthMax: number;
}

const OFPAT_EXPERIMENTER = 0xffff;
const LONGEST = 65528;

type Row = readonly [
  name: string,
  vendor: number,
  type: number,
  lengths: readonly [min: number, max: number],
  versions: readonly [first: number, last: number],
];

const ALL = [OFP10_VERSION, OFP15_VERSION] as const;
const ONLY_10 = [OFP10_VERSION, OFP10_VERSION] as const;
const SINCE_11 = [OFP11_VERSION, OFP15_VERSION] as const;
const SINCE_13 = [OFP13_VERSION, OFP15_VERSION] as const;
const ONLY_15 = [OFP15_VERSION, OFP15_VERSION] as const;
const UNTIL_14 = [OFP10_VERSION, OFP14_VERSION] as const;
const fixed = (size: number): readonly [number, number] => [size, size];
const from = (size: number): readonly [number, number] => [size, LONGEST];

const ROWS: readonly Row[] = [
  ["OFPAT_OUTPUT", 0, 0, fixed(8), ONLY_10],
  ["OFPAT_OUTPUT", 0, 0, fixed(16), SINCE_11],
  ["OFPAT_SET_VLAN_VID", 0, 1, fixed(8), ALL],
  ["OFPAT_SET_VLAN_PCP", 0, 2, fixed(8), ALL],
  ["OFPAT_STRIP_VLAN", 0, 3, fixed(8), ONLY_10],
  ["OFPAT_SET_DL_SRC", 0, 4, fixed(16), ONLY_10],
  ["OFPAT_SET_DL_DST", 0, 5, fixed(16), ONLY_10],
  ["OFPAT_SET_NW_SRC", 0, 6, fixed(8), ONLY_10],
  ["OFPAT_SET_NW_DST", 0, 7, fixed(8), ONLY_10],
  ["OFPAT_SET_NW_TOS", 0, 8, fixed(8), ONLY_10],
  ["OFPAT_SET_TP_SRC", 0, 9, fixed(8), ALL],
  ["OFPAT_SET_TP_DST", 0, 10, fixed(8), ALL],
  ["OFPAT_ENQUEUE", 0, 11, fixed(16), ONLY_10],
  ["OFPAT_SET_DL_SRC", 0, 3, fixed(16), SINCE_11],
  ["OFPAT_SET_DL_DST", 0, 4, fixed(16), SINCE_11],
  ["OFPAT_SET_NW_SRC", 0, 5, fixed(8), SINCE_11],
  ["OFPAT_SET_NW_DST", 0, 6, fixed(8), SINCE_11],
  ["OFPAT_SET_NW_TOS", 0, 7, fixed(8), SINCE_11],
  ["OFPAT_SET_NW_ECN", 0, 8, fixed(8), SINCE_11],
  ["OFPAT_COPY_TTL_OUT", 0, 11, fixed(8), SINCE_11],
  ["OFPAT_COPY_TTL_IN", 0, 12, fixed(8), SINCE_11],
  ["OFPAT_SET_MPLS_LABEL", 0, 13, fixed(8), SINCE_11],
  ["OFPAT_SET_MPLS_TC", 0, 14, fixed(8), SINCE_11],
  ["OFPAT_SET_MPLS_TTL", 0, 15, fixed(8), SINCE_11],
  ["OFPAT_DEC_MPLS_TTL", 0, 16, fixed(8), SINCE_11],
  ["OFPAT_PUSH_VLAN", 0, 17, fixed(8), SINCE_11],
  ["OFPAT_POP_VLAN", 0, 18, fixed(8), SINCE_11],
  ["OFPAT_PUSH_MPLS", 0, 19, fixed(8), SINCE_11],
  ["OFPAT_POP_MPLS", 0, 20, fixed(8), SINCE_11],
  ["OFPAT_SET_QUEUE", 0, 21, fixed(8), SINCE_11],
  ["OFPAT_GROUP", 0, 22, fixed(8), SINCE_11],
  ["OFPAT_SET_NW_TTL", 0, 23, fixed(8), SINCE_11],
  ["OFPAT_DEC_NW_TTL", 0, 24, fixed(8), SINCE_11],
  ["OFPAT_SET_FIELD", 0, 25, from(8), [OFP12_VERSION, OFP15_VERSION]],
  ["OFPAT_PUSH_PBB", 0, 26, fixed(8), SINCE_13],
  ["OFPAT_POP_PBB", 0, 27, fixed(8), SINCE_13],
  ["OFPAT_COPY_FIELD", 0, 28, from(16), ONLY_15],
  ["OFPAT_METER", 0, 29, fixed(8), ONLY_15],
  ["ONFACT_COPY_FIELD", ONF_EXPERIMENTER, 3200, from(24), [OFP13_VERSION, OFP14_VERSION]],
  ...nicira(ALL, [
    ["NXAST_RESUBMIT", 1, fixed(16)],
    ["NXAST_SET_TUNNEL", 2, fixed(16)],
    ["NXAST_POP_QUEUE", 5, fixed(16)],
    ["NXAST_NOTE", 8, from(16)],
    ["NXAST_SET_TUNNEL64", 9, fixed(24)],
    ["NXAST_MULTIPATH", 10, fixed(32)],
    ["NXAST_BUNDLE", 12, from(32)],
    ["NXAST_BUNDLE_LOAD", 13, from(32)],
    ["NXAST_RESUBMIT_TABLE", 14, fixed(16)],
    ["NXAST_OUTPUT_REG", 15, fixed(24)],
    ["NXAST_LEARN", 16, from(32)],
    ["NXAST_EXIT", 17, fixed(16)],
    ["NXAST_FIN_TIMEOUT", 19, fixed(16)],
    ["NXAST_CONTROLLER", 20, fixed(16)],
    ["NXAST_DEC_TTL_CNT_IDS", 21, from(16)],
    ["NXAST_WRITE_METADATA", 22, fixed(32)],
    ["NXAST_STACK_PUSH", 27, fixed(24)],
    ["NXAST_STACK_POP", 28, fixed(24)],
    ["NXAST_SAMPLE", 29, fixed(24)],
    ["NXAST_OUTPUT_REG2", 32, fixed(24)],
    ["NXAST_CONJUNCTION", 34, fixed(16)],
    ["NXAST_CT", 35, from(24)],
    ["NXAST_NAT", 36, from(16)],
    ["NXAST_CONTROLLER2", 37, from(16)],
    ["NXAST_SAMPLE2", 38, fixed(32)],
    ["NXAST_OUTPUT_TRUNC", 39, fixed(16)],
    ["NXAST_SAMPLE3", 41, fixed(32)],
    ["NXAST_CLONE", 42, from(16)],
    ["NXAST_CT_CLEAR", 43, fixed(16)],
    ["NXAST_RESUBMIT_TABLE_CT", 44, fixed(16)],
    ["NXAST_LEARN2", 45, from(40)],
    ["NXAST_CHECK_PKT_LARGER", 49, from(24)],
    ["NXAST_DELETE_FIELD", 50, fixed(24)],
  ]),
  ...nicira(ONLY_10, [
    ["OFPAT_SET_QUEUE", 4, fixed(16)],
    ["OFPAT_DEC_NW_TTL", 18, fixed(16)],
    ["OFPAT_PUSH_MPLS", 23, fixed(16)],
    ["OFPAT_POP_MPLS", 24, fixed(16)],
    ["OFPAT_SET_MPLS_TTL", 25, fixed(16)],
    ["OFPAT_DEC_MPLS_TTL", 26, fixed(16)],
    ["OFPAT_SET_MPLS_LABEL", 30, fixed(16)],
    ["OFPAT_SET_MPLS_TC", 31, fixed(16)],
    ["OFPAT_GROUP", 40, fixed(16)],
  ]),
  ...nicira(UNTIL_14, [
    ["NXAST_REG_MOVE", 6, from(16)],
    ["NXAST_REG_LOAD", 7, fixed(24)],
    ["NXAST_REG_LOAD2", 33, from(16)],
  ]),
  ...nicira(SINCE_13, [
    ["NXAST_ENCAP", 46, from(16)],
    ["NXAST_DECAP", 47, from(16)],
    ["NXAST_DEC_NSH_TTL", 48, fixed(16)],
  ]),
];

function nicira(
  versions: readonly [number, number],
  rows: readonly (readonly [name: string, subtype: number, lengths: readonly [number, number]])[],
): Row[] {
  return rows.map(([name, subtype, lengths]) => [name, NX_EXPERIMENTER, subtype, lengths, versions]);
}

/** By version, then by the vendor's number and the type. */
const BY_VERSION: ReadonlyMap<number, ReadonlyMap<number, ReadonlyMap<number, ActionShape>>> = new Map(
  Array.from({ length: OFP15_VERSION }, (_, i) => i + 1).map((version) => [version, shapesOf(version)]),
);

function shapesOf(version: number): ReadonlyMap<number, ReadonlyMap<number, ActionShape>> {
  const vendors = new Map<number, Map<number, ActionShape>>();
  for (const [name, vendor, type, [lengthMin, lengthMax], [first, last]] of ROWS) {
    if (version < first || version > last) continue;
    const shapes = vendors.get(vendor) ?? new Map<number, ActionShape>();
    vendors.set(vendor, shapes.set(type, { name, lengthMin, lengthMax }));
  }
  return vendors;
}

/** `vendor` 0 stands for the standard's own actions. Undefined when the version has no such action. */
export function actionShape(version: number, vendor: number, type: number): ActionShape | undefined {
  return BY_VERSION.get(version)?.get(vendor)?.get(type);
}

export interface ActionHead {
  /** 0 stands for the standard. */
  readonly vendor: number;
  /** A subtype where there is a vendor. */
  readonly type: number;
  /** Undefined for vendors whose actions nobody here knows. */
  readonly shape: ActionShape | undefined;
  /** Bytes with the header. */
  readonly length: number;
}

/**
 * Looks at the action that comes next, and moves nowhere. What is wrong is told in the order in which Open vSwitch looks:
 * whether there is such an action, then whether it has a length that it may have. Throws WireError.
 */
export function peekAction(reader: Reader): ActionHead {
  const at = reader.offset;
  try {
    return readHead(reader);
  } finally {
    reader.offset = at;
  }
}

function readHead(reader: Reader): ActionHead {
  const at = reader.offset;
  const available = reader.left;
  if (available < 8) throw reader.fail("OFPBAC_BAD_LEN", "action.length", `${available} bytes are left`, at);
  const first = reader.u16("action.type");
  const length = reader.u16("action.length");
  const isForeign = first === OFPAT_EXPERIMENTER;
  const vendor = isForeign ? reader.u32("action.experimenter") : 0;
  const hasSubtype = isForeign && (vendor === NX_EXPERIMENTER || vendor === ONF_EXPERIMENTER);
  if (hasSubtype && reader.left < 2)
    throw reader.fail("OFPBAC_BAD_LEN", "action.length", "no subtype is there", at);
  const type = hasSubtype ? reader.u16("action.subtype") : first;
  const shape = actionShape(reader.version, vendor, type);
  if (shape === undefined && (!isForeign || hasSubtype))
    throw !isForeign
      ? reader.fail("OFPBAC_BAD_TYPE", "action.type", `unknown type ${type}`, at)
      : reader.fail("OFPBAC_BAD_EXP_TYPE", "action.subtype", `unknown action ${type}`, at + 8);
  const { lengthMin = 8, lengthMax = LONGEST } = shape ?? {};
  const isSound = length >= lengthMin && length <= Math.min(lengthMax, available) && length % 8 === 0;
  // Whose action it is counts before how long it is.
  if (shape === undefined && !isSound)
    throw reader.fail("OFPBAC_BAD_EXPERIMENTER", "action.experimenter", `0x${vendor.toString(16)}`, at);
  if (length > available)
    throw reader.fail("OFPBAC_BAD_LEN", "action.length", `${length} exceeds the ${available} left`, at);
  if (length < lengthMin || length > lengthMax)
    throw reader.fail("OFPBAC_BAD_LEN", "action.length", `${length}, not ${lengthMin} to ${lengthMax}`, at);
  if (length % 8 !== 0)
    throw reader.fail("OFPBAC_BAD_LEN", "action.length", `${length} is not a multiple of 8`, at);
  return { vendor, type, shape, length };
}
