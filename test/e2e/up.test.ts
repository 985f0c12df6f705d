// The life of one machine's data centre as a whole: started, refused twice, killed, adopted, stopped, started again
// with everything as it was, taken down from elsewhere, removed.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { type ApiClient, connectWithKubeconfig, readKubeconfig } from "../../stack/api/index.js";
import { networkNamespaces, processesMentioning, socketsBelow } from "../support/leftovers.js";
import { PLINTH, run } from "../support/run.js";
import { UpProcess } from "../support/up-process.js";

const dir = mkdtempSync("/tmp/pup-");
const up = new UpProcess(dir);
const namespacesBefore = networkNamespaces();
const VM = { namespace: "lab", name: "keeper" };
const MOUNT = "mkdir -p /data && mount /dev/disk/data /data";

afterAll(async () => {
  await up.kill();
  if (existsSync(join(dir, "format"))) await up.down("--purge");
  rmSync(dir, { recursive: true, force: true });
}, 130_000);

async function withApi<T>(work: (client: ApiClient) => Promise<T>): Promise<T> {
  const client = await connectWithKubeconfig(join(dir, "kubeconfig"));
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

const exec = (script: string) => up.exec(VM.namespace, VM.name, script);
const bootId = () => exec("cat /proc/sys/kernel/random/boot_id");
const addresses = () =>
  withApi(async (client) => (await client.get("VirtualMachine", VM))?.status?.interfaces?.[0]?.addresses);

async function untilRunning(): Promise<void> {
  let seen: unknown;
  await withApi((client) =>
    waitFor(
      async () => {
        const vm = await client.get("VirtualMachine", VM);
        seen = vm?.status?.conditions;
        return vm?.status?.phase === "Running";
      },
      () => `the machine does not run: ${JSON.stringify(seen)}\n${up.said}`,
      60_000,
      100,
    ),
  );
}

function expectNothingRuns(): void {
  expect(processesMentioning(dir)).toEqual([]);
  expect(existsSync(dir) ? socketsBelow(dir) : []).toEqual([]);
  expect(networkNamespaces()).toEqual(namespacesBefore);
}

describe("plinth up", () => {
  let file = "";
  let boot = "";

  it("leaves nothing when Ctrl-C comes while the daemons are being started", async () => {
    const child = up.launch();
    await waitFor(
      () => up.daemon("controller") !== undefined || child.exitCode !== null,
      "a daemon",
      30_000,
      5,
    );
    expect(await up.interrupt(), up.said).toBe(0);
    expectNothingRuns();
  });

  it("starts an empty data centre, says how to look around, and runs what it is told", async () => {
    await up.start();
    expect(up.said).toContain("vswitchd, storaged, controller, nfd, host are ready");
    expect(up.said).toContain(`KUBECONFIG=${dir}/kubeconfig`);
    const { namespace } = VM;
    await withApi(async (client) => {
      await client.create("Namespace", { metadata: { name: namespace } });
      await client.create("Network", {
        metadata: { name: "net", namespace },
        spec: { vlan: 7, subnets: ["10.7.0.0/24"] },
      });
      await client.create("Volume", { metadata: { name: "data", namespace }, spec: { size: "64Mi" } });
      await client.create("VirtualMachine", {
        metadata: VM,
        spec: {
          interfaces: [{ name: "eth0", network: "net" }],
          disks: [{ name: "data", volume: "data" }],
        },
      });
    });
    await untilRunning();
    boot = await bootId();
    file = `written in boot ${boot}`;
    // No sync: an orderly stop must give the guest the time to write it out.
    await exec(`mke2fs -q /dev/disk/data && ${MOUNT} && echo "${file}" >/data/file`);
  });

  it("refuses a second start in the same directory and leaves the first alone", async () => {
    const before = up.daemons();
    const second = await run(process.execPath, [PLINTH, "up", "--no-example", "--dir", dir, "--port", "0"]);
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/^plinth: process \d+ already runs here.*\[ALREADY_RUNNING\]$/m);
    expect(up.daemons()).toEqual(before);
    expect(await bootId()).toBe(boot);
  });

  it("refuses a port in use before it makes anything", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const other = `${dir}-other`;
    try {
      const refused = await run(process.execPath, [PLINTH, "up", "--dir", other, "--port", String(port)]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(
        new RegExp(`^plinth: port ${port} of .* is in use.*\\[PORT_IN_USE\\]$`, "m"),
      );
      expect(existsSync(other)).toBe(false);
      expect(processesMentioning(other)).toEqual([]);
    } finally {
      await new Promise((resolve) => server.close(resolve));
      rmSync(other, { recursive: true, force: true });
    }
  });

  it("starts a daemon again as soon as it dies", async () => {
    const before = up.daemon("nfd") as number;
    process.kill(before, "SIGKILL");
    await up.untilSaid("nfd died and is started again: it was ended by SIGKILL");
    await up.untilBack("nfd", before);
  });

  it("is killed: daemons and machines run on, and the next start adopts them", async () => {
    const before = up.daemons();
    const { server } = await readKubeconfig(join(dir, "kubeconfig"));
    await up.kill();
    expect(await bootId()).toBe(boot);
    await up.start();
    expect(up.daemons()).toEqual(before);
    expect(await bootId()).toBe(boot);
    // An adopted daemon is looked after like any other, and the API stays where its clients know it.
    process.kill(before["controller"] as number, "SIGKILL");
    await up.untilSaid("controller died and is started again");
    await up.untilBack("controller", before["controller"]);
    await untilRunning();
    expect((await readKubeconfig(join(dir, "kubeconfig"))).server).toBe(server);
    expect(await bootId()).toBe(boot);
  });

  it("ends on Ctrl-C and leaves no process, no socket, no namespace", async () => {
    expect(await up.interrupt(), up.said).toBe(0);
    expectNothingRuns();
  });

  it("finds machines, networks and what volumes held when it is started again", async () => {
    await up.start();
    await untilRunning();
    expect(await bootId()).not.toBe(boot);
    expect(await exec(`${MOUNT} && cat /data/file`)).toBe(file);
    const told = await addresses();
    expect(told).toHaveLength(1);
    await waitFor(
      async () => (await exec("ip addr show eth0")).includes(`${told?.[0]}/24`),
      "its address",
      20_000,
    );
    expect(await withApi((client) => client.get("Network", { namespace: "lab", name: "net" }))).toMatchObject(
      {
        spec: { vlan: 7, subnets: ["10.7.0.0/24"] },
      },
    );
  });
});

describe("plinth down", () => {
  it("stops what a killed plinth up left behind, a machine without an agent too", async () => {
    await up.kill();
    process.kill(up.daemon("host") as number, "SIGKILL");
    await waitFor(() => up.daemon("host") === undefined, "the agent to be gone", 5_000, 5);
    const done = await up.down();
    expect(done.code, done.stderr).toBe(0);
    expect(done.stdout).toContain("switching off 1 VM without an agent");
    expect(processesMentioning(dir)).toEqual([]);
    expect((await up.down()).stdout).toBe(`nothing runs in ${dir}\n`);
  });

  it("asks a running plinth up, and removes the directory with --purge", async () => {
    const child = up.launch();
    await up.untilSaid("Ctrl-C stops everything");
    const done = await up.down("--purge");
    expect(done.code, done.stderr).toBe(0);
    await waitFor(() => child.exitCode !== null, "plinth up to end", 5_000);
    expect(child.exitCode).toBe(0);
    expect(existsSync(dir)).toBe(false);
    expectNothingRuns();
    const again = await up.down();
    expect(again.stderr).toContain("[NO_DIRECTORY]");
  });
});
