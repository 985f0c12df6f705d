// Reads through a map: every block checked, a bad copy repaired from a good one.
//
//   64 blocks ─► runs that lie side by side on a disk ─► read, several in one system call ─► one checksum for all
//                                                          a bad one: block by block, from every copy
//      some of them are packed: these by packed-reader.ts, the others as above
//
// Invariant: bytes are returned only if their checksum is the one in the map. Thread: the pool's worker. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import type { Disk } from "../disk/disk.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { LOCATION_LOST, SEGMENT_BLOCKS } from "../log/format.js";
import { runChecksum } from "../log/run-checksum.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import { AWAITED_BLOCKS_MAX, type AwaitedReads, type ReadWaiter } from "./awaited-reads.js";
import type { BlockCipher } from "./block-cipher.js";
import type { BlockMap } from "./block-map.js";
import { BlockRuns, copyOf } from "./block-runs.js";
import { ColdReads } from "./cold-reads.js";
import { PackedReader } from "./packed-reader.js";
import { PreparedReads } from "./prepared-reads.js";
import { TornRanges } from "./torn-ranges.js";

/** Blocks read and then checked at a time, so that they are still in the processor's cache. */
const GROUP_MAX = 64;
/** The same of what comes from the disks, which are asked for all of a group at once. */
const GROUP_COLD_MAX = 256;

export class MapReader {
  readonly #table: SegmentTable;
  readonly #scratch = new DataBuffer(BLOCK_SIZE);
  /** Of the group that is read now. */
  readonly #group: BlockRuns;
  readonly #prepared: PreparedReads;
  readonly #cold = new ColdReads();
  /** What is packed. */
  readonly packed: PackedReader;
  /** What clients read in order although it does not lie so. */
  readonly torn = new TornRanges();
  /** A client reads. */
  #isAsked = false;
  /** Blocks put right from another copy, and blocks of which no good copy was left. */
  repairedBlocks = 0;
  /** Requests served; for telling whether clients are busy. */
  readCount = 0;
  lostBlocks = 0;
  /** Told of each block that cannot be read. */
  onLost: ((map: BlockMap, block: number) => void) | undefined;
  /** Where reads wait for the disks by themselves, if anywhere. */
  awaited: AwaitedReads | undefined;

  constructor(table: SegmentTable) {
    this.#table = table;
    this.#group = new BlockRuns(table, GROUP_COLD_MAX, this.#cold);
    this.#prepared = new PreparedReads(table, this.#cold);
    this.packed = new PackedReader(table, (segment, offset, expected, target, at, wanted) =>
      this.repair(segment, offset, expected, target, at, wanted),
    );
  }

  /** Runs of blocks that were read around the page cache. */
  get bypassCount(): number {
    return this.#cold.bypassCount;
  }

  /** Any range inside the map, decrypted by `cipher` if it is given; 0, EIO, or EAGAIN if `wait` is false. */
  read(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    offset: number,
    length: number,
    cipher?: BlockCipher | undefined,
    wait = true,
  ): number {
    this.readCount++;
    const head = offset % BLOCK_SIZE;
    if (head === 0 && length % BLOCK_SIZE === 0) {
      this.#isAsked = true;
      const result = this.readBlocks(map, target, at, offset / BLOCK_SIZE, length / BLOCK_SIZE, cipher, wait);
      this.#isAsked = false;
      return result;
    }
    let block = (offset - head) / BLOCK_SIZE;
    let from = head;
    let left = length;
    while (left > 0) {
      const count = Math.min(left, BLOCK_SIZE - from);
      if (from === 0 && left >= BLOCK_SIZE) {
        const whole = Math.floor(left / BLOCK_SIZE);
        const result = this.readBlocks(map, target, at, block, whole, cipher, wait);
        if (result !== OK) return result;
        block += whole;
        at += whole * BLOCK_SIZE;
        left -= whole * BLOCK_SIZE;
        continue;
      }
      const result = this.readBlocks(map, this.#scratch, 0, block, 1, cipher, wait);
      if (result !== OK) return result;
      this.#scratch.bytes.copy(target.bytes, at, from, from + count);
      block++;
      at += count;
      left -= count;
      from = 0;
    }
    return OK;
  }

  /** Whole blocks. With `wait` false the disks are asked for all that has to be waited for, before it is EAGAIN. */
  readBlocks(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher?: BlockCipher | undefined,
    wait = true,
  ): number {
    if (count === 1) {
      const result = this.#readAlone(map, target, at, block, cipher, wait);
      if (result === OK || result === EAGAIN) return result;
    }
    const end = block + count;
    let outcome: number = OK;
    while (block < end) {
      const group = Math.min(end - block, this.#cold.isCold ? GROUP_COLD_MAX : GROUP_MAX);
      const result = this.#readGroup(map, target, at, block, group, cipher, wait);
      if (result === EAGAIN) outcome = EAGAIN;
      else if (result !== OK) return result;
      block += group;
      at += group * BLOCK_SIZE;
    }
    return outcome;
  }

  /**
   * As readBlocks, but the disks are asked with the first finish(), for everything that is prepared by then in one system
   * call. Its ticket; −1 when it is to be read by itself: it is long, a block of it is packed or lost, or much is prepared already.
   * The first prepare() after a finish() ends all tickets. `target` is not to be touched until then.
   */
  prepare(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher?: BlockCipher | undefined,
  ): number {
    if (count > GROUP_MAX) return -1;
    const prepared = this.#prepared;
    const ticket = prepared.add(map, target, at, block, count, cipher);
    if (ticket < 0) return ticket;
    this.readCount++;
    this.torn.note(
      map,
      block,
      count,
      (prepared.endRuns[ticket] as number) - (prepared.firstRuns[ticket] as number),
    );
    return ticket;
  }

  /** 0, EIO, or EAGAIN if `wait` is false; once for each ticket. */
  finish(ticket: number, wait = true): number {
    const prepared = this.#prepared;
    prepared.run(wait);
    const target = prepared.targets[ticket] as DataBuffer;
    const map = prepared.maps[ticket] as BlockMap;
    const cipher = prepared.ciphers[ticket];
    prepared.forget(ticket);
    const from = prepared.firstRuns[ticket] as number;
    const end = prepared.endRuns[ticket] as number;
    return this.#check(prepared.runs, from, end, map, target, cipher, wait);
  }

  /** Begins a read of whole blocks that `waiter` is told of as it ends. Its slot; −1 when it is to be waited for. */
  beginRead(
    map: BlockMap,
    block: number,
    count: number,
    cipher: BlockCipher | undefined,
    waiter: ReadWaiter,
  ): number {
    const { awaited } = this;
    if (awaited === undefined || count > AWAITED_BLOCKS_MAX || !this.#canAwait(map, block, count)) return -1;
    const slot = awaited.take(waiter, block, count, cipher);
    if (slot < 0) return -1;
    this.readCount++;
    for (let i = 0; i < count; ) {
      const location = map.location(block + i);
      if (location === 0) {
        awaited.hole(slot, i++);
        continue;
      }
      const first = i;
      const end = Math.min(count, i + SEGMENT_BLOCKS - (location & (SEGMENT_BLOCKS - 1)));
      do awaited.expect(slot, i, map.checksum(block + i++));
      while (i < end && map.location(block + i) === location + i - first);
      const segment = this.#table.of(location);
      const copy = copyOf(segment);
      const disk = segment.disks[copy] as Disk;
      const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
      const position = disk.position(segment.slots[copy] as number) + offset;
      awaited.add(slot, first, i - first, disk.file.descriptor, position);
    }
    return slot;
  }

  /** Something of it is stored, nothing is packed or known to be lost, and all lies on disks that have descriptors. */
  #canAwait(map: BlockMap, block: number, count: number): boolean {
    let isStored = false;
    for (let i = 0; i < count; i++) {
      const location = map.location(block + i);
      if (location === 0) continue;
      if (this.#table.isPackedOrLost(location)) return false;
      const segment = this.#table.of(location);
      const disk = segment.disks[copyOf(segment)];
      if (disk === undefined || disk.file.descriptor < 0) return false;
      isStored = true;
    }
    return isStored;
  }

  /** Nothing is under way. Reads one by one from now on. */
  close(): void {
    this.#group.close();
    this.#prepared.close();
  }

  /** A block that is stored and good, the short way; anything but OK and EAGAIN asks for the long one. */
  #readAlone(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    cipher: BlockCipher | undefined,
    wait: boolean,
  ): number {
    const location = map.location(block);
    if (location === 0 || this.#table.isPackedOrLost(location)) return EIO;
    const segment = this.#table.of(location);
    const copy = copyOf(segment);
    const disk = segment.disks[copy];
    if (disk === undefined) return EIO;
    const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
    const result = disk.read(segment.slots[copy] as number, target, at, BLOCK_SIZE, offset, wait);
    if (result === EAGAIN) return wait ? EIO : EAGAIN;
    if (result !== OK || bufferChecksum(target, at, BLOCK_SIZE) !== map.checksum(block)) return EIO;
    cipher?.decrypt(target, at, block, 1);
    return OK;
  }

  #readGroup(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher: BlockCipher | undefined,
    wait: boolean,
  ): number {
    const runs = this.#group;
    runs.clear();
    if (runs.add(map, target, at, block, count) >= 0) {
      return this.#readMixed(map, target, at, block, count, cipher, wait);
    }
    if (this.#isAsked) this.torn.note(map, block, count, runs.count);
    runs.read(wait);
    return this.#check(runs, 0, runs.count, map, target, cipher, wait);
  }

  /** A range of which some blocks are packed or lost. */
  #readMixed(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    count: number,
    cipher: BlockCipher | undefined,
    wait: boolean,
  ): number {
    const table = this.#table;
    let outcome: number = OK;
    for (let i = 0; i < count; ) {
      const location = map.location(block + i);
      const here = at + i * BLOCK_SIZE;
      let run = 1;
      let result: number = EIO;
      if (!table.isPackedOrLost(location)) {
        while (i + run < count && !table.isPackedOrLost(map.location(block + i + run))) run++;
        result = this.#readGroup(map, target, here, block + i, run, cipher, wait);
      } else {
        if (location !== LOCATION_LOST) {
          result = this.packed.read(location, map.checksum(block + i), target, here, wait);
        }
        if (result === OK) cipher?.decrypt(target, here, block + i, 1);
        else if (result !== EAGAIN) this.#lose(map, block + i);
      }
      if (result === EAGAIN) outcome = EAGAIN;
      else if (result !== OK) return result;
      i += run;
    }
    return outcome;
  }

  /** What was read of one range, runs `from` to `end`: checked, repaired and decrypted. */
  #check(
    runs: BlockRuns,
    from: number,
    end: number,
    map: BlockMap,
    target: DataBuffer,
    cipher: BlockCipher | undefined,
    wait: boolean,
  ): number {
    let outcome: number = OK;
    for (let n = from; n < end; ) {
      // Runs that are side by side in the target are checked together.
      let behind = n + 1;
      let blocks = runs.counts[n] as number;
      const first = runs.blocks[n] as number;
      const at = runs.places[n] as number;
      if (runs.results[n] === OK) {
        while (behind < end && runs.results[behind] === OK && runs.blocks[behind] === first + blocks) {
          blocks += runs.counts[behind++] as number;
        }
      }
      const waits = runs.results[n] === EAGAIN && !wait;
      if (waits) outcome = EAGAIN;
      else if (runs.results[n] !== OK || !this.#isGood(map, target, at, first, blocks)) {
        for (; n < behind; n++) if (!this.#checkSingly(runs, n, map, target)) return EIO;
      }
      if (!waits) cipher?.decrypt(target, at, first, blocks);
      n = behind;
    }
    return outcome;
  }

  #lose(map: BlockMap, block: number): void {
    this.lostBlocks++;
    this.onLost?.(map, block);
  }

  /** A run of which something is bad, block by block. False when one is lost. */
  #checkSingly(runs: BlockRuns, n: number, map: BlockMap, target: DataBuffer): boolean {
    const location = runs.locations[n] as number;
    const segment = this.#table.of(location);
    const count = runs.counts[n] as number;
    for (let i = 0; i < count; i++) {
      const block = (runs.blocks[n] as number) + i;
      const here = (runs.places[n] as number) + i * BLOCK_SIZE;
      const expected = map.checksum(block);
      if (runs.results[n] === OK && bufferChecksum(target, here, BLOCK_SIZE) === expected) continue;
      const offset = ((location & (SEGMENT_BLOCKS - 1)) + i) * BLOCK_SIZE;
      if (this.repair(segment, offset, expected, target, here)) continue;
      this.onLost?.(map, block);
      return false;
    }
    return true;
  }

  /** All blocks at once; who is to blame is found out block by block. */
  #isGood(map: BlockMap, target: DataBuffer, at: number, block: number, run: number): boolean {
    let expected = map.checksum(block);
    for (let i = 1; i < run; i++) expected = runChecksum(expected, map.checksum(block + i));
    return bufferChecksum(target, at, run * BLOCK_SIZE) === expected;
  }

  /**
   * Looks for a copy with the right checksum, puts it into `target` and over every copy that differs. False when there is
   * none: the block is lost, unless nothing names it (`wanted` false).
   */
  repair(
    segment: Segment,
    offset: number,
    expected: number,
    target: DataBuffer,
    at: number,
    wanted = true,
  ): boolean {
    let good = -1;
    for (let i = 0; i < segment.disks.length && good < 0; i++) {
      const disk = segment.disks[i] as Segment["disks"][number];
      const result = disk.read(segment.slots[i] as number, target, at, BLOCK_SIZE, offset);
      if (result === OK && bufferChecksum(target, at, BLOCK_SIZE) === expected) good = i;
    }
    if (good < 0) {
      if (!wanted) return false;
      this.lostBlocks++;
      for (let i = 0; i < segment.disks.length; i++) noteBad(segment, i, offset, false);
      return false;
    }
    for (let i = 0; i < segment.disks.length; i++) {
      if (i === good) continue;
      const disk = segment.disks[i] as Segment["disks"][number];
      const result = disk.read(segment.slots[i] as number, this.#repairScratch, 0, BLOCK_SIZE, offset);
      if (result === OK && bufferChecksum(this.#repairScratch, 0, BLOCK_SIZE) === expected) continue;
      const written = disk.write(segment.slots[i] as number, target, at, BLOCK_SIZE, offset);
      noteBad(segment, i, offset, written === OK);
      this.repairedBlocks++;
    }
    return true;
  }

  readonly #repairScratch = new DataBuffer(BLOCK_SIZE);
}

/** A copy is bad; of a disk that is not used nothing else is expected. */
function noteBad(segment: Segment, copy: number, offset: number, mended: boolean): void {
  const disk = segment.disks[copy] as Segment["disks"][number];
  if (disk.online) disk.faults.note(segment.slots[copy] as number, offset / BLOCK_SIZE, mended);
}
