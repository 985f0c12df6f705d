// Flows with one and the same match, by priority: a list of short sorted lists, so that adding and removing stay cheap
// with as many as there are priorities. Invariants: no short list is empty or longer than CHUNK_MAX; there is at least
// one flow. Thread: datapath worker. Hot: no (only conjunctive lookups come here).
import type { Flow } from "./flow.js";

const CHUNK_MAX = 128;

export class Twins {
  size = 1;
  readonly #chunks: Flow[][];

  constructor(first: Flow) {
    this.#chunks = [[first]];
  }

  get highest(): Flow {
    return this.#chunks.at(-1)!.at(-1)!;
  }

  find(priority: number): Flow | null {
    const chunk = this.#chunks[this.#chunkFor(priority)]!;
    const flow = chunk[placeIn(chunk, priority)];
    return flow?.priority === priority ? flow : null;
  }

  add(flow: Flow): void {
    const at = this.#chunkFor(flow.priority);
    const chunk = this.#chunks[at]!;
    chunk.splice(placeIn(chunk, flow.priority), 0, flow);
    if (chunk.length > CHUNK_MAX) this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK_MAX >> 1));
    this.size++;
  }

  /** False when it is not there. The last one cannot be removed. */
  remove(flow: Flow): boolean {
    const at = this.#chunkFor(flow.priority);
    const chunk = this.#chunks[at]!;
    const place = placeIn(chunk, flow.priority);
    if (chunk[place] !== flow || this.size === 1) return false;
    chunk.splice(place, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
    this.size--;
    return true;
  }

  /** Puts those with a priority above `above`, the highest first, into `into` from `count` on; returns the new count. */
  collect(above: number, into: Flow[], count: number): number {
    for (let c = this.#chunks.length - 1; c >= 0; c--) {
      const chunk = this.#chunks[c]!;
      for (let i = chunk.length - 1; i >= 0; i--) {
        if (chunk[i]!.priority <= above) return count;
        into[count++] = chunk[i]!;
      }
    }
    return count;
  }

  /** The first chunk whose highest priority is not below, else the last. */
  #chunkFor(priority: number): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#chunks[middle]!.at(-1)!.priority < priority) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Where in the sorted list a flow of this priority is, or would have to be. */
function placeIn(chunk: readonly Flow[], priority: number): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (chunk[middle]!.priority < priority) low = middle + 1;
    else high = middle;
  }
  return low;
}
