// The room of a pool: what may still be given out, beyond what is stored and what is promised.
//
//   what disks can hold (capacity.ts) │ stored │ promised │ room for growth
//
// A log can be filled up to a share only: the cleaner needs some dead blocks in every segment to win by moving. Below that
// share an overwrite finds room sooner or later, however the blocks lie and wherever the free slots are: copies move to
// where they leave room for more (balance.ts). So growth ends there, and overwriting never does.
// Invariant: after OK stored + promised stays within that share. Thread: the pool's worker. Hot: no (but plenty,
// which is asked with every write and allocates nothing).
import type { Disk } from "../disk/disk.js";
import { EAGAIN, ENOSPC, OK, storageError } from "../errors.js";
import { BLOCK_SIZE, RESERVE_SEGMENTS } from "../limits.js";
import { DATA_BLOCKS } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { RoomGate } from "../volume/promises.js";
import { sharedBlocksAt } from "../volume/usage.js";
import type { Volume } from "../volume/volume.js";
import { growthOf, type Holder, usableBlocks } from "./capacity.js";

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
  /** Blocks that fit if all of them have the most copies; −1: to be counted. */
  #roughMost = -1;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  plenty(blocks: number, copies: number, diskClass: string): boolean {
    const { table } = this.#options;
    const free = (table.freeCount(copies, diskClass) - PLENTY_SEGMENTS) * DATA_BLOCKS;
    if ((free - blocks) * copies < this.promised) return false;
    if (this.#roughMost < 0) this.#roughMost = this.usableOn(this.#open) / this.#widest;
    if (table.liveBlocksMost + blocks + this.promised > this.#roughMost) return false;
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

  /** Room for blocks that are shared from now on. Throws POOL_FULL, or ROOM_PENDING while some is made; `what`: what for. */
  promise(
    blocks: number,
    { copies, diskClass }: { readonly copies: number; readonly diskClass: string },
    what: string,
  ): void {
    if (this.take(blocks, copies, diskClass)) return;
    if (this.recountAll() && this.take(blocks, copies, diskClass)) return;
    const pending = this.grow(blocks, copies, diskClass) === EAGAIN;
    const left = Math.max(0, this.left(copies, diskClass)) * BLOCK_SIZE;
    throw storageError(
      pending ? "ROOM_PENDING" : "POOL_FULL",
      `${blocks * BLOCK_SIZE} bytes are needed ${what}, and ${left} are left`,
      { remedy: pending ? "try again" : "add a disk, or delete volumes or snapshots" },
    );
  }

  /** What is known may be wrong: disks came or went, or space came back. */
  forget(): void {
    this.#roughMost = -1;
    this.#known.clear();
  }

  /** Blocks with so many copies that could still be stored, exactly; negative when less is there than is promised. */
  left(copies: number, diskClass = ""): number {
    return this.leftOn(this.#open, copies, diskClass);
  }

  /** The same with everything on these disks. */
  leftOn(disks: readonly Holder[], copies: number, diskClass: string): number {
    const { table, settle } = this.#options;
    settle();
    const blocks = new Map<string, { copies: number; diskClass: string; blocks: number }>();
    const add = (kind: { copies: number; diskClass: string }, count: number): void => {
      const key = `${kind.copies} ${kind.diskClass}`;
      const known = blocks.get(key);
      if (known !== undefined) known.blocks += count;
      else blocks.set(key, { copies: kind.copies, diskClass: kind.diskClass, blocks: count });
    };
    add({ copies, diskClass }, 0);
    // What is not counted yet may all be in use.
    table.visit((segment) =>
      add(segment, table.isKnown(segment) ? segment.liveBlocks : segment.capacityBlocks),
    );
    for (const volume of this.#volumes) add(volume, volume.promises.total);
    return growthOf(disks, [...blocks.values()], copies, diskClass, blocks.size);
  }

  /** Blocks that can be stored and promised at most, each copy counted. */
  usableOn(disks: readonly Holder[]): number {
    return usableBlocks(disks, this.#widest, 1);
  }

  get #open(): Disk[] {
    return this.#options.table.disks.filter((disk) => disk.open);
  }

  /** Copies that blocks have at most. */
  get #widest(): number {
    let copies = 1;
    for (const volume of this.#volumes) copies = Math.max(copies, volume.copies);
    return copies;
  }

  /** Counts what is promised anew where too much may be, all of it now; true when anything was. */
  recountAll(): boolean {
    if (!this.#options.table.isCounted) return false;
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
    if (!this.#options.table.isCounted) return false;
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
    if (!this.#options.table.isCounted) return true;
    for (const volume of this.#volumes) {
      if (volume.releasedBlocks > 0 || volume.promises.stale || volume.deletedAtMs > 0) return true;
      if (volume.history.dropped.length > 0) return true;
      const [first] = volume.history.keyframes;
      if (first !== undefined && first.root.sequence < volume.writer.sequence) return true;
    }
    return false;
  }
}
