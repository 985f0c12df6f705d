// Who learns what: how many flows share a table and cookie, for learn(limit), and how many flows still learn with them,
// for learn(delete_learned). Source: ovs-actions(7), learn. Thread: datapath worker.
import type { Flow } from "./flow.js";
import type { FlowProgram, Program } from "./program.js";

/** Flows of one table with one cookie. */
export interface Lineage {
  readonly tableId: number;
  readonly cookie: bigint;
}

export class LearnedFlows {
  /** Flows by table and cookie: all of them, so that the first learn() with a limit finds them counted. */
  readonly #flows: (Map<bigint, number> | undefined)[] = [];
  readonly #learners = new Map<string, number>();

  /** The flow is in its table now. */
  entered(flow: Flow): void {
    add(this.#inTable(flow.tableId), flow.cookie, 1);
    for (const lineage of lineagesOf(flow.program)) add(this.#learners, nameOf(lineage), 1); // cold
  }

  /** The flow leaves its table, or changes what it does. */
  left(flow: Flow): void {
    add(this.#inTable(flow.tableId), flow.cookie, -1);
    for (const lineage of lineagesOf(flow.program)) add(this.#learners, nameOf(lineage), -1); // cold
  }

  count(tableId: number, cookie: bigint): number {
    return this.#flows[tableId]?.get(cookie) ?? 0;
  }

  #inTable(tableId: number): Map<bigint, number> {
    let flows = this.#flows[tableId];
    if (flows === undefined) {
      flows = new Map();
      this.#flows[tableId] = flows;
    }
    return flows;
  }

  /** What the flow, which has left, was the last to learn. */
  orphansOf(flow: Flow): Lineage[] {
    return lineagesOf(flow.program).filter((lineage) => !this.#learners.has(nameOf(lineage)));
  }
}

const NONE: readonly Lineage[] = [];

function nameOf({ tableId, cookie }: Lineage): string {
  return `${tableId}/${cookie}`; // cold
}

function add<Name>(counts: Map<Name, number>, name: Name, by: number): void {
  const count = (counts.get(name) ?? 0) + by;
  if (count === 0) counts.delete(name);
  else counts.set(name, count);
}

/** What the flow learns and wants deleted with it. */
function lineagesOf(program: FlowProgram): readonly Lineage[] {
  const { apply, write } = program;
  const isPlain = apply === null || (apply.learns.length === 0 && apply.nested.length === 0);
  if (isPlain && write.length === 0) return NONE;
  return [program.apply, ...program.write.map((entry) => entry.program)].flatMap(lineagesIn);
}

function lineagesIn(program: Program | null): Lineage[] {
  if (program === null) return [];
  const own = program.learns.filter(({ action }) => action.deleteLearned).map(({ action }) => action);
  return [...own, ...program.nested.flatMap(lineagesIn)];
}
