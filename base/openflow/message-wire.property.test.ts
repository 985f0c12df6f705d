// Properties of the OpenFlow codec: nothing is lost on the way, and no bytes whatever raise anything but a WireError.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OFPT } from "./constants.js";
import { isErrorName } from "./error-codes.js";
import { messageArbitrary, replyBodyArbitrary } from "./message-arbitrary.js";
import { MessageBatch } from "./message-batch.js";
import { encodeMessage, parseMessage } from "./message-wire.js";
import type { Unsent } from "./messages.js";
import { splitMultipartBody } from "./multipart-wire.js";
import { WireError } from "./wire.js";

const TOO_LONG: Unsent = { type: "echo_request", data: new Uint8Array(0x10000) };

function parsesOrComplains(bytes: Uint8Array): void {
  try {
    parseMessage(bytes);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    expect(error.field).not.toBe("");
    expect(error.offset).toBeLessThanOrEqual(bytes.byteLength);
    expect(isErrorName(error.error)).toBe(true);
  }
}

function withHeader(typeCode: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + body.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 4);
  view.setUint8(1, typeCode);
  view.setUint16(2, bytes.byteLength);
  bytes.set(body, 8);
  return bytes;
}

describe("the OpenFlow codec", () => {
  it("gives back every message that it encoded", () => {
    fc.assert(
      fc.property(messageArbitrary, (message) => {
        expect(parseMessage(encodeMessage(message))).toEqual(message);
      }),
      { numRuns: 2000 },
    );
  });

  it("encodes to the same bytes what it parsed from them", () => {
    fc.assert(
      fc.property(messageArbitrary, (message) => {
        const bytes = encodeMessage(message);
        expect(encodeMessage(parseMessage(Buffer.from(bytes)))).toEqual(bytes);
      }),
    );
  });

  it("writes messages behind one another as it writes each alone, and nothing of one that does not fit", () => {
    const batch = new MessageBatch();
    fc.assert(
      fc.property(fc.array(messageArbitrary, { maxLength: 6 }), fc.nat(6), (messages, bad) => {
        messages.forEach((message, index) => {
          if (index === bad) expect(() => batch.add(TOO_LONG, 1)).toThrow(RangeError);
          const { xid, ...body } = message;
          batch.add(body as Unsent, xid);
        });
        const expected = Buffer.concat(messages.map((message) => encodeMessage(message)));
        expect(batch.size).toBe(expected.byteLength);
        expect(batch.take().equals(expected)).toBe(true);
        expect(batch.size).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  it("raises only a WireError on arbitrary bytes of any length", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), parsesOrComplains));
  });

  it("raises only a WireError on an arbitrary body behind a good header", () => {
    const types = fc.constantFrom(...Object.values(OFPT));
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 300 }), (type, body) =>
        parsesOrComplains(withHeader(type, body)),
      ),
      { numRuns: 3000 },
    );
  });

  it("raises only a WireError when bytes of a good message are changed or cut off", () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        messageArbitrary,
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.nat(),
        (message, changes, cut) => {
          const bytes = encodeMessage(message);
          for (const [at, value] of changes) bytes[8 + (at % Math.max(1, bytes.length - 8))] = value;
          parsesOrComplains(withHeader(bytes[1] as number, bytes.slice(8)));
          parsesOrComplains(withHeader(bytes[1] as number, bytes.slice(8, 8 + (cut % bytes.length))));
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("cuts long replies at elements, in order, losing none", () => {
    fc.assert(
      fc.property(replyBodyArbitrary, fc.integer({ min: 100, max: 3000 }), (body, limit) => {
        const parts = splitMultipartBody(body, limit);
        const key = Object.keys(body).find((name) => Array.isArray((body as Record<string, unknown>)[name]));
        if (parts.length === 1 || key === undefined) return;
        const joined = parts.flatMap(
          (part) => (part as unknown as Record<string, unknown[]>)[key] as unknown[],
        );
        expect(joined).toEqual((body as unknown as Record<string, unknown[]>)[key]);
        for (const part of parts) {
          const single = ((part as unknown as Record<string, unknown[]>)[key] as unknown[]).length === 1;
          const size = encodeMessage({ type: "multipart_reply", xid: 0, flags: 0, body: part }).length;
          expect(single || size <= limit).toBe(true);
        }
      }),
    );
  });
});
