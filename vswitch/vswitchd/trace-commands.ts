// What ovs-appctl can ask about one packet: ofproto/trace and ofproto/trace-packet-out, with a flow or a frame.
// Source: ovs-vswitchd(8).
import { fromHex } from "../../base/bytes/index.js";
import { PlinthError } from "../../base/errors/index.js";
import { type Action, type Match, OFPP_LOCAL } from "../../base/openflow/index.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "../../base/packet/index.js";
import { parseDatapathFlow } from "../cli/datapath-flow-text.js";
import { parseExactFlow } from "../cli/exact-flow-text.js";
import { parseInstructions } from "../cli/instruction-text.js";
import { frameOfMatch } from "../cli/match-frame.js";
import { formatStory, formatTrace } from "../cli/trace-text.js";
import type { UnixctlAnswer, UnixctlCommand } from "../cli/unixctl-server.js";
import type { DatapathHandle } from "../datapath/index.js";
import type { DatapathNumbers } from "./datapath-numbers.js";
import { isNamed } from "./dummy.js";
import { OFPORT_LOCAL } from "./model.js";
import { traceOfPort } from "./port-trace.js";

interface Ports {
  readonly ports: ReadonlyMap<string, { readonly ofport: number }>;
}

/** The ports of each bridge by name. */
export type BridgePorts = ReadonlyMap<string, Ports>;

/** The same, with the datapath that the bridge is on. */
export type DatapathBridges = ReadonlyMap<string, Ports & { readonly config: { readonly datapath: string } }>;

const FORM = "{[dp_name] odp_flow | bridge br_flow} [OPTIONS...] [-generate|packet]";
const PORT_FORM = "port [br_flow | packet] [OPTIONS...]";
const CT_FLAGS = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
const OPTIONS_MAX = 64;
/** Of --l7-len, in bytes. */
const PAYLOAD_SIZE_MAX = 64_000;
/** A flow of a datapath: "in_port(1),…". */
const ODP_FLOW = /^\w+\(/;

export function traceCommands(
  datapath: DatapathHandle,
  bridges: () => DatapathBridges,
  numbers: DatapathNumbers,
): Record<string, UnixctlCommand> {
  const run = async (
    args: readonly string[],
    packetOut: boolean,
    form: "ovs" | "story",
  ): Promise<UnixctlAnswer> => {
    const order = parseOrder(args, packetOut, bridges(), numbers);
    const runs = await datapath.call("trace", {
      bridge: order.bridge,
      frame: order.frame,
      inPort: order.inPort,
      given: order.given,
      ctStates: order.ctStates,
      teaches: form === "ovs" && order.teaches,
      ...(form === "ovs" ? {} : { ctDefault: "actual" as const }),
      ...(order.actions === undefined ? {} : { actions: order.actions }),
    });
    const names = portNames(bridges(), numbers);
    const shown = order.withNames
      ? { ofBridge: (name: string) => openFlowNames(bridges().get(name)), ofDatapath: names }
      : undefined;
    const text = form === "story" ? formatStory(order.port, runs, names) : formatTrace(runs, shown);
    return { text, data: runs };
  };
  const command = (usage: string, argumentsMin: number, one: UnixctlCommand["run"]): UnixctlCommand => ({
    usage,
    argumentsMin,
    argumentsMax: OPTIONS_MAX,
    run: one,
  });
  return {
    "ofproto/trace": command(FORM, 1, (args) => run(args, false, "ovs")),
    "ofproto/trace-packet-out": command(`[-consistent] ${FORM} actions`, 2, (args) => run(args, true, "ovs")),
    "plinth/trace": command(PORT_FORM, 1, (args) => run(traceOfPort(args, bridges()), false, "story")),
  };
}

interface TraceOrder {
  readonly bridge: string;
  readonly port: string;
  readonly inPort: number;
  readonly frame: Uint8Array;
  /** What the flow says besides. */
  readonly given: Match;
  readonly ctStates: readonly number[];
  /** A packet is given or asked for, which is what it takes for anything to be learned. */
  readonly teaches: boolean;
  readonly actions: readonly Action[] | undefined;
  /** Ports are told by their names. */
  readonly withNames: boolean;
}

type FlowOrder = Pick<TraceOrder, "bridge" | "port" | "inPort" | "frame" | "given"> & {
  readonly hasPacket: boolean;
};

/** Takes options from anywhere; what is left is the flow, and the packet or the actions. */
function parseOrder(
  args: readonly string[],
  packetOut: boolean,
  bridges: DatapathBridges,
  numbers: DatapathNumbers,
): TraceOrder {
  const words: string[] = [];
  const ctStates: number[] = [];
  let generates = false;
  let withNames = false;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    if (word === "--ct-next") {
      const flags = args[++at];
      if (flags === undefined) throw refusal(`Missing argument for option ${word}`);
      ctStates.push(parseState(flags));
    } else if (word === "--l7" || word === "--l7-len") {
      const payload = args[++at];
      if (payload === undefined) throw refusal(`Missing argument for option ${word}`);
      if (word === "--l7") bytesOf(payload);
      else if (payload.startsWith("-") || Number.parseInt(payload, 10) > PAYLOAD_SIZE_MAX)
        throw refusal(`${payload}: too much L7 data`);
    } else if (word === "-generate" || word === "--generate") generates = true;
    else if (word === "--names") withNames = true;
    else if (packetOut && (word === "-consistent" || word === "--consistent")) continue;
    else if (word.startsWith("-")) throw refusal(`${word}: unknown option`);
    else words.push(word);
  }
  const actionText = packetOut ? words.pop() : undefined;
  const actions = actionText === undefined ? undefined : actionsOf(actionText);
  if (words.length > 3) throw refusal("too many arguments");
  if (words.length === 0 || (generates && words.length === 3)) throw refusal("Syntax error");
  const { hasPacket, ...flow } = flowOf(words, bridges, numbers);
  return { ...flow, ctStates, teaches: generates || hasPacket, actions, withNames };
}

function actionsOf(text: string): Action[] {
  return parseInstructions(text).flatMap((one) => (one.type === "apply_actions" ? one.actions : []));
}

function parseState(text: string): number {
  let bits = 0;
  for (const name of text.split(/[,|]/).map((word) => word.trim())) {
    const bit = CT_FLAGS.indexOf(name);
    if (bit < 0) throw refusal(`${name}: unknown connection tracking state flag`);
    bits |= 1 << bit;
  }
  return bits;
}

/** "BRIDGE BR_FLOW [PACKET]" or "[DP] ODP_FLOW [PACKET]". */
function flowOf(words: readonly string[], bridges: DatapathBridges, numbers: DatapathNumbers): FlowOrder {
  const at = words.findIndex(
    (word) => /[=(]/.test(word) || /^(ip|arp|tcp|udp|icmp|sctp|ipv6|tcp6|udp6|icmp6|mpls)\b/.test(word),
  );
  if (at < 0 && words.length < 2)
    throw refusal(`syntax error at ${words[0] ?? ""} (or the bridge name was omitted)`);
  // A flow in front is one of a datapath, or stands where a bridge should.
  const place = at === 0 && words.length > 1 && !ODP_FLOW.test(words[0] as string) ? 1 : at < 0 ? 1 : at;
  const flow = words[place] as string;
  const name = place === 0 ? undefined : words[0];
  const hex = words[place + 1];
  const packet = hex === undefined ? undefined : frameOf(hex);
  if (ODP_FLOW.test(flow)) return datapathFlow(name, flow, packet, { bridges, numbers });
  const bridge = name === undefined ? undefined : bridges.get(name);
  if (bridge === undefined)
    throw refusal(
      name === undefined
        ? `syntax error at ${flow} (or the bridge name was omitted)`
        : `${name}: unknown bridge`,
    );
  const portNumber = (port: string): number | undefined => openFlowNumber(bridge.ports.get(port)?.ofport);
  let match: Match;
  try {
    match = parseExactFlow(flow, portNumber);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    throw refusal(`Bad openflow flow syntax: ${flow}: ${thrown.message}`);
  }
  return {
    bridge: name as string,
    ...portOf(match),
    ...packetOf(match, packet),
  };
}

/** `packet`, or one that the flow means. */
function packetOf(
  match: Match,
  packet: Uint8Array | undefined,
): Pick<FlowOrder, "frame" | "given" | "hasPacket"> {
  if (packet === undefined) return { frame: frameOfMatch(match), given: match, hasPacket: false };
  return { frame: packet, given: besides(match), hasPacket: true };
}

function datapathFlow(
  name: string | undefined,
  text: string,
  packet: Uint8Array | undefined,
  { bridges, numbers }: { readonly bridges: DatapathBridges; readonly numbers: DatapathNumbers },
): FlowOrder {
  const named = name === undefined ? undefined : datapathNamed(name, bridges);
  const match = parseDatapathFlow(text, (port) => {
    for (const [bridge, { ports, config }] of bridges)
      if ((named === undefined || config.datapath === named) && ports.has(port))
        return numbers.of(bridge, port);
    return undefined;
  });
  const number = portOf(match).inPort;
  const place = numbers.find(named, number);
  const ofport = openFlowNumber(bridges.get(place?.bridge ?? "")?.ports.get(place?.name ?? "")?.ofport);
  if (place === undefined || ofport === undefined)
    throw refusal(`no OpenFlow port for datapath port ${number}`);
  return {
    bridge: place.bridge,
    inPort: ofport,
    port: ofport === OFPP_LOCAL ? "LOCAL" : String(ofport),
    ...packetOf(match, packet),
  };
}

/** What a packet in the datapath has of a flow besides its bytes: no registers, and no tunnel without an end. */
function besides(match: Match): Match {
  const isTunnelled = match.some(({ field }) => field === "tun_dst" || field === "tun_ipv6_dst");
  const isLost = isTunnelled ? /^(metadata|x*reg\d+)$/ : /^(metadata|x*reg\d+|tun.*)$/;
  return match.filter(({ field }) => !isLost.test(field));
}

/** The datapath's whole name; that of a bridge stands for the one that it is on. */
function datapathNamed(word: string, bridges: DatapathBridges): string {
  for (const [bridge, { config }] of bridges)
    if (bridge === word || isNamed(config.datapath, word)) return config.datapath;
  throw refusal("Cannot find the datapath");
}

function portOf(match: Match): { readonly inPort: number; readonly port: string } {
  let inPort = 0;
  for (const byte of match.find(({ field }) => field === "in_port")?.value ?? [])
    inPort = inPort * 256 + byte;
  return { inPort, port: inPort === 0xfffffffe ? "LOCAL" : String(inPort) };
}

function openFlowNumber(ofport: number | undefined): number | undefined {
  return ofport === OFPORT_LOCAL ? OFPP_LOCAL : ofport;
}

function frameOf(hex: string): Uint8Array {
  const frame = bytesOf(hex);
  if (frame.length < FRAME_SIZE_MIN) throw refusal("Packet data too short for Ethernet");
  if (frame.length > FRAME_SIZE_MAX) throw refusal(`Packet data longer than ${FRAME_SIZE_MAX} bytes`);
  return frame;
}

function bytesOf(hex: string): Uint8Array {
  const text = hex.replaceAll(/\s/g, "");
  if (!/^([0-9a-fA-F]{2})+$/.test(text)) throw refusal("Trailing garbage in packet data");
  return fromHex(text);
}

function refusal(message: string): PlinthError {
  return new PlinthError("TRACE_INVALID", message);
}

/** Ports of one bridge by their OpenFlow numbers; the local port is LOCAL. */
function openFlowNames(bridge: Ports | undefined): Map<number, string> {
  const ports = [...(bridge?.ports ?? [])].filter(([, { ofport }]) => ofport !== OFPORT_LOCAL);
  return new Map(ports.map(([name, { ofport }]) => [ofport, name]));
}

/** Ports of all bridges by their numbers in the datapath. */
export function portNames(
  bridges: DatapathBridges,
  numbers: DatapathNumbers | undefined,
): Map<number, string> {
  const names = new Map<number, string>();
  for (const [bridge, { ports }] of bridges)
    for (const name of ports.keys()) {
      const number = numbers?.of(bridge, name);
      if (number !== undefined) names.set(number, name);
    }
  return names;
}
