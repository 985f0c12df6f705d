import fc from "fast-check";
import { expect, test } from "vitest";
import { closeFile, createMemfd, FileMapping } from "../linux/index.js";
import { DirtyLog } from "./dirty-log.js";
import { GuestWindow } from "./guest-window.js";

const FILE_SIZE = 0x3000;

test("exactly the pages of a write are marked, as far as the log reaches, and nothing beside the log", () => {
  const window = new GuestWindow(1 << 20);
  const fd = createMemfd("log", FILE_SIZE);
  const file = new FileMapping(fd, FILE_SIZE);
  const bytes = new Uint8Array(file.buffer);
  const write = fc.tuple(
    fc.oneof(fc.nat(0x4000 * 8 * 4096), fc.nat(64 * 4096), fc.nat(Number.MAX_SAFE_INTEGER - 0x10_0000)),
    fc.oneof(fc.nat(100), fc.nat(40_000)),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 0x1800 }),
      fc.nat(0x1800),
      fc.array(write),
      (size, offset, writes) => {
        bytes.fill(0);
        const log = new DirtyLog(window);
        log.open({ fd, fileOffset: offset, sizeBytes: size }, false);
        const expected = new Uint8Array(FILE_SIZE);
        for (const [address, length] of writes) {
          log.mark(address, length);
          for (let page = Math.floor(address / 4096); page * 4096 < address + length && length > 0; page++) {
            if (page < size * 8) expected[offset + (page >>> 3)]! |= 1 << (page & 7);
          }
        }
        expect(Buffer.compare(bytes, expected)).toBe(0);
        expect(log.marked).toBe(expected.some((byte) => byte !== 0));
        log.close();
        log.mark(0, 4096);
        expect(Buffer.compare(bytes, expected)).toBe(0);
        expect(window.reservedBytes).toBe(0);
      },
    ),
    { numRuns: 300 },
  );
  file.unmap();
  closeFile(fd);
  window.close();
});
