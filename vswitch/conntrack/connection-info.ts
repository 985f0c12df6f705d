// Connections for people: what dump-conntrack shows, and which of them a filter means. Not for the data path.
// Source: ovs-dpctl(8) dump-conntrack and flush-conntrack. Thread: datapath worker.
import { formatIpv4Address, formatIpv6Address } from "../../base/wire/index.js";
import { tupleAt } from "./connection-memory.js";
import {
  type ConnectionTable,
  FLAG_FTP,
  FLAG_TFTP,
  ORIGINAL,
  REPLY,
  SEEN_REPLY,
} from "./connection-table.js";
import { PEER_STATE_NAMES, SCALE_KNOWN, type TcpPeers } from "./tcp.js";
import { STATE_NONE, TIMEOUT_NAMES } from "./timeouts.js";
import { isIpv6, protocolOf, T_DST, T_KIND, T_PORTS, T_SRC, TCP, zoneOf } from "./tuple.js";

export interface TupleInfo {
  /** As text. */
  readonly source: string;
  readonly destination: string;
  /** Of ICMP: the identifier. */
  readonly sourcePort: number;
  /** Of ICMP: type × 256 + code. */
  readonly destinationPort: number;
}

/** One end of a TCP connection. */
export interface PeerInfo {
  readonly state: string;
  /** "WINDOW_SCALE", "BE_LIBERAL" or neither. */
  readonly flags: string;
  /** Bits that its windows are shifted by. */
  readonly windowScale: number;
}

export interface ConnectionInfo {
  readonly zone: number;
  readonly ipv6: boolean;
  readonly protocol: number;
  readonly original: TupleInfo;
  readonly reply: TupleInfo;
  /** The time-out that runs, as CT_Timeout_Policy names it. */
  readonly state: (typeof TIMEOUT_NAMES)[number];
  /** Of TCP: the opener and the other end. */
  readonly peers: readonly [PeerInfo, PeerInfo] | undefined;
  readonly mark: number;
  /** Hexadecimal without leading zeros, "0" when none is set. */
  readonly label: string;
  readonly helper: "ftp" | "tftp" | undefined;
  readonly seenReply: boolean;
  readonly expiresInMs: number;
}

function describeConnection(
  table: ConnectionTable,
  peers: TcpPeers,
  connection: number,
  nowMs: number,
): ConnectionInfo {
  const kind = table.tuples[tupleAt(connection * 2) + T_KIND] as number;
  const flags = table.flagsOf(connection);
  const protocol = protocolOf(kind);
  const peer = (direction: number): PeerInfo => describePeer(peers, connection * 2 + direction);
  return {
    zone: zoneOf(kind),
    ipv6: isIpv6(kind),
    protocol,
    original: describeTuple(table.tuples, connection * 2 + ORIGINAL),
    reply: describeTuple(table.tuples, connection * 2 + REPLY),
    state: TIMEOUT_NAMES[table.stateOf(connection)] as (typeof TIMEOUT_NAMES)[number],
    peers: protocol === TCP ? [peer(ORIGINAL), peer(REPLY)] : undefined,
    mark: (table.marks[connection] as number) >>> 0,
    label: describeLabel(table.labels, connection * 4),
    helper: (flags & FLAG_FTP) !== 0 ? "ftp" : (flags & FLAG_TFTP) !== 0 ? "tftp" : undefined,
    seenReply: (flags & SEEN_REPLY) !== 0,
    expiresInMs: table.expiryOf(connection) - nowMs,
  };
}

function describePeer(peers: TcpPeers, at: number): PeerInfo {
  const scale = peers.scaleOf(at);
  const known = (scale & SCALE_KNOWN) !== 0;
  return {
    state: PEER_STATE_NAMES[peers.peerState(at)] as string,
    flags: known ? "WINDOW_SCALE" : (scale & 0x40) !== 0 ? "BE_LIBERAL" : "",
    windowScale: known ? scale & 15 : 0,
  };
}

function describeTuple(tuples: Int32Array, index: number): TupleInfo {
  const at = tupleAt(index);
  const ipv6 = isIpv6(tuples[at + T_KIND] as number);
  const ports = tuples[at + T_PORTS] as number;
  return {
    source: formatAddress(tuples, at + T_SRC, ipv6),
    destination: formatAddress(tuples, at + T_DST, ipv6),
    sourcePort: ports >>> 16,
    destinationPort: ports & 0xffff,
  };
}

/** The address at `at` in `words`, as in a tuple. */
export function formatAddress(words: Int32Array, at: number, ipv6: boolean): string {
  if (!ipv6) return formatIpv4Address((words[at] as number) >>> 0);
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 4; i++) view.setInt32(i * 4, words[at + i] as number);
  return formatIpv6Address(bytes);
}

function describeLabel(labels: Int32Array, at: number): string {
  let label = 0n;
  for (let i = 0; i < 4; i++) label = (label << 32n) | BigInt((labels[at + i] as number) >>> 0);
  return label.toString(16);
}

/** What a tuple must be; what is absent may be anything. Addresses as describeConnection writes them. */
export interface TupleFilter {
  readonly source?: string;
  readonly destination?: string;
  readonly protocol?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export interface ConnectionFilter {
  readonly zone?: number;
  readonly original?: TupleFilter;
  readonly reply?: TupleFilter;
}

function connectionFits(one: ConnectionInfo, filter: ConnectionFilter): boolean {
  return (
    (filter.zone === undefined || filter.zone === one.zone) &&
    tupleFits(one.original, one.protocol, filter.original) &&
    tupleFits(one.reply, one.protocol, filter.reply)
  );
}

function tupleFits(tuple: TupleInfo, protocol: number, filter: TupleFilter | undefined): boolean {
  if (filter === undefined) return true;
  return (
    (filter.protocol === undefined || filter.protocol === protocol) &&
    (filter.source === undefined || filter.source === tuple.source) &&
    (filter.destination === undefined || filter.destination === tuple.destination) &&
    (filter.sourcePort === undefined || filter.sourcePort === tuple.sourcePort) &&
    (filter.destinationPort === undefined || filter.destinationPort === tuple.destinationPort)
  );
}

export function listConnections(
  table: ConnectionTable,
  peers: TcpPeers,
  filter: ConnectionFilter,
  nowMs: number,
): ConnectionInfo[] {
  const all: ConnectionInfo[] = [];
  for (let c = 0; c < table.capacity; c++) {
    if (table.stateOf(c) === STATE_NONE || table.expiryOf(c) <= nowMs) continue;
    const one = describeConnection(table, peers, c, nowMs);
    if (connectionFits(one, filter)) all.push(one);
  }
  return all;
}

/** Returns how many there were. */
export function flushConnections(
  table: ConnectionTable,
  peers: TcpPeers,
  filter: ConnectionFilter,
  nowMs: number,
): number {
  const before = table.size;
  for (let c = 0; c < table.capacity; c++) {
    if (table.stateOf(c) === STATE_NONE) continue;
    if (connectionFits(describeConnection(table, peers, c, nowMs), filter)) table.remove(c);
  }
  return before - table.size;
}
