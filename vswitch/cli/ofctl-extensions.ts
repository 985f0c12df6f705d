// Verbs of `plinth ofctl` that ask for Nicira's extensions: options of tunnels, IPFIX, tracked connections.
// Source: ovs-ofctl(8).
import { parseIpv4Address, parseIpv6Address } from "../../base/wire/index.js";
import type { TupleFilter } from "../conntrack/index.js";
import { parseTuple } from "../vswitchd/connection-tuple.js";
import * as Q from "./client-requests.js";
import { commandError } from "./errors.js";
import type { OfctlContext } from "./ofctl-context.js";

type Arguments = readonly string[];

// --- Options of tunnels

export async function addTunnelOptions(context: OfctlContext, [text = ""]: Arguments): Promise<number> {
  await changeOptions(context, Q.TLV_ADD, text);
  return 0;
}

export async function deleteTunnelOptions(context: OfctlContext, [text]: Arguments): Promise<number> {
  await changeOptions(context, text === undefined ? Q.TLV_CLEAR : Q.TLV_DELETE, text ?? "");
  return 0;
}

async function changeOptions({ client, warn }: OfctlContext, command: number, text: string): Promise<void> {
  const options = tunnelOptions(text);
  for (const { length } of options)
    if (length % 4 !== 0 || length > OPTION_LENGTH_MAX)
      warn("ofp_match", `tlv table option length (${length}) is not a valid option size`);
  await client.send([Q.changeTunnelOptions(command, options)]);
}

const OPTION_LENGTH_MAX = 124;

/** "{class=C,type=T,len=L}->tun_metadataN", several of them with commas. Throws COMMAND_FAILED. */
export function tunnelOptions(text: string): Q.TunnelOption[] {
  const number = "(0x[0-9a-fA-F]+|\\d+)";
  const one = new RegExp(
    `^,?\\s*\\{class=${number},type=${number},len=${number}\\}->tun_metadata(\\d+)\\s*(?=,|$)`,
  );
  const options: Q.TunnelOption[] = [];
  let rest = text.trim();
  while (rest !== "") {
    const match = one.exec(rest);
    if (match === null) throw commandError("invalid tlv mapping");
    const [optionClass = 0, type = 0, length = 0, field = 0] = match.slice(1).map(Number);
    // As narrow as they are on the wire.
    options.push({ optionClass: optionClass & 0xffff, type: type & 0xff, length: length & 0xff, field });
    rest = rest.slice(match[0].length).trim();
  }
  return options;
}

export async function dumpTunnelOptions(context: OfctlContext): Promise<number> {
  await context.dump(Q.askTunnelOptions);
  return 0;
}

export function dumpIpfix(which: "bridge" | "flow") {
  return async (context: OfctlContext): Promise<number> => {
    await context.dump(Q.askIpfix(which));
    return 0;
  };
}

// --- Connections

export async function ctFlushZone({ client }: OfctlContext, [text = ""]: Arguments): Promise<number> {
  await client.send([Q.flushZone(zoneOf(text, `invalid zone_id "${text}"`))]);
  return 0;
}

function zoneOf(text: string, refusal: string): number {
  const zone = /^(\d{1,5}|0x[0-9a-fA-F]{1,4})$/.test(text) ? Number(text) : Number.NaN;
  if (!(zone <= 0xffff)) throw commandError(refusal);
  return zone;
}

const TUPLE_ORIGINAL = 0;
const TUPLE_REPLY = 1;
const ZONE = 2;
const ICMP = [1, 58];

/** ct-flush SWITCH [zone=N] [TUPLE [TUPLE]] */
export async function ctFlush({ client }: OfctlContext, args: Arguments): Promise<number> {
  const hasZone = args[0]?.startsWith("zone=") === true;
  const zone = hasZone
    ? zoneOf((args[0] as string).slice("zone=".length), "Failed to parse zone")
    : undefined;
  const tuples = args.slice(hasZone ? 1 : 0);
  if (tuples.length > 2) throw commandError("Invalid arguments");
  const [original, reply] = tuples.map(tupleOf);
  const protocol = original?.protocol ?? reply?.protocol ?? 0;
  const properties = [
    ...(original === undefined ? [] : property(TUPLE_ORIGINAL, tupleBytes(original, protocol))),
    ...(reply === undefined ? [] : property(TUPLE_REPLY, tupleBytes(reply, protocol))),
    ...(zone === undefined ? [] : property(ZONE, u16(zone))),
  ];
  await client.send([Q.flushConnections(protocol, properties)]);
  return 0;
}

function tupleOf(text: string): TupleFilter | undefined {
  try {
    return parseTuple(text);
  } catch (thrown) {
    const why = (thrown as Error).message.replace(/ \(Invalid argument\)$/, "");
    throw commandError(`Failed to parse ct-tuple: ${why}`);
  }
}

/** What is not said is left out. */
function tupleBytes(
  { source, destination, sourcePort, destinationPort }: TupleFilter,
  protocol: number,
): number[] {
  const isIcmp = ICMP.includes(protocol);
  const ports = isIcmp
    ? [
        ...(sourcePort === undefined ? [] : property(4, u16(sourcePort))),
        ...(destinationPort === undefined
          ? []
          : [...property(5, [destinationPort >> 8]), ...property(6, [destinationPort & 0xff])]),
      ]
    : [
        ...(sourcePort === undefined ? [] : property(2, u16(sourcePort))),
        ...(destinationPort === undefined ? [] : property(3, u16(destinationPort))),
      ];
  return [
    ...[0, 0, 0, 0],
    ...(source === undefined ? [] : property(0, addressBytes(source))),
    ...(destination === undefined ? [] : property(1, addressBytes(destination))),
    ...ports,
  ];
}

/** 16 bytes; of IPv4 the address that stands for it (RFC 4291, 2.5.5.2). */
function addressBytes(text: string): number[] {
  if (text.includes(":")) return [...parseIpv6Address(text)];
  const address = parseIpv4Address(text);
  return [...new Array<number>(10).fill(0), 0xff, 0xff, ...u16(address >>> 16), ...u16(address & 0xffff)];
}

function property(type: number, value: readonly number[]): number[] {
  const length = 4 + value.length;
  const padding = new Array<number>((8 - (length % 8)) % 8).fill(0);
  return [...u16(type), ...u16(length), ...value, ...padding];
}

function u16(value: number): number[] {
  return [value >> 8, value & 0xff];
}
