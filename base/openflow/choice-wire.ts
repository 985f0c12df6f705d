// The Nicira actions that choose by a hash, as bytes: multipath, bundle, bundle_load.
// Source: ovs-actions(7) for meaning; layouts as Open vSwitch writes and accepts them. A reader starts behind the
// subtype.
import type { Action } from "./actions.js";
import { packRange, rangeOf, readShortHeader, writeFieldHeader } from "./bit-range-wire.js";
import type { BundleAction, MultipathAction } from "./nicira-actions.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

export const NXAST_MULTIPATH = 10;
export const NXAST_BUNDLE = 12;
export const NXAST_BUNDLE_LOAD = 13;

const NX_HASH_FIELDS = {
  eth_src: 0,
  symmetric_l4: 1,
  symmetric_l3l4: 2,
  "symmetric_l3l4+udp": 3,
  nw_src: 4,
  nw_dst: 5,
  symmetric_l3: 6,
} as const;
const NX_MP_ALG = { modulo_n: 0, hash_threshold: 1, hrw: 2, iter_hash: 3 } as const;
const NX_BD_ALG = { active_backup: 0, hrw: 1 } as const;
/** Members are ports: the header of NXM_OF_IN_PORT. */
const MEMBER_TYPE = 0x00000002;
/** Members of one bundle, as in Open vSwitch. */
const MEMBERS_MAX = 2048;

/** What a 4-byte number of a table means, or OFPBAC_BAD_ARGUMENT. */
function named<T extends string>(body: Reader, table: Readonly<Record<T, number>>, name: string): T {
  const at = body.offset;
  const code = body.u16(name);
  const found = nameOf(table, code);
  if (found === undefined) throw body.fail("OFPBAC_BAD_ARGUMENT", name, `${code} is not known`, at);
  return found;
}

export function readMultipath(body: Reader): Action {
  const fields = named(body, NX_HASH_FIELDS, "multipath.fields");
  const basis = body.u16("multipath.basis");
  body.skip(2);
  const algorithm = named(body, NX_MP_ALG, "multipath.algorithm");
  const linkMax = body.u16("multipath.max_link");
  const argument = body.u32("multipath.arg");
  body.skip(2);
  const packed = body.u16("multipath.ofs_nbits");
  const field = readShortHeader(body, "multipath.dst");
  if (!field.writable)
    throw body.fail("OFPBAC_BAD_SET_TYPE", "multipath.dst", `${field.name} may not be set`);
  const destination = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "multipath.ofs_nbits");
  if (destination.bits < 16 && linkMax + 1 > 1 << destination.bits)
    throw body.fail("OFPBAC_BAD_ARGUMENT", "multipath.max_link", `${destination.bits} bits are too few`);
  return { type: "multipath", fields, basis, algorithm, linkMax, argument, destination };
}

export function writeMultipath(writer: Writer, action: MultipathAction): void {
  writer.u16(NXAST_MULTIPATH).u16(NX_HASH_FIELDS[action.fields]).u16(action.basis).zero(2);
  writer.u16(NX_MP_ALG[action.algorithm]).u16(action.linkMax).u32(action.argument).zero(2);
  writer.u16(packRange(action.destination));
  writeFieldHeader(writer, action.destination.field);
}

/** Whether the next bytes are; moves nowhere. */
function isZero({ bytes, offset, end }: Reader, size: number): boolean {
  return bytes.subarray(offset, Math.min(end, offset + size)).every((byte) => byte === 0);
}

export function readBundle(body: Reader, subtype: number): Action {
  const algorithm = named(body, NX_BD_ALG, "bundle.algorithm");
  const fields = named(body, NX_HASH_FIELDS, "bundle.fields");
  const basis = body.u16("bundle.basis");
  const type = body.u32("bundle.member_type");
  const count = body.u16("bundle.n_members");
  const packed = body.u16("bundle.ofs_nbits");
  const header = body.within(4, "bundle.dst");
  // bundle_load may be padded with anything, as in Open vSwitch.
  if (subtype === NXAST_BUNDLE && (packed !== 0 || !isZero(header, 4) || !isZero(body, 4)))
    throw body.fail("OFPBAC_BAD_ARGUMENT", "bundle", "is not padded with zeros");
  body.skip(4);
  if (type !== MEMBER_TYPE || count > MEMBERS_MAX)
    throw body.fail("OFPBAC_BAD_ARGUMENT", "bundle.members", `${count} of type 0x${type.toString(16)}`);
  const members = Array.from({ length: count }, () => body.u16("bundle.member"));
  body.skip(body.left);
  const action: BundleAction = { type: "bundle", algorithm, fields, basis, members };
  if (subtype === NXAST_BUNDLE) return action;
  const field = readShortHeader(header, "bundle.dst");
  if (!field.writable) throw body.fail("OFPBAC_BAD_SET_TYPE", "bundle.dst", `${field.name} may not be set`);
  const destination = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "bundle.ofs_nbits");
  if (destination.bits < 16)
    throw body.fail("OFPBAC_BAD_ARGUMENT", "bundle.ofs_nbits", `${destination.bits} bits hold no port`);
  return { ...action, destination };
}

export function writeBundle(writer: Writer, action: BundleAction): void {
  const { destination, members } = action;
  writer.u16(destination === undefined ? NXAST_BUNDLE : NXAST_BUNDLE_LOAD);
  writer.u16(NX_BD_ALG[action.algorithm]).u16(NX_HASH_FIELDS[action.fields]).u16(action.basis);
  writer.u32(MEMBER_TYPE).u16(members.length);
  if (destination === undefined) writer.zero(6);
  else {
    writer.u16(packRange(destination));
    writeFieldHeader(writer, destination.field);
  }
  writer.zero(4);
  for (const member of members) writer.u16(member);
}
