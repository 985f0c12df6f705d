// Packs what was not written for a while, in volumes that are to be compressed: goes through their maps and those of their
// snapshots, group by group, and gives blocks that take less room together places in packed segments (pack-batch.ts).
//
//   mark: segments up to this one were there a while ago ─► every volume: its groups with something newer than at the mark
//   before ─► read, packed, unpacked again and compared ─► a batch, until it fills a segment ─► written, applied ─► next mark
//
// What does not shrink is tried once, and again only when it was moved, or after a start. It is done only while no client is
// in sight, a group at a time. Thread: the pool's worker. Hot: no (a bounded step at a time, between requests).
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, OK } from "../errors.js";
import { BLOCK_SIZE, RESERVE_SEGMENTS } from "../limits.js";
import type { MapPage } from "../volume/map-page.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Root, Volume } from "../volume/volume.js";
import { DATA_BLOCKS, GROUP_BLOCKS, GROUP_SIZE, PAGE_ENTRIES } from "./format.js";
import { packGroup, seemsToShrink, unpackGroup } from "./group-codec.js";
import { PackBatch } from "./pack-batch.js";
import { kindOf, type Relocation } from "./relocation.js";
import type { SegmentTable } from "./segment-table.js";

/** Groups looked at in a step, of which one is packed at most; and places for pages that may be empty. */
const LOOKS = 256;
const PLACES = 4096;
/** A group is worth it that takes three quarters of the blocks that are stored of it, or less. */
const WORTH_PACKED = 3;
const WORTH_STORED = 4;
/** Free segments that are left to others, beyond the reserve. */
const SPARE_SEGMENTS = 2;

export interface Packing {
  /** What was not written for so long is packed. */
  readonly coldMs: number;
  /** Blocks from which on a packed segment is worth its slot. */
  readonly leastBlocks: number;
}

export const PACKING: Packing = { coldMs: 10 * 60_000, leastBlocks: (DATA_BLOCKS * 5) / 4 };

export interface PackerOptions {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly relocation: Relocation;
  readonly packing: Packing;
}

/** How far a volume was looked through. */
interface Swept {
  /** Everything in segments up to this serial was tried. */
  readonly done: number;
  /** The round that it was looked through in. */
  readonly round: number;
}

const NEVER: Swept = { done: 0, round: 0 };

interface Buffers {
  readonly plain: DataBuffer;
  readonly packed: DataBuffer;
  readonly again: DataBuffer;
}

export class Packer {
  readonly #options: PackerOptions;
  /** What of the volume was packed and not written yet; made when the first is looked at. */
  #batch: PackBatch | undefined;
  /** It is to be written, once there is room. */
  #isFull = false;
  /** Segments up to this serial are old enough, and those up to the next were there at that time. */
  #mark = 0;
  #nextMark = 0;
  #nextMarkMs = Number.NEGATIVE_INFINITY;
  /** Counts the marks, and times that one was kept because something was held for rewinding. */
  #round = 0;
  #isHeld = false;
  readonly #swept = new WeakMap<Volume, Swept>();
  /** What is looked through now: the volume, what is left of its maps, and the place in the first of them. */
  #volume: Volume | undefined;
  #roots: Root[] = [];
  #page = 0;
  #group = 0;
  readonly #seen = new Set<MapPage>();
  /** The oldest segment of which something was left out because it is in use: it is to be looked at again. */
  #leftOut = Number.POSITIVE_INFINITY;
  /** The disk was asked for the group: now it is waited for. */
  #asked = false;
  /** A group as it is stored, and packed, and unpacked again; made when the first is looked at. */
  #buffers:
    | { readonly plain: DataBuffer; readonly packed: DataBuffer; readonly again: DataBuffer }
    | undefined;
  readonly #locations = new Float64Array(GROUP_BLOCKS);
  readonly #sums = new Uint32Array(GROUP_BLOCKS);

  constructor(options: PackerOptions) {
    this.#options = options;
  }

  /** It holds a segment that is not named by maps yet: its next steps need no room, and end that. */
  get isUnderWay(): boolean {
    return this.#batch?.isUnderWay === true;
  }

  /** Does a little; "idle": there is nothing to do now. */
  step(nowMs: number): "busy" | "idle" {
    const { table } = this.#options;
    if (!table.isCounted || table.pages.isFull) return "idle";
    if (this.#isFull) return this.#write(this.#batch as PackBatch);
    if (this.#volume === undefined && !this.#begin(nowMs)) return "idle";
    return this.#look(this.#volume as Volume);
  }

  #write(batch: PackBatch): "busy" | "idle" {
    if (!batch.isUnderWay) {
      // Too much of it was overwritten while there was no room.
      if (batch.wantedBlocks() < this.#options.packing.leastBlocks) return this.#giveUp(batch);
      if (!this.#isRoomy() || batch.begin() !== OK) return "idle";
    }
    const result = batch.step();
    if (typeof result === "number") return this.#giveUp(batch);
    this.#isFull = result === "more";
    return "busy";
  }

  /** What was gathered is not worth a segment: it is looked at again, with what is new at the next mark. */
  #giveUp(batch: PackBatch): "busy" {
    this.#leftOut = Math.min(this.#leftOut, batch.oldestSerial);
    this.#isFull = false;
    batch.clear();
    return "busy";
  }

  #isRoomy(): boolean {
    const { copies, diskClass } = this.#volume ?? { copies: 1, diskClass: "" };
    const free = this.#options.table.freeCount(Math.max(1, copies), diskClass);
    return free > RESERVE_SEGMENTS + SPARE_SEGMENTS;
  }

  /** Takes up the next volume that was not looked through at this mark; the next mark when there is none. False: all is done. */
  #begin(nowMs: number): boolean {
    const { table, volumes, relocation, packing } = this.#options;
    // cold: no client is in sight
    for (const volume of volumes.values()) {
      if (!isPackable(volume)) continue;
      if ((this.#swept.get(volume) ?? NEVER).round >= this.#round) continue;
      this.#volume = volume;
      this.#roots = volume.roots();
      this.#page = 0;
      this.#group = 0;
      this.#leftOut = Number.POSITIVE_INFINITY;
      this.#batch ??= new PackBatch(table, relocation);
      this.#batch.start(volume.id, { copies: volume.copies, diskClass: volume.diskClass });
      return true;
    }
    this.#batch = undefined;
    const isOver = this.#mark === this.#nextMark && this.#nextMark === table.lastSerial && !this.#isHeld;
    if (isOver || nowMs - this.#nextMarkMs < packing.coldMs) return false;
    if (this.#nextMarkMs !== Number.NEGATIVE_INFINITY) {
      this.#mark = this.#nextMark;
      this.#round++;
      this.#isHeld = false;
    }
    this.#nextMark = table.lastSerial;
    this.#nextMarkMs = nowMs;
    return this.#begin(nowMs);
  }

  /** Looks at some groups of the volume, until one was packed or the disk is to be waited for. */
  #look(volume: Volume): "busy" {
    const { volumes, packing } = this.#options;
    const batch = this.#batch as PackBatch;
    const [root] = this.#roots;
    const isThere = volumes.get(volume.id) === volume && isPackable(volume);
    if (root === undefined || !isThere) {
      this.#isFull = isThere && batch.storedBlocks >= packing.leastBlocks;
      if (this.#isFull) return "busy";
      this.#giveUp(batch);
      const done = Math.min(this.#mark, this.#leftOut - 1);
      if (isThere) this.#swept.set(volume, { done, round: this.#round });
      this.#volume = undefined;
      this.#roots = [];
      this.#seen.clear();
      return "busy";
    }
    if (!volume.roots().includes(root) || !this.#lookOn(volume, root)) {
      this.#roots.shift();
      this.#page = 0;
      this.#group = 0;
    }
    return "busy";
  }

  /** False at the end of the map. */
  #lookOn(volume: Volume, { map }: Root): boolean {
    let looks = LOOKS;
    const { done } = this.#swept.get(volume) ?? NEVER;
    for (let places = PLACES; places > 0 && looks > 0; places--) {
      if (this.#page >= map.pageCount) return false;
      const page = map.page(this.#page);
      const isNew = page !== null && !page.lost && (this.#group > 0 || !this.#seen.has(page));
      for (; isNew && this.#group < PAGE_ENTRIES / GROUP_BLOCKS && looks > 0; looks--) {
        const block = this.#page * PAGE_ENTRIES + this.#group * GROUP_BLOCKS;
        const stored = this.#choose(volume, map, block, done);
        if (stored !== 0) {
          if (this.#pack(map, block, stored)) this.#group++;
          return true;
        }
        this.#group++;
      }
      if (isNew && this.#group < PAGE_ENTRIES / GROUP_BLOCKS) return true;
      if (page !== null) this.#seen.add(page);
      this.#group = 0;
      this.#page++;
    }
    return true;
  }

  /** Which blocks of a group may be packed, as bits; 0 when none of them is new. */
  #choose(volume: Volume, map: Root["map"], block: number, done: number): number {
    const { table } = this.#options;
    let stored = 0;
    let isNew = false;
    for (let i = 0; i < GROUP_BLOCKS; i++) {
      const location = map.location(block + i);
      if (location === 0 || table.isPackedOrLost(location)) continue;
      const segment = table.of(location);
      if (segment.serial > this.#mark || kindOf(segment) !== kindOf(volume)) continue;
      if (!segment.sealed || segment.pinned || segment.moving || !segment.readable) {
        this.#leftOut = Math.min(this.#leftOut, segment.serial);
        if (segment.pinned) this.#isHeld = true;
        continue;
      }
      if (segment.serial > done) isNew = true;
      stored |= 1 << i;
      this.#locations[i] = location;
      this.#sums[i] = map.checksum(block + i);
    }
    return isNew && (stored & (stored - 1)) !== 0 ? stored : 0;
  }

  /** Packs a group if that is worth it; false: it is to be looked at once more. */
  #pack(map: Root["map"], block: number, stored: number): boolean {
    const { plain, packed, again } = this.#room();
    const wait = this.#asked;
    const result = this.#options.reader.readBlocks(map, plain, 0, block, GROUP_BLOCKS, undefined, wait);
    this.#asked = result === EAGAIN && !wait;
    if (result !== OK) return !this.#asked;
    let count = 0;
    for (let i = 0; i < GROUP_BLOCKS; i++) {
      if (((stored >>> i) & 1) === 1) count++;
      else plain.bytes.fill(0, i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
    }
    if (!seemsToShrink(plain, 0, stored)) return true;
    const bytes = packGroup(plain, 0);
    const blocks = bytes === undefined ? GROUP_BLOCKS : Math.ceil(bytes.byteLength / BLOCK_SIZE);
    if (bytes === undefined || blocks * WORTH_STORED > count * WORTH_PACKED) return true;
    packed.bytes.set(bytes);
    if (!unpackGroup(packed, 0, bytes.byteLength, again, 0) || !plain.bytes.equals(again.bytes)) return true;
    const group = { block, stored, bytes, locations: this.#locations, sums: this.#sums };
    this.#isFull = !(this.#batch as PackBatch).add(group);
    return !this.#isFull;
  }

  #room(): Buffers {
    this.#buffers ??= {
      plain: new DataBuffer(GROUP_SIZE),
      packed: new DataBuffer(GROUP_SIZE),
      again: new DataBuffer(GROUP_SIZE),
    };
    return this.#buffers;
  }
}

/** Ciphertext does not shrink; and what is deleted goes. */
function isPackable({ compression, keyId, deletedAtMs }: Volume): boolean {
  return compression !== "none" && keyId === "" && deletedAtMs === 0;
}
