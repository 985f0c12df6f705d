// Properties of the OpenFlow 1.0 codec and of Nicira's messages in both versions: nothing is lost on the way, and no
// bytes whatever raise anything but a WireError.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isErrorName } from "../error-codes.js";
import { type Dialect, encodeMessage, OPENFLOW_13, parseMessage } from "../message-wire.js";
import { WireError } from "../wire.js";
import { message10Arbitrary, niciraArbitrary } from "./message-arbitrary.js";
import { OFPT10 } from "./numbers.js";

const OPENFLOW_10: Dialect = { version: 1, flowModTableId: true };

function parsesOrComplains(bytes: Uint8Array): void {
  try {
    parseMessage(bytes, OPENFLOW_10);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    expect(isErrorName(error.error)).toBe(true);
    expect(error.offset).toBeLessThanOrEqual(bytes.byteLength);
  }
}

function withHeader(typeCode: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + body.byteLength);
  bytes.set([1, typeCode, (bytes.byteLength >> 8) & 0xff, bytes.byteLength & 0xff]);
  bytes.set(body, 8);
  return bytes;
}

describe("the OpenFlow 1.0 codec", () => {
  it("gives back every message that it encoded", () => {
    fc.assert(
      fc.property(message10Arbitrary, (message) => {
        expect(parseMessage(encodeMessage(message, OPENFLOW_10), OPENFLOW_10)).toEqual(message);
      }),
      { numRuns: 1500 },
    );
  });

  it("gives back every message of Nicira's in 1.3 too", () => {
    fc.assert(
      fc.property(niciraArbitrary, (message) => {
        expect(parseMessage(encodeMessage(message), OPENFLOW_13)).toEqual(message);
      }),
      { numRuns: 500 },
    );
  });

  it("raises only a WireError on an arbitrary body behind a good header", () => {
    const types = fc.constantFrom(...Object.values(OFPT10));
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 300 }), (type, body) =>
        parsesOrComplains(withHeader(type, body)),
      ),
      { numRuns: 2000 },
    );
  });

  it("raises only a WireError when bytes of a good message are changed or cut off", () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        message10Arbitrary,
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.nat(),
        (message, changes, cut) => {
          const bytes = encodeMessage(message, OPENFLOW_10);
          for (const [at, value] of changes) bytes[8 + (at % Math.max(1, bytes.length - 8))] = value;
          parsesOrComplains(withHeader(bytes[1] as number, bytes.slice(8)));
          parsesOrComplains(withHeader(bytes[1] as number, bytes.slice(8, 8 + (cut % bytes.length))));
        },
      ),
      { numRuns: 2000 },
    );
  });
});
