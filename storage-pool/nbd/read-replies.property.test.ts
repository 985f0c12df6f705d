import fc from "fast-check";
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { NbdLoop } from "../testing/nbd-loop.js";
import type { ReadWaiter } from "../volume/awaited-reads.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { NBD_REQUEST_MAGIC, REQUEST_SIZE } from "./nbd-wire.js";

const SIZE = 1 << 20;
const BLOCK = 4096;
const SLOTS = 3;

/**
 * Does not answer reads of some places until it is waited for, and fails at others; notes what was asked in which order. Of
 * whole blocks it `prepares` what does not begin at a shy one, or everything if it lets such reads go on by themselves.
 */
class ShyDevice extends MemoryDevice {
  readonly asked: string[] = [];
  prepares = false;
  #prepared: ((wait: boolean) => number)[] = [];
  #results: number[] | undefined;
  /** Reads under way; undefined: all are waited for. */
  awaited: Map<number, () => void> | undefined;
  readonly #isShy: (block: number) => boolean;
  readonly #isBad: (block: number) => boolean;

  constructor(isShy: (block: number) => boolean, isBad: (block: number) => boolean) {
    super(SIZE);
    this.#isShy = isShy;
    this.#isBad = isBad;
    const block = new DataBuffer(BLOCK);
    for (let at = 0; at < SIZE; at += 2 * BLOCK) {
      block.bytes.fill(1 + ((at / BLOCK) % 250));
      this.stageWrite(block, 0, at, BLOCK);
    }
  }

  override read(target: DataBuffer, at: number, offset: number, length: number, wait = true): number {
    this.asked.push(wait ? "wait" : "try");
    const first = Math.floor(offset / BLOCK);
    const count = Math.ceil((offset + length) / BLOCK) - first;
    const blocks = Array.from({ length: count }, (_, i) => first + i);
    // What it leaves behind is never content.
    target.bytes.fill(0xee, at, at + length);
    if (!wait && blocks.some(this.#isShy)) return EAGAIN;
    if (blocks.some(this.#isBad)) return EIO;
    return super.read(target, at, offset, length);
  }

  override prepareRead(target?: DataBuffer, at = 0, offset = 0, length = 0): number {
    if (target === undefined || !this.prepares || offset % BLOCK !== 0 || length % BLOCK !== 0) return -1;
    const isShy = this.#isShy(offset / BLOCK);
    if (isShy && this.awaited === undefined) return -1;
    if (this.#results !== undefined) this.#prepared = [];
    this.#results = undefined;
    return this.#prepared.push((wait) => this.read(target, at, offset, length, wait)) - 1;
  }

  override finishRead(ticket = -1, wait = true): number {
    this.#results ??= this.#prepared.map((read) => read(wait));
    return this.#results[ticket] as number;
  }

  /** Slots run out, so that the disk is waited for after all. */
  override awaitRead(offset = 0, length = 0, waiter?: ReadWaiter): number {
    const { awaited } = this;
    if (awaited === undefined || awaited.size === SLOTS || waiter === undefined) return -1;
    let slot = 0;
    while (awaited.has(slot)) slot++;
    awaited.set(slot, () => {
      awaited.delete(slot);
      const buffer = new DataBuffer(512 + length);
      // Half of them come back in a way that has to be looked into.
      const isGood = offset % (2 * BLOCK) === 0 && this.read(buffer, 512, offset, length) === OK;
      if (!isGood) buffer.bytes.fill(0xee);
      waiter.readDone(slot, buffer, 512, isGood ? OK : EIO);
    });
    return slot;
  }
}

interface Read {
  readonly offset: number;
  readonly length: number;
}

function requests(reads: readonly Read[]): Buffer {
  return Buffer.concat(
    reads.map(({ offset, length }, cookie) => {
      const bytes = Buffer.alloc(REQUEST_SIZE);
      bytes.writeUInt32BE(NBD_REQUEST_MAGIC, 0);
      bytes.writeUInt32BE(cookie, 12);
      bytes.writeUInt32BE(offset, 20);
      bytes.writeUInt32BE(length, 24);
      return bytes;
    }),
  );
}

/** By cookie: the bytes read, or the error. Throws when something is answered twice or not at all. */
function parseReplies(sent: Buffer, reads: readonly Read[], chunked: boolean): (Buffer | number)[] {
  const found = reads.map(({ length }): Buffer | number => Buffer.alloc(length, 0xdd));
  const done = new Set<number>();
  for (let at = 0; at < sent.byteLength; ) {
    const cookie = sent.readUInt32BE(at + 12);
    expect(done.has(cookie)).toBe(false);
    const { offset, length } = reads[cookie] as Read;
    const into = found[cookie] as Buffer;
    if (!chunked) {
      const error = sent.readUInt32BE(at + 4);
      if (error !== OK) found[cookie] = error;
      else sent.copy(into, 0, at + 16, at + 16 + length);
      at += 16 + (error === OK ? length : 0);
      done.add(cookie);
      continue;
    }
    const [type, size] = [sent.readUInt16BE(at + 6), sent.readUInt32BE(at + 16)];
    const body = at + 20;
    if (type === 0x8001) found[cookie] = sent.readUInt32BE(body);
    else if (type === 2) {
      const from = Number(sent.readBigUInt64BE(body)) - offset;
      into.fill(0, from, from + sent.readUInt32BE(body + 8));
    } else if (type === 1)
      sent.copy(into, Number(sent.readBigUInt64BE(body)) - offset, body + 8, body + size);
    if ((sent.readUInt16BE(at + 4) & 1) !== 0) done.add(cookie);
    at = body + size;
  }
  expect(done.size).toBe(reads.length);
  return found;
}

const someRead = fc
  .tuple(fc.nat(SIZE - 1), fc.oneof(fc.nat(3 * BLOCK), fc.nat(SIZE / 4)), fc.boolean())
  .map(([start, size, aligned]): Read => {
    const offset = aligned ? start - (start % BLOCK) : start;
    const length = aligned ? size - (size % BLOCK) : size;
    return { offset, length: Math.min(length, SIZE - offset) };
  });

test("every read is answered once and with its bytes, whatever the disk makes wait for", () => {
  fc.assert(
    fc.property(
      fc.array(someRead, { minLength: 1, maxLength: 12 }),
      fc.uniqueArray(fc.nat(SIZE / BLOCK - 1), { maxLength: 60 }),
      fc.option(fc.nat(SIZE / BLOCK - 1)),
      fc.constantFrom("simple" as const, "structured" as const),
      fc.boolean(),
      fc.boolean(),
      fc.option(fc.array(fc.nat(SLOTS - 1), { maxLength: 8 })),
      (reads, shy, bad, mode, alone, prepares, order) => {
        const device = new ShyDevice(
          (block) => shy.includes(block),
          (block) => block === bad,
        );
        device.prepares = prepares;
        const loop = new NbdLoop(device, { mode, contexts: [] });
        if (order !== null) device.awaited = new Map();
        // Some come between the requests, the others behind them.
        const middle = order === null ? reads.length : Math.floor(reads.length / 2);
        loop.receive(requests(reads.slice(0, middle)), alone);
        for (const slot of order ?? []) device.awaited?.get(slot)?.();
        loop.receive(requests(reads).subarray(middle * REQUEST_SIZE), alone);
        for (const end of [...(device.awaited?.values() ?? [])].reverse()) end();
        loop.send();
        expect(loop.transmission.idle).toBe(true);
        const found = parseReplies(loop.sent, reads, mode === "structured");
        const reference = new ShyDevice(
          () => false,
          () => false,
        );
        for (const [i, { offset, length }] of reads.entries()) {
          const expected = new DataBuffer(Math.max(1, length));
          if (length > 0) reference.read(expected, 0, offset, length);
          if (typeof found[i] === "number") {
            expect([found[i], bad]).toEqual([EIO, expect.any(Number)]);
            const block = bad as number;
            expect(offset < (block + 1) * BLOCK && offset + length > block * BLOCK).toBe(true);
          } else expect((found[i] as Buffer).equals(expected.bytes.subarray(0, length))).toBe(true);
        }
      },
    ),
    { numRuns: 120 },
  );
});

test("the disk is asked for all reads of a breath before one is waited for, and a lone read waits at once", () => {
  const reads = [0, 2, 4].map((block) => ({ offset: block * BLOCK, length: BLOCK }));
  const device = new ShyDevice(
    (block) => block !== 2,
    () => false,
  );
  new NbdLoop(device, { mode: "simple", contexts: [] }).receive(requests(reads));
  expect(device.asked).toEqual(["try", "try", "try", "wait", "wait"]);
  const lone = new ShyDevice(
    () => true,
    () => false,
  );
  new NbdLoop(lone, { mode: "simple", contexts: [] }).receive(requests(reads.slice(0, 1)));
  expect(lone.asked).toEqual(["wait"]);
  const oneOfMany = new ShyDevice(
    () => true,
    () => false,
  );
  new NbdLoop(oneOfMany, { mode: "simple", contexts: [] }).receive(requests(reads.slice(0, 1)), false);
  expect(oneOfMany.asked).toEqual(["try", "wait"]);
});
