// A disk, map files and a catalogue that crash: the surroundings of the pool in the storage simulation.
//
// Fault model. A process may die at any write, sync, punch or catalogue step; what it wrote before is in the page cache
// and stays, the write under way stays up to any byte. Power may fail at the same points; of everything written since
// the last sync each 512-byte sector independently holds the state after any number of the writes to it (lost, torn,
// reordered). A sync that returned holds for ever. Map files exist once finished; unfinished ones are lost, torn or
// whole. A removed file may be back after a power failure. The catalogue commits as a whole or not at all.
import type { Random } from "../../base/random/index.js";
import type { DataBuffer } from "../../storage-pool/disk/data-buffer.js";
import type { DiskFile } from "../../storage-pool/disk/disk-file.js";
import { SparseBytes } from "../../storage-pool/disk/memory-disk-file.js";
import type { MapFileSink, MapFileSource, MapFiles } from "../../storage-pool/log/map-files.js";

const SECTOR = 512;

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

export class SimulatedDiskFile implements DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sparse = false;
  readonly descriptor = -1;
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
    this.#apply({ offset, bytes: Uint8Array.from(source.bytes.subarray(at, at + length)), length });
    return 0;
  }

  sync(): number {
    this.#fuse.burn();
    for (const effect of this.#unsynced) put(this.#durable, effect);
    this.#unsynced = [];
    return 0;
  }

  punch(offset: number, length: number): number {
    this.#fuse.burn();
    this.#apply({ offset, bytes: undefined, length });
    return 0;
  }

  availableBytes(): number {
    return this.sizeBytes;
  }

  close(): void {}

  /** Flips one bit on the medium, e.g. of a payload block. */
  corrupt(offset: number): void {
    const byte = new Uint8Array(1);
    for (const content of [this.#cache, this.#durable]) {
      content.read(byte, 0, 1, offset);
      byte[0] = (byte[0] as number) ^ 0x10;
      content.write(byte, 0, 1, offset);
    }
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

  #apply(effect: Effect): void {
    put(this.#cache, effect);
    this.#unsynced.push(effect);
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

export class SimulatedMapFiles implements MapFiles {
  readonly #files = new Map<string, { bytes: Uint8Array; finished: boolean }>();
  readonly #removed = new Map<string, { bytes: Uint8Array; finished: boolean }>();
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
    return { read: (at, length) => bytes.slice(at, at + length), close: () => {} };
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
