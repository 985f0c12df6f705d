import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { parseManifestText, readManifestDocuments } from "./policy-documents.js";

describe("parseManifestText()", () => {
  it("reads YAML as Kubernetes does", () => {
    const { documents, problems } = parseManifestText(
      [
        "a: yes",
        "b: 'yes'",
        "c: 12:30",
        "d: 2024-01-02",
        "e: 1",
        "e: 2",
        "---",
        "# nothing",
        "---",
        "x: &x {k: v}",
        "z: {<<: *x}",
      ].join("\n"),
      "f.yaml",
    );
    expect(problems).toEqual([]);
    expect(documents).toEqual([
      { where: "f.yaml, document 1", value: { a: true, b: "yes", c: "12:30", d: "2024-01-02", e: 2 } },
      { where: "f.yaml, document 3", value: { x: { k: "v" }, z: { k: "v" } } },
    ]);
  });

  it("keeps what stands before a syntax error, and names the place", () => {
    const { documents, problems } = parseManifestText(
      "kind: A\n---\nkind: {{ .Values.kind }}\n---\nkind: B\n",
      "f.yaml",
    );
    expect(documents.map(({ value }) => value)).toEqual([{ kind: "A" }]);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.severity).toBe("error");
    expect(problems[0]?.message).toMatch(/^f\.yaml, document 2: .*the rest of the file is left out$/);
  });

  it("never throws, whatever the bytes", () => {
    const piece = fc.constantFrom(
      "a",
      ":",
      " ",
      "\n",
      "- ",
      "{",
      "}",
      "[",
      "]",
      "&a ",
      "*a",
      "---\n",
      '"',
      "!!binary ",
      "<<: ",
      "\t",
      "\u0000",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        parseManifestText(pieces.join(""), "f");
      }),
      { numRuns: 500 },
    );
  });
});

describe("readManifestDocuments()", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "pd-"));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it("reads a directory with all below it, and goes on behind what it cannot read", async () => {
    mkdirSync(join(directory, "b"));
    writeFileSync(join(directory, "a.yml"), "kind: A");
    writeFileSync(join(directory, "b", "b.json"), '{"kind":"B"}');
    writeFileSync(join(directory, "c.yaml"), "kind: [");
    writeFileSync(join(directory, "d.yaml"), "kind: D");
    writeFileSync(join(directory, "README.md"), "kind: E");
    const { documents, problems } = await readManifestDocuments(directory);
    expect(documents.map(({ value }) => (value as { kind: string }).kind)).toEqual(["A", "B", "D"]);
    expect(problems.map(({ message }) => message.startsWith(join(directory, "c.yaml")))).toEqual([true]);
  });

  it("refuses a directory that is not there", async () => {
    await expect(readManifestDocuments(join(directory, "none"))).rejects.toMatchObject({
      code: "DOCUMENT_UNREADABLE",
    });
  });
});
