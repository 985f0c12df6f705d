// How many flows there are of each priority, and the highest of them. Thread: datapath worker. Hot: no.
//
// Invariants: `#heap` (largest first) holds every priority that is a key of `#counts` exactly once, those with a count
// of 0 among them until they come to the top; its first has flows.

export class Priorities {
  /** −1 when there are none. */
  max = -1;
  readonly #counts = new Map<number, number>();
  readonly #heap: number[] = [];

  add(priority: number): void {
    const count = this.#counts.get(priority);
    this.#counts.set(priority, (count ?? 0) + 1);
    if (count === undefined) this.#push(priority);
    if (priority > this.max) this.max = priority;
  }

  remove(priority: number): void {
    this.#counts.set(priority, (this.#counts.get(priority) ?? 0) - 1);
    while (this.#heap.length > 0 && this.#counts.get(this.#heap[0]!) === 0) {
      this.#counts.delete(this.#heap[0]!);
      this.#pop();
    }
    this.max = this.#heap[0] ?? -1;
  }

  #push(priority: number): void {
    const heap = this.#heap;
    let at = heap.length;
    for (; at > 0; ) {
      const above = (at - 1) >> 1;
      if (heap[above]! >= priority) break;
      heap[at] = heap[above]!;
      at = above;
    }
    heap[at] = priority;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && heap[below + 1]! > heap[below]!) below++;
      if (heap[below]! <= last) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = last;
  }
}
