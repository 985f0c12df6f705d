// Follows through an action list what kind of packet it must be by then, to refuse a set-field that cannot apply.
// Source: OpenFlow 1.3.5, 7.2.3.6 and 7.2.5 (OFPBAC_MATCH_INCONSISTENT). Thread: any.
import {
  type Action,
  type Match,
  type OfpErrorName,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
  type OxmPrerequisite,
  prerequisiteHolds,
} from "../../base/openflow/index.js";
import { flowError } from "./errors.js";

/** Packet types, as namespace and type in 16 bits each: a whole frame, and what is known of none. */
const PT_ETHERNET = 0;
const PT_UNKNOWN = 0xffffffff;
const PT_NAMESPACE_ETHERTYPE = 1;
/** What only a packet that begins with an Ethernet header has. */
const ETHERNET: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>([
  ...(["eth_src", "eth_dst", "vlan_tci", "vlan_vid", "vlan_pcp"] as const),
]);

/** How a match says that a header is there: one of these values, or any but 0. */
interface HeaderSign {
  readonly field: OxmFieldName;
  readonly values: readonly number[] | undefined;
}

const HEADERS = {
  VLAN: { field: "vlan_vid", values: undefined },
  IP: { field: "eth_type", values: [0x0800, 0x86dd] },
  MPLS: { field: "eth_type", values: [0x8847, 0x8848] },
  PBB: { field: "eth_type", values: [0x88e7] },
} as const satisfies Record<string, HeaderSign>;

const HEADERS_NEEDED = {
  pop_vlan: "VLAN",
  pop_mpls: "MPLS",
  pop_pbb: "PBB",
  dec_mpls_ttl: "MPLS",
  set_mpls_ttl: "MPLS",
  dec_nw_ttl: "IP",
  set_nw_ttl: "IP",
  dec_ttl_ids: "IP",
} as const satisfies Partial<Record<Action["type"], keyof typeof HEADERS>>;

export class Prerequisites {
  /** What is known to hold; undefined = nothing is known, so nothing can be refused. */
  #match: OxmEntry[] | undefined;
  #packetType: number;
  #tags: number;
  readonly #isStrict: boolean;

  /**
   * `isStrict` believes, as Open vSwitch does of a flow that it reads, that a packet has no tags but those that are known
   * of, and is behind a resubmit what it was.
   */
  constructor(match: Match | undefined, isStrict = false) {
    this.#match = match === undefined ? undefined : [...match];
    this.#isStrict = isStrict;
    this.#packetType = this.#known("packet_type") ?? PT_ETHERNET;
    this.#tags = match?.some(({ field }) => field === "vlan_vid" || field === "vlan_tci") === true ? 1 : 0;
  }

  /** For a list inside the list, which changes nothing outside. */
  fork(): Prerequisites {
    const copy = new Prerequisites(this.#match, this.#isStrict);
    copy.#packetType = this.#packetType;
    copy.#tags = this.#tags;
    return copy;
  }

  /** Throws `error` when the packet is known to lack what `field` needs. */
  check(field: OxmFieldName, error: OfpErrorName): void {
    if (this.#match === undefined) return;
    if (!this.allowsFrame(field))
      throw flowError(error, `${field} needs an Ethernet header, which the packet does not begin with`);
    const { prerequisite } = OXM_FIELDS[field];
    if (!prerequisiteHolds(prerequisite, this.#match))
      throw flowError(error, `${field} needs ${prerequisite}, which the match does not ask for`);
  }

  /** Throws when the match says that the packet has no header for the action: then it can never apply (7.4.4.3). */
  checkHeader(action: keyof typeof HEADERS_NEEDED): void {
    const needed = HEADERS_NEEDED[action];
    const { field, values }: HeaderSign = HEADERS[needed];
    const value = this.#known(field);
    if (value === undefined) return;
    const fits = values === undefined ? value !== 0 : values.includes(value);
    if (!fits)
      throw flowError("OFPBAC_MATCH_INCONSISTENT", `${action} needs ${needed}, which the match excludes`);
  }

  /** False when the packet is known to be something else. */
  allows(prerequisite: OxmPrerequisite): boolean {
    return this.#match === undefined || prerequisiteHolds(prerequisite, this.#match);
  }

  /** False when the field is one of the Ethernet header, with which the packet does not begin. */
  allowsFrame(field: OxmFieldName): boolean {
    return this.#match === undefined || this.#packetType === PT_ETHERNET || !ETHERNET.has(field);
  }

  /** `action` has been done. */
  after(action: Action): void {
    if (this.#match === undefined) return;
    switch (action.type) {
      case "push_vlan":
        this.#tags++;
        this.#put("vlan_vid", 0x1000, 2, Uint8Array.of(0x10, 0));
        return;
      case "push_mpls":
      case "pop_mpls":
      case "push_pbb":
        this.#put("eth_type", action.etherType, 2);
        return;
      case "encap":
        this.#packetType = action.packetType;
        // Of packet types, those of EtherTypes: what comes first in the packet from then on.
        if (action.packetType >>> 16 === PT_NAMESPACE_ETHERTYPE)
          this.#put("eth_type", action.packetType & 0xffff, 2);
        return;
      case "decap":
        this.#decap();
        return;
      case "pop_vlan":
        if (this.#isStrict) this.#popTag();
        else this.#match = undefined;
        return;
      case "resubmit":
        if (!this.#isStrict) this.#match = undefined;
        return;
      case "pop_pbb":
        this.#match = undefined;
        return;
      case "set_field":
        this.#match = this.#match.filter((entry) => entry.field !== action.field);
        this.#match.push({ field: action.field, value: action.value });
        return;
      default:
    }
  }

  /** Behind the Ethernet header comes what its EtherType says; what is behind other headers is not known. */
  #decap(): void {
    if (this.#packetType === PT_ETHERNET)
      this.#packetType = PT_NAMESPACE_ETHERTYPE * 0x10000 + (this.#known("eth_type") ?? 0);
    else {
      this.#packetType = PT_UNKNOWN;
      this.#put("eth_type", 0xffff, 2);
    }
  }

  #popTag(): void {
    this.#tags = Math.max(0, this.#tags - 1);
    if (this.#tags === 0)
      this.#match = this.#match?.filter(({ field }) => field !== "vlan_vid" && field !== "vlan_tci");
  }

  /** The value of a field of at most 4 bytes that is matched as a whole. */
  #known(field: OxmFieldName): number | undefined {
    const entry = this.#match?.find((one) => one.field === field && one.mask === undefined);
    return entry?.value.reduce((sum, byte) => sum * 256 + byte, 0);
  }

  #put(field: OxmFieldName, value: number, size: number, mask?: Uint8Array): void {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (value >>> (8 * (size - 1 - i))) & 255);
    this.#match = (this.#match as OxmEntry[]).filter((entry) => entry.field !== field);
    this.#match.push(mask === undefined ? { field, value: bytes } : { field, value: bytes, mask });
  }
}
