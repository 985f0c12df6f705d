import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../errors/index.js";
import { JsonStream } from "./json-stream.js";
import { JsonRpcSession } from "./jsonrpc-session.js";

const CODES = ["JSON_MALFORMED", "JSON_TOO_LARGE", "JSON_TOO_DEEP", "RPC_MALFORMED"];

describe("JsonStream", () => {
  it("returns the same values however the bytes are cut", () => {
    const container = fc.oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()));
    fc.assert(
      fc.property(
        fc.array(container, { maxLength: 6 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
        (values, cuts) => {
          // -0 has no JSON form; a round trip through the reference gives the expectation.
          const texts = values.map((value) => JSON.stringify(value));
          const bytes = Buffer.from(texts.join("\n"));
          const stream = new JsonStream();
          const out: unknown[] = [];
          for (let offset = 0; offset < bytes.length; ) {
            const length = cuts.next().value as number;
            out.push(...stream.push(bytes.subarray(offset, offset + length)));
            offset += length;
          }
          expect(out).toEqual(texts.map((text) => JSON.parse(text)));
          expect(stream.inValue).toBe(false);
        },
      ),
    );
  });

  it("raises only wire errors on arbitrary bytes", () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .array(fc.constantFrom(...'{}[]",:\\ 0ntf\u00e9'), { maxLength: 80 })
        .map((list) => Buffer.from(list.join(""))),
    );
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 5 }), (chunks) => {
        const stream = new JsonStream({ sizeBytesMax: 150, depthMax: 5 });
        try {
          for (const chunk of chunks) stream.push(chunk);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
          expect(CODES).toContain((thrown as PlinthError).code);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("JsonRpcSession", () => {
  it("never throws, and a broken event is the last", () => {
    const message = fc.record(
      {
        id: fc.jsonValue(),
        method: fc.jsonValue(),
        params: fc.jsonValue(),
        result: fc.jsonValue(),
        error: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    const chunk = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      message.map((value) => Buffer.from(JSON.stringify(value))),
    );
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 6 }), (chunks) => {
        const session = new JsonRpcSession();
        session.request("a", [], 1);
        for (const bytes of chunks) {
          const events = session.receive(bytes);
          const broken = events.findIndex((event) => event.kind === "broken");
          if (broken >= 0) expect(broken).toBe(events.length - 1);
        }
      }),
    );
  });
});
