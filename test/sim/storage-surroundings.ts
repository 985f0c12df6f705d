// What surrounds the volumes of the storage simulation: disks that come, go and fail, syncs that take their time, and a
// catalogue. Thread: any.
import { Random } from "../../base/random/index.js";
import { type Disk, formatDisk, missingDisk, openDisk } from "../../storage-pool/disk/disk.js";
import type { Packing } from "../../storage-pool/log/packer.js";
import type { CheckpointRecord } from "../../storage-pool/pool/checkpoint.js";
import type { DurablePosition } from "../../storage-pool/pool/durable-notes.js";
import { recordedKeyframes } from "../../storage-pool/pool/keyframes.js";
import { MAP_MEMORY, type MapMemory, type VolumeSpec } from "../../storage-pool/pool/open-pool.js";
import { Pool } from "../../storage-pool/pool/pool.js";
import type { SyncRound } from "../../storage-pool/pool/sync-round.js";
import {
  type DiskFaults,
  Fuse,
  NO_FAULTS,
  SimulatedDiskFile,
  SimulatedMapFiles,
} from "./storage-simulator.js";

const MIB = 1024 * 1024;
const KEY = Uint8Array.from({ length: 64 }, (_, i) => i * 7 + 1);

export type MutableSpec = { -readonly [K in keyof VolumeSpec]: VolumeSpec[K] };

export interface SimulatedDisk {
  readonly index: number;
  readonly file: SimulatedDiskFile;
  suspect: boolean;
  draining: boolean;
}

/** What a copy of the catalogue says. */
interface CatalogueCopy {
  readonly specs: readonly MutableSpec[];
  readonly nextVolumeId: number;
  readonly epoch: number;
  readonly disks: readonly SimulatedDisk[];
}

/** Why a world ends before its time: its only copy is damaged, and it was said so. */
export class EndOfWorld extends Error {}

export class Surroundings {
  readonly random: Random;
  readonly fuse = new Fuse();
  readonly files: SimulatedMapFiles;
  readonly copies: number;
  readonly specs = new Map<number, MutableSpec>();
  readonly sizeBytes: number;
  /** The key of all volumes; "" where they are not encrypted. */
  readonly keyId: string;
  /** Mostly so little memory for maps that pages come and go all the time. */
  readonly mapMemory: MapMemory;
  /** Soon, and in half of the worlds segments that hold so little that the cleaner empties them at once. */
  readonly packing: Packing;
  /** One copy only, and bits flip. */
  readonly rots: boolean;
  disks: SimulatedDisk[] = [];
  /** The disk that may be bad; with two copies only. */
  bad: SimulatedDisk | undefined;
  away = false;
  /** How often the bad disk came back while the pool was at work. */
  returned = 0;
  /** And was looked through just now. */
  trusted = false;
  rested = false;
  /** And the catalogue knows how far logs are on the medium. */
  noted = false;
  /** Some history does not reach as far as it should: room was short. */
  shortened = false;
  pool: Pool;
  nowMs = 0;
  nextDisk = 0;
  epoch = 0;
  /** As the catalogue has it. */
  nextVolumeId = 1;
  /** Of its own, so that worlds are the same with and without old catalogues. */
  readonly #copying: Random;
  readonly #returning: Random;
  #copy: CatalogueCopy | undefined;
  #syncs: { round: SyncRound; ends: (() => number)[]; onSynced: () => void }[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
    this.#copying = new Random(seed + 2 ** 31);
    this.#returning = new Random(seed + 2 ** 30);
    this.files = new SimulatedMapFiles(this.fuse, this.random);
    const diskCount = 1 + this.random.below(3);
    this.copies = diskCount > 1 ? 1 + this.random.below(2) : 1;
    this.keyId = seed % 4 === 0 ? "key" : "";
    this.mapMemory = {
      ...MAP_MEMORY,
      ...(seed % 5 === 0 ? {} : { residentPages: seed % 5, pagesPerStep: 1 }),
      ...(seed % 3 === 0 ? {} : { pagesAtOpen: 0 }),
      // And so little for changed ones that checkpoints follow each other, and writers wait for them.
      ...(seed % 7 < 3 ? { dirtyPages: 1 + (seed % 7), pagesPerWrite: 1 } : {}),
    };
    this.packing = { coldMs: 0, leastBlocks: seed % 2 === 0 ? 24 : 920 };
    this.rots = this.copies === 1 && this.random.chance(0.2);
    const slots = Math.floor((this.random.chance(0.3) ? 14 : 26) / diskCount) * this.copies + 3;
    this.sizeBytes = Math.max(10, slots) * 4 * MIB;
    for (let i = 0; i < diskCount; i++) this.makeDisk(diskCount);
    if (this.copies > 1 && this.random.chance(0.6)) this.bad = this.random.pick(this.disks);
    this.pool = this.open();
  }

  /** Milliseconds since 1970. */
  get clockMs(): number {
    return 1e12 + this.nowMs;
  }

  /** A volume of this world; `compressed`: where that can be. */
  emptySpec(id: number, originVolume: number, sizeBytes: number, compressed: boolean): MutableSpec {
    return {
      id,
      name: `v${id}`,
      sizeBytes,
      copies: this.copies,
      epoch: 1,
      mapFile: "",
      checkpointSequence: 0,
      durableSequence: 0,
      originVolume,
      snapshots: [],
      diskClass: "",
      keyId: this.keyId,
      rewindMs: 0,
      keyframes: [],
      clockMs: 0,
      deletedAtMs: 0,
      compression: compressed && this.keyId === "" ? "deflate" : "none",
    };
  }

  /** A deleted volume is asked to go. */
  purge(_volume: number): void {}

  faults(): DiskFaults {
    const chance = (most: number) => (this.random.chance(0.3) ? most : 0);
    return {
      astray: chance(0.01),
      dropped: chance(0.02),
      readError: chance(0.02),
      writeError: chance(0.003),
      syncError: chance(0.02),
    };
  }

  makeDisk(diskCount: number): SimulatedDisk {
    const index = this.nextDisk++;
    const file = new SimulatedDiskFile(`disk${index}`, this.sizeBytes, this.fuse, this.random);
    formatDisk(file, { poolId: "p", poolName: "default", diskId: `d${index}`, diskIndex: index, diskCount });
    const disk = { index, file, suspect: false, draining: false };
    this.disks.push(disk);
    return disk;
  }

  open(): Pool {
    if (this.#copy === undefined || this.#copying.chance(0.3)) this.#copy = this.#copyCatalogue();
    return this.#openNow();
  }

  #openNow(): Pool {
    this.#syncs = [];
    const disks: Disk[] = this.disks.map((each) => {
      const disk = openDisk(each.file, "p", each.index);
      const gone = this.away && each === this.bad;
      if (gone) each.suspect = true;
      const opened = gone ? missingDisk(each.file.path, disk.superblock) : disk;
      opened.suspect = each.suspect;
      return opened;
    });
    for (const spec of this.specs.values()) spec.epoch++;
    const pool = new Pool(
      disks,
      this.files,
      [...this.specs.values()].map((spec) => structuredClone(spec)),
      { epoch: ++this.epoch, clean: false, nextVolumeId: this.nextVolumeId },
      {
        mapMemory: this.mapMemory,
        packing: this.packing,
        syncAside: (onSynced) => this.syncAside(onSynced),
        onDurable: (positions) => this.noteDurable(positions),
        onFailed: (index) => this.changeDisk(index, { suspect: true }),
        onTrusted: (index) => {
          this.changeDisk(index, { suspect: false });
          this.trusted = true;
        },
        steadyClock: () => this.nowMs,
        wallClock: () => this.clockMs,
        onHistoryShort: () => {
          this.shortened = true;
        },
        onHistoryLost: (volume, why) => {
          if (!this.rots) throw new Error(`the history of ${volume} is lost: ${why}`);
          this.shortened = true;
        },
        onPurge: (volume) => this.purge(volume),
      },
    );
    if (pool.damaged.size > 0) {
      if (this.rots) throw new EndOfWorld();
      throw new Error(`damaged: ${[...pool.damaged.values()].join("; ")}`);
    }
    if (this.keyId !== "") pool.keys.unlock(this.keyId, KEY);
    for (const { index, draining } of this.disks) if (draining) pool.disks.resumeDrain(index);
    return pool;
  }

  #copyCatalogue(): CatalogueCopy {
    const { nextVolumeId, epoch, disks } = this;
    return { specs: structuredClone([...this.specs.values()]), nextVolumeId, epoch, disks };
  }

  /**
   * Sometimes somebody puts an earlier copy of the catalogue back. The pool is not opened by it and nothing is changed, so
   * that the newest one is as good as before; opened all the same it has to hold everything. True when it is open.
   */
  tryOldCatalogue(): boolean {
    const copy = this.#copy;
    if (copy === undefined || !this.#copying.chance(0.15)) return false;
    const now = this.#copyCatalogue();
    this.#putCatalogue({ ...copy, disks: copy.disks.filter((disk) => this.disks.includes(disk)) });
    // storaged opens no pool of which no disk is there.
    if (this.disks.some((disk) => !this.away || disk !== this.bad)) {
      try {
        this.pool = this.#openNow();
        return true;
      } catch (thrown) {
        if ((thrown as { code?: string }).code !== "CATALOGUE_OLD") throw thrown;
      }
    }
    this.#putCatalogue(now);
    return false;
  }

  #putCatalogue({ specs, nextVolumeId, epoch, disks }: CatalogueCopy): void {
    this.specs.clear();
    for (const spec of specs) this.specs.set(spec.id, structuredClone(spec));
    this.nextVolumeId = nextVolumeId;
    this.epoch = epoch;
    this.disks = [...disks];
  }

  changeDisk(index: number, change: Partial<SimulatedDisk>): void {
    this.fuse.burn();
    Object.assign(this.disks.find((disk) => disk.index === index) ?? {}, change);
    this.fuse.burn();
  }

  /** A slow disk: the sync ends some steps later, or at once. */
  syncAside(onSynced: () => void): void {
    const round = this.pool.beginSync();
    const ends = round.disks.map((disk) => (disk.file as SimulatedDiskFile).beginSync());
    this.#syncs.push({ round, ends, onSynced });
    if (this.#syncs.length > 1 || this.random.chance(0.5)) this.endSyncs();
  }

  endSyncs(): void {
    for (let next = this.#syncs.shift(); next !== undefined; next = this.#syncs.shift()) {
      next.round.finish(next.ends.map((end) => end()));
      next.onSynced();
    }
  }

  record(record: CheckpointRecord): void {
    this.fuse.burn();
    const spec = this.specs.get(record.volume) as MutableSpec;
    spec.mapFile = record.files[""] ?? spec.mapFile;
    spec.checkpointSequence = record.sequence;
    spec.snapshots = spec.snapshots.map((each) => ({
      ...each,
      mapFile: record.files[each.name] ?? each.mapFile,
    }));
    spec.keyframes = recordedKeyframes(spec, record);
    spec.clockMs = record.clockMs;
    this.fuse.burn();
    this.pool.housekeeper.checkpointRecorded(true);
  }

  noteDurable(positions: readonly DurablePosition[]): void {
    this.fuse.burn();
    for (const { volume, sequence } of positions) {
      const spec = this.specs.get(volume);
      if (spec !== undefined) spec.durableSequence = sequence;
    }
    this.fuse.burn();
  }

  /** Nobody writes to it: only a mark can say how far it was flushed. */
  mark(id: number): void {
    const volume = this.pool.volume(id);
    if (volume.mark(this.clockMs) === 0) volume.commit();
  }

  /** No checkpoint is half way while the catalogue changes. */
  held(change: () => void): void {
    this.pool.housekeeper.hold();
    change();
    this.pool.housekeeper.release();
  }

  /** A disk comes, is emptied, goes, or is looked through. */
  changeDisks(): void {
    const open = this.pool.table.disks.filter((disk) => disk.open);
    const dice = this.random.below(4);
    const draining = this.disks.find((disk) => disk.draining);
    if (dice === 0) this.pool.scrub();
    else if (draining !== undefined) this.finishDrain(draining);
    else if (open.length > this.copies && this.disks.length > 1) this.drain(this.random.pick(open));
    else if (this.disks.length < 5) {
      this.fuse.burn();
      const made = this.makeDisk(this.disks.length + 1);
      this.fuse.burn();
      this.pool.disks.add(openDisk(made.file, "p", made.index));
    }
  }

  /** What happens beside what clients do. */
  surround(): void {
    if (this.random.chance(0.3)) this.endSyncs();
    this.comeBack();
    if (this.trusted) this.proveCopies();
  }

  /** Every copy is right on a disk that was away and does nothing wrong now, so that the other disks may go. */
  proveCopies(): void {
    this.trusted = false;
    if (this.returned === 0 || this.bad?.file.faults !== NO_FAULTS) return;
    for (const { id, name } of this.pool.volumes.values()) {
      const proof = this.pool.newProof(id);
      while (proof.step() !== "done");
      const [finding] = proof.progress.findings;
      if (finding !== undefined) throw new Error(`${name}, after a disk came back: ${finding}`);
    }
  }

  /** The bad disk is back, or repaired, while the pool is at work. */
  protected comeBack(): void {
    const { bad } = this;
    if (bad === undefined || !this.#returning.chance(0.06)) return;
    const { disks } = this.pool;
    if (disks.disk(bad.index).online) return;
    this.changeDisk(bad.index, { suspect: true });
    try {
      const back = openDisk(bad.file, "p", bad.index);
      if (disks.needsOpening(bad.index) !== "") return;
      disks.takeBack(back, this.epoch);
      this.away = false;
      this.returned++;
    } catch (thrown) {
      if ((thrown as { code?: string }).code !== "DISK_DAMAGED") throw thrown;
    }
  }

  drain(disk: Disk): void {
    try {
      this.pool.disks.checkDrain(disk.index);
    } catch (thrown) {
      if ((thrown as { code?: string }).code === "POOL_FULL") return;
      throw thrown;
    }
    this.pool.disks.drain(disk.index);
    this.changeDisk(disk.index, { draining: true });
  }

  finishDrain(draining: SimulatedDisk): void {
    const disk = this.pool.disks.disk(draining.index);
    const held = this.pool.disks.usage().find((each) => each.index === draining.index)?.segments ?? 0;
    if (disk.online && held === 0 && this.random.chance(0.5)) {
      this.pool.disks.checkRemove(draining.index, false);
      this.fuse.burn();
      this.disks = this.disks.filter((each) => each !== draining);
      if (this.bad === draining) this.bad = undefined;
      this.fuse.burn();
      this.pool.disks.remove(draining.index);
    } else if (this.random.chance(0.2)) {
      this.pool.disks.undrain(draining.index);
      this.changeDisk(draining.index, { draining: false });
    }
  }

  /** Some disk has no room for a while. */
  full(): void {
    const { file } = this.random.pick(this.disks);
    file.full = !file.full && this.copies === 1;
  }

  /** Nothing is left that says what the last segments of a log are, or any: sectors that read as zeros. */
  loseTail(): void {
    const logs = [...this.specs.keys()].map((id) => this.pool.table.logOf(id));
    const log = this.#copying.pick(logs);
    const from = this.#copying.chance(0.5) ? 0 : Math.max(0, log.length - 1);
    for (const { disk, slot } of log.slice(from).flatMap((segment) => segment.places)) {
      disk.clearCell(slot);
      disk.file.sync();
    }
  }

  /** Bits flip on the bad disk, or on any where everything has one copy. */
  rot(): void {
    const rested = this.rested;
    this.rested = false;
    if (this.rots && this.#copying.chance(0.15)) {
      this.files.spoil(this.#copying);
      return;
    }
    if (this.bad === undefined && !rested) return;
    if (rested && this.noted && this.#copying.chance(0.4)) {
      this.loseTail();
      return;
    }
    if (rested && this.#copying.chance(0.3)) {
      this.files.spoil(this.#copying);
      return;
    }
    const file = this.bad?.file ?? this.random.pick(this.disks).file;
    const count = this.random.chance(rested ? 0.8 : 0.3) ? (this.rots ? 1 : 1 + this.random.below(20)) : 0;
    // Where there is one copy one bit only: two could hit a record and the one that says that it was durable.
    const tails = [...this.specs.keys()].flatMap((id) => this.pool.table.logOf(id).slice(-1));
    for (let i = 0; i < count; i++) {
      const place = this.random.chance(0.3) ? tails[i % (tails.length || 1)]?.places[0] : undefined;
      const aimed =
        place?.disk.file === file ? place.disk.position(place.slot) + this.random.below(4096) : undefined;
      const at = aimed ?? file.somewhere();
      if (at !== undefined) file.flip(at, this.random.below(8));
    }
  }
}
