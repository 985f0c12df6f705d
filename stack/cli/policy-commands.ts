// `plinth policy explain A B:port`, `policy drops` and `policy log`: why a connection is allowed or not, what was dropped,
// and which decisions policies want told.
import { writeFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { type Command, InvalidArgumentError } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { callControl } from "../../base/jsonrpc/index.js";
import {
  analysis,
  type Explanation,
  type SdnController,
  type SdnMetrics,
} from "../../sdn-controller/index.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { type ConnectionOptions, usingApi, withConnection } from "./connection.js";
import { withDir } from "./options.js";
import { formatRows, type OutputOptions, show, withOutput } from "./output.js";
import { type End, type Pair, type Protocol, pairsOf, resolveEnd } from "./policy-ends.js";
import {
  explainOffline,
  graphOffline,
  isDocumentDirectory,
  registerOffline,
} from "./policy-offline-commands.js";

interface ExplainOptions extends ConnectionOptions, OutputOptions {
  readonly tables?: boolean;
  readonly protocol: string;
  readonly ipv6?: boolean;
  readonly fail?: boolean;
  readonly quiet?: boolean;
}

interface Target {
  readonly machine: string;
  /** A name only offline. */
  readonly port?: string;
}

const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP", "ICMP"];
/** Machines that one line names. */
const DROP_MACHINES_SHOWN = 4;

export function register(program: Command): void {
  const policy = program.command("policy").description("network policies at work");
  withOutput(withConnection(policy.command("explain")))
    .argument(
      "<source>",
      "who connects: a machine as NAME, NAMESPACE/NAME or NAMESPACE/NAME@NETWORK, vm/NAME, port/NAME, or an address",
    )
    .argument(
      "<destination>",
      "what it connects to, as NAME:PORT or ADDRESS:PORT; a load balancer (nf/NAME, or its address), too; " +
        "PORT is a number or the name that the machine gives to one",
      parseTarget,
    )
    .description(
      "say whether a connection is allowed, and which policy and rule decides; with --dir naming a directory of " +
        "Kubernetes documents, by those alone: then workloads and addresses outside are the ends",
    )
    .option("--protocol <protocol>", "TCP, UDP, SCTP or (not with documents) ICMP", "TCP")
    .option("-6, --ipv6", "by IPv6; so it is, too, when an end is an address of IPv6")
    .option("--fail", "with documents: stop at the first that cannot be read")
    .option("--tables", "say also which flow the first packet meets in each table of the switch")
    .option("-q, --quiet", "with documents: report only errors, no warnings")
    .action(explainAction);
  registerOffline(policy);
  withDir(policy.command("graph"))
    .description(
      "draw who can connect to whom as SVG; with --dir naming a directory of Kubernetes documents, by those alone",
    )
    .option("-f, --file <file>", "write the picture to this file in place of standard output")
    .option("-q, --quiet", "with documents: report only errors, no warnings")
    .action(graphAction);
  const drops = policy
    .command("drops")
    .description(
      "count dropped packets: the pairs of machines that policies keep apart, most packets first, with the policies " +
        "that do it; then all reasons, what staged policies would do, and the connections that were cut",
    )
    .option("--top <count>", "pairs to show", parseCount, 10);
  withOutput(withDir(drops)).action(dropsAction);
  withOutput(withDir(policy.command("log")))
    .description("show the latest decisions that policies want logged, and connections that they cut")
    .action(async (options: OutputOptions & { dir?: string }) => {
      const { policyNews } = (await ask(options.dir, "sdn.metrics", {})) as SdnMetrics;
      show(options, policyNews.items, () => formatNews(policyNews.items));
    });
}

async function dropsAction(options: OutputOptions & { dir?: string; top: number }): Promise<void> {
  const { drops, pairs, staged, policyNews } = (await ask(options.dir, "sdn.metrics", {})) as SdnMetrics;
  const byPackets = <T extends { readonly packets: number }>(some: readonly T[]): T[] =>
    [...some].sort((a, b) => b.packets - a.packets);
  const report = {
    pairs: byPackets(pairs).slice(0, options.top),
    reasons: byPackets(drops),
    staged: byPackets(staged),
    cut: policyNews.items.filter(({ kind }) => kind === "cut"),
  };
  show(options, report, () => formatDropReport(report));
}

async function explainAction(source: string, target: Target, options: ExplainOptions): Promise<void> {
  if (options.dir !== undefined && isDocumentDirectory(options.dir)) {
    const answer = await explainOffline(options.dir, source, target.machine, target.port, options);
    show(options, answer, () => analysis.formatExplanation(answer).join("\n"));
    return;
  }
  const protocol = parseProtocol(options.protocol);
  await usingApi(options, async ({ client, namespace }) => {
    const [machines, ports, functions] = await Promise.all([
      client.list("VirtualMachine"),
      client.list("Port"),
      client.list("NetworkFunction"),
    ]);
    const inventory = { machines: machines.items, ports: ports.items, functions: functions.items };
    const [from, to] = [source, target.machine].map((text) => resolveEnd(text, inventory, namespace)) as [
      End,
      End,
    ];
    const family = options.ipv6 === true || isIPv6(source) || isIPv6(target.machine) ? 6 : 4;
    const answers: PairAnswer[] = [];
    for (const { ask: asked, ...pair } of pairsOf(from, to, { protocol, port: target.port })) {
      const answer =
        "allowed" in asked
          ? asked
          : ((await ask(options.dir, "sdn.explain", { ...asked, family })) as Explanation);
      answers.push({ ...pair, ...answer });
    }
    const common = `${source} and ${target.machine} have no network in common.`;
    const report = { allowed: answers.length > 0 && answers.every(({ allowed }) => allowed), pairs: answers };
    const lines = (): string[] =>
      answers.flatMap((answer) => explanationLines(answer, options.tables === true));
    show(options, report, () => (answers.length === 0 ? common : lines().join("\n")));
  });
}

function parseProtocol(text: string): Protocol {
  const found = PROTOCOLS.find((each) => each === text.toUpperCase());
  if (found !== undefined) return found;
  throw new PlinthError("PROTOCOL_UNKNOWN", `--protocol: expected ${PROTOCOLS.join(", ")}, found ${text}`);
}

/** What is known of one pair of interfaces. */
export type PairAnswer = Omit<Pair, "ask"> & Explanation;

export function explanationLines(answer: PairAnswer, tables: boolean): string[] {
  const { network, through, allowed, undelivered } = answer;
  const permitted = undelivered === undefined ? "allowed" : "allowed by policies, and not delivered";
  return [
    `${network}${through === undefined ? "" : `, through ${through}`}: ${allowed ? permitted : "denied"}`,
    ...answer.text.map((line) => `  ${line}`),
    ...(undelivered === undefined ? [] : [`  ${undelivered}`]),
    ...answer.remedies.map((line) => `  to allow it: ${line}`),
    ...(tables ? tableLines(answer) : []),
  ];
}

function tableLines({ path }: Explanation): string[] {
  if (path.length === 0) return ["  no flows: not both ends are machines that are plugged in"];
  return path.map(
    ({ table, priority, cookie, resource, rule, reason }) =>
      `  table ${table}: priority ${priority}, cookie ${cookie}, of ${rule === undefined ? "" : `${rule} of `}${resource}${reason === undefined ? "" : ` (${reason})`}`,
  );
}

async function graphAction(options: { dir?: string; file?: string; quiet?: boolean }): Promise<void> {
  const { dir, file } = options;
  let picture: string;
  if (dir !== undefined && isDocumentDirectory(dir)) picture = await graphOffline(dir, options);
  else {
    const reach = (await ask(dir, "sdn.reachable", {})) as ReturnType<SdnController["reachable"]>;
    const edges = reach.pairs.map((pair) => ({ ...pair, label: pair.connections }));
    picture = analysis.graphSvg(edges, reach.machines, "Who can connect to whom");
  }
  if (file === undefined) process.stdout.write(picture);
  else writeFileSync(file, picture);
}

function ask(dir: string | undefined, method: string, params: Record<string, unknown>): Promise<unknown> {
  return callControl(directoryLayout(defaultDirectory(dir)).controllerControlSocket, method, params);
}

export interface DropReport {
  readonly pairs: SdnMetrics["pairs"];
  readonly reasons: SdnMetrics["drops"];
  readonly staged: SdnMetrics["staged"];
  readonly cut: SdnMetrics["policyNews"]["items"];
}

export function formatDropReport({ pairs, reasons, staged, cut }: DropReport): string {
  if (reasons.length === 0 && staged.length === 0) return "Nothing was dropped.";
  const parts: string[] = [];
  if (pairs.length > 0) {
    const rows = pairs.map(({ packets, source, destination, direction, policies, example }) => [
      String(packets),
      source,
      destination,
      [example.protocol, example.port].filter((part) => part !== undefined).join(" "),
      `${direction.toLowerCase()} of ${policies.join(", ") || "a policy that is gone"}`,
    ]);
    parts.push(formatRows(["PACKETS", "FROM", "TO", "FIRST SEEN", "DENIED BY"], rows));
  }
  if (reasons.length > 0) parts.push(formatDrops(reasons));
  if (staged.length > 0) {
    const rows = staged.map((each) => [String(each.packets), each.verdict, formatSource(each)]);
    parts.push(formatRows(["PACKETS", "STAGED POLICY WOULD", "RESOURCE"], rows));
  }
  if (cut.length > 0) parts.push(formatNews(cut));
  return parts.join("\n\n");
}

function formatNews(news: SdnMetrics["policyNews"]["items"]): string {
  if (news.length === 0) return "Nothing was logged and no connection was cut.";
  const rows = news.map(({ time, kind, from, to, protocol, port, policies }) => [
    time,
    kind,
    from,
    to,
    [protocol, port].filter((part) => part !== undefined).join(" "),
    policies.join(", "),
  ]);
  return formatRows(["TIME", "DECISION", "FROM", "TO", "CONNECTION", "POLICIES"], rows);
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("expected a number from 1");
  return count;
}

function formatDrops(drops: SdnMetrics["drops"]): string {
  const rows = drops.map((drop) => [String(drop.packets), drop.reason, formatSource(drop)]);
  return formatRows(["PACKETS", "REASON", "RESOURCE"], rows);
}

/** Machines that policies cannot tell apart are counted together. */
function formatSource({
  resource,
  machines,
  policies,
}: Pick<SdnMetrics["drops"][number], "resource" | "machines" | "policies">): string {
  if (machines === undefined || machines.length === 0) return resource;
  const shown = machines.slice(0, DROP_MACHINES_SHOWN).join(", ");
  const more = machines.length - DROP_MACHINES_SHOWN;
  const by =
    policies === undefined || policies.length === 0 ? "" : ` by NetworkPolicy ${policies.join(", ")}`;
  return `VirtualMachine ${shown}${more > 0 ? ` and ${more} more` : ""}${by}`;
}

/** NAME, NAME:PORT; an address of IPv6 stands in brackets before a port. */
function parseTarget(text: string): Target {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::([A-Za-z0-9-]{1,15}))?$/.exec(text) ?? [];
  const machine =
    bracketed ?? plain ?? (/^[\da-fA-F:.]+:[\da-fA-F:.]*(\/\d+)?$/.test(text) ? text : undefined);
  if (machine === undefined) throw new InvalidArgumentError("expected NAME:PORT");
  return port === undefined ? { machine } : { machine, port };
}
