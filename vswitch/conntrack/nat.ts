// Address translation of a connection: finding a free reply tuple, and changing packets by the connection's tuples.
// Source: RFC 3022, RFC 5508 for ICMP errors. Thread: datapath worker. Hot: yes (translate).
import { checksum, updateChecksum16 } from "../../base/wire/index.js";
import {
  FlowKey,
  type Headers,
  type NatProgram,
  type Rewriter,
  W_DESTINATION,
  W_PORTS,
  W_SOURCE,
} from "../flow/index.js";
import type { ConnectionTable } from "./connection-table.js";
import { TUPLE_WORDS } from "./tuple.js";

const PORT_FIRST = 1024;
/** Ports tried where the action names no range. */
const ATTEMPTS_MAX = 1024;

/**
 * Changes `reply` (made by invert) to what answers to the translated packet look like, such that no other
 * connection has it. False when every choice is taken.
 */
export function chooseReply(
  table: ConnectionTable,
  nat: NatProgram,
  original: Int32Array,
  reply: Int32Array,
  nowMs: number,
): boolean {
  const source = nat.kind === "source";
  const address = chooseAddress(nat, original);
  // A reply goes to the translated source, or comes from the translated destination.
  if (address !== null) reply[source ? 1 : 0] = address;
  const icmp = original[3]! >>> 16 === 1;
  const shift = icmp || !source ? 16 : 0;
  // The ICMP identifier stands in for the source port; it cannot be chosen for a destination.
  if (icmp && !source) return table.find(reply, nowMs) < 0;
  const keep = ~(0xffff << shift);
  const wanted = (reply[2]! >>> shift) & 0xffff;
  const ranged = nat.portMin >= 0;
  const low = ranged ? nat.portMin : PORT_FIRST;
  const high = ranged ? nat.portMax : 0xffff;
  const inRange = !ranged || (wanted >= low && wanted <= high);
  if (inRange && table.find(reply, nowMs) < 0) return true;
  // A destination keeps its port unless the action says otherwise.
  if (!source && !ranged) return false;
  const count = high - low + 1;
  const attempts = ranged ? count : Math.min(count, ATTEMPTS_MAX);
  let port = low + (((wanted ^ original[0]!) >>> 0) % count);
  for (let n = 0; n < attempts; n++) {
    reply[2] = (reply[2]! & keep) | (port << shift);
    if (table.find(reply, nowMs) < 0) return true;
    port = port === high ? low : port + 1;
  }
  return false;
}

/** The same client always gets the same address of a range. */
function chooseAddress(nat: NatProgram, original: Int32Array): number | null {
  if (nat.family !== 4) return null;
  const low = nat.addressMin[0]! >>> 0;
  const high = nat.addressMax[0]! >>> 0;
  const count = high - low + 1;
  const hash = (Math.imul(original[0]! ^ original[1]!, 0x9e3779b1) >>> 0) % Math.max(1, count);
  return (low + hash) | 0;
}

/** Makes the packet look as the other side of `connection` expects it: its tuple becomes the inverse of the other. */
export function translate(
  table: ConnectionTable,
  connection: number,
  direction: number,
  packet: number,
  view: DataView,
  key: Int32Array,
  headers: Headers,
  rewriter: Rewriter,
): void {
  const other = (connection * 2 + (1 - direction)) * TUPLE_WORDS;
  const { tuples } = table;
  const source = tuples[other + 1]!;
  const destination = tuples[other]!;
  if (key[FlowKey.K_SRC] !== source) {
    key[FlowKey.K_SRC] = source;
    rewriter.write(packet, W_SOURCE);
  }
  if (key[FlowKey.K_DST] !== destination) {
    key[FlowKey.K_DST] = destination;
    rewriter.write(packet, W_DESTINATION);
  }
  const ports = tuples[other + 2]!;
  if (headers.l4Protocol === 1) {
    const identifier = ports >>> 16;
    const before = view.getUint16(headers.l4 + 4);
    if (before === identifier) return;
    view.setUint16(headers.l4 + 4, identifier);
    view.setUint16(headers.l4 + 2, updateChecksum16(view.getUint16(headers.l4 + 2), before, identifier));
    return;
  }
  const swapped = (ports << 16) | (ports >>> 16);
  if (headers.l4 >= 0 && key[FlowKey.K_TP] !== swapped) {
    key[FlowKey.K_TP] = swapped;
    rewriter.write(packet, W_PORTS);
  }
}

/**
 * Translates an ICMP error about a packet of `direction`: the quoted packet becomes what its sender had sent, and the
 * error goes to that sender. The router that speaks keeps its own address, unless it is an end of the connection.
 */
export function translateError(
  table: ConnectionTable,
  connection: number,
  direction: number,
  packet: number,
  bytes: Uint8Array,
  view: DataView,
  key: Int32Array,
  headers: Headers,
  rewriter: Rewriter,
): void {
  // The tuple that the error was found by is the inverse of the quoted packet as its speaker saw it.
  const seen = (connection * 2 + direction) * TUPLE_WORDS;
  const sent = (connection * 2 + (1 - direction)) * TUPLE_WORDS;
  const { tuples } = table;
  const quotedSource = tuples[sent]!;
  const quotedDestination = tuples[sent + 1]!;
  const inner = headers.l4 + 8;
  const l4 = inner + ((view.getUint8(inner) & 15) << 2);
  if (key[FlowKey.K_SRC] === tuples[seen]! && quotedDestination !== tuples[seen]!) {
    key[FlowKey.K_SRC] = quotedDestination;
    rewriter.write(packet, W_SOURCE);
  }
  key[FlowKey.K_DST] = quotedSource;
  rewriter.write(packet, W_DESTINATION);
  view.setInt32(inner + 12, quotedSource);
  view.setInt32(inner + 16, quotedDestination);
  view.setUint16(inner + 10, 0);
  view.setUint16(inner + 10, checksum(bytes, inner, l4 - inner));
  const ports = tuples[sent + 2]!;
  if (tuples[seen + 3]! >>> 16 === 1) view.setUint16(l4 + 4, ports >>> 16);
  else if (tuples[sent + 2] !== 0) view.setInt32(l4, ports);
  view.setUint16(headers.l4 + 2, 0);
  view.setUint16(headers.l4 + 2, checksum(bytes, headers.l4, headers.end - headers.l4));
}
