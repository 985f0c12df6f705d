import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WireError } from "../../base/openflow/index.js";
import { refuseTlvMod } from "./tlv-table.js";

const mod = (command: number, ...maps: [size: number, index: number][]): Uint8Array =>
  Uint8Array.from([
    0,
    command,
    0,
    0,
    0,
    0,
    0,
    0,
    ...maps.flatMap(([size, index]) => [255, 255, 1, size, 0, index, 0, 0]),
  ]);

describe("refuseTlvMod()", () => {
  it("takes what leaves the table empty, and refuses the rest with the code that it deserves", () => {
    expect(refuseTlvMod(mod(0, [4, 0]))).toBe("NXTTMFC_TABLE_FULL");
    expect(refuseTlvMod(mod(0))).toBeUndefined();
    expect(refuseTlvMod(mod(1, [4, 0]))).toBeUndefined();
    expect(refuseTlvMod(mod(2))).toBeUndefined();
    expect(refuseTlvMod(mod(3))).toBe("NXTTMFC_BAD_COMMAND");
    expect(refuseTlvMod(mod(0, [3, 0]))).toBe("NXTTMFC_BAD_OPT_LEN");
    expect(refuseTlvMod(mod(0, [128, 0]))).toBe("NXTTMFC_BAD_OPT_LEN");
    expect(refuseTlvMod(mod(0, [4, 64]))).toBe("NXTTMFC_BAD_FIELD_IDX");
  });

  it("raises only a WireError on arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          refuseTlvMod(bytes);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(WireError);
        }
      }),
    );
  });
});
