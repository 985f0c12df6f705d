// The BlockDevice: what an export serves. Volumes, snapshots, memory and filters are all this one thing.
import type { DataBuffer } from "../disk/data-buffer.js";
import type { ReadWaiter } from "./awaited-reads.js";

/** Told about a run of equal blocks, here whether they are stored or changed; returning false ends the walk. */
export type ExtentVisitor = (lengthBytes: number, state: boolean) => boolean;

/**
 * A sequence of bytes that survives. Called by one thread, never from inside another call. The caller guarantees that
 * ranges lie inside the device and are not empty. Nothing here throws: calls return 0 or a positive errno of
 * errors.ts, and the content of a range whose write failed is either the old or the new, block by block.
 *
 * Writing is staged: `stageWrite` and `stageUnmap` take effect in order, at the latest when `commit` returns; only then
 * may they be answered. If `commit` fails, every call staged since the commit before counts as failed. `EAGAIN` from a
 * staging call means that nothing of it happened and that the same call may succeed later: room is being made, on disks or in memory.
 */
export interface BlockDevice {
  /** Multiple of 4096; may grow. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /**
   * Reads committed bytes into `target` from `at`. Verified against checksums; EIO when no good copy is left. With `wait`
   * false it may be EAGAIN: the disk would have to be waited for, and has been asked. Whoever has several reads tries
   * all so before waiting for any.
   */
  read(target: DataBuffer, at: number, offset: number, length: number, wait?: boolean): number;
  /**
   * Begins a read that may be carried out together with others: those of one pool that are prepared before the first is
   * finished cost one system call. A ticket for `finishRead`, or −1 when `read` is to be used. Until then `target` is not
   * touched, and nothing is staged. The first prepareRead after a finishRead ends the tickets of the pool.
   */
  prepareRead(target: DataBuffer, at: number, offset: number, length: number): number;
  /**
   * How a prepared read ended, 0 or EIO: each ticket once. What fails for one fails for no other. With `wait` false it may
   * be EAGAIN, as for `read`; those of one pool that were prepared together are all finished the one way or the other.
   */
  finishRead(ticket: number, wait?: boolean): number;
  /**
   * Begins a read, of bytes committed until now, that `waiter` is told of when the disk has answered, by the number that
   * is returned; EIO means that it is to be read by `read`. −1 when it has to be waited for by `read`.
   */
  awaitRead(offset: number, length: number, waiter: ReadWaiter): number;
  /**
   * Takes the bytes before it returns: `source` may be changed afterwards. ENOSPC leaves nothing half-written. Whole
   * blocks of zeros need not be stored.
   */
  stageWrite(source: DataBuffer, at: number, offset: number, length: number): number;
  /** The range reads as zeros; the space of whole 4 KiB blocks is given back. */
  stageUnmap(offset: number, length: number): number;
  /** The range reads as zeros and every block of it is stored: later writes to it find room. */
  stageZeroes(offset: number, length: number): number;
  /**
   * Sets room aside for the blocks of the range that are not stored yet, all together: OK, ENOSPC, or EAGAIN while the
   * cleaner makes some. For who stages a long range in slices and must not end half way; ends with `unreserve` of the
   * same range.
   */
  reserve(offset: number, length: number): number;
  /** Nothing is set aside for the range any more. */
  unreserve(offset: number, length: number): void;
  commit(): number;
  /** What whoever waits for a sync is told once it ended: 0, or EIO when answered writes cannot be made durable. */
  readonly syncError: number;
  /** Commits, then makes everything that was ever committed survive power loss. */
  flush(): number;
  /** Walks a range in runs of stored (true) and absent blocks; neighbours of one kind are one run. */
  extents(offset: number, length: number, visit: ExtentVisitor): void;
  /** Names that `changes` knows: the snapshots of the volume. */
  snapshotNames(): readonly string[];
  /**
   * Walks a range in runs, true where it may differ from the snapshot `base`, false where it does not. Returns false,
   * without a visit, when there is no such snapshot. Whoever copies the changed runs over a copy of `base` has this.
   */
  changes(base: string, offset: number, length: number, visit: ExtentVisitor): boolean;
}
