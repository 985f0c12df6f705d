// The vhost-user port against DPDK's virtio-user: two cards of one `dpdk-testpmd`, whose frames we carry across, each
// back to the other. Then testpmd is killed while frames fly, and comes back.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  Batch,
  PacketPool,
  RX_ERRORS,
  RX_PACKETS,
  SLOT_SIZE,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "../../base/packet/index.js";
import {
  GuestWindow,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_PACKED,
  VIRTIO_NET_F_MRG_RXBUF,
} from "../../base/virtio/index.js";
import { VhostUserPort } from "../../vswitch/port/index.js";
import { requirePrograms } from "../support/run.js";

const SLOTS = 1024;
/** Many times round every ring. */
const FRAMES = 50_000;
/** Three programs poll without rest here: on busy processors it takes its time. */
const DEADLINE_MS = 100_000;
const TEST_DEADLINE_MS = 4 * DEADLINE_MS;
const atNight = process.env["PLINTH_NIGHTLY"] === "1";
let dir = "";
let window: GuestWindow;
let pool: PacketPool;
let ports: VhostUserPort[] = [];
let testpmd: ChildProcess | undefined;
let said = "";
const batch = new Batch();

beforeEach(() => {
  requirePrograms("dpdk-testpmd");
  dir = mkdtempSync("/tmp/pl-");
  window = new GuestWindow();
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
});
afterEach(async () => {
  for (const port of ports) port.close();
  ports = [];
  await killTestpmd();
  window.close();
  rmSync(dir, { recursive: true });
  rmSync(`/var/run/dpdk/${filePrefix()}`, { recursive: true, force: true });
});

const filePrefix = (): string => dir.slice("/tmp/".length);

function startTestpmd(deviceOptions: string, pairs = 1): void {
  said = "";
  // One that was killed leaves its sockets behind, and will not replace them.
  if (deviceOptions.startsWith("server=1"))
    for (const i of [0, 1]) rmSync(`${dir}/${i}.sock`, { force: true });
  const device = (i: number): string => `--vdev=net_virtio_user${i},path=${dir}/${i}.sock,${deviceOptions}`;
  const lcores = availableParallelism() > 1 ? ["-l", "0,1"] : ["--lcores", "0@0,1@0"];
  testpmd = spawn(
    "dpdk-testpmd",
    [
      ...[...lcores, "--no-pci", "--no-huge", "-m", "256", "--no-telemetry", "--file-prefix", filePrefix()],
      ...[device(0), device(1), "--"],
      ...[`--rxq=${pairs}`, `--txq=${pairs}`],
      ...["--total-num-mbufs=8192", "--forward-mode=io", "--tx-first", "--stats-period=60"],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const keep = (text: Buffer): void => {
    said = (said + text.toString()).slice(-4000);
  };
  testpmd.stdout?.on("data", keep);
  testpmd.stderr?.on("data", keep);
}

async function killTestpmd(): Promise<void> {
  if (testpmd === undefined || testpmd.exitCode !== null || testpmd.signalCode !== null) return;
  const exited = once(testpmd, "exit");
  testpmd.kill("SIGKILL");
  await exited;
}

function openPorts(role: "dial" | "listen"): void {
  // testpmd's memory has no name and no seals; it is ours here, so that is no danger.
  ports = [0, 1].map(
    (i) =>
      new VhostUserPort({
        name: `p${i}`,
        pool,
        window,
        path: `${dir}/${i}.sock`,
        role,
        allowUnsealed: true,
      }),
  );
}

/** Carries frames between the two ports until `done`. */
async function carry(what: string, done: () => boolean): Promise<void> {
  const [a, b] = ports as [VhostUserPort, VhostUserPort];
  const endMs = performance.now() + DEADLINE_MS;
  while (!done()) {
    for (let i = 0; i < 200; i++) {
      if (a.rx(batch) > 0) b.tx(batch);
      if (b.rx(batch) > 0) a.tx(batch);
    }
    const nowMs = performance.now();
    a.tick(nowMs);
    b.tick(nowMs);
    if (nowMs > endMs) {
      const counters = ports.map((port) => `${port.lastError} ${Array.from(port.stats).join(" ")}`);
      throw new Error(`no ${what} in time; ports: ${counters.join("; ")}; testpmd said:\n${said}`);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const received = (): number => ports.reduce((sum, port) => sum + (port.stats[RX_PACKETS] as number), 0);

function expectClean(): void {
  const counters = ports.map((port) => port.stats);
  const sum = (index: number): number =>
    counters.reduce((total, stats) => total + (stats[index] as number), 0);
  expect(sum(RX_ERRORS) + sum(TX_ERRORS)).toBe(0);
  expect(sum(TX_PACKETS) + sum(TX_DROPPED)).toBe(sum(RX_PACKETS));
}

test.each([
  ["plain buffers", "mrg_rxbuf=0", 1],
  ["mergeable buffers", "mrg_rxbuf=1", 1],
  ["two queue pairs", "mrg_rxbuf=1,queues=2", 2],
])(
  "dpdk-testpmd that listens exchanges frames with %s; killed and started again too",
  async (_name, options, pairs) => {
    openPorts("dial");
    for (let life = 1; life <= 2; life++) {
      startTestpmd(`server=1,${options}`, pairs);
      await carry(`${FRAMES} frames`, () => received() >= life * FRAMES);
      await killTestpmd();
      await carry("loss of both links", () => ports.every((port) => !port.linkUp));
      expectClean();
      expect(pool.available).toBe(SLOTS);
    }
  },
  TEST_DEADLINE_MS,
);

/** What DPDK's driver can be made to do with its rings; 'vectorized' takes effect where its conditions hold. */
const RINGS = ["packed_vq=1", "in_order=1", "packed_vq=1,in_order=1"].flatMap((layout) =>
  ["mrg_rxbuf=0", "mrg_rxbuf=1", "mrg_rxbuf=0,vectorized=1"].map((buffers) => `${layout},${buffers}`),
);

test.each(atNight ? RINGS : ["packed_vq=1,in_order=0,mrg_rxbuf=1", "packed_vq=1,in_order=1,mrg_rxbuf=0"])(
  "dpdk-testpmd exchanges frames with %s",
  { timeout: TEST_DEADLINE_MS },
  async (options) => {
    openPorts("dial");
    startTestpmd(`server=1,${options}`);
    await carry(`${FRAMES} frames`, () => received() >= FRAMES);
    expectClean();
    for (const { features } of ports) {
      const chosen = (bit: number): boolean => (((features ?? 0n) >> BigInt(bit)) & 1n) === 1n;
      expect(chosen(VIRTIO_F_RING_PACKED)).toBe(options.includes("packed_vq=1"));
      if (options.includes("in_order"))
        expect(chosen(VIRTIO_F_IN_ORDER)).toBe(options.includes("in_order=1"));
      expect(chosen(VIRTIO_NET_F_MRG_RXBUF)).toBe(options.includes("mrg_rxbuf=1"));
    }
  },
);

test("dpdk-testpmd that dials exchanges frames", { timeout: TEST_DEADLINE_MS }, async () => {
  openPorts("listen");
  for (const port of ports) port.tick(performance.now());
  startTestpmd("server=0");
  await carry(`${FRAMES} frames`, () => received() >= FRAMES);
  expectClean();
});
