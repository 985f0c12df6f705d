// The host agent against a real API server and real QEMU: what the API says becomes so, and stays so when the agent,
// QEMU or everything around them dies. The switch's database is our own server; storage and nfd are not there.
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OvsdbClient } from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import { ensureGuestImage, findProcesses, type GuestImage } from "../../hypervisor-core/index.js";
import { type ApiClient, connectWithKubeconfig } from "../../stack/api/index.js";
import { cacheDirectory } from "../../stack/daemons/directory.js";
import type { VirtualMachine } from "../../stack/resources/index.js";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../vswitch/index.js";
import { BOOT_DISK_MARK, makeBootDisk, sha256 } from "../support/boot-disk.js";
import { ControllerProcess } from "../support/controller-process.js";
import { HostProcess } from "../support/host-process.js";

let controller: ControllerProcess;
let host: HostProcess;
let client: ApiClient;
let storage: Storage | undefined;
let database: DatabaseServer | undefined;

beforeAll(async () => {
  controller = await ControllerProcess.create();
  await controller.start();
  client = await connectWithKubeconfig(controller.kubeconfig);
  host = new HostProcess(controller.dir);
  await host.start();
  await client.create("Namespace", { metadata: { name: "lab" } });
}, 120_000);

afterAll(async () => {
  await host?.call("vms.stop", {}).catch(() => {});
  await host?.end("SIGKILL");
  client?.close();
  await controller?.end("SIGTERM");
  await database?.close();
  await storage?.close();
  await controller?.destroy();
}, 120_000);

const machine = (name: string, spec: object = {}) =>
  client.create("VirtualMachine", { metadata: { name, namespace: "lab" }, spec });
const get = (name: string) => client.get("VirtualMachine", { namespace: "lab", name });
const ready = (vm: VirtualMachine | undefined) =>
  vm?.status?.conditions?.find(({ type }) => type === "Ready");

async function untilPhase(name: string, phase: string, deadlineMs = 60_000): Promise<void> {
  let seen: VirtualMachine | undefined;
  await waitFor(
    async () => {
      seen = await get(name);
      return seen?.status?.phase === phase;
    },
    () => `${name} is ${seen?.status?.phase}: ${JSON.stringify(ready(seen))}\n${host.said.slice(-3000)}`,
    deadlineMs,
    100,
  );
}

async function untilGone(name: string): Promise<void> {
  await waitFor(
    async () => (await get(name)) === undefined,
    () => `${name} is still there\n${host.said}`,
    40_000,
    100,
  );
}

async function exec(name: string, script: string): Promise<string> {
  const path = `/apis/plinth.dev/v1alpha1/namespaces/lab/virtualmachines/${name}/exec`;
  const body = { command: ["sh", "-c", script], timeoutMs: 30_000 };
  const answer = (await client.transport.json({ method: "POST", path, body, timeoutMs: 60_000 })) as {
    exitCode: number;
    stdout: string;
  };
  expect(answer.exitCode).toBe(0);
  return answer.stdout.trim();
}

const guestImage = (): Promise<GuestImage> =>
  ensureGuestImage({ cacheDir: join(cacheDirectory(), "images") });
const runDir = (): string => join(controller.dir, "run");
const machineDirs = (): string[] => readdirSync(runDir()).filter((name) => /^[0-9a-f]{8}$/.test(name));
/** Of the only machine that is on. */
function qemu(): number[] {
  return machineDirs().flatMap((id) => findProcesses(join(runDir(), id, "qmp.sock")));
}
async function reasons(name: string): Promise<string[]> {
  const { items } = await client.list("Event", { namespace: "lab" });
  return items.filter((event) => event.involvedObject.name === name).map((event) => event.reason ?? "");
}

describe("plinth host", () => {
  it("registers this machine with what it has", async () => {
    await waitFor(
      async () => {
        const { status } = (await client.get("Host", { name: "test" })) ?? {};
        return status?.conditions?.find(({ type }) => type === "Ready")?.status === "True";
      },
      () => `no host is ready\n${host.said}`,
      30_000,
      100,
    );
    const found = await client.get("Host", { name: "test" });
    expect(found?.status?.capacity?.cpus).toBeGreaterThan(0);
    expect(found?.status?.facilities?.map(({ name }) => name)).toContain("io_uring");
  });

  it("boots a machine, runs commands in it, and follows powerState", async () => {
    await machine("solo", { userData: "echo $((6 * 7)) >/root/answer" });
    await untilPhase("solo", "Running", 90_000);
    expect(await exec("solo", "hostname; until grep . /root/answer 2>/dev/null; do usleep 50000; done")).toBe(
      "solo\n42",
    );
    const power = (powerState: string) =>
      client.patch("VirtualMachine", { namespace: "lab", name: "solo" }, { spec: { powerState } });
    await power("Paused");
    await untilPhase("solo", "Paused");
    await power("Running");
    await untilPhase("solo", "Running");
    expect(await exec("solo", "cat /root/answer")).toBe("42");
    await power("Stopped");
    await untilPhase("solo", "Stopped");
    expect(qemu()).toEqual([]);
    await power("Running");
    await untilPhase("solo", "Running");
    expect(await exec("solo", "hostname")).toBe("solo");
    expect(await reasons("solo")).toEqual(
      expect.arrayContaining(["Scheduled", "Started", "Paused", "Resumed", "Stopped"]),
    );
  });

  it.each(["raw", "qcow2"] as const)(
    "boots a disk image (%s) that only we may read, and keeps nothing of what the machine writes to it",
    async (format) => {
      const path = join(controller.dir, "images", `disk.${format}`);
      const before = makeBootDisk(await guestImage(), path, format);
      await client.create("Image", { metadata: { name: format }, spec: { type: "Disk", path, format } });
      await machine(format, { image: format });
      await untilPhase(format, "Running", 90_000);
      expect(await exec(format, "cat /proc/cmdline")).toContain(BOOT_DISK_MARK);
      await exec(format, "dd if=/dev/urandom of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null");
      expect(sha256(path)).toBe(before);
      await client.delete("VirtualMachine", { namespace: "lab", name: format });
      await untilGone(format);
      await machine(format, { image: format });
      await untilPhase(format, "Running", 90_000);
      expect(await exec(format, "hostname")).not.toBe("");
      await client.delete("VirtualMachine", { namespace: "lab", name: format });
      await untilGone(format);
    },
  );

  it("is killed and comes back without any machine noticing", async () => {
    await exec("solo", "echo kept >/root/memory");
    const [pid] = qemu();
    await host.end("SIGKILL");
    await host.start();
    expect(qemu()).toEqual([pid]);
    expect(await exec("solo", "cat /root/memory")).toBe("kept");
    await untilPhase("solo", "Running");
    const second = new HostProcess(controller.dir);
    await expect(second.start()).rejects.toThrow(/ALREADY_RUNNING/);
    expect(await exec("solo", "cat /root/memory")).toBe("kept");
  });

  it("starts a machine again whose QEMU died, and says so", async () => {
    const [pid] = qemu();
    process.kill(pid as number, "SIGKILL");
    await waitFor(() => qemu().length === 1 && qemu()[0] !== pid, "another QEMU", 30_000, 50);
    // Until it is noticed the status is that of the one that died.
    await waitFor(async () => (await reasons("solo")).includes("Died"), "the event", 30_000, 50);
    await untilPhase("solo", "Running");
    expect(await exec("solo", "ls /root")).not.toContain("memory");
    expect(await reasons("solo")).toContain("Died");
  });

  it("says when only a restart brings a change, and keeps the machine until then", async () => {
    const [pid] = qemu();
    await client.patch("VirtualMachine", { namespace: "lab", name: "solo" }, { spec: { memory: "160Mi" } });
    const required = async () =>
      (await get("solo"))?.status?.conditions?.find(({ type }) => type === "RestartRequired")?.status;
    await waitFor(async () => (await required()) === "True", "the condition", 10_000, 100);
    expect(qemu()).toEqual([pid]);
  });

  it("says what a machine waits for, and lets it go at any point of its start", async () => {
    await client.create("Network", {
      metadata: { name: "front", namespace: "lab" },
      spec: { vlan: 10, subnets: ["10.10.0.0/24"] },
    });
    await client.create("Volume", { metadata: { name: "data", namespace: "lab" }, spec: { size: "16Mi" } });
    await machine("waits", { disks: [{ name: "data", volume: "data" }] });
    await waitFor(
      async () => ready(await get("waits"))?.reason === "WaitingForVolume",
      "the volume",
      20_000,
      100,
    );
    await client.delete("VirtualMachine", { namespace: "lab", name: "waits" });
    await untilGone("waits");

    await machine("net", { interfaces: [{ name: "eth0", network: "front" }] });
    await waitFor(
      async () => ready(await get("net"))?.reason === "SwitchUnavailable",
      "the switch",
      20_000,
      100,
    );
    mkdirSync(join(controller.dir, "switch"), { recursive: true });
    storage = openStorage(join(controller.dir, "switch", "conf.db"), OPEN_VSWITCH_SCHEMA);
    database = new DatabaseServer([storage]);
    await database.listen(`punix:${join(controller.dir, "switch", "db.sock")}`);
    // The row is there before QEMU listens; nobody dials, so the machine stays on its way.
    await untilPhase("net", "Starting");
    const reader = new OvsdbClient({
      endpoint: `unix:${join(controller.dir, "switch", "db.sock")}`,
      monitor: { Interface: { columns: ["name", "type", "external_ids"] } },
    });
    await reader.ready(5_000);
    const nic = () =>
      [...reader.rows("Interface").values()].find((row) => row.string("name").startsWith("vm"));
    expect(nic()?.map("external_ids").get("iface-id")).toBe("lab/net-eth0");
    await client.delete("VirtualMachine", { namespace: "lab", name: "net" });
    await untilGone("net");
    await waitFor(() => nic() === undefined, "the row to go", 10_000);
    reader.close();
  });

  it("leaves nothing of a deleted machine", async () => {
    await client.delete("VirtualMachine", { namespace: "lab", name: "solo" });
    await untilGone("solo");
    expect(qemu()).toEqual([]);
    expect(machineDirs()).toEqual([]);
    expect(readdirSync(join(controller.dir, "host", "machines"))).toEqual([]);
    expect(existsSync(join(runDir(), "host.sock"))).toBe(true);
  });

  it("powers everything off for `plinth down` and keeps what is wanted", async () => {
    await machine("last");
    await untilPhase("last", "Running");
    await host.call("vms.stop", {});
    expect(qemu()).toEqual([]);
    expect((await get("last"))?.spec.powerState).toBe("Running");
    await host.end("SIGTERM");
    expect(existsSync(join(runDir(), "host.sock"))).toBe(false);
    await host.start();
    await untilPhase("last", "Running");
  });
});
