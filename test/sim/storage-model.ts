// What volumes of the storage simulation may hold: the blocks that are certain and the writes after them.
// Every block of a write holds the write's number, its tag. Pure. Thread: any.
export const VOLUME_BLOCKS = 1200;
/** Stands for a block that cannot be read. */
export const LOST = 0xffff_ffff;

export interface Write {
  readonly first: number;
  readonly count: number;
  /** 0: reads as zeros. */
  readonly tag: number;
}

/** What a volume held at a moment. */
export interface Moment {
  readonly timeMs: number;
  /** Writes that are in it, counted as in the model. */
  count: number;
  content: Uint32Array;
}

/** What one volume may hold. */
export class Model {
  /** Content that is certain. */
  base: Uint32Array = new Uint32Array(VOLUME_BLOCKS);
  /** Writes after it, in order. */
  writes: Write[] = [];
  flushed = 0;
  answered = 0;
  /** What it held when the clock went on, oldest first; only where it can be rewound. */
  moments: Moment[] = [];
  /** Since when it can be rewound; 0: not at all. */
  keptSinceMs = 0;

  content(count: number): Uint32Array {
    const content = this.base.slice();
    for (let i = 0; i < count; i++) apply(content, this.writes[i] as Write);
    return content;
  }

  /** All writes are where they belong. */
  settle(content: Uint32Array): void {
    this.base = content;
    this.writes = [];
    this.flushed = 0;
    this.answered = 0;
    for (const moment of this.moments) moment.count = 0;
  }

  /** The clock is about to go on. */
  note(timeMs: number, windowMs: number): void {
    if (this.keptSinceMs === 0) return;
    const count = this.writes.length;
    if (this.moments.at(-1)?.timeMs === timeMs) this.moments.pop();
    this.moments.push({ timeMs, count, content: this.content(count) });
    while ((this.moments[0] as Moment).timeMs < timeMs - 2 * windowMs) this.moments.shift();
  }

  /** Of the writes only the first `count` are left, and perhaps a part of the next: this is the content. */
  cut(count: number, content: Uint32Array): void {
    for (const moment of this.moments) if (moment.count > count) moment.content = content;
  }

  /** The writes from `count` on are not what was asked for. */
  forgetFrom(count: number): void {
    this.moments = this.moments.filter((moment) => moment.count <= count);
  }
}

function apply(content: Uint32Array, { first, count, tag }: Write): void {
  content.fill(tag, first, first + count);
}

/** Blocks that differ, as writes of one block. */
export function differences(before: Uint32Array, after: Uint32Array): Write[] {
  const found: Write[] = [];
  for (let first = 0; first < before.length; first++) {
    if (before[first] !== after[first]) found.push({ first, count: 1, tag: after[first] as number });
  }
  return found;
}

export function same(expected: Uint32Array, found: Uint32Array): boolean {
  for (let i = 0; i < expected.length; i++) if (expected[i] !== found[i] && found[i] !== LOST) return false;
  return true;
}

/** What a call of the pool may end with. */
export function assertIn(result: number, allowed: readonly number[], what: string): void {
  if (!allowed.includes(result)) throw new Error(`${what} ended with errno ${result}`);
}

/** What is refused because the pool is too full for what it would promise is not done. */
export function orFull<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (thrown) {
    const { code } = thrown as { code?: string };
    if (code === "POOL_FULL" || code === "ROOM_PENDING") return undefined;
    throw thrown;
  }
}
