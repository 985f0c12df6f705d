// A virtual machine on a pool that fills up under it: the machine pauses and says why, the guest sees no error, and it
// goes on by itself, with everything written, once there is space again.
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { type ApiClient, connectWithKubeconfig } from "../../stack/api/index.js";
import { ControllerProcess } from "../support/controller-process.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { HostProcess } from "../support/host-process.js";
import { requirePrograms, runOk } from "../support/run.js";

const MIB = 2 ** 20;
const POOL_BYTES = 64 * MIB;
const BALLAST_MIB = 28;
/** Fits into the pool only without the ballast. */
const WRITTEN_MIB = 32;
const VM = { name: "writer", namespace: "lab" };
const DATA = { name: "data", namespace: "lab" };
const BALLAST = { name: "ballast", namespace: "lab" };

let controller: ControllerProcess;
let host: HostProcess;
let client: ApiClient;
let storaged: DaemonProcess;

beforeAll(async () => {
  requirePrograms("qemu-io");
  controller = await ControllerProcess.create();
  await controller.start();
  client = await connectWithKubeconfig(controller.kubeconfig);
  const dir = join(controller.dir, "storage");
  const disk = join(controller.dir, "small-disk");
  writeFileSync(disk, "");
  truncateSync(disk, POOL_BYTES);
  storaged = new DaemonProcess({
    args: ["storaged", "--dir", dir, "--disk", disk],
    controlSocket: join(dir, "control.sock"),
  });
  await storaged.start();
  host = new HostProcess(controller.dir);
  await host.start();
  await client.create("Namespace", { metadata: { name: "lab" } });
  await client.create("Volume", { metadata: DATA, spec: { size: "256Mi" } });
  await client.create("Volume", { metadata: BALLAST, spec: { size: "64Mi" } });
  await client.create("VirtualMachine", {
    metadata: VM,
    spec: { disks: [{ name: "data", volume: "data" }] },
  });
  await untilAvailable();
  const uri = `nbd+unix:///lab/ballast?socket=${join(dir, "nbd.sock")}`;
  await runOk("qemu-io", ["-f", "raw", "-c", `write -P 7 0 ${BALLAST_MIB}M`, "-c", "flush", uri]);
}, 120_000);

afterAll(async () => {
  await host?.call("vms.stop", {}).catch(() => {});
  await host?.end("SIGKILL");
  client?.close();
  await storaged?.end("SIGTERM");
  await controller?.end("SIGTERM");
  await controller?.destroy();
}, 120_000);

const untilAvailable = () =>
  waitFor(
    async () => (await client.get("Volume", BALLAST))?.status?.phase === "Available",
    "the ballast",
    30_000,
    100,
  );
const status = async () => (await client.get("VirtualMachine", VM))?.status;

async function untilStatus(what: string, wanted: (seen: string) => boolean): Promise<void> {
  let seen = "";
  await waitFor(
    async () => {
      seen = JSON.stringify(await status());
      return wanted(seen);
    },
    () => `${what}: ${seen}\n${host.said.slice(-2500)}\n${storaged.said.slice(-1500)}`,
    60_000,
    50,
  );
}

async function exec(script: string): Promise<string> {
  const params = { ...VM, command: ["sh", "-c", script], timeoutMs: 60_000 };
  const answer = (await host.call("vm.exec", params)) as { exitCode: number; stdout: string; stderr: string };
  expect([answer.exitCode, answer.stderr]).toEqual([0, ""]);
  return answer.stdout.trim();
}

describe("a machine whose pool is full", () => {
  it("pauses and says why, and goes on by itself when there is space", async () => {
    await untilStatus("not running", (seen) => seen.includes('"phase":"Running"'));
    const pattern = `i=0; while [ $i -lt ${WRITTEN_MIB} ]; do cat /tmp/mib; i=$((i+1)); done`;
    await exec("head -c 1048576 /dev/urandom >/tmp/mib");
    await exec(
      `((${pattern}) | dd of=/dev/disk/data bs=1M && sync; echo $? >/tmp/ended) </dev/null >/tmp/dd 2>&1 &`,
    );

    await untilStatus("not paused", (seen) => seen.includes("OutOfSpace"));
    expect(await status()).toMatchObject({
      phase: "Paused",
      conditions: expect.arrayContaining([
        expect.objectContaining({
          status: "False",
          reason: "OutOfSpace",
          message: expect.stringContaining("full"),
        }),
      ]),
    });
    // It is tried again and again, and stays paused as long as nothing has changed.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    await untilStatus("not paused again", (seen) => seen.includes("OutOfSpace"));

    await client.delete("Volume", BALLAST);
    await untilStatus("does not go on", (seen) => seen.includes('"phase":"Running"'));
    await waitFor(
      async () => (await exec("cat /tmp/ended 2>/dev/null || true")) !== "",
      "the guest's write to end",
      60_000,
      500,
    );
    expect(await exec("cat /tmp/ended")).toBe("0");
    const written = `head -c ${WRITTEN_MIB * MIB} /dev/disk/data`;
    await exec(`echo 3 >/proc/sys/vm/drop_caches; (${pattern}) >/tmp/all; ${written} | cmp - /tmp/all`);
    expect((await client.get("Volume", DATA))?.status?.phase).toBe("InUse");
  });
});
