// The tuple of a packet: who talks to whom, by which protocol, in which zone. And the tuple of the answers.
//
//   words: 0–3 source address | 4–7 destination address, IPv4 in the first word of each
//          8 ports (source << 16 | destination) | 9 IPv6 << 24 | protocol << 16 | zone
//
// ICMP queries have their identifier as source port and type << 8 | code as destination port, in both directions.
// Source: RFC 792, RFC 4443, RFC 5508. Thread: datapath worker. Hot: yes.

export const TUPLE_WORDS = 10;
export const T_SRC = 0;
export const T_DST = 4;
export const T_PORTS = 8;
export const T_KIND = 9;
const IPV6 = 1 << 24;

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;
export const SCTP = 132;

export function kindOf(ipv6: boolean, protocol: number, zone: number): number {
  return (ipv6 ? IPV6 : 0) | (protocol << 16) | zone;
}

/** Protocol, zone and family from word T_KIND. */
export function protocolOf(kind: number): number {
  return (kind >>> 16) & 0xff;
}

export function zoneOf(kind: number): number {
  return kind & 0xffff;
}

export function isIpv6(kind: number): boolean {
  return (kind & IPV6) !== 0;
}

export function hasPorts(protocol: number): boolean {
  return protocol === TCP || protocol === UDP || protocol === SCTP;
}

export function isIcmp(protocol: number): boolean {
  return protocol === ICMP || protocol === ICMPV6;
}

/** Kinds of ICMP messages, of either version. */
export const ICMP_QUERY = 1;
export const ICMP_REPLY = 2;
export const ICMP_ERROR = 3;
/** Neither asks nor answers nor tells of a packet: router and neighbour discovery, group membership and the rest. */
export const ICMP_OTHER = 0;

export function icmpKind(protocol: number, type: number): number {
  if (protocol === ICMPV6) {
    if (type === 128) return ICMP_QUERY;
    if (type === 129) return ICMP_REPLY;
    return type >= 1 && type <= 4 ? ICMP_ERROR : ICMP_OTHER;
  }
  switch (type) {
    case 8:
    case 13:
    case 15:
      return ICMP_QUERY;
    case 0:
    case 14:
    case 16:
      return ICMP_REPLY;
    case 3:
    case 4:
    case 5:
    case 11:
    case 12:
      return ICMP_ERROR;
    default:
      return ICMP_OTHER;
  }
}

/** Whether a connection may begin with this tuple. */
export function mayOpen(tuple: Int32Array): boolean {
  const protocol = protocolOf(tuple[T_KIND]!);
  return !isIcmp(protocol) || icmpKind(protocol, (tuple[T_PORTS]! >>> 8) & 0xff) === ICMP_QUERY;
}

/** What answers to `tuple` look like, written to `reply`. */
export function invert(tuple: Int32Array, reply: Int32Array): void {
  for (let i = 0; i < 4; i++) {
    reply[T_SRC + i] = tuple[T_DST + i]!;
    reply[T_DST + i] = tuple[T_SRC + i]!;
  }
  const kind = tuple[T_KIND]!;
  const ports = tuple[T_PORTS]!;
  const protocol = protocolOf(kind);
  reply[T_KIND] = kind;
  if (!isIcmp(protocol)) {
    reply[T_PORTS] = (ports << 16) | (ports >>> 16);
    return;
  }
  reply[T_PORTS] = (ports & ~0xff00) | (answerType(protocol, (ports >>> 8) & 0xff) << 8);
}

function answerType(protocol: number, type: number): number {
  if (protocol === ICMPV6) return type ^ 1;
  if (type === 8) return 0;
  if (type === 0) return 8;
  return type === 13 || type === 15 ? type + 1 : type - 1;
}
