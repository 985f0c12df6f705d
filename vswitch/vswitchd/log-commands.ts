// What ovs-appctl can ask of the daemon's log: vlog/*. Source: ovs-appctl(8), Logging Commands.
// There is one module, the daemon itself, and one destination, its log (a file, or standard error).
import { PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import { command } from "./commands.js";

const MODULE = "vswitchd";
/** Levels of Open vSwitch, and ours for each. */
const LEVELS: Readonly<Record<string, Logger["level"]>> = {
  off: "silent",
  emer: "fatal",
  err: "error",
  warn: "warn",
  info: "info",
  dbg: "debug",
};
const DESTINATIONS = ["syslog", "console", "file"];

export function logCommands(log: Logger): Record<string, UnixctlCommand> {
  return {
    "vlog/list": command("", 0, 0, () => {
      const level = Object.entries(LEVELS).find(([, ours]) => ours === log.level)?.[0] ?? log.level;
      return [
        "                 console    syslog    file\n",
        "                 -------    ------    ------\n",
        `${MODULE.padEnd(18)} OFF        OFF       ${level.toUpperCase()}\n`,
      ].join("");
    }),
    "vlog/list-pattern": command("", 0, 0, () =>
      [
        "         prefix                            format\n",
        "         ------                            ------\n",
        "FILE     none                              one JSON object a line\n",
      ].join(""),
    ),
    "vlog/set": command("{spec | PATTERN:destination:pattern}", 1, 16, (specs) => {
      for (const spec of specs) setLevel(log, spec);
      return "";
    }),
    "vlog/reopen": command("", 0, 0, () => ""),
    "vlog/close": command("", 0, 0, () => ""),
  };
}

/** [MODULE][:DESTINATION][:LEVEL] in any order, with ANY for all. */
function setLevel(log: Logger, spec: string): void {
  let level: Logger["level"] | undefined;
  let isOurs = true;
  for (const word of spec.split(/[\s:]+/)) {
    const lower = word.toLowerCase();
    if (Object.hasOwn(LEVELS, lower)) level = LEVELS[lower];
    else if (DESTINATIONS.includes(lower)) isOurs = lower === "file";
    else if (lower !== "any" && lower !== MODULE)
      throw new PlinthError("LOG_SPEC_INVALID", `no destination, level, or module "${word}"`);
  }
  // Without a level everything is meant.
  if (isOurs) log.level = level ?? "debug";
}
