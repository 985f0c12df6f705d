// Scrubs by a clock that the test drives, over a real pool on disks in memory and a real catalogue; "restarts" keep only
// what was recorded and what is on the disks.
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { silentLog } from "../base/log/index.js";
import { openMemoryStore } from "../base/store/index.js";
import { Catalogue, newDisk } from "./catalogue/catalogue.js";
import { DataBuffer } from "./disk/data-buffer.js";
import { INDEX_SIZE, SEGMENT_SIZE, slotCountOf, slotsAt } from "./log/format.js";
import { Scrubs } from "./scrub-control.js";
import type { TargetHandle } from "./target/target-handle.js";
import { MemoryPool } from "./testing/memory-pool.js";

const MIB = 1024 * 1024;
const SECOND = 1000;
const DAY = 86_400 * SECOND;
const SLOT_0 = slotsAt(slotCountOf(64 * MIB));
/** Segments that the volume fills, on two disks. */
const SEGMENTS = 6;
const START = Date.parse("2026-03-01T12:00:00Z");

let memory: MemoryPool;
let store: ReturnType<typeof openMemoryStore>;
let catalogue: Catalogue;
let scrubs: Scrubs;
let nowMs: number;
const unavailable = new Map<string, string>();

const target = {
  ask: async (method: string, body: { bytesPerSecond: number; nextSegment: number }) => {
    if (method === "scrub") return memory.pool.scrub(body.bytesPerSecond, body.nextSegment);
    if (method === "jobs") return memory.pool.jobs.reports();
    if (method === "cancelScrub") return memory.pool.jobs.cancel(({ kind }) => kind === "scrub");
    throw new Error(method);
  },
} as unknown as Pick<TargetHandle, "ask">;

beforeEach(async () => {
  memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * MIB, 2);
  const buffer = new DataBuffer(MIB);
  buffer.bytes.fill(7);
  for (let at = 0; at < SEGMENTS * SEGMENT_SIZE; at += MIB) {
    expect(volume.stageWrite(buffer, 0, at, MIB)).toBe(0);
    expect(volume.commit()).toBe(0);
  }
  memory.pool.sync();
  memory.settle();
  store = openMemoryStore();
  nowMs = START;
  unavailable.clear();
  await start();
  const fresh = {
    id: "p",
    epoch: 1,
    formatted: true,
    clean: true,
    warningPercent: 0,
    criticalPercent: 0,
    owner: "",
    deleting: false,
  };
  await catalogue.putPool({ name: "p", disks: [newDisk("disk0", 0, true)], ...fresh });
});

/** The daemon begins, knowing what the catalogue does. */
async function start(): Promise<void> {
  catalogue = await Catalogue.open(store);
  scrubs = new Scrubs({ catalogue, target, unavailable }, silentLog);
}

async function restart(): Promise<void> {
  memory.reopen();
  await start();
}

/** A second passes: the worker works, then the clock of the daemon looks. */
async function second(steps = 50): Promise<void> {
  nowMs += SECOND;
  for (let i = 0; i < steps; i++) {
    const outcome = memory.pool.housekeeper.housekeep(nowMs);
    if (typeof outcome === "object") memory.record(outcome);
  }
  await scrubs.round(nowMs);
}

const view = () => scrubs.view("p", memory.pool.jobs.reports());

async function untilEnded(count: number): Promise<void> {
  for (let i = 0; i < 1000 && view().runs.length < count; i++) await second();
  expect(view().runs).toHaveLength(count);
}

function spoil(disk: number, block: number): void {
  const at = SLOT_0 + INDEX_SIZE + block * 4096;
  memory.disks[disk]?.content.write(Uint8Array.of(0xee, 0xee), 0, 2, at);
}

test("a pool is scrubbed when it is due, which is told before and after, however often storaged was restarted", async () => {
  await scrubs.round(nowMs);
  expect(view()).toEqual({
    cron: "0 1 1 * *",
    schedule: "monthly",
    bytesPerSecond: 0,
    nextAt: "2026-04-01T01:00:00.000Z",
    runs: [],
  });
  for (let day = 6; day <= 30; day += 6) {
    nowMs = START + day * DAY;
    await restart();
    await scrubs.round(nowMs);
  }
  expect(view()).toMatchObject({ nextAt: "2026-04-01T01:00:00.000Z", runs: [] });
  expect(view().running).toBeUndefined();
  nowMs = Date.parse("2026-04-01T01:00:00Z");
  await scrubs.round(nowMs);
  expect(view().running).toMatchObject({ startedAt: "2026-04-01T01:00:00.000Z", doneBytes: 0 });
  await untilEnded(1);
  const { running, runs, nextAt } = view();
  expect(running).toBeUndefined();
  expect(nextAt).toBe("2026-05-01T01:00:00.000Z");
  expect(runs[0]).toMatchObject({ outcome: "done", repairedBlocks: 0, lostBlocks: 0, findings: [] });
  expect(runs[0]?.checkedBytes).toBeGreaterThanOrEqual(2 * SEGMENTS * SEGMENT_SIZE);
  // One that was missed while storaged was stopped for months is made up for, once.
  nowMs = Date.parse("2026-08-15T12:00:00Z");
  await restart();
  await scrubs.round(nowMs);
  await untilEnded(2);
  for (let i = 0; i < 20; i++) await second();
  expect(view()).toMatchObject({ nextAt: "2026-09-01T01:00:00.000Z" });
  expect(view().runs).toHaveLength(2);
});

test("one that a restart interrupts goes on where it was, and tells of all of it", async () => {
  spoil(0, 3);
  await scrubs.set("p", { scrub: "daily", scrubBytesPerSecond: SEGMENT_SIZE / 8 }, nowMs);
  nowMs += DAY;
  await second(0);
  for (let i = 0; i < 60; i++) await second();
  const before = view().running?.doneBytes ?? 0;
  expect(before).toBeGreaterThanOrEqual(5 * SEGMENT_SIZE);
  const recorded = catalogue.scrubs.get("p")?.runs.at(-1);
  expect(recorded?.nextSegment).toBeGreaterThan(1);
  expect(recorded).toMatchObject({ repairedBlocks: 1 });
  await restart();
  await second();
  expect(view().running?.doneBytes).toBeGreaterThanOrEqual(recorded?.checkedBytes ?? 0);
  await untilEnded(1);
  const [run] = view().runs;
  expect(run).toMatchObject({ outcome: "done", repairedBlocks: 1 });
  const all = 2 * SEGMENTS * SEGMENT_SIZE;
  expect(run?.checkedBytes).toBeGreaterThanOrEqual(all);
  // What was looked at between the last record and the restart is read again, no more.
  expect(run?.checkedBytes).toBeLessThanOrEqual(all + 6 * SEGMENT_SIZE);
});

test("those by schedule keep to their rate, and one by hand does not", async () => {
  const rate = SEGMENT_SIZE / 4;
  await scrubs.set("p", { scrub: "daily", scrubBytesPerSecond: rate }, nowMs);
  nowMs += DAY;
  await second();
  for (let passed = 1; passed <= 12; passed++) {
    await second();
    const done = view().running?.doneBytes ?? 0;
    expect(done).toBeLessThanOrEqual((passed + 1) * rate + SEGMENT_SIZE);
    expect(done).toBeGreaterThanOrEqual((passed - 1) * rate - SEGMENT_SIZE);
  }
  const job = await scrubs.begin("p", nowMs);
  expect(memory.pool.jobs.reports().filter(({ kind }) => kind === "scrub")).toHaveLength(1);
  expect(memory.pool.jobs.reports().at(-1)?.id).toBe(job);
  await second();
  await second();
  expect(view().runs).toHaveLength(1);
});

test("what has no good copy is named, also after a restart, and all else goes first", async () => {
  spoil(0, 9);
  spoil(1, 9);
  const id = await scrubs.begin("p", nowMs);
  await second(1);
  memory.pool.prove(1);
  const state = (kind: string) => memory.pool.jobs.reports().find((each) => each.kind === kind)?.state;
  for (await second(1); state("prove") === "running"; await second(1)) expect(state("scrub")).toBe("waiting");
  expect(state("prove")).toBe("failed");
  await untilEnded(1);
  expect(memory.pool.jobs.reports().find((each) => each.id === id)?.state).toBe("failed");
  await restart();
  const [run] = view().runs;
  expect(run).toMatchObject({ outcome: "failed", lostBlocks: 2 });
  expect(run?.findings[0]).toMatch(/^block 27 of segment \d+ has no good copy \(looked at disk0\)$/);
});

test("one is cancelled, with or without a restart before it; a schedule that is off begins none", async () => {
  await scrubs.begin("p", nowMs);
  await scrubs.cancel("p", nowMs);
  expect(view()).toMatchObject({ runs: [{ outcome: "cancelled" }] });
  await scrubs.begin("p", nowMs);
  await restart();
  await scrubs.cancel("p", nowMs);
  await scrubs.set("p", { scrub: "off" }, nowMs);
  nowMs += 400 * DAY;
  await second();
  expect(view().runs.map(({ outcome }) => outcome)).toEqual(["cancelled", "cancelled"]);
  expect(view().running).toBeUndefined();
  expect(view()).not.toHaveProperty("nextAt");
});

test("a pool that is not open waits, and what cannot be recorded is tried again", async () => {
  await scrubs.set("p", { scrub: "daily" }, nowMs);
  nowMs += DAY;
  unavailable.set("p", "its disks are missing");
  await second();
  expect(view().running).toBeUndefined();
  unavailable.clear();
  const { scrub } = memory.pool;
  memory.pool.scrub = () => {
    throw new Error("the worker is busy");
  };
  await second();
  memory.pool.scrub = scrub;
  for (let i = 0; i < 120 && view().runs.length === 0; i++) await second();
  expect(view().runs).toMatchObject([{ outcome: "done" }]);
});

test("any text is a schedule or refused by name; refused changes nothing", async () => {
  await scrubs.set("p", { scrub: "weekly" }, nowMs);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.string({ maxLength: 30 }), fc.integer(), fc.constant(null)),
      async (scrub) => {
        const before = catalogue.scrubs.get("p");
        try {
          await scrubs.set("p", { scrub }, nowMs);
          expect(["off"].includes(view().cron) || view().nextAt !== undefined).toBe(true);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: "PARAMETER_INVALID", field: "scrub" });
          expect(catalogue.scrubs.get("p")).toBe(before);
        }
      },
    ),
  );
  await expect(scrubs.set("p", { scrubBytesPerSecond: -1 }, nowMs)).rejects.toMatchObject({
    field: "scrubBytesPerSecond",
  });
});
