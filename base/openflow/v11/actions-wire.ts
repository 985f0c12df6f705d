// The actions of OpenFlow 1.1 for which 1.2 has set-field, as the actions of 1.3 that do the same.
// Source: OpenFlow Switch Specification 1.1.0, A.2.5. Later versions say nothing of these numbers; Open vSwitch goes on
// to read them there, and so do we, but only 1.1 writes them.

import type { Action, SetFieldAction } from "../actions.js";
import type { OxmFieldName } from "../oxm-fields.js";
import { bigEndian, numberOf } from "../v10/numbers.js";
import type { Reader, Writer } from "../wire.js";

/** TYPE: field, bytes on the wire, largest value. */
const SETS: Readonly<Record<number, readonly [field: OxmFieldName, size: number, max: number]>> = {
  1: ["vlan_vid", 2, 0xfff],
  2: ["vlan_pcp", 1, 7],
  3: ["eth_src", 6, Number.MAX_SAFE_INTEGER],
  4: ["eth_dst", 6, Number.MAX_SAFE_INTEGER],
  5: ["ipv4_src", 4, 0xffffffff],
  6: ["ipv4_dst", 4, 0xffffffff],
  7: ["ip_dscp", 1, 0xff],
  8: ["ip_ecn", 1, 3],
  9: ["tcp_src", 2, 0xffff],
  10: ["tcp_dst", 2, 0xffff],
  13: ["mpls_label", 4, 0xffffffff],
  14: ["mpls_tc", 1, 0xff],
};
const VLAN_PRESENT = 0x1000;
const ECN_BITS = 3;

/** Undefined when the type is none of these. */
export function readSet11(type: number, body: Reader): Action | undefined {
  const set = SETS[type];
  if (set === undefined) return undefined;
  const [field, size, max] = set;
  const value = body.copy(size, field);
  body.skip(size === 6 ? 6 : 4 - size);
  const number = numberOf(value);
  if (number > max || (field === "ip_dscp" && (number & ECN_BITS) !== 0))
    throw body.fail("OFPBAC_BAD_ARGUMENT", field, `0x${number.toString(16)}`);
  if (field === "vlan_vid") return { type: "set_field", field, value: bigEndian(number | VLAN_PRESENT, 2) };
  if (field === "ip_dscp") return { type: "set_field", field, value: Uint8Array.of(number >> 2) };
  if (field === "mpls_label") return { type: "set_field", field, value: bigEndian(number & 0xfffff, 4) };
  if (field === "mpls_tc") return { type: "set_field", field, value: Uint8Array.of(number & 7) };
  return { type: "set_field", field, value };
}

const SAME_PORT: Partial<Record<OxmFieldName, OxmFieldName>> = {
  udp_src: "tcp_src",
  sctp_src: "tcp_src",
  udp_dst: "tcp_dst",
  sctp_dst: "tcp_dst",
};

/** Whether 1.1 has an action for the field. */
export function hasSet11({ field, mask }: SetFieldAction): boolean {
  return mask === undefined && setOf(field) !== undefined;
}

function setOf(field: OxmFieldName) {
  const wanted = SAME_PORT[field] ?? field;
  return Object.entries(SETS).find(([, [name]]) => name === wanted);
}

/** Of an action that hasSet11() holds for. Padding and length are the caller's. */
export function writeSet11(writer: Writer, { field, value }: SetFieldAction): void {
  const [type, [, size]] = setOf(field) as [string, (typeof SETS)[number] & {}];
  const number = numberOf(value);
  const told = field === "vlan_vid" ? number & 0xfff : field === "ip_dscp" ? number << 2 : undefined;
  writer
    .u16(Number(type))
    .u16(0)
    .put(told === undefined ? value : bigEndian(told, size));
}
