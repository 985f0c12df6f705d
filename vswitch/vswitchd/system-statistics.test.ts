import { describe, expect, it } from "vitest";
import { memoryOf, mountPoints, systemStatistics } from "./system-statistics.js";

describe("systemStatistics()", () => {
  it("gives the keys and forms that ovs-vswitchd.conf.db(5) names", () => {
    const statistics = systemStatistics("vswitchd");
    expect(Number(statistics["cpu"])).toBeGreaterThanOrEqual(1);
    expect(statistics["load_average"]).toMatch(/^\d+\.\d\d(,\d+\.\d\d){2}$/);
    expect(statistics["memory"]).toMatch(/^\d+(,\d+){4}$/);
    expect(statistics["process_vswitchd"]).toMatch(/^\d+(,\d+){5}$/);
    for (const one of statistics["file_systems"]?.split(" ") ?? []) expect(one).toMatch(/^\/[^, ]*,\d+,\d+$/);
  });

  it("reads /proc/meminfo", () => {
    const text =
      "MemTotal:       1000 kB\nMemFree:         300 kB\nBuffers:          10 kB\nCached:           20 kB\nSwapTotal: 50 kB\nSwapFree: 40 kB\n";
    expect(memoryOf(text)).toBe("1000,700,30,50,10");
    expect(memoryOf("")).toBeUndefined();
  });

  it("takes devices from /proc/mounts, each once", () => {
    const text =
      "/dev/a / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/a /again ext4 rw 0 0\n/dev/b /x\\040y ext4 rw 0 0\n";
    expect(mountPoints(text)).toEqual(["/"]);
  });
});
