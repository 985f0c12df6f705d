// What happens to a pool while storaged is at work: killed in the middle of draining and scrubbing, a disk's file cut
// short, overwritten and taken away under it. One daemon with two disks and volumes of one and two copies.
import { spawn } from "node:child_process";
import {
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openLevelStore, openMemoryStore } from "../../base/store/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { LocalClient, ResourceRegistry } from "../../stack/api/index.js";
import { reconcilePool } from "../../stack/daemons/host/pool-reconciler.js";
import { StorageClient } from "../../stack/daemons/host/storage-client.js";
import type { StoragePool } from "../../stack/resources/index.js";
import { Catalogue } from "../../storage-pool/catalogue/catalogue.js";
import type { ScrubEntry } from "../../storage-pool/catalogue/scrub-entry.js";
import type { JobView, PoolView, VolumeView } from "../../storage-pool/index.js";
import { SEGMENT_SIZE, slotsAt } from "../../storage-pool/log/format.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
let storage: StorageProcess;

beforeAll(async () => {
  requirePrograms("qemu-io");
  storage = new StorageProcess(["d0", "d1"]);
  await storage.start();
  await storage.call("volume.create", { name: "twice", sizeBytes: 64 * MIB, copies: 2 });
  await io("twice", "write -P 171 0 24M", "flush");
}, 120_000);
afterAll(() => storage.destroy());

/** What qemu-io says, whether it fails or not. */
function io(name: string, ...commands: string[]): Promise<string> {
  const args = ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), storage.uri(name)];
  return runOk("qemu-io", args, { cwd: storage.dir, deadlineMs: 60_000 }).catch(
    (thrown: Error) => thrown.message,
  );
}

async function pool(): Promise<PoolView> {
  return ((await storage.call("pool.list")) as PoolView[])[0] as PoolView;
}

async function expectWhole(): Promise<void> {
  expect(await io("twice", "read -P 171 0 24M")).not.toMatch(/Pattern|error|failed/);
}

function segmentsOf(disk: number): string {
  return join(storage.dir, `d${disk}`, "segments");
}

/** Does a job of the pool to its end; nothing may be lost. */
async function work(method: string, params: Record<string, unknown>): Promise<void> {
  const { id } = (await storage.call(method, params)) as JobView;
  const report = () => storage.call("job.get", { pool: "default", id }) as Promise<JobView>;
  await waitFor(async () => !["waiting", "running"].includes((await report()).state), method, 60_000);
  expect(await report()).toMatchObject({ state: "done", lostBlocks: 0 });
}

test("killed while a disk is drained and while all is scrubbed it goes on, and everything is there", async () => {
  await storage.plinth("pool", "add", "default", "--disk", join(storage.dir, "d2"));
  await storage.call("disk.drain", { pool: "default", disk: storage.disks[0] });
  await storage.end("SIGKILL");
  await storage.start();
  expect((await pool()).disks[0]).toMatchObject({ state: "draining" });
  await waitFor(async () => (await pool()).disks[0]?.segments === 0, "an empty disk", 60_000);
  await expectWhole();
  await storage.call("disk.undrain", { pool: "default", disk: storage.disks[0] });
  await storage.call("pool.scrub", { pool: "default" });
  await storage.end("SIGKILL");
  for (const disk of (await readdir(storage.dir)).filter((name) => /^d\d$/.test(name)))
    await runOk("cp", ["-a", "--sparse=always", disk, `old-${disk}`], { cwd: storage.dir });
  await storage.start();
  await work("volume.prove", { name: "twice" });
  await waitFor(async () => (await pool()).scrub.runs.length === 1, "the scrub to go on to its end", 60_000);
  expect((await pool()).scrub.runs[0]).toMatchObject({ outcome: "done", lostBlocks: 0 });
  expect(await pool()).toMatchObject({ degradedSegments: 0, lostBlocks: 0 });
}, 120_000);

test("a scrub that is due begins by itself, is shown with its outcome, and is kept through a kill", async () => {
  const set = await storage.plinth("pool", "set", "default", "--scrub", "weekly", "--scrub-rate", "1GiB");
  expect(set).toMatch(/scrubbed by schedule "0 1 \* \* 0" \(UTC\), next \S+ 01:00 UTC, at most 1GiB\/s/);
  await storage.end("SIGKILL");
  // As if the last one were longer ago than a week.
  const catalogue = await Catalogue.open(await openLevelStore(join(storage.dir, "s", "catalogue")));
  const entry = catalogue.scrubs.get("default") as ScrubEntry;
  expect(entry.bytesPerSecond).toBe(1024 * MIB);
  const sinceMs = entry.sinceMs - 8 * 86_400_000;
  await catalogue.putScrub({ ...entry, sinceMs, bytesPerSecond: 64 * 1024 });
  await catalogue.close();
  await storage.start();
  await waitFor(async () => (await pool()).scrub.running !== undefined, "the scrub that is due", 60_000);
  await storage.plinth("pool", "scrub", "--cancel");
  const { running, runs } = (await pool()).scrub;
  expect(running).toBeUndefined();
  expect(runs.map(({ outcome }) => outcome)).toEqual(["done", "cancelled"]);
  await storage.plinth("pool", "scrub");
  expect((await pool()).scrub.runs).toHaveLength(3);
  const shown = await storage.plinth("pool", "show", "default");
  expect(shown).toMatch(
    /last scrub \d+ seconds? ago \(.* UTC\): \S+ read, 0 blocks repaired\nscrubbed by schedule/,
  );
  const { text } = (await storage.call("metrics")) as { text: string };
  expect(text).toMatch(/^plinth_pool_scrub_end_timestamp_seconds\{pool="default"\} 1\d{9}/m);
  expect(text).toContain('plinth_pool_scrub_lost_blocks{pool="default"} 0');
}, 120_000);

test("a file that is cut short or overwritten under the daemon is read from the other copy, and made whole", async () => {
  const holder = (await pool()).disks.findIndex(({ segments }) => segments > 0);
  const { size } = statSync(segmentsOf(holder));
  truncateSync(segmentsOf(holder), 2 * MIB);
  // Seen before anybody reads there.
  const disk = async () => (await pool()).disks[holder];
  await waitFor(async () => (await disk())?.state === "damaged", "the cut to be seen", 60_000);
  expect((await disk())?.why).toMatch(
    new RegExp(`^its file was cut short: seen with \\d+ bytes, of ${size}`),
  );
  expect(await storage.plinth("pool", "list")).toMatch(/ \d \(1 damaged\)/);
  expect(await storage.plinth("pool", "show", "default")).toMatch(
    new RegExp(`d${holder} .* damaged\\n[\\s\\S]*d${holder}: its file was cut short`),
  );
  await expectWhole();
  expect((await pool()).lostBlocks).toBe(0);
  expect((await disk())?.why).toMatch(/put right from other copies/);
  truncateSync(segmentsOf(holder), size);
  await work("pool.scrub", { pool: "default" });
  await expectWhole();
  expect(await disk()).toMatchObject({ state: "online" });
  expect(await disk()).not.toHaveProperty("why");
  const file = openSync(segmentsOf(holder), "r+");
  // Everything that it holds, with what says whose disk it is and where its segments are.
  for (let at = 0; at < 24 * MIB; at += MIB) writeSync(file, Buffer.alloc(MIB, 1 + (at >>> 20)), 0, MIB, at);
  closeSync(file);
  await waitFor(async () => /its first 4 KiB were overwritten/.test((await disk())?.why ?? ""), "it", 60_000);
  await expectWhole();
  await work("pool.scrub", { pool: "default" });
  const after = await pool();
  expect(after.repairedBlocks).toBeGreaterThan(0);
  expect(after).toMatchObject({ lostBlocks: 0, degradedSegments: 0 });
  expect(after.disks[holder]).toMatchObject({ state: "online" });
  expect(after.disks[holder]?.badBlocks).toBeGreaterThan(0);
  await work("volume.prove", { name: "twice" });
  // It is known at the next start, with all that it holds.
  await storage.end("SIGKILL");
  await storage.start();
  const back = await disk();
  expect(back).toMatchObject({ state: "online" });
  expect(back?.segments).toBeGreaterThanOrEqual(after.disks[holder]?.segments ?? 0);
  await work("volume.prove", { name: "twice" });
  // One that is cut short while nobody looks, too.
  await storage.end("SIGKILL");
  truncateSync(segmentsOf(holder), slotsAt((back?.sizeBytes ?? 0) / SEGMENT_SIZE));
  await expect(storage.plinth("pool", "check")).rejects.toThrow(/d\d +its file was cut short: seen with \d+/);
  await storage.start();
  expect(await disk()).toMatchObject({
    state: "damaged",
    why: expect.stringContaining("its file was cut short") as string,
  });
  await work("pool.scrub", { pool: "default" });
  expect(await disk()).toMatchObject({ state: "online" });
  await expectWhole();
}, 120_000);

test("a disk that is missing at the start is used again when it is back, without a restart; what it holds is old until looked through", async () => {
  const holder = (await pool()).disks.findIndex(({ segments }) => segments > 0);
  const path = join(storage.dir, `d${holder}`);
  const disk = async () => (await pool()).disks[holder];
  const [once, other] = [join(storage.dir, "once"), join(storage.dir, "other")];
  await storage.call("pool.create", { name: "once", disks: [once, other] });
  await storage.call("volume.create", { name: "alone", pool: "once", sizeBytes: 32 * MIB });
  await storage.call("volume.create", { name: "pair", pool: "once", sizeBytes: 32 * MIB, copies: 2 });
  await io("alone", "write -P 5 0 24M", "flush");
  await storage.end("SIGKILL");
  renameSync(path, `${path}.away`);
  renameSync(once, `${once}.away`);
  await storage.start();
  expect(await disk()).toMatchObject({ state: "missing" });
  await waitFor(async () => (await disk())?.why !== undefined, "the reason", 60_000);
  expect(await storage.plinth("pool", "show", "default")).toContain(`${path}: not there, or the file system`);
  const online = storage.plinth("pool", "online", "default", path);
  await expect(online).rejects.toThrow(/not there|ENOENT|is not disk/);
  // It must not be made in its place.
  expect(existsSync(path)).toBe(false);
  await io("twice", "write -P 171 8M 4M", "write -P 77 24M 4M", "flush");
  // Another disk of the pool in its place is not it.
  cpSync(join(storage.dir, holder === 0 ? "d1" : "d0"), path, { recursive: true });
  await waitFor(async () => /is not disk/.test((await disk())?.why ?? ""), "the refusal", 60_000);
  rmSync(path, { recursive: true });
  // Nor is what was copied from it when it was used before.
  const copy = join(storage.dir, `old-d${holder}`);
  await runOk("cp", ["-a", "--sparse=always", copy, path]);
  await waitFor(
    async () => /is an older copy of the disk/.test((await disk())?.why ?? ""),
    "the copy",
    60_000,
  );
  rmSync(path, { recursive: true });
  renameSync(`${path}.away`, path);
  await waitFor(async () => (await disk())?.state === "online", "the disk to be used", 60_000);
  await waitFor(async () => (await pool()).degradedSegments === 0, "its copies", 60_000);
  await waitFor(async () => (await pool()).jobs.every(({ state }) => state === "done"), "the resync", 60_000);
  const after = await pool();
  expect(after.jobs.map(({ kind }) => kind)).toContain("resync");
  expect(after).toMatchObject({ lostBlocks: 0 });
  expect(after.disks[holder]).not.toHaveProperty("why");
  await expectWhole();
  expect(await io("twice", "read -P 77 24M 4M")).not.toMatch(/Pattern|error|failed/);
  await work("volume.prove", { name: "twice" });

  // A volume that has blocks on no other disk: the pool is opened anew, which clients do not notice.
  const client = spawn("qemu-io", ["-f", "raw", storage.uri("pair")], { stdio: ["pipe", "pipe", "ignore"] });
  let said = "";
  client.stdout.on("data", (bytes: Buffer) => {
    said += bytes.toString();
  });
  const ended = new Promise<void>((resolve) => client.on("close", () => resolve()));
  const view = async (name: string) => (await storage.call("volume.get", { name })) as VolumeView;
  client.stdin.write("write -P 9 0 1M\nflush\nwrite -P 8 1M 64k\n");
  await waitFor(() => said.includes("wrote 1048576/1048576"), "the first write", 60_000);
  const socket = join(storage.dir, "guest");
  await storage.call("volume.create", { name: "guest", pool: "once", sizeBytes: MIB, copies: 2 });
  await storage.call("export.open", { volume: "guest", socket, protocol: "vhost-user-blk" });
  const guest = connect(socket);
  await waitFor(async () => (await view("guest")).connections === 1, "a guest", 60_000);
  renameSync(`${once}.away`, once);
  await waitFor(
    async () => (await view("alone")).damage === undefined,
    "the volume to be served again",
    60_000,
  );
  expect((await view("pair")).connections).toBe(1);
  expect([(await view("guest")).connections, guest.destroyed, guest.readableEnded]).toEqual([
    1,
    false,
    false,
  ]);
  guest.destroy();
  expect(await io("alone", "read -P 5 0 24M")).not.toMatch(/Pattern|error|failed/);
  client.stdin.end("read -P 9 0 1M\nread -P 8 1M 64k\nwrite -P 7 0 4k\nflush\nread -P 7 0 4k\nquit\n");
  await ended;
  expect(said).toMatch(
    /read 1048576\/1048576[\s\S]*read 65536\/65536[\s\S]*wrote 4096\/4096[\s\S]*read 4096\/4096/,
  );
  expect(said).not.toMatch(/Pattern|error|failed/);
  await storage.call("export.close", { socket });
}, 120_000);

test("a disk's directory that is removed under the daemon is missed by name at once, and made up for", async () => {
  const holder = (await pool()).disks.findIndex(({ segments }) => segments > 0);
  const path = join(storage.dir, `d${holder}`);
  rmSync(path, { recursive: true });
  await expectWhole();
  await waitFor(
    async () => (await pool()).disks[holder]?.state === "detached",
    "the loss to be seen",
    60_000,
  );
  expect((await pool()).disks[holder]?.segments).toBeGreaterThanOrEqual(0);
  const why = async () => (await pool()).disks[holder]?.why ?? "";
  renameSync(join(storage.dir, `old-d${holder}`), path);
  await waitFor(async () => /is an older copy of the disk/.test(await why()), "the copy", 60_000);
  for (const name of ["fresh", "idle"])
    await storage.call("volume.create", { name, pool: "once", sizeBytes: 64 * MIB });
  await io("fresh", "write -P 6 0 24M", "flush");
  await storage.end("SIGKILL");
  expect(await storage.plinth("pool", "check")).toContain("is an older copy of the disk");
  const gone = join(storage.dir, "once");
  rmSync(gone, { recursive: true });
  await storage.start();
  expect((await pool()).disks[holder]).toMatchObject({ state: "missing" });
  await waitFor(async () => /is an older copy of the disk/.test(await why()), "the copy", 60_000);
  await expectWhole();
  rmSync(path, { recursive: true });
  await waitFor(async () => (await pool()).degradedSegments === 0, "new copies", 60_000);
  await storage.plinth("pool", "remove", "default", path, "--lost");
  // Volumes of the other pool may have ended on the disk that is lost: none of them is served as if nothing were missing.
  const held = async (name: string) => (await storage.call("volume.get", { name })) as VolumeView;
  expect(await held("idle")).toMatchObject({ damageCode: "DISK_MISSING" });
  await storage.plinth("pool", "remove", "once", gone, "--lost");
  expect(await held("fresh")).toMatchObject({ damageCode: "VOLUME_DAMAGED" });
  const ended = {
    damage: expect.stringMatching(/^its log may have ended on a disk that was given up/) as string,
  };
  expect(await held("idle")).toMatchObject({ damageCode: "VOLUME_DAMAGED", ...ended });
  expect(await io("idle", "read 0 4k")).toMatch(/the export "idle" is not served: its log may/);
  expect(await io("pair", "read -P 8 1M 64k")).not.toMatch(/Pattern|error|failed/);
  expect(await storage.plinth("volume", "accept", "idle")).toContain("idle is served as it was");
  expect(await io("idle", "read -P 0 0 64M")).not.toMatch(/Pattern|error|failed/);
  await expect(storage.plinth("volume", "accept", "idle")).rejects.toThrow(/has not lost the end of its log/);
  await storage.plinth("pool", "delete", "once", "--force");
  expect(readdirSync(storage.dir)).not.toContain(path.slice(storage.dir.length + 1));
  await work("volume.prove", { name: "twice" });
  const view = (await storage.call("volume.get", { name: "twice" })) as VolumeView;
  expect(view).not.toHaveProperty("damage");
}, 120_000);

test("a StoragePool that names another disk gets it, with all that was on the one it names no more", async () => {
  const registry = new ResourceRegistry({ store: openMemoryStore(), clock: systemClock });
  const client = new LocalClient({ component: "host" }, { registry, clock: systemClock });
  const modules = { client, storage: new StorageClient(join(storage.dir, "s", "control.sock")) };
  const name = { name: "default" };
  /** One turn of the host; true when every disk is as the StoragePool says. */
  const turn = async () => {
    await reconcilePool((await client.get("StoragePool", name)) as StoragePool, modules);
    const conditions = (await client.get("StoragePool", name))?.status?.conditions ?? [];
    return conditions.find(({ type }) => type === "DisksAsWanted")?.status === "True";
  };
  const paths = async () => (await pool()).disks.map(({ path }) => path).sort();
  const [old = "", ...others] = await paths();
  await client.create("StoragePool", { metadata: name, spec: { host: "here", disks: [old, ...others] } });
  expect(await turn()).toBe(true);
  const disks = [...others, join(storage.dir, "d9")];
  await client.patch("StoragePool", name, { spec: { disks } });
  await waitFor(turn, "the disk to be replaced", 90_000);
  expect(await paths()).toEqual(disks.sort());
  await expectWhole();
  await work("volume.prove", { name: "twice" });
}, 120_000);
