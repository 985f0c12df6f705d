// A packet by its fields: "tcp,in_port=1,vlan_tci=0x0000,dl_src=…,tcp_flags=syn". Pure.
import type { PacketView } from "../flow/index.js";
import { matchParts, type PortNames } from "./match-text.js";

/** Open vSwitch knows two tags. */
const TAGS_SHOWN = 2;

export interface PacketFormat {
  readonly names?: PortNames;
  /** Stands first, as in the flows of a recirculated packet: "recirc_id=0x1". */
  readonly prefix?: readonly string[];
  /** Name the packet's layer, "eth", as megaflows do. */
  readonly withLayer?: boolean;
}

/** What is told before the packet's own fields. */
const METADATA = /^(recirc_id|pkt_mark|conj_id|actset_output|ct_\w+)=/;

export function formatPacket({ match, tags }: PacketView, format: PacketFormat = {}): string {
  const parts = [...(format.prefix ?? []), ...matchParts(match, format.names)];
  if (format.withLayer === true) {
    const at = parts.findIndex((part) => !METADATA.test(part));
    parts.splice(at < 0 ? parts.length : at, 0, "eth");
  }
  if (tags.length === 0) return parts.join(",");
  const last = parts.findIndex((part) => part.startsWith("dl_vlan_pcp="));
  const inner = tags.slice(1, TAGS_SHOWN).flatMap((tci, i) => {
    return [`dl_vlan${i + 1}=${tci & 0xfff}`, `dl_vlan_pcp${i + 1}=${tci >> 13}`];
  });
  if (tags.length < TAGS_SHOWN) inner.push(`vlan_tci${tags.length}=0x0000`);
  parts.splice(last + 1, 0, ...inner);
  return parts.join(",");
}
