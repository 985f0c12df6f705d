// `plinth ofctl`: the verbs of ovs-ofctl over OpenFlow 1.3, against any switch, with its options, output and wording.
// Source: ovs-ofctl(8).
import { PlinthError } from "../../base/errors/index.js";
import { OFP13_VERSION } from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { type OptionSpec, parseOptions, parseTimeout } from "./command-options.js";
import { commandError } from "./errors.js";
import { sortKey } from "./flow-order.js";
import { formatMessage } from "./message-print.js";
import { OfctlContext, type OfctlFlags } from "./ofctl-context.js";
import {
  diffFlows,
  dumpAggregate,
  dumpFlows,
  type FlowSet,
  flowsOfFile,
  flowsOfSwitch,
  modifyFlows,
  modifyFlowsOfFile,
  replaceFlows,
} from "./ofctl-flows.js";
import {
  addGroups,
  changeBuckets,
  deleteGroups,
  deleteMeters,
  dumpGroupStats,
  dumpGroups,
  dumpMeters,
  modifyGroup,
  modifyMeter,
} from "./ofctl-groups.js";
import { monitor } from "./ofctl-monitor.js";
import { parseFlowsVerb, parseFlowVerb, parseGroupVerb } from "./ofctl-parse.js";
import * as S from "./ofctl-switch.js";
import * as W from "./ofctl-wire.js";
import { OpenFlowClient, OpenFlowRefusal } from "./openflow-client.js";
import { type ProtocolSet, protocolsNamed } from "./protocol-set.js";

type Run = (context: OfctlContext, args: readonly string[]) => Promise<number>;
type RunAlone = (io: CommandIo, args: readonly string[], flags: OfctlFlags) => Promise<number>;

interface OfctlVerb {
  /** Of its arguments, as help shows them. */
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  /** The first argument is the switch. */
  readonly run?: Run;
  readonly runAlone?: RunAlone;
}

const MANY = Number.POSITIVE_INFINITY;

export const OFCTL_VERBS: ReadonlyMap<string, OfctlVerb> = new Map<string, OfctlVerb>([
  ["show", at("SWITCH", 1, 1, S.show)],
  ["dump-desc", at("SWITCH", 1, 1, S.dump("desc"))],
  ["dump-tables", at("SWITCH", 1, 1, S.dump("table"))],
  ["dump-table-features", at("SWITCH", 1, 1, S.dumpTableFeatures)],
  ["dump-table-desc", at("SWITCH", 1, 1, S.dumpTableDesc)],
  ["mod-port", at("SWITCH IFACE ACT", 3, 3, S.modPort)],
  ["mod-table", at("SWITCH TABLE MOD", 3, 3, S.modTable)],
  ["get-frags", at("SWITCH", 1, 1, S.getFrags)],
  ["set-frags", at("SWITCH FRAG_MODE", 2, 2, S.setFrags)],
  ["dump-ports", at("SWITCH [PORT]", 1, 2, S.dumpPorts)],
  ["dump-ports-desc", at("SWITCH [PORT]", 1, 2, S.dump("port_desc"))],
  ["dump-flows", at("SWITCH [FLOW]", 1, 2, dumpFlows)],
  ["dump-aggregate", at("SWITCH [FLOW]", 1, 2, dumpAggregate)],
  ["queue-stats", at("SWITCH [PORT [QUEUE]]", 1, 3, S.queueStats)],
  ["queue-get-config", at("SWITCH [PORT [QUEUE]]", 1, 3, S.queueGetConfig)],
  ["add-flow", at("SWITCH FLOW", 2, 2, modifyFlows("add"))],
  ["add-flows", at("SWITCH FILE", 2, 2, modifyFlowsOfFile("add"))],
  ["mod-flows", at("SWITCH FLOW", 2, 2, modifyFlows("modify"))],
  ["del-flows", at("SWITCH [FLOW]", 1, 2, modifyFlows("delete"))],
  ["replace-flows", at("SWITCH FILE", 2, 2, replaceFlows)],
  ["packet-out", at("SWITCH IN_PORT ACTIONS PACKET...", 2, MANY, S.packetOut)],
  ["monitor", at("SWITCH [MISSLEN] [invalid_ttl]", 1, 4, monitor)],
  ["snoop", at("SWITCH", 1, 1, monitor)],
  ["add-group", at("SWITCH GROUP", 2, 2, modifyGroup("add"))],
  ["add-groups", at("SWITCH FILE", 1, 2, addGroups)],
  ["mod-group", at("SWITCH GROUP", 1, 2, modifyGroup("modify"))],
  ["del-groups", at("SWITCH [GROUP]", 1, 2, deleteGroups)],
  ["insert-buckets", at("SWITCH GROUP", 1, 2, changeBuckets("insert-bucket"))],
  ["remove-buckets", at("SWITCH GROUP", 1, 2, changeBuckets("remove-bucket"))],
  ["dump-groups", at("SWITCH [GROUP]", 1, 2, dumpGroups)],
  ["dump-group-stats", at("SWITCH [GROUP]", 1, 2, dumpGroupStats)],
  ["dump-group-features", at("SWITCH", 1, 1, S.dump("group_features"))],
  ["add-meter", at("SWITCH METER", 2, 2, modifyMeter("add"))],
  ["mod-meter", at("SWITCH METER", 2, 2, modifyMeter("modify"))],
  ["del-meter", at("SWITCH METER", 2, 2, deleteMeters)],
  ["del-meters", at("SWITCH [METER]", 1, 2, deleteMeters)],
  ["dump-meter", at("SWITCH METER", 2, 2, dumpMeters("meter_config"))],
  ["dump-meters", at("SWITCH [METER]", 1, 2, dumpMeters("meter_config"))],
  ["meter-stats", at("SWITCH [METER]", 1, 2, dumpMeters("meter"))],
  ["meter-features", at("SWITCH", 1, 1, S.dump("meter_features"))],
  ["probe", at("SWITCH", 1, 1, S.probe)],
  ["ping", at("SWITCH [N]", 1, 2, S.ping)],
  ["diff-flows", { usage: "SOURCE1 SOURCE2", argumentsMin: 2, argumentsMax: 2 }],
  ["parse-flow", alone("FLOW", 1, 1, parseFlowVerb)],
  ["parse-flows", alone("FILE", 1, 1, parseFlowsVerb)],
  ["parse-group", alone("GROUP", 1, 1, parseGroupVerb)],
  ["ofp-print", alone("HEX [VERBOSITY]", 1, 2, W.printHex)],
  ["ofp-parse", alone("FILE", 1, 1, W.printFile)],
  ["ofp-parse-pcap", alone("PCAP [PORT...]", 1, MANY, W.printPcap)],
  ["parse-pcap", alone("PCAP...", 1, MANY, W.printPackets)],
  ["parse-packet", alone("", 0, 0, W.printPacket)],
  ["compose-packet", alone("FLOW", 1, 2, W.composePacket)],
  ["parse-actions", alone("VERSION", 1, 1, W.parseActionsVerb)],
  ["parse-instructions", alone("VERSION", 1, 1, W.parseInstructionsVerb)],
  ["parse-nx-match", alone("", 0, 0, W.parseNxmVerb)],
  ["parse-nxm", alone("", 0, 0, W.parseNxmVerb)],
  ["parse-oxm", alone("VERSION", 1, 1, W.parseOxmVerb)],
  ["parse-key-value", alone("TEXT...", 1, MANY, W.parseKeyValueVerb)],
  ["print-error", alone("ERROR", 1, 1, W.printErrorVerb)],
  ["encode-error-reply", alone("ERROR REQUEST", 2, 2, W.encodeErrorVerb)],
  ["encode-hello", alone("BITMAP", 1, 1, W.encodeHelloVerb)],
]);

function at(usage: string, argumentsMin: number, argumentsMax: number, run: Run): OfctlVerb {
  return { usage, argumentsMin, argumentsMax, run };
}

function alone(usage: string, argumentsMin: number, argumentsMax: number, runAlone: RunAlone): OfctlVerb {
  return { usage, argumentsMin, argumentsMax, runAlone };
}

/** Options that are taken and change nothing: what they choose is what we do anyway, or concerns logs. */
const IGNORED = new Set([
  "verbose",
  "log-file",
  "syslog-target",
  "syslog-method",
  "packet-in-format",
  "read-only",
  "color",
]);

const OPTIONS: readonly OptionSpec[] = [
  { name: "timeout", short: "t", argument: "required" },
  { name: "strict", argument: "none" },
  { name: "read-only", argument: "none" },
  { name: "readd", argument: "none" },
  { name: "bundle", argument: "none" },
  { name: "flow-format", short: "F", argument: "required" },
  { name: "packet-in-format", short: "P", argument: "required" },
  { name: "protocols", short: "O", argument: "required" },
  { name: "more", short: "m", argument: "none" },
  { name: "timestamp", argument: "none" },
  { name: "sort", argument: "optional" },
  { name: "rsort", argument: "optional" },
  { name: "names", argument: "none" },
  { name: "no-names", argument: "none" },
  { name: "stats", argument: "none" },
  { name: "no-stats", argument: "none" },
  { name: "may-create", argument: "none" },
  { name: "color", argument: "optional" },
  { name: "verbose", short: "v", argument: "optional" },
  { name: "log-file", argument: "optional" },
  { name: "syslog-target", argument: "required" },
  { name: "syslog-method", argument: "required" },
  { name: "output", short: "o", argument: "required" },
  { name: "version", short: "V", argument: "none" },
  { name: "help", short: "h", argument: "none" },
];

interface Given {
  readonly flags: OfctlFlags;
  readonly asked: "version" | "help" | undefined;
  readonly args: readonly string[];
}

function parseCommandLine(words: readonly string[]): Given {
  const { options, args } = parseOptions(words, OPTIONS);
  const flags = {
    strict: false,
    names: undefined as boolean | undefined,
    stats: true,
    sort: [] as OfctlFlags["sort"][number][],
    mayCreate: false,
    readd: false,
    bundle: false,
    json: false,
    more: 0,
    timestamp: false,
    timeoutMs: undefined as number | undefined,
    versions: undefined as readonly number[] | undefined,
    protocols: undefined as ProtocolSet | undefined,
  };
  let asked: Given["asked"];
  for (const { name, value } of options) {
    if (name === "strict") flags.strict = true;
    else if (name === "readd") flags.readd = true;
    else if (name === "bundle") flags.bundle = true;
    else if (name === "may-create") flags.mayCreate = true;
    else if (name === "names" || name === "no-names") flags.names = name === "names";
    else if (name === "stats" || name === "no-stats") flags.stats = name === "stats";
    else if (name === "sort" || name === "rsort") flags.sort.push(sortKey(value, name === "rsort"));
    else if (name === "timeout") flags.timeoutMs = parseTimeout(value);
    else if (name === "protocols") flags.versions = versionsNamed(value ?? "");
    else if (name === "flow-format") {
      flags.protocols = protocolsNamed(value ?? "");
      if (flags.protocols === undefined) throw commandError(`${value}: unknown flow format(s)`);
    } else if (name === "more") flags.more++;
    else if (name === "timestamp") flags.timestamp = true;
    else if (name === "output") flags.json = isJson(value);
    else if (name === "version" || name === "help") asked ??= name;
    else if (!IGNORED.has(name)) throw commandError(`unrecognized option '--${name}'`);
  }
  return { flags, asked, args };
}

/** -O: a list of versions, as numbered on the wire. */
function versionsNamed(text: string): readonly number[] {
  const names = text.split(/[,\s]+/).filter((name) => name !== "");
  const unknown = names.find((name) => !/^OpenFlow1[0-5]$/i.test(name));
  if (unknown !== undefined) throw commandError(`Unknown OpenFlow version: "${unknown}"`);
  return names.map((name) => Number(name.slice(-1)) + 1);
}

/** With a switch we speak 1.3 only. */
function checkSpoken({ versions }: OfctlFlags): void {
  if (versions === undefined || versions.includes(OFP13_VERSION)) return;
  const names = versions.map((version) => `OpenFlow1${version - 1}`);
  throw commandError(`this client speaks OpenFlow13, not ${names.join(",")}`);
}

export function isJson(value: string | undefined): boolean {
  if (value === "json") return true;
  throw commandError(`output ${value} is not json`);
}

/** Runs one command line. Resolves with the exit code; rejects with COMMAND_FAILED and the like. */
export async function runOfctl(words: readonly string[], io: CommandIo): Promise<number> {
  const { flags, asked, args } = parseCommandLine(words);
  if (asked === "help") io.out(ofctlHelp());
  else if (asked === "version") io.out("plinth ofctl (Plinth) 0.1.0\nOpenFlow versions 0x4:0x4\n");
  if (asked !== undefined) return 0;
  const [name, ...rest] = args;
  if (name === undefined) throw commandError("missing command name; use --help for help");
  const verb = OFCTL_VERBS.get(name);
  if (verb === undefined) throw commandError(`unknown command '${name}'; use --help for help`);
  if (rest.length < verb.argumentsMin)
    throw commandError(`'${name}' command requires at least ${verb.argumentsMin} arguments`);
  if (rest.length > verb.argumentsMax)
    throw commandError(`'${name}' command takes at most ${verb.argumentsMax} arguments`);
  if (verb.runAlone !== undefined) return verb.runAlone(io, rest, flags);
  if (verb.run === undefined) return diff(rest as [string, string], flags, io);
  const { run } = verb;
  return withSwitch(rest[0] as string, flags, io, (context) => run(context, rest.slice(1)));
}

async function withSwitch<Result>(
  target: string,
  flags: OfctlFlags,
  io: CommandIo,
  use: (context: OfctlContext) => Promise<Result>,
): Promise<Result> {
  checkSpoken(flags);
  const endpoint = target.includes(":") ? target : io.endpointOf(target);
  if (endpoint === undefined) throw commandError(`${target} is not a bridge or a socket`);
  const client = await OpenFlowClient.connect(endpoint, flags.timeoutMs);
  try {
    return await use(new OfctlContext(client, target, flags, io));
  } catch (thrown) {
    if (!(thrown instanceof OpenFlowRefusal)) throw thrown;
    // As the original: the error, with what it was about.
    io.err(formatMessage({ ...thrown.error }));
    throw new PlinthError("REFUSAL_TOLD", thrown.message);
  } finally {
    client.close();
  }
}

/** Exit code 2 when they differ. */
async function diff(sources: readonly [string, string], flags: OfctlFlags, io: CommandIo): Promise<number> {
  const flowsOf = (source: string): Promise<FlowSet> =>
    source.includes(":") || io.endpointOf(source) !== undefined
      ? withSwitch(source, flags, io, flowsOfSwitch)
      : flowsOfFile(io, source, async () => () => undefined);
  const lines = diffFlows(await flowsOf(sources[0]), await flowsOf(sources[1]));
  io.out(lines.join(""));
  return lines.length === 0 ? 0 : 2;
}

export function ofctlHelp(): string {
  const verbs = [...OFCTL_VERBS].map(([name, { usage }]) => `  ${name} ${usage}\n`);
  const options = OPTIONS.map(({ name, short, argument }) => {
    const value = argument === "none" ? "" : argument === "required" ? "=ARG" : "[=ARG]";
    return `  ${short === undefined ? "    " : `-${short}, `}--${name}${value}\n`;
  });
  return [
    "plinth ofctl: OpenFlow switch management, with the verbs of ovs-ofctl(8)\n",
    "Usage: plinth ofctl [OPTIONS] COMMAND [ARG...]\n\nCommands:\n",
    ...verbs,
    "\nSWITCH is a bridge of the switch in --dir, unix:FILE or tcp:HOST:PORT.\n\nOptions:\n",
    ...options,
  ].join("");
}
