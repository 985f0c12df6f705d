// The named locks of an OVSDB server (RFC 7047, 4.1.8 to 4.1.10). Pure: says who must be told what.

export interface LockNotice<Owner> {
  readonly owner: Owner;
  readonly kind: "locked" | "stolen";
  readonly lock: string;
}

/** One queue of owners per lock; the first one holds it. */
export class LockTable<Owner> {
  readonly #queues = new Map<string, Owner[]>();

  holds(owner: Owner, lock: string): boolean {
    return this.#queues.get(lock)?.[0] === owner;
  }

  /** True when `owner` holds or waits for `lock`. */
  isQueued(owner: Owner, lock: string): boolean {
    return this.#queues.get(lock)?.includes(owner) === true;
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
    return holder === undefined || holder === owner ? [] : [{ owner: holder, kind: "stolen", lock }];
  }

  /** Takes `owner` out; the next one is told that it holds the lock now. */
  unlock(owner: Owner, lock: string): LockNotice<Owner>[] {
    const queue = this.#queues.get(lock) ?? [];
    const held = queue[0] === owner;
    const rest = queue.filter((other) => other !== owner);
    if (rest.length === 0) this.#queues.delete(lock);
    else this.#queues.set(lock, rest);
    return held && rest[0] !== undefined ? [{ owner: rest[0], kind: "locked", lock }] : [];
  }

  /** Takes `owner` out of every queue. */
  release(owner: Owner): LockNotice<Owner>[] {
    return [...this.#queues.keys()].flatMap((lock) => this.unlock(owner, lock));
  }
}
