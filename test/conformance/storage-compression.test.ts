// Compressed volumes with real clients: packed while nobody comes, read as they were, through SIGKILLs; what is refused, and
// what is shown of it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { PoolView, VolumeView } from "../../storage-pool/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;
const SIZE = 24 * MIB;
let storage: StorageProcess;
let image: string;

beforeAll(async () => {
  requirePrograms("qemu-img", "nbdcopy");
  storage = new StorageProcess(["d0"], {}, ["--pack-after", "1s"]);
  image = join(storage.dir, "text");
  const lines = Array.from({ length: 700_000 }, (_, i) => `${i}: the same line, ${i * 7919} times\n`);
  writeFileSync(image, Buffer.from(lines.join("")).subarray(0, SIZE));
  await storage.start();
}, 120_000);
afterAll(() => storage.destroy());

const show = (name: string) => storage.call("volume.get", { name }) as Promise<VolumeView>;
const copy = (...args: string[]) => runOk("nbdcopy", args, { cwd: storage.dir, deadlineMs: 60_000 });

async function expectImage(name: string): Promise<void> {
  const result = await runOk("qemu-img", ["compare", "-f", "raw", "-F", "raw", image, storage.uri(name)], {
    cwd: storage.dir,
    deadlineMs: 60_000,
  });
  expect(result).toContain("Images are identical");
}

test("a volume is packed while nobody comes, and reads as it was, also after SIGKILL", {
  timeout: 180_000,
}, async () => {
  await storage.plinth("volume", "create", "db", "--size", "24MiB", "--compression", "deflate");
  await copy("--flush", image, storage.uri("db"));
  await waitFor(async () => (await show("db")).savedBytes > 8 * MIB, "it is packed", 90_000);
  await expectImage("db");
  expect((await show("db")).allocatedBytes).toBe(SIZE);
  expect(await storage.plinth("volume", "show", "db")).toMatch(
    /compression deflate: .*MiB are packed, which saves .*MiB on the disks/,
  );
  expect(await storage.plinth("volume", "list")).toMatch(/SAVED/);
  await waitFor(
    async () => ((await storage.call("pool.list", {})) as PoolView[])[0]!.allocatedBytes < SIZE,
    "what it was packed from is free",
    60_000,
  );
  expect(await storage.plinth("pool", "show", "default")).toMatch(/are packed, which saves/);
  const { packedBytes, savedBytes } = await show("db");
  expect(packedBytes).toBeGreaterThan(savedBytes);
  const { text } = (await storage.call("metrics", {})) as { text: string };
  const told = /^plinth_volume_packed_bytes\{[^}]*default\/db"\} (\d+)$/m.exec(text)?.[1];
  expect(Number(told)).toBeGreaterThanOrEqual(packedBytes);
  await storage.end("SIGKILL");
  await storage.start();
  expect((await show("db")).compression).toBe("deflate");
  await expectImage("db");
  await storage.plinth("volume", "snapshot", "db", "s");
  await storage.plinth("volume", "clone", "other", "db", "s");
  await expectImage("other");
  expect((await show("other")).compression).toBe("deflate");
  await storage.plinth("volume", "prove", "db");
  await storage.end("SIGTERM");
  expect(await storage.plinth("pool", "check")).not.toMatch(/bad|damaged|wrong/);
  await storage.start();
  await expectImage("db");
});

test("it is changed at any time, and what cannot be is refused by the field", async () => {
  await storage.plinth("volume", "create", "v", "--size", "8MiB");
  expect((await show("v")).compression).toBe("none");
  expect(await storage.plinth("volume", "set", "v", "--compression", "deflate")).toMatch(
    /compression deflate/,
  );
  expect((await show("v")).compression).toBe("deflate");
  await storage.plinth("volume", "set", "v", "--compression", "none");
  expect((await show("v")).compression).toBe("none");
  await expect(storage.plinth("volume", "set", "v", "--compression", "lz4")).rejects.toThrow(
    'compression must be none or deflate, not "lz4"',
  );
  await expect(storage.call("volume.set", { name: "v", compression: 7 })).rejects.toMatchObject({
    code: "PARAMETER_INVALID",
    message: "compression must be none or deflate, not 7",
  });
  const key = join(storage.dir, "key");
  await storage.plinth("pool", "rekey", "default", "--key-file", key);
  const secret = ["volume", "create", "secret", "--size", "8MiB", "--encrypt"] as const;
  await expect(storage.plinth(...secret, "--compression", "deflate")).rejects.toThrow(
    "compression must be none for an encrypted volume",
  );
  await storage.plinth(...secret);
  await expect(storage.plinth("volume", "set", "secret", "--compression", "deflate")).rejects.toThrow(
    "compression must be none for an encrypted volume",
  );
});
