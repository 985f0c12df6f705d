// Verbs of `plinth ofctl` about the switch itself: ports, tables, queues, fragments, packets. Source: ovs-ofctl(8).
import { fromHex } from "../../base/bytes/index.js";
import {
  OFP_NO_BUFFER,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPPC_NO_FWD,
  OFPPC_NO_PACKET_IN,
  OFPPC_NO_RECV,
  OFPPC_PORT_DOWN,
  OFPQ_ALL,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import { FRAME_SIZE_MIN } from "../../base/packet/index.js";
import { systemClock } from "../../base/time/index.js";
import { commandError } from "./errors.js";
import { parseInstructions } from "./instruction-text.js";
import { splitKeyValues } from "./key-values.js";
import { formatMessage } from "./message-print.js";
import type { OfctlContext } from "./ofctl-context.js";
import { fragmentMode } from "./switch-text.js";

type Arguments = readonly string[];

export async function show(context: OfctlContext): Promise<number> {
  const { client, flags, io } = context;
  const features = await client.ask({ type: "features_request" });
  const ports = await client.request({ kind: "port_desc" });
  const config = await client.ask({ type: "get_config_request" });
  if (flags.json) {
    context.printJson({ features: features[0], ports: await context.ports(), config: config[0] });
    return 0;
  }
  printMessages(io.out, features);
  await context.print(ports);
  printMessages(io.out, config);
  return 0;
}

function printMessages(out: (text: string) => void, messages: readonly OpenFlowMessage[]): void {
  for (const message of messages) out(formatMessage(message));
}

/** Verbs that ask for one kind of numbers and print the answer. */
export function dump(kind: "desc" | "table" | "port_desc" | "group_features" | "meter_features") {
  return async (context: OfctlContext): Promise<number> => {
    await context.print(await context.client.request({ kind }));
    return 0;
  };
}

export async function dumpTableFeatures(context: OfctlContext): Promise<number> {
  await context.print(await context.client.request({ kind: "table_features", tables: [] }));
  return 0;
}

export async function dumpPorts(context: OfctlContext, [text]: Arguments): Promise<number> {
  const port = text === undefined ? OFPP_ANY : await context.portNumber(text);
  await context.print(await context.client.request({ kind: "port_stats", port }));
  return 0;
}

export async function queueStats(context: OfctlContext, [portText, queueText]: Arguments): Promise<number> {
  const port =
    portText === undefined || /^all$/i.test(portText) ? OFPP_ANY : await context.portNumber(portText);
  const queueId =
    queueText === undefined || /^all$/i.test(queueText) ? OFPQ_ALL : numberOf(queueText, "queue");
  await context.print(await context.client.request({ kind: "queue", port, queueId }));
  return 0;
}

export async function queueGetConfig(context: OfctlContext, [text]: Arguments): Promise<number> {
  const port = text === undefined ? OFPP_ANY : await context.portNumber(text);
  const replies = await context.client.ask({ type: "queue_get_config_request", port });
  if (context.flags.json) context.printJson(replies[0]);
  else printMessages(context.io.out, replies);
  return 0;
}

function numberOf(text: string, what: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) <= 0xffffffff) return Number(text);
  throw commandError(`${text} is not a valid ${what}`);
}

// --- Configuration

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
/** Words of OpenFlow 1.0 that OpenFlow 1.3 has no bit for: nothing changes. */
const PORT_CHANGES_OLD = ["flood", "no-flood", "stp", "no-stp", "receive-stp", "no-receive-stp"];

export async function modPort(context: OfctlContext, [name = "", act = ""]: Arguments): Promise<number> {
  const change = Object.hasOwn(PORT_CHANGES, act) ? PORT_CHANGES[act] : undefined;
  if (change === undefined && !PORT_CHANGES_OLD.includes(act))
    throw commandError(`unknown mod-port command '${act}'`);
  const ports = await context.ports();
  const port = ports.find(
    (one) => one.name === name || String(one.port) === name || (name === "LOCAL" && one.port === 0xfffffffe),
  );
  if (port === undefined) throw commandError(`${context.target}: couldn't find port \`${name}'`);
  const [config, mask] = change ?? [0, 0];
  const { macAddress } = port;
  await context.client.send([{ type: "port_mod", port: port.port, macAddress, config, mask, advertise: 0 }]);
  return 0;
}

const TABLE_CHANGES: readonly (readonly [RegExp, string])[] = [
  [/^(controller|continue|drop)$/, "OpenFlow versions OpenFlow11, OpenFlow12"],
  [/^(evict|noevict|novacancy|vacancy:.*)$/, "OpenFlow versions OpenFlow14, OpenFlow15"],
];

/** OpenFlow 1.3 has nothing to configure in a table: 1.1 and 1.2 had, and 1.4 has again. */
export async function modTable(_context: OfctlContext, [, setting = ""]: Arguments): Promise<number> {
  const versions = TABLE_CHANGES.find(([pattern]) => pattern.test(setting))?.[1];
  if (versions === undefined) throw commandError(`invalid table_mod setting ${setting}`);
  throw commandError(`table_mod '${setting}' requires one of the ${versions}`);
}

export async function dumpTableDesc(): Promise<number> {
  throw commandError("dump-table-desc needs OpenFlow 1.4 or later ('-O OpenFlow14')");
}

async function configOf(context: OfctlContext): Promise<{ flags: number; missSendLength: number }> {
  const [reply] = await context.client.ask({ type: "get_config_request" });
  if (reply?.type !== "get_config_reply")
    throw commandError(`${context.target}: the switch did not tell its configuration`);
  return { flags: reply.flags, missSendLength: reply.missSendLength };
}

export async function getFrags(context: OfctlContext): Promise<number> {
  context.io.out(`${fragmentMode((await configOf(context)).flags)}\n`);
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
  await context.client.send(
    orders.map(({ inPort, actions, data }) => ({
      type: "packet_out" as const,
      bufferId: OFP_NO_BUFFER,
      inPort,
      actions: actionsOf(actions),
      data,
    })),
  );
  return 0;
}

interface PacketOrder {
  readonly inPort: number;
  readonly actions: string;
  readonly data: Uint8Array;
}

async function spelledOut(
  context: OfctlContext,
  [port = "", actions = "", ...packets]: Arguments,
): Promise<PacketOrder[]> {
  const inPort = /^(none|controller)$/i.test(port) ? OFPP_CONTROLLER : await context.portNumber(port);
  return packets.map((hex) => ({ inPort, actions, data: frameOf(hex) }));
}

async function asOneText(context: OfctlContext, text: string): Promise<PacketOrder> {
  const at = /(^|[\s,])actions?=/.exec(text);
  if (at === null) throw commandError("must specify an action");
  let inPort = OFPP_CONTROLLER;
  let data: Uint8Array | undefined;
  for (const { key, value } of splitKeyValues(text.slice(0, at.index))) {
    if (key === "in_port") inPort = await context.portNumber(value);
    else if (key === "packet") data = frameOf(value);
    else throw commandError(`unknown keyword ${key}`);
  }
  if (data === undefined) throw commandError("must specify packet");
  return { inPort, actions: text.slice(at.index + at[0].length), data };
}

function actionsOf(text: string) {
  return parseInstructions(text).flatMap((one) => {
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
  const size = numberOf(sizeText, "payload size");
  if (size > 0xffff - 8) throw commandError(`payload must be between 0 and ${0xffff - 8} bytes`);
  for (let n = 0; n < PINGS; n++) {
    const startMs = systemClock.nowMs();
    const [reply] = await context.client.ask({ type: "echo_request", data: new Uint8Array(size) });
    const ms = (systemClock.nowMs() - startMs).toFixed(1);
    const xid = (reply?.xid ?? 0).toString(16).padStart(8, "0");
    context.io.out(`${size} bytes from ${context.target}: xid=${xid} time=${ms} ms\n`);
  }
  return 0;
}
