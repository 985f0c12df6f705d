// Writers of one namespace: many together, or one alone. In the order in which they come, so that none waits for ever.
// Invariant: while work that is alone runs, no other work of its namespace does.

interface Door {
  /** Settles, and never rejects, when the last work that was to be alone is over. */
  alone: Promise<unknown>;
  /** Work that came after it; these never reject either. */
  readonly together: Set<Promise<unknown>>;
  /** Work that is not over. */
  pending: number;
}

export class NamespaceGate {
  readonly #doors = new Map<string, Door>();

  /** Beside other work of the same sort. Settles as `work` does. */
  together<T>(namespace: string, work: () => Promise<T>): Promise<T> {
    const door = this.#enter(namespace);
    const running = door.alone.then(work);
    const leave = (): void => {
      door.together.delete(over);
      this.#leave(namespace, door);
    };
    const over = running.then(leave, leave);
    door.together.add(over);
    return running;
  }

  /** After everything that came before, and before everything that comes later. Settles as `work` does. */
  alone<T>(namespace: string, work: () => Promise<T>): Promise<T> {
    const door = this.#enter(namespace);
    const running = Promise.all([door.alone, ...door.together]).then(work);
    const leave = (): void => this.#leave(namespace, door);
    door.alone = running.then(leave, leave);
    door.together.clear();
    return running;
  }

  #enter(namespace: string): Door {
    const door = this.#doors.get(namespace) ?? { alone: Promise.resolve(), together: new Set(), pending: 0 };
    door.pending++;
    this.#doors.set(namespace, door);
    return door;
  }

  #leave(namespace: string, door: Door): void {
    door.pending--;
    if (door.pending === 0) this.#doors.delete(namespace);
  }
}
