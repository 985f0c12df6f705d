// Options of a command line as getopt_long() reads them, with its wording for what it refuses. Pure.
// Long names may be shortened as long as they stay unique; options may stand anywhere unless `inOrder`.
import { commandError } from "./errors.js";

export interface OptionSpec {
  /** Without the dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  readonly argument: "none" | "required" | "optional";
}

export interface GivenOption {
  readonly name: string;
  /** undefined when none was given. */
  readonly value: string | undefined;
}

export interface ParsedWords {
  /** In the order of the line; one that is given twice is there twice. */
  readonly options: readonly GivenOption[];
  readonly args: readonly string[];
}

export interface ParseOptions {
  /** Options end at the first word that is none. */
  readonly inOrder?: boolean;
  /** Options that are all that counts: what stands behind one of them is not read. */
  readonly last?: readonly string[];
}

/** Throws COMMAND_FAILED. */
export function parseOptions(
  words: readonly string[],
  specs: readonly OptionSpec[],
  { inOrder = false, last = [] }: ParseOptions = {},
): ParsedWords {
  const options: GivenOption[] = [];
  const args: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === "--") {
      args.push(...words.slice(at + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      if (inOrder) return { options, args: words.slice(at) };
      args.push(word);
      continue;
    }
    const next = words[at + 1];
    const taken = word.startsWith("--")
      ? longOption(word.slice(2), next, specs, options)
      : shortOptions(word.slice(1), next, specs, options);
    if (taken) at++;
    if (last.includes(options.at(-1)?.name ?? "")) break;
  }
  return { options, args };
}

/** Adds the option; true when it took the next word. */
function longOption(
  text: string,
  next: string | undefined,
  specs: readonly OptionSpec[],
  options: GivenOption[],
): boolean {
  const [name, value] = text.split(/=(.*)/s, 2) as [string, string | undefined];
  const spec = specs.find((one) => one.name === name) ?? abbreviated(name, specs);
  if (value !== undefined && spec.argument === "none")
    throw commandError(`option '--${spec.name}' doesn't allow an argument`);
  if (value !== undefined || spec.argument !== "required") {
    options.push({ name: spec.name, value });
    return false;
  }
  if (next === undefined) throw commandError(`option '--${spec.name}' requires an argument`);
  options.push({ name: spec.name, value: next });
  return true;
}

function abbreviated(name: string, specs: readonly OptionSpec[]): OptionSpec {
  const found = specs.filter((spec) => spec.name.startsWith(name));
  if (found.length === 1) return found[0] as OptionSpec;
  if (found.length === 0) throw commandError(`unrecognized option '--${name}'`);
  const names = found.map((spec) => `'--${spec.name}'`).join(" ");
  throw commandError(`option '--${name}' is ambiguous; possibilities: ${names}`);
}

function shortOptions(
  letters: string,
  next: string | undefined,
  specs: readonly OptionSpec[],
  options: GivenOption[],
): boolean {
  for (let i = 0; i < letters.length; i++) {
    const letter = letters[i] as string;
    const spec = specs.find(({ short }) => short === letter);
    if (spec === undefined) throw commandError(`invalid option -- '${letter}'`);
    if (spec.argument === "none") {
      options.push({ name: spec.name, value: undefined });
      continue;
    }
    const rest = letters.slice(i + 1);
    if (rest !== "" || spec.argument === "optional") {
      options.push({ name: spec.name, value: rest === "" ? undefined : rest });
      return false;
    }
    if (next === undefined) throw commandError(`option requires an argument -- '${letter}'`);
    options.push({ name: spec.name, value: next });
    return true;
  }
  return false;
}

/** --timeout: whole seconds above 0; nothing means no deadline. Throws COMMAND_FAILED. */
export function parseTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text) && Number(text) > 0) return Number(text) * 1000;
  throw commandError(`value ${text} on -t or --timeout is invalid`);
}
