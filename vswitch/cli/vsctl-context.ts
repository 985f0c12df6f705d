// What every command of a vsctl line works with.
import type { OvsdbRow } from "../../base/ovsdb/index.js";
import type { Draft } from "./draft.js";
import type { TableStyle } from "./table-text.js";
import type { Symbols } from "./vsctl-symbols.js";

export interface VsctlContext {
  readonly draft: Draft;
  /** As "--may-exist" → "", "--id" → "@x". */
  readonly options: ReadonlyMap<string, string>;
  readonly style: TableStyle;
  /** Rows named by --id=@NAME. */
  readonly symbols: Symbols;
  readonly out: (line: string) => void;
  /** The same as data, for -o json; the one line that was told to out() unless given. */
  readonly data: (value: unknown) => void;
  /** A table, with the end of its last line; --oneline leaves it as it is. */
  readonly table: (text: string) => void;
  /** `module` is db_ctl_base unless given. */
  readonly warn: (line: string, module?: string) => void;
  /** No other command of the line comes behind it. */
  readonly isLast: boolean;
  /** As it was typed, for messages. */
  readonly typed: string;
}

/** Resolves with nothing, or with an exit code that is not 0. "again": not yet, ask when the database has changed. */
export type VsctlRun = (context: VsctlContext, args: readonly string[]) => number | "again" | undefined;

export interface VsctlCommand {
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  /** Options that may stand before it; those that end with "=" take a value. */
  readonly options: readonly string[];
  readonly run: VsctlRun;
  /** Looks at names of tables and columns, for all commands of a line before the first is run. Throws COMMAND_FAILED. */
  readonly prepare?: (
    context: Pick<VsctlContext, "draft" | "options" | "warn">,
    args: readonly string[],
  ) => void;
}

export function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  options: readonly string[],
  run: VsctlRun,
  prepare: VsctlCommand["prepare"] = () => {},
): VsctlCommand {
  return { usage, argumentsMin, argumentsMax, options, run, prepare };
}

/** One a line, in order. */
export function print(context: VsctlContext, names: readonly string[]): undefined {
  const sorted = [...names].sort();
  context.data(sorted);
  for (const name of sorted) context.out(name);
}

export function root({ draft }: VsctlContext): OvsdbRow {
  return draft.rows("Open_vSwitch")[0] ?? draft.insert("Open_vSwitch");
}
