import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DIRECTORY_FORMAT, defaultDirectory, openDirectory, storageDirectory } from "./directory.js";

let base: string;
beforeEach(() => {
  base = mkdtempSync("/tmp/pdir-");
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

describe("openDirectory()", () => {
  it("makes a new directory that others may walk through but not list", () => {
    const layout = openDirectory(join(base, "d"));
    expect(JSON.parse(readFileSync(layout.format, "utf8"))).toEqual({ format: DIRECTORY_FORMAT });
    expect(statSync(layout.run).mode & 0o777).toBe(0o711);
    expect(statSync(layout.storage).mode & 0o777).toBe(0o700);
    expect(openDirectory(join(base, "d"))).toEqual(layout);
  });

  it("refuses a newer format and touches nothing", () => {
    writeFileSync(join(base, "format"), JSON.stringify({ format: DIRECTORY_FORMAT + 1 }));
    expect(() => openDirectory(base)).toThrow(expect.objectContaining({ code: "DIRECTORY_NEWER" }));
    expect(readdirSync(base)).toEqual(["format"]);
  });

  it.each(["", "[]", '{"format":0}', '{"format":"1"}', "\u0000"])(
    "refuses a damaged format file %j",
    (text) => {
      writeFileSync(join(base, "format"), text);
      expect(() => openDirectory(base)).toThrow(expect.objectContaining({ code: "DIRECTORY_DAMAGED" }));
    },
  );

  it("refuses a directory too long for unix sockets, before making it", () => {
    const long = join(base, "x".repeat(100));
    expect(() => openDirectory(long)).toThrow(expect.objectContaining({ code: "DIRECTORY_TOO_LONG" }));
    expect(existsSync(long)).toBe(false);
  });

  it("refuses a directory that holds something else, and leaves it as it was", () => {
    writeFileSync(join(base, "letter.txt"), "");
    const { mode } = statSync(base);
    expect(() => openDirectory(base)).toThrow(expect.objectContaining({ code: "DIRECTORY_FOREIGN" }));
    expect([readdirSync(base), statSync(base).mode]).toEqual([["letter.txt"], mode]);
  });

  it("takes a directory in which a part was started by hand", () => {
    mkdirSync(join(base, "switch"));
    expect(existsSync(openDirectory(base).format)).toBe(true);
  });

  it("names the directory when it is a file", () => {
    const file = join(base, "f");
    writeFileSync(file, "");
    expect(() => openDirectory(file)).toThrow(expect.objectContaining({ code: "DIRECTORY_UNREADABLE" }));
  });
});

describe("defaultDirectory()", () => {
  it("prefers the option, then the environment", () => {
    const before = process.env["PLINTH_DIR"];
    process.env["PLINTH_DIR"] = "/x/y";
    try {
      expect(defaultDirectory()).toBe("/x/y");
      expect(defaultDirectory("/z")).toBe("/z");
    } finally {
      if (before === undefined) delete process.env["PLINTH_DIR"];
      else process.env["PLINTH_DIR"] = before;
    }
  });
});

describe("storageDirectory()", () => {
  it("is the directory itself where a storaged stands alone, and storage/ below that of a data centre", () => {
    const [alone, centre, none] = ["alone", "centre", "none"].map((name) => join(base, name)) as [
      string,
      string,
      string,
    ];
    mkdirSync(join(alone, "catalogue"), { recursive: true });
    openDirectory(centre);
    const before = process.env["PLINTH_DIR"];
    try {
      for (const isMade of [false, true]) {
        expect(storageDirectory(alone, isMade)).toBe(alone);
        expect(storageDirectory(centre, isMade)).toBe(join(centre, "storage"));
        process.env["PLINTH_DIR"] = alone;
        expect(storageDirectory(undefined, isMade)).toBe(alone);
        process.env["PLINTH_DIR"] = none;
        expect(storageDirectory(undefined, isMade)).toBe(join(none, "storage"));
      }
      // Named to be made: just there.
      expect([storageDirectory(none, true), storageDirectory(none)]).toEqual([none, join(none, "storage")]);
    } finally {
      if (before === undefined) delete process.env["PLINTH_DIR"];
      else process.env["PLINTH_DIR"] = before;
    }
  });
});
