// Rows that one vsctl line names by --id=@NAME, and refers to before or behind. Source: ovs-vsctl(8), create.
import { randomUUID } from "node:crypto";
import type { BaseType } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";

interface Symbol {
  readonly uuid: string;
  /** By create, or by get. */
  isNamed: boolean;
  isUsed: boolean;
  /** Referred to in a way that does not keep it. */
  isUsedWeakly: boolean;
  /** Made, in a table from which rows go that nothing refers to. */
  needsUse: boolean;
}

export class Symbols {
  readonly #symbols = new Map<string, Symbol>();

  /** The row's uuid for a column of this type, also when its command is still to come. */
  use(name: string, { refTable, refType }: BaseType): string {
    const symbol = this.#symbols.get(name) ?? this.#add(name, randomUUID());
    if (refTable !== undefined && refType === "weak") symbol.isUsedWeakly = true;
    else if (refTable !== undefined) symbol.isUsed = true;
    return symbol.uuid;
  }

  /** The uuid of the row to make. Throws COMMAND_FAILED. */
  create(name: string, isRoot: boolean): string {
    const symbol = this.#symbols.get(check(name)) ?? this.#add(name, randomUUID());
    this.#refuseSecond(name, symbol);
    symbol.isNamed = true;
    symbol.needsUse = !isRoot;
    return symbol.uuid;
  }

  /** The name stands for a row that is there. Throws COMMAND_FAILED. */
  name(name: string, uuid: string): void {
    const before = this.#symbols.get(check(name));
    if (before !== undefined) {
      this.#refuseSecond(name, before);
      throw commandError(`row id "${name}" specified on "get" command was used before it was defined`);
    }
    this.#add(name, uuid).isNamed = true;
  }

  /** The line is over. Throws COMMAND_FAILED for a name without a row; `warn` is told of rows that nothing refers to. */
  check(warn: (text: string) => void): void {
    for (const [name, { isNamed, isUsed, isUsedWeakly, needsUse }] of this.#symbols) {
      if (!isNamed)
        throw commandError(
          `row id "${name}" is referenced but never created (e.g. with "-- --id=${name} create ...")`,
        );
      if (needsUse && !isUsed)
        warn(
          `row id "${name}" was created but ${isUsedWeakly ? "only a weak" : "no"} reference to it was inserted, so it will not actually appear in the database`,
        );
    }
  }

  #refuseSecond(name: string, { isNamed }: Symbol): void {
    if (isNamed) throw commandError(`row id "${name}" may only be specified on one --id option`);
  }

  #add(name: string, uuid: string): Symbol {
    const symbol = { uuid, isNamed: false, isUsed: false, isUsedWeakly: false, needsUse: false };
    this.#symbols.set(name, symbol);
    return symbol;
  }
}

function check(name: string): string {
  if (!name.startsWith("@")) throw commandError(`row id "${name}" does not begin with "@"`);
  return name;
}
