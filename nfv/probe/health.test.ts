import { describe, expect, it } from "vitest";
import { Health } from "./health.js";

const thresholds = { healthyThreshold: 2, unhealthyThreshold: 3 };

describe("Health", () => {
  it("turns Healthy after the required good probes in a row", () => {
    const health = new Health(thresholds);
    expect(health.report(true, "ok")).toBe(false);
    expect(health.state).toBe("Unknown");
    expect(health.report(true, "ok")).toBe(true);
    expect(health.state).toBe("Healthy");
  });

  it("does not flap on single bad probes", () => {
    const health = new Health(thresholds);
    for (const good of [true, true, false, false, true, false, false]) health.report(good, "x");
    expect(health.state).toBe("Healthy");
    expect(health.report(false, "timed out")).toBe(true);
    expect(health).toMatchObject({ state: "Unhealthy", reason: "timed out" });
  });

  it("calls a never-healthy endpoint Unhealthy at its first bad probe", () => {
    const health = new Health(thresholds);
    expect(health.report(false, "connection refused")).toBe(true);
    expect(health.state).toBe("Unhealthy");
  });
});
