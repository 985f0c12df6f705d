import { expect, test } from "vitest";
import { counter, formatMetric, gauge, histogram, plain } from "./metrics-text.js";

test("formatMetric() writes HELP, TYPE and samples with escaped labels, and nothing without samples", () => {
  expect(formatMetric(gauge("a", "Of a.", plain(1.5)))).toBe("# HELP a Of a.\n# TYPE a gauge\na 1.5\n");
  const labels = { name: 'x"\\\ny' };
  expect(formatMetric(counter("b_total", "Of b.", [{ labels, value: 2 }]))).toBe(
    '# HELP b_total Of b.\n# TYPE b_total counter\nb_total{name="x\\"\\\\\\ny"} 2\n',
  );
  expect(formatMetric(gauge("c", "Of c.", []))).toBe("");
});

test("histogram() counts up to each bound, with everything in +Inf", () => {
  const given = { labels: { hop: "q" }, bounds: [0.001, 0.01], counts: [3, 0, 2], sum: 0.5 };
  expect(
    formatMetric(histogram("d_seconds", "Of d.", [given]))
      .split("\n")
      .slice(2),
  ).toEqual([
    'd_seconds_bucket{hop="q",le="0.001"} 3',
    'd_seconds_bucket{hop="q",le="0.01"} 3',
    'd_seconds_bucket{hop="q",le="+Inf"} 5',
    'd_seconds_sum{hop="q"} 0.5',
    'd_seconds_count{hop="q"} 5',
    "",
  ]);
});
