// The tuple of a packet: who talks to whom, and what a packet of that kind may do to connections.
//
//   words: 0 source address | 1 destination address | 2 ports (source << 16 | destination) | 3 protocol << 16 | zone
//
// ICMP queries have their identifier as source port and type << 8 | code as destination port.
// Source: RFC 792, RFC 5508. Thread: datapath worker. Hot: yes.
import { FlowKey, type Headers } from "../flow/index.js";

export const TUPLE_WORDS = 4;

/** The packet cannot be tracked: not IPv4, a fragment, cut short, an unknown or misdirected kind of ICMP. */
export const KIND_INVALID = 0;
export const KIND_QUERY = 1;
/** An ICMP error; the tuple is that of the packet it speaks of. */
export const KIND_ERROR = 2;

/** Fills `tuple` from the packet, or for an ICMP error from the packet that it quotes; returns the KIND. */
export function readTuple(
  view: DataView,
  key: Int32Array,
  headers: Headers,
  zone: number,
  tuple: Int32Array,
): number {
  const { l4, l4Protocol, end } = headers;
  if (headers.l3Kind !== FlowKey.L3_IPV4 || (key[FlowKey.K_IP]! & 0xff) !== 0) return KIND_INVALID;
  tuple[0] = key[FlowKey.K_SRC]!;
  tuple[1] = key[FlowKey.K_DST]!;
  const protocol = key[FlowKey.K_IP]! >>> 24;
  tuple[3] = (protocol << 16) | zone;
  if (protocol === 6 || protocol === 17 || protocol === 132) {
    if (l4Protocol !== protocol) return KIND_INVALID;
    tuple[2] = key[FlowKey.K_TP]!;
    return KIND_QUERY;
  }
  if (protocol !== 1) {
    // Other protocols are tracked by addresses alone.
    tuple[2] = 0;
    return KIND_QUERY;
  }
  if (l4Protocol !== 1 || l4 + 8 > end) return KIND_INVALID;
  const type = view.getUint8(l4);
  if (isQuery(type) || isReply(type)) {
    tuple[2] = (view.getUint16(l4 + 4) << 16) | view.getUint16(l4);
    return KIND_QUERY;
  }
  if (type !== 3 && type !== 4 && type !== 5 && type !== 11 && type !== 12) return KIND_INVALID;
  if (!readQuoted(view, l4 + 8, end, zone, tuple)) return KIND_INVALID;
  // An error goes to whoever sent the packet that it speaks of. Otherwise a machine could reach any other past policy by
  // quoting a connection of its own.
  return tuple[0] === key[FlowKey.K_DST] ? KIND_ERROR : KIND_INVALID;
}

/** The tuple of the packet that an ICMP error quotes. Its length fields may exceed what is quoted. */
function readQuoted(view: DataView, at: number, end: number, zone: number, tuple: Int32Array): boolean {
  if (at + 20 > end || view.getUint8(at) >>> 4 !== 4) return false;
  const l4 = at + ((view.getUint8(at) & 15) << 2);
  if (l4 < at + 20 || l4 + 8 > end || (view.getUint16(at + 6) & 0x1fff) !== 0) return false;
  const protocol = view.getUint8(at + 9);
  tuple[0] = view.getInt32(at + 12);
  tuple[1] = view.getInt32(at + 16);
  tuple[3] = (protocol << 16) | zone;
  if (protocol === 6 || protocol === 17 || protocol === 132) tuple[2] = view.getInt32(l4);
  else if (protocol === 1) tuple[2] = (view.getUint16(l4 + 4) << 16) | view.getUint16(l4);
  else tuple[2] = 0;
  return true;
}

/** Echo, timestamp, information and mask requests. */
function isQuery(type: number): boolean {
  return type === 8 || type === 13 || type === 15 || type === 17;
}

function isReply(type: number): boolean {
  return type === 0 || type === 14 || type === 16 || type === 18;
}

/** Whether a connection may begin with this tuple. */
export function mayOpen(tuple: Int32Array): boolean {
  return tuple[3]! >>> 16 !== 1 || isQuery((tuple[2]! >>> 8) & 0xff);
}

/** What answers to `tuple` look like, written to `reply`. */
export function invert(tuple: Int32Array, reply: Int32Array): void {
  reply[0] = tuple[1]!;
  reply[1] = tuple[0]!;
  reply[3] = tuple[3]!;
  const ports = tuple[2]!;
  if (tuple[3]! >>> 16 !== 1) {
    reply[2] = (ports << 16) | (ports >>> 16);
    return;
  }
  const type = (ports >>> 8) & 0xff;
  const answer = type === 8 ? 0 : type === 0 ? 8 : isQuery(type) ? type + 1 : type - 1;
  reply[2] = (ports & ~0xffff) | (answer << 8);
}
