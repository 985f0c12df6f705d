import { describe, expect, it } from "vitest";
import { check, hotFindings, importsOf, isPure } from "./rules.js";

const rules = (path: string, text: string) => check({ path, text }).map((finding) => finding.rule);

describe("importsOf()", () => {
  it("finds static, type, side-effect, dynamic and re-exported imports with their lines", () => {
    const text = `// x\nimport a from "a";\nimport type { B } from "./b.js";\nimport "c";\nexport * from "./d.js";\nconst e = import("e");\n`;
    expect(importsOf(text)).toEqual([
      { line: 2, specifier: "a" },
      { line: 3, specifier: "./b.js" },
      { line: 4, specifier: "c" },
      { line: 5, specifier: "./d.js" },
      { line: 6, specifier: "e" },
    ]);
  });
});

describe("check()", () => {
  it("lets base import only itself", () => {
    expect(rules("base/x/y.ts", `// y\nimport { a } from "../../vswitch/index.js";`)).toEqual(["import"]);
    expect(rules("base/x/y.ts", `// y\nimport { a } from "../z/index.js";`)).toEqual([]);
  });

  it("keeps products apart, types included", () => {
    expect(rules("nfv/a.ts", `// a\nimport type { a } from "../vswitch/index.js";`)).toEqual(["import"]);
  });

  it("lets stack in through a product's index only", () => {
    expect(rules("stack/a.ts", `// a\nimport { a } from "../vswitch/flow/key.js";`)).toEqual(["import"]);
    expect(rules("stack/a.ts", `// a\nimport { a } from "../vswitch/index.js";`)).toEqual([]);
  });

  it("guards each package's door", () => {
    expect(rules("vswitch/a.ts", `// a\nimport koffi from "koffi";`)).toEqual(["import"]);
    expect(rules("base/linux/a.ts", `// a\nimport koffi from "koffi";`)).toEqual([]);
  });

  it("keeps pure files free of clocks and sockets", () => {
    expect(
      rules(
        "storage-pool/nbd/nbd-session.ts",
        `// s\nimport net from "node:net";\nDate.now();\n// Date.now()`,
      ),
    ).toEqual(["import", "pure"]);
    expect(isPure("vswitch/flow/key.test.ts")).toBe(false);
  });

  it("asks for a header and refuses skipped tests", () => {
    expect(rules("base/a.ts", "export const a = 1;")).toEqual(["header"]);
    expect(rules("base/a.test.ts", `it.${"only"}("x", () => {});`)).toEqual(["test"]);
    expect(rules("base/a.test.ts", `it.${"runIf"}(isRoot)("x", () => {});`)).toEqual(["test"]);
  });

  it("refuses imports of leaves", () => {
    expect(rules("vswitch/a.ts", `// a\nimport { a } from "./datapath-worker.js";`)).toEqual(["import"]);
  });
});

describe("hotFindings()", () => {
  const hot = (body: string) => hotFindings({ path: "base/a.ts", text: `// a. Hot: yes\n${body}` }).length;

  it("counts what allocates, except on lines marked cold", () => {
    expect(hot("for (const a of b) {}")).toBe(1);
    expect(hot("for (const a of b) {} // cold")).toBe(0);
    expect(hot("x.subarray(1); y = 10n;")).toBe(2);
    expect(hot("for (let i = 0; i < n; i++) {}")).toBe(0);
  });
});
