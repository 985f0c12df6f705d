import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { detectCompression, needsInterpreter, parseKernelRelease } from "./kernel-file.js";
import { parseModuleDepends } from "./kernel-modules.js";

const ELF = [0x7f, 0x45, 0x4c, 0x46, 2, 1];

describe("kernel file parsers", () => {
  it("give an answer for any bytes", () => {
    const any = fc.uint8Array({ maxLength: 1200 });
    const elf = any.map((bytes) => Uint8Array.from([...ELF, ...bytes]));
    const bzImage = fc.uint8Array({ minLength: 0x260, maxLength: 2000 }).map((bytes) => {
      bytes.set([0x48, 0x64, 0x72, 0x53], 0x202);
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(any, elf, bzImage), (bytes) => {
        expect(typeof needsInterpreter(bytes)).toBe("boolean");
        expect(["string", "undefined"]).toContain(typeof parseKernelRelease(bytes));
        expect(parseModuleDepends(bytes)).toBeInstanceOf(Array);
        detectCompression(bytes);
      }),
    );
  });
});
