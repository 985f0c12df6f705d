import fc from "fast-check";
import { expect, it } from "vitest";
import { printMessage } from "./message-print.js";

const NX_VENDOR = [0x00, 0x00, 0x23, 0x20];
const NXT_TLV_TABLE_MOD = 24;
const NXT_TLV_TABLE_REPLY = 26;

const option = fc
  .tuple(fc.nat(0xffff), fc.nat(0xff), fc.nat(31), fc.nat(63))
  .map(([kind, type, words, field]) => [kind >> 8, kind & 0xff, type, words * 4, 0, field, 0, 0]);

function message(subtype: number, body: readonly number[]): Uint8Array {
  const length = 16 + body.length;
  return Uint8Array.from([
    4,
    4,
    length >> 8,
    length & 0xff,
    0,
    0,
    0,
    1,
    ...NX_VENDOR,
    0,
    0,
    0,
    subtype,
    ...body,
  ]);
}

it("whatever is in the messages is printed or named and dumped", () => {
  const subtype = fc.constantFrom(NXT_TLV_TABLE_MOD, 25, NXT_TLV_TABLE_REPLY, 29);
  fc.assert(
    fc.property(subtype, fc.uint8Array({ maxLength: 80 }), (kind, body) => {
      expect(printMessage(message(kind, [...body]))).toMatch(/^(NXT_|\*\*\*decode error).*\n$/s);
    }),
  );
});

it("every option has its line, and the space is that of all values", () => {
  fc.assert(
    fc.property(fc.array(option, { maxLength: 20 }), (options) => {
      const head = [0, 0, 1, 0, 0, 64, ...Array<number>(10).fill(0)];
      const lines = printMessage(message(NXT_TLV_TABLE_REPLY, [...head, ...options.flat()])).split("\n");
      expect(lines.filter((line) => line.includes("tun_metadata"))).toHaveLength(options.length);
      const space = options.reduce((sum, bytes) => sum + (bytes[3] as number), 0);
      expect(lines).toContain(` allocated option space=${space}`);
    }),
  );
});
