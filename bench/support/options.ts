// What a bench is told on its command line.
import { type ParseArgsConfig, parseArgs } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T }>>["values"];

/** The values of `options`. Ends the program with `usage` for --help (0), and for what it does not know (2). */
export function benchOptions<const T extends Options>(usage: string, options: T): Values<T> {
  if (process.argv.slice(2).some((word) => word === "--help" || word === "-h")) {
    process.stdout.write(`${usage.trimEnd()}\n`);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values as Values<T>;
  } catch (thrown) {
    refuse((thrown as Error).message, usage);
  }
}

/** The number that `text` says. Ends the program with 2 where it is none above `above`. */
export function numberOption(name: string, text: string, above = 0): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value > above) return value;
  return refuse(`${name} is a number above ${above}, not ${JSON.stringify(text)}`);
}

function refuse(why: string, usage?: string): never {
  process.stderr.write(usage === undefined ? `${why}\n` : `${why}\n\n${usage.trimEnd()}\n`);
  process.exit(2);
}
