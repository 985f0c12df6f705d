// What every command of a vsctl line works with.
import type { OvsdbRow } from "../../base/ovsdb/index.js";
import type { Draft } from "./draft.js";
import { commandError } from "./errors.js";
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
  /** A table, which --oneline leaves as it is. */
  readonly table: (text: string) => void;
  /** `module` is db_ctl_base unless given. */
  readonly warn: (line: string, module?: string) => void;
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

/** A bridge, real or one VLAN of another. */
export interface BridgeView {
  readonly name: string;
  readonly row: OvsdbRow;
  /** The port that makes it, for a VLAN of another. */
  readonly fake: OvsdbRow | undefined;
  readonly vlan: number;
}

export function root({ draft }: VsctlContext): OvsdbRow {
  return draft.rows("Open_vSwitch")[0] ?? draft.insert("Open_vSwitch");
}

export function bridges({ draft }: VsctlContext): BridgeView[] {
  return draft.rows("Bridge").flatMap((row) => {
    const fakes = portsOf(draft, row).filter(
      (port) => port.boolean("fake_bridge") && port.number("tag") !== undefined,
    );
    return [
      { name: row.string("name"), row, fake: undefined, vlan: 0 },
      ...fakes.map((port) => ({
        name: port.string("name"),
        row,
        fake: port,
        vlan: port.number("tag") as number,
      })),
    ];
  });
}

export function portsOf(draft: Draft, bridge: OvsdbRow): OvsdbRow[] {
  return (draft.row("Bridge", bridge.uuid) ?? bridge)
    .strings("ports")
    .flatMap((uuid) => draft.row("Port", uuid) ?? []);
}

export function findBridge(context: VsctlContext, name: string): BridgeView | undefined {
  return bridges(context).find((one) => one.name === name);
}

/** Throws COMMAND_FAILED for a bridge that is a VLAN of another, too. */
export function mustFindRealBridge(context: VsctlContext, name: string): BridgeView {
  const found = mustFindBridge(context, name);
  if (found.fake !== undefined) throw commandError(`${name} is a fake bridge`);
  return found;
}

export function mustFindBridge(context: VsctlContext, name: string): BridgeView {
  const found = findBridge(context, name);
  if (found === undefined) throw commandError(`no bridge named ${name}`);
  return found;
}

/** Ports that belong to the bridge itself, without its own local port and those of its VLAN bridges. */
export function ownPorts(context: VsctlContext, bridge: BridgeView): OvsdbRow[] {
  const all = portsOf(context.draft, bridge.row);
  const vlans = new Set(
    bridges(context).flatMap((one) =>
      one.fake !== undefined && one.row.uuid === bridge.row.uuid ? [one.vlan] : [],
    ),
  );
  return all.filter((port) => {
    if (port.string("name") === bridge.row.string("name") || port.boolean("fake_bridge")) return false;
    const tag = port.number("tag");
    return bridge.fake === undefined ? tag === undefined || !vlans.has(tag) : tag === bridge.vlan;
  });
}

/** The port of that name and the bridge it is on. */
export function findPort(
  context: VsctlContext,
  name: string,
): { readonly port: OvsdbRow; readonly bridge: BridgeView } | undefined {
  for (const bridge of bridges(context)) {
    const port = ownPorts(context, bridge).find((one) => one.string("name") === name);
    if (port !== undefined) return { port, bridge };
  }
  return undefined;
}
