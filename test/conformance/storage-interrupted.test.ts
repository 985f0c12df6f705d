// What is left when storaged or the command line is killed in the middle of an import, an export or a rewind: what is
// not whole has a name that says so, can be begun anew or removed, and is never served or kept under the wanted name.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { processesMentioning } from "../support/leftovers.js";
import { endChild, PLINTH, requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const IMAGE = Buffer.alloc(SIZE, 7);
/** After how many milliseconds of a rewind storaged is killed, besides once in the middle of everything. */
const KILLED_AFTER_MS = process.env["PLINTH_NIGHTLY"] === "1" ? [0, 1, 2, 4, 8, 16, 32, 64] : [];
let storage: StorageProcess;

beforeAll(async () => {
  requirePrograms("qemu-io", "qemu-img", "nbdcopy", "nbdinfo");
  storage = new StorageProcess();
  await storage.start();
}, 120_000);
afterAll(() => storage.destroy());

/** A command that takes as long as the test wants. */
class Command {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  said = "";

  constructor(...args: string[]) {
    const words = [PLINTH, ...args, "--dir", join(storage.dir, "s")];
    this.child = spawn(process.execPath, words, { stdio: ["pipe", "ignore", "pipe"] });
    this.child.stdin?.on("error", () => {}); // It may be killed before it has read everything.
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.said += chunk.toString();
    });
    this.ended = new Promise((resolve) => this.child.once("close", resolve));
  }

  feed(bytes: Uint8Array): void {
    this.child.stdin?.write(bytes);
  }
}

const volumes = () => storage.call("volume.list") as Promise<VolumeView[]>;

async function names(): Promise<string[]> {
  return (await volumes()).map(({ name }) => name);
}

/** Until some of what was given arrived, and while more is expected. */
async function untilHalfImported(name: string): Promise<void> {
  const part = async () => (await volumes()).find((each) => each.name === `default/${name}.importing`);
  await waitFor(async () => ((await part())?.allocatedBytes ?? 0) > 0, `a part of ${name}`, 60_000, 20);
}

/** Nobody has a hand on what an import left. */
async function untilLeft(name: string): Promise<void> {
  await waitFor(
    async () => (await volumes()).every((each) => each.name !== name || each.connections === 0),
    `nobody at ${name}`,
    60_000,
    20,
  );
}

function io(volume: string, ...commands: string[]): Promise<string> {
  const args = ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), storage.uri(volume)];
  return runOk("qemu-io", args).catch((thrown: Error) => thrown.message);
}

const holds = async (volume: string, value: number): Promise<boolean> =>
  !/Pattern|failed|exited/.test(await io(volume, `read -P ${value} 0 16M`));

/** A volume that holds ones at the moment that is returned, and twos now. */
async function withPast(name: string): Promise<string> {
  await storage.call("volume.create", { name, sizeBytes: SIZE, rewindSeconds: 3600 });
  await io(name, "write -P 1 0 16M", "flush");
  // What comes next is in another second, which is how the log tells time.
  const now = Date.now();
  await sleep(1005 - (now % 1000));
  await io(name, "write -P 2 0 16M", "flush");
  return new Date(now).toISOString();
}

/** Begins to export `src` so slowly that it is seen half way. */
async function beginExport(file: string): Promise<Command> {
  await storage.call("volume.set", { name: "src", bytesPerSecond: MIB });
  const command = new Command("volume", "export", "src", file);
  await waitFor(
    () => existsSync(`${file}.exporting`),
    () => `no export: ${command.said}`,
    60_000,
    20,
  );
  return command;
}

async function beginImport(name: string): Promise<Command> {
  const command = new Command("volume", "import", name, "-", "--size", "16MiB");
  command.feed(IMAGE.subarray(0, SIZE / 2));
  await untilHalfImported(name);
  return command;
}

test("storaged is killed in the middle of an import, an export and a rewind: nothing half is taken for whole", async () => {
  await storage.call("volume.create", { name: "src", sizeBytes: SIZE });
  await io("src", "write -P 9 0 16M", "flush");
  const to = await withPast("db");
  const file = join(storage.dir, "src.image");
  const [imports, exports] = [await beginImport("copy"), await beginExport(file)];
  const rewind = storage.call("volume.rewind", { name: "db", to }).catch(() => {});
  await sleep(2);
  await storage.end("SIGKILL");
  await rewind;
  imports.child.stdin?.end(IMAGE.subarray(SIZE / 2));
  expect(await imports.ended).not.toBe(0);
  expect(imports.said).toContain("default/copy.importing holds what came so far");
  expect(await exports.ended).not.toBe(0);
  expect(exports.said).toContain("COPY_FAILED");
  expect([existsSync(file), existsSync(`${file}.exporting`)]).toEqual([false, false]);

  await storage.start();
  expect(await names()).toEqual(["default/copy.importing", "default/db", "default/src"]);
  await expect(runOk("nbdinfo", [storage.uri("copy")])).rejects.toThrow();
  expect((await holds("db", 1)) !== (await holds("db", 2))).toBe(true);

  // All of it can be done again.
  const second = new Command("volume", "import", "copy", "-", "--size", "16MiB");
  second.feed(IMAGE);
  second.child.stdin?.end();
  expect([await second.ended, second.said]).toEqual([0, ""]);
  expect(await names()).toEqual(["default/copy", "default/db", "default/src"]);
  expect(await holds("copy", 7)).toBe(true);
  await storage.call("volume.set", { name: "src", bytesPerSecond: 0 });
  await storage.plinth("volume", "export", "src", file);
  expect(readFileSync(file).equals(Buffer.alloc(SIZE, 9))).toBe(true);
  await storage.call("volume.rewind", { name: "db", to });
  expect(await holds("db", 1)).toBe(true);
}, 240_000);

test("an import and an export that are killed leave no volume and no file of that name", async () => {
  const file = join(storage.dir, "again.image");
  for (const command of [await beginImport("again"), await beginExport(file)])
    await endChild(command.child, "SIGKILL");
  expect([existsSync(file), existsSync(`${file}.exporting`)]).toEqual([false, true]);
  await untilLeft("default/again.importing");
  expect(await names()).not.toContain("default/again");
  await storage.call("volume.delete", { name: "again.importing", undoSeconds: 0 });
  await storage.call("volume.set", { name: "src", bytesPerSecond: 0 });
  // What nobody told that the command is gone ends by itself, and gives its file no name.
  await waitFor(() => processesMentioning(file).length === 0, "qemu-img to end", 60_000, 20);
  expect(existsSync(file)).toBe(false);
}, 240_000);

test("whenever storaged dies of a rewind, it has happened or not, whole", {
  timeout: 600_000,
}, async () => {
  const to = await withPast("past");
  for (const [turn, afterMs] of KILLED_AFTER_MS.entries()) {
    for (const into of [`then${turn}`, "past"]) {
      const params = { name: "past", to, ...(into === "past" ? {} : { into }) };
      const rewind = storage.call("volume.rewind", params).catch(() => {});
      await sleep(afterMs);
      await storage.end("SIGKILL");
      await rewind;
      await storage.start();
      const there = (await names()).includes(`default/${into}`);
      expect([into, there || into !== "past"]).toEqual([into, true]);
      if (!there) continue;
      const [then, latest] = [await holds(into, 1), await holds(into, 2)];
      expect([into, then !== latest, into === "past" || then]).toEqual([into, true, true]);
      if (into === "past") await io("past", "write -P 2 0 16M", "flush");
    }
  }
  await storage.call("volume.rewind", { name: "past", to });
  expect(await holds("past", 1)).toBe(true);
});
