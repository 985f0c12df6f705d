// The named locks of an OVSDB server (RFC 7047, 4.1.8 to 4.1.10). Pure: says who must be told what.

export interface LockNotice<Owner> {
  readonly owner: Owner;
  readonly kind: "locked" | "stolen";
  readonly lock: string;
}

/** One queue of owners per lock; the first one holds it. */
export class LockTable<Owner> {
  readonly #queues = new Map<string, Owner[]>();
  /** Who lost a lock to a thief and does not have it back. */
  readonly #lost = new Map<string, Set<Owner>>();

  holds(owner: Owner, lock: string): boolean {
    return this.#queues.get(lock)?.[0] === owner;
  }

  /** True when `owner` holds or waits for `lock`. */
  isQueued(owner: Owner, lock: string): boolean {
    return this.#queues.get(lock)?.includes(owner) === true;
  }

  locksOf(owner: Owner): {
    readonly held: readonly string[];
    readonly waiting: readonly string[];
    readonly lost: readonly string[];
  } {
    const queued = [...this.#queues].filter(([, queue]) => queue.includes(owner)).map(([lock]) => lock);
    const held = queued.filter((lock) => this.holds(owner, lock));
    const isLost = (lock: string): boolean => this.#lost.get(lock)?.has(owner) === true;
    const others = queued.filter((lock) => !held.includes(lock));
    return { held, waiting: others.filter((lock) => !isLost(lock)), lost: others.filter(isLost) };
  }

  countOf(owner: Owner): number {
    let count = 0;
    for (const queue of this.#queues.values()) if (queue.includes(owner)) count++;
    return count;
  }

  /** Queues `owner`; returns whether it holds the lock at once. */
  lock(owner: Owner, lock: string): boolean {
    const queue = this.#queues.get(lock);
    if (queue === undefined) this.#queues.set(lock, [owner]);
    else queue.push(owner);
    return queue === undefined;
  }

  /** Puts `owner` first; the one before is told. */
  steal(owner: Owner, lock: string): LockNotice<Owner>[] {
    const queue = this.#queues.get(lock) ?? [];
    const [holder] = queue;
    this.#queues.set(lock, [owner, ...queue.filter((other) => other !== owner)]);
    if (holder === undefined || holder === owner) return [];
    const losers = this.#lost.get(lock) ?? new Set();
    this.#lost.set(lock, losers.add(holder));
    return [{ owner: holder, kind: "stolen", lock }];
  }

  /** Takes `owner` out; the next one is told that it holds the lock now. */
  unlock(owner: Owner, lock: string): LockNotice<Owner>[] {
    const queue = this.#queues.get(lock) ?? [];
    const held = queue[0] === owner;
    const rest = queue.filter((other) => other !== owner);
    if (rest.length === 0) this.#queues.delete(lock);
    else this.#queues.set(lock, rest);
    this.#found(owner, lock);
    if (!held || rest[0] === undefined) return [];
    this.#found(rest[0], lock);
    return [{ owner: rest[0], kind: "locked", lock }];
  }

  #found(owner: Owner, lock: string): void {
    const losers = this.#lost.get(lock);
    losers?.delete(owner);
    if (losers?.size === 0) this.#lost.delete(lock);
  }

  /** Takes `owner` out of every queue. */
  release(owner: Owner): LockNotice<Owner>[] {
    return [...this.#queues.keys()].flatMap((lock) => this.unlock(owner, lock));
  }
}
