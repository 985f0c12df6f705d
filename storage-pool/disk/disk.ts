// One disk of a pool: its superblock, its slots and the header cells that say what they hold.
// Invariant: a slot is free exactly when nothing in memory uses it; a freed slot's cell is cleared before anybody can get
// it again. What an earlier segment left in a slot never passes for content: records carry the segment's serial, and
// payload its checksum. So a slot that is wanted again at once keeps its space (and its pages in the cache); the space
// of the others is punched soon. Thread: the pool's worker. Hot: no (slots change once per 4 MiB).

import { PlinthError } from "../../base/errors/index.js";
import { EIO, storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import {
  CELL_SIZE,
  CELLS_AT,
  encodeCell,
  encodeStamp,
  encodeSuperblock,
  FORMAT_VERSION,
  parseCell,
  parseStamp,
  parseSuperblock,
  SEGMENT_SIZE,
  type SegmentHeader,
  STAMP_AT,
  type Superblock,
  slotCountOf,
  slotsAt,
} from "../log/format.js";
import { DataBuffer } from "./data-buffer.js";
import { DiskFaults } from "./disk-faults.js";
import type { DiskFile } from "./disk-file.js";
import { foreignData } from "./foreign-data.js";

/** Fewer could not hold a log, a cleaner and their reserve. */
export const SLOTS_MIN = 8;
const CELLS_PER_READ = 2048;

export interface FoundSegment {
  readonly slot: number;
  readonly header: SegmentHeader;
}

export interface DiskIdentity {
  readonly poolId: string;
  readonly poolName: string;
  readonly diskId: string;
  readonly diskIndex: number;
  readonly diskCount: number;
}

export class Disk {
  /** Another one once the disk is given up. */
  file: DiskFile;
  superblock: Superblock;
  readonly slotCount: number;
  freeSlots: number;
  /** Something was written since the last sync. */
  dirty = false;
  /** A sync beside other work is under way: what it covers is not durable yet. */
  syncing = false;
  /** Set once a sync failed, or a write that another copy took: nothing new is put there until it is taken back. */
  failed = false;
  /** What is open is not at its path any more: it was removed, unmounted or put elsewhere. */
  detached = false;
  /** Not there when the pool was opened. */
  readonly missing: boolean;
  /** Its segments are being moved away: nothing new is put there. */
  draining = false;
  /** What kind of disk it is, in the user's words ("ssd"); "" when nobody said. */
  diskClass = "";
  /** What it holds may be old: it was missing or failed once and was not looked through since. */
  suspect = false;
  /** The opening of the pool that used it last, as it tells itself; 0 when that is not known. */
  lastEpoch = 0;
  /** What was found wrong on it while it is used. */
  readonly faults = new DiskFaults();
  /** How far its file reached, bytes. */
  #longest = 0;
  readonly #used: Uint8Array;
  readonly #slotsAt: number;
  readonly #scratch = new DataBuffer(CELLS_PER_READ * CELL_SIZE);
  /** Free slots that still have their space. */
  readonly #unpunched: number[] = [];
  #hint = 0;

  constructor(file: DiskFile, superblock: Superblock, missing = false) {
    this.missing = missing;
    this.file = file;
    this.superblock = superblock;
    this.slotCount = superblock.slotCount;
    this.freeSlots = superblock.slotCount;
    this.#used = new Uint8Array(superblock.slotCount);
    this.#slotsAt = slotsAt(superblock.slotCount);
  }

  /** Can be read and written. */
  get online(): boolean {
    return !this.failed && !this.missing;
  }

  /** New segments may be put there. */
  get open(): boolean {
    return this.online && !this.draining && !this.detached;
  }

  /** Volumes of a class may be put there; those without one anywhere. */
  isOfClass(diskClass: string): boolean {
    return diskClass === "" || this.diskClass === diskClass;
  }

  get index(): number {
    return this.superblock.diskIndex;
  }

  /** Another object stands for the disk from now on: whoever still holds this one gets errors, and no other file. */
  retire(): void {
    this.file.close();
    this.file = goneFile(this.file.path);
    this.failed = true;
  }

  /** From now on the disk is one of this program's format; one of an older version is written anew. 0 or an errno. */
  upgrade(): number {
    if (this.superblock.formatVersion === FORMAT_VERSION) return 0;
    this.superblock = { ...this.superblock, formatVersion: FORMAT_VERSION };
    return writeSuperblock(this.file, this.superblock);
  }

  /** The disk is used, in opening `epoch` of its pool. One without a stamp for want of space is a disk all the same. */
  stamp(epoch: number): void {
    this.#scratch.bytes.set(encodeStamp({ epoch }));
    this.dirty = true;
    if (this.file.write(this.#scratch, 0, CELL_SIZE, STAMP_AT) === 0) this.lastEpoch = epoch;
  }

  /** Looks at what nobody reads while a disk is in use: its head, and whether its file reaches to `neededBytes` still. */
  inspect(neededBytes: number): void {
    const length = this.file.lengthBytes?.();
    const least = Math.max(this.#longest, neededBytes);
    if (length !== undefined && length < least) this.faults.cut = [length, least];
    this.#longest = Math.max(this.#longest, length ?? 0);
    this.faults.head = describeHead(this.file, this.superblock)[1];
  }

  /** All of it was looked through: a head that is nobody's is written anew, and the file is as long as it is. */
  endLook(): void {
    const { faults } = this;
    faults.endLook();
    this.#longest = this.file.lengthBytes?.() ?? 0;
    const [state] = describeHead(this.file, this.superblock);
    if (state !== "overwritten" || writeSuperblock(this.file, this.superblock) !== 0) return;
    if (this.lastEpoch > 0) this.stamp(this.lastEpoch);
    faults.head = "";
  }

  /** Byte position of a slot in the file. */
  position(slot: number): number {
    return this.#slotsAt + slot * SEGMENT_SIZE;
  }

  /** Takes a free slot, or −1: one that still has its space if possible, else the lowest. */
  takeSlot(): number {
    const warm = this.#unpunched.pop();
    if (warm !== undefined) {
      this.markUsed(warm);
      return warm;
    }
    for (let i = this.#hint; i < this.slotCount; i++) {
      if (this.#used[i] !== 0) continue;
      this.markUsed(i);
      this.#hint = i + 1;
      return i;
    }
    return -1;
  }

  isUsed(slot: number): boolean {
    return this.#used[slot] === 1;
  }

  markUsed(slot: number): void {
    if (this.#used[slot] === 0) this.freeSlots--;
    this.#used[slot] = 1;
  }

  /** Gives a slot back: clears its cell. Its space goes back later, unless the slot is wanted again before. */
  freeSlot(slot: number): void {
    this.clearCell(slot);
    this.faults.forgetSlot(slot);
    this.#unpunched.push(slot);
    if (this.#used[slot] === 1) this.freeSlots++;
    this.#used[slot] = 0;
    if (slot < this.#hint) this.#hint = slot;
  }

  get unpunchedCount(): number {
    return this.#unpunched.length;
  }

  /** Gives the space of everything that is free back: after a crash nobody knows what still has some. */
  punchFree(): void {
    if (!this.file.sparse) return;
    this.#unpunched.length = 0;
    for (let first = 0; first < this.slotCount; first++) {
      if (this.#used[first] !== 0) continue;
      let end = first + 1;
      while (end < this.slotCount && this.#used[end] === 0) end++;
      this.file.punch(this.position(first), (end - first) * SEGMENT_SIZE);
      first = end;
    }
  }

  /**
   * Gives the space of a few free slots back to the file system, but for `kept` of them; true when there are more. Those
   * that were freed first go first: the others are the likelier to be in the page cache still.
   */
  punchSome(count: number, kept = 0): boolean {
    const slots = this.#unpunched.splice(0, Math.min(count, Math.max(0, this.#unpunched.length - kept)));
    for (const slot of slots) {
      this.file.punch(this.position(slot), SEGMENT_SIZE);
      this.dirty = true;
    }
    return this.#unpunched.length > kept;
  }

  /** Writes what `slot` holds. Returns 0 or an errno. */
  writeCell(slot: number, header: SegmentHeader): number {
    this.#scratch.bytes.set(encodeCell(header));
    return this.#writeScratch(slot);
  }

  clearCell(slot: number): number {
    this.#scratch.bytes.fill(0, 0, CELL_SIZE);
    return this.#writeScratch(slot);
  }

  /** Writes `length` bytes into a slot. Returns 0 or an errno. */
  write(slot: number, source: DataBuffer, at: number, length: number, offset: number): number {
    this.dirty = true;
    return this.file.write(source, at, length, this.position(slot) + offset);
  }

  /** `wait`: see DiskFile. */
  read(slot: number, target: DataBuffer, at: number, length: number, offset: number, wait = true): number {
    return this.file.read(target, at, length, this.position(slot) + offset, wait);
  }

  /** Syncs when needed. After a failure every later call fails too. */
  sync(): number {
    if (!this.online) return 5;
    if (!this.dirty && !this.syncing) return 0;
    this.dirty = false;
    const result = this.file.sync();
    if (result !== 0) this.failed = true;
    return result;
  }

  /** The header cell of a slot: what it says, undefined when it says nothing, "unreadable" when it cannot be read. */
  readCell(slot: number): SegmentHeader | undefined | "unreadable" {
    const result = this.file.read(this.#scratch, 0, CELL_SIZE, CELLS_AT + slot * CELL_SIZE);
    return result === 0 ? parseCell(this.#scratch.bytes.subarray(0, CELL_SIZE)) : "unreadable";
  }

  /**
   * Clears header cells of free slots that hold something all the same, some at a time from slot `first` on. Returns where to
   * go on, −1 at the end; `onCleared` is told each slot.
   */
  clearStrayCells(first: number, onCleared: (slot: number) => void): number {
    const count = Math.min(CELLS_PER_READ, this.slotCount - first);
    if (count <= 0) return -1;
    if (this.file.read(this.#scratch, 0, count * CELL_SIZE, CELLS_AT + first * CELL_SIZE) !== 0) return -1;
    const stray: number[] = [];
    for (let i = 0; i < count; i++)
      if (this.#used[first + i] === 0 && !isZero(this.#scratch, i * CELL_SIZE)) stray.push(first + i);
    for (const slot of stray) if (this.clearCell(slot) === 0) onCleared(slot);
    return first + count;
  }

  /** All cells that hold a segment; `damaged`: slots whose cell holds something else (a cell is written whole or not). */
  readCells(damaged: number[] = []): FoundSegment[] {
    const found: FoundSegment[] = [];
    for (let first = 0; first < this.slotCount; first += CELLS_PER_READ) {
      const count = Math.min(CELLS_PER_READ, this.slotCount - first);
      const result = this.file.read(this.#scratch, 0, count * CELL_SIZE, CELLS_AT + first * CELL_SIZE);
      if (result !== 0)
        throw storageError("DISK_DAMAGED", `the header cells of ${this.file.path} cannot be read`);
      for (let i = 0; i < count; i++) {
        if (isZero(this.#scratch, i * CELL_SIZE)) continue;
        const header = parseCell(this.#scratch.bytes.subarray(i * CELL_SIZE, (i + 1) * CELL_SIZE));
        if (header !== undefined) found.push({ slot: first + i, header });
        else damaged.push(first + i);
      }
    }
    return found;
  }

  #writeScratch(slot: number): number {
    this.dirty = true;
    return this.file.write(this.#scratch, 0, CELL_SIZE, CELLS_AT + slot * CELL_SIZE);
  }
}

/** Both words of the envelope's head: a bit that flipped in one leaves the other. */
function isZero({ view }: DataBuffer, at: number): boolean {
  return view.getUint32(at, true) === 0 && view.getUint32(at + 4, true) === 0;
}

/** The superblock of `file`; undefined when it is empty. Throws DISK_FOREIGN when something else is there. */
export function readSuperblock(file: DiskFile): Superblock | undefined {
  const superblock = parseSuperblock(readHead(file), file.path);
  const what = superblock === undefined ? foreignData(file) : undefined;
  if (what === undefined) return superblock;
  throw storageError("DISK_FOREIGN", `${file.path} holds data that is not Plinth's: ${what}`, {
    field: "disks",
    remedy: "give an empty file, directory or device",
  });
}

/** The superblock's 4 KiB. */
function readHead(file: DiskFile): Uint8Array {
  const scratch = new DataBuffer(BLOCK_SIZE);
  const result = file.read(scratch, 0, BLOCK_SIZE, 0);
  if (result !== 0) throw storageError("DISK_DAMAGED", `${file.path} cannot be read (errno ${result})`);
  return scratch.bytes;
}

/**
 * Makes an empty file a disk of a pool, or one that was of this pool before (`again`). Throws DISK_TOO_SMALL, and
 * DISK_FOREIGN when something is there.
 */
export function formatDisk(file: DiskFile, identity: DiskIdentity, again = false): Disk {
  const found = readSuperblock(file);
  if (found !== undefined && !(again && found.poolId === identity.poolId)) {
    throw storageError("DISK_FOREIGN", `${file.path} belongs to another pool`, {
      remedy: "give an empty file, directory or device",
    });
  }
  const slotCount = slotCountOf(file.sizeBytes);
  if (slotCount < SLOTS_MIN) {
    throw storageError(
      "DISK_TOO_SMALL",
      `${file.path} has ${file.sizeBytes} bytes; at least ${(SLOTS_MIN + 1) * SEGMENT_SIZE} are needed`,
      { field: "disks" },
    );
  }
  if (found !== undefined) {
    // What its cells say is of another time.
    const cells = new DataBuffer(slotsAt(slotCount) - CELLS_AT);
    cells.bytes.fill(0);
    const result = file.write(cells, 0, cells.bytes.byteLength, CELLS_AT) || file.sync();
    if (result !== 0) throw storageError("DISK_DAMAGED", `${file.path} cannot be written (errno ${result})`);
  }
  const superblock: Superblock = {
    formatVersion: FORMAT_VERSION,
    ...identity,
    segmentSizeBytes: SEGMENT_SIZE,
    blockSizeBytes: BLOCK_SIZE,
    slotCount,
  };
  const result = writeSuperblock(file, superblock);
  if (result !== 0) throw storageError("DISK_DAMAGED", `${file.path} cannot be written (errno ${result})`);
  return new Disk(file, superblock);
}

/** On the medium when it returns 0. */
function writeSuperblock(file: DiskFile, superblock: Superblock): number {
  const scratch = new DataBuffer(BLOCK_SIZE);
  scratch.bytes.set(encodeSuperblock(superblock));
  return file.write(scratch, 0, BLOCK_SIZE, 0) || file.sync();
}

/** Whether the head of a disk in use is still its own, and what is wrong with it, for people. */
function describeHead(file: DiskFile, own: Superblock): ["own" | "overwritten" | "another's", string] {
  const scratch = new DataBuffer(BLOCK_SIZE);
  const result = file.read(scratch, 0, BLOCK_SIZE, 0);
  if (result !== 0) return ["another's", `its first 4 KiB cannot be read (errno ${result})`];
  const overwritten =
    "its first 4 KiB were overwritten: at the next start it would not be known; a scrub writes them anew";
  try {
    const found = parseSuperblock(scratch.bytes, file.path);
    if (found === undefined) return ["overwritten", overwritten];
    const isOwn =
      found.poolId === own.poolId && found.diskIndex === own.diskIndex && found.diskId === own.diskId;
    return isOwn ? ["own", ""] : ["another's", `it was made a disk of the pool ${found.poolName} meanwhile`];
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    if (thrown.code === "DISK_FORMAT") return ["another's", thrown.message];
    return ["overwritten", overwritten];
  }
}

/** Stands for a disk of the pool that is not there. */
export function missingDisk(path: string, superblock: Superblock): Disk {
  return new Disk(goneFile(path), superblock, true);
}

function goneFile(path: string): DiskFile {
  const gone = () => EIO;
  return {
    path,
    sizeBytes: 0,
    sparse: false,
    descriptor: -1,
    read: gone,
    write: gone,
    sync: gone,
    punch: gone,
    isInPlace: () => false,
    availableBytes: () => 0,
    close: () => {},
  };
}

/** The disk is nobody's any more: its superblock is gone from the medium when this returns 0. */
export function wipeDisk(disk: Disk): number {
  const scratch = new DataBuffer(BLOCK_SIZE);
  return disk.file.write(scratch, 0, BLOCK_SIZE, 0) || disk.file.sync();
}

/**
 * Opens a disk that was formatted before. Throws DISK_FOREIGN when it is not disk `index` of pool `poolId`, or another than
 * the one that had this place ("" for `diskId`: nobody noted which), and DISK_OLD when it is a copy from before the opening
 * `usedEpoch`, which the disk itself was used in.
 */
export function openDisk(file: DiskFile, poolId: string, index: number, diskId = "", usedEpoch = 0): Disk {
  const head = readHead(file);
  const superblock = parseSuperblock(head, file.path);
  const refusal = foreignReason(superblock, poolId, index, diskId);
  if (superblock === undefined || refusal !== "") {
    throw storageError("DISK_FOREIGN", `${file.path} ${refusal}`, {
      remedy: "give the disks in the order in which the pool was made",
      context: { expected: poolId, found: superblock?.poolId },
    });
  }
  const age = ageReason(head, usedEpoch);
  if (age !== "") {
    throw storageError("DISK_OLD", `${file.path} ${age}`, {
      remedy: "put the disk itself there; where it is lost, plinth pool remove --lost gives it up",
    });
  }
  const disk = new Disk(file, superblock);
  disk.lastEpoch = parseStamp(head)?.epoch ?? 0;
  return disk;
}

/**
 * Why a disk with this superblock and stamp (`head`) is not the one that was used in opening `usedEpoch`, but what was
 * copied from it before; "" when it may be. A stamp that was written half, or went bad, tells nothing.
 */
export function ageReason(head: Uint8Array, usedEpoch: number): string {
  const stamp = parseStamp(head);
  const isBlank = head.subarray(STAMP_AT, STAMP_AT + CELL_SIZE).every((byte) => byte === 0);
  if (stamp === undefined ? !isBlank || usedEpoch === 0 : stamp.epoch >= usedEpoch) return "";
  return `is an older copy of the disk: it was used last in opening ${stamp?.epoch ?? 0} of the pool, and the disk itself in opening ${usedEpoch}`;
}

/** Why a disk with this superblock is not disk `index` of a pool, or not the one that had this place; "" when it is. */
export function foreignReason(
  superblock: Superblock | undefined,
  poolId: string,
  index: number,
  diskId: string,
): string {
  if (superblock === undefined || superblock.poolId !== poolId || superblock.diskIndex !== index)
    return `is not disk ${index} of this pool`;
  return diskId === "" || superblock.diskId === diskId
    ? ""
    : "was a disk of this pool, and gave its place to another";
}
