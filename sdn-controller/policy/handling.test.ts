import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ENFORCEMENT_ANNOTATION,
  LIVE_ANNOTATION,
  LOG_ANNOTATION,
  logsDenied,
  logsRule,
  parseHandling,
} from "./handling.js";

describe("parseHandling()", () => {
  it("reads what a policy wants", () => {
    const annotations = {
      [ENFORCEMENT_ANNOTATION]: "Staged",
      [LIVE_ANNOTATION]: "Keep",
      [LOG_ANNOTATION]: "denied, egress[2]",
    };
    const { handling, problems } = parseHandling(annotations, true);
    expect(problems).toEqual([]);
    expect(handling).toEqual({ staged: true, keepsLive: true, log: ["denied", "egress[2]"] });
    expect([logsDenied(handling), logsRule(handling, "Egress", 2), logsRule(handling, "Ingress", 2)]).toEqual(
      [true, true, false],
    );
    expect(logsRule({ log: ["all"] }, "Ingress", 9)).toBe(true);
    expect(parseHandling({ [LIVE_ANNOTATION]: "Cut" }, true).handling).toEqual({});
  });

  it("names each wrong annotation and takes none of it", () => {
    const wrong = { [ENFORCEMENT_ANNOTATION]: "staged", [LIVE_ANNOTATION]: "", [LOG_ANNOTATION]: "ingress" };
    const { handling, problems } = parseHandling(wrong, true);
    expect(handling).toEqual({});
    expect(problems.map(({ annotation }) => annotation)).toEqual(Object.keys(wrong));
    const staged = parseHandling({ [ENFORCEMENT_ANNOTATION]: "Staged" }, false);
    expect(staged.problems).toMatchObject([{ expected: "Enforced" }]);
  });

  it("takes any text", () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), (text, canStage) => {
        const all = { [ENFORCEMENT_ANNOTATION]: text, [LIVE_ANNOTATION]: text, [LOG_ANNOTATION]: text };
        const { handling, problems } = parseHandling(all, canStage);
        expect(Object.keys(handling).length + problems.length).toBeGreaterThan(0);
      }),
    );
  });
});
