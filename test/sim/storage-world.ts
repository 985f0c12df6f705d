// The world of the storage simulation: a pool, its surroundings, what clients do, and what may be found afterwards.
// One seed drives everything. Thread: any.
//
// Checker: after every restart each volume holds exactly what some prefix of its writes left. After a process death the
// prefix contains every answered write; after a power failure everything up to the last answered flush. Snapshots and
// clones never change. A bad disk costs nothing where there are two copies; where there is one, what it ruined is an
// error or makes the volume refused, and is never served. All space comes back when everything is deleted.
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../../storage-pool/disk/data-buffer.js";
import { SEGMENT_SIZE } from "../../storage-pool/log/format.js";
import { auditCounts } from "../../storage-pool/pool/count-audit.js";
import { mergedKeyframes } from "../../storage-pool/pool/keyframes.js";
import type { BlockDevice } from "../../storage-pool/volume/block-device.js";
import { SnapshotDevice } from "../../storage-pool/volume/snapshot-device.js";
import {
  assertIn,
  differences,
  LOST,
  Model,
  orFull,
  same,
  VOLUME_BLOCKS,
  type Write,
} from "./storage-model.js";
import { readInOrder } from "./storage-order.js";
import { packSome } from "./storage-packing.js";
import { readBlocksTogether } from "./storage-reads.js";
import { NO_FAULTS, SimulatedCrash } from "./storage-simulator.js";
import { EndOfWorld, type MutableSpec, Surroundings } from "./storage-surroundings.js";
import { overwrite, rewind, trash } from "./storage-travel.js";

const BLOCK = 4096;
const WRITE_BLOCKS_MAX = 48;

export class World extends Surroundings {
  readonly models = new Map<number, Model>();
  /** "volume/name" → content. */
  readonly snapshots = new Map<string, Uint32Array>();
  readonly buffer = new DataBuffer(VOLUME_BLOCKS * BLOCK);
  /** Deleted volumes that the pool asked to go, for it was short of room. */
  readonly purged: number[] = [];
  /** What the maps name is counted anew after each crash, and compared. */
  readonly audited: boolean;
  /** For volumes that are read in order now and then, as in most worlds. */
  readonly reading: Random | undefined;
  /** For volumes that are compressed, as in two of seven worlds: those of seeds that found something once are as they were. */
  readonly compressing: Random | undefined;
  nextTag = 1;
  nextId = 1;

  constructor(seed: number) {
    super(seed);
    this.audited = seed % 2 === 0;
    this.reading = [1, 3, 4, 5, 7].includes(seed % 8) ? new Random(seed + 2 ** 29) : undefined;
    this.compressing = [0, 3].includes(seed % 7) ? new Random(seed + 2 ** 28) : undefined;
    this.create();
  }

  /** Runs until `rounds` crashes; throws what a checker found. */
  run(rounds: number): void {
    try {
      for (let round = 0; round < rounds; round++) this.live();
      this.empty();
    } catch (thrown) {
      if (!(thrown instanceof EndOfWorld)) throw thrown;
    }
  }

  override purge(volume: number): void {
    this.purged.push(volume);
  }

  live(): void {
    this.fuse.left = 1 + this.random.below(this.random.chance(0.5) ? 60 : 700);
    if (this.bad !== undefined && !this.away) this.bad.file.faults = this.faults();
    try {
      while (!this.fuse.crashed) this.step();
    } catch (thrown) {
      if (!(thrown instanceof SimulatedCrash) && !this.fuse.crashed) throw thrown;
    }
    this.crash();
  }

  create(): void {
    const spec = this.newSpec(0);
    const model = new Model();
    if (this.random.chance(0.5)) {
      const timeMs = this.clockMs;
      spec.rewindMs = (1 + this.random.below(30)) * 1000;
      spec.keyframes = [{ name: "~0", sequence: 0, sizeBytes: spec.sizeBytes, mapFile: "", timeMs }];
      model.keptSinceMs = timeMs;
    }
    this.nextVolumeId = spec.id + 1;
    this.pool.createVolume(structuredClone(spec));
    this.specs.set(spec.id, spec);
    this.models.set(spec.id, model);
  }

  newSpec(originVolume: number): MutableSpec {
    return this.emptySpec(this.nextId++, originVolume, VOLUME_BLOCKS * BLOCK, this.compressing !== undefined);
  }

  step(): void {
    const used = [...this.specs.values()].filter((spec) => spec.deletedAtMs === 0);
    const id = this.random.pick(used).id;
    const dice = this.random.below(1000);
    this.surround();
    if (this.reading?.chance(0.08)) readInOrder(this, this.reading);
    if (this.compressing?.chance(0.3)) packSome(this, this.compressing);
    if (dice < 550) this.batch(id);
    else if (dice < 660) this.flush(id);
    else if (dice < 810) this.housekeep(1 + this.random.below(40));
    else if (dice < 850) this.snapshot(id);
    else if (dice < 880) this.dropSnapshot();
    else if (dice < 895) this.revert();
    else if (dice < 915) rewind(this, id);
    else if (dice < 925) this.clone();
    else if (dice < 930 && used.length > 1) this.remove(id);
    else if (dice < 935 && used.length > 1) trash(this, id);
    else if (dice < 945) overwrite(this, id);
    else if (dice < 960) this.changeDisks();
    else if (dice < 970) this.full();
    else if (dice < 990 && this.rots) this.rest();
    else this.check(id);
  }

  /** Everything is flushed, and then nothing comes for a while or one more write; the process ends, and bits may flip. */
  rest(): void {
    for (const { file } of this.disks) file.full = false;
    for (const id of this.specs.keys()) this.flush(id);
    this.noted = true;
    if (this.random.chance(0.5)) {
      for (let i = 0; i < 20; i++) this.housekeep(40);
    } else {
      for (const [id, model] of this.models) {
        if (this.specs.get(id)?.deletedAtMs !== 0) {
          this.mark(id);
          continue;
        }
        const write: Write = { first: this.random.below(VOLUME_BLOCKS), count: 1, tag: this.nextTag++ };
        model.writes.push(write);
        this.fill(write);
        const staged = this.pool.volume(id).stageWrite(this.buffer, 0, write.first * BLOCK, BLOCK);
        assertIn(staged, [0, 11, 28], "a write");
        if (staged !== 0) model.writes.pop();
        if (this.pool.volume(id).commit() === 0) model.answered = model.writes.length;
        if (staged !== 0) this.mark(id);
      }
      this.pool.sync();
      this.noted = this.random.chance(0.5);
      if (this.noted) this.housekeep(1);
    }
    this.rested = true;
    this.fuse.left = 1;
    this.fuse.burn();
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
      if (result !== 11) {
        assertIn(result, [28, ...this.errors()], "a write");
        this.commit(id, model, true);
        return;
      }
      model.writes.pop();
      this.endSyncs();
      this.housekeep(400);
      break;
    }
    this.commit(id, model, false);
  }

  /** After a failed write its blocks hold the old or the new, and what holds is what is read. */
  commit(id: number, model: Model, failed: boolean): void {
    const result = this.pool.volume(id).commit();
    if (result === 0 && !failed) {
      model.answered = model.writes.length;
      return;
    }
    if (result !== 0) assertIn(result, [28, ...this.errors()], "a commit");
    this.settleFailed(id, model);
  }

  settleFailed(id: number, model: Model): void {
    const content = this.read(id);
    this.expectBetween(
      content,
      model.content(model.answered),
      model.writes.slice(model.answered),
      `volume ${id}`,
    );
    if (content.includes(LOST)) throw new EndOfWorld();
    // Whether it survives is open until it is read after the next flush: both are asked of the disks now.
    model.writes.length = model.answered;
    model.forgetFrom(model.answered);
    model.writes.push(...differences(model.content(model.answered), content));
    model.answered = model.writes.length;
  }

  /** Each block is what it was or what one of the failed writes would have made of it. */
  expectBetween(content: Uint32Array, before: Uint32Array, failed: readonly Write[], what: string): void {
    for (let block = 0; block < VOLUME_BLOCKS; block++) {
      if (content[block] === before[block] || content[block] === LOST) continue;
      const written = failed.some(
        ({ first, count, tag }) => block >= first && block < first + count && content[block] === tag,
      );
      if (!written) throw new Error(`${what}: block ${block} is neither old nor new after a failed write`);
    }
  }

  errors(): number[] {
    return this.bad === undefined ? [] : [5];
  }

  fill({ count, tag }: Write): void {
    new Uint32Array(this.buffer.bytes.buffer, 0, count * 1024).fill(tag);
  }

  flush(id: number): void {
    const result = this.pool.volume(id).flush();
    if (result !== 0) {
      // Something that was staged found no room.
      if (result !== 28) throw new Error(`a flush of volume ${id} failed with ${result}`);
      this.settleFailed(id, this.models.get(id) as Model);
      return;
    }
    // A flush makes the whole pool durable, but only this volume was promised it.
    const model = this.models.get(id) as Model;
    model.flushed = model.answered;
    if (model.flushed > 200) model.settle(model.content(model.writes.length));
  }

  housekeep(steps: number): void {
    for (const [id, model] of this.models)
      model.note(this.clockMs, (this.specs.get(id) as MutableSpec).rewindMs);
    this.nowMs += 1100;
    for (let i = 0; i < steps; i++) {
      const outcome = this.pool.housekeeper.housekeep(this.nowMs);
      // A checkpoint takes what its files throw for a full disk; this process is dead.
      if (this.fuse.crashed) throw new SimulatedCrash("the process is dead");
      if (typeof outcome === "object") this.record(outcome);
      for (const id of this.purged.splice(0)) if (this.specs.has(id)) this.remove(id);
      if (outcome === "idle") {
        this.endSyncs();
        if (!this.pool.jobs.active) return;
      }
    }
  }

  snapshot(id: number): void {
    const spec = this.specs.get(id) as MutableSpec;
    if (spec.snapshots.length >= 3) return;
    const name = `s${this.nextTag++}`;
    const model = this.models.get(id) as Model;
    const content = model.content(model.writes.length);
    this.held(() => {
      const made = orFull(() => this.pool.createSnapshot(id, name));
      if (made === undefined) return;
      model.flushed = model.answered;
      this.fuse.burn();
      spec.snapshots = [...spec.snapshots, { name, ...made }];
      this.snapshots.set(`${id}/${name}`, content);
      this.fuse.burn();
    });
  }

  anySnapshot(): { id: number; name: string } | undefined {
    const keys = [...this.snapshots.keys()].filter(
      (key) => this.specs.get(Number.parseInt(key, 10))?.deletedAtMs === 0,
    );
    if (keys.length === 0) return undefined;
    const [id, name] = this.random.pick(keys).split("/") as [string, string];
    return { id: Number(id), name };
  }

  dropSnapshot(): void {
    const chosen = this.anySnapshot();
    if (chosen === undefined) return;
    const spec = this.specs.get(chosen.id) as MutableSpec;
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
    const content = this.snapshots.get(`${chosen.id}/${chosen.name}`) as Uint32Array;
    this.held(() => this.putBack(chosen.id, chosen.name, content));
  }

  /** To a snapshot, or to the moment looked up (""). */
  putBack(id: number, snapshot: string, content: Uint32Array): void {
    const spec = this.specs.get(id) as MutableSpec;
    const model = this.models.get(id) as Model;
    const made = orFull(() => this.pool.prepareRevert(id, snapshot));
    if (made === undefined) return;
    model.flushed = model.answered;
    this.fuse.burn();
    spec.mapFile = made.mapFile;
    spec.checkpointSequence = made.sequence;
    spec.snapshots = spec.snapshots.map((each) => ({
      ...each,
      mapFile: made.snapshotFiles[each.name] ?? each.mapFile,
    }));
    spec.keyframes = mergedKeyframes(spec, made.keyframes);
    model.settle(content.slice());
    this.fuse.burn();
    this.pool.finishRevert(id, true);
  }

  clone(): void {
    const chosen = this.anySnapshot();
    if (chosen === undefined || this.specs.size >= 4) return;
    const content = this.snapshots.get(`${chosen.id}/${chosen.name}`) as Uint32Array;
    this.held(() => this.makeClone(chosen.id, chosen.name, content));
  }

  makeClone(id: number, snapshot: string, content: Uint32Array): void {
    const spec = this.newSpec(id);
    this.fuse.burn();
    this.nextVolumeId = spec.id + 1;
    const made = orFull(() => this.pool.cloneVolume(structuredClone(spec), id, snapshot));
    if (made === undefined) return;
    this.fuse.burn();
    spec.mapFile = made.mapFile;
    this.specs.set(spec.id, spec);
    const model = new Model();
    model.settle(content.slice());
    this.models.set(spec.id, model);
    this.fuse.burn();
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

  /** A volume's or snapshot's content; blocks that cannot be read are LOST where that may be. */
  read(id: number, snapshot?: string): Uint32Array {
    const volume = this.pool.volume(id);
    const root = snapshot === undefined ? undefined : volume.snapshots.get(snapshot);
    if (snapshot !== undefined && root === undefined) throw new Error(`snapshot ${id}/${snapshot} is gone`);
    const device = root === undefined ? volume : new SnapshotDevice(volume, root);
    return this.readDevice(device, `volume ${id}`);
  }

  readDevice(device: BlockDevice, what: string): Uint32Array {
    const content = new Uint32Array(VOLUME_BLOCKS);
    const lost = new Set<number>();
    if (device.read(this.buffer, 0, 0, VOLUME_BLOCKS * BLOCK) !== 0) {
      // Together: what is bad fails for itself only.
      for (const [block, result] of readBlocksTogether(device, this.buffer, VOLUME_BLOCKS).entries()) {
        if (result === 0) continue;
        if (!this.rots) throw new Error(`block ${block} of ${what} cannot be read (${result})`);
        lost.add(block);
      }
    }
    const words = new Uint32Array(this.buffer.bytes.buffer, 0, VOLUME_BLOCKS * 1024);
    for (let block = 0; block < VOLUME_BLOCKS; block++) {
      content[block] = lost.has(block) ? LOST : (words[block * 1024] as number);
      if (lost.has(block)) continue;
      // One word of each sector tells whether the block is whole.
      for (let at = block * 1024; at < (block + 1) * 1024; at += 64) {
        if (words[at] !== content[block]) throw new Error(`block ${block} is torn`);
      }
    }
    return content;
  }

  check(id: number): void {
    const model = this.models.get(id) as Model;
    if (!same(model.content(model.writes.length), this.read(id))) {
      throw new Error(`volume ${id} does not hold what was written`);
    }
    const usage = this.pool.usageOf(id);
    if (usage.exclusiveBytes > usage.allocatedBytes) throw new Error("more is exclusive than allocated");
  }

  crash(): void {
    for (const { file } of this.disks) {
      file.faults = NO_FAULTS;
      file.full = false;
    }
    const power = this.random.chance(0.5);
    if (power) {
      for (const { file } of this.disks) file.losePower();
      this.files.losePower();
    }
    this.fuse.crashed = false;
    this.fuse.left = Number.POSITIVE_INFINITY;
    if (this.bad !== undefined)
      this.away = !this.bad.suspect ? this.random.chance(0.2) : this.away && this.random.chance(0.5);
    this.rot();
    if (!this.tryOldCatalogue()) this.pool = this.open();
    if (!this.audited) this.checkpointUncounted();
    for (const [id, model] of this.models) this.checkPrefix(id, model, power);
    for (const key of this.snapshots.keys()) this.checkSnapshot(key);
    // Counting everything would end what is counted by and by: half of the worlds go on without.
    if (!this.audited) return;
    const [finding] = auditCounts(this.pool.volumes.values(), this.pool.table);
    if (finding !== undefined) throw new Error(`counts: ${finding}`);
  }

  /**
   * Checking reads every page of the maps, which counts them all. Before it: checkpoints while few are counted, and the
   * process dies again.
   */
  checkpointUncounted(): void {
    for (const volume of this.pool.volumes.values()) {
      if (this.random.chance(0.4)) continue;
      volume.head.dirty = true;
      const record = this.pool.housekeeper.checkpointNow(volume);
      if (record !== undefined) this.record(record);
    }
    if (this.random.chance(0.5)) this.housekeep(this.random.below(6));
    this.pool = this.open();
  }

  /** The content is that of a prefix which is long enough; a request may stop between its blocks if never answered. */
  checkPrefix(id: number, model: Model, power: boolean): void {
    const content = this.read(id);
    // What flipped at the end of a log, behind what was flushed, cannot be told from a crash.
    const least = power || this.rots ? model.flushed : model.answered;
    const candidate = model.content(least);
    for (let count = least; ; count++) {
      const write = model.writes[count];
      const parts = write === undefined ? 0 : write.count;
      for (let part = 0; part <= parts; part++) {
        if (part > 0) candidate[(write as Write).first + part - 1] = (write as Write).tag;
        if (same(candidate, content)) {
          // Where something is lost the next check would not know what should be there.
          if (content.includes(LOST)) throw new EndOfWorld();
          model.cut(count, content);
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
    if (same(this.snapshots.get(key) as Uint32Array, this.read(Number(id), name))) return;
    throw new Error(`snapshot ${key} has changed`);
  }

  /** Everything deleted: every slot is free again. */
  empty(): void {
    for (const id of [...this.specs.keys()]) this.remove(id);
    this.endSyncs();
    this.housekeep(1000);
    const { allocatedBytes } = this.pool.usage();
    if (allocatedBytes > 2 * SEGMENT_SIZE * this.copies)
      throw new Error(`${allocatedBytes} bytes are in use, and nothing is there`);
  }
}
