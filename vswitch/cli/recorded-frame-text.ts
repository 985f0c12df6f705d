// A frame from a message or a recording as ovs-ofctl prints it: its fields, and the checksum of its transport. Pure.
import type { Match, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { FRAME_SIZE_MIN } from "../../base/packet/index.js";
import { type FrameView, frameView } from "../flow/index.js";
import { formatPacket } from "./frame-text.js";

/** What stands for every length that an IEEE 802.3 frame has in place of a type. */
const NOT_A_TYPE = Uint8Array.of(0x05, 0xff);
const TYPE_MIN = 6;
const BOTTOM_OF_STACK = 0x100;
/** Labels that are told besides the first. */
const LABELS_BEHIND = 2;
const FRAGMENT = 44;
/** Neighbour solicitation and advertisement. */
const ND_TYPES: readonly number[] = [135, 136];

/** What is told of a frame that is too short to have a header. */
const EMPTY: Match = [
  { field: "vlan_tci", value: new Uint8Array(2) },
  { field: "eth_src", value: new Uint8Array(6) },
  { field: "eth_dst", value: new Uint8Array(6) },
  { field: "eth_type", value: new Uint8Array(2) },
];

/** Without the port that it came in by. */
export function formatRecordedFrame(frame: Uint8Array): string {
  const view = frame.byteLength < FRAME_SIZE_MIN ? undefined : frameView(frame, 0);
  if (view === undefined) return formatPacket({ match: EMPTY, tags: [] });
  const shown = { match: shownFields(view), tags: view.tags, labels: wholeStack(view) };
  return `${formatPacket(shown)}${checksumText(frame, view)}`;
}

/** Labels behind the first; where the frame ends before the stack does, the others that are told are zeros. */
function wholeStack({ match, labels = [] }: FrameView): readonly number[] {
  const first = match.find(({ field }) => field === "mpls_bos")?.value[0];
  const isOpen = first === 0 && !labels.some((label) => (label & BOTTOM_OF_STACK) !== 0);
  return isOpen ? [...labels, 0, 0].slice(0, LABELS_BEHIND) : labels;
}

function shownFields({ match }: FrameView): Match {
  const bytesOf = (field: OxmFieldName): Uint8Array | undefined =>
    match.find((entry) => entry.field === field)?.value;
  const isLater = bytesOf("ip_frag")?.[0] === 3;
  const isIpv6 = bytesOf("ipv6_src") !== undefined;
  const shown = match.flatMap((entry): OxmEntry[] => {
    const { field, value } = entry;
    if (field === "in_port") return [];
    if (field === "eth_type" && (value[0] as number) < TYPE_MIN) return [{ field, value: NOT_A_TYPE }];
    // There the operation of ARP has 8 bits; others are told as none.
    if (field === "arp_op" && value[0] !== 0) return [{ field, value: new Uint8Array(2) }];
    // What follows the header of a later fragment is no transport header.
    if (isLater && isTransport(field)) return [];
    if (isLater && isIpv6 && field === "ip_proto") return [{ field, value: Uint8Array.of(FRAGMENT) }];
    return [entry];
  });
  return ND_TYPES.includes(bytesOf("icmpv6_type")?.[0] ?? 0) ? withBothAddresses(shown) : shown;
}

function isTransport(field: OxmFieldName): boolean {
  return /^(tcp|udp|sctp|icmpv4|icmpv6|ipv6_nd)_/.test(field);
}

/** Of neighbour discovery both are told, whichever the message can have. */
function withBothAddresses(match: Match): Match {
  const both = ["ipv6_nd_sll", "ipv6_nd_tll"] as const;
  const missing = both.filter((name) => !match.some(({ field }) => field === name));
  return [...match, ...missing.map((field) => ({ field, value: new Uint8Array(6) }))];
}

/** Names, and where the checksum is in the header and how long. */
const CHECKSUMS: Readonly<Record<number, readonly [name: string, at: number, size: number]>> = {
  6: ["tcp_csum", 16, 2],
  17: ["udp_csum", 6, 2],
  132: ["sctp_csum", 8, 4],
  1: ["icmp_csum", 2, 2],
  58: ["icmp6_csum", 2, 2],
};

function checksumText(frame: Uint8Array, { transport }: FrameView): string {
  const found = transport && CHECKSUMS[transport.protocol];
  if (transport === undefined || found === undefined) return "";
  const [name, at, size] = found;
  const begin = transport.offset + at;
  if (begin + size > frame.byteLength) return "";
  const number = frame.subarray(begin, begin + size).reduce((sum, byte) => sum * 256 + byte, 0);
  return ` ${name}:${number.toString(16)}`;
}
