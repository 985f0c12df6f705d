// The classifiers of a bridge by the numbers of their tables, and how often packets were looked up in each.
// Invariant: a table without a classifier never had a flow. Thread: datapath worker. Hot: yes (lookup, count).
import { type FlowMod, OFPTT_ALL, type TableStats } from "../../base/openflow/index.js";
import { AskedValues } from "./asked-values.js";
import { ConjunctiveClassifier } from "./conjunctive-classifier.js";
import { compileMatch, type MaskedKey } from "./fields.js";
import type { Flow } from "./flow.js";

export const EVERYTHING = compileMatch([]);

export class TableSet {
  /** What packets were looked up since the caches were made void, in all tables. */
  readonly asked = new AskedValues();
  readonly #tables: (ConjunctiveClassifier | null)[];
  readonly #lookups: Float64Array;
  readonly #matches: Float64Array;

  /** Tables 0 to `count` − 1. */
  constructor(count: number) {
    this.#tables = new Array<ConjunctiveClassifier | null>(count).fill(null);
    this.#lookups = new Float64Array(count);
    this.#matches = new Float64Array(count);
  }

  get count(): number {
    return this.#tables.length;
  }

  /** The flow for `key` in the table, or null; see ConjunctiveClassifier.lookup. */
  lookup(tableId: number, key: Int32Array, consulted: Int32Array | null): Flow | null {
    const table = this.#tables[tableId];
    return table === null || table === undefined ? null : table.lookup(key, consulted);
  }

  /** Counts so many packets that were looked up in the table, and met a flow of it if `hit`. */
  countPackets(tableId: number, packets: number, hit: boolean): void {
    this.#lookups[tableId] = this.#lookups[tableId]! + packets;
    if (hit) this.#matches[tableId] = this.#matches[tableId]! + packets;
  }

  /** Of the tables that `exists` names. */
  stats(exists: (tableId: number) => boolean): TableStats[] {
    const ids = Array.from({ length: this.count }, (_, tableId) => tableId).filter(exists);
    return ids.map((tableId) => ({
      tableId,
      activeCount: this.sizeOf(tableId),
      lookupCount: BigInt(this.#lookups[tableId]!), // cold
      matchedCount: BigInt(this.#matches[tableId]!), // cold
    }));
  }

  /** The table's classifier, or undefined. */
  find(tableId: number): ConjunctiveClassifier | undefined {
    return this.#tables[tableId] ?? undefined;
  }

  /** The same, made when it is not there. */
  at(tableId: number): ConjunctiveClassifier {
    let table = this.find(tableId);
    if (table === undefined) {
      table = new ConjunctiveClassifier(this.asked);
      this.#tables[tableId] = table;
    }
    return table;
  }

  sizeOf(tableId: number): number {
    return this.find(tableId)?.size ?? 0;
  }

  /** Those that a table's number means: OFPTT_ALL is every table. */
  meant(tableId: number): ConjunctiveClassifier[] {
    const tables = tableId === OFPTT_ALL ? this.#tables : [this.#tables[tableId] ?? null];
    return tables.filter((table) => table !== null);
  }

  flowsOf(tableId: number): Flow[] {
    return this.meant(tableId).flatMap((table) => table.covered(EVERYTHING));
  }
}

/** The flows of the table that a modify or delete means, by match, priority and cookie. */
export function chosenBy(
  mod: FlowMod,
  key: MaskedKey,
  table: ConjunctiveClassifier,
  strict: boolean,
): readonly Flow[] {
  const one = strict ? table.findStrict(key, mod.priority) : null;
  const flows = strict ? (one === null ? [] : [one]) : table.covered(key);
  if (mod.cookieMask === 0n) return flows; // cold
  return flows.filter((flow) => (flow.cookie & mod.cookieMask) === (mod.cookie & mod.cookieMask));
}
