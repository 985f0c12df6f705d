import fc from "fast-check";
import { expect, it } from "vitest";
import { concatBytes } from "../bytes/index.js";
import { encodePcapHeader, encodePcapRecord, parsePcap } from "./pcap-wire.js";

const record = fc.record({
  timeMs: fc.nat({ max: 4_000_000_000 }).map((seconds) => seconds * 1000 + 7),
  frame: fc.uint8Array({ maxLength: 200 }),
});

it("parsePcap() gives back what the encoders wrote", () => {
  fc.assert(
    fc.property(fc.array(record), (records) => {
      const bytes = concatBytes([encodePcapHeader(), ...records.map(encodePcapRecord)]);
      expect(parsePcap(bytes)).toEqual(records);
    }),
  );
});

it("parsePcap() takes any bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.boolean(), (bytes, withHeader) => {
      parsePcap(withHeader ? concatBytes([encodePcapHeader(), bytes]) : bytes);
    }),
  );
});
