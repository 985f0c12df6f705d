// Reads through a map: runs of neighbouring blocks in one go, every block checked, a bad copy repaired from a good one.
// Invariant: bytes are returned only if their checksum is the one in the map. Thread: the pool's worker. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { LOCATION_LOST, SEGMENT_BLOCKS } from "../log/format.js";
import { runChecksum } from "../log/run-checksum.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { BlockCipher } from "./block-cipher.js";
import type { BlockMap } from "./block-map.js";

/** Blocks read and then checked at a time, so that they are still in the processor's cache. */
const RUN_MAX = 64;

export class MapReader {
  readonly #table: SegmentTable;
  readonly #scratch = new DataBuffer(BLOCK_SIZE);
  /** Blocks put right from another copy, and blocks of which no good copy was left. */
  repairedBlocks = 0;
  /** Requests served; for telling whether clients are busy. */
  readCount = 0;
  lostBlocks = 0;
  /** Told of each block that cannot be read. */
  onLost: ((map: BlockMap, block: number) => void) | undefined;

  constructor(table: SegmentTable) {
    this.#table = table;
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
      return this.readBlocks(map, target, at, offset / BLOCK_SIZE, length / BLOCK_SIZE, cipher, wait);
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
    const end = block + count;
    let outcome: number = OK;
    while (block < end) {
      const location = map.location(block);
      let run = 1;
      if (location === 0) {
        while (block + run < end && map.location(block + run) === 0) run++;
        target.bytes.fill(0, at, at + run * BLOCK_SIZE);
      } else if (location === LOCATION_LOST) {
        this.lostBlocks++;
        this.onLost?.(map, block);
        return EIO;
      } else {
        const max = Math.min(end - block, RUN_MAX, SEGMENT_BLOCKS - (location & (SEGMENT_BLOCKS - 1)));
        while (run < max && map.location(block + run) === location + run) run++;
        const result = this.#readRun(map, target, at, block, location, run, wait);
        if (result === EAGAIN) outcome = EAGAIN;
        else if (result !== OK) return result;
        else cipher?.decrypt(target, at, block, run);
      }
      block += run;
      at += run * BLOCK_SIZE;
    }
    return outcome;
  }

  #readRun(
    map: BlockMap,
    target: DataBuffer,
    at: number,
    block: number,
    location: number,
    run: number,
    wait: boolean,
  ): number {
    const segment = this.#table.of(location);
    const offset = (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
    let copy = 0;
    while (copy + 1 < segment.disks.length && !(segment.disks[copy] as Segment["disks"][number]).online)
      copy++;
    const disk = segment.disks[copy];
    const result =
      disk === undefined
        ? EIO
        : disk.read(segment.slots[copy] as number, target, at, run * BLOCK_SIZE, offset, wait);
    if (result === EAGAIN && !wait) return EAGAIN;
    if (result === OK && this.#isRunGood(map, target, at, block, run)) return OK;
    for (let i = 0; i < run; i++) {
      const here = at + i * BLOCK_SIZE;
      const expected = map.checksum(block + i);
      if (result === OK && bufferChecksum(target, here, BLOCK_SIZE) === expected) continue;
      if (this.repair(segment, offset + i * BLOCK_SIZE, expected, target, here)) continue;
      this.onLost?.(map, block + i);
      return EIO;
    }
    return OK;
  }

  /** All blocks at once; who is to blame is found out block by block. */
  #isRunGood(map: BlockMap, target: DataBuffer, at: number, block: number, run: number): boolean {
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
      if (wanted) this.lostBlocks++;
      return false;
    }
    for (let i = 0; i < segment.disks.length; i++) {
      if (i === good) continue;
      const disk = segment.disks[i] as Segment["disks"][number];
      const result = disk.read(segment.slots[i] as number, this.#repairScratch, 0, BLOCK_SIZE, offset);
      if (result === OK && bufferChecksum(this.#repairScratch, 0, BLOCK_SIZE) === expected) continue;
      disk.write(segment.slots[i] as number, target, at, BLOCK_SIZE, offset);
      this.repairedBlocks++;
    }
    return true;
  }

  readonly #repairScratch = new DataBuffer(BLOCK_SIZE);
}
