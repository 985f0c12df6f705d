// `plinth appctl`: one inspection command to a running daemon, with the options, exit codes and wording of ovs-appctl.
// Source: ovs-appctl(8); -f and --pretty as Open vSwitch has had them since 3.4.
import { PlinthError, systemReason } from "../../base/errors/index.js";
import { JsonRpcFault } from "../../base/jsonrpc/index.js";
import { socketOfTarget } from "./appctl-target.js";
import { type OptionSpec, parseOptions } from "./command-options.js";
import { commandError } from "./errors.js";
import { optionSpellings } from "./tool-help.js";
import { askUnixctl } from "./unixctl-client.js";

export interface AppctlIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly socket: (name: string) => string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** The daemon has refused. */
const EXIT_REFUSED = 2;

const OPTIONS: readonly OptionSpec[] = [
  { name: "target", short: "t", argument: "required" },
  { name: "timeout", short: "T", argument: "required" },
  { name: "format", short: "f", argument: "required" },
  { name: "output", short: "o", argument: "required" },
  { name: "pretty", argument: "none" },
  { name: "help", short: "h", argument: "none" },
  { name: "version", short: "V", argument: "none" },
  { name: "verbose", short: "v", argument: "optional" },
  { name: "log-file", argument: "optional" },
  { name: "syslog-target", argument: "required" },
  { name: "syslog-method", argument: "required" },
  { name: "option", argument: "none" },
  // What the tool does in any case.
  { name: "execute", short: "e", argument: "none" },
];

/** Options that only print something, and what. */
const ASKED: ReadonlyMap<string, () => string> = new Map([
  ["help", appctlHelp],
  ["version", () => "plinth appctl (Plinth) 0.1.0\n"],
  ["option", () => optionSpellings(OPTIONS)],
]);

interface Line {
  readonly target: string | undefined;
  readonly timeoutMs: number | undefined;
  readonly format: "text" | "json";
  readonly pretty: boolean;
  /** Text that is all that was asked for. */
  readonly asked: string | undefined;
  readonly words: readonly string[];
}

/** Throws COMMAND_FAILED. */
function parseLine(words: readonly string[]): Line {
  // Options end at the command: what follows is the daemon's.
  const { options, args } = parseOptions(words, OPTIONS, { inOrder: true });
  let target: string | undefined;
  let timeoutMs: number | undefined;
  let format: Line["format"] = "text";
  let asked: Line["asked"];
  for (const { name, value = "" } of options) {
    if (name === "target") {
      if (target !== undefined) throw commandError("-t or --target may be specified only once");
      target = value;
    } else if (name === "timeout") timeoutMs = timeoutOf(value);
    else if (name === "format" || name === "output") format = formatOf(name, value);
    else if (ASKED.has(name)) asked ??= ASKED.get(name)?.();
  }
  return {
    target,
    timeoutMs,
    format,
    pretty: options.some(({ name }) => name === "pretty"),
    asked,
    words: args,
  };
}

function timeoutOf(text: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) > 0 && Number(text) < 2 ** 32)
    return Math.min(Number(text) * 1000, 2 ** 31 - 1);
  throw commandError(`value ${text} on -T or --timeout is invalid`);
}

function formatOf(option: string, text: string): Line["format"] {
  if (text === "json" || (text === "text" && option === "format")) return text;
  throw commandError(
    `value ${text} on ${option === "format" ? "-f or --format" : "-o or --output"} is invalid`,
  );
}

/** Runs one command line. Resolves with the exit code; rejects with COMMAND_FAILED and RPC_TIMEOUT. */
export async function runAppctl(words: readonly string[], io: AppctlIo): Promise<number> {
  const line = parseLine(words);
  if (line.asked !== undefined) {
    io.out(line.asked);
    return 0;
  }
  const [command, ...args] = line.words;
  if (command === undefined)
    throw commandError("at least one non-option argument is required (use --help for help)");
  const log = new LogLines(io.err);
  const warn = (module: string, text: string): void => log.warn(module, text);
  const socket = socketOfTarget(line.target, { ...io, warn, env: io.env ?? process.env });
  const name = line.target ?? "vswitchd";
  try {
    const answer = await askUnixctl(command, args, {
      socket,
      timeoutMs: line.timeoutMs,
      format: line.format,
    });
    io.out(line.format === "text" ? textOf(answer) : jsonOf(answer, line.pretty));
    return 0;
  } catch (thrown) {
    if (thrown instanceof JsonRpcFault && typeof thrown.value === "string") {
      io.err(thrown.value);
      io.err(`plinth appctl: ${name}: server returned an error\n`);
      return EXIT_REFUSED;
    }
    throw told(thrown, name, socket, log);
  }
}

function textOf(answer: unknown): string {
  return typeof answer === "string" ? answer : `${JSON.stringify(answer)}\n`;
}

function jsonOf(answer: unknown, pretty: boolean): string {
  return `${JSON.stringify(answer, null, pretty ? 2 : undefined)}\n`;
}

/** What the original would say of a connection that fails. */
function told(thrown: unknown, name: string, socket: string, log: LogLines): unknown {
  if (thrown instanceof JsonRpcFault) {
    log.warn("unixctl", `unix:${socket}: unexpected error type in JSON RPC reply: ${typeof thrown.value}`);
    return commandError(`${name}: transaction error (Invalid argument)`);
  }
  if (!(thrown instanceof PlinthError)) return thrown;
  if (thrown.code === "RPC_UNREACHABLE") {
    log.warn("unixctl", `failed to connect to ${socket}`);
    return commandError(
      `cannot connect to "${name.includes("/") ? name : socket}" (${systemReason(thrown.cause)})`,
    );
  }
  if (thrown.code !== "RPC_CLOSED") return thrown;
  const reason = thrown.cause === undefined ? "End of file" : "Protocol error";
  log.warn("unixctl", `error communicating with unix:${socket}: ${reason}`);
  return commandError(`${name}: transaction error (${reason})`);
}

/** Lines as the original's log writes them to standard error. */
class LogLines {
  readonly #err: (text: string) => void;
  #number = 0;

  constructor(err: (text: string) => void) {
    this.#err = err;
  }

  warn(module: string, text: string): void {
    const stamp = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    this.#err(`${stamp}|${String(++this.#number).padStart(5, "0")}|${module}|WARN|${text}\n`);
  }
}

export function appctlHelp(): string {
  return `plinth appctl: ask and control a running daemon, with the options of ovs-appctl(8)
Usage: plinth appctl [OPTIONS] COMMAND [ARG...]

Common commands:
  list-commands               what the daemon can be asked
  version                     of the daemon
  fdb/show BRIDGE             stations that were learned
  dpif/show                   bridges and ports
  drop/show [BRIDGE]          why packets were dropped, and by which flow
  ofproto/trace BRIDGE FLOW   what would become of a packet
  exit [--cleanup]            end it, with or without --cleanup; the next start knows its flows and connections

Options:
  -t, --target=TARGET  the control socket, or a daemon's name: vswitchd (the switch in --dir, the default), or
                       ovs-vswitchd, ovsdb-server and the like by NAME.pid in --dir or in $OVS_RUNDIR
  -T, --timeout=SECS   wait no longer (default: for ever)
  -o, --output=json    data instead of text where the daemon has some, else {"reply": TEXT, "reply-format": "plain"}
  -f, --format=FORMAT  json or text, as ovs-appctl has it
      --pretty         JSON over several lines
      --dir=DIR        of the switch
      --option         the options in a form for shells
  -h, --help           this
  -V, --version        of plinth appctl
`;
}
