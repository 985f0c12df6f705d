// What somebody could do who broke out of a QEMU: everything its user can reach is tried, and only its own is there.
// Two tenants' machines with a network and a volume each, all daemons, as root; without root there is one user only and
// the machines' conditions say so.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { findProcesses } from "../../hypervisor-core/index.js";
import { type ApiClient, connectWithKubeconfig } from "../../stack/api/index.js";
import { ControllerProcess } from "../support/controller-process.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { HostProcess } from "../support/host-process.js";
import { needsRoot } from "../support/needs.js";
import { requirePrograms, run, runOk } from "../support/run.js";

const NOBODY = 65_534;

interface Machine {
  readonly runDir: string;
  readonly uid: number;
  readonly pid: number;
}

let controller: ControllerProcess;
let host: HostProcess;
let client: ApiClient;
const daemons: DaemonProcess[] = [];
let dir: string;
let red: Machine;
let blue: Machine;

beforeAll(async () => {
  requirePrograms("setpriv", "nbdinfo");
  controller = await ControllerProcess.create();
  await controller.start();
  dir = controller.dir;
  client = await connectWithKubeconfig(controller.kubeconfig);
  const disk = join(dir, "disk", "0");
  for (const [words, socket] of [
    [["vswitchd", "--dir", join(dir, "switch")], undefined],
    [["storaged", "--dir", join(dir, "storage"), "--disk", disk], "storage/control.sock"],
    [["nfd", "--dir", dir], "run/nfd.sock"],
  ] as const) {
    const controlSocket = join(dir, socket ?? "switch/vswitchd.ctl");
    const daemon = new DaemonProcess({ args: words, controlSocket });
    daemons.push(daemon);
    await daemon.start();
  }
  host = new HostProcess(dir);
  await host.start();
  for (const namespace of ["red", "blue"]) await createTenant(namespace);
  [red, blue] = (await Promise.all(["red", "blue"].map(untilRunning))) as [Machine, Machine];
}, 120_000);

afterAll(async () => {
  await host?.call("vms.stop", {}).catch(() => {});
  await host?.end("SIGKILL");
  client?.close();
  for (const daemon of daemons.reverse()) await daemon.end("SIGTERM");
  await controller?.end("SIGTERM");
  await controller?.destroy();
}, 120_000);

async function createTenant(namespace: string): Promise<void> {
  await client.create("Namespace", { metadata: { name: namespace } });
  const lan = { vlan: 10, subnets: ["10.0.0.0/24"] };
  await client.create("Network", { metadata: { name: "lan", namespace }, spec: lan });
  await client.create("Volume", { metadata: { name: "data", namespace }, spec: { size: "16Mi" } });
  await client.create("VirtualMachine", {
    metadata: { name: "vm", namespace },
    spec: {
      interfaces: [{ name: "eth0", network: "lan" }],
      disks: [{ name: "data", volume: "data" }],
    },
  });
}

async function untilRunning(namespace: string): Promise<Machine> {
  let status: unknown;
  await waitFor(
    async () => {
      const vm = await client.get("VirtualMachine", { namespace, name: "vm" });
      status = vm?.status;
      return vm?.status?.phase === "Running";
    },
    () => `${namespace}: ${JSON.stringify(status)}\n${host.said.slice(-3000)}`,
    60_000,
    100,
  );
  const records = join(dir, "host", "machines");
  for (const file of readdirSync(records)) {
    const record = JSON.parse(readFileSync(join(records, file), "utf8"));
    if (record.namespace !== namespace) continue;
    const runDir = join(dir, "run", record.id);
    const [pid] = findProcesses(join(runDir, "qmp.sock"));
    return { runDir, pid: pid as number, uid: statSync(runDir).uid };
  }
  throw new Error(`no record of a machine in ${namespace}`);
}

/** Every path below the data directory, as root sees them. */
function everything(folder = dir): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? [path, ...everything(path)] : [path];
  });
}

/** Tries each path in each way that fits it, and prints those that worked as JSON. Runs under another user. */
const PROBE = `
const fs = require("node:fs"), net = require("node:net");
const given = JSON.parse(fs.readFileSync(0, "utf8"));
const done = [];
const attempt = (what, act) => { try { act(); done.push(what); } catch {} };
const open = (path, flags) => fs.closeSync(fs.openSync(path, flags | fs.constants.O_NONBLOCK));
const dial = (path) => new Promise((resolve) => {
  const socket = net.connect(path);
  socket.once("connect", () => { done.push("connect " + path); socket.destroy(); resolve(); });
  socket.once("error", resolve);
});
(async () => {
  for (const { path, kind } of given.paths) {
    if (kind === "socket") await dial(path);
    else if (kind === "directory") {
      attempt("list " + path, () => fs.readdirSync(path));
      attempt("make in " + path, () => { fs.writeFileSync(path + "/planted", ""); fs.unlinkSync(path + "/planted"); });
    } else {
      attempt("read " + path, () => open(path, fs.constants.O_RDONLY));
      attempt("write " + path, () => open(path, fs.constants.O_WRONLY));
    }
  }
  for (const pid of given.pids) {
    attempt("signal " + pid, () => process.kill(pid, 0));
    for (const name of ["mem", "environ", "root", "cwd", "fd"]) {
      const at = "/proc/" + pid + "/" + name;
      attempt("look into " + at, () => name === "mem" || name === "environ" ? open(at, fs.constants.O_RDONLY) : fs.readdirSync(at));
    }
  }
  process.stdout.write(JSON.stringify(done));
})();
`;

function asUser(uid: number, words: readonly string[]): readonly string[] {
  return [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--no-new-privs", ...words];
}

/** What `uid` can do below the data directory and to the processes given, with paths relative to the directory. */
async function reachOf(uid: number, pids: readonly number[]): Promise<string[]> {
  const paths = [dir, ...everything()].map((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    const kind = stat?.isSocket() ? "socket" : stat?.isDirectory() ? "directory" : "file";
    return { path, kind };
  });
  const input = JSON.stringify({ paths, pids });
  const output = await runOk("setpriv", asUser(uid, [process.execPath, "-e", PROBE]), { input, cwd: "/" });
  return (JSON.parse(output) as string[]).map((each) => each.replaceAll(`${dir}/`, "")).sort();
}

const daemonPids = (): number[] =>
  [controller.pid, host.pid, ...daemons.map((daemon) => daemon.pid)].filter((pid) => pid !== undefined);

describe("somebody who broke out of a machine", needsRoot, () => {
  it("is a user of its own, without groups, rights or new programs", () => {
    expect(red.uid).not.toBe(blue.uid);
    for (const { pid, uid } of [red, blue]) {
      expect(uid).toBeGreaterThan(0);
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(status)?.[1]?.trim();
      expect(field("Uid")?.split(/\s+/)).toEqual(Array(4).fill(String(uid)));
      expect(field("Gid")?.split(/\s+/)).not.toContain("0");
      expect(field("Groups") ?? "").toBe("");
      expect(field("CapEff")).toMatch(/^0+$/);
      expect([field("Seccomp"), field("NoNewPrivs")]).toEqual(["2", "1"]);
    }
  });

  it("reaches its own directory and nothing else, no process but its own", async () => {
    const own = relative(dir, red.runDir);
    const reach = await reachOf(red.uid, [...daemonPids(), blue.pid, process.pid]);
    const foreign = reach.filter((each) => !each.includes(own));
    expect(foreign).toEqual(["read format"]);
    expect(reach).toEqual(expect.arrayContaining([`connect ${own}/disk0.sock`, `list ${own}`]));
  });

  it("sees only its own volume through its disk's socket", async () => {
    const uri = (name: string): string => `nbd+unix:///${name}?socket=${join(red.runDir, "disk0.sock")}`;
    const info = (...words: string[]) => run("setpriv", asUser(red.uid, ["nbdinfo", ...words]), { cwd: "/" });
    const list = await info("--list", "--json", uri(""));
    const { exports } = JSON.parse(list.stdout) as { exports: { "export-name": string }[] };
    expect(exports.map((each) => each["export-name"])).toEqual(["red/data"]);
    expect((await info("--size", uri("red/data"))).stdout.trim()).toBe(String(16 * 2 ** 20));
    for (const name of ["blue/data", "red/../blue/data", "data", "default/data"]) {
      expect((await info("--size", uri(name))).code, name).not.toBe(0);
    }
  });

  it("cannot have commands meant for its machine run in another's", async () => {
    const exec = (namespace: string, timeoutMs: number) =>
      host.call("vm.exec", {
        namespace,
        name: "vm",
        command: ["cat", "/proc/net/arp", "/root/who"],
        timeoutMs,
      });
    await waitFor(
      async () => ((await exec("blue", 5_000).catch(() => undefined)) as object | undefined) !== undefined,
      "the other guest's agent",
      40_000,
    );
    const links = ["agent.sock", "serial.sock", "qmp.sock"]
      .map(
        (name) =>
          `mv ${red.runDir}/${name} ${red.runDir}/${name}.0; ln -s ${blue.runDir}/${name} ${red.runDir}/${name}`,
      )
      .join("; ");
    await runOk("setpriv", asUser(red.uid, ["sh", "-c", links]), { cwd: "/" });
    await expect(exec("red", 1_000)).rejects.toMatchObject({ message: expect.stringContaining("no socket") });
    await expect(host.call("vm.reboot", { namespace: "red", name: "vm" }, 30_000)).resolves.toBeDefined();
    // Our machine's monitor was connected before; a new agent finds the link and leaves the other machine alone.
    await host.end("SIGKILL");
    await host.start();
    await client.delete("VirtualMachine", { namespace: "red", name: "vm" });
    await waitFor(
      async () => (await client.get("VirtualMachine", { namespace: "red", name: "vm" })) === undefined,
      () => `red is still there\n${host.said.slice(-2000)}`,
      30_000,
      100,
    );
    expect(findProcesses(join(blue.runDir, "qmp.sock"))).toEqual([blue.pid]);
    expect(findProcesses(join(red.runDir, "qmp.sock"))).toEqual([]);
  });
});

describe("any other user of the host", needsRoot, () => {
  it("reads only the format of the data directory", async () => {
    expect(await reachOf(NOBODY, daemonPids())).toEqual(["read format"]);
    for (const name of ["kubeconfig", "token", "tls/key.pem"]) {
      expect(statSync(join(dir, name)).mode & 0o777, name).toBe(0o600);
    }
  });
});
