// Queues of an AF_XDP port that several threads serve: what comes by them arrives, in the order of each queue.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { arenaSizeOf, Batch, PacketPool } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { DatapathHandle, type WorkerLoss } from "../../vswitch/datapath/index.js";
import { SystemPort } from "../../vswitch/port/index.js";
import { udpFrame } from "../../vswitch/testing/frames.js";
import { POISON_KILLS, poisonedFrame } from "../../vswitch/testing/poison.js";
import { apply, field, flowMod, output } from "../../vswitch/testing/rig.js";
import { StreamPeer } from "../../vswitch/testing/stream-peer.js";
import { needsRoot } from "../support/needs.js";

const DEADLINE_MS = 20_000;
const TRUNK = { mode: "trunk", tag: 0, trunks: [] } as const;
const about = { manufacturer: "Plinth", hardware: "", software: "", serialNumber: "", datapath: "br0" };
const QUEUES = 4;
/** Enough that the kernel has some for every queue. */
const FLOWS = 64;
const PORT_FIRST = 20_000;
const IN_FLIGHT_MAX = 256;
const SLOTS = 256;
const NAME = `xq${process.pid % 100_000}`;
/** The other end of the cable. */
const FAR = `xf${process.pid % 100_000}`;

describe("the queues of an AF_XDP port", needsRoot, () => {
  const window = new GuestWindow(16 << 20);
  const arenaOffset = window.reserveAnonymous(arenaSizeOf(SLOTS, 1));
  const pool = new PacketPool({ slots: SLOTS, largeSlots: 1, arena: window.bytes, arenaOffset });
  const batch = new Batch(FLOWS);
  const losses: WorkerLoss[] = [];
  let dir: string;
  let handle: DatapathHandle;
  let peer: StreamPeer;
  let far: SystemPort;
  /** Rounds that were sent, a frame of each flow. */
  let rounds = 0;

  const ip = (...words: string[]): void => void execFileSync("ip", words);
  const spec = (name: string, type: string, options: Record<string, string>) => ({
    ...{ name, type, options, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500 },
  });

  beforeAll(async () => {
    dir = mkdtempSync("/tmp/pl-xq-");
    const queues = (count: number): string[] => ["numrxqueues", String(count), "numtxqueues", String(count)];
    ip("link", "add", NAME, ...queues(QUEUES), "type", "veth", "peer", "name", FAR, ...queues(QUEUES));
    for (const name of [NAME, FAR]) {
      execFileSync("sysctl", ["-q", `net.ipv6.conf.${name}.disable_ipv6=1`]);
      ip("link", "set", name, "up");
    }
    peer = new StreamPeer(join(dir, "peer"));
    handle = new DatapathHandle({
      ...{ slots: 1024, connectionsMax: 1024, cores: [0, 1, 2], hostDevices: true },
      portWorkerEntry: new URL("../../vswitch/testing/poisoned-port-worker.js", import.meta.url),
      onLost: (loss) => losses.push(loss),
    });
    await handle.addBridge({ name: "br0", macTableEntries: 64, macAgeingMs: 300_000 });
    const model = handle.model("br0", 1n, about);
    const afxdp = spec(NAME, "afxdp", { n_rxq: String(QUEUES) });
    await handle.addPort({ bridge: "br0", spec: afxdp, ofport: 1, vlan: TRUNK });
    const other = spec("peer", "stream", { path: join(dir, "peer") });
    await handle.addPort({ bridge: "br0", spec: other, ofport: 2, vlan: TRUNK });
    await model.change([flowMod({ match: [field("in_port", 1)], instructions: [apply(output(2))] })]);
    await model.change([flowMod({ match: [field("in_port", 2)], instructions: [apply(output(1))] })]);
    await linksUp();
    far = new SystemPort({ name: FAR, pool, window });
  });

  afterAll(async () => {
    far?.close();
    await handle?.close();
    await peer?.close();
    ip("link", "del", FAR);
    rmSync(dir, { recursive: true, force: true });
  });

  const linksUp = (): Promise<void> =>
    waitFor(
      async () => (await handle.call("portStates", { bridge: "br0" })).every((port) => port.linkUp),
      "links up",
      DEADLINE_MS,
    );

  /** By core, the numbers of the queues that its worker serves, and of all those by which something has come lately. */
  async function served(): Promise<{ readonly by: Record<number, number[]>; readonly used: number[] }> {
    const queues = (await handle.threads()).map(
      ({ core, status }) =>
        [core, status.ports.filter(({ name }) => name === NAME).flatMap((port) => port.queues)] as const,
    );
    const by = queues.map(([core, all]) => [
      core,
      all
        .filter((one) => one.isEnabled)
        .map(({ queue }) => queue)
        .sort(),
    ]);
    const used = queues.flatMap(([, all]) => all.filter(({ usage }) => usage > 0).map(({ queue }) => queue));
    return { by: Object.fromEntries(by), used: used.sort() };
  }

  async function servedAs(wanted: Record<number, number[]>): Promise<void> {
    let now = {};
    await waitFor(
      async () => {
        now = (await served()).by;
        return JSON.stringify(now) === JSON.stringify(wanted);
      },
      () => `queues as wanted: ${JSON.stringify(now)}`,
      DEADLINE_MS,
    );
  }

  /** A frame of each flow comes by the cable. */
  function send(): void {
    for (let flow = 0; flow < FLOWS; flow++) {
      const payload = new Uint8Array(8);
      new DataView(payload.buffer).setUint32(4, rounds);
      const ends = { source: "10.9.0.1", destination: "10.9.0.2", sourcePort: PORT_FIRST + flow };
      batch.push(pool.allocateFrom(udpFrame(ends, payload)));
    }
    rounds++;
    far.tx(batch);
  }

  /** What of it has arrived, by flow: numbers of rounds. */
  async function arrived(frames: number): Promise<number[][]> {
    const got = Array.from({ length: FLOWS }, (): number[] => []);
    let count = 0;
    await waitFor(
      () => {
        for (const frame of peer.frames.splice(0)) {
          const view = new DataView(frame.buffer, frame.byteOffset);
          const flow = view.getUint16(34) - PORT_FIRST;
          if (view.getUint16(12) !== 0x0800 || flow < 0 || flow >= FLOWS) continue;
          got[flow]!.push(view.getUint32(46));
          count++;
        }
        return count >= frames;
      },
      () => `${count} of ${frames} frames`,
      DEADLINE_MS,
      2,
    );
    return got;
  }

  /** Every frame that comes meanwhile gets through once, each flow in order. */
  async function exchange(count: number, meanwhile?: (round: number) => Promise<unknown>): Promise<void> {
    const first = rounds;
    for (let n = 0; n < count; n++) {
      send();
      await meanwhile?.(n);
      const areFew = (): boolean => (n + 1) * FLOWS - peer.frames.length < IN_FLIGHT_MAX;
      await waitFor(areFew, "frames to arrive", DEADLINE_MS, 1);
    }
    const wanted = Array.from({ length: count }, (_, n) => first + n);
    expect(await arrived(count * FLOWS)).toEqual(Array.from({ length: FLOWS }, () => wanted));
  }

  it("are shared among the workers, and all frames come through in order", async () => {
    const isShared = async (): Promise<boolean> => {
      const { by } = await served();
      return by[1]!.length + by[2]!.length === QUEUES && by[1]!.includes(0) && by[2]!.length > 0;
    };
    await waitFor(isShared, "queues to be shared", DEADLINE_MS);
    await exchange(50);
    expect((await served()).used.length).toBeGreaterThan(1);
    const [state] = await handle.call("portStates", { bridge: "br0" });
    expect(state!.statistics["rx_packets"]).toBeGreaterThanOrEqual(50 * FLOWS);
  });

  it("change hands under traffic, and no frame is lost or overtaken", async () => {
    const wishes = [
      { 0: 1, 1: 2 },
      { 0: 1, 3: 1 },
      {},
      { 0: 1, 1: 1, 2: 1, 3: 1 },
      { 1: 2, 2: 2, 3: 2 },
      { 2: 2 },
    ];
    await handle.pinPort(NAME, { 0: 1 });
    await exchange(120, async (round) => {
      if (round % 10 === 5) await handle.pinPort(NAME, wishes[Math.floor(round / 10) % wishes.length]!);
    });
    await handle.pinPort(NAME, { 0: 1, 1: 2, 2: 2, 3: 1 });
    await servedAs({ 0: [], 1: [0, 3], 2: [1, 2] });
    await exchange(20);
  });

  it("are served again when a worker that has some dies", async () => {
    await handle.pinPort("peer", { 0: 2 });
    await handle.pinPort(NAME, { 0: 1, 1: 2, 2: 2, 3: 2 });
    await servedAs({ 0: [], 1: [0], 2: [1, 2, 3] });
    const { dialled } = peer;
    peer.send(poisonedFrame(POISON_KILLS));
    await waitFor(() => losses.length === 1, "somebody to notice", DEADLINE_MS);
    await waitFor(() => peer.dialled > dialled, "the other port to be opened", DEADLINE_MS);
    await servedAs({ 0: [], 1: [0], 2: [1, 2, 3] });
    await linksUp();
    await exchange(30);
  });

  it("are refused by number where the device has fewer", async () => {
    const descriptors = readdirSync("/proc/self/fd").length;
    const more = spec(FAR, "afxdp", { n_rxq: String(QUEUES + 1), "xdp-mode": "generic" });
    await expect(handle.addPort({ bridge: "br0", spec: more, ofport: 3, vlan: TRUNK })).rejects.toThrow(
      `${FAR} for AF_XDP: it has no queue ${QUEUES}; ethtool -l ${FAR} shows how many there are`,
    );
    expect(readdirSync("/proc/self/fd").length).toBe(descriptors);
    await exchange(20);
  });

  it("come back when the port goes, and nothing stays open", async () => {
    const descriptors = readdirSync("/proc/self/fd").length;
    await handle.removePort("br0", NAME);
    expect(readdirSync("/proc/self/fd").length).toBeLessThan(descriptors - 3 * QUEUES);
  });
});
