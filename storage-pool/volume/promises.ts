// What a volume was promised: room to overwrite every block that it has, also those that snapshots and clones share, and
// what is set aside for a request that is carried out in slices.
//
// Overwriting a block of one's own needs no more room in the end. A shared block stays when it is overwritten: the pool
// keeps room for one more. Shared are exactly the blocks that a live map outside the volume's head and its history names.
//   snapshot made: all blocks are shared ── overwritten or trimmed: one less ── snapshot deleted: counted anew
// Invariant: `blocks` is never less than the number of shared blocks, and equal to it while it is not `stale` and the
// root that it was last shared with is there. Thread: the pool's worker. Hot: yes (note, plenty).
import { OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES } from "../log/format.js";
import type { Root, Volume } from "./volume.js";

/** Whoever gives out the room of a pool. */
export interface RoomGate {
  /** Blocks that are promised to anybody, each copy counted. */
  promised: number;
  /** Whether there is surely room for so many more blocks; cheap. */
  plenty(blocks: number, copies: number, diskClass: string): boolean;
  /** Whether so many more blocks find room beyond all that is promised: OK, ENOSPC, or EAGAIN while some is made. */
  grow(blocks: number, copies: number, diskClass: string): number;
}

interface Reservation {
  readonly offset: number;
  readonly end: number;
  left: number;
}

export class Promises {
  readonly #volume: Volume;
  readonly #room: RoomGate;
  readonly #reservations: Reservation[] = [];
  #blocks = 0;
  #reserved = 0;
  /** More may be promised than is shared: to be counted anew. */
  stale = false;
  /** A root that the head came from or went into last: what differs from it is not shared with any. */
  #reference: Root | undefined;
  /** Branches up to this one are counted anew so far, with this result; −1 while nobody counts. */
  #countedTo = -1;
  #counted = 0;

  constructor(volume: Volume, room: RoomGate) {
    this.#volume = volume;
    this.#room = room;
  }

  /** Blocks that are shared. */
  get blocks(): number {
    return this.#blocks;
  }

  /** All blocks that room is kept for. */
  get total(): number {
    return this.#blocks + this.#reserved;
  }

  /** Everything that the head has is shared with `reference`, as far as is known. */
  shareAll(reference: Root | undefined, exact: boolean): void {
    this.#countedTo = -1;
    this.#reference = reference;
    this.stale = !exact;
    this.#set(this.#volume.head.map.mappedBlocks);
  }

  /** A root is gone: less may be shared. */
  forget(root: Root | undefined): void {
    if (root === this.#reference) this.#reference = undefined;
    this.#countedTo = -1;
    if (this.#blocks > 0) this.stale = true;
  }

  /** Nothing is promised any more. */
  release(): void {
    this.#reservations.length = 0;
    this.#room.promised -= this.total * this.#volume.copies;
    this.#blocks = 0;
    this.#reserved = 0;
  }

  /** The head is about to change in these blocks. */
  note(block: number, count: number): void {
    if (this.#blocks === 0) return;
    const reference = this.#reference;
    if (reference === undefined) {
      this.stale = true;
      return;
    }
    const { map } = this.#volume.head;
    let fewer = 0;
    for (const end = block + count; block < end; block++) {
      if (
        (block & (PAGE_ENTRIES - 1)) === 0 &&
        end - block > PAGE_ENTRIES &&
        map.page(block >>> 9) === null
      ) {
        block += PAGE_ENTRIES - 1;
        continue;
      }
      const location = map.location(block);
      if (location === 0 || block >>> 9 >= reference.map.pageCount) continue;
      if (reference.map.location(block) !== location) continue;
      fewer++;
      if (block >>> 18 < this.#countedTo) this.#counted--;
    }
    if (fewer > 0) this.#set(this.#blocks - fewer);
  }

  /** Some of the room was set aside for ranges. */
  get isReserved(): boolean {
    return this.#reservations.length > 0;
  }

  /** Surely room for a range, without looking what of it is there. */
  plenty(length: number): boolean {
    const { copies, diskClass } = this.#volume;
    return !this.isReserved && this.#room.plenty(Math.ceil(length / BLOCK_SIZE) + 1, copies, diskClass);
  }

  /** Room for `absent` blocks of a range that are not there yet: OK, EAGAIN or ENOSPC. */
  grow(offset: number, length: number, absent: number): number {
    if (absent === 0) return OK;
    for (let i = 0; i < this.#reservations.length; i++) {
      const each = this.#reservations[i] as Reservation;
      if (offset < each.offset || offset + length > each.end) continue;
      const taken = Math.min(each.left, absent);
      each.left -= taken;
      this.#reserve(-taken);
      if (taken === absent) return OK;
    }
    const { copies, diskClass } = this.#volume;
    return this.#room.grow(absent, copies, diskClass);
  }

  reserve(offset: number, length: number): number {
    const absent = this.absentIn(offset, length);
    const { copies, diskClass } = this.#volume;
    const refused = absent === 0 ? OK : this.#room.grow(absent, copies, diskClass);
    if (refused !== OK) return refused;
    this.#reservations.push({ offset, end: offset + length, left: absent });
    this.#reserve(absent);
    return OK;
  }

  unreserve(offset: number, length: number): void {
    const at = this.#reservations.findIndex((each) => each.offset === offset && each.end === offset + length);
    if (at < 0) return;
    this.#reserve(-(this.#reservations[at] as Reservation).left);
    this.#reservations.splice(at, 1);
  }

  /** Blocks of the range that are not stored. */
  absentIn(offset: number, length: number): number {
    const { map } = this.#volume.head;
    const end = Math.ceil((offset + length) / BLOCK_SIZE);
    let absent = 0;
    for (let block = Math.floor(offset / BLOCK_SIZE); block < end; block++) {
      if (
        (block & (PAGE_ENTRIES - 1)) === 0 &&
        end - block >= PAGE_ENTRIES &&
        map.page(block >>> 9) === null
      ) {
        absent += PAGE_ENTRIES;
        block += PAGE_ENTRIES - 1;
      } else if (map.location(block) === 0) absent++;
    }
    return absent;
  }

  /** Counts anew, one branch (1 GiB) per call; `sharedAt` counts in one. True when it is done. */
  recount(sharedAt: (branch: number) => number): boolean {
    if (this.#countedTo < 0) {
      this.#countedTo = 0;
      this.#counted = 0;
    }
    if (this.#countedTo < this.#volume.head.map.branches.length) {
      this.#counted += sharedAt(this.#countedTo++);
      return false;
    }
    this.#countedTo = -1;
    this.stale = false;
    this.#reference ??= [...this.#volume.snapshots.values()].at(-1);
    // Never more than before: what was written meanwhile is in neither.
    this.#set(Math.min(this.#blocks, Math.max(0, this.#counted)));
    return true;
  }

  #set(blocks: number): void {
    this.#room.promised += (blocks - this.#blocks) * this.#volume.copies;
    this.#blocks = blocks;
  }

  #reserve(blocks: number): void {
    this.#room.promised += blocks * this.#volume.copies;
    this.#reserved += blocks;
  }
}
