// Address translation of a new connection: finding a reply tuple that no other connection has.
//
// A client always gets the same address of a range (RFC 4787, REQ-2), chosen by a hash of its own address; with
// `persistent` by one that is the same after a restart and in every switch. Where that address has no free port for it,
// the next one is taken. The port stays what it is where it can; `hash` begins to look in the range at a place that
// follows from both addresses and the other port, `random` anywhere.
// Source: ovs-actions(7), nat; RFC 3022; RFC 4787, 4 (ports are kept where they can be); RFC 5508, 3 (ICMP identifiers). Thread: datapath
// worker. Hot: yes.
import { secretMultiplier } from "../../base/random/index.js";
import type { NatProgram } from "../flow/index.js";
import type { ConnectionTable } from "./connection-table.js";
import { NAT_ADDRESSES_MAX, NAT_PORTS_MAX } from "./limits.js";
import { hasPorts, isIcmp, isIpv6, protocolOf, T_DST, T_KIND, T_PORTS, T_SRC } from "./tuple.js";

const PORT_FIRST = 1024;
const PORT_LAST = 0xffff;
const SECRET = secretMultiplier();
/** Of the golden ratio (Knuth): mixes well, and is no secret. */
const PERSISTENT = 0x9e3779b1;
let random = secretMultiplier();

/** A source whose address is chosen already. */
const KEEP_PORT: NatProgram = {
  kind: "source",
  family: 0,
  addressMin: new Int32Array(4),
  addressMax: new Int32Array(4),
  portMin: -1,
  portMax: -1,
  selection: "auto",
  persistent: false,
};

/** A new pseudo-random 32-bit number; from outside it cannot be told. */
function nextRandom(): number {
  random ^= random << 13;
  random ^= random >>> 17;
  random ^= random << 5;
  return random >>> 0;
}

/**
 * Changes `reply` (made by invert) to what answers to the translated packet look like, such that no other
 * connection has it. False when every choice is taken, or the addresses are of the other IP version.
 */
export function chooseReply(
  table: ConnectionTable,
  nat: NatProgram,
  original: Int32Array,
  reply: Int32Array,
  nowMs: number,
): boolean {
  const ipv6 = isIpv6(original[T_KIND]!);
  const source = nat.kind === "source";
  // A reply goes to the translated source, or comes from the translated destination.
  const place = source ? T_DST : T_SRC;
  const wanted = reply[T_PORTS]!;
  const named = nat.family !== 0 && !isUnspecified(nat.addressMin);
  if (!named) return choosePort(table, nat, original, reply, nowMs);
  if ((nat.family === 6) !== ipv6) return false;
  const last = ipv6 ? 3 : 0;
  const count = rangeSize(nat, last);
  const hash = hashOf(original, T_SRC, 4, 0, multiplierOf(nat));
  const tries = Math.min(count, NAT_ADDRESSES_MAX);
  for (let n = 0; n < tries; n++) {
    for (let i = 0; i < 4; i++) reply[place + i] = nat.addressMin[i]!;
    reply[place + last] = (nat.addressMin[last]! + ((hash + n) % count)) | 0;
    reply[T_PORTS] = wanted;
    if (choosePort(table, nat, original, reply, nowMs)) return true;
  }
  return false;
}

/**
 * The same for a connection that was announced, whose `reply` says already where its answers go. Where it `goesElsewhere`
 * that is all of it, else its source may get another port.
 */
export function chooseExpectedReply(
  table: ConnectionTable,
  goesElsewhere: boolean,
  original: Int32Array,
  reply: Int32Array,
  nowMs: number,
): boolean {
  if (goesElsewhere) return table.find(reply, nowMs) < 0;
  return choosePort(table, KEEP_PORT, original, reply, nowMs);
}

function multiplierOf(nat: NatProgram): number {
  return nat.persistent ? PERSISTENT : SECRET;
}

/** Of `count` words of the tuple from `at`, and of one more. */
function hashOf(tuple: Int32Array, at: number, count: number, more: number, multiplier: number): number {
  let hash = Math.imul(more, multiplier);
  for (let i = 0; i < count; i++) hash = Math.imul((hash ^ (hash >>> 15)) + tuple[at + i]!, multiplier);
  hash ^= hash >>> 16;
  return (hash ^ (hash >>> 7)) >>> 0;
}

/** Addresses in the range; of a longer IPv6 range the first that differ in their last word only. */
function rangeSize(nat: NatProgram, last: number): number {
  for (let i = 0; i < last; i++)
    if (nat.addressMin[i] !== nat.addressMax[i]) return 0x100000000 - (nat.addressMin[last]! >>> 0);
  return (nat.addressMax[last]! >>> 0) - (nat.addressMin[last]! >>> 0) + 1;
}

function isUnspecified(words: Int32Array): boolean {
  return (words[0]! | words[1]! | words[2]! | words[3]!) === 0;
}

/** Finds the port or identifier at which `reply` is free: the one it has, else the next. */
function choosePort(
  table: ConnectionTable,
  nat: NatProgram,
  original: Int32Array,
  reply: Int32Array,
  nowMs: number,
): boolean {
  const source = nat.kind === "source";
  const protocol = protocolOf(original[T_KIND]!);
  const icmp = isIcmp(protocol);
  // The ICMP identifier stands in for the source port; it cannot be chosen for a destination. Others have none.
  if (icmp ? !source : !hasPorts(protocol)) return table.find(reply, nowMs) < 0;
  const shift = icmp || !source ? 16 : 0;
  const keep = ~(0xffff << shift);
  const wanted = (reply[T_PORTS]! >>> shift) & 0xffff;
  const ranged = nat.portMin >= 0 && !icmp;
  const low = ranged ? nat.portMin : icmp ? 0 : PORT_FIRST;
  const high = ranged ? nat.portMax : PORT_LAST;
  const inRange = !ranged || (wanted >= low && wanted <= high);
  const keeps = nat.selection === "auto" || (nat.selection === "hash" && !ranged);
  if (inRange && keeps && table.find(reply, nowMs) < 0) return true;
  // A destination keeps its port unless the action says otherwise.
  if (!source && !ranged) return table.find(reply, nowMs) < 0;
  const count = high - low + 1;
  const attempts = ranged ? count : Math.min(count, NAT_PORTS_MAX);
  let port = low + ((keeps ? wanted - low + 1 + count : firstPort(nat, original, source)) % count);
  if (port < low) port = low;
  for (let n = 0; n < attempts; n++) {
    reply[T_PORTS] = (reply[T_PORTS]! & keep) | (port << shift);
    if (table.find(reply, nowMs) < 0) return true;
    port = port === high ? low : port + 1;
  }
  return false;
}

/** Where in a range of ports the search begins. */
function firstPort(nat: NatProgram, original: Int32Array, source: boolean): number {
  if (nat.selection === "random") return nextRandom();
  const ports = original[T_PORTS]!;
  // The one that is not translated.
  const other = source ? ports & 0xffff : ports >>> 16;
  return hashOf(original, T_SRC, 8, other, multiplierOf(nat));
}
