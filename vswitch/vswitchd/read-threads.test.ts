import { describe, expect, it } from "vitest";
import type { DatabaseRow } from "../db/index.js";
import { readAffinity, readThreads } from "./read-threads.js";

const RULES = { sleeps: true, assignment: "cycles", isolates: true } as const;

const threads = (config: Record<string, string>, coresMax = 8) =>
  readThreads(new Map(Object.entries(config)), coresMax);

const affinity = (text: string | undefined, cores: readonly number[], isSpread = true) =>
  readAffinity(
    { map: () => new Map(text === undefined ? [] : [["pmd-rxq-affinity", text]]) } as unknown as DatabaseRow,
    cores,
    isSpread,
  );

describe("readThreads", () => {
  it.each([
    ["", []],
    ["0", []],
    ["1", [0]],
    ["0x6", [1, 2]],
    ["C1", [0, 6, 7]],
  ])("takes the mask %j as processors %j", (mask, cores) => {
    expect(threads({ "pmd-cpu-mask": mask })).toEqual({ ...RULES, cores, problems: [] });
  });

  it("says what it cannot do", () => {
    expect(threads({ "pmd-cpu-mask": "0xzz" })).toEqual({
      ...RULES,
      cores: [],
      problems: ['other_config:pmd-cpu-mask is "0xzz", a hexadecimal mask of processors was expected'],
    });
    expect(threads({ "pmd-cpu-mask": "f" }, 2)).toEqual({
      ...RULES,
      cores: [0, 1],
      problems: ["other_config:pmd-cpu-mask names processors that are not there: 2, 3"],
    });
    expect(threads({ "pmd-cpu-mask": "fffff" }, 64).cores).toHaveLength(16);
    const asked = { "pmd-rxq-assign": "fewest", "pmd-auto-lb": "true" };
    expect(threads(asked).assignment).toBe("cycles");
    expect(
      threads(asked)
        .problems.map((text) => /other_config:([a-z-]+)/.exec(text)?.[1])
        .sort(),
    ).toEqual(Object.keys(asked).sort());
  });
});

describe("readThreads, of who serves what", () => {
  it.each([
    [{}, "cycles", true],
    [{ "pmd-rxq-assign": "roundrobin" }, "roundrobin", true],
    [{ "pmd-rxq-assign": "group", "pmd-rxq-isolate": "true" }, "group", true],
    [{ "pmd-rxq-isolate": "false" }, "cycles", false],
  ])("takes %j for %s, isolation %s", (config: Record<string, string>, assignment, isolates) => {
    expect(threads(config)).toEqual({ ...RULES, cores: [], assignment, isolates, problems: [] });
  });
});

describe("readThreads, of sleeping", () => {
  it.each([
    [{ "pmd-sleep-max": "0" }, false],
    [{ "pmd-maxsleep": "0" }, false],
    [{ "pmd-maxsleep": "0", "pmd-sleep-max": "50" }, true],
    [{ "pmd-sleep-max": "10000" }, true],
    [{}, true],
  ])("takes %j for %j", (config: Record<string, string>, sleeps) => {
    expect(threads(config)).toEqual({ ...RULES, cores: [], sleeps, problems: [] });
  });

  it.each(["", "-1", "10001", "never", "1.5", "0x10"])(
    "says that it does not understand %j, and sleeps",
    (text) => {
      const { sleeps, problems } = threads({ "pmd-sleep-max": text });
      expect(sleeps).toBe(true);
      expect(problems).toEqual([
        `other_config:pmd-sleep-max is "${text}", 0 to 10000 microseconds were expected`,
      ]);
    },
  );
});

describe("readAffinity", () => {
  it("heeds what names workers for queues, and only that", () => {
    expect(affinity(undefined, [])).toEqual({ affinity: undefined, isHeeded: true });
    for (const [text, read] of [
      ["0:3", { 0: 3 }],
      ["0:3, 1:4", { 0: 3, 1: 4 }],
      ["2:4", { 2: 4 }],
      ["0:1,1:1", { 0: 1, 1: 1 }],
    ] as const)
      expect(affinity(text, [1, 3, 4])).toEqual({ affinity: read, isHeeded: true });
    for (const [text, cores] of [
      // The worker with the tables serves a port whole.
      ["0:3,1:1", [1, 3]],
      ["0:1,1:3", [1, 3]],
      ["0:3,0:3", [1, 3]],
      ["0:2", [1, 3]],
      ["0:3,", [1, 3]],
      ["3", [1, 3]],
      ["", [1, 3]],
      ["0:0", []],
    ] as const)
      expect(affinity(text, cores)).toEqual({ affinity: undefined, isHeeded: false });
    // Queues of devices are all with one worker.
    expect(affinity("0:3,1:4", [1, 3, 4], false)).toEqual({ affinity: undefined, isHeeded: false });
    expect(affinity("0:3,1:3", [1, 3, 4], false)).toEqual({ affinity: { 0: 3, 1: 3 }, isHeeded: true });
  });
});
