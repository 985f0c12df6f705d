// What a pool says that disks can hold they do hold, wherever free slots are: disks of any sizes and classes, one and two
// copies, disks that come late or are emptied; and everything that was stored can be overwritten.
import fc from "fast-check";
import { expect, test } from "vitest";
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { DATA_BLOCKS } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";
import { growthOf, type Holder, type Load } from "./capacity.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const EAGAIN = 11;
const ENOSPC = 28;
const buffer = new DataBuffer(64 * BLOCK);
const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";

const diskClass = fc.constantFrom("", "fast");
const world = fc.record({
  disks: fc.array(fc.record({ mib: fc.integer({ min: 40, max: 90 }), diskClass }), {
    minLength: 1,
    maxLength: 4,
  }),
  volumes: fc.array(fc.record({ copies: fc.integer({ min: 1, max: 2 }), diskClass }), {
    minLength: 1,
    maxLength: 3,
  }),
  /** How many disks there are from the start; the others come when the pool is full. */
  first: fc.integer({ min: 1, max: 4 }),
  drains: fc.boolean(),
  snapshots: fc.boolean(),
  seed: fc.nat(),
});

class FullPool {
  readonly memory: MemoryPool;
  readonly volumes: Volume[] = [];
  #tag = 1;

  constructor(disk: { mib: number; diskClass: string }) {
    this.memory = new MemoryPool(1, disk.mib * MIB);
    this.#classify(disk.diskClass);
  }

  add(disk: { mib: number; diskClass: string }): void {
    this.memory.addDisk(disk.mib * MIB);
    this.#classify(disk.diskClass);
  }

  #classify(name: string): void {
    const disk = this.memory.pool.table.disks.at(-1);
    if (disk !== undefined) disk.diskClass = name;
  }

  /** Only where there are disks for it. */
  volume(copies: number, name: string): void {
    const disks = this.memory.pool.table.disks.filter((disk) => disk.isOfClass(name));
    if (disks.length < copies) return;
    this.volumes.push(this.memory.createVolume(this.volumes.length + 1, 512 * MIB, copies, "", name));
  }

  put(volume: Volume, block: number): number {
    new Uint32Array(buffer.bytes.buffer, 0, BLOCK / 4).fill(this.#tag++);
    for (let tries = 0; tries < 1000; tries++) {
      const result = volume.stageWrite(buffer, 0, block * BLOCK, BLOCK) || volume.commit();
      if (result !== EAGAIN) return result;
      this.memory.settle();
    }
    return EAGAIN;
  }

  /** Until nothing new can be stored, all volumes by turns. */
  fill(random: Random): void {
    let growing = [...this.volumes];
    while (growing.length > 0) {
      const volume = random.pick(growing);
      const run = 1 + random.below(200);
      for (let i = 0; i < run; i++) {
        const result = this.put(volume, volume.head.map.mappedBlocks);
        if (result === 0) continue;
        expect(result).toBe(ENOSPC);
        growing = growing.filter((each) => each !== volume);
        break;
      }
    }
  }

  snapshot(name: string): void {
    for (const { id } of this.volumes) {
      try {
        this.memory.createSnapshot(id, `${name}${id}`);
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: expect.stringMatching(/^(POOL_FULL|ROOM_PENDING)$/) });
      }
    }
  }

  drain(random: Random): void {
    const { disks, table } = this.memory.pool;
    const { index } = random.pick(table.disks);
    try {
      disks.checkDrain(index);
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: "POOL_FULL" });
      return;
    }
    disks.drain(index);
    this.memory.settle();
    const stays = disks.usage().find((each) => each.index === index)?.segments;
    // With fewer disks than copies a copy stays rather than being lost.
    const others = table.disks.filter((disk) => disk.open);
    const enough = this.volumes.every(
      ({ copies, diskClass: name }) => others.filter((disk) => disk.isOfClass(name)).length >= copies,
    );
    if (enough) expect(stays).toBe(0);
  }

  /** As scattered as can be: every second block, backwards. */
  overwrite(): void {
    for (const odd of [1, 0]) {
      for (const volume of this.volumes) {
        for (let block = volume.head.map.mappedBlocks - 1; block >= 0; block--) {
          if (block % 2 === odd) expect(this.put(volume, block), `block ${block} of ${volume.name}`).toBe(0);
        }
      }
    }
  }
}

test("whatever was stored in a full pool can be overwritten, wherever its disks have room", {
  timeout: 600_000,
}, () => {
  fc.assert(
    fc.property(world, ({ disks, volumes, first, drains, snapshots, seed }) => {
      const random = new Random(seed);
      const pool = new FullPool(disks[0] as { mib: number; diskClass: string });
      for (const disk of disks.slice(1, first)) pool.add(disk);
      for (const { copies, diskClass: name } of volumes) pool.volume(copies, name);
      if (snapshots) for (const volume of pool.volumes) for (let i = 0; i < 300; i++) pool.put(volume, i);
      if (snapshots) pool.snapshot("s");
      pool.fill(random);
      for (const disk of disks.slice(first)) pool.add(disk);
      if (drains) pool.drain(random);
      if (snapshots) pool.snapshot("t");
      pool.fill(random);
      pool.overwrite();
      for (const volume of pool.volumes) expect(volume.flush()).toBe(0);
    }),
    { numRuns: NIGHTLY ? 300 : 4 },
  );
});

/** Whether so many full segments of each kind can be put on disks, the hardest to place first. */
function fits(disks: readonly Holder[], loads: readonly Load[]): boolean {
  const free = disks.map(({ slotCount }) => slotCount);
  const rank = (load: Load): number => (load.diskClass === "" ? 2 : 0) + (load.copies === 1 ? 1 : 0);
  for (const load of [...loads].sort((a, b) => rank(a) - rank(b))) {
    const able = disks.flatMap((disk, i) =>
      load.diskClass === "" || disk.diskClass === load.diskClass ? [i] : [],
    );
    const copies = Math.min(load.copies, able.length);
    for (let n = 0; n < Math.ceil(load.blocks / DATA_BLOCKS); n++) {
      const open = able.filter((i) => (free[i] as number) > 0);
      open.sort((a, b) => (free[b] as number) - (free[a] as number));
      if (open.length < copies) return false;
      for (const i of open.slice(0, copies)) free[i] = (free[i] as number) - 1;
    }
  }
  return true;
}

test("growthOf() never says more than whole segments on distinct disks can hold", () => {
  const load = fc.record({
    copies: fc.integer({ min: 1, max: 2 }),
    diskClass,
    blocks: fc.nat(20 * DATA_BLOCKS),
  });
  const holder = fc.record({ slotCount: fc.integer({ min: 8, max: 60 }), diskClass });
  let roomy = 0;
  fc.assert(
    fc.property(
      fc.array(holder, { minLength: 1, maxLength: 5 }),
      fc.array(load, { maxLength: 3 }),
      load,
      (disks, loads, { copies, diskClass: name }) => {
        if (name !== "" && !disks.some((disk) => disk.diskClass === name)) return;
        const possible = loads.filter(
          (each) => each.diskClass === "" || disks.some((disk) => disk.diskClass === each.diskClass),
        );
        const growth = growthOf(disks, possible, copies, name, possible.length + 1);
        if (
          growth < 0 ||
          possible.some((each) => growthOf(disks, possible, each.copies, each.diskClass, 4) < 0)
        )
          return;
        roomy++;
        expect(fits(disks, [...possible, { copies, diskClass: name, blocks: growth }])).toBe(true);
      },
    ),
    { numRuns: 2000 },
  );
  expect(roomy).toBeGreaterThan(200);
});
