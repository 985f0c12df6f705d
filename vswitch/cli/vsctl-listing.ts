// What vsctl tells of itself: --help for people, --commands and --options for shells that complete lines.
// Source: ovs-vsctl(8); the marks of --commands are those that its completion for bash reads.
import type { OptionSpec } from "./command-options.js";
import { helpLines, optionLines } from "./tool-help.js";
import type { VsctlCommand } from "./vsctl-context.js";
import { VSCTL_COMMANDS, VSCTL_OPTIONS } from "./vsctl-summaries.js";

type Commands = ReadonlyMap<string, VsctlCommand>;

export function helpText(commands: Commands, options: readonly OptionSpec[]): string {
  return [
    "plinth vsctl: configure a switch through its database, with the commands of ovs-vsctl(8)\n",
    "Usage: plinth vsctl [OPTIONS] COMMAND [ARG...] [-- COMMAND...]\n\nCommands:\n",
    helpLines(
      [...commands].map(([name, { usage, options: own }]) => [
        [...own.map((one) => `[${one}${one.endsWith("=") ? wordFor(one) : ""}]`), name, usage]
          .join(" ")
          .trimEnd(),
        VSCTL_COMMANDS[name] ?? "",
      ]),
    ),
    "\nOptions:\n",
    optionLines(options, VSCTL_OPTIONS),
  ].join("");
}

/** The word for the value of an option of one command. */
function wordFor(option: string): string {
  return (
    { "--inactivity-probe=": "MSECS", "--columns=": "COLUMN[,COLUMN]...", "--id=": "@NAME" }[option] ?? "ARG"
  );
}

/** A line for each command: "[--OPTION] ,NAME,WORDS", with a mark before each word. */
export function commandNames(commands: Commands): string {
  return [...commands]
    .map(([name, { options, usage }]) => {
      const own = options.map((one) => `[${one}] `).join("");
      return `${own},${name},${markedWords(usage).join(" ")}\n`;
    })
    .join("");
}

/** "!" one, "?" one or none, "+" one or more, "*" any number. */
function markedWords(usage: string): string[] {
  const words = usage.replaceAll(/\[([\w-]+) ([\w-]+)\]/g, "[$1] [$2]").split(" ");
  return words
    .filter((word) => word !== "")
    .map((word) => {
      const isRepeated = word.endsWith("...");
      const one = isRepeated ? word.slice(0, -3) : word;
      const isOptional = one.startsWith("[") && one.endsWith("]");
      const mark = isRepeated ? (isOptional ? "*" : "+") : isOptional ? "?" : "!";
      return `${mark}${(isOptional ? one.slice(1, -1) : one).replaceAll(/\[([^\]]*)\]/g, "?$1")}`;
    });
}

/** A line for each spelling of each option. */
export function optionNames(options: readonly OptionSpec[]): string {
  return options
    .map(({ name, short, argument }) => {
      const [long, letter] = argument === "none" ? ["", ""] : ["=ARG", " ARG"];
      return `--${name}${long}\n${short === undefined ? "" : `-${short}${letter}\n`}`;
    })
    .join("");
}
