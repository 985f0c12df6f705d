// The fields of a match as a packet's description in Open vSwitch holds them, where fields of like meaning share a place:
// the address of IPv4 and of ARP, the port of TCP and the type of ICMP. What is told depends on the packet's type. Pure.
// Source: ovs-fields(7), and what ovs-ofctl parse-nx-match prints.
import { type Match, OXM_FIELDS, type OxmEntry, type OxmFieldName } from "../../base/openflow/index.js";
import { bytesToNumber, numberToBytes } from "./field-text.js";

/** Fields that share a place, by the place. */
const PLACES: Readonly<Record<string, readonly OxmFieldName[]>> = {
  nw_src: ["ipv4_src", "arp_spa"],
  nw_dst: ["ipv4_dst", "arp_tpa"],
  nw_proto: ["ip_proto", "arp_op"],
  sha: ["arp_sha", "ipv6_nd_sll"],
  tha: ["arp_tha", "ipv6_nd_tll"],
  tp_src: ["tcp_src", "udp_src", "sctp_src", "icmpv4_type", "icmpv6_type"],
  tp_dst: ["tcp_dst", "udp_dst", "sctp_dst", "icmpv4_code", "icmpv6_code"],
  tcp_flags: ["tcp_flags", "nd_options_type"],
};
const PLACE_OF = new Map<string, string>(
  Object.entries(PLACES).flatMap(([place, fields]) => fields.map((field) => [field, place])),
);
const TAG = "vlan_tci";
/** Bits of the narrowest places that fields share, and of the widest field. */
const SHARED_MIN = 16;
const WIDEST = 128;
const PRESENT = 0x1000n;
const ICMPV6_ND = { solicit: 135n, advert: 136n } as const;

interface Bits {
  readonly value: bigint;
  readonly mask: bigint;
}

/** Where some of the bits of a field lie: `from` in the field, `to` in the place. */
interface Part {
  readonly place: string;
  readonly from: number;
  readonly to: number;
  readonly width: number;
}

function partsOf(field: OxmFieldName): readonly Part[] {
  if (field === "vlan_vid") return [{ place: TAG, from: 0, to: 0, width: 13 }];
  if (field === "vlan_pcp") return [{ place: TAG, from: 0, to: 13, width: 3 }];
  const { bits } = OXM_FIELDS[field];
  const wide = /^x(x?)reg(\d)$/.exec(field);
  if (wide === null) {
    const place = PLACE_OF.get(field);
    // An ICMP type fills the place of a port.
    const width = place !== undefined && bits < SHARED_MIN ? SHARED_MIN : bits;
    return [{ place: place ?? field, from: 0, to: 0, width }];
  }
  const count = bits / 32;
  return Array.from({ length: count }, (_, i) => ({
    place: `reg${Number(wide[2]) * count + i}`,
    from: bits - 32 * (i + 1),
    to: 0,
    width: 32,
  }));
}

const ones = (width: number): bigint => (1n << BigInt(width)) - 1n;

/** Everything that was matched, however it fits together. */
export class SeenFields {
  readonly #places = new Map<string, Bits>();
  /** Something that only frames of Ethernet have. */
  #isEthernet = false;

  /** False, and without effect, where one of its bits is matched already. */
  add({ field, value, mask }: OxmEntry): boolean {
    const number = bytesToNumber(value);
    const bits = mask === undefined ? ones(WIDEST) : bytesToNumber(mask);
    const pieces = partsOf(field).map(({ place: at, from, to, width }) => {
      const whole = ones(width) << BigInt(to);
      const put = (of: bigint): bigint => ((of >> BigInt(from)) << BigInt(to)) & whole;
      return { at, value: put(number), mask: put(bits), whole };
    });
    if (pieces.some(({ at, whole }) => ((this.#places.get(at)?.mask ?? 0n) & whole) !== 0n)) return false;
    for (const piece of pieces) this.#put(piece.at, piece);
    // Who asks for a priority asks for a tag.
    if (field === "vlan_pcp") this.#put(TAG, { value: PRESENT, mask: PRESENT });
    this.#isEthernet ||= isOnEthernet(field);
    return true;
  }

  #put(place: string, { value, mask }: Bits): void {
    const before = this.#places.get(place) ?? { value: 0n, mask: 0n };
    if (mask !== 0n)
      this.#places.set(place, { value: before.value | (value & mask), mask: before.mask | mask });
  }

  /** What a match in that form says of it; what its type of packet does not have is left out. */
  match(form: "nxm" | "oxm"): Match {
    const etherType = this.#value("eth_type") ?? this.#typeBehindEthernet();
    const entries = Object.values(OXM_FIELDS).flatMap(({ name, bits: width }) => {
      if (name === "vlan_tci" || name === "vlan_vid" || name === "vlan_pcp") return [];
      const bits = this.#places.get(PLACE_OF.get(name) ?? name);
      const isAsked = bits !== undefined && (bits.mask & (TOLD_MASKS[name] ?? ones(width))) !== 0n;
      return isAsked && this.#isTold(name, etherType) ? [entryOf(name, bits)] : [];
    });
    const told = [...entries, ...this.#tag(form)];
    const isImplied = told.some(({ field }) => isOnEthernet(field) || field === "packet_type");
    return this.#isEthernet && !isImplied
      ? [{ field: "packet_type", value: new Uint8Array(4) }, ...told]
      : told;
  }

  #value(place: string): bigint | undefined {
    return this.#places.get(place)?.value;
  }

  #typeBehindEthernet(): bigint | undefined {
    const type = this.#value("packet_type");
    return type !== undefined && type >> 16n === 1n ? type & 0xffffn : undefined;
  }

  #isTold(field: OxmFieldName, etherType: bigint | undefined): boolean {
    const isIpv4 = etherType === 0x0800n;
    const isIpv6 = etherType === 0x86ddn;
    const protocol = isIpv4 || isIpv6 ? (this.#value("nw_proto") ?? 0n) : 0n;
    const isNd = isIpv6 && protocol === 58n && (this.#value("tp_dst") ?? 0n) === 0n;
    const type = isNd ? this.#value("tp_src") : undefined;
    // Of the label it is asked only whether there is an IP header.
    if (field === "ipv6_flabel") return isIpv4 || isIpv6;
    switch (OXM_FIELDS[field].prerequisite) {
      case "ipv4":
        return isIpv4;
      case "ipv6":
        return isIpv6;
      case "ip":
        return isIpv4 || isIpv6;
      case "arp":
        return etherType === 0x0806n || etherType === 0x8035n;
      case "mpls":
        return etherType === 0x8847n || etherType === 0x8848n;
      case "tcp":
        return protocol === 6n;
      case "udp":
        return protocol === 17n;
      case "sctp":
        return protocol === 132n;
      case "icmpv4":
        return isIpv4 && protocol === 1n;
      case "icmpv6":
        return isIpv6 && protocol === 58n;
      case "nd":
        return type === ICMPV6_ND.solicit || type === ICMPV6_ND.advert;
      case "nd_solicit":
        return type === ICMPV6_ND.solicit;
      case "nd_advert":
        return type === ICMPV6_ND.advert;
      case "ct":
        return (this.#value("ct_nw_proto") ?? 0n) !== 0n;
      default:
        return true;
    }
  }

  /** The tag: in Nicira's form 16 bits, in the standard's VID and, where that is not 0, the whole priority. */
  #tag(form: "nxm" | "oxm"): OxmEntry[] {
    const tag = this.#places.get(TAG);
    if (tag === undefined) return [];
    if (form === "nxm") return [entryOf("vlan_tci", tag)];
    const vid = { value: tag.value & ones(13), mask: tag.mask & ones(13) };
    const hasPriority = tag.mask >> 13n !== 0n && vid.value !== 0n;
    return [
      ...(vid.mask === 0n ? [] : [entryOf("vlan_vid", vid)]),
      ...(hasPriority ? [entryOf("vlan_pcp", { value: tag.value >> 13n, mask: ones(3) })] : []),
    ];
  }
}

const ON_ETHERNET: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>([
  ...(["eth_src", "eth_dst", "eth_type", "vlan_tci", "vlan_vid", "vlan_pcp"] as const),
]);

/** Whether only frames of Ethernet are known to have it. */
function isOnEthernet(field: OxmFieldName): boolean {
  const { prerequisite } = OXM_FIELDS[field];
  return ON_ETHERNET.has(field) || (prerequisite !== "none" && prerequisite !== "in_port");
}

/** These are always told with a mask. */
const TOLD_MASKS: Partial<Record<OxmFieldName, bigint>> = { ct_state: 0xffn, tun_flags: 1n };

function entryOf(field: OxmFieldName, { value, mask }: Bits): OxmEntry {
  const { size, bits, maskable } = OXM_FIELDS[field];
  const known = ones(bits);
  const told = maskable ? mask & known : known;
  const always = TOLD_MASKS[field];
  const entry = { field, value: numberToBytes(value & told, size) };
  if (always !== undefined) return { ...entry, mask: numberToBytes(told & always, size) };
  return told === known ? entry : { ...entry, mask: numberToBytes(told, size) };
}
