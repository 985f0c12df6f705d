// The flows that should exist, by the owner that wants them. Two owners may want the same flow (two policies that allow
// the same); it stays until the last of them lets go, and its cookie names the first in order of resource,
// those that log before others.
// Invariant: flow(key) depends only on what the owners want now, not on the order in which they said so.
import { type Flow, mergeClauses } from "./flow.js";

/** Who wants a flow, and the flow as that owner wants it. */
interface Want {
  readonly owner: string;
  readonly flow: Flow;
}

/** Most flows have one owner; of several, what each wants, by owner. */
type Wants = Want | Map<string, Flow>;

export class FlowStore {
  readonly #byOwner = new Map<string, readonly Flow[]>();
  readonly #byKey = new Map<string, Wants>();
  #touched = new Set<string>();

  /**
   * Replaces all flows of `owner`; an empty list forgets the owner. Of two flows with one key the later counts, unless
   * they are clauses of conjunctions.
   */
  set(owner: string, flows: readonly Flow[]): void {
    const before = this.#byOwner.get(owner);
    if (before === undefined && flows.length === 0) return;
    const after = new Map<string, Flow>();
    const several = new Map<string, Flow[]>();
    for (const flow of flows) {
      const same = after.get(flow.key);
      after.set(flow.key, flow);
      if (same === undefined) continue;
      const all = several.get(flow.key);
      if (all === undefined) several.set(flow.key, [same, flow]);
      else all.push(flow);
    }
    for (const [key, all] of several) after.set(key, together(all, all.at(-1) as Flow));
    for (const { key } of before ?? []) if (!after.has(key)) this.#remove(key, owner);
    for (const [key, flow] of after) {
      const wants = this.#byKey.get(key);
      if (wants instanceof Map) {
        if (wants.get(owner)?.body === flow.body) continue;
        wants.set(owner, flow);
      } else if (wants === undefined || wants.owner === owner) {
        if (wants?.flow.body === flow.body) continue;
        this.#byKey.set(key, { owner, flow });
      } else {
        this.#byKey.set(
          key,
          new Map([
            [wants.owner, wants.flow],
            [owner, flow],
          ]),
        );
      }
      this.#touched.add(key);
    }
    if (after.size === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, [...after.values()]);
  }

  owners(): Iterable<string> {
    return this.#byOwner.keys();
  }

  flow(key: string): Flow | undefined {
    const wants = this.#byKey.get(key);
    if (wants === undefined) return undefined;
    if (!(wants instanceof Map)) return wants.flow;
    const flows = [...wants.values()];
    let [chosen] = flows as [Flow];
    let first = rank(chosen);
    for (const flow of flows) {
      const own = rank(flow);
      if (own < first) [chosen, first] = [flow, own];
    }
    return together(flows, chosen);
  }

  /** The flows of some tables, by number. */
  *inTables(tableIds: ReadonlySet<number>): Generator<Flow> {
    for (const [key, wants] of this.#byKey) {
      const one = wants instanceof Map ? this.flow(key) : wants.flow;
      if (one !== undefined && tableIds.has(one.tableId)) yield one;
    }
  }

  keys(): IterableIterator<string> {
    return this.#byKey.keys();
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Keys whose flow may have changed since the last call. */
  takeTouched(): Set<string> {
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  #remove(key: string, owner: string): void {
    const wants = this.#byKey.get(key);
    if (wants instanceof Map) {
      if (!wants.delete(owner)) return;
      const [last] = wants.size === 1 ? wants : [];
      if (last !== undefined) this.#byKey.set(key, { owner: last[0], flow: last[1] });
    } else {
      if (wants?.owner !== owner) return;
      this.#byKey.delete(key);
    }
    this.#touched.add(key);
  }
}

/**
 * What stands for several flows of one key, `chosen` if they are ordinary ones. A clause that is also an ordinary flow is
 * that: flows of one priority come to the same, and the ordinary one does it for more packets.
 */
function together(flows: readonly Flow[], chosen: Flow): Flow {
  if (chosen.clauses !== undefined) {
    const ordinary = flows.find(({ clauses }) => clauses === undefined);
    return ordinary ?? mergeClauses(chosen, flows);
  }
  return chosen;
}

function rank(flow: Flow): string {
  const kind = flow.clauses === undefined ? "" : "clause ";
  // What logs comes before what does not.
  return `${kind}${9 - flow.instructions.length} ${flow.origin.resource} ${String(flow.origin.ruleIndex ?? 0).padStart(5, "0")} ${flow.body}`;
}
