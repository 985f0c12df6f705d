// The named locks of an OVSDB server (RFC 7047, 4.1.8 to 4.1.11). Pure: says who must be told what.

export interface LockNotice<Owner> {
  readonly owner: Owner;
  readonly kind: "locked" | "stolen";
  readonly lock: string;
}

interface Request<Owner> {
  readonly owner: Owner;
  readonly how: "lock" | "steal";
}

export interface OwnersLocks {
  readonly held: readonly string[];
  readonly waiting: readonly string[];
  /** Stolen from a thief. */
  readonly lost: readonly string[];
}

/**
 * One queue of requests per lock; the first one holds it. Who is robbed of a lock that it waited for is next in the
 * queue; a thief that is robbed is out of it, until it unlocks and asks again.
 */
export class LockTable<Owner> {
  readonly #queues = new Map<string, Request<Owner>[]>();
  /** Thieves that were robbed and have not unlocked since. */
  readonly #lost = new Map<string, Set<Owner>>();

  holds(owner: Owner, lock: string): boolean {
    return this.#queues.get(lock)?.[0]?.owner === owner;
  }

  /** True when `owner` holds, waits for or has lost `lock`: it must unlock before it may ask again. */
  isAsked(owner: Owner, lock: string): boolean {
    const isQueued = this.#queues.get(lock)?.some((request) => request.owner === owner) === true;
    return isQueued || this.#lost.get(lock)?.has(owner) === true;
  }

  locksOf(owner: Owner): OwnersLocks {
    const queued = [...this.#queues]
      .filter(([, queue]) => queue.some((request) => request.owner === owner))
      .map(([lock]) => lock);
    return {
      held: queued.filter((lock) => this.holds(owner, lock)),
      waiting: queued.filter((lock) => !this.holds(owner, lock)),
      lost: [...this.#lost].filter(([, losers]) => losers.has(owner)).map(([lock]) => lock),
    };
  }

  countOf(owner: Owner): number {
    const { held, waiting, lost } = this.locksOf(owner);
    return held.length + waiting.length + lost.length;
  }

  /** Queues `owner`; returns whether it holds the lock at once. */
  lock(owner: Owner, lock: string): boolean {
    const queue = this.#queues.get(lock);
    if (queue === undefined) this.#queues.set(lock, [{ owner, how: "lock" }]);
    else queue.push({ owner, how: "lock" });
    return queue === undefined;
  }

  /** Makes `owner` the holder; the one before is told. */
  steal(owner: Owner, lock: string): LockNotice<Owner>[] {
    const [holder, ...waiting] = this.#queues.get(lock) ?? [];
    const robbed = holder?.how === "lock" ? [holder] : [];
    this.#queues.set(lock, [{ owner, how: "steal" }, ...robbed, ...waiting]);
    if (holder === undefined) return [];
    if (holder.how === "steal") {
      const losers = this.#lost.get(lock) ?? new Set();
      this.#lost.set(lock, losers.add(holder.owner));
    }
    return [{ owner: holder.owner, kind: "stolen", lock }];
  }

  /** Takes `owner` out; when it held the lock, the next one is told that it holds it now. */
  unlock(owner: Owner, lock: string): LockNotice<Owner>[] {
    const losers = this.#lost.get(lock);
    losers?.delete(owner);
    if (losers?.size === 0) this.#lost.delete(lock);
    const held = this.holds(owner, lock);
    const rest = (this.#queues.get(lock) ?? []).filter((request) => request.owner !== owner);
    if (rest.length === 0) this.#queues.delete(lock);
    else this.#queues.set(lock, rest);
    return held && rest[0] !== undefined ? [{ owner: rest[0].owner, kind: "locked", lock }] : [];
  }

  /** Takes `owner` out of everything. */
  release(owner: Owner): LockNotice<Owner>[] {
    const locks = new Set([...this.#queues.keys(), ...this.#lost.keys()]);
    return [...locks].flatMap((lock) => this.unlock(owner, lock));
  }
}
