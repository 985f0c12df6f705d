// The verbs parse-ofp10-match and parse-ofp11-match of `plinth ofctl`: matches of fixed size in hexadecimal, how they are
// understood, and what becomes of their bytes. Source: ovs-ofctl(8); OpenFlow Switch Specification 1.0.0, 5.2.3, and
// 1.1.0, A.2.3.
import {
  type Match,
  OFP10_VERSION,
  OFPFW_ALL,
  OFPFW_DL_DST,
  OFPFW_DL_SRC,
  OFPFW_DL_TYPE,
  OFPFW_DL_VLAN,
  OFPFW_DL_VLAN_PCP,
  OFPFW_IN_PORT,
  OFPFW_NW_DST_SHIFT,
  OFPFW_NW_PROTO,
  OFPFW_NW_SRC_SHIFT,
  OFPFW_NW_TOS,
  OFPFW_TP_DST,
  OFPFW_TP_SRC,
  type OxmEntry,
  readFixedMatch,
  WireError,
  writeFixedMatch,
} from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { printedErrorName } from "./error-names.js";
import { commandError } from "./errors.js";
import { formatMatch, matchInVersion } from "./match-text.js";
import { differences, eachHexLine } from "./ofctl-wire.js";

const SIZE_10 = 40;
const SIZE_11 = 88;
const NW_BITS = 0x3f;
const ADDRESS_BITS = 32;
const VLAN_NONE = 0xffff;
const VLAN_PRESENT = 0x1000;
const ARP = 0x0806;
const IPV6 = 0x86dd;
/** With ports, or with a type and a code in their place. */
const TRANSPORTS: ReadonlySet<number> = new Set([6, 17, 58, 132]);
/** A field of bytes by the bit that says that it does not count: offset and size. */
const PLAIN: readonly (readonly [bit: number, at: number, size: number])[] = [
  [OFPFW_IN_PORT, 4, 2],
  [OFPFW_DL_SRC, 6, 6],
  [OFPFW_DL_DST, 12, 6],
  [OFPFW_DL_TYPE, 22, 2],
  [OFPFW_NW_PROTO, 25, 1],
  [OFPFW_TP_SRC, 36, 2],
  [OFPFW_TP_DST, 38, 2],
];
const ADDRESSES = [
  [OFPFW_NW_SRC_SHIFT, 28],
  [OFPFW_NW_DST_SHIFT, 32],
] as const;

export function parseFixedMatch10(io: CommandIo): Promise<number> {
  return eachHexLine(io, (bytes) => {
    refuseSize(bytes, SIZE_10);
    const known = canonical(bytes);
    const match = formatMatch(matchInVersion(entriesOf(known), OFP10_VERSION));
    const normal = normalized(known);
    io.out(`${match}${differences(bytes, known)}${differences(known, normal, "normal: ")}\n\n`);
  });
}

export function parseFixedMatch11(io: CommandIo): Promise<number> {
  return eachHexLine(io, (bytes) => {
    refuseSize(bytes, SIZE_11);
    try {
      // Neither the type nor the length is looked at.
      const match = readFixedMatch(Uint8Array.from([0, 0, 0, SIZE_11, ...bytes.subarray(4)]), 2);
      const text = formatMatch(matchInVersion(match, 2));
      io.out(`${text}${differences(bytes, writeFixedMatch(match, 2))}\n\n`);
    } catch (thrown) {
      if (!(thrown instanceof WireError)) throw thrown;
      io.out(`bad ofp11_match: ${printedErrorName(thrown.error)}\n\n`);
    }
  });
}

function refuseSize(bytes: Uint8Array, size: number): void {
  if (bytes.byteLength !== size) throw commandError(`Input is ${bytes.byteLength} bytes, expected ${size}`);
}

/** The match of 1.0 with zeros where nothing counts. */
function canonical(bytes: Uint8Array): Uint8Array {
  const [given, out] = [viewOf(bytes), new Uint8Array(SIZE_10)];
  const to = viewOf(out);
  let wildcards = given.getUint32(0) & OFPFW_ALL;
  for (const [bit, at, size] of PLAIN)
    if ((wildcards & bit) === 0) out.set(bytes.subarray(at, at + size), at);
  if ((wildcards & OFPFW_NW_TOS) === 0) out[24] = (bytes[24] as number) & 0xfc;
  for (const [shift, at] of ADDRESSES) {
    const wild = Math.min((wildcards >>> shift) & NW_BITS, ADDRESS_BITS);
    wildcards = (wildcards & ~(NW_BITS << shift)) | (wild << shift);
    if (wild < ADDRESS_BITS) to.setUint32(at, ((given.getUint32(at) >>> wild) << wild) >>> 0);
  }
  const vlan = given.getUint16(18);
  const hasVlan = (wildcards & OFPFW_DL_VLAN) === 0;
  if (hasVlan && vlan === VLAN_NONE) {
    wildcards &= ~OFPFW_DL_VLAN_PCP;
    to.setUint16(18, VLAN_NONE);
  } else {
    if (hasVlan) to.setUint16(18, vlan & 0xfff);
    if ((wildcards & OFPFW_DL_VLAN_PCP) === 0) out[20] = (bytes[20] as number) & 7;
  }
  to.setUint32(0, wildcards);
  return out;
}

/** A canonical match without the fields that packets of its kind do not have. */
function normalized(known: Uint8Array): Uint8Array {
  const view = viewOf(known);
  const wildcards = view.getUint32(0);
  if ((wildcards & OFPFW_DL_TYPE) !== 0 || view.getUint16(22) !== IPV6)
    return canonical(writeFixedMatch(readFixedMatch(known, 1), 1));
  // 1.0 knows no IPv6, but Open vSwitch does.
  const hasPorts = (wildcards & OFPFW_NW_PROTO) === 0 && TRANSPORTS.has(known[25] as number);
  const addresses = (ADDRESS_BITS << OFPFW_NW_SRC_SHIFT) | (ADDRESS_BITS << OFPFW_NW_DST_SHIFT);
  const others = wildcards & ~((NW_BITS << OFPFW_NW_SRC_SHIFT) | (NW_BITS << OFPFW_NW_DST_SHIFT));
  const kept = known.slice();
  viewOf(kept).setUint32(0, others | addresses | (hasPorts ? 0 : OFPFW_TP_SRC | OFPFW_TP_DST));
  return canonical(kept);
}

/** What the bytes of a canonical match ask for, also where a packet has no such field. */
function entriesOf(bytes: Uint8Array): Match {
  const view = viewOf(bytes);
  const wildcards = view.getUint32(0);
  const has = (bit: number): boolean => (wildcards & bit) === 0;
  const part = (at: number, size: number): Uint8Array => bytes.slice(at, at + size);
  const type = has(OFPFW_DL_TYPE) ? view.getUint16(22) : undefined;
  const protocol = has(OFPFW_NW_PROTO) ? (bytes[25] as number) : undefined;
  const isArp = type === ARP;
  const [source, target] = isArp ? (["arp_spa", "arp_tpa"] as const) : (["ipv4_src", "ipv4_dst"] as const);
  const prefix = protocol === 17 ? "udp" : protocol === 132 ? "sctp" : "tcp";
  const icmp =
    type === 0x0800 && protocol === 1 ? "icmpv4" : type === IPV6 && protocol === 58 ? "icmpv6" : undefined;
  const entries: OxmEntry[] = [
    ...(has(OFPFW_IN_PORT) ? [{ field: "in_port" as const, value: widePort(view.getUint16(4)) }] : []),
    ...vlanOf(view, has),
    ...(has(OFPFW_DL_SRC) ? [{ field: "eth_src" as const, value: part(6, 6) }] : []),
    ...(has(OFPFW_DL_DST) ? [{ field: "eth_dst" as const, value: part(12, 6) }] : []),
    ...(type === undefined ? [] : [{ field: "eth_type" as const, value: part(22, 2) }]),
    ...(protocol === undefined
      ? []
      : [
          isArp
            ? { field: "arp_op" as const, value: Uint8Array.of(0, protocol) }
            : { field: "ip_proto" as const, value: Uint8Array.of(protocol) },
        ]),
    ...(type === IPV6 ? [] : address(source, bytes, (wildcards >>> OFPFW_NW_SRC_SHIFT) & NW_BITS, 28)),
    ...(type === IPV6 ? [] : address(target, bytes, (wildcards >>> OFPFW_NW_DST_SHIFT) & NW_BITS, 32)),
    ...(has(OFPFW_NW_TOS)
      ? [{ field: "ip_dscp" as const, value: Uint8Array.of((bytes[24] as number) >> 2) }]
      : []),
    ...(has(OFPFW_TP_SRC)
      ? [port(icmp !== undefined ? `${icmp}_type` : `${prefix}_src`, view.getUint16(36))]
      : []),
    ...(has(OFPFW_TP_DST)
      ? [port(icmp !== undefined ? `${icmp}_code` : `${prefix}_dst`, view.getUint16(38))]
      : []),
  ];
  return entries;
}

function port(field: OxmEntry["field"], number: number): OxmEntry {
  return { field, value: Uint8Array.of(number >> 8, number & 0xff) };
}

function widePort(number: number): Uint8Array {
  const isReserved = number >= 0xff00;
  return Uint8Array.of(isReserved ? 0xff : 0, isReserved ? 0xff : 0, number >> 8, number & 0xff);
}

function vlanOf(view: DataView, has: (bit: number) => boolean): OxmEntry[] {
  const [hasVid, hasPcp] = [has(OFPFW_DL_VLAN), has(OFPFW_DL_VLAN_PCP)];
  const vid = view.getUint16(18);
  if (hasVid && vid === VLAN_NONE) return [{ field: "vlan_tci", value: new Uint8Array(2) }];
  const present = { field: "vlan_vid", ...presence() } as const;
  return [
    ...(hasVid ? [port("vlan_vid", vid | VLAN_PRESENT)] : hasPcp ? [present] : []),
    ...(hasPcp ? [{ field: "vlan_pcp" as const, value: Uint8Array.of(view.getUint8(20)) }] : []),
  ];
}

function presence(): { readonly value: Uint8Array; readonly mask: Uint8Array } {
  return { value: Uint8Array.of(VLAN_PRESENT >> 8, 0), mask: Uint8Array.of(VLAN_PRESENT >> 8, 0) };
}

function address(field: OxmEntry["field"], bytes: Uint8Array, wild: number, at: number): OxmEntry[] {
  if (wild >= ADDRESS_BITS) return [];
  const value = bytes.slice(at, at + 4);
  if (wild === 0) return [{ field, value }];
  const mask = new Uint8Array(4);
  viewOf(mask).setUint32(0, (0xffffffff << wild) >>> 0);
  return [{ field, value, mask }];
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
