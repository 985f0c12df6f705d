// `plinth vsctl`: the commands of ovs-vsctl, with its options, output and wording, on any OVSDB server of the schema.
// All commands of one line, separated by "--", make one transaction; each sees what those before it did.
// Source: ovs-vsctl(8).
import { PlinthError, systemReason } from "../../base/errors/index.js";
import { stringifyExactJson } from "../../base/json/index.js";
import {
  mutateOp,
  type Operation,
  OvsdbClient,
  OvsdbError,
  type OvsdbRow,
  selectOp,
} from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import type { TlsFiles } from "../../base/tls/index.js";
import { OPEN_VSWITCH_SCHEMA } from "../db/index.js";
import { type OptionSpec, parseOptions, parseTimeout } from "./command-options.js";
import { Draft } from "./draft.js";
import { commandError } from "./errors.js";
import { parseData, parseFormat, type TableStyle } from "./table-text.js";
import {
  BOOTSTRAP_OPTION,
  checkTlsFiles,
  PEER_CA_OPTION,
  readableFile,
  TLS_OPTIONS,
  tlsFilesOf,
  tlsReason,
} from "./tls-options.js";
import { BRIDGE_COMMANDS } from "./vsctl-bridges.js";
import type { VsctlCommand, VsctlContext } from "./vsctl-context.js";
import { CONTROL_COMMANDS } from "./vsctl-control.js";
import { DATABASE_COMMANDS } from "./vsctl-database.js";
import { commandNames, helpText, optionNames } from "./vsctl-listing.js";
import { show } from "./vsctl-show.js";
import { Symbols } from "./vsctl-symbols.js";
import { ZONE_COMMANDS } from "./vsctl-zones.js";

export interface VsctlIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Where the database is unless --db says so. */
  readonly database: string;
}

const COMMANDS: ReadonlyMap<string, VsctlCommand> = new Map([
  ["show", { usage: "", argumentsMin: 0, argumentsMax: 0, options: [], run: show }] as const,
  ...BRIDGE_COMMANDS,
  ...CONTROL_COMMANDS,
  ...ZONE_COMMANDS,
  ...DATABASE_COMMANDS,
]);
const COMMANDS_MAX = 1000;
/** Formats in which an empty line stands between the tables of a line's commands, also where one shows nothing. */
const SPACED: ReadonlySet<TableStyle["format"]> = new Set(["list", "table", "csv"]);
/** Ends a dry run, of which the database still tells what it would refuse at once. */
const ABORT: Operation = { op: "abort" };
/** What the client adds to the error of a wait. */
const OVERTAKEN = /\[operation \d+ \(wait /;
/** Without --timeout the original waits for ever; so do we, within reason. */
const WAIT_MAX_MS = 24 * 3600 * 1000;

/** In the original's order, which it tells of a beginning that means several. */
const GLOBAL: readonly OptionSpec[] = [
  { name: "db", argument: "required" },
  { name: "syslog", argument: "none" },
  { name: "no-syslog", argument: "none" },
  { name: "no-wait", argument: "none" },
  { name: "dry-run", argument: "none" },
  { name: "oneline", argument: "none" },
  { name: "timeout", short: "t", argument: "required" },
  { name: "retry", argument: "none" },
  { name: "help", short: "h", argument: "none" },
  { name: "commands", argument: "none" },
  { name: "options", argument: "none" },
  { name: "leader-only", argument: "none" },
  { name: "no-leader-only", argument: "none" },
  { name: "shuffle-remotes", argument: "none" },
  { name: "no-shuffle-remotes", argument: "none" },
  { name: "version", short: "V", argument: "none" },
  { name: "verbose", short: "v", argument: "optional" },
  { name: "log-file", argument: "optional" },
  { name: "syslog-method", argument: "required" },
  { name: "syslog-target", argument: "required" },
  { name: "format", short: "f", argument: "required" },
  { name: "data", short: "d", argument: "required" },
  { name: "no-headings", argument: "none" },
  { name: "pretty", argument: "none" },
  { name: "bare", argument: "none" },
  { name: "max-column-width", argument: "required" },
  { name: "output", short: "o", argument: "required" },
  ...TLS_OPTIONS,
  BOOTSTRAP_OPTION,
  PEER_CA_OPTION,
];

/** Options of single commands: known everywhere, so that those of the first may stand among the global ones. */
const LOCAL: readonly OptionSpec[] = [
  ...new Map([...COMMANDS.values()].flatMap(({ options }) => options).map((name) => [name, name])).values(),
].map((name) => ({ name: name.replace(/^--|=$/g, ""), argument: name.endsWith("=") ? "required" : "none" }));

/** Options that only print something, and what. */
const ASKED: ReadonlyMap<string, () => string> = new Map([
  ["help", vsctlHelp],
  ["version", () => "plinth vsctl (Plinth) 0.1.0\n"],
  ["commands", () => commandNames(COMMANDS)],
  ["options", () => optionNames(GLOBAL)],
]);

interface Line {
  readonly commands: readonly Given[];
  readonly database: string;
  readonly tls: TlsFiles;
  /** Certificates that the database is shown behind ours. */
  readonly peerCaCert: string | undefined;
  /** Goes on trying to reach the database. */
  readonly retry: boolean;
  readonly noWait: boolean;
  readonly dryRun: boolean;
  readonly oneline: boolean;
  readonly timeoutMs: number | undefined;
  readonly style: TableStyle;
  /** What commands tell as data, each in a line. */
  readonly json: boolean;
  /** Text that is all that was asked for. */
  readonly asked: string | undefined;
}

interface Given {
  readonly command: VsctlCommand;
  readonly args: readonly string[];
  readonly options: ReadonlyMap<string, string>;
  readonly typed: string;
}

function parseLine(words: readonly string[], database: string): Line {
  const { options, args } = parseOptions(words[0] === "--" ? words.slice(1) : words, [...GLOBAL, ...LOCAL], {
    inOrder: true,
    last: [...ASKED.keys()],
  });
  const local = options.filter(({ name }) => LOCAL.some((spec) => spec.name === name));
  const given = (name: string): string | undefined => options.findLast((one) => one.name === name)?.value;
  const has = (name: string): boolean => options.some((one) => one.name === name);
  const asked = ASKED.get(options.at(-1)?.name ?? "")?.();
  const json = has("output");
  if (json && given("output") !== "json") throw commandError(`output ${given("output")} is not json`);
  const bare = has("bare");
  const style: TableStyle = {
    format: json ? "json" : parseFormat(given("format") ?? "list"),
    data: bare ? "bare" : parseData(given("data") ?? "string"),
    headings: !bare && !has("no-headings"),
    pretty: has("pretty"),
    // What is no number sets no limit.
    columnMax: Math.max(0, Number.parseInt(given("max-column-width") ?? "0", 10) || 0),
  };
  // Among the global options, one that is given twice counts as it was given last.
  const early = new Map(
    local.map(({ name, value }) => [name, `--${name}${value === undefined ? "" : `=${value}`}`]),
  );
  const segments = splitAt([...early.values(), ...args]);
  if (asked === undefined && segments.length === 0)
    throw commandError("missing command name (use --help for help)");
  if (segments.length > COMMANDS_MAX) throw commandError(`more than ${COMMANDS_MAX} commands`);
  return {
    commands: asked === undefined ? segments.map(parseCommand) : [],
    database: given("db") ?? database,
    tls: tlsFilesOf(options),
    peerCaCert: given("peer-ca-cert"),
    retry: has("retry"),
    noWait: has("no-wait"),
    dryRun: has("dry-run"),
    oneline: has("oneline"),
    timeoutMs: parseTimeout(given("timeout")),
    style,
    json,
    asked,
  };
}

function splitAt(words: readonly string[]): string[][] {
  const segments: string[][] = [[]];
  for (const word of words) {
    if (word === "--") segments.push([]);
    else (segments.at(-1) as string[]).push(word);
  }
  return segments.filter((segment) => segment.length > 0);
}

/** Options stand in front of the command, each with its value behind "=". */
function parseCommand(words: readonly string[]): Given {
  const at = words.findIndex((word) => !word.startsWith("-"));
  const [name, ...rest] = at < 0 ? [] : words.slice(at);
  const options = new Map<string, string | undefined>();
  for (const word of at < 0 ? words : words.slice(0, at)) {
    const [option, value] = word.split(/=(.*)/s, 2) as [string, string | undefined];
    if (options.has(option)) throw commandError(`'${option}' option specified multiple times`);
    options.set(option, value);
  }
  if (name === undefined) throw commandError("missing command name (use --help for help)");
  const command = COMMANDS.get(name);
  if (command === undefined) throw commandError(`unknown command '${name}'; use --help for help`);
  for (const [option, value] of options) {
    const takesValue = command.options.includes(`${option}=`);
    if (!takesValue && !command.options.includes(option))
      throw commandError(`'${name}' command has no '${option}' option`);
    if (takesValue && value === undefined)
      throw commandError(`missing argument to '${option}' option on '${name}' command`);
    if (!takesValue && value !== undefined)
      throw commandError(`'${option}' option on '${name}' does not accept an argument`);
  }
  if (rest.length < command.argumentsMin)
    throw commandError(`'${name}' command requires at least ${command.argumentsMin} arguments`);
  if (rest.length > command.argumentsMax)
    throw commandError(`'${name}' command takes at most ${command.argumentsMax} arguments`);
  return {
    command,
    args: rest,
    options: new Map([...options].map(([option, value]) => [option, value ?? ""])),
    typed: [...optionWords(options), name, ...rest].map(quoted).join(" "),
  };
}

/** As messages show them: --may-exist first, however they were typed. */
function optionWords(options: ReadonlyMap<string, string | undefined>): string[] {
  const words = [...options].map(([option, value]) => (value === undefined ? option : `${option}=${value}`));
  return words.sort((a, b) => (a < b ? 1 : -1));
}

/** A word as it is shown in messages: in quotes where a shell would want them. */
function quoted(word: string): string {
  return /[ \t\r\n\v\\'"]/.test(word) ? `"${word.replaceAll(/["\\]/g, "\\$&")}"` : word;
}

/** Runs one command line. Resolves with the exit code; rejects with COMMAND_FAILED, COMMAND_TIMEOUT and the like. */
export async function runVsctl(words: readonly string[], io: VsctlIo): Promise<number> {
  const line = parseLine(words, io.database);
  if (line.asked !== undefined) {
    io.out(line.asked);
    return 0;
  }
  const tell = (text: string, level: string): void =>
    io.err(logLine(`stream_ssl|${level.toUpperCase()}|${text}`));
  const tls: TlsFiles = { ...line.tls, peerCaCert: readableFile(line.peerCaCert, tell) };
  if (line.database.startsWith("ssl:")) {
    if (!checkTlsFiles(tls, tell)) throw unreached(line.database, "Protocol not available");
  }
  let changed = (): void => {};
  let refuse = (_why: PlinthError): void => {};
  const refused = new Promise<never>((_resolve, reject) => {
    refuse = reject;
  });
  const client = new OvsdbClient({
    endpoint: line.database,
    tls,
    monitor: Object.fromEntries([...OPEN_VSWITCH_SCHEMA.tables.keys()].map((table) => [table, {}])),
    onChange: () => changed(),
    onDown: (reason) => {
      if (!line.retry || isFinal(reason)) refuse(failureOf(line.database, reason, io));
    },
  });
  /** Of the attempt that is under way, or was the last. */
  let warnings: string[] = [];
  const warn = (): void => {
    for (const text of warnings.splice(0)) io.err(logLine(text));
  };
  const carryOut = async (): Promise<Outcome> => {
    const deadlineMs = line.timeoutMs ?? WAIT_MAX_MS;
    await client.ready(deadlineMs);
    for (;;) {
      const seen = new Promise<void>((resolve) => {
        changed = resolve;
      });
      warnings = [];
      const outcome = await attempt(client, line, words, deadlineMs, warnings);
      if (outcome !== "again") return outcome;
      await within(seen, deadlineMs);
    }
  };
  try {
    const outcome = await Promise.race([carryOut(), refused]);
    warn();
    for (const text of outcome.complaints) io.err(`plinth vsctl: ${text}\n`);
    io.out(outcome.text);
    return outcome.code;
  } catch (thrown) {
    warn();
    if (thrown instanceof PlinthError && /TIMEOUT|TIMED_OUT/.test(thrown.code))
      throw new PlinthError("COMMAND_TIMEOUT", thrown.message, { cause: thrown });
    if (thrown instanceof OvsdbError) {
      const details = thrown.details.replace(/ \[(commit|operation \d+ \(.*\))\]$/, "");
      const { error, syntax } = thrown;
      const told = `transaction error: ${JSON.stringify({ details, error, ...(syntax === undefined ? {} : { syntax }) })}`;
      io.err(logLine(`ovsdb_idl|WARN|${told}`));
      throw commandError(told);
    }
    throw thrown;
  } finally {
    client.close();
  }
}

function unreached(database: string, reason: string): PlinthError {
  return commandError(`${database}: database connection failed (${reason})`);
}

/** Another attempt would end in the same way. */
function isFinal(reason: unknown): boolean {
  return reason instanceof PlinthError && /^(ENDPOINT|SOCKET_PATH|TLS)_/.test(reason.code);
}

/** Why the database was not reached, or is no longer: what TLS says of it is told in the log. */
function failureOf(database: string, reason: unknown, io: VsctlIo): PlinthError {
  if (!(reason instanceof PlinthError)) throw reason;
  const { code, cause, message } = reason;
  const isTls = database.startsWith("ssl:");
  if (isFinal(reason)) return unreached(database, message);
  if (code === "RPC_CLOSED") return unreached(database, isTls ? "Input/output error" : "End of file");
  if (!isTls || (cause as NodeJS.ErrnoException | undefined)?.syscall !== undefined)
    return unreached(database, cause === undefined ? message : systemReason(cause));
  io.err(logLine(`stream_ssl|WARN|SSL_connect: ${tlsReason(cause instanceof Error ? cause : reason)}`));
  return unreached(database, "Protocol error");
}

function logLine(text: string): string {
  return `${new Date().toISOString().replace(/\.\d+Z$/, "Z")}|00002|${text}\n`;
}

async function within(event: Promise<void>, deadlineMs: number): Promise<void> {
  let done = false;
  void event.then(() => {
    done = true;
  });
  try {
    await waitFor(() => done, "the condition did not come true", deadlineMs, 20);
  } catch (cause) {
    throw new PlinthError("COMMAND_TIMEOUT", "the condition did not come true", { cause });
  }
}

interface Outcome {
  readonly text: string;
  readonly code: number;
  /** What the switch says of interfaces that the line has made. */
  readonly complaints: readonly string[];
}

/** Runs the commands on a copy of the database as it is now, and sends what they changed. `warnings` are for the log. */
async function attempt(
  client: OvsdbClient,
  line: Line,
  words: readonly string[],
  deadlineMs: number,
  warnings: string[],
): Promise<Outcome | "again"> {
  const tables = client.schema?.tables ?? new Map();
  const draft = new Draft({ tables, rows: (table) => client.rows(table) });
  // A database without its root is given one, whatever is asked.
  if (draft.rows("Open_vSwitch").length === 0) draft.insert("Open_vSwitch");
  const symbols = new Symbols();
  const warn: VsctlContext["warn"] = (text, module = "db_ctl_base") =>
    void warnings.push(`${module}|WARN|${text}`);
  for (const { command, args, options } of line.commands) command.prepare?.({ draft, options, warn }, args);
  const parts: string[] = [];
  let tablesShown = 0;
  for (const [i, { command, args, options, typed }] of line.commands.entries()) {
    const printed: string[] = [];
    let table: string | undefined;
    let data: unknown;
    const context: VsctlContext = {
      draft,
      options,
      symbols,
      typed,
      isLast: i === line.commands.length - 1,
      style: line.style,
      out: (text) => void printed.push(text),
      data: (value) => {
        data = value;
      },
      table: (text) => {
        const between = tablesShown++ > 0 && SPACED.has(line.style.format) ? "\n" : "";
        table = between + text;
      },
      warn,
    };
    const result = command.run(context, args);
    if (result === "again") return "again";
    const code = result ?? 0;
    const text = line.json ? jsonLine(data, printed) : printed.map((one) => `${one}\n`).join("");
    parts.push(
      table !== undefined
        ? table
        : line.oneline && !line.json
          ? `${text.replace(/\n$/, "").replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`
          : text,
    );
    // Nothing is printed and nothing changed: the answer is the exit code alone.
    if (code !== 0) return { text: "", code, complaints: [] };
  }
  symbols.check((text) => void warnings.push(`vsctl|WARN|${text}`));
  const complaints = await commit(client, draft.operations(), words, line, deadlineMs);
  return complaints === "again" ? "again" : { text: parts.join(""), code: 0, complaints };
}

/** Nothing of a command that has nothing to tell. */
function jsonLine(data: unknown, printed: readonly string[]): string {
  const value = data === undefined ? printed[0] : data;
  return value === undefined ? "" : `${stringifyExactJson(value)}\n`;
}

/** Resolves with what the switch says of interfaces that were made; "again" where others have changed what the line has used. */
async function commit(
  client: OvsdbClient,
  operations: readonly Operation[],
  words: readonly string[],
  line: Line,
  deadlineMs: number,
): Promise<string[] | "again"> {
  if (operations.length === 0) return [];
  const comment: Operation = { op: "comment", comment: `plinth vsctl ${words.join(" ")}` };
  const all: Operation[] = [
    ...operations,
    ...(line.dryRun ? [ABORT] : []),
    ...(line.noWait ? [] : [mutateOp("Open_vSwitch", [], [["next_cfg", "+=", 1]])]),
    ...(line.noWait ? [] : [selectOp("Open_vSwitch", [], ["next_cfg"])]),
    comment,
  ];
  let results: Awaited<ReturnType<OvsdbClient["transact"]>>;
  try {
    results = await client.transact(all, deadlineMs);
  } catch (thrown) {
    if (thrown instanceof OvsdbError && thrown.error === "timed out" && OVERTAKEN.test(thrown.details))
      return "again";
    if (thrown instanceof OvsdbError && thrown.error === "aborted" && line.dryRun) return [];
    throw thrown;
  }
  if (line.noWait) return [];
  const nextCfg = (results[all.length - 2]?.rows?.[0]?.["next_cfg"] ?? 0) as number | bigint;
  const row = (): OvsdbRow | undefined => [...client.rows("Open_vSwitch").values()][0];
  try {
    await waitFor(
      () => (row()?.integer("cur_cfg") ?? 0) >= nextCfg,
      "the switch has not taken the configuration; is it running?",
      deadlineMs,
      5,
    );
  } catch (cause) {
    throw new PlinthError("COMMAND_TIMEOUT", "the switch has not taken the configuration; is it running?", {
      cause,
    });
  }
  const made = new Set(
    operations.flatMap((one) => (one.op === "insert" && one["table"] === "Interface" ? [one["uuid"]] : [])),
  );
  return [...client.rows("Interface").values()].flatMap((one) => {
    const error = made.has(one.uuid) ? one.optionalString("error") : undefined;
    const name = one.string("name");
    return error === undefined
      ? []
      : [`Error detected while setting up '${name}': ${error}.  See ovs-vswitchd log for details.`];
  });
}

export function vsctlHelp(): string {
  return helpText(COMMANDS, GLOBAL);
}
