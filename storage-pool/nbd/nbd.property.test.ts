import fc from "fast-check";
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { NbdExport } from "./nbd-export.js";
import { type ExportInfo, NbdSession } from "./nbd-session.js";
import { INPUT_SIZE, NbdTransmission } from "./nbd-transmission.js";

const info: ExportInfo = { name: "v", description: "d", sizeBytes: 1 << 20, flags: 1 };
const directory = {
  list: () => [info],
  find: (name: string) => (name === "v" || name === "" ? info : undefined),
};

function option(number: number, data: Uint8Array, length = data.byteLength): Buffer {
  const bytes = Buffer.alloc(16 + data.byteLength);
  bytes.write("IHAVEOPT");
  bytes.writeUInt32BE(number, 8);
  bytes.writeUInt32BE(length, 12);
  bytes.set(data, 16);
  return bytes;
}

const someOption = fc
  .tuple(fc.oneof(fc.nat(12), fc.nat(0xffffffff)), fc.uint8Array({ maxLength: 60 }))
  .map(([number, data]) => option(number, data));

/** Feeds a stream in pieces as a socket would and returns what was said and how it ended. */
function feed(bytes: Uint8Array, pieces: readonly number[]): { said: Buffer; state: string; left: number } {
  const session = new NbdSession(directory);
  const said: Uint8Array[] = [];
  let held = Buffer.alloc(0);
  let at = 0;
  let state = "open";
  for (let i = 0; at < bytes.byteLength && state === "open"; i++) {
    const size = 1 + (pieces[i % Math.max(1, pieces.length)] ?? 100);
    held = Buffer.concat([held, bytes.subarray(at, at + size)]);
    at += size;
    const output = session.receive(held);
    expect(output.consumed).toBeLessThanOrEqual(held.byteLength);
    said.push(...output.replies);
    held = held.subarray(output.consumed);
    state = output.state;
  }
  return { said: Buffer.concat(said), state, left: held.byteLength + Math.max(0, bytes.byteLength - at) };
}

test("the handshake survives arbitrary bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat(50)), (bytes, pieces) => {
      feed(bytes, pieces);
      feed(Buffer.concat([Buffer.from([0, 0, 0, 3]), bytes]), pieces);
    }),
    { numRuns: 500 },
  );
});

test("the handshake answers any options, and the same in whatever pieces they arrive", () => {
  fc.assert(
    fc.property(fc.array(someOption, { maxLength: 8 }), fc.array(fc.nat(30)), (options, pieces) => {
      const bytes = Buffer.concat([Buffer.from([0, 0, 0, 3]), ...options]);
      const whole = feed(bytes, [100_000]);
      const cut = feed(bytes, pieces);
      expect(cut.said.equals(whole.said)).toBe(true);
      expect(cut.state).toBe(whole.state);
    }),
    { numRuns: 500 },
  );
});

test("unknown options are consumed and refused; GO and INFO agree; contexts are forgotten when SET fails", () => {
  const session = new NbdSession(directory);
  const go = Buffer.alloc(7);
  go.writeUInt32BE(1, 0);
  go.write("v", 4);
  const context = (name: string) => {
    const data = Buffer.alloc(4 + name.length + 4 + 4 + 15);
    data.writeUInt32BE(name.length, 0);
    data.write(name, 4);
    data.writeUInt32BE(1, 4 + name.length);
    data.writeUInt32BE(15, 8 + name.length);
    data.write("base:allocation", 12 + name.length);
    return data;
  };
  const types = (bytes: Uint8Array) => {
    const { replies } = session.receive(bytes);
    return replies.map((reply) => Buffer.from(reply).readUInt32BE(12));
  };
  session.receive(Buffer.from([0, 0, 0, 3]));
  expect(types(option(99, Buffer.from("payload")))).toEqual([0x8000_0001]);
  expect(types(option(10, context("v")))).toEqual([0x8000_0003]);
  expect(types(option(8, new Uint8Array()))).toEqual([1]);
  expect(types(option(10, context("v")))).toEqual([4, 1]);
  expect(types(option(10, context("nobody")))).toEqual([0x8000_0006]);
  expect(types(option(6, go))).toEqual([3, 3, 1]);
  expect(types(option(7, go))).toEqual([3, 3, 1]);
  expect(session.state).toBe("transmission");
  expect(session.negotiated).toEqual({ exportName: "v", structuredReplies: true, blockStatus: false });
});

function request(type: number, flags: number, cookie: number, offset: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x25609513, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeUInt32BE(cookie, 12);
  bytes.writeBigUInt64BE(offset, 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

/** Runs a transmission over a memory device: everything received, committed, finished and flushed at once. */
class Loop {
  readonly target = new NbdExport("v", "", new MemoryDevice(1 << 20), false);
  readonly waiting: [number, number][] = [];
  readonly transmission: NbdTransmission;
  readonly #sent: Buffer[] = [];

  constructor(structuredReplies: boolean) {
    const options = { structuredReplies, blockStatus: structuredReplies };
    this.transmission = new NbdTransmission(this.target, new DataBuffer(INPUT_SIZE), options, {
      wait: (_, hi, lo) => this.waiting.push([hi, lo]),
    });
  }

  receive(bytes: Uint8Array): void {
    const { transmission } = this;
    for (let at = 0; at < bytes.byteLength && !transmission.broken && !transmission.disconnecting; ) {
      let count: number;
      if (transmission.largeLeft > 0) {
        count = Math.min(transmission.largeLeft, bytes.byteLength - at);
        transmission.large!.bytes.set(bytes.subarray(at, at + count), transmission.largeAt);
        transmission.largeAt += count;
        transmission.largeLeft -= count;
      } else {
        transmission.compact();
        count = Math.min(INPUT_SIZE - transmission.inputEnd, bytes.byteLength - at);
        transmission.input.bytes.set(bytes.subarray(at, at + count), transmission.inputEnd);
        transmission.inputEnd += count;
      }
      at += count;
      do {
        transmission.parse();
        this.target.commitResult = this.target.device.commit();
        transmission.finish();
        for (const [hi, lo] of this.waiting.splice(0))
          transmission.flushed(hi, lo, this.target.device.flush());
        this.#take();
      } while (transmission.hungry && transmission.parse());
    }
  }

  #take(): void {
    const { output, outputStart, outputEnd } = this.transmission;
    this.#sent.push(Buffer.from(output.bytes.subarray(outputStart, outputEnd)));
    this.transmission.outputStart = 0;
    this.transmission.outputEnd = 0;
  }

  get sent(): Buffer {
    return Buffer.concat(this.#sent);
  }
}

test("transmission survives arbitrary bytes", () => {
  fc.assert(
    fc.property(fc.boolean(), fc.uint8Array({ maxLength: 200 }), (structured, bytes) => {
      new Loop(structured).receive(bytes);
      new Loop(structured).receive(Buffer.concat([request(1, 0, 1, 0n, 100), bytes]));
    }),
    { numRuns: 500 },
  );
});

const anyRequest = fc
  .record({
    type: fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(0, 1, 3, 4, 5, 6, 7) },
      { weight: 1, arbitrary: fc.nat(65535) },
    ),
    flags: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(0, 0, 1, 2, 4, 8, 18) },
      { weight: 1, arbitrary: fc.nat(65535) },
    ),
    offset: fc.oneof(fc.nat((1 << 20) + 5000).map(BigInt), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    length: fc.oneof(fc.nat(20_000), fc.nat(400_000)),
  })
  .filter(({ type }) => type !== 2);

test("every request with a legal header gets exactly one final answer, with an error that NBD knows", () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(anyRequest, { maxLength: 12 }), (structured, requests) => {
      const loop = new Loop(structured);
      for (const [cookie, { type, flags, offset, length }] of requests.entries()) {
        loop.receive(request(type, flags, cookie, offset, length));
        if (type === 1) loop.receive(Buffer.alloc(length, cookie));
      }
      expect(loop.transmission.broken).toBe(false);
      expect([...finalAnswers(loop.sent, structured, requests)].sort((a, b) => a - b)).toEqual([
        ...requests.keys(),
      ]);
    }),
    { numRuns: 300 },
  );
});

/** Walks the stream of replies; yields the cookie of each final one. */
function* finalAnswers(
  sent: Buffer,
  structured: boolean,
  requests: readonly { type: number; length: number }[],
): Generator<number> {
  for (let at = 0; at < sent.byteLength; ) {
    const cookie = sent.readUInt32BE(at + 12);
    const { type, length } = requests[cookie]!;
    if (sent.readUInt32BE(at) === 0x67446698) {
      const error = sent.readUInt32BE(at + 4);
      expect([0, 1, 5, 12, 22, 28, 75, 95, 108]).toContain(error);
      expect(structured && type === 0).toBe(false);
      at += 16 + (type === 0 && error === 0 ? length : 0);
      yield cookie;
      continue;
    }
    expect(sent.readUInt32BE(at)).toBe(0x668e33ef);
    expect(structured).toBe(true);
    if ((sent.readUInt16BE(at + 4) & 1) === 1) yield cookie;
    at += 20 + sent.readUInt32BE(at + 16);
  }
}

test("past the end: EINVAL for reads and trims, ENOSPC for writes; read-only: EPERM", () => {
  const loop = new Loop(false);
  const end = BigInt(1 << 20);
  loop.receive(request(0, 0, 0, end - 10n, 20));
  loop.receive(Buffer.concat([request(1, 0, 1, end - 10n, 20), Buffer.alloc(20)]));
  loop.receive(request(4, 0, 2, end, 4096));
  loop.receive(request(6, 0, 3, end, 4096));
  loop.receive(request(0, 0, 4, 2n ** 64n - 1n, 4096));
  loop.receive(request(3, 0, 5, 0n, 0));
  const errors = [0, 1, 2, 3, 4, 5].map((n) => loop.sent.readUInt32BE(n * 16 + 4));
  expect(errors).toEqual([22, 28, 22, 28, 22, 0]);
});
