// The switch's inspection socket, as ovs-appctl speaks to it: JSON-RPC with text arguments and a text answer.
// Source: unixctl of ovs-appctl(8). Thread: main.
import { describeError } from "../../base/errors/index.js";
import { JsonRpcFault, listenJsonRpc } from "../../base/jsonrpc/index.js";

export interface UnixctlCommand {
  /** The arguments as list-commands shows them, e.g. "BRIDGE". */
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  /** Returns the text to print. A thrown error is shown to the caller. */
  readonly run: (args: readonly string[]) => string | Promise<string>;
}

export interface UnixctlOptions {
  /** Answer of `version`. */
  readonly version: string;
  readonly name: string;
  /** Ends the daemon; `exit` and `shutdown` are answered before it runs. */
  readonly exit: () => void;
}

/** Serves `commands` with list-commands, help, version, exit, ping and shutdown at `path`. Throws as `listenJsonRpc`. */
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
  const list = simple("", 0, () => listCommands(table));
  table.set("list-commands", list);
  table.set("help", list);
  return listenJsonRpc(
    { kind: "unix", path },
    {
      request({ method, params }) {
        // The two that all our control sockets have take an object and answer with one.
        if (method === "ping") return { name: options.name, version: options.version, pid: process.pid };
        if (method === "shutdown") {
          end();
          return {};
        }
        return runCommand(table, method, params);
      },
    },
    { mode: 0o600 },
  );
}

async function runCommand(
  table: ReadonlyMap<string, UnixctlCommand>,
  method: string,
  params: readonly unknown[],
): Promise<string> {
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
    throw fault(thrown instanceof Error ? thrown.message : describeError(thrown));
  }
}

/** ovs-appctl prints the text as it is. */
function fault(message: string): JsonRpcFault {
  return new JsonRpcFault(message.endsWith("\n") ? message : `${message}\n`);
}

function listCommands(table: ReadonlyMap<string, UnixctlCommand>): string {
  const lines = [...table]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { usage }]) => `  ${name.padEnd(23)} ${usage}`);
  return `The available commands are:\n${lines.join("\n")}\n`;
}
