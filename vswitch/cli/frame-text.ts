// A packet by its fields: "tcp,in_port=1,vlan_tci=0x0000,dl_src=…,tcp_flags=syn". Pure.
import type { Match, OxmEntry } from "../../base/openflow/index.js";
import type { MegaflowView, PacketView } from "../flow/index.js";
import { matchParts, type PortNames } from "./match-text.js";

/** Open vSwitch knows two tags. */
const TAGS_SHOWN = 2;

export interface PacketFormat {
  readonly names?: PortNames | undefined;
  /** Stands first, as in the flows of a recirculated packet: "recirc_id=0x1". */
  readonly prefix?: readonly string[];
  /** Name the packet's layer, "eth", as megaflows do. */
  readonly withLayer?: boolean;
}

/** What is told before the packet's own fields. */
const METADATA = /^(recirc_id|pkt_mark|conj_id|actset_output|ct_\w+)=/;

export function formatPacket(view: PacketView, format: PacketFormat = {}): string {
  return formatView(view, format, (match) => [
    ...["tun_src", "tun_dst"].map((name) => partOf(match, name, "0.0.0.0")),
    ...["tun_ipv6_src", "tun_ipv6_dst"].map((name) => partOf(match, name, "::")),
    ...["tun_gbp_id", "tun_gbp_flags"].map((name) => partOf(match, name, "0")),
    ...["tun_tos=0", "tun_ttl=0", "tun_erspan_ver=0", "gtpu_flags=0", "gtpu_msgtype=0"],
    partOf(match, "tun_flags", "0").replace("+", ""),
    ...matchParts(match.filter(isOption)),
  ]);
}

/** `tunnel` tells the fields of a packet that came through one. */
function formatView(
  { match, tags, labels = [] }: PacketView,
  format: PacketFormat,
  tunnel: (match: Match) => readonly string[],
): string {
  const isTunnelled = match.some(({ field }) => field === "tun_dst" || field === "tun_ipv6_dst");
  const parts = matchParts(
    match.filter(({ field }) => (field === "tunnel_id" ? !isTunnelled : !field.startsWith("tun_"))),
    format.names,
  );
  if (isTunnelled) {
    const behind = parts.findIndex((part) => /^(metadata|in_port)=/.test(part));
    parts.splice(behind < 0 ? parts.length : behind, 0, ...tunnel(match));
  }
  parts.splice(parts[0]?.startsWith("pkt_mark=") === true ? 1 : 0, 0, ...(format.prefix ?? []));
  const bottom = parts.findIndex((part) => part.startsWith("mpls_bos="));
  if (bottom >= 0)
    parts.splice(bottom + 1, 0, ...labels.map((entry, i) => `mpls_lse${i + 1}=${entry >>> 0}`));
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

function isOption({ field }: OxmEntry): boolean {
  return field.startsWith("tun_metadata");
}

function partOf(match: Match, name: string, otherwise: string): string {
  return matchParts(match.filter(({ field }) => field === name))[0] ?? `${name}=${otherwise}`;
}

/** What counts of every packet that came through a tunnel, and what did of this one; an option may not be there. */
function consultedTunnel(match: Match): readonly string[] {
  const isThere = (entry: OxmEntry): boolean => entry.value.byteLength > 0 || entry.mask !== undefined;
  const others = match.filter((entry) => entry.field.startsWith("tun_") && !isOption(entry));
  return [
    partOf(match, "tunnel_id", "0").replace("tunnel_id", "tun_id"),
    ...matchParts(others).filter((part) => !part.startsWith("tun_flags=")),
    ...["tun_tos=0", "tun_flags=-df-csum-key"],
    ...match
      .filter(isOption)
      .flatMap((entry) => (isThere(entry) ? matchParts([entry]) : [`${entry.field}=NP`])),
  ];
}

/** What of the packet counted: "recirc_id=0,eth,ip,in_port=1,nw_dst=10.0.0.0/8,nw_frag=no". */
export function formatMegaflow(
  { match, innerTag }: MegaflowView,
  recirculation: string,
  names?: PortNames,
): string {
  const format = { prefix: [`recirc_id=${recirculation}`], withLayer: true, names };
  // Types and codes of ICMP lie in words of 16 bits there.
  const text = formatView({ match, tags: [] }, format, consultedTunnel).replaceAll(
    /(icmp_(?:type|code))=(\d+)/g,
    (_, name: string, value: string) => `${name}=0x${Number(value).toString(16)}/0xff`,
  );
  if (innerTag === undefined) return text;
  const inner = `dl_vlan1=${innerTag.tci & 0xfff},dl_vlan_pcp1=${innerTag.tci >> 13}`;
  return text.replace(/(dl_vlan_pcp=\d+|vlan_tci=[^,]+|dl_vlan=\d+(?!,dl_vlan_pcp))/, `$1,${inner}`);
}
