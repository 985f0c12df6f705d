// `plinth vsctl`: the everyday verbs of ovs-vsctl, over the same protocol, on any OVSDB server of the schema.
// All commands of one call, separated by "--", make one transaction; reading verbs show the state before it.
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
import { usageError } from "./errors.js";
import { VERBS, type VsctlContext } from "./vsctl-verbs.js";

export interface VsctlOptions {
  /** "unix:PATH" or "tcp:HOST:PORT". */
  readonly database: string;
  /** Returns once the database took the change, without waiting for the switch. */
  readonly noWait?: boolean;
  readonly timeoutMs?: number;
  readonly print: (line: string) => void;
  readonly warn: (line: string) => void;
}

interface Command {
  readonly verb: string;
  readonly args: readonly string[];
  readonly flags: ReadonlySet<string>;
}

const COMMANDS_MAX = 1000;
const FLAGS: ReadonlySet<string> = new Set(["--may-exist", "--if-exists"]);

/** Splits at "--" and takes the flags that precede each verb. Throws USAGE. */
function parseCommands(words: readonly string[]): Command[] {
  const commands: Command[] = [];
  let current: string[] = [];
  for (const word of [...words, "--"]) {
    if (word !== "--") {
      current.push(word);
      continue;
    }
    if (current.length > 0) commands.push(parseCommand(current));
    current = [];
  }
  if (commands.length === 0 || commands.length > COMMANDS_MAX)
    throw usageError("vsctl", `expected 1 to ${COMMANDS_MAX} commands`);
  return commands;
}

function parseCommand(words: readonly string[]): Command {
  let at = 0;
  for (; words[at]?.startsWith("-"); at++) {
    if (!FLAGS.has(words[at] as string)) {
      throw usageError("vsctl", `there is no option ${words[at]}; before a verb: ${[...FLAGS].join(", ")}`);
    }
  }
  const verb = words[at];
  if (verb === undefined || !VERBS.has(verb)) {
    throw usageError(
      "vsctl",
      `there is no verb ${JSON.stringify(verb ?? "")}; verbs: ${[...VERBS.keys()].join(", ")}`,
    );
  }
  const { usage: form, argumentsMin, argumentsMax } = VERBS.get(verb)!;
  const args = words.slice(at + 1);
  const late = args.find((word) => word.startsWith("--"));
  if (late !== undefined) throw usageError("vsctl", `${late} must stand before the verb ${verb}`);
  if (args.length < argumentsMin || args.length > argumentsMax)
    throw usageError("vsctl", `usage: ${verb} ${form}`);
  return { verb, args, flags: new Set(words.slice(0, at)) };
}

/** Runs the commands. Resolves with the exit code: 0, or what a verb asks for (br-exists: 2). */
export async function runVsctl(words: readonly string[], options: VsctlOptions): Promise<number> {
  const commands = parseCommands(words);
  const timeoutMs = options.timeoutMs ?? 10_000;
  const monitor = {
    Open_vSwitch: {},
    Bridge: {},
    Port: {},
    Interface: {},
    Controller: {},
    Manager: {},
    Mirror: {},
    QoS: {},
    Queue: {},
  };
  const client = new OvsdbClient({ endpoint: options.database, monitor });
  try {
    await client.ready(timeoutMs);
    const context: VsctlContext = { client, operations: [], created: [], print: options.print, exitCode: 0 };
    for (const { verb, args, flags } of commands) VERBS.get(verb)!.run(context, args, flags);
    if (context.operations.length > 0) await commit(context, words, { ...options, timeoutMs });
    return context.exitCode;
  } catch (thrown) {
    if (thrown instanceof OvsdbError && thrown.error === "timed out" && thrown.details.includes("wait")) {
      throw new PlinthError("ROW_UNKNOWN", "a row that the commands name is not there", { cause: thrown });
    }
    throw thrown;
  } finally {
    client.close();
  }
}

async function commit(
  { client, operations, created }: VsctlContext,
  words: readonly string[],
  options: VsctlOptions & { readonly timeoutMs: number },
): Promise<void> {
  const all: Operation[] = [
    ...operations,
    mutateOp("Open_vSwitch", [], [["next_cfg", "+=", 1]]),
    selectOp("Open_vSwitch", [], ["next_cfg"]),
    { op: "comment", comment: `plinth vsctl ${words.join(" ")}` },
  ];
  const results = await client.transact(all, options.timeoutMs);
  if (options.noWait === true) return;
  const nextCfg = Number(results[all.length - 2]?.rows?.[0]?.["next_cfg"] ?? 0);
  const root = (): OvsdbRow | undefined => [...client.rows("Open_vSwitch").values()][0];
  await waitFor(
    () => (root()?.number("cur_cfg") ?? 0) >= nextCfg,
    "the switch has not taken the configuration; is it running?",
    options.timeoutMs,
    5,
  );
  for (const name of created) {
    const row = [...client.rows("Interface").values()].find((one) => one.string("name") === name);
    const error = row?.optionalString("error");
    if (error !== undefined) options.warn(`interface ${name}: ${error}`);
  }
}
