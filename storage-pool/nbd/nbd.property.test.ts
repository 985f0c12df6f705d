import fc from "fast-check";
import { expect, test } from "vitest";
import { NbdLoop } from "../testing/nbd-loop.js";
import { SnapshottedDevice } from "../testing/snapshotted-device.js";
import { MemoryDevice } from "../volume/memory-device.js";
import { type ExportInfo, NbdSession, type ReplyMode, type TlsMode } from "./nbd-session.js";

const info: ExportInfo = { name: "v", description: "d", sizeBytes: 1 << 20, flags: 1, snapshots: ["s"] };
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

const tlsModes = fc.constantFrom<TlsMode[]>("refused", "allowed", "required", "active");

/** Feeds a stream in pieces as a socket would and returns what was said and how it ended. */
function feed(
  bytes: Uint8Array,
  pieces: readonly number[],
  tls: TlsMode = "refused",
): { said: Buffer; state: string; left: number } {
  const session = new NbdSession(directory, tls);
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
    fc.property(
      tlsModes,
      fc.array(someOption, { maxLength: 8 }),
      fc.array(fc.nat(30)),
      (tls, options, pieces) => {
        const bytes = Buffer.concat([Buffer.from([0, 0, 0, 3]), ...options]);
        const whole = feed(bytes, [100_000], tls);
        const cut = feed(bytes, pieces, tls);
        expect(cut.said.equals(whole.said)).toBe(true);
        expect(cut.state).toBe(whole.state);
        if (tls === "required") expect(whole.state).not.toBe("transmission");
      },
    ),
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
  expect(session.negotiated).toEqual({ exportName: "v", mode: "structured", contexts: [] });
});

const MODES = ["simple", "structured", "extended"] as const;
const CONTEXTS = [
  { name: "base:allocation", snapshot: undefined },
  { name: "x-plinth:diff:s", snapshot: "s" },
];
const PAYLOAD_LEN = 32;

interface Request {
  readonly type: number;
  readonly flags: number;
  readonly offset: bigint;
  readonly length: number;
}

/** Request number `cookie`, with the payload that its head promises. */
function encode({ type, flags, offset, length }: Request, cookie: number, mode: ReplyMode): Buffer {
  const extended = mode === "extended";
  const size = extended ? 32 : 28;
  const payload = type === 1 || (extended && (flags & PAYLOAD_LEN) !== 0);
  const bytes = Buffer.alloc(size + (payload ? length : 0), cookie);
  bytes.fill(0, 0, size);
  bytes.writeUInt32BE(extended ? 0x21e41c71 : 0x25609513, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeUInt32BE(cookie, 12);
  bytes.writeBigUInt64BE(offset, 16);
  bytes.writeUInt32BE(length, extended ? 28 : 24);
  return bytes;
}

function loop(mode: ReplyMode): NbdLoop {
  const contexts = mode === "simple" ? [] : CONTEXTS;
  return new NbdLoop(new SnapshottedDevice(1 << 20), { mode, contexts });
}

test("transmission survives arbitrary bytes", () => {
  fc.assert(
    fc.property(fc.constantFrom(...MODES), fc.uint8Array({ maxLength: 200 }), (mode, bytes) => {
      loop(mode).receive(bytes);
      const write = encode({ type: 1, flags: 0, offset: 0n, length: 100 }, 1, mode);
      loop(mode).receive(Buffer.concat([write.subarray(0, 32), bytes]));
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
      { weight: 5, arbitrary: fc.constantFrom(0, 0, 1, 2, 4, 8, 18, 32, 33) },
      { weight: 1, arbitrary: fc.nat(65535) },
    ),
    offset: fc.oneof(fc.nat((1 << 20) + 5000).map(BigInt), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    length: fc.oneof(fc.nat(20), fc.nat(20_000), fc.nat(400_000)),
  })
  .filter(({ type }) => type !== 2);

test("every request with a legal header gets exactly one final answer, with an error that NBD knows", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...MODES),
      fc.array(anyRequest, { maxLength: 12 }),
      fc.nat(5000),
      (mode, requests, piece) => {
        const over = loop(mode);
        const bytes = Buffer.concat(requests.map((request, cookie) => encode(request, cookie, mode)));
        for (let at = 0; at < bytes.byteLength; at += piece + 100) {
          over.receive(bytes.subarray(at, at + piece + 100));
        }
        expect(over.transmission.broken).toBe(false);
        const answers = [...finalAnswers(over.sent, mode, requests)].sort((a, b) => a - b);
        expect(answers).toEqual([...requests.keys()]);
      },
    ),
    { numRuns: 300 },
  );
});

test("between any two pieces of what a client sends its volume may be opened anew: the answers are the same", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...MODES),
      fc.array(anyRequest, { maxLength: 12 }),
      fc.nat(5000),
      (mode, requests, piece) => {
        const [once, anew] = [loop(mode), loop(mode)];
        const bytes = Buffer.concat(requests.map((request, cookie) => encode(request, cookie, mode)));
        for (let at = 0; at < bytes.byteLength; at += piece + 100) {
          once.receive(bytes.subarray(at, at + piece + 100));
          anew.receive(bytes.subarray(at, at + piece + 100));
          expect(anew.rebind()).toBe(true);
        }
        expect(anew.sent.equals(once.sent)).toBe(true);
      },
    ),
    { numRuns: 200 },
  );
});

/** Walks the stream of replies; yields the cookie of each final one. */
function* finalAnswers(sent: Buffer, mode: ReplyMode, requests: readonly Request[]): Generator<number> {
  const head = mode === "extended" ? 32 : 20;
  for (let at = 0; at < sent.byteLength; ) {
    const magic = sent.readUInt32BE(at);
    const cookie = sent.readUInt32BE(at + 12);
    const { type, length, offset } = requests[cookie]!;
    if (magic === 0x67446698) {
      const error = sent.readUInt32BE(at + 4);
      expect([0, 1, 5, 12, 22, 28, 75, 95, 108]).toContain(error);
      expect(mode === "extended" || (mode === "structured" && type === 0)).toBe(false);
      at += 16 + (type === 0 && error === 0 ? length : 0);
      yield cookie;
      continue;
    }
    expect(magic).toBe(mode === "extended" ? 0x6e8a278c : 0x668e33ef);
    expect(mode).not.toBe("simple");
    if (mode === "extended") expect(sent.readBigUInt64BE(at + 16)).toBe(offset);
    if ((sent.readUInt16BE(at + 4) & 1) === 1) yield cookie;
    at += head + sent.readUInt32BE(at + head - 4);
  }
}

test("past the end: EINVAL for reads and trims, ENOSPC for writes; read-only: EPERM", () => {
  const end = BigInt(1 << 20);
  const requests: readonly [type: number, offset: bigint, length: number][] = [
    [0, end - 10n, 20],
    [1, end - 10n, 20],
    [4, end, 4096],
    [6, end, 4096],
    [0, 2n ** 64n - 1n, 4096],
    [5, end, 1],
    [5, 0n, 4096],
    [3, 0n, 0],
  ];
  const errorsOf = (over: NbdLoop): number[] => {
    for (const [cookie, [type, offset, length]] of requests.entries()) {
      over.receive(encode({ type, flags: 0, offset, length }, cookie, "simple"));
    }
    return requests.map((_, n) => over.sent.readUInt32BE(n * 16 + 4));
  };
  const options = { mode: "simple", contexts: [] } as const;
  expect(errorsOf(loop("simple"))).toEqual([22, 28, 22, 28, 22, 22, 0, 0]);
  expect(errorsOf(new NbdLoop(new MemoryDevice(1 << 20), options, true))).toEqual([
    22, 1, 1, 1, 22, 22, 0, 0,
  ]);
});
