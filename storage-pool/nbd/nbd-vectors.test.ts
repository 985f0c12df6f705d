// Byte vectors written from the NBD protocol document: no packaged client speaks all of it.
import { describe, expect, it } from "vitest";
import { NbdLoop } from "../testing/nbd-loop.js";
import { SnapshottedDevice } from "../testing/snapshotted-device.js";
import { NbdSession, type TlsMode } from "./nbd-session.js";

const IHAVEOPT = "49484156454f5054";
const REPLY = "0003e889045565a9";
const BASE = Buffer.from("base:allocation").toString("hex");
const DIFF = Buffer.from("x-plinth:diff:monday").toString("hex");
const size = 1 << 20;
const info = { name: "v", description: "", sizeBytes: size, flags: 0x565, snapshots: ["monday"] };
const directory = { list: () => [info], find: (name: string) => (name === "v" ? info : undefined) };

const hex = (text: string): Buffer => Buffer.from(text.replace(/[\s_]/g, ""), "hex");
const u16 = (value: number): string => value.toString(16).padStart(4, "0");
const u32 = (value: number): string => value.toString(16).padStart(8, "0");
const u64 = (value: number | bigint): string => value.toString(16).padStart(16, "0");
const option = (number: number, data = ""): string => IHAVEOPT + u32(number) + u32(data.length / 2) + data;
const reply = (number: number, type: number, data = ""): string =>
  REPLY + u32(number) + u32(type) + u32(data.length / 2) + data;

function session(tls: TlsMode = "refused") {
  const made = new NbdSession(directory, tls);
  made.receive(hex("00000003"));
  const say = (text: string): string =>
    Buffer.concat(made.receive(hex(text)).replies.map((each) => Buffer.from(each))).toString("hex");
  /** Option and type of each reply. */
  const types = (text: string): number[] =>
    made.receive(hex(text)).replies.map((each) => Buffer.from(each).readUInt32BE(12));
  return { made, say, types };
}

const query = (name: string, ...queries: string[]): string =>
  [name, ...queries]
    .map((each) => Buffer.from(each).toString("hex"))
    .map((each, i) => u32(each.length / 2) + each + (i === 0 ? u32(queries.length) : ""))
    .join("");
const go = (name: string): string => u32(name.length) + Buffer.from(name).toString("hex") + u16(0);

describe("the handshake", () => {
  it("greets with fixed newstyle and no zeroes, and closes on flags it does not know", () => {
    const made = new NbdSession(directory);
    const { replies } = made.receive(new Uint8Array());
    expect(Buffer.from(replies[0]!).toString("hex")).toBe(`4e42444d41474943${IHAVEOPT}0003`);
    expect(made.receive(hex("00000004")).state).toBe("closed");
  });

  it("acknowledges ABORT, with data or without, and then is over", () => {
    const { made, say } = session();
    expect(say(option(2, "abcd"))).toBe(reply(2, 1));
    expect(made.state).toBe("closed");
  });

  it("answers EXPORT_NAME with 124 zeroes only to clients that want them, and closes when there is none", () => {
    const short = session();
    expect(short.say(option(1, "76"))).toBe(u64(size) + u16(0x565));
    const long = new NbdSession(directory);
    long.receive(hex("00000001"));
    const { replies } = long.receive(hex(option(1, "76")));
    expect(Buffer.from(replies[0]!).toString("hex")).toBe(u64(size) + u16(0x565) + "00".repeat(124));
    const none = session();
    expect(none.say(option(1, "77"))).toBe("");
    expect(none.made.state).toBe("closed");
  });

  it("advertises DF only with replies that can be fragmented, and filters only with contexts to filter", () => {
    const flags = (...options: string[]): number => {
      const { say } = session();
      for (const each of options) say(each);
      return hex(say(option(6, go("v")))).readUInt16BE(20 + 10);
    };
    expect(flags()).toBe(0x565);
    expect(flags(option(8))).toBe(0x565 | 0x80);
    expect(flags(option(11))).toBe(0x565 | 0x80);
    expect(flags(option(8), option(10, query("v", "base:allocation")))).toBe(0x565 | 0x80);
    expect(flags(option(11), option(10, query("v", "base:allocation")))).toBe(0x565 | 0x80 | 0x1000);
    expect(flags(option(11), option(10, query("v")))).toBe(0x565 | 0x80);
  });

  it("takes EXTENDED_HEADERS over structured replies, in either order, and wants GO then", () => {
    const { made, say, types } = session();
    expect(say(option(11, "00"))).toContain(reply(11, 0x8000_0003).slice(0, 32));
    expect(say(option(8))).toBe(reply(8, 1));
    expect(say(option(11))).toBe(reply(11, 1));
    expect(types(option(8))).toEqual([0x8000_000a]);
    expect(types(option(10, query("v", "base:allocation")))).toEqual([4, 1]);
    expect(types(option(7, go("v")))).toEqual([3, 3, 1]);
    expect(made.negotiated.mode).toBe("extended");
    const old = session();
    old.say(option(11));
    expect(old.say(option(1, "76"))).toBe("");
    expect(old.made.state).toBe("closed");
  });

  it("lists and chooses metadata contexts: wildcards list, whole names choose, the rest is ignored", () => {
    const { made, say, types } = session();
    expect([types(option(9, query("v"))), types(option(10, query("v")))]).toEqual([[4, 4, 1], [0x8000_0003]]);
    say(option(8));
    const both = reply(9, 4, u32(0) + BASE) + reply(9, 4, u32(0) + DIFF) + reply(9, 1);
    expect(say(option(9, query("v")))).toBe(both);
    expect(say(option(9, query("v", "base:", "x-plinth:")))).toBe(both);
    expect(say(option(9, query("v", "x-plinth:diff:")))).toBe(reply(9, 4, u32(0) + DIFF) + reply(9, 1));
    expect(say(option(9, query("v", "base:nothing", "qemu:dirty-bitmap:x")))).toBe(reply(9, 1));
    expect(say(option(10, query("v", "base:", "x-plinth:diff:")))).toBe(reply(10, 1));
    expect(say(option(10, query("v", "x-plinth:diff:monday", "base:allocation", "base:allocation")))).toBe(
      reply(10, 4, u32(1) + BASE) + reply(10, 4, u32(2) + DIFF) + reply(10, 1),
    );
    expect(types(option(10, query("w", "base:allocation")))).toEqual([0x8000_0006]);
    say(option(7, go("v")));
    expect(made.negotiated.contexts).toEqual([]);
  });

  it("forgets contexts that were chosen for another export", () => {
    const twins = { ...directory, find: () => info };
    const made = new NbdSession(twins);
    made.receive(hex("00000003"));
    for (const each of [option(8), option(10, query("a", "base:allocation")), option(7, go("b"))]) {
      made.receive(hex(each));
    }
    expect(made.negotiated).toEqual({ exportName: "b", mode: "structured", contexts: [] });
  });

  it("lets a client that lists ask about each of many exports, and ends without limit asking", () => {
    const many = Array.from({ length: 200 }, (_, i) => ({ ...info, name: `v${i}` }));
    const made = new NbdSession({
      list: () => many,
      find: (name) => many.find((each) => each.name === name),
    });
    made.receive(hex(`00000003${option(8)}`));
    const last = (text: string): number =>
      Buffer.from(made.receive(hex(text)).replies.at(-1) ?? Buffer.alloc(20)).readUInt32BE(12);
    expect(last(option(3))).toBe(1);
    for (const { name } of many) {
      expect([last(option(6, go(name))), last(option(9, query(name)))]).toEqual([1, 1]);
    }
    const { made: few } = session();
    few.receive(hex(option(3).repeat(1000)));
    expect(few.state).toBe("closed");
  });

  it("ends where a client asks on without waiting for long answers", () => {
    const many = Array.from({ length: 10_000 }, (_, i) => ({ ...info, name: `${i}`.padStart(255, "v") }));
    const made = new NbdSession({ list: () => many, find: () => undefined });
    const { replies, state } = made.receive(hex(`00000003${option(3).repeat(100)}`));
    expect(state).toBe("closed");
    expect(replies.reduce((sum, each) => sum + each.byteLength, 0)).toBeLessThan(8 * 1024 * 1024);
  });

  it("says no to the longest names in a text that is no longer than strings may be", () => {
    for (const name of ["x".repeat(4096), "ü".repeat(2048), "\u0001".repeat(4096)]) {
      const encoded = Buffer.from(name);
      const asked = u32(encoded.byteLength) + encoded.toString("hex") + u16(0);
      for (const number of [6, 7]) {
        const said = hex(session().say(option(number, asked)));
        expect(said.readUInt32BE(12)).toBe(0x8000_0006);
        expect(said.readUInt32BE(16)).toBeLessThanOrEqual(4096);
        expect(said.subarray(20).toString()).toContain("there is no export");
      }
    }
  });

  it("takes a name with a byte order mark for another name", () => {
    const { types } = session();
    expect(types(option(7, `${u32(4)}efbbbf76${u16(0)}`))).toEqual([0x8000_0006]);
    expect(types(option(8) + option(10, `${u32(1)}76${u32(1)}${u32(18)}efbbbf${BASE}`))).toEqual([1, 1]);
  });

  it("lets options go by that are too long to be looked at, in whatever pieces, and says so", () => {
    const { made, types } = session();
    const long = (number: number, length: number): Buffer =>
      Buffer.concat([hex(IHAVEOPT + u32(number) + u32(length)), Buffer.alloc(length, IHAVEOPT)]);
    const inPieces = (bytes: Buffer): number[] => {
      const answers: number[] = [];
      let held = Buffer.alloc(0);
      for (let at = 0; at < bytes.byteLength; at += 30_000) {
        held = Buffer.concat([held, bytes.subarray(at, at + 30_000)]);
        const { replies, consumed } = made.receive(held);
        held = held.subarray(consumed);
        expect(held.byteLength).toBeLessThan(65_536 + 30_000);
        answers.push(...replies.map((each) => Buffer.from(each).readUInt32BE(12)));
      }
      return answers;
    };
    expect(inPieces(Buffer.concat([long(99, 70_000), long(10, 65_537), hex(option(3))]))).toEqual([
      ...[0x8000_0001, 0x8000_0009, 2, 1],
    ]);
    expect(inPieces(long(5, 1 << 20))).toEqual([0x8000_0009]);
    expect(types(option(3))).toEqual([2, 1]);
    const required = session("required");
    for (const number of [10, 5]) {
      expect(required.made.receive(long(number, 70_000)).replies).toHaveLength(1);
      expect(required.made.state).toBe("options");
    }
    // A name cannot be refused, and nobody sends so much.
    for (const bytes of [long(1, 70_000), hex(IHAVEOPT + u32(99) + u32(0x0200_0001))]) {
      const other = session().made;
      expect(other.receive(bytes).replies).toEqual([]);
      expect(other.state).toBe("closed");
    }
    expect(inPieces(long(2, 70_000))).toEqual([1]);
    expect(made.state).toBe("closed");
  });

  it("refuses a query that is longer than its option, and a string that is too long", () => {
    const { say, types } = session();
    say(option(8));
    expect(types(option(10, `${u32(1)}76${u32(1)}${u32(16)}${BASE}`))).toEqual([0x8000_0003]);
    expect(types(option(10, `${u32(1)}76${u32(0xffff_ffff)}`))).toEqual([0x8000_0003]);
    expect(types(option(10, query("v", "x".repeat(4097))))).toEqual([0x8000_0009]);
    expect(types(option(6, `${u32(9)}76${u16(0)}`))).toEqual([0x8000_0003]);
    expect(types(option(3, "00"))).toEqual([0x8000_0003]);
  });
});

describe("STARTTLS", () => {
  it("is a matter of policy where there is no TLS, and invalid inside it or with data", () => {
    expect(session("refused").types(option(5))).toEqual([0x8000_0002]);
    expect(session("active").types(option(5))).toEqual([0x8000_0003]);
    expect(session("allowed").types(option(5, "00"))).toEqual([0x8000_0003]);
    const plain = new NbdSession(directory, "allowed");
    plain.receive(hex("00000000"));
    expect(plain.receive(hex(option(5))).state).toBe("open");
  });

  it("ends the handshake in the clear: bytes behind it are left to TLS", () => {
    const { made } = session("allowed");
    const output = made.receive(hex(option(5) + option(3)));
    expect([output.state, output.consumed]).toEqual(["starttls", 16]);
    expect(Buffer.from(output.replies[0]!).toString("hex")).toBe(reply(5, 1));
  });

  it("where it is required everything else is refused, ABORT is heard, and EXPORT_NAME ends the session", () => {
    const { types } = session("required");
    expect([3, 6, 7, 8, 9, 10, 11, 99].flatMap((each) => types(option(each)))).toEqual(
      new Array(8).fill(0x8000_0005),
    );
    expect(types(option(2))).toEqual([1]);
    const old = session("required");
    expect(old.types(option(1, "76"))).toEqual([]);
    expect(old.made.state).toBe("closed");
  });
});

const contexts = [
  { name: "base:allocation", snapshot: undefined },
  { name: "x-plinth:diff:monday", snapshot: "monday" },
];
const extended = (): NbdLoop => new NbdLoop(new SnapshottedDevice(size), { mode: "extended", contexts });
const request = (flags: number, type: number, offset: number | bigint, length: number | bigint): string =>
  `21e41c71${u16(flags)}${u16(type)}00c0ffee00c0ffee${u64(offset)}${u64(length)}`;
const chunk = (flags: number, type: number, offset: number | bigint, payload = ""): string =>
  `6e8a278c${u16(flags)}${u16(type)}00c0ffee00c0ffee${u64(offset)}${u64(payload.length / 2)}${payload}`;
const error = (number: number): string => u32(number) + u16(0);

describe("extended headers", () => {
  const answer = (over: NbdLoop, text: string): string => {
    const before = over.sent.byteLength;
    over.receive(hex(text));
    return over.sent.subarray(before).toString("hex");
  };

  it("answer everything by chunks of 32 bytes that repeat the offset", () => {
    const over = extended();
    expect(answer(over, `${request(32, 1, 0x1000, 4)}deadbeef`)).toBe(chunk(1, 0, 0x1000));
    expect(answer(over, request(0, 0, 0x1000, 4))).toBe(chunk(1, 1, 0x1000, `${u64(0x1000)}deadbeef`));
    expect(answer(over, `${request(33, 1, 0x1002, 2)}0102`)).toBe(chunk(1, 0, 0x1002));
    expect(answer(over, request(4, 0, 0x1000, 4))).toBe(chunk(1, 1, 0x1000, `${u64(0x1000)}dead0102`));
    expect(answer(over, request(0, 3, 0, 0))).toBe(chunk(1, 0, 0));
    expect(answer(over, request(0, 5, 0, 4096))).toBe(chunk(1, 0, 0));
    expect(answer(over, request(0, 4, 0, size))).toBe(chunk(1, 0, 0));
    expect(answer(over, request(0, 0, 0, 65536))).toBe(chunk(1, 2, 0, u64(0) + u32(65536)));
  });

  it("read 64-bit lengths, and answer what is beyond the export with the error of the command", () => {
    const over = extended();
    const huge = 0x1_0000_0000n;
    expect(answer(over, request(0, 6, 0, huge))).toBe(chunk(1, 0x8001, 0, error(28)));
    expect(answer(over, request(0, 4, 0, huge))).toBe(chunk(1, 0x8001, 0, error(22)));
    expect(answer(over, request(0, 0, 0, huge + 4096n))).toBe(chunk(1, 0x8001, 0, error(22)));
    const last = 2n ** 64n - 1n;
    expect(answer(over, request(0, 0, last, last))).toBe(chunk(1, 0x8001, last, error(22)));
  });

  it("want PAYLOAD_LEN on WRITE; without it, and elsewhere with it, the payload is consumed and refused", () => {
    const over = extended();
    expect(answer(over, `${request(0, 1, 0, 5)}ffffffffff`)).toBe(chunk(1, 0x8001, 0, error(22)));
    expect(answer(over, request(0, 0, 0, 5))).toBe(chunk(1, 1, 0, `${u64(0)}0000000000`));
    for (const type of [0, 3, 4, 5, 6, 9]) {
      expect(answer(over, `${request(32, type, 0, 3)}ffffff`)).toBe(chunk(1, 0x8001, 0, error(22)));
    }
    expect(answer(over, `${request(32, 1, size, 2)}ffff`)).toBe(chunk(1, 0x8001, size, error(28)));
    expect(over.transmission.broken).toBe(false);
    over.receive(hex(request(32, 1, 0, 0x0200_0001)));
    expect(over.transmission.broken).toBe(true);
  });

  it("refuse compact requests", () => {
    const over = extended();
    over.receive(hex(`25609513${"0".repeat(56)}`));
    expect(over.transmission.broken).toBe(true);
  });

  it("BLOCK_STATUS: one chunk for each context, 64-bit extents, their number in the head", () => {
    const over = extended();
    answer(over, request(32, 1, 0, 4096) + "11".repeat(4096));
    const allocation = u32(1) + u32(2) + u64(4096) + u64(0) + u64(size - 4096) + u64(3);
    const changes = u32(2) + u32(2) + u64(4096) + u64(0) + u64(size - 4096) + u64(1);
    expect(answer(over, request(0, 7, 0, size))).toBe(chunk(0, 6, 0, allocation) + chunk(1, 6, 0, changes));
    const one = u32(1) + u32(1) + u64(4096) + u64(0);
    const other = u32(2) + u32(1) + u64(4096) + u64(0);
    expect(answer(over, request(8, 7, 0, size))).toBe(chunk(0, 6, 0, one) + chunk(1, 6, 0, other));
    expect(answer(over, request(0, 7, 0, 0))).toBe(chunk(1, 0x8001, 0, error(22)));
  });

  it("BLOCK_STATUS with a payload answers for the contexts that it names, each once and known", () => {
    const over = extended();
    const filter = (...ids: number[]): string =>
      request(32, 7, 0, 8 + ids.length * 4) + u64(8192) + ids.map(u32).join("");
    const allocation = chunk(1, 6, 0, u32(1) + u32(1) + u64(8192) + u64(3));
    expect(answer(over, filter(1))).toBe(allocation);
    const changes = u32(2) + u32(2) + u64(4096) + u64(0) + u64(4096) + u64(1);
    expect(answer(over, filter(2))).toBe(chunk(1, 6, 0, changes));
    expect(answer(over, filter(2, 1))).toContain(chunk(1, 6, 0, changes));
    for (const ids of [[], [3], [0], [1, 1], [1, 2, 1]]) {
      expect(answer(over, filter(...ids))).toBe(chunk(1, 0x8001, 0, error(22)));
    }
    expect(answer(over, request(32, 7, 0, 13) + "00".repeat(13))).toBe(chunk(1, 0x8001, 0, error(22)));
    expect(answer(over, filter(1))).toBe(allocation);
  });
});

describe("compact headers", () => {
  const compact = (flags: number, type: number, length: number): string =>
    `25609513${u16(flags)}${u16(type)}00c0ffee00c0ffee${u64(0)}${u32(length)}`;
  const structured = (flags: number, type: number, payload = ""): string =>
    `668e33ef${u16(flags)}${u16(type)}00c0ffee00c0ffee${u32(payload.length / 2)}${payload}`;
  const answers = (over: NbdLoop, text: string): string => {
    over.receive(hex(text));
    return over.sent.toString("hex");
  };
  const device = () => new SnapshottedDevice(size);

  it("structured: BLOCK_STATUS has 32-bit extents, a chunk for each context", () => {
    const over = new NbdLoop(device(), { mode: "structured", contexts });
    expect(answers(over, compact(0, 7, 8192))).toBe(
      structured(0, 5, u32(1) + u32(8192) + u32(3)) +
        structured(1, 5, u32(2) + u32(4096) + u32(0) + u32(4096) + u32(1)),
    );
  });

  it("a snapshot that is gone makes everything count as changed", () => {
    const gone = [{ name: "x-plinth:diff:tuesday", snapshot: "tuesday" }];
    const over = new NbdLoop(device(), { mode: "structured", contexts: gone });
    expect(answers(over, compact(0, 7, 8192))).toBe(structured(1, 5, u32(1) + u32(8192) + u32(1)));
  });

  it("refuse PAYLOAD_LEN, DF without chunks, and BLOCK_STATUS without contexts", () => {
    const refused = `67446698${u32(22)}00c0ffee00c0ffee`;
    for (const text of [compact(32, 0, 512), compact(4, 0, 512), compact(0, 7, 512), compact(32, 4, 512)]) {
      expect(answers(new NbdLoop(device(), { mode: "simple", contexts: [] }), text)).toBe(refused);
    }
    for (const text of [compact(0, 7, 512), compact(32, 4, 512), compact(0, 99, 0)]) {
      const over = new NbdLoop(device(), { mode: "structured", contexts: [] });
      expect(answers(over, text)).toBe(structured(1, 0x8001, error(22)));
    }
  });
});
