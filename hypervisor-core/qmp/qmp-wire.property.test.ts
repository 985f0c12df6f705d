import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { QmpSession } from "./qmp-session.js";
import { encodeQmpCommand, QmpParser } from "./qmp-wire.js";

const CODES = ["QMP_MALFORMED", "QMP_TOO_LONG"];

function onlyWireErrors(run: () => void): void {
  try {
    run();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PlinthError);
    expect(CODES).toContain((thrown as PlinthError).code);
  }
}

/** Bytes that look enough like QMP to get past the first byte. */
const nearlyQmp = fc
  .array(
    fc.oneof(
      fc.constantFrom('{"QMP":{}}', '{"return":{},"id":0}', '{"event":"X"}', '{"id":1,"error":3}', "{", "}"),
      fc.string(),
      fc.json(),
    ),
  )
  .map((parts) => Buffer.from(parts.join("\r\n")));

describe("QmpParser", () => {
  it("raises only wire errors on any bytes, however they are cut", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), nearlyQmp), fc.nat(50), (bytes, cut) => {
        onlyWireErrors(() => {
          const parser = new QmpParser();
          parser.push(bytes.subarray(0, cut));
          parser.push(bytes.subarray(cut));
        });
        onlyWireErrors(() => {
          const session = new QmpSession();
          session.receive(bytes.subarray(0, cut));
          session.receive(bytes.subarray(cut));
        });
      }),
    );
  });

  it("gives back what was encoded, for every way to cut the stream", () => {
    const objects = fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { maxLength: 5 });
    fc.assert(
      fc.property(objects, fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (values, cuts) => {
        const bytes = Buffer.concat(values.map((value, i) => encodeQmpCommand(i, "c", value)));
        const parser = new QmpParser();
        const got: unknown[] = [];
        for (let at = 0; at < bytes.length; ) {
          const size = cuts.next().value ?? 1;
          got.push(...parser.push(bytes.subarray(at, at + size)));
          at += size;
        }
        const expected = values.map((value, id) => ({ execute: "c", arguments: value, id }));
        expect(JSON.stringify(got)).toBe(JSON.stringify(expected));
      }),
    );
  });
});
