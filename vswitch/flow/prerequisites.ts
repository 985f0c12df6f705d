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

  constructor(match: Match | undefined) {
    this.#match = match === undefined ? undefined : [...match];
  }

  /** For a list inside the list, which changes nothing outside. */
  fork(): Prerequisites {
    return new Prerequisites(this.#match);
  }

  /** Throws `error` when the packet is known to lack what `field` needs. */
  check(field: OxmFieldName, error: OfpErrorName): void {
    if (this.#match === undefined) return;
    const { prerequisite } = OXM_FIELDS[field];
    if (!prerequisiteHolds(prerequisite, this.#match))
      throw flowError(error, `${field} needs ${prerequisite}, which the match does not ask for`);
  }

  /** Throws when the match says that the packet has no header for the action: then it can never apply (7.4.4.3). */
  checkHeader(action: keyof typeof HEADERS_NEEDED): void {
    const needed = HEADERS_NEEDED[action];
    const { field, values }: HeaderSign = HEADERS[needed];
    const known = this.#match?.find((entry) => entry.field === field && entry.mask === undefined);
    if (known === undefined) return;
    const value = known.value.reduce((sum, byte) => sum * 256 + byte, 0);
    const fits = values === undefined ? value !== 0 : values.includes(value);
    if (!fits)
      throw flowError("OFPBAC_MATCH_INCONSISTENT", `${action} needs ${needed}, which the match excludes`);
  }

  /** False when the packet is known to be something else. */
  allows(prerequisite: OxmPrerequisite): boolean {
    return this.#match === undefined || prerequisiteHolds(prerequisite, this.#match);
  }

  /** `action` has been done. */
  after(action: Action): void {
    if (this.#match === undefined) return;
    switch (action.type) {
      case "push_vlan":
        this.#put("vlan_vid", 0x1000, 2, Uint8Array.of(0x10, 0));
        return;
      case "push_mpls":
      case "pop_mpls":
      case "push_pbb":
        this.#put("eth_type", action.etherType, 2);
        return;
      case "encap":
        // Of packet types, those of EtherTypes: what comes first in the packet from then on.
        if (action.packetType >>> 16 === 1) this.#put("eth_type", action.packetType & 0xffff, 2);
        return;
      case "decap":
      case "pop_vlan":
      case "pop_pbb":
      case "resubmit":
        this.#match = undefined;
        return;
      case "set_field":
        this.#match = this.#match.filter((entry) => entry.field !== action.field);
        this.#match.push({ field: action.field, value: action.value });
        return;
      default:
    }
  }

  #put(field: OxmFieldName, value: number, size: number, mask?: Uint8Array): void {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (value >>> (8 * (size - 1 - i))) & 255);
    this.#match = (this.#match as OxmEntry[]).filter((entry) => entry.field !== field);
    this.#match.push(mask === undefined ? { field, value: bytes } : { field, value: bytes, mask });
  }
}
