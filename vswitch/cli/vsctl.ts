// `plinth vsctl`: the commands of ovs-vsctl, with its options, output and wording, on any OVSDB server of the schema.
// All commands of one line, separated by "--", make one transaction; each sees what those before it did.
// Source: ovs-vsctl(8).
import { randomUUID } from "node:crypto";
import { PlinthError } from "../../base/errors/index.js";
import {
  mutateOp,
  type Operation,
  OvsdbClient,
  OvsdbError,
  type OvsdbRow,
  selectOp,
} from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import { OPEN_VSWITCH_SCHEMA } from "../db/index.js";
import { type OptionSpec, parseOptions, parseTimeout } from "./command-options.js";
import { Draft } from "./draft.js";
import { commandError } from "./errors.js";
import { parseData, parseFormat, type TableStyle } from "./table-text.js";
import { BRIDGE_COMMANDS } from "./vsctl-bridges.js";
import type { VsctlCommand, VsctlContext } from "./vsctl-context.js";
import { DATABASE_COMMANDS } from "./vsctl-database.js";
import { show } from "./vsctl-show.js";

export interface VsctlIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Where the database is unless --db says so. */
  readonly database: string;
}

const COMMANDS: ReadonlyMap<string, VsctlCommand> = new Map([
  ["show", { usage: "", argumentsMin: 0, argumentsMax: 0, options: [], run: show }] as const,
  ...BRIDGE_COMMANDS,
  ...DATABASE_COMMANDS,
]);
const COMMANDS_MAX = 1000;
/** Without --timeout the original waits for ever; so do we, within reason. */
const WAIT_MAX_MS = 24 * 3600 * 1000;

const GLOBAL: readonly OptionSpec[] = [
  { name: "db", argument: "required" },
  { name: "no-wait", argument: "none" },
  { name: "no-syslog", argument: "none" },
  { name: "syslog", argument: "none" },
  { name: "dry-run", argument: "none" },
  { name: "oneline", argument: "none" },
  { name: "timeout", short: "t", argument: "required" },
  { name: "retry", argument: "none" },
  { name: "format", short: "f", argument: "required" },
  { name: "data", short: "d", argument: "required" },
  { name: "no-headings", argument: "none" },
  { name: "pretty", argument: "none" },
  { name: "bare", argument: "none" },
  { name: "verbose", short: "v", argument: "optional" },
  { name: "log-file", argument: "optional" },
  { name: "output", short: "o", argument: "required" },
  { name: "help", short: "h", argument: "none" },
  { name: "version", short: "V", argument: "none" },
];

/** Options of single commands: known everywhere, so that those of the first may stand among the global ones. */
const LOCAL: readonly OptionSpec[] = [
  ...new Map([...COMMANDS.values()].flatMap(({ options }) => options).map((name) => [name, name])).values(),
].map((name) => ({ name: name.replace(/^--|=$/g, ""), argument: name.endsWith("=") ? "required" : "none" }));

interface Line {
  readonly commands: readonly Given[];
  readonly database: string;
  readonly noWait: boolean;
  readonly dryRun: boolean;
  readonly oneline: boolean;
  readonly timeoutMs: number | undefined;
  readonly style: TableStyle;
  readonly asked: "help" | "version" | undefined;
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
  });
  const local = options.filter(({ name }) => LOCAL.some((spec) => spec.name === name));
  const given = (name: string): string | undefined => options.findLast((one) => one.name === name)?.value;
  const has = (name: string): boolean => options.some((one) => one.name === name);
  const asked = has("help") ? "help" : has("version") ? "version" : undefined;
  const json = has("output");
  if (json && given("output") !== "json") throw commandError(`output ${given("output")} is not json`);
  const bare = has("bare");
  const style: TableStyle = {
    format: json ? "json" : parseFormat(given("format") ?? "list"),
    data: bare ? "bare" : parseData(given("data") ?? "string"),
    headings: !bare && !has("no-headings"),
  };
  const segments = splitAt([
    ...local.map(({ name, value }) => `--${name}${value === undefined ? "" : `=${value}`}`),
    ...args,
  ]);
  if (asked === undefined && segments.length === 0)
    throw commandError("missing command name (use --help for help)");
  if (segments.length > COMMANDS_MAX) throw commandError(`more than ${COMMANDS_MAX} commands`);
  return {
    commands: asked === undefined ? segments.map(parseCommand) : [],
    database: given("db") ?? database,
    noWait: has("no-wait"),
    dryRun: has("dry-run"),
    oneline: has("oneline"),
    timeoutMs: parseTimeout(given("timeout")),
    style,
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

function parseCommand(words: readonly string[]): Given {
  const { options, args } = parseOptions(words, LOCAL, { inOrder: true });
  const [name, ...rest] = args;
  if (name === undefined) throw commandError("missing command name (use --help for help)");
  const command = COMMANDS.get(name);
  if (command === undefined) throw commandError(`unknown command '${name}'; use --help for help`);
  const known = command.options.map((one) => one.replace(/^--|=$/g, ""));
  const odd = options.find((one) => !known.includes(one.name));
  if (odd !== undefined) throw commandError(`'${name}' command has no '--${odd.name}' option`);
  if (rest.length < command.argumentsMin)
    throw commandError(`'${name}' command requires at least ${command.argumentsMin} arguments`);
  if (rest.length > command.argumentsMax)
    throw commandError(`'${name}' command takes at most ${command.argumentsMax} arguments`);
  return {
    command,
    args: rest,
    options: new Map(options.map((one) => [`--${one.name}`, one.value ?? ""])),
    typed: words.join(" "),
  };
}

/** Runs one command line. Resolves with the exit code; rejects with COMMAND_FAILED, COMMAND_TIMEOUT and the like. */
export async function runVsctl(words: readonly string[], io: VsctlIo): Promise<number> {
  const line = parseLine(words, io.database);
  if (line.asked === "help") io.out(vsctlHelp());
  if (line.asked === "version") io.out("plinth vsctl (Plinth) 0.1.0\n");
  if (line.asked !== undefined) return 0;
  let changed = (): void => {};
  const monitor = Object.fromEntries([...OPEN_VSWITCH_SCHEMA.tables.keys()].map((table) => [table, {}]));
  const client = new OvsdbClient({ endpoint: line.database, monitor, onChange: () => changed() });
  const deadlineMs = line.timeoutMs ?? WAIT_MAX_MS;
  try {
    await client.ready(deadlineMs);
    for (;;) {
      const seen = new Promise<void>((resolve) => {
        changed = resolve;
      });
      const outcome = await attempt(client, line, words, deadlineMs);
      if (outcome !== "again") {
        for (const text of outcome.warnings)
          io.err(`${new Date().toISOString().replace(/\.\d+Z$/, "Z")}|00002|db_ctl_base|WARN|${text}\n`);
        io.out(outcome.text);
        return outcome.code;
      }
      await within(seen, deadlineMs);
    }
  } catch (thrown) {
    if (thrown instanceof OvsdbError)
      throw commandError(
        `transaction error: ${JSON.stringify({ details: thrown.details, error: thrown.error })}`,
      );
    if (thrown instanceof PlinthError && /TIMEOUT|TIMED_OUT/.test(thrown.code))
      throw new PlinthError("COMMAND_TIMEOUT", thrown.message, { cause: thrown });
    throw thrown;
  } finally {
    client.close();
  }
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
  readonly warnings: readonly string[];
}

/** Runs the commands on a copy of the database as it is now, and sends what they changed. */
async function attempt(
  client: OvsdbClient,
  line: Line,
  words: readonly string[],
  deadlineMs: number,
): Promise<Outcome | "again"> {
  const tables = client.schema?.tables ?? new Map();
  const draft = new Draft({ tables, rows: (table) => client.rows(table) });
  const symbols = new Map<string, string>();
  for (const { options } of line.commands) {
    const id = options.get("--id");
    if (id?.startsWith("@") === true) symbols.set(id, randomUUID());
  }
  const parts: string[] = [];
  const warnings: string[] = [];
  let code = 0;
  for (const { command, args, options, typed } of line.commands) {
    const printed: string[] = [];
    const context: VsctlContext = {
      draft,
      options,
      symbols,
      typed,
      style: line.style,
      out: (text) => void printed.push(text),
      warn: (text) => void warnings.push(text),
    };
    const result = command.run(context, args);
    if (result === "again") return "again";
    if (typeof result === "number") code = result;
    const text = printed.map((one) => `${one}\n`).join("");
    parts.push(
      line.oneline ? `${text.replace(/\n$/, "").replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n` : text,
    );
    if (code !== 0) break;
  }
  if (!line.dryRun && code === 0) await commit(client, draft.operations(), words, line, deadlineMs, warnings);
  return { text: parts.join(""), code, warnings };
}

async function commit(
  client: OvsdbClient,
  operations: readonly Operation[],
  words: readonly string[],
  line: Line,
  deadlineMs: number,
  warnings: string[],
): Promise<void> {
  if (operations.length === 0) return;
  const all: Operation[] = [
    ...operations,
    mutateOp("Open_vSwitch", [], [["next_cfg", "+=", 1]]),
    selectOp("Open_vSwitch", [], ["next_cfg"]),
    { op: "comment", comment: `plinth vsctl ${words.join(" ")}` },
  ];
  const results = await client.transact(all, deadlineMs);
  if (line.noWait) return;
  const nextCfg = Number(results[all.length - 2]?.rows?.[0]?.["next_cfg"] ?? 0);
  const row = (): OvsdbRow | undefined => [...client.rows("Open_vSwitch").values()][0];
  try {
    await waitFor(
      () => (row()?.number("cur_cfg") ?? 0) >= nextCfg,
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
  for (const one of client.rows("Interface").values()) {
    const error = one.optionalString("error");
    if (made.has(one.uuid) && error !== undefined)
      warnings.push(`Error detected while setting up '${one.string("name")}': ${error}`);
  }
}

export function vsctlHelp(): string {
  const commands = [...COMMANDS].map(
    ([name, { usage, options }]) =>
      `  ${[...options.map((one) => `[${one}]`), name, usage].join(" ").trimEnd()}\n`,
  );
  return [
    "plinth vsctl: configure a switch through its database, with the commands of ovs-vsctl(8)\n",
    "Usage: plinth vsctl [OPTIONS] COMMAND [ARG...] [-- COMMAND...]\n\nCommands:\n",
    ...commands,
    "\nOptions:\n",
    ...GLOBAL.map(
      ({ name, short, argument }) =>
        `  ${short === undefined ? "    " : `-${short}, `}--${name}${argument === "none" ? "" : "=ARG"}\n`,
    ),
  ].join("");
}
