// How --help of vsctl and ofctl is laid out: what is typed on the left, what it does on the right. Pure.
import type { OptionSpec } from "./command-options.js";

/** By the name of a command: what it does, in a few words. */
export type CommandSummaries = Readonly<Record<string, string>>;

/** By the name of an option: the word for its value ("" for none), and what it does. */
export type OptionSummaries = Readonly<Record<string, readonly [value: string, text: string]>>;

/** Where the right side begins. */
const COLUMN = 40;

/** Lines of what is typed and what it does, which stands on a line of its own where the first is too long. */
export function helpLines(pairs: readonly (readonly [typed: string, does: string])[]): string {
  return pairs
    .map(([typed, does]) => {
      const left = `  ${typed}`;
      if (does === "") return `${left}\n`;
      return left.length < COLUMN - 1
        ? `${left.padEnd(COLUMN)}${does}\n`
        : `${left}\n${" ".repeat(COLUMN)}${does}\n`;
    })
    .join("");
}

/** The lines of all options. */
export function optionLines(specs: readonly OptionSpec[], summaries: OptionSummaries): string {
  return helpLines(
    specs.map(({ name, short, argument }) => {
      const [word, text] = summaries[name] ?? ["ARG", ""];
      const value = argument === "none" ? "" : argument === "required" ? `=${word}` : `[=${word}]`;
      return [`${short === undefined ? "    " : `-${short}, `}--${name}${value}`, text];
    }),
  );
}

/** What --option tells shells that complete lines: a line for each spelling of each option. */
export function optionSpellings(specs: readonly OptionSpec[]): string {
  return specs
    .map(({ name, short, argument }) => {
      const word = argument === "none" ? "" : argument === "required" ? "ARG" : "[ARG]";
      const letter = short === undefined ? "" : `-${short} ${word}\n`;
      return `--${name}${word === "" ? "" : `=${word}`}\n${letter}`;
    })
    .join("");
}

/** Of an option that scripts may give, and that changes nothing. */
export const IGNORED_TEXT = "taken for the sake of scripts, without effect";

/** Options that both tools have. */
export const SHARED_OPTIONS: OptionSummaries = {
  timeout: ["SECS", "give up after so long (default: never)"],
  help: ["", "this"],
  option: ["", "the options in a form for shells"],
  version: ["", "of plinth"],
  verbose: ["SPEC", "tell more of what is done: MODULE:DESTINATION:LEVEL, or all of it"],
  "log-file": ["FILE", IGNORED_TEXT],
  "syslog-method": ["METHOD", IGNORED_TEXT],
  "syslog-target": ["HOST:PORT", IGNORED_TEXT],
  output: ["json", "data instead of text; a counter that the switch does not keep is null"],
  "private-key": ["FILE", "our key for TLS"],
  certificate: ["FILE", "our certificate for TLS"],
  "ca-cert": ["FILE", "who must have signed the certificate of the other side"],
};
