// ovsdbapp, by which OpenStack's agents configure Open vSwitch, drives our switch daemon and a real ovsdb-server through the
// same steps: bridges, ports, records, transactions, events, many threads at a time. What it sees is the same.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { RealOvsdbServer } from "../support/real-ovsdb-server.js";
import { ROOT, requirePrograms, run, runOk } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const SCRIPT = join(ROOT, "test/conformance/ovsdbapp/drive.py");
/** Debian's, for which it packs ovsdbapp. */
const PYTHON = "/usr/bin/python3";
const DEADLINE_MS = 100_000;

type Seen = readonly [step: string, ...what: unknown[]];

let dir: string;
let daemon: SwitchProcess;
let real: RealOvsdbServer;

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovsdb-server");
  dir = mkdtempSync("/tmp/oap-");
  daemon = new SwitchProcess();
  await daemon.start();
  real = await RealOvsdbServer.start(join(dir, "real"));
  await runOk("ovs-vsctl", ["--no-wait", `--db=${real.endpoint}`, "init"]);
});
afterAll(async () => {
  await daemon?.destroy();
  await real?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function drive(...words: readonly string[]): Promise<Seen[]> {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
  const { code, stdout, stderr } = await run(PYTHON, [SCRIPT, ...words], { deadlineMs: DEADLINE_MS, env });
  expect({ code, end: code === 0 ? "" : stderr.slice(-2000) }).toEqual({ code: 0, end: "" });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Seen);
}

it("lets ovsdbapp see the same of our switch as of ovsdb-server", async () => {
  const ours = await drive(daemon.endpoint);
  const theirs = await drive(real.endpoint, "alone");
  for (const [i, seen] of theirs.entries()) expect(ours[i]).toEqual(seen);
  expect(ours).toHaveLength(theirs.length);
  // The steps were taken, and not only refused alike.
  const steps = new Map(ours.map(([step, ...what]) => [step, what]));
  expect(steps.get("came")).toEqual([true]);
  expect(steps.get("a bridge twice")).toEqual(["refused", "RuntimeError"]);
  expect((steps.get("of all threads") as unknown[][][])[0]?.[0]).toHaveLength(20);
  expect(steps.get("left")).toEqual([[[], [], []]]);
});
