// A volume: a log of writes and the map that says where each block's newest copy lies; with its snapshots.
//
//   head ── map (live) ── durable (as the last map file says; keeps its blocks from being freed)
//   snapshot roots ── the same, without writes
//
// Invariants: every answered write is in the page cache; after power loss the volume is a prefix of its writes that
// contains everything up to the last successful flush. Thread: the pool's worker. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EIO, OK, toDeviceError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { RECORD_DATA, RECORD_MARK } from "../log/format.js";
import { LogWriter, type LogWriterOptions } from "../log/log-writer.js";
import type { StoredFile } from "../log/map-store.js";
import type { ReadWaiter } from "./awaited-reads.js";
import type { BlockCipher } from "./block-cipher.js";
import type { BlockDevice, ExtentVisitor } from "./block-device.js";
import type { BlockMap } from "./block-map.js";
import type { Compression } from "./compression.js";
import { walkChanges, walkExtents } from "./extents.js";
import { History, Keyframe } from "./history.js";
import type { MapReader } from "./map-reader.js";
import type { PageCache } from "./page-cache.js";
import { Promises, type RoomGate } from "./promises.js";
import { isZeroBlock, ZERO_BLOCKS, ZEROES } from "./zero-blocks.js";

/** A map with what is on the medium of it. */
export class Root {
  /** "" for the head, else the snapshot's name. */
  readonly name: string;
  map: BlockMap;
  /** The map as in `file`; undefined while there is none. Shares pages with `map`. */
  durable: BlockMap | undefined;
  /** The map that a checkpoint under way is writing down. */
  pending: BlockMap | undefined;
  /** What the medium has of it: the root's own file first, then others with pages of it; empty while there is none. */
  files: readonly StoredFile[];
  sizeBytes: number;
  /** Sequence that the map stands for. */
  sequence: number;
  /** `map` differs from what the files hold. */
  dirty: boolean;

  constructor(
    name: string,
    map: BlockMap,
    files: readonly StoredFile[],
    sizeBytes: number,
    sequence: number,
  ) {
    this.name = name;
    this.map = map;
    this.durable = files.length === 0 ? undefined : map.freeze();
    this.pending = undefined;
    this.files = files;
    this.dirty = files.length === 0;
    this.sizeBytes = sizeBytes;
    this.sequence = sequence;
  }

  /** Lets go of the maps; the files are the caller's. */
  release(): void {
    this.map.release();
    this.durable?.release();
    this.durable = undefined;
  }
}

export interface VolumeOptions {
  readonly id: number;
  readonly name: string;
  readonly copies: number;
  readonly diskClass: string;
  /** Its key; "" for one that is not encrypted. */
  readonly keyId: string;
  readonly epoch: number;
  readonly head: Root;
  readonly snapshots: ReadonlyMap<string, Root>;
  /** The last sequence of the log, after replay. */
  readonly sequence: number;
  readonly rewindMs: number;
  /** The latest time that the log says, ms since 1970. */
  readonly clockMs: number;
  /** When it was deleted, or 0. */
  readonly deletedAtMs: number;
  readonly compression: Compression;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  readonly room: RoomGate;
  readonly log: Pick<LogWriterOptions, "table" | "staging" | "gate">;
  readonly reader: MapReader;
  /** Makes everything committed so far durable; a writer that this failed for is broken afterwards. */
  readonly sync: () => void;
}

/** What is encrypted at a time: as much as stays in the processor's cache. */
const CIPHER_BLOCKS = 64;
const ciphertext = new DataBuffer(CIPHER_BLOCKS * BLOCK_SIZE);

export class Volume implements BlockDevice {
  readonly id: number;
  name: string;
  readonly copies: number;
  readonly diskClass: string;
  readonly keyId: string;
  /** Of an encrypted volume whose key is known. */
  cipher: BlockCipher | undefined;
  readonly epoch: number;
  readonly head: Root;
  readonly snapshots = new Map<string, Root>();
  readonly writer: LogWriter;
  readonly readOnly = false;
  /** Blocks that lost their place in the head since the last checkpoint: the space that a checkpoint would free. */
  releasedBlocks = 0;
  /** Blocks that were trimmed since the volume was opened. */
  trimmedBlocks = 0;
  /** When it was deleted, ms since 1970: nobody uses it, and it goes when room is short. 0: it was not. */
  deletedAtMs: number;
  /** What is packed already stays so, whatever it says. */
  compression: Compression;
  readonly history: History;
  readonly promises: Promises;
  /** Shares blocks with another volume, or did once. */
  related = false;
  /** Records up to this one are in the map file of the head. */
  checkpointSequence: number;
  /** Everything up to this record is on the medium, and the catalogue was told. */
  notedSequence = 0;
  /** Rises with every change of a map; for caching what is computed from them. */
  generation = 0;
  readonly #reader: MapReader;
  readonly #pages: PageCache;
  readonly #sync: () => void;
  readonly #wallClock: () => number;
  #scratch = ZEROES;
  /** Where the last mark stands, and what it says. */
  #markedSegment: unknown;
  #markedSecond = -1;
  #keyframeCount = 0;

  constructor(options: VolumeOptions) {
    this.id = options.id;
    this.name = options.name;
    this.copies = options.copies;
    this.diskClass = options.diskClass;
    this.keyId = options.keyId;
    this.cipher = undefined;
    this.epoch = options.epoch;
    this.head = options.head;
    this.checkpointSequence = options.head.sequence;
    for (const [name, root] of options.snapshots) this.snapshots.set(name, root); // cold
    this.history = new History(options.rewindMs, options.clockMs);
    this.deletedAtMs = options.deletedAtMs;
    this.compression = options.compression;
    this.#wallClock = options.wallClock;
    this.promises = new Promises(this, options.room);
    this.#reader = options.reader;
    this.#pages = options.log.table.pages;
    this.#sync = options.sync;
    this.writer = new LogWriter({
      ...options.log,
      kind: 1,
      volume: options.id,
      epoch: options.epoch,
      copies: options.copies,
      diskClass: options.diskClass,
      sequence: options.sequence,
      privileged: false,
      apply: (kind, offset, blockCount, location, sums, at) =>
        this.#apply(kind, offset / BLOCK_SIZE, blockCount, location, sums, at),
    });
  }

  get sizeBytes(): number {
    return this.head.sizeBytes;
  }

  /** Encrypted, and its key is not known: nobody can read or write it. */
  get locked(): boolean {
    return this.keyId !== "" && this.cipher === undefined;
  }

  /** `root`: a snapshot of it. */
  read(
    target: DataBuffer,
    at: number,
    offset: number,
    length: number,
    wait = true,
    { map }: Root = this.head,
  ): number {
    return this.locked ? EIO : this.#reader.read(map, target, at, offset, length, this.cipher, wait);
  }

  prepareRead(target: DataBuffer, at: number, offset: number, length: number, { map } = this.head): number {
    if (this.locked || offset % BLOCK_SIZE !== 0 || length % BLOCK_SIZE !== 0) return -1;
    return this.#reader.prepare(map, target, at, offset / BLOCK_SIZE, length / BLOCK_SIZE, this.cipher);
  }

  finishRead(ticket: number, wait = true): number {
    return this.#reader.finish(ticket, wait);
  }

  awaitRead(offset: number, length: number, waiter: ReadWaiter, { map } = this.head): number {
    if (this.locked || offset % BLOCK_SIZE !== 0 || length % BLOCK_SIZE !== 0) return -1;
    return this.#reader.beginRead(map, offset / BLOCK_SIZE, length / BLOCK_SIZE, this.cipher, waiter);
  }

  stageWrite(source: DataBuffer, at: number, offset: number, length: number): number {
    const refused = this.#prepare(source, at, offset, length);
    if (refused !== OK) return refused;
    if (offset % BLOCK_SIZE === 0 && length % BLOCK_SIZE === 0) {
      return this.#stageBlocks(source, at, offset, length / BLOCK_SIZE);
    }
    return this.#stageUnaligned(source, at, offset, length);
  }

  stageUnmap(offset: number, length: number): number {
    const late = this.history.windowMs > 0 ? this.#tick() : OK;
    if (late !== OK) return late;
    const end = offset + length;
    const first = Math.ceil(offset / BLOCK_SIZE) * BLOCK_SIZE;
    const last = Math.floor(end / BLOCK_SIZE) * BLOCK_SIZE;
    if (first >= last) return this.#stageZeroes(offset, length);
    let result: number = OK;
    if (offset < first) result = this.#stageZeroes(offset, first - offset);
    if (result === OK && !this.#isHole(first, last - first)) {
      result = this.writer.stageUnmap(first, last - first);
    }
    if (result === OK && last < end) result = this.#stageZeroes(last, end - last);
    return result;
  }

  stageZeroes(offset: number, length: number): number {
    const refused = this.#prepare(undefined, 0, offset, length);
    return refused === OK ? this.#stageStoredZeroes(offset, length) : refused;
  }

  #stageStoredZeroes(offset: number, length: number): number {
    const end = offset + length;
    const first = Math.ceil(offset / BLOCK_SIZE) * BLOCK_SIZE;
    const last = Math.floor(end / BLOCK_SIZE) * BLOCK_SIZE;
    if (offset < first || first >= last) {
      const head = Math.min(length, first === offset ? BLOCK_SIZE : first - offset);
      const result = this.#stageUnaligned(ZEROES, 0, offset, head, true);
      return result !== OK || head === length
        ? result
        : this.#stageStoredZeroes(offset + head, length - head);
    }
    const refused = this.writer.admit((last - first) / BLOCK_SIZE, 1);
    if (refused !== OK) return refused;
    for (let at = first; at < last; at += ZERO_BLOCKS * BLOCK_SIZE) {
      const count = Math.min(ZERO_BLOCKS, (last - at) / BLOCK_SIZE);
      const result = this.#stageData(ZEROES, 0, at, count);
      if (result !== OK) return result;
    }
    return last < end ? this.#stageUnaligned(ZEROES, 0, last, end - last, true) : OK;
  }

  reserve(offset: number, length: number): number {
    return this.promises.reserve(offset, length);
  }

  unreserve(offset: number, length: number): void {
    this.promises.unreserve(offset, length);
  }

  /** Says the time in the log, never an earlier one than before. 0 or an errno. */
  mark(nowMs: number): number {
    const timeMs = Math.max(nowMs, this.history.clockMs);
    const result = this.writer.stageMark(timeMs);
    if (result !== OK) return result;
    this.history.clockMs = timeMs;
    this.#markedSegment = this.writer.segment;
    this.#markedSecond = Math.floor(timeMs / 1000);
    return OK;
  }

  /** Rewinding can go back to this moment, and no further. Nothing is staged. */
  restartHistory(nowMs: number): void {
    const { history } = this;
    this.settle();
    for (const { root } of history.keyframes) history.dropped.push(root); // cold
    history.keyframes = [];
    this.addKeyframe(this.head.map.freeze(), nowMs);
  }

  /** No snapshot can be called so, nor any keyframe before. */
  newKeyframeName(): string {
    return `~${this.epoch}-${++this.#keyframeCount}`;
  }

  /** From here on the content is what `map` says. */
  addKeyframe(map: BlockMap, nowMs: number): Keyframe {
    const { history, sizeBytes } = this;
    const root = new Root(this.newKeyframeName(), map, [], sizeBytes, this.writer.sequence);
    history.clockMs = Math.max(nowMs, history.clockMs);
    const keyframe = new Keyframe(root, history.clockMs);
    history.keyframes.push(keyframe);
    this.head.dirty = true;
    return keyframe;
  }

  commit(): number {
    return toDeviceError(this.writer.commit());
  }

  flush(): number {
    const result = this.commit();
    if (result === OK) this.#sync();
    return result === OK ? this.syncError : result;
  }

  get syncError(): number {
    return this.writer.broken ? EIO : OK;
  }

  extents(offset: number, length: number, visit: ExtentVisitor): void {
    walkExtents(this.head.map, offset, length, visit);
  }

  snapshotNames(): readonly string[] {
    return [...this.snapshots.keys()]; // cold
  }

  changes(base: string, offset: number, length: number, visit: ExtentVisitor): boolean {
    const root = this.snapshots.get(base);
    if (root !== undefined) walkChanges(root.map, this.head.map, offset, length, visit);
    return root !== undefined;
  }

  /** Writes what is staged; what goes wrong is reported by the next commit. */
  settle(): void {
    this.writer.settle();
  }

  grow(sizeBytes: number): void {
    this.head.map.grow(sizeBytes / BLOCK_SIZE);
    this.head.sizeBytes = sizeBytes;
    this.head.dirty = true;
  }

  /** Some map differs from what its files hold. Asked with every breath, whatever the number of snapshots. */
  get isDirty(): boolean {
    return this.head.dirty || this.isPastDirty;
  }

  /** The same of the maps of snapshots, and of what rewinding starts from. */
  get isPastDirty(): boolean {
    for (const root of this.snapshots.values()) if (root.dirty) return true; // cold: while nothing is written
    for (const { root } of this.history.keyframes) if (root.dirty) return true; // cold
    return false;
  }

  /** All roots: the head first. */
  roots(): Root[] {
    return [this.head, ...this.snapshots.values(), ...this.history.keyframes.map(({ root }) => root)]; // cold
  }

  /** Before anything is staged: the map may change, there is room (what is reserved is taken last), the time is noted. */
  #prepare(source: DataBuffer | undefined, at: number, offset: number, length: number): number {
    if (this.#pages.isFull) return EAGAIN;
    const { isReserved } = this.promises;
    // A note of the time by each who waits for room would be more of the past to give up, and the wait without end.
    const refused = isReserved ? OK : this.#grow(source, at, offset, length);
    const late = refused === OK && this.history.windowMs > 0 ? this.#tick() : refused;
    return late === OK && isReserved ? this.#grow(source, at, offset, length) : late;
  }

  #grow(source: DataBuffer | undefined, at: number, offset: number, length: number): number {
    if (this.promises.plenty(length)) return OK;
    return this.promises.grow(offset, length, this.#absent(source, at, offset, length));
  }

  /** Blocks of a range that are not stored, and will be when the bytes of `source` are written there. */
  #absent(source: DataBuffer | undefined, at: number, offset: number, length: number): number {
    const aligned = offset % BLOCK_SIZE === 0 && length % BLOCK_SIZE === 0;
    if (source === undefined || !aligned) return this.promises.absentIn(offset, length);
    let absent = 0;
    for (let done = 0; done < length; done += BLOCK_SIZE) {
      if (this.head.map.location((offset + done) / BLOCK_SIZE) !== 0) continue;
      if (!isZeroBlock(source, at + done)) absent++;
    }
    return absent;
  }

  /** Each second and each segment begins with a mark, so that every record's time is known to the second. */
  #tick(): number {
    const nowMs = Math.max(this.#wallClock(), this.history.clockMs);
    const { segment } = this.writer;
    if (segment !== undefined && segment === this.#markedSegment) {
      if (Math.floor(nowMs / 1000) === this.#markedSecond) return OK;
    }
    return this.mark(nowMs);
  }

  #apply(kind: number, block: number, count: number, location: number, sums: Uint32Array, at: number): void {
    if (kind === RECORD_MARK) return;
    const { map } = this.head;
    const before = map.mappedBlocks;
    this.promises.note(block, count);
    if (kind === RECORD_DATA) {
      for (let i = 0; i < count; i++) map.set(block + i, location + i, sums[at + i] as number);
      this.releasedBlocks += count - (map.mappedBlocks - before);
    } else {
      map.unmap(block, count);
      this.releasedBlocks += before - map.mappedBlocks;
      this.trimmedBlocks += before - map.mappedBlocks;
    }
    this.head.dirty = true;
    this.generation++;
  }

  /** Nothing staged could change the answer: only then is a hole known to stay one. */
  #isHole(offset: number, length: number): boolean {
    if (!this.writer.idle) return false;
    const { map } = this.head;
    const end = (offset + length) / BLOCK_SIZE;
    for (let block = offset / BLOCK_SIZE; block < end; block++) {
      if ((block & 511) === 0 && map.page(block >>> 9) === null) block += 511;
      else if (map.location(block) !== 0) return false;
    }
    return true;
  }

  /** Runs of blocks; those of zeros become holes. Room for all is asked for first: nothing happens in part. */
  #stageBlocks(source: DataBuffer, at: number, offset: number, count: number): number {
    let zeroFirst = 0;
    while (zeroFirst < count && !isZeroBlock(source, at + zeroFirst * BLOCK_SIZE)) zeroFirst++;
    if (zeroFirst === count) return this.#stageData(source, at, offset, count);
    let stored = 0;
    for (let i = 0; i < count; i++) if (!isZeroBlock(source, at + i * BLOCK_SIZE)) stored++;
    const refused = stored === 0 ? OK : this.writer.admit(stored, Math.min(count, 2 * stored + 1));
    if (refused !== OK) return refused;
    let first = 0;
    let end = zeroFirst;
    let zero = false;
    for (;;) {
      let result: number = OK;
      if (end > first) {
        const from = offset + first * BLOCK_SIZE;
        const run = end - first;
        if (!zero) result = this.#stageData(source, at + first * BLOCK_SIZE, from, run);
        else if (!this.#isHole(from, run * BLOCK_SIZE)) {
          result = this.writer.stageUnmap(from, run * BLOCK_SIZE);
        }
      }
      if (result !== OK || end === count) return result;
      first = end;
      zero = !zero;
      while (end < count && isZeroBlock(source, at + end * BLOCK_SIZE) === zero) end++;
    }
  }

  #stageZeroes(offset: number, length: number): number {
    const result = this.#stageUnaligned(ZEROES, 0, offset, Math.min(length, BLOCK_SIZE));
    if (result !== OK || length <= BLOCK_SIZE) return result;
    return this.#stageZeroes(offset + BLOCK_SIZE, length - BLOCK_SIZE);
  }

  /**
   * Reads the blocks at the edges, which must see everything staged before, and writes whole blocks: those of zeros become
   * holes unless they are to be `stored`.
   */
  #stageUnaligned(source: DataBuffer, at: number, offset: number, length: number, stored = false): number {
    this.writer.settle();
    const first = Math.floor(offset / BLOCK_SIZE) * BLOCK_SIZE;
    const size = Math.ceil((offset + length) / BLOCK_SIZE) * BLOCK_SIZE - first;
    if (this.#scratch === ZEROES || this.#scratch.bytes.byteLength < size) {
      this.#scratch = new DataBuffer(Math.max(size, 16 * BLOCK_SIZE));
    }
    const scratch = this.#scratch;
    let result = this.read(scratch, 0, first, BLOCK_SIZE);
    if (result === OK && size > BLOCK_SIZE) {
      result = this.read(scratch, size - BLOCK_SIZE, first + size - BLOCK_SIZE, BLOCK_SIZE);
    }
    if (result !== OK) return result;
    source.bytes.copy(scratch.bytes, offset - first, at, at + length);
    const count = size / BLOCK_SIZE;
    return stored ? this.#stageData(scratch, 0, first, count) : this.#stageBlocks(scratch, 0, first, count);
  }

  /** Blocks as they go to the log. Room for all of them is asked for first. */
  #stageData(source: DataBuffer, at: number, offset: number, count: number): number {
    const { cipher } = this;
    if (cipher === undefined) return this.locked ? EIO : this.writer.stageData(source, at, offset, count);
    const refused = this.writer.admit(count, Math.ceil(count / CIPHER_BLOCKS));
    if (refused !== OK) return refused;
    const first = offset / BLOCK_SIZE;
    for (let done = 0; done < count; done += CIPHER_BLOCKS) {
      const slice = Math.min(CIPHER_BLOCKS, count - done);
      const skip = done * BLOCK_SIZE;
      cipher.encrypt(source, at + skip, ciphertext, 0, first + done, slice);
      const result = this.writer.stageData(ciphertext, 0, offset + skip, slice);
      if (result !== OK) return result;
    }
    return OK;
  }
}
