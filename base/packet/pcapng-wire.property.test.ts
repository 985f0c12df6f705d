import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WireError } from "../wire/index.js";
import {
  encodeInterface,
  encodePacket,
  encodeSection,
  encodeStatistics,
  PCAPNG_BLOCK_SIZE_MAX,
  PCAPNG_INTERFACE,
  PCAPNG_INTERFACE_STATISTICS,
  PCAPNG_PACKET,
  PCAPNG_SECTION_HEADER,
  parseBlock,
  parseStatistics,
} from "./index.js";

const text = fc.string({ maxLength: 40 });
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const wallMs = fc.integer({ min: 0, max: 4e12 });

const block = fc.oneof(
  text.map((application) => ({ type: PCAPNG_SECTION_HEADER, bytes: encodeSection(application) })),
  text.map((name) => ({ type: PCAPNG_INTERFACE, bytes: encodeInterface({ name, description: name }) })),
  fc.record({ wallMs, received: count, dropped: count }).map((statistics) => ({
    type: PCAPNG_INTERFACE_STATISTICS,
    bytes: encodeStatistics({ interfaceId: 0, ...statistics }),
  })),
  fc.record({ wallMs, data: fc.uint8Array({ maxLength: 100 }), comment: text }).map(({ data, ...rest }) => ({
    type: PCAPNG_PACKET,
    bytes: encodePacket({ interfaceId: 1, data, originalLength: data.byteLength + 7, ...rest }),
  })),
);

describe("pcapng blocks", () => {
  it("are found again in a stream, wherever it is cut", () => {
    fc.assert(
      fc.property(fc.array(block, { maxLength: 8 }), fc.nat(2000), (blocks, cut) => {
        const stream = Buffer.concat(blocks.map(({ bytes }) => bytes));
        const there = stream.subarray(0, cut);
        const found = [];
        for (let at = 0; ; ) {
          const next = parseBlock(there.subarray(at));
          if (next === undefined) break;
          found.push({ type: next.type, bytes: Uint8Array.from(next.bytes) });
          at += next.bytes.byteLength;
        }
        expect(found).toEqual(blocks.slice(0, found.length).map(({ type, bytes }) => ({ type, bytes })));
        if (cut >= stream.byteLength) expect(found.length).toBe(blocks.length);
      }),
    );
  });

  it("any bytes raise only a WireError, and no block is larger than its bound", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.tuple(block, fc.nat(100), fc.nat(255)).map(([{ bytes }, at, value]) => {
        const spoilt = bytes.slice();
        spoilt[at % spoilt.byteLength] = value;
        return spoilt;
      }),
    );
    fc.assert(
      fc.property(bytes, (given) => {
        try {
          const found = parseBlock(given);
          if (found === undefined) return;
          expect(found.bytes.byteLength).toBeLessThanOrEqual(
            Math.min(given.byteLength, PCAPNG_BLOCK_SIZE_MAX),
          );
          if (found.type === PCAPNG_INTERFACE_STATISTICS) parseStatistics(found);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(WireError);
        }
      }),
    );
  });

  it("statistics come back as they were", () => {
    fc.assert(
      fc.property(fc.nat(1000), count, count, text, (interfaceId, received, dropped, comment) => {
        const bytes = encodeStatistics({ interfaceId, wallMs: 5, received, dropped, comment });
        const found = parseBlock(bytes);
        expect(found === undefined ? undefined : parseStatistics(found)).toEqual({
          interfaceId,
          received,
          dropped,
        });
      }),
    );
  });
});
