import { describe, expect, it } from "vitest";

import { inputText } from "./vm-commands.js";

describe("inputText()", () => {
  it("takes text as it is, and refuses bytes that would reach the machine as others", () => {
    const text = "\u{feff}Grüße\r\n\0";
    expect(inputText(Buffer.from(text))).toBe(text);
    expect(() => inputText(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0xff))).toThrow(
      "--stdin takes text in UTF-8",
    );
  });
});
