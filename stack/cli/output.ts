// How answers are printed: tables for people, JSON and YAML for programs.
import { type Command, InvalidArgumentError } from "commander";
import { stringify } from "yaml";

export type DataForm = "json" | "yaml";

export interface OutputOptions {
  readonly output?: DataForm;
}

/** -o for an answer that is one value. */
export function withOutput(command: Command): Command {
  return command.option("-o, --output <form>", "json or yaml (default: for people)", parseDataForm);
}

function parseDataForm(text: string): DataForm {
  if (text === "json" || text === "yaml") return text;
  throw new InvalidArgumentError("expected json or yaml");
}

/** Prints `value` in the form asked for, else what `people` makes of it. */
export function show(options: OutputOptions, value: unknown, people: () => string): void {
  print(options.output === undefined ? people() : formatData(value, options.output));
}

export function formatData(value: unknown, form: DataForm): string {
  return form === "json" ? JSON.stringify(value, null, 2) : stringify(value, { lineWidth: 0 });
}

export function print(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}

/**
 * Columns as wide as their widest cell, three spaces apart. `widths` keeps the columns of later calls in line with
 * those of earlier ones.
 */
export function formatRows(
  header: readonly string[] | undefined,
  rows: readonly (readonly string[])[],
  widths: number[] = [],
): string {
  const all = header === undefined ? rows : [header, ...rows];
  for (const row of all)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] as number))
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}
