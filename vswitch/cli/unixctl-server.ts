// The switch's inspection socket, as ovs-appctl speaks to it: JSON-RPC with text arguments and a text answer.
// Source: unixctl of ovs-appctl(8). Thread: main.
import { describeError } from "../../base/errors/index.js";
import { JsonRpcFault, listenJsonRpc } from "../../base/jsonrpc/index.js";
import { toPlain } from "./plain-value.js";

export interface UnixctlCommand {
  /** The arguments as list-commands shows them, e.g. "BRIDGE". */
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  /** Returns what to print. A thrown error is shown to the caller. */
  readonly run: (args: readonly string[]) => UnixctlAnswer | Promise<UnixctlAnswer>;
}

/** Text, or text with the data that it tells of, for those who asked for JSON. */
export type UnixctlAnswer = string | { readonly text: string; readonly data: unknown };

export interface UnixctlOptions {
  /** Answer of `version`. */
  readonly version: string;
  readonly name: string;
  /** Ends the daemon; `exit` and `shutdown` are answered before it runs. */
  readonly exit: () => void;
}

/** Serves `commands` with set-options, list-commands, help, version, exit, ping and shutdown at `path`. Throws as `listenJsonRpc`. */
export async function createUnixctlServer(
  path: string,
  commands: Readonly<Record<string, UnixctlCommand>>,
  options: UnixctlOptions,
): Promise<{ close(): Promise<void> }> {
  const table = new Map<string, UnixctlCommand>(Object.entries(commands));
  const simple = (usage: string, argumentsMax: number, run: UnixctlCommand["run"]): UnixctlCommand => ({
    usage,
    argumentsMin: 0,
    argumentsMax,
    run,
  });
  const end = (): string => {
    setImmediate(options.exit);
    return "";
  };
  table.set(
    "version",
    simple("", 0, () => `${options.version}\n`),
  );
  table.set("exit", simple("[--cleanup]", 1, end));
  // Answered by runCommand(), which knows whose options they are.
  table.set(
    "set-options",
    simple("[--format text|json]", 2, () => ""),
  );
  const list = simple("", 0, () => ({
    text: listCommands(table),
    data: Object.fromEntries(inOrder(table).map(([name, { usage }]) => [name, usage])),
  }));
  table.set("list-commands", list);
  table.set("help", list);
  if ([...table.keys()].some((name) => name.startsWith("dpctl/")))
    table.set(
      "dpctl/list-commands",
      simple("", 0, () => {
        const ours = inOrder(table).filter(([name]) => name.startsWith("dpctl/"));
        return linesOf(ours, DPCTL_WIDTH);
      }),
    );
  /** Those that have asked for JSON. */
  const jsonWanted = new WeakSet<object>();
  return listenJsonRpc(
    { kind: "unix", path },
    {
      async request({ method, params }, connection) {
        // The two that all our control sockets have take an object and answer with one.
        if (method === "ping") return { name: options.name, version: options.version, pid: process.pid };
        if (method === "shutdown") {
          end();
          return {};
        }
        const answer = await runCommand(table, method, params);
        if (method === "set-options") {
          if (formatOf(params as readonly string[]) === "json") jsonWanted.add(connection);
          else jsonWanted.delete(connection);
        }
        return jsonWanted.has(connection) ? jsonOf(answer) : textOf(answer);
      },
    },
    { mode: 0o600 },
  );
}

async function runCommand(
  table: ReadonlyMap<string, UnixctlCommand>,
  method: string,
  params: readonly unknown[],
): Promise<UnixctlAnswer> {
  const command = table.get(method);
  if (command === undefined)
    throw fault(
      `"${method.slice(0, 60)}" is not a valid command (use "list-commands" to see a list of valid commands)`,
    );
  if (!params.every((param) => typeof param === "string")) throw fault(`${method} takes text arguments`);
  const { length } = params;
  if (length < command.argumentsMin)
    throw fault(`"${method}" command requires at least ${command.argumentsMin} arguments`);
  if (length > command.argumentsMax)
    throw fault(`"${method}" command takes at most ${command.argumentsMax} arguments`);
  try {
    return await command.run(params as readonly string[]);
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : describeError(thrown);
    // dpctl speaks as the program of that name would, which puts its name in front; but not of an option.
    const isNamed = method.startsWith("dpctl/") && !message.startsWith("Unrecognized option");
    throw fault(isNamed ? `ovs-vswitchd: ${message}` : message);
  }
}

/** Of set-options. Throws JsonRpcFault. */
function formatOf([option, value, ...rest]: readonly string[]): "text" | "json" {
  const [name, given = value] = (option ?? "").split("=", 2);
  if (option !== undefined && name !== "--format") throw fault(`option ${option} invalid`);
  if (given !== "text" && given !== "json") throw fault("option --format requires a parameter, text or json");
  if (rest.length > 0) throw fault(`option ${rest[0]} invalid`);
  return given;
}

function textOf(answer: UnixctlAnswer): string {
  return typeof answer === "string" ? answer : answer.text;
}

/** In the shape that Open vSwitch gives text that has no data behind it. */
function jsonOf(answer: UnixctlAnswer): unknown {
  return typeof answer === "string" ? { reply: answer, "reply-format": "plain" } : toPlain(answer.data);
}

/** ovs-appctl prints the text as it is. */
function fault(message: string): JsonRpcFault {
  return new JsonRpcFault(message.endsWith("\n") ? message : `${message}\n`);
}

function listCommands(table: ReadonlyMap<string, UnixctlCommand>): string {
  return linesOf(inOrder(table), 23);
}

/** Names of dpctl are longer. */
const DPCTL_WIDTH = 29;

function linesOf(commands: readonly [string, UnixctlCommand][], width: number): string {
  const lines = commands.map(([name, { usage }]) => `  ${name.padEnd(width)} ${usage}`);
  return `The available commands are:\n${lines.join("\n")}\n`;
}

function inOrder(table: ReadonlyMap<string, UnixctlCommand>): [string, UnixctlCommand][] {
  return [...table].sort(([a], [b]) => (a < b ? -1 : 1));
}
