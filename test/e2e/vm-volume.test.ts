// A virtual machine on a volume of our own pool: what it wrote is there after the machine was deleted, after storaged
// was killed under it, and is gone again after a revert.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { type ApiClient, connectWithKubeconfig } from "../../stack/api/index.js";
import type { PoolView } from "../../storage-pool/index.js";
import { ensureKubectl } from "../../tools/programs/kubectl.mjs";
import { ControllerProcess } from "../support/controller-process.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { HostProcess } from "../support/host-process.js";
import { PLINTH, runOk } from "../support/run.js";

let controller: ControllerProcess;
let host: HostProcess;
let client: ApiClient;
let storaged: DaemonProcess;

const VM = { name: "db", namespace: "lab" };
const DATA = { name: "data", namespace: "lab" };
const createMachine = () =>
  client.create("VirtualMachine", { metadata: VM, spec: { disks: [{ name: "data", volume: "data" }] } });

beforeAll(async () => {
  controller = await ControllerProcess.create();
  await controller.start();
  client = await connectWithKubeconfig(controller.kubeconfig);
  const dir = join(controller.dir, "storage");
  storaged = new DaemonProcess({
    args: ["storaged", "--dir", dir, "--disk", join(controller.dir, "disk", "0")],
    controlSocket: join(dir, "control.sock"),
  });
  await storaged.start();
  host = new HostProcess(controller.dir);
  await host.start();
  await client.create("Namespace", { metadata: { name: "lab" } });
  await client.create("Volume", { metadata: DATA, spec: { size: "256Mi" } });
  await createMachine();
}, 120_000);

afterAll(async () => {
  await host?.call("vms.stop", {}).catch(() => {});
  await host?.end("SIGKILL");
  client?.close();
  await storaged?.end("SIGTERM");
  await controller?.end("SIGTERM");
  await controller?.destroy();
}, 120_000);

const phase = async () => (await client.get("VirtualMachine", VM))?.status?.phase;
const volume = async () => (await client.get("Volume", DATA))?.status;

async function untilPhase(wanted: string): Promise<void> {
  let seen: unknown;
  await waitFor(
    async () => {
      seen = (await client.get("VirtualMachine", VM))?.status;
      return (await phase()) === wanted;
    },
    () => `${JSON.stringify(seen)}\n${host.said.slice(-2500)}\n${storaged.said.slice(-1500)}`,
    60_000,
    100,
  );
}

async function exec(script: string): Promise<string> {
  const params = { ...VM, command: ["sh", "-c", script], timeoutMs: 40_000 };
  const answer = (await host.call("vm.exec", params)) as { exitCode: number; stdout: string; stderr: string };
  expect([answer.exitCode, answer.stderr]).toEqual([0, ""]);
  return answer.stdout.trim();
}

const kubectl = (...args: readonly string[]): Promise<string> =>
  runOk(ensureKubectl(), args, {
    env: { ...process.env, KUBECONFIG: controller.kubeconfig, HOME: controller.dir },
    deadlineMs: 120_000,
  });

const MOUNT = "mount /dev/disk/data /mnt";

describe("a machine with a volume", () => {
  it("keeps what it wrote over its own deletion", async () => {
    await untilPhase("Running");
    await exec(`mke2fs -q /dev/disk/data && ${MOUNT} && echo precious >/mnt/file && sync`);
    expect(await volume()).toMatchObject({ phase: "InUse", attachedTo: "db", sizeBytes: 256 * 2 ** 20 });
    await client.delete("VirtualMachine", VM);
    await waitFor(async () => (await phase()) === undefined, "the machine to go", 40_000, 100);
    await waitFor(async () => (await volume())?.phase === "Available", "the volume to be free", 10_000, 100);
    await createMachine();
    await untilPhase("Running");
    expect(await exec(`${MOUNT} && cat /mnt/file`)).toBe("precious");
  });

  it("gives space back that it does not need", async () => {
    await exec("head -c 33554432 /dev/urandom >/mnt/big && sync");
    await waitFor(
      async () => ((await volume())?.allocatedBytes ?? 0) > 32 * 2 ** 20,
      "the space",
      20_000,
      100,
    );
    await exec("rm /mnt/big && sync && fstrim /mnt");
    await waitFor(
      async () => ((await volume())?.allocatedBytes ?? 0) < 16 * 2 ** 20,
      "less space",
      20_000,
      100,
    );
  });

  it("sees its volume grow while it runs and writes", async () => {
    const size = (): Promise<string> => exec("cat /sys/block/$(basename $(readlink -f /dev/disk/data))/size");
    expect(Number(await size()) * 512).toBe(256 * 2 ** 20);
    const write = exec(
      "for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/urandom >/mnt/g$i && sync || exit 1; done; cat /mnt/g? | wc -c",
    );
    await client.patch("Volume", DATA, { spec: { size: "512Mi" } });
    let seen = "";
    await waitFor(
      async () => {
        seen = await size();
        return Number(seen) * 512 === 512 * 2 ** 20;
      },
      () => `the guest still sees ${seen} sectors\n${host.said.slice(-3000)}`,
      40_000,
      200,
    );
    expect(await write).toBe("8000000");
    expect(
      await exec("dd if=/dev/urandom of=/dev/disk/data bs=1M seek=500 count=1 2>/dev/null && echo ok"),
    ).toBe("ok");
    const { conditions } = (await client.get("VirtualMachine", VM))?.status ?? {};
    expect(conditions?.find(({ type }) => type === "RestartRequired")?.status).toBe("False");
    await exec("rm /mnt/g? && sync");
  });

  it("rides through the death of storaged", async () => {
    await storaged.end("SIGKILL");
    const write = exec("echo ridden >/mnt/ride && sync && cat /mnt/ride");
    await storaged.start();
    expect(await write).toBe("ridden");
    expect(
      await exec("umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount /dev/disk/data /mnt; cat /mnt/ride"),
    ).toBe("ridden");
  });

  it("goes on writing while kubectl gives the pool another disk and takes the first away", async () => {
    const [old, fresh] = [join(controller.dir, "disk", "0"), join(controller.dir, "disk", "1")];
    const patch = (disks: readonly string[]) =>
      kubectl(
        "patch",
        "storagepool",
        "default",
        "--type",
        "merge",
        "-p",
        JSON.stringify({ spec: { disks } }),
      );
    const wait = () =>
      kubectl("wait", "storagepool", "default", "--for", "condition=DisksAsWanted", "--timeout", "90s");
    expect(await patch([old, fresh])).toContain("storagepool.plinth.dev/default patched");
    expect(await wait()).toContain("condition met");
    const classed = await runOk(process.execPath, [
      ...[PLINTH, "pool", "class", "default", fresh, "ssd", "--dir", controller.dir],
    ]);
    expect(classed).toContain(`${fresh} is of class ssd`);
    const write = exec(
      "for i in 1 2 3 4 5 6; do head -c 2000000 /dev/urandom >/mnt/m$i && sync; done; md5sum /mnt/m?",
    );
    await patch([fresh]);
    expect(await wait()).toContain("condition met");
    const shown = await kubectl(
      "get",
      "storagepool",
      "default",
      "-o",
      "jsonpath={.status.disks[*]['path','class','state']}",
    );
    expect(shown).toBe(`${fresh} ssd Healthy`);
    const events = await kubectl("get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}");
    for (const reason of ["DisksAdded", "DiskDraining", "DiskRemoved"]) expect(events).toContain(reason);
    const sums = await write;
    expect(await exec("echo 3 >/proc/sys/vm/drop_caches; md5sum /mnt/m?")).toBe(sums);
    const pools = (await storaged.call("pool.list", {})) as PoolView[];
    expect(pools[0]?.disks.map(({ path }) => path)).toEqual([fresh]);
    await exec("rm /mnt/m? && sync");
  });

  it("goes back to a snapshot, but only while nobody has the volume", async () => {
    const snapshot = { name: "before", namespace: "lab" };
    await exec("sync");
    await client.create("VolumeSnapshot", { metadata: snapshot, spec: { volume: "data" } });
    const cut = async () => (await client.get("VolumeSnapshot", snapshot))?.status?.readyToUse === true;
    await waitFor(cut, () => `no snapshot\n${host.said.slice(-2000)}`, 20_000, 100);
    await exec("echo ruined >/mnt/file && sync && umount /mnt");
    const revert = () => host.call("volume.revert", { ...DATA, snapshot: "before" });
    await expect(revert()).rejects.toMatchObject({ code: "VOLUME_IN_USE" });
    const power = (powerState: string) => client.patch("VirtualMachine", VM, { spec: { powerState } });
    await power("Stopped");
    await untilPhase("Stopped");
    await waitFor(async () => (await volume())?.phase === "Available", "the volume to be free", 10_000, 100);
    await revert();
    await power("Running");
    await untilPhase("Running");
    expect(await exec(`${MOUNT} && cat /mnt/file`)).toBe("precious");
  });
});
