// `plinth ofctl monitor` and `snoop`: prints what the switch says unasked, until the user has seen enough.
// Source: ovs-ofctl(8), OpenFlow Switch Monitoring Commands.
import {
  type AnyDialect,
  encodeMessage,
  type FlowMonitorRequest,
  OFP10_VERSION,
  OFP12_VERSION,
  OFPP_ANY,
  OFPTT_ALL,
  type OpenFlowMessage,
  parseMessage,
  WireError,
} from "../../base/openflow/index.js";
import { commandError, flowTextError } from "./errors.js";
import { parseFlow } from "./flow-text.js";
import { splitKeyValues } from "./key-values.js";
import type { PortNames } from "./match-text.js";
import { printMessage } from "./message-print.js";
import { type MonitorControl, openMonitorControl } from "./monitor-control.js";
import { type OfctlContext, plainOf } from "./ofctl-context.js";
import { OpenFlowRefusal, type Reply } from "./openflow-client.js";
import { toPlain } from "./plain-value.js";
import { P_ANY } from "./protocol-set.js";

const OFPC_INVALID_TTL_TO_CONTROLLER = 1 << 2;
/** Packets are told too. */
const VERBOSITY = 2;
const MONITOR_FLAGS: Readonly<Record<string, keyof FlowMonitorRequest["flags"]>> = {
  "!initial": "initial",
  "!add": "add",
  "!delete": "delete",
  "!modify": "modify",
  "!actions": "actions",
  "!own": "own",
};

/** MISSLEN is how much of a missed packet to show; "invalid_ttl" asks for packets whose time to live ran out. */
export async function monitor(context: OfctlContext, args: readonly string[]): Promise<number> {
  const { client, flags } = context;
  let resumes = false;
  for (const word of args) {
    if (/^\d/.test(word)) await configure(context, { missSendLength: Number.parseInt(word, 10) & 0xffff });
    else if (word === "invalid_ttl") await configure(context, { invalidTtl: true });
    else if (word.startsWith("watch:")) {
      const wanted = watchOf(context, word.slice("watch:".length), await context.numbers([word]));
      await context.settleForDump(P_ANY);
      const initial = await client.request({ kind: "flow_monitor", monitors: [wanted] });
      await context.print(initial);
    } else if (word === "resume") resumes = true;
    else throw commandError(`${word}: unsupported "monitor" argument`);
  }
  // Nicira's format tells most; a switch that does not know it keeps its own.
  const formats = flags.packetInFormat === undefined ? (["nxm2", "nxm"] as const) : [flags.packetInFormat];
  for (const format of formats) {
    try {
      await client.send([{ type: "set_packet_in_format", format }]);
      break;
    } catch (thrown) {
      if (!(thrown instanceof OpenFlowRefusal)) throw thrown;
      if (flags.packetInFormat !== undefined)
        throw commandError(`${context.target}: failed to set packet in format to ${FORMAT_NAMES[format]}`);
    }
  }
  return follow(context, resumes);
}

const FORMAT_NAMES = { standard: "standard", nxm: "nxt_packet_in", nxm2: "nxt_packet_in2" } as const;

/** What the switch and its controller say, in whatever version; nothing can be asked here, not even names of ports. */
export async function snoop(context: OfctlContext): Promise<number> {
  const { client } = context;
  return untilEnd(context, (control) => {
    const print = printer(context, control, undefined);
    client.onBytes = (bytes) => {
      print({ bytes, message: inItsVersion(bytes) });
      control.seen(bytes);
    };
  });
}

/** Undefined: it cannot be read. */
function inItsVersion(bytes: Uint8Array): OpenFlowMessage | undefined {
  const version = bytes[0] as AnyDialect["version"];
  try {
    return parseMessage(bytes, version === OFP10_VERSION ? { version, flowModTableId: false } : { version });
  } catch (thrown) {
    if (thrown instanceof WireError) return undefined;
    throw thrown;
  }
}

async function configure(
  { client }: OfctlContext,
  change: { readonly missSendLength?: number; readonly invalidTtl?: boolean },
): Promise<void> {
  const [reply] = await client.ask({ type: "get_config_request" });
  const message = reply?.message;
  const before = message?.type === "get_config_reply" ? message : { flags: 0, missSendLength: 0 };
  const asksTtl = change.invalidTtl === true && client.version <= OFP12_VERSION;
  await client.send([
    {
      type: "set_config",
      flags: before.flags | (asksTtl ? OFPC_INVALID_TTL_TO_CONTROLLER : 0),
      missSendLength: change.missSendLength ?? before.missSendLength,
    },
  ]);
}

/** "!add,table=1,out_port=2,ip": what not to tell, and which flows. Throws FLOW_TEXT_INVALID. */
function watchOf(
  { client }: OfctlContext,
  text: string,
  ports: (name: string) => number | undefined,
): FlowMonitorRequest {
  const flags = { initial: true, add: true, delete: true, modify: true, actions: true, own: true };
  const match: string[] = [];
  for (const { key, value } of splitKeyValues(text)) {
    const flag = Object.hasOwn(MONITOR_FLAGS, key) ? MONITOR_FLAGS[key] : undefined;
    if (flag !== undefined) flags[flag] = false;
    else match.push(value === "" ? key : `${key}=${value}`);
  }
  let parsed: ReturnType<typeof parseFlow>;
  try {
    parsed = parseFlow(match.join(","), { parts: new Set(["out"]), ports, version: client.version });
  } catch (thrown) {
    throw flowTextError(`${text}: ${(thrown as Error).message}`);
  }
  return {
    monitorId: 1,
    flags,
    outPort: parsed.outPort ?? OFPP_ANY,
    ...(parsed.outGroup === undefined ? {} : { outGroup: parsed.outGroup }),
    tableId: parsed.tableId ?? OFPTT_ALL,
    match: parsed.match,
  };
}

/** Everything that the switch tells, as it comes; with `resumes` packets that wait go on. */
async function follow(context: OfctlContext, resumes: boolean): Promise<number> {
  const { client, flags } = context;
  const names = await context.names();
  return untilEnd(context, (control) => {
    const print = printer(context, control, names);
    client.onMessage = (reply) => {
      print(reply);
      control.seen(reply.bytes);
      const { message } = reply;
      if (!resumes || message?.type !== "packet_in" || message.continuation === undefined) return;
      const { data, tableId, cookie, reason, match, continuation } = message;
      const going = { type: "resume", data, tableId, cookie, reason, match, continuation } as const;
      const bytes = encodeMessage({ ...going, xid: client.nextXid() }, client.dialect);
      if (!flags.json)
        control.out(`send: ${printMessage(bytes, { verbosity: VERBOSITY + flags.more, names })}`);
      client.sendBytes(bytes);
    };
  });
}

/** As JSON to standard output, as text where the original writes it. */
function printer(
  context: OfctlContext,
  control: MonitorControl,
  names: PortNames | undefined,
): (reply: Reply) => void {
  const { flags, io } = context;
  return (reply) => {
    const stamp = flags.timestamp ? `${stampOf(new Date())} ` : "";
    if (flags.json) io.out(`${JSON.stringify(toPlain(plainOf(reply)))}\n`);
    else control.out(stamp + context.textOf(reply, names, VERBOSITY));
  };
}

/** Begins with `begin`, and ends when the user, a command or the switch ends it. */
async function untilEnd(context: OfctlContext, begin: (control: MonitorControl) => void): Promise<number> {
  const { client, io, flags } = context;
  const control = await openMonitorControl(context);
  try {
    begin(control);
    if (io.background?.isDetached === true) io.background.ready(flags.noChdir);
    const asked = Promise.race([io.interrupted, control.ended]).then(() => undefined);
    const ended = await Promise.race([asked, client.ended]);
    if (ended !== undefined) throw ended;
    return 0;
  } finally {
    await control.close();
  }
}

/** "2026-11-27 23:59:59.123" */
function stampOf(date: Date): string {
  return date.toISOString().replace("T", " ").replace("Z", "");
}
