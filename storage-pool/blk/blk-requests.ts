// Carries out what one chain asks of a device: reads, at once or with others; stages writes; and says how it ends.
// Data goes through a buffer of ours: the driver could change its own between the checksum and the disk.
// Source: VIRTIO 1.2, 5.2.6. Invariant: the driver is hostile; lengths and sectors are judged before use.
// Thread: the pool's worker. Hot: yes.
import type { GuestWindow, Virtqueue } from "../../base/virtio/index.js";
import { EAGAIN, OK } from "../errors.js";
import { BLOCK_SIZE, REQUEST_SIZE_BYTES_MAX } from "../limits.js";
import { OP_FLUSH, OP_OTHER, OP_READ, OP_UNMAP, OP_WRITE, OP_ZEROES } from "../metrics/volume-counters.js";
import type { NbdExport } from "../nbd/nbd-export.js";
import { TAKE_OK, TAKE_WAIT } from "../qos/volume-share.js";
import { BlkReads } from "./blk-reads.js";
import { ChainMemory } from "./chain-memory.js";
import {
  BLK_DISCARD_SECTORS_MAX,
  BLK_RANGES_MAX,
  BLK_ZEROES_SECTORS_MAX,
  DEVICE_ID_SIZE,
  RANGE_SIZE,
  REQUEST_HEAD_SIZE,
  SECTOR_SIZE,
  VIRTIO_BLK_RANGE_UNMAP,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from "./virtio-blk-wire.js";
import { WindowBuffer } from "./window-buffer.js";

/** take(): the status is known; `status` and `written` say it. */
export const BLK_DONE = 0;
/** take(): staged; good once it is committed. */
export const BLK_STAGED = 1;
/** take(): good once everything is committed and durable. */
export const BLK_FLUSH = 2;
/** take(): nothing happened; the same chain again when there is room. */
export const BLK_AGAIN = 3;
/** take(): no request at all; there is nowhere to say so. */
export const BLK_MALFORMED = 4;
/** take(): nothing happened; the same chain again in the next round. */
export const BLK_LATER = 5;
/** take(): nothing happened; the same chain again when the limits of the volume allow it. */
export const BLK_WAIT = 6;
/** take(): among `reads` now; good or bad when these have been run. */
export const BLK_READ = 7;

const U32 = 0x1_0000_0000;
/** Reads and scatters this much at a time, so that it is still in the processor's cache. */
const SLICE = 256 * 1024;
const BUFFER_KEPT = 2 * 1024 * 1024;
/** Where in the buffer a request's head is, the ranges of a discard (both in its first page), and data. */
const HEAD_AT = 0;
const RANGES_AT = REQUEST_HEAD_SIZE;
const DATA_AT = 4096;

export class BlkRequests {
  readonly memory = new ChainMemory();
  readonly reads: BlkReads;
  /** After BLK_DONE: how it ended and the bytes written to the chain, with the status. */
  status = VIRTIO_BLK_S_OK;
  written = 1;
  /** What the last request counts as. */
  op = OP_OTHER;
  readonly #export: NbdExport;
  readonly #buffer: WindowBuffer;

  constructor(target: NbdExport, window: GuestWindow) {
    this.#export = target;
    this.#buffer = new WindowBuffer(window, DATA_AT + REQUEST_SIZE_BYTES_MAX);
    this.reads = new BlkReads(target.device, SLICE);
  }

  /** To be called before take(): from now on some of the window is in use. */
  begin(): void {
    this.#buffer.place();
  }

  /** Nothing of the window is in use any more, until begin(). */
  release(): void {
    this.#buffer.release();
  }

  /** Carries out what take() put among `reads`; the writes of the breath are committed. */
  runReads(): void {
    this.reads.run(this.#buffer, DATA_AT);
  }

  /** Carries out the chain that `queue` took last. */
  take(queue: Virtqueue): number {
    const { memory } = this;
    memory.use(queue);
    if (memory.readableBytes < REQUEST_HEAD_SIZE || memory.writableBytes === 0) return BLK_MALFORMED;
    memory.read(0, REQUEST_HEAD_SIZE, this.#buffer, HEAD_AT);
    const { view } = this.#buffer.data;
    const sector = view.getUint32(HEAD_AT + 12, true) * U32 + view.getUint32(HEAD_AT + 8, true);
    const offset = sector * SECTOR_SIZE;
    const type = view.getUint32(HEAD_AT, true);
    const { share } = this.#export;
    const bytes = this.#bytesOf(type);
    const taken = share.take(bytes, type === VIRTIO_BLK_T_OUT);
    if (taken !== TAKE_OK) return taken === TAKE_WAIT ? BLK_WAIT : BLK_LATER;
    const result = this.#carryOut(type, offset);
    if (result === BLK_AGAIN) share.giveBack(bytes, type === VIRTIO_BLK_T_OUT);
    else {
      this.op = opOf(type);
      share.counters.count(this.op, bytes);
      if (result === BLK_DONE && this.status !== VIRTIO_BLK_S_OK) share.counters.fail(this.op);
    }
    return result;
  }

  #bytesOf(type: number): number {
    if (type === VIRTIO_BLK_T_IN) return this.memory.writableBytes - 1;
    return type === VIRTIO_BLK_T_OUT ? this.memory.readableBytes - REQUEST_HEAD_SIZE : 0;
  }

  #carryOut(type: number, offset: number): number {
    const { memory } = this;
    switch (type) {
      case VIRTIO_BLK_T_IN:
        return this.#read(offset, memory.writableBytes - 1);
      case VIRTIO_BLK_T_OUT:
        return this.#write(offset, memory.readableBytes - REQUEST_HEAD_SIZE);
      case VIRTIO_BLK_T_FLUSH:
        return BLK_FLUSH;
      case VIRTIO_BLK_T_GET_ID:
        return this.#identify(memory.writableBytes - 1);
      case VIRTIO_BLK_T_DISCARD:
        return this.#changeRanges(false);
      case VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#changeRanges(true);
      default:
        return this.#done(VIRTIO_BLK_S_UNSUPP);
    }
  }

  #done(status: number, dataBytes = 0): number {
    this.status = status;
    this.written = dataBytes + 1;
    return BLK_DONE;
  }

  #isOutside(offset: number, length: number): boolean {
    return length % SECTOR_SIZE !== 0 || offset + length > this.#export.sizeBytes;
  }

  #read(offset: number, length: number): number {
    if (this.#isOutside(offset, length) || length > REQUEST_SIZE_BYTES_MAX) {
      return this.#done(VIRTIO_BLK_S_IOERR);
    }
    const place = length > 0 ? this.memory.dataOffset : -1;
    if (place >= 0 && this.reads.add(offset, length, place)) return BLK_READ;
    const { device } = this.#export;
    const { data } = this.#buffer;
    for (let done = 0; done < length; done += SLICE) {
      const count = Math.min(SLICE, length - done);
      if (device.read(data, DATA_AT, offset + done, count) !== OK) return this.#done(VIRTIO_BLK_S_IOERR);
      this.memory.write(done, count, this.#buffer, DATA_AT);
    }
    return this.#done(VIRTIO_BLK_S_OK, length);
  }

  #write(offset: number, length: number): number {
    if (this.#export.readOnly || this.#isOutside(offset, length) || length > REQUEST_SIZE_BYTES_MAX) {
      return this.#done(VIRTIO_BLK_S_IOERR);
    }
    if (length === 0) return this.#done(VIRTIO_BLK_S_OK);
    this.memory.read(REQUEST_HEAD_SIZE, length, this.#buffer, DATA_AT);
    const result = this.#export.device.stageWrite(this.#buffer.data, DATA_AT, offset, length);
    if (length > BUFFER_KEPT) this.#buffer.empty();
    return this.#staged(result);
  }

  #staged(result: number): number {
    if (result === EAGAIN) return BLK_AGAIN;
    if (result !== OK) return this.#done(VIRTIO_BLK_S_IOERR);
    this.#export.staged = true;
    return BLK_STAGED;
  }

  #identify(length: number): number {
    const count = Math.min(length, DEVICE_ID_SIZE);
    const { bytes } = this.#buffer.data;
    bytes.fill(0, DATA_AT, DATA_AT + DEVICE_ID_SIZE);
    bytes.write(this.#export.name, DATA_AT, DEVICE_ID_SIZE);
    this.memory.write(0, count, this.#buffer, DATA_AT);
    return this.#done(VIRTIO_BLK_S_OK, count);
  }

  #changeRanges(zeroes: boolean): number {
    const length = this.memory.readableBytes - REQUEST_HEAD_SIZE;
    const count = length / RANGE_SIZE;
    if (this.#export.readOnly || length % RANGE_SIZE !== 0 || count === 0 || count > BLK_RANGES_MAX) {
      return this.#done(VIRTIO_BLK_S_IOERR);
    }
    this.memory.read(REQUEST_HEAD_SIZE, length, this.#buffer, RANGES_AT);
    for (let i = 0; i < count; i++) {
      const status = this.#judgeRange(RANGES_AT + i * RANGE_SIZE, zeroes);
      if (status !== VIRTIO_BLK_S_OK) return this.#done(status);
    }
    for (let i = 0; i < count; i++) {
      const result = this.#changeRange(RANGES_AT + i * RANGE_SIZE, zeroes);
      if (result !== OK) return this.#staged(result);
    }
    return this.#staged(OK);
  }

  /** Source: VIRTIO 1.2, 5.2.6.2: reserved flags, and UNMAP of DISCARD, are UNSUPP. */
  #judgeRange(at: number, zeroes: boolean): number {
    const { view } = this.#buffer.data;
    const flags = view.getUint32(at + 12, true);
    if ((flags & ~(zeroes ? VIRTIO_BLK_RANGE_UNMAP : 0)) !== 0) return VIRTIO_BLK_S_UNSUPP;
    const sectors = view.getUint32(at + 8, true);
    if (sectors > (zeroes ? BLK_ZEROES_SECTORS_MAX : BLK_DISCARD_SECTORS_MAX)) return VIRTIO_BLK_S_IOERR;
    return this.#isOutside(this.#offsetOf(at), sectors * SECTOR_SIZE) ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
  }

  #offsetOf(at: number): number {
    const { view } = this.#buffer.data;
    return (view.getUint32(at + 4, true) * U32 + view.getUint32(at, true)) * SECTOR_SIZE;
  }

  #changeRange(at: number, zeroes: boolean): number {
    const { view } = this.#buffer.data;
    const { device } = this.#export;
    const offset = this.#offsetOf(at);
    const length = view.getUint32(at + 8, true) * SECTOR_SIZE;
    if (length === 0) return OK;
    if (zeroes && (view.getUint32(at + 12, true) & VIRTIO_BLK_RANGE_UNMAP) === 0) {
      return device.stageZeroes(offset, length);
    }
    if (zeroes) return device.stageUnmap(offset, length);
    // A discard may round inwards: parts of blocks stay as they are.
    const first = Math.ceil(offset / BLOCK_SIZE) * BLOCK_SIZE;
    const end = Math.floor((offset + length) / BLOCK_SIZE) * BLOCK_SIZE;
    return end > first ? device.stageUnmap(first, end - first) : OK;
  }
}

function opOf(type: number): number {
  switch (type) {
    case VIRTIO_BLK_T_IN:
      return OP_READ;
    case VIRTIO_BLK_T_OUT:
      return OP_WRITE;
    case VIRTIO_BLK_T_FLUSH:
      return OP_FLUSH;
    case VIRTIO_BLK_T_DISCARD:
      return OP_UNMAP;
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return OP_ZEROES;
    default:
      return OP_OTHER;
  }
}
