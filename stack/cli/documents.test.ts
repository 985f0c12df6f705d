import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { parseDocuments } from "../apply/documents.js";
import { explain } from "./explain.js";
import { formatRows } from "./output.js";
import { parseSelection } from "./selection.js";

describe("parseDocuments()", () => {
  test("reads many documents, lists among them, and gives them a namespace", () => {
    const text = `
apiVersion: v1
kind: Namespace
metadata: {name: n}
---
# nothing here
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: s}}
- {apiVersion: v1, kind: Secret, metadata: {name: t, namespace: other}}
`;
    const documents = parseDocuments(text, "f", "here");
    expect(documents.map(({ kind, object, where }) => [kind.kind, object.metadata.namespace, where])).toEqual(
      [
        ["Namespace", undefined, "f, document 1"],
        ["Secret", "here", "f, document 3"],
        ["Secret", "other", "f, document 3"],
      ],
    );
  });

  test.each([
    ["kind: Secret", "DOCUMENT_INVALID"],
    ["{apiVersion: v1, kind: Spaceship, metadata: {name: x}}", "KIND_UNKNOWN"],
    ["{apiVersion: v1, kind: Secret}", "DOCUMENT_INVALID"],
    ["a: [", "DOCUMENT_INVALID"],
    ["- 1", "DOCUMENT_INVALID"],
  ])("refuses %j", (text, code) => {
    expect(() => parseDocuments(text, "f", "n")).toThrow(expect.objectContaining({ code }));
  });

  test("takes any text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z:\-{}[\]&* \n]{0,60}$/)), (text) => {
        try {
          parseDocuments(text, "f", "n");
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
    );
  });
});

describe("parseSelection()", () => {
  test.each<[string[], string]>([
    [["vm"], "VirtualMachine:"],
    [["vm", "a", "b"], "VirtualMachine:a+b"],
    [["net,vol"], "Network: Volume:"],
    [["vm/a", "net/b", "vm/c"], "VirtualMachine:a+c Network:b"],
  ])("%j is %s", (words, expected) => {
    const text = parseSelection(words).map(({ kind, names }) => `${kind.kind}:${names.join("+")}`);
    expect(text.join(" ")).toBe(expected);
  });

  test.each([[["spaceship"]], [["net,vol", "a"]], [["vm/"]], [["vm/a/b"]], [[]]])("refuses %j", (words) => {
    expect(() => parseSelection(words)).toThrow(PlinthError);
  });
});

test("explain() shows a field with its range and members", () => {
  expect(explain("network.spec.vlan")).toContain("RANGE: 1 to 4094");
  expect(explain("volume")).toContain("spec <Object> -required-");
  expect(explain("vm.spec")).toMatch(/memory <quantity> \(default "128Mi"\)/);
  expect(() => explain("network.spec.none")).toThrow(/network.spec has no field "none"/);
});

test("formatRows() aligns columns", () => {
  expect(
    formatRows(
      ["A", "B"],
      [
        ["longer", "x"],
        ["y", ""],
      ],
    ),
  ).toBe("A        B\nlonger   x\ny");
});
