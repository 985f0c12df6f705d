// The flows that should exist, by the owner that wants them. Two owners may want the same flow (two policies that allow
// the same); it stays until the last of them lets go, and its cookie names the first in order of resource,
// those that log before others.
// Invariant: flow(key) depends only on what the owners want now, not on the order in which they said so.
import { type Flow, mergeClauses } from "./flow.js";

/** Most flows have one owner; of several, what each wants. */
type Wants = Flow | readonly Flow[];

export class FlowStore {
  /** Each flow is one owner's: by the object it is known whose it is. */
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
    const known = new Map((before ?? []).map((flow) => [flow.key, flow]));
    for (const [key, flow] of known) if (!after.has(key)) this.#replace(flow, undefined);
    for (const [key, flow] of after) {
      const same = known.get(key);
      if (same?.body === flow.body) after.set(key, same);
      else this.#replace(same, flow);
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
    if (!isSeveral(wants)) return wants;
    let [chosen] = wants as readonly [Flow];
    let first = rank(chosen);
    for (const flow of wants) {
      const own = rank(flow);
      if (own < first) [chosen, first] = [flow, own];
    }
    return together(wants, chosen);
  }

  /** The flows of some tables, by number. */
  *inTables(tableIds: ReadonlySet<number>): Generator<Flow> {
    for (const [key, wants] of this.#byKey) {
      const one = isSeveral(wants) ? this.flow(key) : wants;
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

  /** One owner's flow by another, or none, of the same key. */
  #replace(before: Flow | undefined, after: Flow | undefined): void {
    const { key } = (after ?? before) as Flow;
    const wants = this.#byKey.get(key);
    this.#touched.add(key);
    if (wants === before) {
      if (after === undefined) this.#byKey.delete(key);
      else this.#byKey.set(key, after);
      return;
    }
    const all = wants === undefined ? [] : isSeveral(wants) ? wants : [wants];
    const others = all.filter((flow) => flow !== before);
    const next = after === undefined ? others : [...others, after];
    const [only] = next;
    if (only === undefined) this.#byKey.delete(key);
    else this.#byKey.set(key, next.length === 1 ? only : next);
  }
}

function isSeveral(wants: Wants): wants is readonly Flow[] {
  return Array.isArray(wants);
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
  return `${kind}${9 - flow.instructions.length} ${flow.origin.resource} ${String(flow.origin.ruleId ?? 0).padStart(5, "0")} ${flow.body}`;
}
