// Crash simulation of the storage pool: one seed drives writes, snapshots, cleaning, process deaths and power failures.
//
// Checker: after every restart each volume holds exactly what some prefix of its writes left. After a process death
// the prefix contains every answered write; after a power failure everything up to the last answered flush. Snapshots
// and clones never change. All space comes back when everything is deleted. A failure prints how to replay its seed:
//   PLINTH_SIM_SEED=<seed> npx vitest run --project sim test/sim/storage-crash.test.ts
import { expect, test } from "vitest";
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../../storage-pool/disk/data-buffer.js";
import { type Disk, formatDisk, openDisk } from "../../storage-pool/disk/disk.js";
import type { CheckpointRecord } from "../../storage-pool/pool/checkpoint.js";
import type { VolumeSpec } from "../../storage-pool/pool/open-pool.js";
import { Pool } from "../../storage-pool/pool/pool.js";
import type { BlockDevice } from "../../storage-pool/volume/block-device.js";
import { Fuse, SimulatedCrash, SimulatedDiskFile, SimulatedMapFiles } from "./storage-simulator.js";

const BLOCK = 4096;
const VOLUME_BLOCKS = 1500;
const WRITE_BLOCKS_MAX = 48;
const MIB = 1024 * 1024;

interface Write {
  readonly first: number;
  readonly count: number;
  /** 0: reads as zeros. */
  readonly tag: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What one volume may hold. */
class Model {
  /** Content that is certain. */
  base: Uint32Array = new Uint32Array(VOLUME_BLOCKS);
  /** Writes after it, in order. */
  writes: Write[] = [];
  flushed = 0;
  answered = 0;

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
  }
}

function apply(content: Uint32Array, { first, count, tag }: Write): void {
  content.fill(tag, first, first + count);
}

class World {
  readonly random: Random;
  readonly fuse = new Fuse();
  readonly files: SimulatedMapFiles;
  readonly disks: SimulatedDiskFile[];
  readonly copies: number;
  readonly specs = new Map<number, Mutable<VolumeSpec>>();
  readonly models = new Map<number, Model>();
  /** "volume/name" → content. */
  readonly snapshots = new Map<string, Uint32Array>();
  readonly buffer = new DataBuffer(VOLUME_BLOCKS * BLOCK);
  pool: Pool;
  nowMs = 0;
  nextTag = 1;
  nextId = 1;
  crashes = 0;
  epoch = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.files = new SimulatedMapFiles(this.fuse, this.random);
    const diskCount = 1 + this.random.below(3);
    this.copies = diskCount > 1 ? 1 + this.random.below(2) : 1;
    const sizeBytes = (Math.floor(26 / diskCount) * this.copies + 3) * 4 * MIB;
    this.disks = Array.from({ length: diskCount }, (_, i) => {
      const file = new SimulatedDiskFile(`disk${i}`, sizeBytes, this.fuse, this.random);
      formatDisk(file, { poolId: "p", poolName: "default", diskId: `d${i}`, diskIndex: i, diskCount });
      return file;
    });
    this.pool = this.open();
    this.create();
  }

  open(): Pool {
    const disks: Disk[] = this.disks.map((file, i) => openDisk(file, "p", i));
    for (const spec of this.specs.values()) spec.epoch++;
    const pool = new Pool(
      disks,
      this.files,
      [...this.specs.values()].map((spec) => structuredClone(spec)),
      ++this.epoch,
    );
    expect([...pool.damaged.entries()]).toEqual([]);
    return pool;
  }

  create(): void {
    const spec = this.newSpec(0);
    this.pool.createVolume(structuredClone(spec));
    this.specs.set(spec.id, spec);
    this.models.set(spec.id, new Model());
  }

  newSpec(originVolume: number): Mutable<VolumeSpec> {
    const id = this.nextId++;
    return {
      id,
      name: `v${id}`,
      sizeBytes: VOLUME_BLOCKS * BLOCK,
      copies: this.copies,
      epoch: 1,
      mapFile: "",
      checkpointSequence: 0,
      originVolume,
      snapshots: [],
    };
  }

  step(): void {
    const id = this.random.pick([...this.specs.keys()]);
    const dice = this.random.below(100);
    if (dice < 55) this.batch(id);
    else if (dice < 67) this.flush(id);
    else if (dice < 84) this.housekeep(1 + this.random.below(40));
    else if (dice < 88) this.snapshot(id);
    else if (dice < 91) this.dropSnapshot();
    else if (dice < 93) this.revert();
    else if (dice < 95) this.clone();
    else if (dice < 96 && this.specs.size > 1) this.remove(id);
    else this.check(id);
  }

  /** A few requests that are staged together and answered together. */
  batch(id: number): void {
    const volume = this.pool.volume(id);
    const model = this.models.get(id) as Model;
    const count = 1 + this.random.below(6);
    for (let i = 0; i < count; i++) {
      const blocks = 1 + this.random.below(this.random.chance(0.3) ? WRITE_BLOCKS_MAX : 4);
      const first = this.random.below(VOLUME_BLOCKS - blocks);
      const unmap = this.random.chance(0.2);
      const write: Write = { first, count: blocks, tag: unmap ? 0 : this.nextTag++ };
      model.writes.push(write);
      this.fill(write);
      const result = unmap
        ? volume.stageUnmap(first * BLOCK, blocks * BLOCK)
        : volume.stageWrite(this.buffer, 0, first * BLOCK, blocks * BLOCK);
      if (result === 0) continue;
      expect([11, 28]).toContain(result);
      model.writes.pop();
      this.housekeep(400);
      break;
    }
    expect(volume.commit()).toBe(0);
    model.answered = model.writes.length;
  }

  fill({ count, tag }: Write): void {
    new Uint32Array(this.buffer.bytes.buffer, 0, count * 1024).fill(tag);
  }

  flush(id: number): void {
    expect(this.pool.volume(id).flush()).toBe(0);
    // A flush makes the whole pool durable, but only this volume was promised it.
    const model = this.models.get(id) as Model;
    model.flushed = model.answered;
    if (model.flushed > 200) model.settle(model.content(model.writes.length));
  }

  housekeep(steps: number): void {
    this.nowMs += 1000;
    for (let i = 0; i < steps; i++) {
      const outcome = this.pool.housekeeper.housekeep(this.nowMs);
      if (outcome === "idle") return;
      if (outcome !== "busy") this.record(outcome);
    }
  }

  record(record: CheckpointRecord): void {
    this.fuse.burn();
    const spec = this.specs.get(record.volume) as Mutable<VolumeSpec>;
    spec.mapFile = record.files[""] ?? spec.mapFile;
    spec.checkpointSequence = record.sequence;
    spec.snapshots = spec.snapshots.map((each) => ({
      ...each,
      mapFile: record.files[each.name] ?? each.mapFile,
    }));
    this.fuse.burn();
    this.pool.housekeeper.checkpointRecorded(true);
  }

  /** No checkpoint is half way while the catalogue changes. */
  held(change: () => void): void {
    this.pool.housekeeper.hold();
    change();
    this.pool.housekeeper.release();
  }

  snapshot(id: number): void {
    const spec = this.specs.get(id) as Mutable<VolumeSpec>;
    if (spec.snapshots.length >= 3) return;
    const name = `s${this.nextTag++}`;
    const model = this.models.get(id) as Model;
    const content = model.content(model.writes.length);
    this.held(() => {
      const made = this.pool.createSnapshot(id, name);
      model.flushed = model.answered;
      this.fuse.burn();
      spec.snapshots = [...spec.snapshots, { name, ...made }];
      this.snapshots.set(`${id}/${name}`, content);
      this.fuse.burn();
    });
  }

  anySnapshot(): { id: number; name: string } | undefined {
    if (this.snapshots.size === 0) return undefined;
    const [id, name] = this.random.pick([...this.snapshots.keys()]).split("/") as [string, string];
    return { id: Number(id), name };
  }

  dropSnapshot(): void {
    const chosen = this.anySnapshot();
    if (chosen === undefined) return;
    const spec = this.specs.get(chosen.id) as Mutable<VolumeSpec>;
    this.held(() => {
      this.fuse.burn();
      spec.snapshots = spec.snapshots.filter((each) => each.name !== chosen.name);
      this.snapshots.delete(`${chosen.id}/${chosen.name}`);
      this.fuse.burn();
      this.pool.deleteSnapshot(chosen.id, chosen.name);
    });
  }

  revert(): void {
    const chosen = this.anySnapshot();
    if (chosen === undefined) return;
    const spec = this.specs.get(chosen.id) as Mutable<VolumeSpec>;
    this.held(() => {
      const made = this.pool.prepareRevert(chosen.id, chosen.name);
      const model = this.models.get(chosen.id) as Model;
      model.flushed = model.answered;
      this.fuse.burn();
      spec.mapFile = made.mapFile;
      spec.checkpointSequence = made.sequence;
      spec.snapshots = spec.snapshots.map((each) => ({
        ...each,
        mapFile: made.snapshotFiles[each.name] ?? each.mapFile,
      }));
      model.settle((this.snapshots.get(`${chosen.id}/${chosen.name}`) as Uint32Array).slice());
      this.fuse.burn();
      this.pool.finishRevert(chosen.id, true);
    });
  }

  clone(): void {
    const chosen = this.anySnapshot();
    if (chosen === undefined || this.specs.size >= 4) return;
    const spec = this.newSpec(chosen.id);
    this.held(() => {
      const made = this.pool.cloneVolume(structuredClone(spec), chosen.id, chosen.name);
      this.fuse.burn();
      spec.mapFile = made.mapFile;
      this.specs.set(spec.id, spec);
      const model = new Model();
      model.settle((this.snapshots.get(`${chosen.id}/${chosen.name}`) as Uint32Array).slice());
      this.models.set(spec.id, model);
      this.fuse.burn();
    });
  }

  remove(id: number): void {
    this.held(() => {
      this.fuse.burn();
      this.specs.delete(id);
      this.models.delete(id);
      for (const key of [...this.snapshots.keys()]) if (key.startsWith(`${id}/`)) this.snapshots.delete(key);
      this.fuse.burn();
      this.pool.deleteVolume(id);
    });
  }

  read(device: BlockDevice): Uint32Array {
    const content = new Uint32Array(VOLUME_BLOCKS);
    expect(device.read(this.buffer, 0, 0, VOLUME_BLOCKS * BLOCK)).toBe(0);
    const words = new Uint32Array(this.buffer.bytes.buffer, 0, VOLUME_BLOCKS * 1024);
    for (let block = 0; block < VOLUME_BLOCKS; block++) {
      content[block] = words[block * 1024] as number;
      // One word of each sector tells whether the block is whole.
      for (let at = block * 1024; at < (block + 1) * 1024; at += 64) {
        if (words[at] !== content[block]) throw new Error(`block ${block} is torn`);
      }
    }
    return content;
  }

  check(id: number): void {
    const model = this.models.get(id) as Model;
    expect(same(this.read(this.pool.volume(id)), model.content(model.writes.length))).toBe(true);
    const usage = this.pool.usageOf(id);
    expect(usage.exclusiveBytes).toBeLessThanOrEqual(usage.allocatedBytes);
  }

  crash(): void {
    this.crashes++;
    const power = this.random.chance(0.5);
    if (power) {
      for (const disk of this.disks) disk.losePower();
      this.files.losePower();
    }
    this.fuse.crashed = false;
    this.fuse.left = Number.POSITIVE_INFINITY;
    this.pool = this.open();
    for (const [id, model] of this.models) this.checkPrefix(id, model, power);
    for (const key of this.snapshots.keys()) this.checkSnapshot(key);
  }

  /** The content is that of a prefix which is long enough; a request may stop between its blocks if never answered. */
  checkPrefix(id: number, model: Model, power: boolean): void {
    const content = this.read(this.pool.volume(id));
    const least = power ? model.flushed : model.answered;
    const candidate = model.content(least);
    for (let count = least; ; count++) {
      const write = model.writes[count];
      const parts = write === undefined ? 0 : write.count;
      for (let part = 0; part <= parts; part++) {
        if (part > 0) candidate[(write as Write).first + part - 1] = (write as Write).tag;
        if (same(candidate, content)) {
          model.settle(content);
          return;
        }
      }
      if (write === undefined) break;
    }
    const wrong = content.findIndex((tag, block) => tag !== model.content(model.writes.length)[block]);
    throw new Error(
      `volume ${id} is no prefix after ${power ? "power failure" : "process death"}: ` +
        `${least} to ${model.writes.length} writes, block ${wrong} has ${content[wrong]}`,
    );
  }

  checkSnapshot(key: string): void {
    const [id, name] = key.split("/") as [string, string];
    const root = this.pool.volume(Number(id)).snapshots.get(name);
    if (root === undefined) throw new Error(`snapshot ${key} is gone`);
    const device = {
      read: (target: DataBuffer, at: number, offset: number, length: number) =>
        this.pool.reader.read(root.map, target, at, offset, length),
    } as BlockDevice;
    expect(same(this.read(device), this.snapshots.get(key) as Uint32Array), `snapshot ${key}`).toBe(true);
  }

  /** Everything deleted: every slot is free again. */
  empty(): void {
    for (const id of [...this.specs.keys()]) this.remove(id);
    this.housekeep(100);
    expect(this.pool.usage().allocatedBytes).toBeLessThanOrEqual(2 * 4 * MIB * this.copies);
  }
}

function same(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function simulate(seed: number, rounds: number): void {
  const world = new World(seed);
  for (let round = 0; round < rounds; round++) {
    world.fuse.left = 1 + world.random.below(world.random.chance(0.5) ? 60 : 900);
    try {
      while (!world.fuse.crashed) world.step();
    } catch (thrown) {
      if (!(thrown instanceof SimulatedCrash) && !world.fuse.crashed) throw thrown;
    }
    world.crash();
  }
  world.empty();
}

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const given = process.env["PLINTH_SIM_SEED"];
const seeds = given === undefined ? range(1, NIGHTLY ? 2000 : 60) : range(...parseSeeds(given));

/** "7" or "100-200". */
function parseSeeds(text: string): [number, number] {
  const [first, last] = text.split("-").map(Number);
  return [first as number, last ?? (first as number)];
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

test("no crash loses an answered write, and what is left is always a prefix", { timeout: 600_000 }, () => {
  for (const seed of seeds) {
    try {
      simulate(seed, 12);
    } catch (thrown) {
      const replay = `PLINTH_SIM_SEED=${seed} npx vitest run --project sim test/sim/storage-crash.test.ts`;
      throw new Error(`seed ${seed}: ${(thrown as Error).message}\nreplay: ${replay}`, { cause: thrown });
    }
  }
});
