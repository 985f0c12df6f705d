// Space is accounted exactly: held against a model that knows of every block which roots have it. And what a volume has can
// be overwritten in a pool that is full.
import fc from "fast-check";
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { usageOf, type VolumeUsage } from "../volume/usage.js";
import type { VolumeSpec } from "./open-pool.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const BLOCKS = 600;
const buffer = new DataBuffer(64 * BLOCK);

/** Block → number of the write that it holds; absent: nothing. */
type Content = Map<number, number>;

interface ModelVolume {
  head: Content;
  readonly snapshots: Map<string, Content>;
}

class Twin {
  readonly memory = new MemoryPool(1, 96 * MIB);
  readonly volumes = new Map<number, ModelVolume>();
  #next = 1;
  #tag = 1;

  create(rewindMs = 0): number {
    const id = this.#next++;
    this.memory.createVolume(id, BLOCKS * BLOCK);
    if (rewindMs > 0) this.memory.pool.setRewind(id, rewindMs);
    this.volumes.set(id, { head: new Map(), snapshots: new Map() });
    return id;
  }

  write(id: number, first: number, count: number): void {
    const volume = this.memory.pool.volume(id);
    const { head } = this.volumes.get(id) as ModelVolume;
    for (let block = first; block < Math.min(BLOCKS, first + count); block++) {
      const tag = this.#tag++;
      new Uint32Array(buffer.bytes.buffer, 0, BLOCK / 4).fill(tag);
      expect(volume.stageWrite(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
      head.set(block, tag);
    }
    expect(volume.commit()).toBe(0);
  }

  unmap(id: number, first: number, count: number): void {
    const volume = this.memory.pool.volume(id);
    const end = Math.min(BLOCKS, first + count);
    expect(volume.stageUnmap(first * BLOCK, (end - first) * BLOCK)).toBe(0);
    expect(volume.commit()).toBe(0);
    for (let block = first; block < end; block++) (this.volumes.get(id) as ModelVolume).head.delete(block);
  }

  snapshot(id: number, name: string): void {
    const model = this.volumes.get(id) as ModelVolume;
    if (model.snapshots.has(name)) {
      const spec = this.memory.specs.get(id) as VolumeSpec;
      this.memory.specs.set(id, { ...spec, snapshots: spec.snapshots.filter((each) => each.name !== name) });
      this.memory.pool.deleteSnapshot(id, name);
      model.snapshots.delete(name);
      return;
    }
    this.memory.createSnapshot(id, name);
    model.snapshots.set(name, new Map(model.head));
  }

  clone(id: number, name: string): void {
    const content = (this.volumes.get(id) as ModelVolume).snapshots.get(name);
    if (content === undefined || this.volumes.size >= 5) return;
    const spec = {
      ...(this.memory.specs.get(id) as VolumeSpec),
      id: this.#next++,
      snapshots: [],
      keyframes: [],
    };
    const fresh = { ...spec, name: `v${spec.id}`, rewindMs: 0, originVolume: id, checkpointSequence: 0 };
    const made = this.memory.pool.cloneVolume({ ...fresh, mapFile: "" }, id, name);
    this.memory.specs.set(spec.id, { ...fresh, mapFile: made.mapFile });
    this.volumes.set(spec.id, { head: new Map(content), snapshots: new Map() });
  }

  remove(id: number): void {
    if (this.volumes.size < 2) return;
    this.memory.specs.delete(id);
    this.memory.pool.deleteVolume(id);
    this.volumes.delete(id);
  }

  /** Content of everything but `without`. */
  *others(without: Content): Iterable<Content> {
    for (const { head, snapshots } of this.volumes.values()) {
      for (const content of [head, ...snapshots.values()]) if (content !== without) yield content;
    }
  }

  /** What deleting each snapshot frees. */
  checkFreed(id: number, { snapshotExclusiveBytes }: VolumeUsage): void {
    for (const [name, content] of this.volumes.get(id)?.snapshots ?? []) {
      const rest = new Set([...this.others(content)].flatMap((each) => [...each.values()]));
      const freed = [...content.values()].filter((tag) => !rest.has(tag)).length;
      expect(snapshotExclusiveBytes.get(name)).toBe(freed * BLOCK);
    }
  }

  check(): void {
    // Whether there was a checkpoint since or not.
    for (const id of this.volumes.keys()) {
      const volume = this.memory.pool.volume(id);
      if (!volume.related) this.checkFreed(id, usageOf(volume, this.memory.pool.table));
    }
    this.memory.settle();
    for (const [id, { head, snapshots }] of this.volumes) {
      const usage = usageOf(this.memory.pool.volume(id), this.memory.pool.table);
      const own = [head, ...snapshots.values()];
      const tags = new Set(own.flatMap((content) => [...content.values()]));
      expect(usage.allocatedBytes).toBe(tags.size * BLOCK);
      const elsewhere = new Set([...this.others(head)].flatMap((content) => [...content.values()]));
      const shared = [...head.values()].filter((tag) => elsewhere.has(tag)).length;
      const { promises } = this.memory.pool.volume(id);
      expect(promises.stale).toBe(false);
      expect(promises.blocks).toBe(shared);
      this.checkFreed(id, usage);
    }
    const promised = [...this.volumes.keys()].reduce(
      (sum, id) => sum + this.memory.pool.volume(id).promises.total,
      0,
    );
    expect(this.memory.pool.room.promised).toBe(promised);
  }
}

const place = { first: fc.nat(BLOCKS - 1), count: fc.integer({ min: 1, max: 60 }) };
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("write" as const), of: fc.nat(4), ...place }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("unmap" as const), of: fc.nat(4), ...place }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("snapshot" as const),
      of: fc.nat(4),
      name: fc.constantFrom("a", "b", "c"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("clone" as const),
      of: fc.nat(4),
      name: fc.constantFrom("a", "b", "c"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom("remove" as const, "create" as const, "check" as const),
      of: fc.nat(4),
    }),
  },
);

test("allocated, shared, what deleting a snapshot frees and what is promised are what a naive model says", {
  timeout: 120_000,
}, () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
      const twin = new Twin();
      twin.create();
      for (const each of steps) {
        const ids = [...twin.volumes.keys()];
        const id = ids[each.of % ids.length] as number;
        if (each.do === "write" || each.do === "unmap") twin[each.do](id, each.first, each.count);
        else if (each.do === "snapshot" || each.do === "clone") twin[each.do](id, each.name);
        else if (each.do === "remove") twin.remove(id);
        else if (each.do === "check") twin.check();
        else if (ids.length < 5) twin.create();
      }
      twin.check();
    }),
    { numRuns: process.env["PLINTH_NIGHTLY"] === "1" ? 1000 : 60 },
  );
});

/** Fills a pool with snapshots in between, then overwrites all that is there; the first errno, or 0. */
function fillAndOverwrite(prepare: (memory: MemoryPool) => void, copies: number): number {
  const memory = new MemoryPool(copies, 64 * MIB);
  prepare(memory);
  const volume = memory.createVolume(1, 256 * MIB, copies);
  const put = (block: number): number => {
    new Uint32Array(buffer.bytes.buffer, 0, BLOCK / 4).fill(block + 1);
    for (;;) {
      const result = volume.stageWrite(buffer, 0, block * BLOCK, BLOCK) || volume.commit();
      if (result !== 11) return result;
      memory.settle();
    }
  };
  const snapshot = (name: string): void => {
    try {
      memory.createSnapshot(1, name);
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: expect.stringMatching(/^(POOL_FULL|ROOM_PENDING)$/) });
    }
  };
  let end = 0;
  for (; put(end) === 0; end++) if (end === 1500 || end === 3000) snapshot(`s${end}`);
  snapshot("full");
  expect(end).toBeGreaterThan(3000);
  // Backwards, and every second block first: as scattered as can be.
  for (const start of [end - 1, end - 2]) {
    for (let block = start; block >= 0; block -= 2) {
      const result = put(block);
      if (result !== 0) return result;
    }
  }
  return volume.flush();
}

test("in a pool that is full everything that a volume has can still be overwritten, snapshots or not", {
  timeout: 120_000,
}, () => {
  expect(fillAndOverwrite(() => {}, 1)).toBe(0);
  expect(fillAndOverwrite(() => {}, 2)).toBe(0);
});

test("without promises it could not: the test before can fail", { timeout: 120_000 }, () => {
  const careless = ({ pool }: MemoryPool): void => {
    pool.room.grow = () => 0;
    pool.room.take = () => true;
  };
  expect(fillAndOverwrite(careless, 1)).toBe(28);
});
