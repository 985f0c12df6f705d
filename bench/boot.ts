// From `create VirtualMachine` to a guest that answers, against bare QEMU with the same kernel and initramfs; and the
// API's own share: from create to the first reported status, and plain create and get.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock, waitFor } from "../base/time/index.js";
import { ensureGuestImage } from "../hypervisor-core/index.js";
import { connectWithKubeconfig, objectPath } from "../stack/api/index.js";
import { cacheDirectory } from "../stack/daemons/directory.js";
import { kindByName } from "../stack/resources/index.js";
import { endChild, PLINTH, requirePrograms, runOk } from "../test/support/run.js";
import { compare, writeResults } from "./support/compare.js";
import { benchOptions, numberOption } from "./support/options.js";

const values = benchOptions(
  `usage: node dist/bench/boot.js [options]
  --runs N  runs of each, in turn; the median counts (5)`,
  { runs: { type: "string", default: "5" } },
);
const runs = numberOption("--runs", values.runs);
const READY_DEADLINE_MS = 120_000;

requirePrograms("qemu-system-x86_64");
const dir = mkdtempSync("/tmp/plinth-bench-");
const up = spawn(process.execPath, [PLINTH, "up", "--no-example", "--dir", dir, "--port", "0"], {
  stdio: ["ignore", "pipe", "inherit"],
});
let said = "";
up.stdout?.on("data", (chunk: Buffer) => {
  said += chunk.toString();
});
try {
  await waitFor(
    () => said.includes("Look around"),
    () => `plinth up does not come up:\n${said}`,
    READY_DEADLINE_MS,
  );
  const client = await connectWithKubeconfig(join(dir, "kubeconfig"));
  const image = await ensureGuestImage({ cacheDir: join(cacheDirectory(), "images") });
  let turn = 0;

  const create = async () => {
    const name = `bench-${++turn}`;
    const beginMs = systemClock.nowMs();
    await client.create("VirtualMachine", {
      metadata: { name, namespace: "default" },
      spec: { memory: "128Mi" },
    } as Parameters<typeof client.create<"VirtualMachine">>[1]);
    return { name, namespace: "default", beginMs };
  };
  const answered = async () => {
    const { name, namespace, beginMs } = await create();
    const path = objectPath(kindByName("VirtualMachine"), { name, namespace }, "exec");
    await waitFor(
      async () => {
        try {
          await client.transport.json({ method: "POST", path, body: { command: ["true"], timeoutMs: 1000 } });
          return true;
        } catch {
          return false;
        }
      },
      `${name} does not answer`,
      READY_DEADLINE_MS,
      20,
    );
    const tookMs = systemClock.nowMs() - beginMs;
    await client.delete("VirtualMachine", { name, namespace });
    await waitFor(
      async () => (await client.get("VirtualMachine", { name, namespace })) === undefined,
      "not deleted",
      READY_DEADLINE_MS,
    );
    return tookMs / 1000;
  };
  const bare = async () => {
    const beginMs = systemClock.nowMs();
    const qemu = spawn(
      "qemu-system-x86_64",
      ["-M", "q35", "-m", "128", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"].concat([
        "-kernel",
        image.kernel,
        "-initrd",
        image.initramfs,
        "-append",
        "console=ttyS0 panic=-1",
      ]),
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    let output = "";
    qemu.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    try {
      await waitFor(
        () => /Run \/init/.test(output),
        () => `QEMU does not boot:\n${output.slice(-500)}`,
        READY_DEADLINE_MS,
        10,
      );
      return (systemClock.nowMs() - beginMs) / 1000;
    } finally {
      await endChild(qemu);
    }
  };
  const boot = await compare({
    title: "create VirtualMachine until its guest answers a command",
    unit: "s",
    better: "lower",
    ours: { name: "plinth", measure: answered },
    peers: [{ name: "bare QEMU until init runs", measure: bare }],
    runs,
  });

  const timed = async (work: () => Promise<unknown>) => {
    const beginMs = systemClock.nowMs();
    for (let i = 0; i < 50; i++) await work();
    return (systemClock.nowMs() - beginMs) / 50;
  };
  const network = {
    metadata: { name: "bench", namespace: "default" },
    spec: { vlan: 100, subnets: ["10.99.0.0/24"] },
  };
  const alone = (title: string, name: string, measure: () => Promise<number>) =>
    compare({ title, unit: "ms", better: "lower", ours: { name, measure }, peers: [], runs });
  const get = await alone("API: get a Namespace, one after the other", "plinth", () =>
    timed(() => client.get("Namespace", { name: "default" })),
  );
  const write = await alone("API: create and delete a Network, both durable", "plinth", () =>
    timed(async () => {
      await client.create("Network", network as Parameters<typeof client.create<"Network">>[1]);
      await client.delete("Network", network.metadata);
    }),
  );
  client.close();
  writeResults(
    "Boot and API",
    `node dist/bench/boot.js --runs ${runs}`,
    [boot, get, write],
    [
      "Guests run under TCG here; the peer's figure ends when the kernel starts init, ours when a command run over virtio-serial has answered.",
    ],
  );
} finally {
  up.kill("SIGINT");
  await waitFor(
    () => up.exitCode !== null || up.signalCode !== null,
    "plinth up does not stop",
    60_000,
  ).catch(() => endChild(up));
  if (existsSync(join(dir, "format")))
    await runOk(process.execPath, [PLINTH, "down", "--purge", "--dir", dir]);
  rmSync(dir, { recursive: true, force: true });
}
