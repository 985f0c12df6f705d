// What ovs-appctl can ask of the daemon's log: vlog/*. Source: ovs-appctl(8), Logging Commands.
// There is one log (a file, or standard error), to which the whole daemon writes. Levels are kept by Open vSwitch's names of
// modules, as scripts set them; lines are written up to the most verbose of them: what was asked for is there, and more.
import { PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import { command } from "./commands.js";
import { LOG_MODULES } from "./log-modules.js";

/** Levels of Open vSwitch, from the most silent, and ours for each. */
const LEVELS: ReadonlyMap<string, Logger["level"]> = new Map([
  ["off", "silent"],
  ["emer", "fatal"],
  ["err", "error"],
  ["warn", "warn"],
  ["info", "info"],
  ["dbg", "debug"],
]);
const NAMES = [...LEVELS.keys()];
const DESTINATIONS = ["syslog", "console", "file"];
const MANY = Number.POSITIVE_INFINITY;

export function logCommands(log: Logger): Record<string, UnixctlCommand> {
  const initial = [...LEVELS].find(([, ours]) => ours === log.level)?.[0] ?? "dbg";
  const levels = new Map(LOG_MODULES.map((name) => [name, initial]));
  const isModule = (word: string): boolean => levels.has(word);
  /** The log has no limit on rates: one that is to be lifted is, and one that is to be there leaves lines as they are. */
  const limit = command("[module]...", 0, MANY, (words) => {
    if (words.every((word) => isModule(word.toLowerCase()) || word.toLowerCase() === "any")) return "";
    throw new PlinthError("LOG_MODULE_UNKNOWN", "unknown module");
  });
  return {
    "vlog/list": command("", 0, 0, () => {
      const lines = [...levels].map(
        ([name, level]) => `${name.padEnd(16)}   OFF        OFF       ${level.toUpperCase().padStart(4)}\n`,
      );
      return [
        "                 console    syslog    file\n",
        "                 -------    ------    ------\n",
        ...lines,
      ].join("");
    }),
    "vlog/list-pattern": command("", 0, 0, () =>
      [
        "         prefix                            format\n",
        "         ------                            ------\n",
        "FILE     none                              one JSON object a line\n",
      ].join(""),
    ),
    "vlog/set": command("{spec | PATTERN:destination:pattern}", 0, MANY, (specs) => {
      // As the original does, those in front of a wrong one are in force.
      for (const spec of specs) {
        const { module, isFile, level } = parseSpec(spec, isModule);
        if (isFile) for (const name of module === undefined ? LOG_MODULES : [module]) levels.set(name, level);
        const most = Math.max(...[...levels.values()].map((one) => NAMES.indexOf(one)));
        log.level = LEVELS.get(NAMES[most] as string) as Logger["level"];
      }
      return "";
    }),
    "vlog/enable-rate-limit": limit,
    "vlog/disable-rate-limit": limit,
    "vlog/reopen": command("", 0, 0, () => {
      if (log.reopen === undefined)
        throw new PlinthError("LOG_FILE_ABSENT", "Logging to file not configured");
      log.reopen();
      return "";
    }),
    "vlog/close": command("", 0, 0, () => ""),
  };
}

interface Spec {
  /** Undefined for all. */
  readonly module: string | undefined;
  /** Whether it speaks of the log that there is. */
  readonly isFile: boolean;
  readonly level: string;
}

/** Module, destination and level in any order, with ANY for all. Throws PlinthError LOG_SPEC_INVALID. */
function parseSpec(spec: string, isModule: (word: string) => boolean): Spec {
  if (/^(PATTERN|FACILITY)\b/i.test(spec))
    throw refusal(`${spec}: the log is one JSON object a line, and does not go to syslog`);
  const found = new Map<"level" | "destination" | "module", string>();
  for (const word of spec.split(/[\s,:]+/).filter((one) => one !== "")) {
    const lower = word.toLowerCase();
    if (lower === "any") continue;
    const kind = LEVELS.has(lower)
      ? "level"
      : DESTINATIONS.includes(lower)
        ? "destination"
        : isModule(lower)
          ? "module"
          : undefined;
    if (kind === undefined) throw refusal(`no destination, level, or module "${word}"`);
    if (found.has(kind)) throw refusal(`cannot specify multiple ${kind}s`);
    found.set(kind, lower);
  }
  const destination = found.get("destination");
  return {
    module: found.get("module"),
    isFile: destination === undefined || destination === "file",
    // Without a level everything is meant.
    level: found.get("level") ?? "dbg",
  };
}

function refusal(text: string): PlinthError {
  return new PlinthError("LOG_SPEC_INVALID", text);
}
