// `plinth policy connectivity | diff | evaluate` and the offline half of `explain`: what the policies in a directory of
// Kubernetes documents allow, without any cluster. Answers go to standard output, what was left out to standard error.
import { existsSync, writeFileSync } from "node:fs";
import { normalize } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { analysis } from "../../sdn-controller/index.js";
import { directoryLayout } from "../daemons/directory.js";
import { readManifestDocuments } from "./policy-documents.js";

interface ReadOptions {
  readonly fail?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

interface ConnectivityOptions extends ReadOptions {
  readonly dirpath?: string;
  readonly output: analysis.ConnectivityFormat;
  readonly file?: string;
  readonly focusworkload?: string[];
  readonly focusworkloadPeer?: string[];
  readonly focusDirection?: "ingress" | "egress";
  readonly focusConn?: analysis.ConnectionSet;
  readonly explain?: boolean;
  readonly exposure?: boolean;
  readonly ipv6?: boolean;
}

interface DiffOptions extends ReadOptions {
  readonly dir1?: string;
  readonly dir2?: string;
  readonly output: analysis.DifferenceFormat;
  readonly file?: string;
  readonly ipv6?: boolean;
}

interface EvaluateOptions extends ReadOptions {
  readonly dirpath?: string;
  readonly sourcePod?: string;
  readonly sourceNamespace: string;
  readonly sourceIp?: string;
  readonly destinationPod?: string;
  readonly destinationNamespace: string;
  readonly destinationIp?: string;
  readonly destinationPort: string;
  readonly protocol: string;
}

export function registerOffline(policy: Command): void {
  withReading(policy.command("connectivity"))
    .alias("list")
    .argument("[directory]", "directory of Kubernetes YAML and JSON files, read with all below it")
    .description("list who can connect to whom by the policies in a directory, without any cluster")
    .option("--dirpath <directory>", "the same as the argument")
    .addOption(formatOption(analysis.CONNECTIVITY_FORMATS))
    .option("-f, --file <file>", "write the answer to this file, too")
    .option(
      "--focusworkload <names>",
      "only connections of these workloads, as NAME or NAMESPACE/NAME",
      names,
    )
    .option("--focusworkload-peer <names>", "and of them only those with these", names)
    .addOption(
      new Option("--focus-direction <direction>", "and of them only one direction").choices([
        "ingress",
        "egress",
      ]),
    )
    .option("--focus-conn <connection>", "only where all of this is allowed, as in tcp-8080", focusConnection)
    .option("--explain", "say for each pair which policies and rules decide (txt only)")
    .option("--exposure", "say also what workloads are open to among pods that no document describes")
    .option("--ipv6", "list addresses of IPv6, too")
    .action(connectivityAction);
  withReading(policy.command("diff"))
    .argument("[directory1]", "directory of Kubernetes documents")
    .argument("[directory2]", "the same at another time")
    .description("say which connections a second directory adds, removes or changes")
    .option("--dir1 <directory>", "the same as the first argument")
    .option("--dir2 <directory>", "the same as the second argument")
    .addOption(formatOption(analysis.DIFFERENCE_FORMATS))
    .option("-f, --file <file>", "write the answer to this file, too")
    .option("--ipv6", "compare addresses of IPv6, too")
    .action(diffAction);
  withReading(policy.command("evaluate"))
    .aliases(["eval", "check", "allow"])
    .argument("[directory]", "directory of Kubernetes documents")
    .description("say whether one connection is allowed by the policies in a directory")
    .option("--dirpath <directory>", "the same as the argument")
    .option("-s, --source-pod <name>", "pod or workload that connects")
    .option("-n, --source-namespace <namespace>", "its namespace", "default")
    .option("--source-ip <address>", "address outside that connects")
    .option("-d, --destination-pod <name>", "pod or workload that it connects to")
    .option("--destination-namespace <namespace>", "its namespace", "default")
    .option("--destination-ip <address>", "address outside that it connects to")
    .requiredOption("-p, --destination-port <port>", "port number, or name of a container's port")
    .option("--protocol <protocol>", "tcp, udp or sctp", "tcp")
    .action(evaluateAction);
}

function withReading(command: Command): Command {
  return command
    .option("--fail", "stop at the first document that cannot be read")
    .option("-q, --quiet", "report only errors, no warnings")
    .option("-v, --verbose", "say also how much was read")
    .option("--include-json", "changes nothing: files of JSON are always read");
}

function formatOption(formats: readonly string[]): Option {
  return new Option("-o, --output <format>", "form of the answer").choices([...formats]).default("txt");
}

function names(text: string): string[] {
  return text.split(",").map((name) => name.trim());
}

function focusConnection(text: string): analysis.ConnectionSet {
  const [, protocol, port] = /^(\w+)-(\d{1,5})$/.exec(text) ?? [];
  const word = protocol?.toUpperCase() ?? "";
  const number = Number(port);
  if (!analysis.isProtocol(word) || number < 1 || number > 65_535)
    throw new InvalidArgumentError("expected PROTOCOL-PORT such as tcp-8080");
  return analysis.connections(word, { first: number, last: number });
}

async function connectivityAction(
  directory: string | undefined,
  options: ConnectivityOptions,
): Promise<void> {
  const { focusworkload = [], focusworkloadPeer, focusDirection, focusConn } = options;
  if (options.explain === true && options.exposure === true)
    throw new PlinthError("OPTIONS_INVALID", "give either --explain or --exposure");
  const aboutFocus = focusworkloadPeer !== undefined || focusDirection !== undefined;
  if (aboutFocus && focusworkload.length === 0)
    warn("--focusworkload-peer and --focus-direction mean nothing without --focusworkload");
  const focus: analysis.Focus = {
    workloads: focusworkload,
    ...(focusworkload.length > 0 && focusworkloadPeer !== undefined ? { peers: focusworkloadPeer } : {}),
    ...(focusworkload.length > 0 && focusDirection !== undefined ? { direction: focusDirection } : {}),
    ...(focusConn === undefined ? {} : { connections: focusConn }),
  };
  const focused = focusworkload.length > 0 || focusConn !== undefined;
  const cluster = await readCluster(chosen(directory, options.dirpath, "--dirpath"), options);
  const connectivity = analysis.connectivityOf(cluster, {
    ...(focused ? { focus } : {}),
    ...(options.ipv6 === true ? { ipv6: true } : {}),
    ...(options.explain === true ? { denied: true } : {}),
  });
  report(connectivity.problems, options);
  if (options.explain === true && options.output !== "txt")
    warn(`--explain is for txt only; ${options.output} goes without`);
  const explained = options.explain === true && options.output === "txt";
  const answer = explained ? analysis.explainReport(cluster, connectivity.lines, focusConn) : formatted();
  deliver(answer, options.file);

  function formatted(): string {
    if (options.exposure !== true)
      return analysis.formatConnectivity(connectivity.lines, connectivity.workloads, options.output);
    const exposure = analysis.exposureOf(cluster, connectivity, focused ? focus : undefined);
    return analysis.formatExposure(connectivity, exposure, options.output);
  }
}

async function diffAction(
  first: string | undefined,
  second: string | undefined,
  options: DiffOptions,
): Promise<void> {
  const ipv6 = options.ipv6 === true ? { ipv6: true } : {};
  const [dir1, dir2] = [chosen(first, options.dir1, "--dir1"), chosen(second, options.dir2, "--dir2")];
  const one = analysis.connectivityOf(await readCluster(dir1, options), ipv6);
  const two = analysis.connectivityOf(await readCluster(dir2, options), ipv6);
  report([...placed(one.problems, dir1), ...placed(two.problems, dir2)], options);
  const workloads = [...one.workloads, ...two.workloads];
  deliver(
    analysis.formatDifference(analysis.differenceOf(one, two), workloads, options.output),
    options.file,
  );
}

async function evaluateAction(directory: string | undefined, options: EvaluateOptions): Promise<void> {
  const source = endWords("source", options.sourcePod, options.sourceNamespace, options.sourceIp);
  const destination = endWords(
    "destination",
    options.destinationPod,
    options.destinationNamespace,
    options.destinationIp,
  );
  if (options.sourceIp !== undefined && options.destinationIp !== undefined)
    throw new PlinthError("OPTIONS_INVALID", "one of source and destination must be a workload");
  const cluster = await readCluster(chosen(directory, options.dirpath, "--dirpath"), options);
  report(cluster.problems, options);
  const from = analysis.findEnd(cluster, source);
  const to = analysis.findEnd(cluster, destination);
  const asked = askedConnection(to, options.destinationPort, options.protocol);
  const allowed = analysis.isAllowed(answerOf(cluster, from, to), asked);
  const over = `${options.protocol.toLowerCase()}/${options.destinationPort}`;
  process.stdout.write(`${source} => ${destination} over ${over}: ${allowed}\n`);
}

function endWords(
  side: string,
  pod: string | undefined,
  namespace: string,
  address: string | undefined,
): string {
  if (pod !== undefined && address !== undefined)
    throw new PlinthError("OPTIONS_INVALID", `give either --${side}-pod or --${side}-ip`);
  if (address !== undefined) return address;
  if (pod === undefined) throw new PlinthError("OPTIONS_INVALID", `--${side}-pod or --${side}-ip is needed`);
  return pod.includes("/") ? pod : `${namespace}/${pod}`;
}

/** `protocol` and `port` as a set; a name is looked up among the destination's ports. Throws PORT_UNKNOWN. */
function askedConnection(destination: analysis.End, port: string, protocol: string): analysis.ConnectionSet {
  const word = protocol.toUpperCase();
  if (!analysis.isProtocol(word))
    throw new PlinthError("OPTIONS_INVALID", `--protocol: expected tcp, udp or sctp, found "${protocol}"`);
  const number = /^\d{1,5}$/.test(port) ? Number(port) : namedPort(destination, port, word);
  if (number === undefined || number < 1 || number > 65_535)
    throw new PlinthError("PORT_UNKNOWN", `the destination has no ${word} port ${port}`);
  return analysis.connections(word, { first: number, last: number });
}

function namedPort(destination: analysis.End, name: string, protocol: string): number | undefined {
  if (!("workload" in destination)) return undefined;
  return destination.workload.ports.find(
    (port) => port.name === name && (port.protocol ?? "TCP") === protocol,
  )?.port;
}

export interface OfflineExplainOptions extends ReadOptions {
  readonly namespace?: string;
  readonly protocol: string;
}

function answerOf(
  cluster: analysis.Cluster,
  source: analysis.End,
  destination: analysis.End,
): analysis.Answer {
  const evaluator = new analysis.Evaluator(cluster.policies);
  for (const end of [source, destination]) analysis.checkUniform(end, evaluator);
  return evaluator.answer(source, destination);
}

/** Whether `--dir` of explain names documents, not the data directory of an installation. Throws OPTIONS_INVALID. */
export function isDocumentDirectory(directory: string): boolean {
  if (!existsSync(directory)) throw new PlinthError("OPTIONS_INVALID", `--dir: there is no ${directory}`);
  return !existsSync(directoryLayout(directory).format);
}

export async function explainOffline(
  directory: string,
  source: string,
  destination: string,
  port: string | undefined,
  options: OfflineExplainOptions,
): Promise<analysis.PairExplanation> {
  const cluster = await readCluster(directory, options);
  report(cluster.problems, options);
  const from = analysis.findEnd(cluster, source, options.namespace);
  const to = analysis.findEnd(cluster, destination, options.namespace);
  if ("range" in from && "range" in to)
    throw new PlinthError("OPTIONS_INVALID", "one of source and destination must be a workload");
  if (options.protocol.toUpperCase() === "ICMP")
    throw new PlinthError(
      "PROTOCOL_UNKNOWN",
      "--protocol ICMP is for running machines: Kubernetes policies speak of TCP, UDP and SCTP alone",
    );
  const answer = answerOf(cluster, from, to);
  if (port === undefined) return analysis.explainPair(from, to, answer);
  return analysis.explainPair(from, to, answer, askedConnection(to, port, options.protocol));
}

export async function graphOffline(directory: string, options: ReadOptions): Promise<string> {
  const connectivity = analysis.connectivityOf(await readCluster(directory, options));
  report(connectivity.problems, options);
  return analysis.formatConnectivity(connectivity.lines, connectivity.workloads, "svg");
}

async function readCluster(directory: string, options: ReadOptions): Promise<analysis.Cluster> {
  const { documents, problems } = await readManifestDocuments(directory);
  const manifest = analysis.readManifest(documents);
  const all = [...problems, ...manifest.problems];
  const error = all.find(({ severity }) => severity === "error");
  if (options.fail === true && error !== undefined) throw new PlinthError("DOCUMENT_INVALID", error.message);
  const cluster = analysis.clusterOf({ ...manifest, problems: all });
  if (options.verbose === true) process.stderr.write(`info: ${directory}: ${amountOf(documents, cluster)}\n`);
  return cluster;
}

function amountOf(documents: readonly unknown[], cluster: analysis.Cluster): string {
  const amounts = [
    `${documents.length} documents`,
    `${cluster.workloads.length} workloads`,
    `${cluster.policies.length} policies`,
    `${cluster.services.length} services`,
  ];
  return amounts.join(", ");
}

function chosen(argument: string | undefined, option: string | undefined, name: string): string {
  const directory = argument ?? option;
  if (directory !== undefined) return directory;
  throw new PlinthError("OPTIONS_INVALID", `a directory is needed, as an argument or with ${name}`);
}

function report(problems: readonly analysis.Problem[], { quiet }: ReadOptions): void {
  for (const { severity, message } of problems) {
    if (severity === "error") process.stderr.write(`error: ${message}\n`);
    else if (quiet !== true) warn(message);
  }
}

/** Problems that name the directory, where they name no file of it. */
function placed(problems: readonly analysis.Problem[], directory: string): analysis.Problem[] {
  const start = normalize(directory).replace(/\/$/, "");
  const isPlaced = (message: string): boolean =>
    message.startsWith(start) && /^[/,:]/.test(message.slice(start.length));
  return problems.map(({ severity, message }) => ({
    severity,
    message: isPlaced(message) ? message : `${directory}: ${message}`,
  }));
}

function warn(message: string): void {
  process.stderr.write(`warning: ${message}\n`);
}

/** Throws OPTIONS_INVALID, before anything is printed, when the file cannot be written. */
function deliver(text: string, file: string | undefined): void {
  if (file !== undefined) {
    try {
      writeFileSync(file, text);
    } catch (thrown) {
      throw new PlinthError("OPTIONS_INVALID", `--file: ${(thrown as Error).message}`);
    }
  }
  process.stdout.write(text);
}
