// A volume that grows under a QEMU that has it open: QEMU takes the new size while requests are under way.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { systemClock, waitFor } from "../../base/time/index.js";
import { diskSize, findQemu, growDisk, QmpClient } from "../../hypervisor-core/index.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 2 ** 20;
let storage: StorageProcess;
let qemu: ChildProcess;
let monitor: QmpClient;

beforeAll(async () => {
  storage = new StorageProcess();
  await storage.start();
  await storage.call("volume.create", { name: "lab/data", pool: "default", sizeBytes: 64 * MIB });
  await storage.call("export.open", { volume: "lab/data", socket: join(storage.dir, "d.sock") });
  const node = {
    driver: "nbd",
    "node-name": "disk0",
    server: { type: "unix", path: join(storage.dir, "d.sock") },
    export: "lab/data",
    "reconnect-delay": 60,
  };
  const qmp = join(storage.dir, "qmp.sock");
  qemu = spawn(
    findQemu(),
    [
      ...["-machine", "none", "-nodefaults", "-display", "none", "-S"],
      ...["-blockdev", JSON.stringify(node), "-qmp", `unix:${qmp},server=on,wait=off`],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  await waitFor(
    async () => {
      const options = {
        path: qmp,
        deadlineMs: 1_000,
        clock: systemClock,
        onEvent: () => {},
        onClose: () => {},
      };
      monitor = await QmpClient.open(options).catch(() => undefined as never);
      return monitor !== undefined;
    },
    "QEMU's monitor",
    60_000,
    100,
  );
}, 120_000);
afterAll(async () => {
  monitor?.close();
  qemu?.kill("SIGKILL");
  await storage?.destroy();
});

it("growDisk() shows QEMU the size of a volume that has grown, more than once", async () => {
  const socket = join(storage.dir, "d.sock");
  expect(await diskSize(monitor, 0)).toBe(64 * MIB);
  expect(await diskSize(monitor, 1)).toBeUndefined();
  for (const sizeBytes of [128 * MIB, 192 * MIB]) {
    await storage.call("volume.grow", { name: "lab/data", sizeBytes });
    await storage.call("export.close", { socket });
    await storage.call("export.open", { volume: "lab/data", socket });
    await growDisk(monitor, 0, sizeBytes);
    expect(await diskSize(monitor, 0)).toBe(sizeBytes);
  }
});
