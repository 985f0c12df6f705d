// Disks, map files and a catalogue that crash and lie: the surroundings of the pool in the storage simulation.
//
// Fault model. A process may die at any write, sync, punch or catalogue step; what it wrote before is in the page cache
// and stays, the write under way stays up to any byte. Power may fail at the same points; of everything written since
// the last sync each 512-byte sector independently holds the state after any number of the writes to it (lost, torn,
// reordered). A sync that returned holds for ever; one that runs beside other work covers what was written before it
// began. Map files exist once finished; unfinished ones are lost, torn or whole. A removed file may be back after a
// power failure. The catalogue commits as a whole or not at all.
// Of a map file a bit may flip at rest, and a page of another may stand where one should.
// One disk of a pool may be bad as well: bits flip on it at rest, writes go astray or are dropped, reads and writes end
// with EIO, a sync fails, the disk is away for a while. Any disk may be out of space for a while (ENOSPC).
import type { Random } from "../../base/random/index.js";
import type { DataBuffer } from "../../storage-pool/disk/data-buffer.js";
import type { DiskFile } from "../../storage-pool/disk/disk-file.js";
import { SparseBytes } from "../../storage-pool/disk/memory-disk-file.js";
import { BLOCK_SIZE } from "../../storage-pool/limits.js";
import { PAGE_ENTRIES, PAGE_SIZE, parseMapHeader } from "../../storage-pool/log/format.js";
import type { MapFileSink, MapFileSource, MapFiles } from "../../storage-pool/log/map-files.js";

const SECTOR = 512;
const EIO = 5;
const ENOSPC = 28;

export class SimulatedCrash extends Error {}

/** Counts down to the crash; every participant asks it before each effect. */
export class Fuse {
  left = Number.POSITIVE_INFINITY;
  crashed = false;

  burn(): void {
    if (this.crashed) throw new SimulatedCrash("the process is dead");
    if (--this.left > 0) return;
    this.crashed = true;
    throw new SimulatedCrash("the process dies here");
  }
}

interface Effect {
  readonly offset: number;
  /** undefined: zeros (punch). */
  readonly bytes: Uint8Array | undefined;
  readonly length: number;
}

/** How often a bad disk does what it should not; 0 for a good one. Chances per call. */
export interface DiskFaults {
  astray: number;
  dropped: number;
  readError: number;
  writeError: number;
  syncError: number;
}

export const NO_FAULTS: DiskFaults = { astray: 0, dropped: 0, readError: 0, writeError: 0, syncError: 0 };

export class SimulatedDiskFile implements DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sparse = false;
  readonly descriptor = -1;
  faults: DiskFaults = NO_FAULTS;
  /** Writes are refused for want of space. */
  full = false;
  readonly #fuse: Fuse;
  readonly #random: Random;
  #cache = new SparseBytes();
  #durable = new SparseBytes();
  #unsynced: Effect[] = [];

  constructor(path: string, sizeBytes: number, fuse: Fuse, random: Random) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.#fuse = fuse;
    this.#random = random;
  }

  read(target: DataBuffer, at: number, length: number, offset: number): number {
    if (this.#happens(this.faults.readError)) return EIO;
    this.#cache.read(target.bytes, at, length, offset);
    return 0;
  }

  write(source: DataBuffer, at: number, length: number, offset: number): number {
    try {
      this.#fuse.burn();
    } catch (crash) {
      if (this.#fuse.left === 0) {
        const part = this.#random.below(length + 1);
        if (part > 0)
          this.#apply({ offset, bytes: Uint8Array.from(source.bytes.subarray(at, at + part)), length: part });
      }
      throw crash;
    }
    if (this.full) return ENOSPC;
    if (this.#happens(this.faults.writeError)) return EIO;
    if (this.#happens(this.faults.dropped)) return 0;
    const bytes = Uint8Array.from(source.bytes.subarray(at, at + length));
    const astray = this.#happens(this.faults.astray);
    // Elsewhere on the same disk, but not over the superblock: that would be the whole disk.
    const sectors = Math.floor((this.sizeBytes - length) / SECTOR) - 8;
    const to = astray && offset >= 4096 ? (8 + this.#random.below(sectors)) * SECTOR : offset;
    this.#apply({ offset: to, bytes, length });
    return 0;
  }

  sync(): number {
    this.#fuse.burn();
    if (this.#happens(this.faults.syncError)) return EIO;
    this.#settle(this.#unsynced.length);
    return 0;
  }

  /** A sync that runs beside other work: covers what was written until now; the answer comes when it is called. */
  beginSync(): () => number {
    const covered = this.#unsynced.slice();
    return () => {
      this.#fuse.burn();
      if (this.#happens(this.faults.syncError)) return EIO;
      // Another sync may have ended meanwhile.
      let count = 0;
      while (count < covered.length && this.#unsynced[count] === covered[count]) count++;
      if (this.#unsynced[0] === covered[0]) this.#settle(count);
      return 0;
    };
  }

  punch(offset: number, length: number): number {
    this.#fuse.burn();
    this.#apply({ offset, bytes: undefined, length });
    return 0;
  }

  isInPlace(): boolean {
    return true;
  }

  availableBytes(): number {
    return this.sizeBytes;
  }

  close(): void {}

  /** Flips one bit on the medium. */
  flip(offset: number, bit: number): void {
    const byte = new Uint8Array(1);
    for (const content of [this.#cache, this.#durable]) {
      content.read(byte, 0, 1, offset);
      byte[0] = (byte[0] as number) ^ (1 << bit);
      content.write(byte, 0, 1, offset);
    }
  }

  /** A place that holds something, for flipping bits where it hurts; undefined on an empty disk. */
  somewhere(): number | undefined {
    const chunk = this.#cache.anyChunk(this.#random.below(1 << 30));
    return chunk === undefined ? undefined : Math.max(4096, chunk + this.#random.below(16 * 1024));
  }

  /** What a reboot finds. */
  losePower(): void {
    const keep = this.#random.below(4);
    const sectors = new Map<number, Effect[]>();
    for (const effect of this.#unsynced) {
      const last = Math.floor((effect.offset + effect.length - 1) / SECTOR);
      for (let sector = Math.floor(effect.offset / SECTOR); sector <= last; sector++) {
        const list = sectors.get(sector);
        if (list === undefined) sectors.set(sector, [effect]);
        else list.push(effect);
      }
    }
    for (const [sector, effects] of sectors) {
      // Four kinds of failure: nothing got out, everything did, or a quarter or three quarters of the sectors.
      const share = [0, 1, 0.25, 0.75][keep] as number;
      const count =
        share === 1
          ? effects.length
          : this.#random.chance(share)
            ? 1 + this.#random.below(effects.length)
            : 0;
      for (let i = 0; i < count; i++) put(this.#durable, cut(effects[i] as Effect, sector));
    }
    this.#unsynced = [];
    this.#cache = this.#durable;
    this.#durable = this.#cache.copy();
  }

  #settle(count: number): void {
    for (let i = 0; i < count; i++) put(this.#durable, this.#unsynced[i] as Effect);
    this.#unsynced = this.#unsynced.slice(count);
  }

  #apply(effect: Effect): void {
    put(this.#cache, effect);
    this.#unsynced.push(effect);
  }

  /** Draws nothing for what cannot happen, so that a good disk's seed stays the same. */
  #happens(chance: number): boolean {
    return chance > 0 && this.#random.chance(chance);
  }
}

function put(content: SparseBytes, { offset, bytes, length }: Effect): void {
  if (bytes === undefined) content.zero(offset, length);
  else content.write(bytes, 0, length, offset);
}

function cut(effect: Effect, sector: number): Effect {
  const from = Math.max(effect.offset, sector * SECTOR);
  const to = Math.min(effect.offset + effect.length, (sector + 1) * SECTOR);
  const bytes = effect.bytes?.subarray(from - effect.offset, to - effect.offset);
  return { offset: from, bytes, length: to - from };
}

interface SimulatedFile {
  bytes: Uint8Array;
  finished: boolean;
}

export class SimulatedMapFiles implements MapFiles {
  readonly #files = new Map<string, SimulatedFile>();
  readonly #removed = new Map<string, SimulatedFile>();
  readonly #fuse: Fuse;
  readonly #random: Random;

  constructor(fuse: Fuse, random: Random) {
    this.#fuse = fuse;
    this.#random = random;
  }

  create(name: string): MapFileSink {
    this.#fuse.burn();
    const file = { bytes: new Uint8Array(), finished: false };
    this.#files.set(name, file);
    return {
      append: (bytes) => {
        this.#fuse.burn();
        const longer = new Uint8Array(file.bytes.length + bytes.length);
        longer.set(file.bytes);
        longer.set(bytes, file.bytes.length);
        file.bytes = longer;
      },
      finish: () => {
        this.#fuse.burn();
        file.finished = true;
      },
      abort: () => {
        this.#files.delete(name);
      },
    };
  }

  open(name: string): MapFileSource | undefined {
    const bytes = this.#files.get(name)?.bytes;
    if (bytes === undefined) return undefined;
    // Not a copy: reading pages is a tenth of a world's time, and nobody keeps or changes what was read.
    return { read: (at, length) => bytes.subarray(at, at + length), close: () => {} };
  }

  remove(name: string): void {
    this.#fuse.burn();
    const file = this.#files.get(name);
    if (file === undefined) return;
    this.#removed.set(name, file);
    this.#files.delete(name);
  }

  list(): string[] {
    return [...this.#files.keys()];
  }

  /** One bit of a file flips, or a page of one stands where another should, if there are any. */
  spoil(random: Random): void {
    const files = [...this.#files.values()].filter(({ finished }) => finished);
    if (files.length === 0) return;
    if (random.chance(0.6) && misplacePage(files, [...this.#removed.values()], random)) return;
    const { bytes } = random.pick(files);
    // Half of the time among what says what the file is: the head of its header, or what follows its pages.
    const from = random.chance(0.5) ? 0 : random.below(bytes.length);
    const at = Math.min(bytes.length - 1, from + random.below(64));
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  }

  losePower(): void {
    for (const [name, file] of this.#removed) if (this.#random.chance(0.3)) this.#files.set(name, file);
    this.#removed.clear();
    for (const [name, file] of this.#files) {
      if (file.finished) continue;
      if (this.#random.chance(0.5)) this.#files.delete(name);
      else file.bytes = file.bytes.slice(0, this.#random.below(file.bytes.length + 1));
    }
  }
}

/**
 * A page stands where another should, one with as many blocks if there is one: it was written there instead, or the write of
 * the other was lost and what a removed file had there is there still. False where there is no other.
 */
function misplacePage(
  files: readonly SimulatedFile[],
  removed: readonly SimulatedFile[],
  random: Random,
): boolean {
  const pages = files.flatMap(pagesOf);
  if (pages.length === 0) return false;
  const target = random.pick(pages);
  // One that was never finished may end within a page.
  const old = removed.filter(({ finished }) => finished).flatMap(pagesOf);
  const others = [...pages, ...old].filter((page) => Buffer.compare(page, target) !== 0);
  if (others.length === 0) return false;
  const alike = others.filter((page) => blocksIn(page) === blocksIn(target));
  // Best what it was itself before: such a page names places that still hold what it says.
  const kin = random.chance(0.7) ? mostInCommon(target, alike) : undefined;
  target.set(kin ?? random.pick(alike.length > 0 ? alike : others));
  return true;
}

/** The page that names most of the places that `target` names, for the same blocks; undefined where none names any. */
function mostInCommon(target: Uint8Array, pages: readonly Uint8Array[]): Uint8Array | undefined {
  const wanted = locationsOf(target);
  let best: Uint8Array | undefined;
  let most = 0;
  for (const page of pages) {
    const common = locationsOf(page).filter((location, i) => location !== 0 && location === wanted[i]).length;
    if (common > most) {
      best = page;
      most = common;
    }
  }
  return best;
}

function pagesOf({ bytes }: SimulatedFile): Uint8Array[] {
  const count = parseMapHeader(bytes.subarray(0, BLOCK_SIZE))?.pageCount ?? 0;
  return Array.from({ length: count }, (_, i) =>
    bytes.subarray(BLOCK_SIZE + i * PAGE_SIZE).subarray(0, PAGE_SIZE),
  );
}

function blocksIn(page: Uint8Array): number {
  return locationsOf(page).filter((location) => location !== 0).length;
}

/** Where the blocks of a page are; 0 for one that is not stored. */
function locationsOf(page: Uint8Array): Uint32Array {
  return new Uint32Array(page.slice(0, PAGE_ENTRIES * 4).buffer);
}
