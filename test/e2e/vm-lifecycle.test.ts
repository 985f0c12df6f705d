// A real QEMU, our guest image, our driver: boot, commands, pause, restart, adoption, power off, sudden death.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { waitFor } from "../../base/time/index.js";
import {
  ControlGroups,
  ensureGuestImage,
  findProcesses,
  findQemu,
  type GuestImage,
  MACHINE_UID_MIN,
  type MachineChange,
  MachineDriver,
  type MachineSpec,
  probeAccelerator,
} from "../../hypervisor-core/index.js";
import { cacheDirectory } from "../../stack/daemons/directory.js";
import { ROOT } from "../support/run.js";

const isRoot = process.getuid?.() === 0;
const uid = isRoot ? MACHINE_UID_MIN + 7 : undefined;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const exec = async (driver: MachineDriver, script: string): Promise<string> => {
  const result = await driver.exec({ command: ["sh", "-c", script], timeoutMs: 30_000 });
  expect(text(result.stderr)).toBe("");
  expect(result.exitCode).toBe(0);
  return text(result.stdout).trim();
};

let image: GuestImage;
let dir: string;
let changes: MachineChange[];
const drivers: MachineDriver[] = [];
const servers: { close(): void }[] = [];

beforeAll(async () => {
  image = await ensureGuestImage({ cacheDir: join(cacheDirectory(), "images") });
  dir = mkdtempSync("/tmp/pvm-");
  execFileSync("chmod", ["711", dir]);
}, 300_000);

afterEach(async () => {
  for (const driver of drivers.splice(0)) {
    await driver.destroy();
    expect(findProcesses(driver.paths.qmp)).toEqual([]);
    expect(existsSync(driver.paths.runDir)).toBe(false);
  }
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function driverFor(id: string): MachineDriver {
  changes = [];
  const driver = new MachineDriver({
    id: `${id}-test`,
    runDir: join(dir, id),
    logFile: join(dir, "log", `${id}.log`),
    qemu: findQemu(),
    uid,
    limits: new ControlGroups(),
    log: silentLog,
    onChange: (change) => changes.push(change),
  });
  drivers.push(driver);
  return driver;
}

function spec(more: Partial<MachineSpec> = {}): MachineSpec {
  return {
    name: "shop.web1",
    cpus: 1,
    memoryBytes: 128 * 1024 * 1024,
    accelerator: "tcg",
    boot: { type: "kernel", kernel: image.kernel, initramfs: image.initramfs, arguments: "" },
    interfaces: [],
    disks: [],
    ...more,
  };
}

const seed = { hostname: "web1", interfaces: [], userData: "echo from user data >/root/made" };

describe("a virtual machine", () => {
  it("boots, answers commands, pauses, reboots, and powers off when asked", async () => {
    const driver = driverFor("a");
    const startedMs = performance.now();
    await driver.start(spec(), seed);
    expect(driver.state).toBe("running");
    expect(await exec(driver, "hostname")).toBe("web1");
    console.log(`boot to first command: ${(performance.now() - startedMs).toFixed(0)} ms`);
    await waitFor(
      async () => (await exec(driver, "cat /root/made 2>/dev/null || :")) !== "",
      "user data",
      20_000,
    );
    if (uid !== undefined) {
      expect(statSync(driver.paths.runDir).uid).toBe(uid);
      expect(statSync(`/proc/${findProcesses(driver.paths.qmp)[0]}`).uid).toBe(uid);
    }
    expect(existsSync(driver.paths.initramfs)).toBe(false);

    const uptime = async (): Promise<number> =>
      Number((await exec(driver, "cat /proc/uptime")).split(" ")[0]);
    await driver.pause();
    expect(driver.state).toBe("paused");
    await expect(driver.exec({ command: ["true"], timeoutMs: 100 })).rejects.toMatchObject({
      code: "MACHINE_STATE",
    });
    await driver.resume();
    const before = await uptime();
    expect(before).toBeGreaterThan(0);

    await driver.reboot();
    expect(driver.change).toMatchObject({ reason: "Rebooted", message: "the guest restarted itself" });
    expect(await exec(driver, "hostname")).toBe("web1");

    await driver.stop(20_000);
    expect(driver.state).toBe("stopped");
    expect(findProcesses(driver.paths.qmp)).toEqual([]);
    const states = changes.map((change) => `${change.state}:${change.reason}`);
    expect(states).toEqual([
      "starting:Starting",
      "running:Started",
      "paused:Paused",
      "running:Resumed",
      "running:Rebooted",
      "stopping:Stopping",
      "stopped:Stopped",
    ]);
  });

  it("runs on while its driver is replaced, and is told apart from one that died", async () => {
    const first = driverFor("b");
    await first.start(spec(), seed);
    await exec(first, "echo kept >/root/memory");
    const [pid] = findProcesses(first.paths.qmp);
    // The old caller dies in the middle of a command, and of a message.
    const abandoned = first.exec({ command: ["sleep", "600"], timeoutMs: 600_000 }).catch((error) => error);
    await first.release();
    expect(await abandoned).toMatchObject({ code: "GUEST_AGENT_SILENT" });
    drivers.pop();

    const second = driverFor("b");
    expect(await second.adopt()).toBe(true);
    expect(second.change).toMatchObject({ state: "running", reason: "Adopted" });
    expect(findProcesses(second.paths.qmp)).toEqual([pid]);
    expect(await exec(second, "cat /root/memory")).toBe("kept");

    process.kill(pid as number, "SIGKILL");
    await waitFor(() => second.state === "failed", "the death to be noticed", 10_000);
    expect(second.change.reason).toBe("Died");
    expect(await driverFor("b").adopt()).toBe(false);
    drivers.pop();

    await second.start(spec(), seed);
    await exec(second, "(usleep 300000; poweroff -f) >/dev/null 2>&1 & :");
    await waitFor(() => second.state === "stopped", "the guest's own power off", 20_000);
    expect(second.change.reason).toBe("GuestShutdown");
  });

  it("bounds what a command may take and keeps its outputs apart", async () => {
    const driver = driverFor("c");
    await driver.start(spec(), seed);
    const run = (command: string[], timeoutMs = 20_000, input?: Uint8Array) =>
      driver.exec({ command, timeoutMs, ...(input === undefined ? {} : { input }) });
    const both = await run(["sh", "-c", "cat; echo oops >&2; exit 3"], 20_000, Buffer.from("in\0put"));
    expect([both.exitCode, text(both.stdout), text(both.stderr)]).toEqual([3, "in\0put", "oops\n"]);
    expect(text((await run(["echo", "it's", "$HOME", "a  b"])).stdout)).toBe("it's $HOME a  b\n");
    const late = await run(["sh", "-c", "sleep 600 | cat"], 300);
    expect(late.timedOut).toBe(true);
    const big = await run(["cat", "/bin/busybox"]);
    expect([big.truncated, big.stdout.length]).toEqual([true, 256 * 1024]);
    const parallel = await Promise.all([1, 2, 3].map((n) => run(["sh", "-c", `sleep 0.${n}; echo ${n}`])));
    expect(parallel.map((result) => text(result.stdout))).toEqual(["1\n", "2\n", "3\n"]);
    expect(text((await run(["sh", "-c", "sleep 600 & echo started"])).stdout)).toBe("started\n");
    await expect(run([])).rejects.toMatchObject({ code: "GUEST_COMMAND_INVALID" });
  });

  it("sees its interfaces by name and its disk by serial, and keeps what it wrote on it", async () => {
    const driver = driverFor("d");
    driver.prepare();
    const disk = join(dir, "disk.raw");
    execFileSync("qemu-img", ["create", "-f", "raw", disk, "64M"]);
    const socket = driver.paths.disk(0);
    const server = spawn("qemu-nbd", [
      "-f",
      "raw",
      "-x",
      "data",
      "--persistent",
      "--discard=unmap",
      "-k",
      socket,
      disk,
    ]);
    servers.push({ close: () => void server.kill("SIGKILL") });
    await waitFor(() => existsSync(socket), "qemu-nbd", 10_000);
    if (uid !== undefined) execFileSync("chown", [String(uid), socket]);
    const machine = spec({
      interfaces: [
        { name: "front", macAddress: "52:54:00:00:00:0a", backend: "stream" },
        { name: "eth0", macAddress: "52:54:00:00:00:0b", backend: "stream" },
      ],
      disks: [{ name: "data", socket, exportName: "data", readOnly: false }],
    });
    const names = machine.interfaces.map(({ name, macAddress }) => ({ name, macAddress }));
    await driver.start(machine, { ...seed, interfaces: names });
    expect(await exec(driver, "cat /sys/class/net/front/address /sys/class/net/eth0/address")).toBe(
      "52:54:00:00:00:0a\n52:54:00:00:00:0b",
    );
    expect(existsSync(driver.paths.network(1))).toBe(true);
    await exec(
      driver,
      "mke2fs -q /dev/disk/data && mount /dev/disk/data /mnt && echo precious >/mnt/f && umount /mnt",
    );
    await driver.stop(0);
    await driver.start(machine, { ...seed, interfaces: names });
    expect(await exec(driver, "mount /dev/disk/data /mnt && cat /mnt/f && fstrim /mnt && umount /mnt")).toBe(
      "precious",
    );
  });

  it("rides through the death of a disk's server, and lets go of one that stays dead", async () => {
    const driver = driverFor("h");
    driver.prepare();
    const disk = join(dir, "ride.raw");
    execFileSync("qemu-img", ["create", "-f", "raw", disk, "64M"]);
    const socket = driver.paths.disk(0);
    const serve = async (): Promise<ReturnType<typeof spawn>> => {
      rmSync(socket, { force: true });
      const server = spawn("qemu-nbd", ["-f", "raw", "-x", "data", "--persistent", "-k", socket, disk]);
      servers.push({ close: () => void server.kill("SIGKILL") });
      await waitFor(() => existsSync(socket), "qemu-nbd", 10_000);
      if (uid !== undefined) execFileSync("chown", [String(uid), socket]);
      return server;
    };
    const first = await serve();
    await driver.start(
      spec({ disks: [{ name: "data", socket, exportName: "data", readOnly: false }] }),
      seed,
    );
    const write = (mark: string) =>
      exec(
        driver,
        `echo ${mark} | dd of=/dev/disk/data bs=512 count=1 conv=sync,fsync 2>/dev/null && echo done`,
      );
    expect(await write("one")).toBe("done");
    first.kill("SIGKILL");
    const riding = write("two");
    const second = await serve();
    expect(await riding).toBe("done");
    second.kill("SIGKILL");
    // A write that nobody will ever answer hangs in the guest; ending the machine does not wait for it.
    await exec(
      driver,
      "(echo three | dd of=/dev/disk/data bs=512 count=1 conv=sync,fsync) >/dev/null 2>&1 </dev/null & :",
    );
    await driver.stop(1_000);
    expect(findProcesses(driver.paths.qmp)).toEqual([]);
  });

  it("waits for the switch, and says why it did not start", async () => {
    const waiting = driverFor("e");
    const nic = { name: "eth0", macAddress: "52:54:00:00:00:0c", backend: "vhost-user" } as const;
    const start = waiting.start(spec({ interfaces: [nic] }), seed).catch((error) => error);
    await waitFor(() => existsSync(waiting.paths.network(0)), "QEMU to listen for the switch", 10_000);
    expect(waiting.state).toBe("starting");
    await waiting.stop(1000);
    expect(await start).toMatchObject({ code: "MACHINE_START_FAILED" });
    expect(waiting.state).toBe("stopped");

    const broken = driverFor("f");
    const noDisk = { name: "x", socket: join(dir, "none.sock"), exportName: "", readOnly: false };
    const error = await broken.start(spec({ disks: [noDisk] }), seed).catch((thrown) => thrown);
    expect(error).toMatchObject({
      code: "MACHINE_START_FAILED",
      message: expect.stringContaining("none.sock"),
    });
    expect(broken.change).toMatchObject({ state: "failed", reason: "StartFailed" });
  });

  it("is put under limits of its own where control groups can be written", async () => {
    const driver = driverFor("g");
    await driver.start(spec(), seed);
    const groups = new ControlGroups();
    expect(groups.list().includes("g-test")).toBe(driver.limits.enforced);
    await driver.stop(0);
    await waitFor(
      () => {
        groups.release("g-test");
        return !groups.list().includes("g-test");
      },
      "the control group to be removed",
      5_000,
    );
  });
});

describe("probeAccelerator()", () => {
  const stages = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("plinth-probe-"));
  const guests = (stage: string): string[] =>
    readdirSync("/proc").filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(stage);
      } catch {
        return false;
      }
    });

  it("reaches a verdict by booting, and remembers it; killed meanwhile, it leaves no guest", async () => {
    const options = { qemu: findQemu(), image, cacheFile: join(dir, "accelerator.json"), uid };
    const before = stages();
    const mine = (): string | undefined => stages().find((name) => !before.includes(name));
    if (existsSync("/dev/kvm")) {
      const index = join(ROOT, "dist", "hypervisor-core", "index.js");
      const program = `import(${JSON.stringify(index)}).then((m) => m.probeAccelerator(${JSON.stringify(options)}))`;
      const prober = spawn(process.execPath, ["-e", program], { stdio: "ignore" });
      await waitFor(
        () => mine() !== undefined && guests(mine() as string).length > 0,
        "the probe's guest",
        20_000,
      );
      const stage = mine() as string;
      prober.kill("SIGKILL");
      await waitFor(() => guests(stage).length === 0, "the end of the probe's guest", 5_000);
    }
    const verdict = await probeAccelerator(options);
    expect(["kvm", "tcg"]).toContain(verdict.accelerator);
    console.log(`accelerator: ${verdict.accelerator}: ${verdict.reason}`);
    expect(await probeAccelerator(options)).toEqual(verdict);
    expect(mine()).toBeUndefined();
  });
});
