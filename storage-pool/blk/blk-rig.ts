// A vhost-user-blk device with one guest, both in this thread: requests cut into buffers anyhow, rings of either layout.
// Not for production. Thread: one. Hot: no.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect } from "vitest";
import { Epoll, sysConnectUnix } from "../../base/linux/index.js";
import { FakeFrontEnd, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import * as wire from "../../base/virtio/index.js";
import type { FlushWaiter } from "../nbd/flush-rounds.js";
import { NbdExport } from "../nbd/nbd-export.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { BlkServer } from "./blk-server.js";

/** Bytes of the device. */
export const SIZE = 1 << 20;
/** Where requests lie in the guest: behind rings and the front-end's own buffers. */
export const ARENA = 4 << 20;
export const READ = 0;
export const WRITE = wire.VRING_DESC_F_WRITE;
export const FEATURES = [9, 11, 13, 14, 28, 29, 32].reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
export const PACKED = 1n << BigInt(wire.VIRTIO_F_RING_PACKED);

/** A buffer, by its place in the arena. */
interface Piece {
  readonly at: number;
  readonly length: number;
  readonly flags: number;
}

/** A device with one guest, in this thread. */
export class BlkRig {
  readonly device = new MemoryDevice(SIZE);
  /** What is found at the socket. */
  target: NbdExport | undefined;
  readonly waiting: [FlushWaiter, number][] = [];
  readonly server: BlkServer;
  readonly guest: FakeFrontEnd;
  readonly #epoll: Epoll;
  readonly #path: string;

  /** Its socket is `dir`/s. */
  constructor(dir: string, epoll: Epoll, readOnly: boolean, features: bigint) {
    this.#epoll = epoll;
    this.#path = `${dir}/s`;
    this.target = new NbdExport("shop/db", "", this.device, readOnly);
    this.server = new BlkServer(epoll, { wait: (waiter, tag) => this.waiting.push([waiter, tag]) });
    this.server.listen(this.#path, () => this.target);
    const fd = sysConnectUnix(this.#path);
    this.guest = new FakeFrontEnd({ fd, ringCount: 2, ringSize: 64, features, pump: () => this.pump() });
  }

  /** Serves what there is; syncs are left to wait. */
  turn(): void {
    const epoll = this.#epoll;
    const count = epoll.wait(0);
    for (let i = 0; i < count; i++) this.server.onReady(epoll.fds[i] as number);
    while (this.server.breath());
  }

  pump(): void {
    this.turn();
    for (const [waiter, tag] of this.waiting.splice(0)) waiter.flushed(tag, this.device.flush());
    this.server.beginSleep();
  }

  /** One request: what is to be read, then what is to be written, in buffers of the given sizes. Answers what came. */
  request(readable: Uint8Array, writable: number, cuts: readonly number[], indirect = false): Uint8Array {
    const { guest } = this;
    guest.bytes.set(readable, ARENA);
    guest.bytes.fill(0xee, ARENA + readable.byteLength, ARENA + readable.byteLength + writable);
    const pieces = [
      ...cut(0, readable.byteLength, cuts, READ),
      ...cut(readable.byteLength, writable, cuts, WRITE),
    ];
    if (guest.has(wire.VIRTIO_F_RING_PACKED)) this.#offerPacked(pieces, indirect);
    else this.#offerSplit(pieces, indirect);
    this.pump();
    const used = guest.takeUsed(0);
    expect(used?.head).toBe(0);
    const from = ARENA + readable.byteLength;
    return guest.bytes.slice(from, from + writable);
  }

  /** Source: VIRTIO 1.2, 2.8.7: an indirect table has no NEXT. */
  #offerPacked(pieces: readonly Piece[], indirect: boolean): void {
    const { guest } = this;
    const buffers = pieces.map(({ at, length, flags }) => ({
      address: FRONT_END_GUEST_BASE + ARENA + at,
      length,
      flags,
    }));
    if (!indirect) {
      guest.offerChain(0, [0], buffers);
      return;
    }
    const table = 3 << 20;
    buffers.forEach(({ address, length, flags }, i) => {
      guest.view.setBigUint64(table + i * 16, BigInt(address), true);
      guest.view.setUint32(table + i * 16 + 8, length, true);
      guest.view.setUint16(table + i * 16 + 12, 0, true);
      guest.view.setUint16(table + i * 16 + 14, flags, true);
    });
    const address = FRONT_END_GUEST_BASE + table;
    guest.offerChain(0, [0], [{ address, length: pieces.length * 16, flags: 4 }]);
  }

  #offerSplit(pieces: readonly Piece[], indirect: boolean): void {
    const { guest } = this;
    const table = indirect ? 3 << 20 : guest.descriptorsAt(0);
    pieces.forEach(({ at, length, flags }, i) => {
      const slot = table + i * 16;
      guest.view.setBigUint64(slot, BigInt(FRONT_END_GUEST_BASE + ARENA + at), true);
      guest.view.setUint32(slot + 8, length, true);
      guest.view.setUint16(slot + 12, flags | (i < pieces.length - 1 ? 1 : 0), true);
      guest.view.setUint16(slot + 14, i + 1, true);
    });
    if (indirect) guest.setDescriptor(0, 0, FRONT_END_GUEST_BASE + table, pieces.length * 16, 4);
    guest.offer(0, 0);
  }

  close(): void {
    this.guest.close();
    this.pump();
    this.server.close();
    expect(existsSync(this.#path)).toBe(false);
  }
}

/** A directory and a poll set for each test of a file, and devices in them. */
export class BlkRigs {
  dir = "";
  #epoll: Epoll | undefined = undefined;

  constructor() {
    beforeEach(() => {
      this.dir = mkdtempSync("/tmp/blk-");
      this.#epoll = new Epoll();
    });
    afterEach(() => {
      this.epoll.close();
      rmSync(this.dir, { recursive: true });
    });
  }

  /** Of the test that runs. */
  get epoll(): Epoll {
    return this.#epoll as Epoll;
  }

  make(readOnly = false, features = FEATURES): BlkRig {
    return new BlkRig(this.dir, this.epoll, readOnly, features);
  }
}

/** Buffers over `length` bytes at `at`, at most 20 of them. */
function cut(at: number, length: number, sizes: readonly number[], flags: number): Piece[] {
  const pieces: Piece[] = [];
  for (let i = 0, done = 0; done < length; i++) {
    const size = Math.min(i < 19 ? (sizes[i % sizes.length] ?? length) : length, length - done);
    pieces.push({ at: at + done, length: size, flags });
    done += size;
  }
  return pieces;
}

/** The head of a request, and what it writes. */
export function head(type: number, sector: number | bigint, data: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array(16 + data.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  bytes.set(data, 16);
  return bytes;
}

/** What DISCARD and WRITE_ZEROES name. */
export function ranges(...list: [sector: number, sectors: number, flags: number][]): Uint8Array {
  const bytes = new Uint8Array(list.length * 16);
  const view = new DataView(bytes.buffer);
  for (const [i, [sector, sectors, flags]] of list.entries()) {
    view.setBigUint64(i * 16, BigInt(sector), true);
    view.setUint32(i * 16 + 8, sectors, true);
    view.setUint32(i * 16 + 12, flags, true);
  }
  return bytes;
}

export const statusOf = (answer: Uint8Array): number => answer[answer.byteLength - 1] as number;
