// Flows as people write them: "table=0,priority=100,tcp,nw_dst=10.0.0.1,actions=output:2". Pure.
// Source: ovs-ofctl(8), Flow Syntax.
import type { FlowStats, Instruction, Match, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { OXM_FIELDS } from "../../base/openflow/index.js";
import { formatInstructions, parseInstructions, splitList } from "./action-text.js";
import { flowTextError } from "./errors.js";
import {
  bytesToNumber,
  fieldNamed,
  formatFieldValue,
  numberToBytes,
  parseFieldValue,
  parseNumber,
  parsePort,
  parseSmall,
} from "./field-text.js";

export interface FlowText {
  readonly tableId: number | undefined;
  readonly priority: number | undefined;
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly outPort: number | undefined;
  readonly match: Match;
  /** undefined when no actions were given. */
  readonly instructions: readonly Instruction[] | undefined;
}

const PROTOCOLS: Readonly<Record<string, readonly [etherType: number, protocol?: number]>> = {
  ip: [0x0800],
  icmp: [0x0800, 1],
  tcp: [0x0800, 6],
  udp: [0x0800, 17],
  sctp: [0x0800, 132],
  arp: [0x0806],
  ipv6: [0x86dd],
  icmp6: [0x86dd, 58],
  tcp6: [0x86dd, 6],
  udp6: [0x86dd, 17],
  sctp6: [0x86dd, 132],
  mpls: [0x8847],
};
const FLOW_TEXT_LENGTH_MAX = 64 * 1024;
const U64 = (1n << 64n) - 1n;

/** Parses a flow or, without actions, a selection of flows. Throws FLOW_TEXT_INVALID. */
export function parseFlow(text: string): FlowText {
  if (text.length > FLOW_TEXT_LENGTH_MAX) throw flowTextError("the flow is too long");
  const at = /(^|[\s,])actions=/.exec(text);
  const head = at === null ? text : text.slice(0, at.index);
  const actions = at === null ? undefined : text.slice(at.index + at[0].length);
  const flow = {
    tableId: undefined as number | undefined,
    priority: undefined as number | undefined,
    cookie: 0n,
    cookieMask: 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    outPort: undefined as number | undefined,
  };
  const matchParts: string[] = [];
  for (const part of splitList(head.replace(/\s+/g, ","))) {
    const [key, value = ""] = part.split(/=(.*)/s, 2) as [string, string?];
    if (key === "table") flow.tableId = parseSmall(value, 254);
    else if (key === "priority") flow.priority = parseSmall(value, 0xffff);
    else if (key === "idle_timeout") flow.idleTimeoutSeconds = parseSmall(value, 0xffff);
    else if (key === "hard_timeout") flow.hardTimeoutSeconds = parseSmall(value, 0xffff);
    else if (key === "out_port") flow.outPort = parsePort(value);
    else if (key === "cookie") {
      const [number, mask] = value.split("/", 2) as [string, string?];
      flow.cookie = parseNumber(number, U64);
      flow.cookieMask = mask === undefined ? 0n : mask === "-1" ? U64 : parseNumber(mask, U64);
    } else matchParts.push(part);
  }
  return {
    ...flow,
    match: parseMatch(matchParts),
    instructions: actions === undefined ? undefined : parseInstructions(actions),
  };
}

function parseMatch(parts: readonly string[]): Match {
  const entries = new Map<OxmFieldName, OxmEntry>();
  const add = (field: OxmFieldName, value: Uint8Array, mask?: Uint8Array): void => {
    if (entries.has(field)) throw flowTextError(`${field} is given twice`);
    entries.set(field, { field, value, ...(mask === undefined ? {} : { mask }) });
  };
  for (const part of parts) {
    const [key, value] = part.split(/=(.*)/s, 2) as [string, string?];
    const protocol = value === undefined && Object.hasOwn(PROTOCOLS, key) ? PROTOCOLS[key] : undefined;
    if (protocol !== undefined) {
      add("eth_type", numberToBytes(BigInt(protocol[0]), 2));
      if (protocol[1] !== undefined) add("ip_proto", Uint8Array.of(protocol[1]));
    } else if (value === undefined) {
      throw flowTextError(`"${part.slice(0, 60)}" is no match`);
    } else if (key === "dl_vlan") {
      const vid = parseSmall(value, 0xffff);
      add("vlan_vid", numberToBytes(vid === 0xffff ? 0n : BigInt((vid & 0xfff) | 0x1000), 2));
    } else if (key === "dl_vlan_pcp") {
      add("vlan_pcp", Uint8Array.of(parseSmall(value, 7)));
    } else {
      const field = fieldNamed(specificName(key, entries));
      const parsed = parseFieldValue(field, value);
      if (parsed.mask !== undefined && !field.maskable) throw flowTextError(`${field.name} takes no mask`);
      add(field.name, parsed.value, parsed.mask);
    }
  }
  return [...entries.values()];
}

/** tp_src means a field of the protocol that was named before; nw_src of an ARP flow is its address. */
function specificName(key: string, entries: ReadonlyMap<OxmFieldName, OxmEntry>): string {
  const number = (field: OxmFieldName): number =>
    Number(bytesToNumber(entries.get(field)?.value ?? new Uint8Array(0)));
  if (key === "tp_src" || key === "tp_dst") {
    const prefix = { 6: "tcp", 17: "udp", 132: "sctp" }[number("ip_proto")];
    if (prefix === undefined) throw flowTextError(`${key} needs tcp, udp or sctp before it`);
    return `${prefix}_${key.slice(3)}`;
  }
  if (number("eth_type") === 0x0806) {
    return { nw_src: "arp_spa", nw_dst: "arp_tpa", nw_proto: "arp_op" }[key] ?? key;
  }
  if (number("ip_proto") === 58 && (key === "icmp_type" || key === "icmp_code"))
    return key.replace("icmp", "icmpv6");
  return key;
}

/** A match as text; empty for one that everything matches. */
export function formatMatch(match: Match): string {
  const etherType = match.find(({ field }) => field === "eth_type");
  const protocol = match.find(({ field }) => field === "ip_proto");
  const number = (entry: OxmEntry | undefined): number | undefined =>
    entry && Number(bytesToNumber(entry.value));
  const named = Object.entries(PROTOCOLS).find(
    ([, [type, proto]]) =>
      type === number(etherType) &&
      proto === number(protocol) &&
      (proto !== undefined) === (protocol !== undefined),
  );
  return match
    .flatMap((entry) => {
      if (named !== undefined && entry.field === "eth_type") return [named[0]];
      if (named !== undefined && entry.field === "ip_proto") return [];
      if (
        entry.field === "vlan_vid" &&
        entry.mask === undefined &&
        ((number(entry) as number) & 0x1000) !== 0
      )
        return [`dl_vlan=${(number(entry) as number) & 0xfff}`];
      const field = OXM_FIELDS[entry.field];
      return [`${field.ovsName}=${formatFieldValue(field, entry)}`];
    })
    .join(",");
}

/** One line of dump-flows. */
export function formatFlow(flow: FlowStats): string {
  const seconds = flow.durationSeconds + flow.durationNanoseconds / 1e9;
  const head = [
    `cookie=0x${flow.cookie.toString(16)}`,
    `duration=${seconds.toFixed(3)}s`,
    `table=${flow.tableId}`,
    `n_packets=${flow.packetCount}`,
    `n_bytes=${flow.byteCount}`,
    ...(flow.idleTimeoutSeconds > 0 ? [`idle_timeout=${flow.idleTimeoutSeconds}`] : []),
    ...(flow.hardTimeoutSeconds > 0 ? [`hard_timeout=${flow.hardTimeoutSeconds}`] : []),
  ];
  const match = formatMatch(flow.match);
  return ` ${head.join(", ")}, priority=${flow.priority}${match === "" ? "" : `,${match}`} actions=${formatInstructions(flow.instructions)}`;
}
