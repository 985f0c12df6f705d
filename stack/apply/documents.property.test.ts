// Files come from anywhere: any text gives documents or a PlinthError that names where.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { codePoint } from "../../base/testing/code-point.js";
import { parseDocuments } from "./documents.js";

const word = fc.constantFrom(
  ...[
    "apiVersion: v1",
    "kind: Namespace",
    "kind: List",
    "items:",
    "- ",
    "---",
    "...",
    "metadata: {name: a}",
    "&a",
    "*a",
  ],
  ...[
    "<<: *a",
    "!!binary x",
    "!!set {a}",
    "? [a]",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "|",
    ">",
    "'",
    '"',
    "%YAML 9",
    "\t",
    "\u0000",
  ],
  ...["null", "~", "0x", "__proto__:", "\n", "\n  ", "# "],
);
const text = fc.oneof(
  fc.string({ unit: codePoint }),
  fc.array(word, { maxLength: 20 }).map((words) => words.join("")),
  fc.array(word, { maxLength: 20 }).map((words) => words.join("\n")),
  fc.json().map((json) => `{"apiVersion":"v1","kind":"List","items":[${json}]}`),
  fc.json().map((json) => `{"apiVersion":"v1","kind":"Namespace","metadata":${json}}`),
);

test("parseDocuments() of any text gives documents or a PlinthError", () => {
  fc.assert(
    fc.property(text, (input) => {
      try {
        for (const { object, kind } of parseDocuments(input, "f", "default")) {
          expect(typeof object.metadata.name).toBe("string");
          expect(kind.kind).toBe(object.kind);
        }
      } catch (thrown) {
        expect(thrown, JSON.stringify(input)).toBeInstanceOf(PlinthError);
        expect((thrown as PlinthError).message).toContain("f");
      }
    }),
    { numRuns: 2000 },
  );
});

test("nesting without end is refused", () => {
  for (const open of ["[", "{a: ", "- ", "? "]) {
    const deep = `apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nspec: ${open.repeat(10_000)}`;
    expect(() => parseDocuments(deep, "f", "default"), open).toThrow(PlinthError);
  }
});
