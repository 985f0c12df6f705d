// The tuples that dpctl/flush-conntrack takes. Pure.
// Source: ovs-dpctl(8), flush-conntrack; errors as Open vSwitch 3.1 words them.
import { formatIpv6Address, parseIpv6Address, tryParseIpv4Address } from "../../base/wire/index.js";
import type { TupleFilter } from "../conntrack/index.js";

const ICMP = 1;
const ICMPV6 = 58;

/** "ct_nw_src=10.0.0.1,ct_nw_proto=6,…" as a filter; undefined for "". Throws an Error that names the field. */
export function parseTuple(text: string): TupleFilter | undefined {
  if (text === "") return undefined;
  const filter: Record<string, string | number> = {};
  const names = new Set<string>();
  for (const part of text.split(/[,\s]+/).filter((one) => one !== "")) {
    const [name = "", ...rest] = part.split("=");
    const value = rest.length === 0 ? undefined : rest.join("=");
    if (value === undefined || value === "")
      throw new Error(`field ${name} missing value (Invalid argument)`);
    const [place, read] = TUPLE_FIELDS[name] ?? [];
    if (place === undefined || read === undefined)
      throw new Error(`invalid conntrack tuple field: ${name} (Invalid argument)`);
    if (name.startsWith("icmp_") && !isIcmp(filter["protocol"]))
      throw new Error("invalid L4 fields (Invalid argument)");
    const parsed = read(value);
    names.add(name);
    if (name.startsWith("ct_nw_") && name !== "ct_nw_proto" && hasAny(names, "ct_ipv6_src", "ct_ipv6_dst"))
      throw new Error(`the L3 protocol does not match ${value} (Invalid argument)`);
    if (name.startsWith("ct_ipv6_") && hasAny(names, "ct_nw_src", "ct_nw_dst"))
      throw new Error(`the L3 protocol does not match ${value} (Invalid argument)`);
    if (parsed === undefined) throw new Error(`failed to parse field ${name} (Invalid argument)`);
    // An ICMP tuple has its type and code where others have a port.
    filter[place] = name === "icmp_type" ? (parsed as number) << 8 : parsed;
    if (name === "icmp_code")
      filter[place] = (Number(filter["destinationPort"] ?? 0) & 0xff00) | (parsed as number);
  }
  const { protocol } = filter as TupleFilter;
  if (hasAny(names, "icmp_id", "icmp_type", "icmp_code") && !isIcmp(protocol))
    throw new Error("invalid L4 fields (Invalid argument)");
  if (hasAny(names, "ct_tp_src", "ct_tp_dst") && protocol === undefined)
    throw new Error("port is set without protocol (Invalid argument)");
  return filter as TupleFilter;
}

/** Whether it can mean one connection of a zone only. */
export function tupleIsComplete(filter: TupleFilter): boolean {
  const { source, destination, protocol, sourcePort, destinationPort } = filter;
  return [source, destination, protocol, sourcePort, destinationPort].every((one) => one !== undefined);
}

const isIcmp = (protocol: unknown): boolean => protocol === ICMP || protocol === ICMPV6;
const hasAny = (names: ReadonlySet<string>, ...some: readonly string[]): boolean =>
  some.some((one) => names.has(one));

const number = (max: number) => (text: string) =>
  /^(\d+|0x[0-9a-f]+)$/i.test(text) && Number(text) <= max ? Number(text) : undefined;
const ipv4 = (text: string) => (tryParseIpv4Address(text) === undefined ? undefined : text);
function ipv6(text: string): string | undefined {
  try {
    return formatIpv6Address(parseIpv6Address(text));
  } catch {
    return undefined;
  }
}

type Place = keyof TupleFilter;
const TUPLE_FIELDS: Readonly<
  Record<string, readonly [Place, (text: string) => string | number | undefined]>
> = {
  ct_nw_src: ["source", ipv4],
  ct_nw_dst: ["destination", ipv4],
  ct_ipv6_src: ["source", ipv6],
  ct_ipv6_dst: ["destination", ipv6],
  ct_nw_proto: ["protocol", number(255)],
  ct_tp_src: ["sourcePort", number(65_535)],
  ct_tp_dst: ["destinationPort", number(65_535)],
  icmp_id: ["sourcePort", number(65_535)],
  icmp_type: ["destinationPort", number(255)],
  icmp_code: ["destinationPort", number(255)],
};
