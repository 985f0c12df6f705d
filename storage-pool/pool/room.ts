// The room of a pool: what may still be given out, beyond what is stored and what is promised.
//
//   blocks of all disks × USABLE − reserve │ stored │ promised │ room for growth
//
// A log can be filled up to a share only: the cleaner needs some dead blocks in every segment to win by moving. Below that
// share an overwrite finds room sooner or later, however the blocks lie; so growth ends there, and overwriting never does.
// Invariant: after OK stored + promised stays within that share. Thread: the pool's worker. Hot: no (but plenty,
// which is asked with every write and allocates nothing).
import type { Disk } from "../disk/disk.js";
import { EAGAIN, ENOSPC, OK } from "../errors.js";
import { RESERVE_SEGMENTS, USABLE_SHARE } from "../limits.js";
import { DATA_BLOCKS } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { RoomGate } from "../volume/promises.js";
import { sharedBlocksAt } from "../volume/usage.js";
import type { Volume } from "../volume/volume.js";

/** With so many free segments more nobody has to count. */
const PLENTY_SEGMENTS = RESERVE_SEGMENTS + 4;

export interface RoomOptions {
  readonly table: SegmentTable;
  readonly volumes: ReadonlyMap<number, Volume>;
  /** Writes what is staged, so that it counts as stored. */
  readonly settle: () => void;
  /** Somebody waits for room that can be made. */
  readonly onWanted: () => void;
}

export class Room implements RoomGate {
  promised = 0;
  readonly #options: RoomOptions;
  /** Blocks that may still be given out, by copies and class, as last counted; less what was given since. */
  readonly #known = new Map<string, number>();
  #promisedThen = 0;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  plenty(blocks: number, copies: number, diskClass: string): boolean {
    const free = (this.#options.table.freeCount(copies, diskClass) - PLENTY_SEGMENTS) * DATA_BLOCKS;
    if ((free - blocks) * copies < this.promised) return false;
    if (this.#known.size > 0) this.#known.clear();
    return true;
  }

  grow(blocks: number, copies: number, diskClass: string): number {
    if (this.take(blocks, copies, diskClass)) return OK;
    if (!this.#canBeMade()) return ENOSPC;
    this.#options.onWanted();
    return EAGAIN;
  }

  /** Room for so many blocks with so many copies, which the caller will store or have promised. */
  take(blocks: number, copies: number, diskClass: string): boolean {
    if (blocks <= 0) return true;
    if (this.promised > this.#promisedThen) this.#known.clear();
    this.#promisedThen = this.promised;
    const key = `${copies} ${diskClass}`;
    let left = this.#known.get(key) ?? 0;
    if (left < blocks) left = this.left(copies, diskClass);
    if (left < blocks) {
      this.#known.delete(key);
      return false;
    }
    for (const [other, known] of this.#known) this.#known.set(other, known - blocks * copies);
    this.#known.set(key, left - blocks);
    return true;
  }

  /** What is known may be wrong: disks came or went, or space came back. */
  forget(): void {
    this.#known.clear();
  }

  /** Blocks with so many copies that could still be stored, exactly; negative when less is there than is promised. */
  left(copies: number, diskClass = ""): number {
    const { table, settle } = this.#options;
    settle();
    const open = table.disks.filter((disk) => disk.open && disk.isOfClass(diskClass));
    const slots = open.reduce((sum, disk) => sum + disk.slotCount, 0);
    const stored = new Map<Disk, number>();
    table.visit((segment) => {
      for (const disk of segment.disks) stored.set(disk, (stored.get(disk) ?? 0) + segment.liveBlocks);
    });
    const storedOn = (disks: readonly Disk[]) =>
      disks.reduce((sum, disk) => sum + (stored.get(disk) ?? 0), 0);
    const room = usable(slots) - storedOn(open) - this.promised;
    if (copies === 1 || open.length < 2) return Math.floor(room / Math.min(copies, Math.max(1, open.length)));
    // Each block has a copy outside the largest disk.
    const largest = open.reduce((a, b) => (b.slotCount > a.slotCount ? b : a));
    const others = open.filter((disk) => disk !== largest);
    const outside = usable(slots - largest.slotCount) - storedOn(others) - Math.ceil(this.promised / 2);
    return Math.min(Math.floor(room / 2), outside);
  }

  /** Blocks that can be stored and promised at most, each copy counted. */
  get usableBlocks(): number {
    const { disks } = this.#options.table;
    return usable(disks.reduce((sum, disk) => sum + (disk.open ? disk.slotCount : 0), 0));
  }

  /** Counts what is promised anew where too much may be, all of it now; true when anything was. */
  recountAll(): boolean {
    let any = false;
    for (const volume of this.#volumes) {
      if (!volume.promises.stale) continue;
      any = true;
      while (!this.#recount(volume));
    }
    return any;
  }

  /** A little of the same; true when there is more to do. */
  recountSome(): boolean {
    for (const volume of this.#volumes) {
      if (!volume.promises.stale) continue;
      this.#recount(volume);
      return true;
    }
    return false;
  }

  get #volumes(): Iterable<Volume> {
    return this.#options.volumes.values();
  }

  #recount(volume: Volume): boolean {
    return volume.promises.recount((at) => sharedBlocksAt(volume, this.#options.table, at));
  }

  /** Something is held that a checkpoint, a count or giving up what can be spared would free. */
  #canBeMade(): boolean {
    for (const volume of this.#volumes) {
      if (volume.releasedBlocks > 0 || volume.promises.stale || volume.deletedAtMs > 0) return true;
      if (volume.history.dropped.length > 0) return true;
      const [first] = volume.history.keyframes;
      if (first !== undefined && first.root.sequence < volume.writer.sequence) return true;
    }
    return false;
  }
}

/** Of so many slots, the blocks that can be stored and promised. */
function usable(slots: number): number {
  return Math.floor(Math.max(0, slots - RESERVE_SEGMENTS) * DATA_BLOCKS * USABLE_SHARE);
}
