// Open vSwitch's own IDL for Python, which OpenStack and os-ken stand on, drives our OVSDB server and a real one through the
// same steps: references to rows to come, mutations, conflicts, conditions that change, lost connections, locks, indexes.
// What it sees is the same.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OvsdbPair } from "../support/ovsdb-pair.js";
import { ROOT, run } from "../support/run.js";

const SCRIPT = join(ROOT, "test/conformance/ovs-python/idl.py");
/** Debian's, for which it packs the IDL. */
const PYTHON = "/usr/bin/python3";
const DEADLINE_MS = 100_000;

let pair: OvsdbPair;

beforeAll(async () => {
  pair = await OvsdbPair.open();
});
afterAll(() => pair?.close());

type Seen = readonly [step: string, what: unknown];

async function drive(endpoint: string): Promise<Seen[]> {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
  const { code, stdout, stderr } = await run(PYTHON, [SCRIPT, endpoint], { deadlineMs: DEADLINE_MS, env });
  expect(stderr.split("\n").filter((line) => /Error|Traceback|File|vain/.test(line))).toEqual([]);
  expect(code).toBe(0);
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Seen);
}

describe("the IDL of Open vSwitch for Python", () => {
  it("sees the same of our server as of ovsdb-server", async () => {
    const [ours, theirs] = await Promise.all([drive(pair.endpoint), drive(pair.real.endpoint)]);
    for (const [i, seen] of theirs.entries()) expect(ours[i]).toEqual(seen);
    expect(ours).toHaveLength(theirs.length);
    // The steps were taken, and not only refused alike.
    const steps = new Map(ours);
    expect(steps.get("verified too late")).toEqual(["try again"]);
    expect(steps.get("by who waits")).toEqual(["not locked"]);
    expect(steps.get("one without conditions, too")).toBe(true);
  });
});
