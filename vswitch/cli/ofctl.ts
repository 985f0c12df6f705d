// `plinth ofctl`: the verbs of ovs-ofctl over OpenFlow 1.0 to 1.5, against any switch, with its options, output and wording.
// Source: ovs-ofctl(8).
import { PlinthError } from "../../base/errors/index.js";
import { OFP13_VERSION, OFP14_VERSION, type PacketInFormat } from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { createCommandLog } from "./command-log.js";
import { type OptionSpec, parseOptions, parseTimeout } from "./command-options.js";
import { commandError } from "./errors.js";
import { sortKey } from "./flow-order.js";
import { parseNxmVerb, parseOxmVerb } from "./match-lines.js";
import { printMessage } from "./message-print.js";
import { bundle } from "./ofctl-bundle.js";
import { OfctlContext, type OfctlFlags, warner } from "./ofctl-context.js";
import {
  addTunnelOptions,
  ctFlush,
  ctFlushZone,
  deleteTunnelOptions,
  dumpIpfix,
  dumpTunnelOptions,
} from "./ofctl-extensions.js";
import { parseFixedMatch10, parseFixedMatch11 } from "./ofctl-fixed-match.js";
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
  deleteMeters,
  dumpGroupStats,
  dumpGroups,
  dumpMeters,
  modifyGroup,
  modifyGroupsOfFile,
  modifyMeter,
} from "./ofctl-groups.js";
import { monitor, snoop } from "./ofctl-monitor.js";
import { parseFlowsVerb, parseFlowVerb, parseGroupVerb } from "./ofctl-parse.js";
import { allowedOf } from "./ofctl-protocol.js";
import { OFCTL_COMMANDS, OFCTL_OPTIONS } from "./ofctl-summaries.js";
import * as S from "./ofctl-switch.js";
import { dumpTableDesc, modTable } from "./ofctl-tables.js";
import { checkVlan } from "./ofctl-vlan.js";
import * as W from "./ofctl-wire.js";
import { BundleRefusal, OpenFlowClient, OpenFlowRefusal } from "./openflow-client.js";
import { type ProtocolSet, protocolsNamed } from "./protocol-set.js";
import { TLS_OPTIONS, tlsFilesOf } from "./tls-options.js";
import { helpLines, optionLines, optionSpellings } from "./tool-help.js";

type Run = (context: OfctlContext, args: readonly string[]) => Promise<number>;
type RunAlone = (io: CommandIo, args: readonly string[], flags: OfctlFlags) => Promise<number>;

interface OfctlVerb {
  /** Of its arguments, as help shows them. */
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  /** The first argument is the switch. */
  readonly run?: Run;
  readonly changes?: boolean;
  readonly runAlone?: RunAlone;
}

const MANY = Number.POSITIVE_INFINITY;

export const OFCTL_VERBS: ReadonlyMap<string, OfctlVerb> = new Map<string, OfctlVerb>([
  ["show", at("SWITCH", 1, 1, S.show)],
  ["dump-desc", at("SWITCH", 1, 1, S.dump("desc"))],
  ["dump-tables", at("SWITCH", 1, 1, S.dump("table"))],
  ["dump-table-features", at("SWITCH", 1, 1, S.dumpTableFeatures)],
  ["dump-table-desc", at("SWITCH", 1, 1, dumpTableDesc)],
  ["mod-port", change("SWITCH IFACE ACT", 3, 3, S.modPort)],
  ["mod-table", change("SWITCH TABLE MOD", 3, 3, modTable)],
  ["get-frags", at("SWITCH", 1, 1, S.getFrags)],
  ["set-frags", change("SWITCH FRAG_MODE", 2, 2, S.setFrags)],
  ["dump-ports", at("SWITCH [PORT]", 1, 2, S.dumpPorts)],
  ["dump-ports-desc", at("SWITCH [PORT]", 1, 2, S.dumpPortDescriptions)],
  ["dump-flows", at("SWITCH [FLOW]", 1, 2, dumpFlows)],
  ["dump-aggregate", at("SWITCH [FLOW]", 1, 2, dumpAggregate)],
  ["queue-stats", at("SWITCH [PORT [QUEUE]]", 1, 3, S.queueStats)],
  ["queue-get-config", at("SWITCH [PORT [QUEUE]]", 1, 3, S.queueGetConfig)],
  ["add-flow", change("SWITCH FLOW", 2, 2, modifyFlows("add"))],
  ["add-flows", change("SWITCH FILE", 2, 2, modifyFlowsOfFile("add"))],
  ["mod-flows", change("SWITCH FLOW", 2, 2, modifyFlows("modify"))],
  ["del-flows", change("SWITCH [FLOW]", 1, 2, modifyFlows("delete"))],
  ["replace-flows", change("SWITCH FILE", 2, 2, replaceFlows)],
  ["packet-out", change("SWITCH IN_PORT ACTIONS PACKET...", 2, MANY, S.packetOut)],
  ["monitor", at("SWITCH [MISSLEN] [invalid_ttl]", 1, 4, monitor)],
  ["snoop", at("SWITCH", 1, 1, snoop)],
  ["add-group", change("SWITCH GROUP", 2, 2, modifyGroup("add"))],
  ["add-groups", change("SWITCH FILE", 1, 2, modifyGroupsOfFile("add"))],
  ["mod-group", change("SWITCH GROUP", 1, 2, modifyGroup("modify"))],
  ["del-groups", change("SWITCH [GROUP]", 1, 2, modifyGroup("delete"))],
  ["insert-buckets", change("SWITCH GROUP", 1, 2, modifyGroup("insert_bucket"))],
  ["remove-buckets", change("SWITCH GROUP", 1, 2, modifyGroup("remove_bucket"))],
  ["dump-groups", at("SWITCH [GROUP]", 1, 2, dumpGroups)],
  ["dump-group-stats", at("SWITCH [GROUP]", 1, 2, dumpGroupStats)],
  ["dump-group-features", at("SWITCH", 1, 1, S.dumpGroupFeatures)],
  ["add-meter", change("SWITCH METER", 2, 2, modifyMeter("add"))],
  ["mod-meter", change("SWITCH METER", 2, 2, modifyMeter("modify"))],
  ["del-meter", change("SWITCH METER", 2, 2, deleteMeters)],
  ["del-meters", change("SWITCH [METER]", 1, 2, deleteMeters)],
  ["dump-meter", at("SWITCH METER", 2, 2, dumpMeters("meter_config"))],
  ["dump-meters", at("SWITCH [METER]", 1, 2, dumpMeters("meter_config"))],
  ["meter-stats", at("SWITCH [METER]", 1, 2, dumpMeters("meter"))],
  ["meter-features", at("SWITCH", 1, 1, S.dump("meter_features"))],
  ["dump-ipfix-bridge", at("SWITCH", 1, 1, dumpIpfix("bridge"))],
  ["dump-ipfix-flow", at("SWITCH", 1, 1, dumpIpfix("flow"))],
  ["ct-flush-zone", change("SWITCH ZONE", 2, 2, ctFlushZone)],
  ["ct-flush", change("SWITCH [zone=N] [CT_ORIG_TUPLE [CT_REPLY_TUPLE]]", 1, 4, ctFlush)],
  ["add-tlv-map", change("SWITCH MAP", 2, 2, addTunnelOptions)],
  ["del-tlv-map", change("SWITCH [MAP]", 1, 2, deleteTunnelOptions)],
  ["dump-tlv-map", at("SWITCH", 1, 1, dumpTunnelOptions)],
  ["bundle", change("SWITCH FILE", 2, 2, bundle)],
  ["benchmark", at("TARGET N COUNT", 3, 3, S.benchmark)],
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
  ["parse-nx-match", alone("", 0, 0, parseNxmVerb)],
  ["parse-nxm", alone("", 0, 0, parseNxmVerb)],
  ["parse-ofp10-match", alone("", 0, 0, parseFixedMatch10)],
  ["parse-ofp11-match", alone("", 0, 0, parseFixedMatch11)],
  ["parse-oxm", alone("VERSION", 1, 1, parseOxmVerb)],
  ["parse-key-value", alone("TEXT...", 1, MANY, W.parseKeyValueVerb)],
  ["print-error", alone("ERROR", 1, 1, W.printErrorVerb)],
  ["encode-error-reply", alone("ERROR REQUEST", 2, 2, W.encodeErrorVerb)],
  ["check-vlan", alone("VLAN_TCI VLAN_TCI_MASK", 2, 2, checkVlan)],
  ["help", alone("", 0, MANY, tellHelp)],
  ["list-commands", alone("", 0, MANY, listCommands)],
  ["encode-hello", alone("BITMAP", 1, 1, W.encodeHelloVerb)],
]);

async function tellHelp(io: CommandIo): Promise<number> {
  io.out(ofctlHelp());
  return 0;
}

async function listCommands(io: CommandIo): Promise<number> {
  const lines = [...OFCTL_VERBS].map(([name, { usage }]) => `  ${name.padEnd(23)} ${usage.toLowerCase()}\n`);
  io.out(`The available commands are:\n${lines.join("")}`);
  return 0;
}

function at(usage: string, argumentsMin: number, argumentsMax: number, run: Run): OfctlVerb {
  return { usage, argumentsMin, argumentsMax, run };
}

/** One that --read-only forbids. */
function change(usage: string, argumentsMin: number, argumentsMax: number, run: Run): OfctlVerb {
  return { usage, argumentsMin, argumentsMax, run, changes: true };
}

function alone(usage: string, argumentsMin: number, argumentsMax: number, runAlone: RunAlone): OfctlVerb {
  return { usage, argumentsMin, argumentsMax, runAlone };
}

/** Options that are taken and change nothing: what they choose is what we do anyway, or concerns logs. */
const IGNORED = new Set([
  ...["log-file", "syslog-target", "syslog-method", "color"],
  // One process is enough: what could end it by mistake is an exception, which is told.
  ...["monitor", "no-self-confinement"],
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
  { name: "detach", argument: "none" },
  { name: "no-chdir", argument: "none" },
  { name: "pidfile", argument: "optional" },
  { name: "overwrite-pidfile", argument: "none" },
  { name: "monitor", argument: "none" },
  { name: "no-self-confinement", argument: "none" },
  { name: "unixctl", argument: "required" },
  ...TLS_OPTIONS,
  { name: "version", short: "V", argument: "none" },
  { name: "help", short: "h", argument: "none" },
  { name: "option", argument: "none" },
];

/** Options that only print something, and what. */
const ASKED: ReadonlyMap<string, () => string> = new Map([
  ["help", ofctlHelp],
  ["version", () => "plinth ofctl (Plinth) 0.1.0\nOpenFlow versions 0x1:0x6\n"],
  ["option", () => optionSpellings(OPTIONS)],
]);

interface Given {
  readonly flags: OfctlFlags;
  /** Arguments of -v. */
  readonly verbose: readonly (string | undefined)[];
  /** Text that is all that was asked for. */
  readonly asked: string | undefined;
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
    packetInFormat: undefined as PacketInFormat | undefined,
    readOnly: false,
    timeoutMs: undefined as number | undefined,
    detach: false,
    noChdir: false,
    pidfile: undefined as string | undefined,
    overwritesPidfile: false,
    unixctl: undefined as string | undefined,
    versions: undefined as readonly number[] | undefined,
    protocols: undefined as ProtocolSet | undefined,
    tls: tlsFilesOf(options),
  };
  const verbose: (string | undefined)[] = [];
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
    } else if (name === "read-only") flags.readOnly = true;
    else if (name === "packet-in-format") flags.packetInFormat = packetInFormat(value ?? "");
    else if (name === "more") flags.more++;
    else if (name === "detach") flags.detach = true;
    else if (name === "no-chdir") flags.noChdir = true;
    else if (name === "pidfile") flags.pidfile = value ?? "";
    else if (name === "overwrite-pidfile") flags.overwritesPidfile = true;
    else if (name === "unixctl") flags.unixctl = value;
    else if (name === "timestamp") flags.timestamp = true;
    else if (name === "output") flags.json = isJson(value);
    else if (name === "verbose") verbose.push(value);
    else if (ASKED.has(name)) asked ??= ASKED.get(name)?.();
    else if (!IGNORED.has(name) && !TLS_OPTIONS.some((one) => one.name === name))
      throw commandError(`unrecognized option '--${name}'`);
  }
  return { flags, verbose, asked, args };
}

/** -O: a list of versions, as numbered on the wire. */
function versionsNamed(text: string): readonly number[] | undefined {
  const names = text.split(/[,\s]+/).filter((name) => name !== "");
  const unknown = names.find((name) => !/^OpenFlow1[0-5]$/i.test(name));
  if (unknown !== undefined) throw commandError(`Unknown OpenFlow version: "${unknown}"`);
  const versions = new Set(names.map((name) => Number(name.slice(-1)) + 1));
  return versions.size === 0 ? undefined : [...versions].sort((a, b) => a - b);
}

const PACKET_IN_FORMATS: Readonly<Record<string, PacketInFormat>> = {
  standard: "standard",
  openflow10: "standard",
  nxm: "nxm",
  nxt_packet_in: "nxm",
  nxt_packet_in2: "nxm2",
};

function packetInFormat(text: string): PacketInFormat {
  const format = Object.hasOwn(PACKET_IN_FORMATS, text) ? PACKET_IN_FORMATS[text] : undefined;
  if (format === undefined) throw commandError(`unknown packet-in format \`${text}'`);
  return format;
}

/** Bundles came with OpenFlow 1.4, and are an extension of 1.3, which our own switch speaks. */
function withBundles(versions: readonly number[] | undefined, isOffline: boolean): readonly number[] {
  const able = (versions ?? []).filter((version) => version >= OFP13_VERSION);
  if (able.length > 0) return able;
  return isOffline ? [OFP14_VERSION] : [OFP13_VERSION, OFP14_VERSION];
}

export function isJson(value: string | undefined): boolean {
  if (value === "json") return true;
  throw commandError(`output ${value} is not json`);
}

/** Runs one command line. Resolves with the exit code; rejects with COMMAND_FAILED and the like. */
export async function runOfctl(words: readonly string[], plainIo: CommandIo): Promise<number> {
  const { flags: given, verbose, asked, args } = parseCommandLine(words);
  const io: CommandIo = { ...plainIo, log: createCommandLog(plainIo, verbose) };
  if (asked !== undefined) {
    io.out(asked);
    return 0;
  }
  const [name, ...rest] = args;
  if (name === undefined) throw commandError("missing command name; use --help for help");
  const verb = OFCTL_VERBS.get(name);
  const flags =
    given.bundle || name === "bundle"
      ? { ...given, versions: withBundles(given.versions, verb?.runAlone !== undefined) }
      : given;
  allowedOf(flags.versions, flags.protocols);
  if (verb === undefined) throw commandError(`unknown command '${name}'; use --help for help`);
  if (rest.length < verb.argumentsMin)
    throw commandError(`'${name}' command requires at least ${verb.argumentsMin} arguments`);
  if (rest.length > verb.argumentsMax)
    throw commandError(`'${name}' command takes at most ${verb.argumentsMax} arguments`);
  if (verb.changes === true && flags.readOnly)
    throw commandError(`'${name}' command does not work in read only mode`);
  const run: Runner = (to) => runVerb([name, ...rest], verb, flags, to);
  return flags.json && isText(name, verb) ? asJsonText(io, run) : run(io);
}

/** Verbs that speak with a switch, and have no data to tell. */
const TEXT_ONLY = new Set(["benchmark", "ping", "probe"]);

function isText(name: string, verb: OfctlVerb): boolean {
  return verb.run === undefined || TEXT_ONLY.has(name);
}

type Runner = (io: CommandIo) => Promise<number>;

/** What is told as text is one value of JSON, as where a switch answers what has no data here. */
async function asJsonText(io: CommandIo, run: Runner): Promise<number> {
  let text = "";
  const out = (one: string): void => {
    text += one;
  };
  try {
    return await run({ ...io, out });
  } finally {
    if (text !== "") io.out(`${JSON.stringify({ text })}\n`);
  }
}

async function runVerb(
  [name = "", ...rest]: readonly string[],
  { run, runAlone }: OfctlVerb,
  flags: OfctlFlags,
  io: CommandIo,
): Promise<number> {
  if (runAlone !== undefined) return runAlone(io, rest, flags);
  if (run === undefined) return diff(rest as [string, string], flags, io);
  const { background } = io;
  if (flags.detach && background?.isDetached === false && (run === monitor || run === snoop))
    return background.detach();
  const named =
    name === "snoop" ? { ...io, endpointOf: (bridge: string) => snoopOf(io.endpointOf(bridge)) } : io;
  return withSwitch(rest[0] as string, flags, named, (context) => run(context, rest.slice(1)));
}

/** A bridge has its socket for snoopers beside the one for commands. */
function snoopOf(endpoint: string | undefined): string | undefined {
  return endpoint?.replace(/\.mgmt$/, ".snoop");
}

async function withSwitch<Result>(
  target: string,
  flags: OfctlFlags,
  io: CommandIo,
  use: (context: OfctlContext) => Promise<Result>,
): Promise<Result> {
  const allowed = allowedOf(flags.versions, flags.protocols);
  const endpoint = target.includes(":") ? target : io.endpointOf(target);
  if (endpoint === undefined) throw commandError(`${target} is not a bridge or a socket`);
  const warn = warner(io);
  const { timeoutMs } = flags;
  const client = await OpenFlowClient.connect(endpoint, {
    timeoutMs,
    versions: allowed.versions,
    target,
    tls: flags.tls,
    warn,
  });
  try {
    return await use(new OfctlContext(client, target, { flags, allowed, warn }, io));
  } catch (thrown) {
    if (thrown instanceof BundleRefusal) {
      const texts = thrown.refused.map(bundleRefusalText);
      io.err(texts.join(""));
      throw commandError(`talking to ${endpoint} (Protocol error)`);
    }
    if (!(thrown instanceof OpenFlowRefusal)) throw thrown;
    // As the original: the error, with what it was about.
    io.err(printMessage(thrown.bytes, { verbosity: 1 + flags.more }));
    throw new PlinthError("REFUSAL_TOLD", `the switch refused: ${errorNameIn(thrown.bytes)}`);
  } finally {
    client.close();
  }
}

function bundleRefusalText({ error, request }: BundleRefusal["refused"][number]): string {
  return `Error ${errorNameIn(error)} for: ${printMessage(request, { verbosity: 1 })}`;
}

function errorNameIn(error: Uint8Array): string {
  return /: (\S+)/.exec(printMessage(error, { verbosity: 1 }))?.[1] ?? "unknown error";
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
  return [
    "plinth ofctl: OpenFlow switch management, with the verbs of ovs-ofctl(8)\n",
    "Usage: plinth ofctl [OPTIONS] COMMAND [ARG...]\n\nCommands:\n",
    helpLines(
      [...OFCTL_VERBS].map(([name, { usage }]) => [`${name} ${usage}`.trimEnd(), OFCTL_COMMANDS[name] ?? ""]),
    ),
    "\nSWITCH is a bridge of the switch in --dir, unix:FILE, tcp:HOST[:PORT] or ssl:HOST[:PORT].\n\nOptions:\n",
    optionLines(OPTIONS, OFCTL_OPTIONS),
  ].join("");
}
