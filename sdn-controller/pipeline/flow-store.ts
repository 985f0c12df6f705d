// The flows that should exist, by the owner that wants them. Two owners may want the same flow (two policies that allow
// the same); it stays until the last of them lets go, and its cookie names the first in order of resource,
// those that log before others.
// Invariant: flow(key) depends only on what the owners want now, not on the order in which they said so.
import type { Flow } from "./flow.js";

export class FlowStore {
  readonly #byOwner = new Map<string, Map<string, Flow>>();
  readonly #byKey = new Map<string, Map<string, Flow>>();
  #touched = new Set<string>();

  /** Replaces all flows of `owner`; an empty list forgets the owner. */
  set(owner: string, flows: readonly Flow[]): void {
    const before = this.#byOwner.get(owner);
    const after = new Map(flows.map((flow) => [flow.key, flow]));
    for (const key of before?.keys() ?? []) if (!after.has(key)) this.#remove(key, owner);
    for (const [key, flow] of after) {
      if (before?.get(key)?.body === flow.body) continue;
      const wanting = this.#byKey.get(key) ?? new Map<string, Flow>();
      this.#byKey.set(key, wanting.set(owner, flow));
      this.#touched.add(key);
    }
    if (after.size === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, after);
  }

  owners(): Iterable<string> {
    return this.#byOwner.keys();
  }

  flow(key: string): Flow | undefined {
    const wanting = this.#byKey.get(key);
    if (wanting === undefined) return undefined;
    let chosen: Flow | undefined;
    for (const flow of wanting.values()) {
      if (chosen === undefined || rank(flow) < rank(chosen)) chosen = flow;
    }
    return chosen;
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
    const wanting = this.#byKey.get(key);
    if (wanting === undefined || !wanting.delete(owner)) return;
    if (wanting.size === 0) this.#byKey.delete(key);
    this.#touched.add(key);
  }
}

function rank(flow: Flow): string {
  // What logs comes before what does not.
  return `${9 - flow.instructions.length} ${flow.origin.resource} ${String(flow.origin.ruleIndex ?? 0).padStart(5, "0")} ${flow.body}`;
}
