import { describe, expect, it } from "vitest";
import { CONNECTIONS_MAX } from "../conntrack/index.js";
import { readConnectionsMax } from "./start-config.js";
import { StartNotes } from "./start-notes.js";

describe("readConnectionsMax()", () => {
  it.each([
    [{}, CONNECTIONS_MAX],
    [{ "ct-maxconns": "1024" }, 1024],
    [{ "ct-maxconns": "1000000" }, 1 << 20],
    [{ "ct-maxconns": "4194304" }, 1 << 22],
  ])("takes %j as room for %d connections", (otherConfig, wanted) => {
    const problems: string[] = [];
    expect(readConnectionsMax(new Map(Object.entries(otherConfig)), problems)).toBe(wanted);
    expect(problems).toEqual([]);
  });

  it.each(["", "many", "0", "1023", "4194305", "99999999999", "-5"])("says what is wrong with %j", (text) => {
    const problems: string[] = [];
    expect(readConnectionsMax(new Map([["ct-maxconns", text]]), problems)).toBe(CONNECTIONS_MAX);
    expect(problems).toEqual([
      `other_config:ct-maxconns is "${text}", 1024 to 4194304 connections were expected`,
    ]);
  });
});

describe("StartNotes", () => {
  it("tells each thing once, until the configuration is another", () => {
    const told: unknown[] = [];
    const notes = new StartNotes(
      { cores: [0], connectionsMax: 1024 },
      { warn: (...words: unknown[]) => void told.push(words.at(-1)) },
    );
    const observe = (cores: readonly number[], problems: readonly string[], connectionsMax = 1024): void =>
      notes.observe({
        threads: { cores, sleeps: true, assignment: "cycles", isolates: true, problems },
        connectionsMax,
      });
    observe([0], []);
    observe([0], ["a"]);
    observe([0], ["a"]);
    expect(told).toEqual(["a"]);
    observe([0, 1], []);
    expect(told.at(-1)).toMatch(/pmd-cpu-mask takes effect when the switch is started again/);
    expect(told).toHaveLength(2);
    observe([0], [], 2048);
    expect(told.at(-1)).toMatch(/ct-maxconns takes effect when the switch is started again/);
    expect(told).toHaveLength(3);
  });
});
