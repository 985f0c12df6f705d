// Verbs of `plinth ofctl` about the switch itself: ports, tables, queues, fragments, packets. Source: ovs-ofctl(8).
import { fromHex } from "../../base/bytes/index.js";
import {
  OFP_NO_BUFFER,
  OFP10_VERSION,
  OFP11_VERSION,
  OFP13_VERSION,
  OFP14_VERSION,
  OFP15_VERSION,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_LOCAL,
  OFPP_MAX,
  OFPPC_NO_FWD,
  OFPPC_NO_PACKET_IN,
  OFPPC_NO_RECV,
  OFPPC_PORT_DOWN,
  OFPQ_ALL,
  type PacketOut,
  type PortDescription,
  type Unsent,
} from "../../base/openflow/index.js";
import { FRAME_SIZE_MIN } from "../../base/packet/index.js";
import { systemClock } from "../../base/time/index.js";
import { askGroupFeatures10, askPort15, askQueues } from "./client-requests.js";
import { commandError } from "./errors.js";
import { portsOfFeatures, withoutPorts } from "./features-ports.js";
import { portOr } from "./field-text.js";
import { parseInstructions } from "./instruction-text.js";
import { splitKeyValues } from "./key-values.js";
import type { PortNumbers } from "./match-reader.js";
import { type OfctlContext, plainOf } from "./ofctl-context.js";
import { bodiesOf, type Reply } from "./openflow-client.js";
import { P_OF13_UP } from "./protocol-set.js";
import { fragmentMode } from "./switch-text.js";
import { formatTableInfos, infoOfFeatures } from "./table-info-text.js";

type Arguments = readonly string[];

export async function show(context: OfctlContext): Promise<number> {
  const { client, flags } = context;
  const asked = await client.ask({ type: "features_request" });
  const isWhole = portsOfFeatures(asked[0], client.version) !== undefined;
  const features = isWhole ? asked : asked.map(withoutPorts);
  const ports = isWhole ? [] : await client.request({ kind: "port_desc" });
  // The original opens another connection for what follows.
  client.skipXid();
  const config = await client.ask({ type: "get_config_request" });
  if (flags.json) {
    const [one, two] = [features[0], config[0]];
    context.printJson({
      ...(one === undefined ? {} : { features: plainOf(one) }),
      ports: await context.ports(),
      ...(two === undefined ? {} : { config: plainOf(two) }),
    });
    return 0;
  }
  await context.print([...features, ...ports, ...config]);
  return 0;
}

/** Verbs that ask for one kind of numbers and print the answer. */
export function dump(kind: "desc" | "table" | "meter_features") {
  return async (context: OfctlContext): Promise<number> => {
    if (kind === "meter_features") await context.settleForChange(P_OF13_UP);
    await context.dumpStatistics({ kind });
    return 0;
  };
}

export async function dumpGroupFeatures(context: OfctlContext): Promise<number> {
  const { client } = context;
  const isNicira = client.version <= OFP11_VERSION;
  await context.dump(isNicira ? askGroupFeatures10 : asking({ kind: "group_features" }));
  return 0;
}

function asking(body: { readonly kind: "group_features" | "port_desc" }) {
  return { type: "multipart_request" as const, flags: 0, body };
}

export async function dumpTableFeatures(context: OfctlContext): Promise<number> {
  if (context.client.version < OFP13_VERSION)
    throw commandError("dump-table-features needs OpenFlow 1.3 or later ('-O OpenFlow13')");
  const replies = await context.answers({
    type: "multipart_request",
    flags: 0,
    body: { kind: "table_features", tables: [] },
  });
  const tables = bodiesOf(replies).flatMap((body) => (body.kind === "table_features" ? body.tables : []));
  if (context.flags.json || tables.length === 0) await context.print(replies);
  else
    context.io.out(
      `${formatTableInfos(tables.map((table) => infoOfFeatures(table, context.client.version)))}\n`,
    );
  return 0;
}

export async function dumpPorts(context: OfctlContext, [text]: Arguments): Promise<number> {
  const port = text === undefined ? OFPP_ANY : await context.portNumber(text);
  await context.dumpStatistics({ kind: "port_stats", port });
  return 0;
}

/** Versions before 1.5 tell all ports, whichever is asked for. */
export async function dumpPortDescriptions(context: OfctlContext, [text]: Arguments): Promise<number> {
  const { client } = context;
  const port = text === undefined ? OFPP_ANY : await context.portNumber(text);
  const request = client.version === OFP15_VERSION ? askPort15(port) : asking({ kind: "port_desc" });
  await context.dump(request);
  return 0;
}

export async function queueStats(context: OfctlContext, [portText, queueText]: Arguments): Promise<number> {
  const port = await portOrAny(context, portText);
  await context.dumpStatistics({ kind: "queue", port, queueId: queueOf(queueText) });
  return 0;
}

async function portOrAny(context: OfctlContext, text: string | undefined): Promise<number> {
  return text === undefined || /^(all|any)$/i.test(text) ? OFPP_ANY : context.portNumber(text);
}

/** As C reads a number: what is none is 0. */
function queueOf(text: string | undefined): number {
  return text === undefined || /^all$/i.test(text) ? OFPQ_ALL : Number.parseInt(text, 10) >>> 0 || 0;
}

/** From 1.4 on a queue can be named; before, all of a port are told, in 1.0 of one port at a time. */
export async function queueGetConfig(
  context: OfctlContext,
  [portText, queueText]: Arguments,
): Promise<number> {
  const { client } = context;
  const port = await portOrAny(context, portText);
  if (client.version >= OFP14_VERSION) {
    await context.dump(askQueues(port, queueOf(queueText)));
    return 0;
  }
  const all = client.version === OFP10_VERSION && port === OFPP_ANY;
  const ports = all
    ? (await context.portsApart()).map((one) => one.port).filter((one) => one < OFPP_MAX)
    : [port];
  for (const one of ports) await context.dump({ type: "queue_get_config_request", port: one });
  return 0;
}

// --- Configuration

const HEADER_SIZE = 8;
const PAYLOAD_MAX = 0xffff - HEADER_SIZE;
const OFPPC10_NO_STP = 1 << 1;
const OFPPC10_NO_RECV_STP = 1 << 3;
const OFPPC10_NO_FLOOD = 1 << 4;
const PORT_CHANGES: Readonly<Record<string, readonly [config: number, mask: number]>> = {
  up: [0, OFPPC_PORT_DOWN],
  down: [OFPPC_PORT_DOWN, OFPPC_PORT_DOWN],
  receive: [0, OFPPC_NO_RECV],
  "no-receive": [OFPPC_NO_RECV, OFPPC_NO_RECV],
  forward: [0, OFPPC_NO_FWD],
  "no-forward": [OFPPC_NO_FWD, OFPPC_NO_FWD],
  "packet-in": [0, OFPPC_NO_PACKET_IN],
  "no-packet-in": [OFPPC_NO_PACKET_IN, OFPPC_NO_PACKET_IN],
};
/** Only OpenFlow 1.0 has bits for these: elsewhere nothing changes. */
const PORT_CHANGES_OLD: Readonly<Record<string, readonly [config: number, mask: number]>> = {
  flood: [0, OFPPC10_NO_FLOOD],
  "no-flood": [OFPPC10_NO_FLOOD, OFPPC10_NO_FLOOD],
  stp: [0, OFPPC10_NO_STP],
  "no-stp": [OFPPC10_NO_STP, OFPPC10_NO_STP],
  "receive-stp": [0, OFPPC10_NO_RECV_STP],
  "no-receive-stp": [OFPPC10_NO_RECV_STP, OFPPC10_NO_RECV_STP],
};

export async function modPort(context: OfctlContext, [name = "", act = ""]: Arguments): Promise<number> {
  const { client } = context;
  const port = await portNamed(context, name);
  const change = wordIn(PORT_CHANGES, act);
  const old = wordIn(PORT_CHANGES_OLD, act);
  if (change === undefined && old === undefined) throw commandError(`unknown mod-port command '${act}'`);
  const [config, mask] = change ?? (client.version === OFP10_VERSION ? old : undefined) ?? [0, 0];
  const { macAddress } = port;
  await client.send([{ type: "port_mod", port: port.port, macAddress, config, mask, advertise: 0 }]);
  return 0;
}

function wordIn<T>(words: Readonly<Record<string, T>>, word: string): T | undefined {
  return Object.hasOwn(words, word) ? words[word] : undefined;
}

async function portNamed(context: OfctlContext, name: string): Promise<PortDescription> {
  const ports = await context.ports();
  const port = ports.find(
    (one) => one.name === name || String(one.port) === name || (name === "LOCAL" && one.port === OFPP_LOCAL),
  );
  if (port === undefined) throw commandError(`${context.target}: couldn't find port \`${name}'`);
  return port;
}

async function configOf(context: OfctlContext): Promise<{ flags: number; missSendLength: number }> {
  const [reply] = await context.client.ask({ type: "get_config_request" });
  const message = reply?.message;
  if (message?.type !== "get_config_reply")
    throw commandError(`${context.target}: the switch did not tell its configuration`);
  return { flags: message.flags, missSendLength: message.missSendLength };
}

export async function getFrags(context: OfctlContext): Promise<number> {
  const mode = fragmentMode((await configOf(context)).flags);
  if (context.flags.json) context.printJson({ mode });
  else context.io.out(`${mode}\n`);
  return 0;
}

export async function setFrags(context: OfctlContext, [mode = ""]: Arguments): Promise<number> {
  const wanted = ["normal", "drop", "reassemble", "nx-match"].indexOf(mode);
  if (wanted < 0) throw commandError(`${mode}: unknown fragment handling mode`);
  const { flags, missSendLength } = await configOf(context);
  const changed = (flags & ~3) | wanted;
  await context.client.send([{ type: "set_config", flags: changed, missSendLength }]).catch(() => {});
  if (((await configOf(context)).flags & 3) !== wanted) {
    const why = `this switch probably doesn't support mode "${mode}"`;
    throw commandError(`${context.target}: setting fragment handling mode failed (${why})`);
  }
  return 0;
}

// --- Packets

/** packet-out SWITCH IN_PORT ACTIONS PACKET…, or SWITCH "in_port=… packet=… actions=…". */
export async function packetOut(context: OfctlContext, args: Arguments): Promise<number> {
  const orders =
    args.length > 1 ? await spelledOut(context, args) : [await asOneText(context, args[0] ?? "")];
  await context.client.send(orders);
  return 0;
}

async function spelledOut(
  context: OfctlContext,
  [port = "", actions = "", ...packets]: Arguments,
): Promise<Unsent<PacketOut>[]> {
  const inPort = /^(none|controller)$/i.test(port) ? OFPP_CONTROLLER : await context.portNumber(port);
  const given = actionsOf(actions, context.client.version, await context.numbers([actions]));
  return packets.map((hex) => orderOf(inPort, given, frameOf(hex)));
}

function orderOf(inPort: number, actions: PacketOut["actions"], data: Uint8Array): Unsent<PacketOut> {
  return { type: "packet_out", bufferId: OFP_NO_BUFFER, inPort, actions, data };
}

async function asOneText(context: OfctlContext, text: string): Promise<Unsent<PacketOut>> {
  const known = new Map((await context.ports()).map(({ name, port }) => [name, port]));
  return packetOrder(text, context.client.version, (name) => known.get(name));
}

/** "in_port=… packet=… actions=…". Throws COMMAND_FAILED. */
export function packetOrder(text: string, version: number, ports: PortNumbers): Unsent<PacketOut> {
  const at = /(^|[\s,])actions?=/.exec(text);
  if (at === null) throw commandError("must specify an action");
  let inPort = OFPP_CONTROLLER;
  let data: Uint8Array | undefined;
  for (const { key, value } of splitKeyValues(text.slice(0, at.index))) {
    if (key === "in_port") inPort = ports(value) ?? portOr(value, `${value} is not a valid OpenFlow port`);
    else if (key === "packet") data = frameOf(value);
    else throw commandError(`unknown keyword ${key}`);
  }
  if (data === undefined) throw commandError("must specify packet");
  return orderOf(inPort, actionsOf(text.slice(at.index + at[0].length), version, ports), data);
}

function actionsOf(text: string, version: number, ports: PortNumbers) {
  return parseInstructions(text, { version, ports }).flatMap((one) => {
    if (one.type !== "apply_actions")
      throw commandError(`${one.type}: instructions are not allowed in a packet-out`);
    return one.actions;
  });
}

/** Throws COMMAND_FAILED. */
export function frameOf(hex: string): Uint8Array {
  const text = hex.replaceAll(/\s/g, "");
  if (!/^([0-9a-fA-F]{2})*$/.test(text)) throw commandError("Trailing garbage in packet data");
  if (text.length < 2 * FRAME_SIZE_MIN) throw commandError("Packet data too short for Ethernet");
  return fromHex(text);
}

// --- Is it there

export async function probe(context: OfctlContext): Promise<number> {
  await context.client.ask({ type: "echo_request", data: new Uint8Array(0) });
  return 0;
}

const PINGS = 10;

/** Ten echoes and how long each took. */
export async function ping(context: OfctlContext, [sizeText = "64"]: Arguments): Promise<number> {
  const size = payloadSize(sizeText);
  for (let n = 0; n < PINGS; n++) {
    const startMs = systemClock.nowMs();
    const [reply] = await context.client.ask({ type: "echo_request", data: new Uint8Array(size) });
    const ms = (systemClock.nowMs() - startMs).toFixed(1);
    const xid = xidOf(reply).toString(16).padStart(8, "0");
    context.io.out(`${size} bytes from ${context.target}: xid=${xid} time=${ms} ms\n`);
  }
  return 0;
}

function xidOf(reply: Reply | undefined): number {
  return reply === undefined ? 0 : new DataView(reply.bytes.buffer, reply.bytes.byteOffset).getUint32(4);
}

function payloadSize(text: string): number {
  const size = Number.parseInt(text, 10) || 0;
  if (size < 0 || size > PAYLOAD_MAX)
    throw commandError(`payload must be between 0 and ${PAYLOAD_MAX} bytes`);
  return size;
}

/** How long COUNT echoes of SIZE bytes take, one behind the other. */
export async function benchmark(
  context: OfctlContext,
  [sizeText = "", countText = ""]: Arguments,
): Promise<number> {
  const size = payloadSize(sizeText);
  const count = Math.max(0, Number.parseInt(countText, 10) || 0);
  const messageSize = size + HEADER_SIZE;
  const all = count * messageSize;
  context.io.out(`Sending ${count} packets * ${messageSize} bytes (with header) = ${all} bytes total\n`);
  const startMs = systemClock.nowMs();
  for (let n = 0; n < count; n++)
    await context.client.ask({ type: "echo_request", data: new Uint8Array(size) });
  const ms = Math.max(systemClock.nowMs() - startMs, 0.001);
  const perSecond = (amount: number): string => Math.trunc((amount * 1000) / ms).toString();
  context.io.out(
    `Finished in ${ms.toFixed(1)} ms (${perSecond(count)} packets/s) (${perSecond(all)} bytes/s)\n`,
  );
  return 0;
}
