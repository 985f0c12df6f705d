import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeDuration, parseDuration, parseMoment } from "./moment.js";

const NOW = Date.parse("2026-03-01T12:00:05.250Z");

describe("parseMoment()", () => {
  it("takes what people type", () => {
    expect(parseMoment("2026-03-01T11:00:05Z", NOW)).toBe("2026-03-01T11:00:05.000Z");
    expect(parseMoment("5m ago", NOW)).toBe("2026-03-01T11:55:05.250Z");
    expect(parseMoment("-90s", NOW)).toBe("2026-03-01T11:58:35.250Z");
    expect(parseMoment("@1767225600", NOW)).toBe("2026-01-01T00:00:00.000Z");
    expect(parseMoment("2026-02-28 12:00:00", NOW)).toBe(new Date(2026, 1, 28, 12).toISOString());
  });

  it("takes a time of day as the last one that there was", () => {
    const later = new Date(NOW + 60_000);
    const text = `${later.getHours()}:${String(later.getMinutes()).padStart(2, "0")}`;
    const found = Date.parse(parseMoment(text, NOW));
    expect(found).toBeLessThan(NOW);
    expect(NOW - found).toBeGreaterThan(22 * 3_600_000);
  });

  it("refuses everything else, and never returns what is no time", () => {
    for (const bad of ["", "yesterday", "25:00", "12:61", "5 parsecs ago", "2026-13-40", "-"]) {
      expect(() => parseMoment(bad, NOW)).toThrow("expected");
    }
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(parseMoment(text, NOW)).toMatch(/^\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        } catch (thrown) {
          expect((thrown as { code?: string }).code).toBe("commander.invalidArgument");
        }
      }),
    );
  });
});

it("durations read and write", () => {
  expect(["90s", "5m", "2h", "7d", "1.5h", "off", "0"].map(parseDuration)).toEqual([
    90, 300, 7200, 604_800, 5400, 0, 0,
  ]);
  expect(() => parseDuration("1 fortnight")).toThrow("expected");
  expect([1, 59, 61, 7199, 86_400 * 3.9, 86_400 * 800].map(describeDuration)).toEqual([
    "1 second",
    "59 seconds",
    "1 minute",
    "1 hour",
    "3 days",
    "2 years",
  ]);
});
