// The log of a command line: which lines are told on standard error, and how. Source: ovs-ofctl(8), Logging Options;
// what is refused is refused in its words.
import type { CommandIo } from "./command-io.js";
import { commandError } from "./errors.js";

/** From the gravest on; a destination tells lines up to its level. */
const LEVELS = ["off", "emer", "err", "warn", "info", "dbg"] as const;
export type LogLevel = (typeof LEVELS)[number];
const DESTINATIONS = ["syslog", "console", "file"];
const CONSOLE = "console";
const DEFAULT_PATTERN = "%D{%Y-%m-%dT%H:%M:%SZ}|%05N|%c|%p|%m";
const DEFAULT_LEVEL: LogLevel = "info";

/** Those of the original that -v may name; only some of them have lines here. */
const MODULES: ReadonlySet<string> = new Set([
  ...["backtrace", "bundle", "classifier", "command_line", "daemon", "daemon_unix", "dpif", "fatal_signal"],
  ...[
    "flow",
    "jsonrpc",
    "learn",
    "lockfile",
    "memory",
    "meta_flow",
    "netdev",
    "netlink",
    "nx_match",
    "ofctl",
  ],
  ...["ofp_actions", "ofp_bundle", "ofp_connection", "ofp_errors", "ofp_flow", "ofp_group", "ofp_match"],
  ...["ofp_meter", "ofp_monitor", "ofp_msgs", "ofp_packet", "ofp_parse", "ofp_port", "ofp_print", "ofp_prop"],
  ...["ofp_queue", "ofp_switch", "ofp_table", "ofp_util", "ovs_rcu", "packets", "pcap_file", "poll_loop"],
  ...["rconn", "reconnect", "socket_util", "stream", "stream_fd", "stream_ssl", "stream_tcp", "stream_unix"],
  ...["timeval", "unixctl", "util", "vconn", "vconn_stream", "vlog"],
]);

interface Settings {
  pattern: string;
  level: LogLevel;
  readonly modules: Map<string, LogLevel>;
}

export interface CommandLog {
  readonly line: (module: string, level: LogLevel, text: string) => void;
}

/** `specs` are the arguments of -v in their order; undefined = without one. Throws COMMAND_FAILED. */
export function createCommandLog(
  io: Pick<CommandIo, "err">,
  specs: readonly (string | undefined)[],
): CommandLog {
  const settings: Settings = { pattern: DEFAULT_PATTERN, level: DEFAULT_LEVEL, modules: new Map() };
  for (const spec of specs) apply(settings, spec);
  let count = 0;
  return {
    line: (module, level, text) => {
      const most = settings.modules.get(module) ?? settings.level;
      if (LEVELS.indexOf(level) > LEVELS.indexOf(most)) return;
      count++;
      io.err(`${formatLine(settings.pattern, { module, level, text, count })}\n`);
    },
  };
}

function apply(settings: Settings, spec: string | undefined): void {
  if (spec === undefined) {
    settings.level = "dbg";
    return;
  }
  const refuse = (why: string): Error => commandError(`processing "${spec}": ${why}`);
  const pattern = /^PATTERN:([^:]*):?(.*)$/s.exec(spec);
  if (pattern !== null) {
    const [, destination = "", text = ""] = pattern;
    if (!isAny(destination) && !DESTINATIONS.includes(destination.toLowerCase()))
      throw refuse(`unknown destination "${destination}"`);
    if (isAny(destination) || destination.toLowerCase() === CONSOLE) settings.pattern = text;
    return;
  }
  let level: LogLevel = "dbg";
  let module: string | undefined;
  let destination: string | undefined;
  for (const word of spec.split(/[ ,:]+/).filter((one) => one !== "")) {
    const known = LEVELS.find((one) => one === word.toLowerCase());
    if (isAny(word)) continue;
    if (known !== undefined) level = known;
    else if (DESTINATIONS.includes(word.toLowerCase())) destination = word.toLowerCase();
    else if (MODULES.has(word.toLowerCase().replaceAll("-", "_")))
      module = word.toLowerCase().replaceAll("-", "_");
    else throw refuse(`no destination, level, or module "${word}"`);
  }
  // Only what goes to the terminal is written at all.
  if (destination !== undefined && destination !== CONSOLE) return;
  if (module === undefined) {
    settings.level = level;
    settings.modules.clear();
  } else settings.modules.set(module, level);
}

function isAny(word: string): boolean {
  return word.toUpperCase() === "ANY";
}

interface Line {
  readonly module: string;
  readonly level: LogLevel;
  readonly text: string;
  readonly count: number;
}

/** "%c", with a width in front of the letter: "%-6p", "%05N". */
function formatLine(pattern: string, line: Line): string {
  return pattern.replaceAll(
    /%(-?)(0?)(\d*)([A-Za-z%])(?:\{([^}]*)\})?/g,
    (_, left: string, zero: string, width: string, letter: string, format: string | undefined) => {
      const text = letterText(letter, format, line);
      if (left === "-") return text.padEnd(Number(width));
      return text.padStart(Number(width), zero === "0" ? "0" : " ");
    },
  );
}

function letterText(letter: string, format: string | undefined, line: Line): string {
  switch (letter) {
    case "A":
      return "plinth ofctl";
    case "c":
      return line.module;
    case "p":
      return line.level.toUpperCase();
    case "m":
      return line.text;
    case "N":
      return String(line.count);
    case "n":
      return "\n";
    case "P":
      return String(process.pid);
    case "D":
    case "d":
      return dateText(format ?? "%Y-%m-%d %H:%M:%S.###");
    case "r":
      return String(Math.round(process.uptime() * 1000));
    case "%":
      return "%";
    default:
      return "";
  }
}

/** In UTC; "#" stand for digits of the fraction. */
function dateText(format: string): string {
  const now = new Date().toISOString(); // cold
  const parts: Readonly<Record<string, string>> = {
    Y: now.slice(0, 4),
    m: now.slice(5, 7),
    d: now.slice(8, 10),
    H: now.slice(11, 13),
    M: now.slice(14, 16),
    S: now.slice(17, 19),
  };
  return format
    .replaceAll(/%([YmdHMS])/g, (_, letter: string) => parts[letter] ?? "")
    .replaceAll("###", now.slice(20, 23));
}
