import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { probeFacility } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import type { SwitchModel } from "../agent/index.js";
import { numberedFrame } from "../testing/frames.js";
import { POISON_HANGS, POISON_KILLS, POISON_MARK, POISON_NUMBER, poisonedFrame } from "../testing/poison.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { StreamPeer } from "../testing/stream-peer.js";
import { DatapathHandle, type WorkerLoss } from "./index.js";
import { WORKER_DEATHS_MAX } from "./limits.js";

const DEADLINE_MS = 60_000;
const TRUNK = { mode: "trunk", tag: 0, trunks: [] } as const;
const about = { manufacturer: "Plinth", hardware: "", software: "", serialNumber: "", datapath: "br0" };
const SHARE = 512;
/** Of the worker that forwards, and of two that serve ports. */
const CORES = [0, 1, 2];

let dir: string;
let handle: DatapathHandle;
let model: SwitchModel;
let peers: StreamPeer[];
const losses: WorkerLoss[] = [];
const deaths: string[] = [];

const TAP = `plwl${process.pid % 100_000}`;
/** 1 and 3 are served by the worker on the second processor, which will die; 2 and 4 by the other. */
const PORTS = [
  ["p1", 1],
  ["p2", 2],
  ["p3", 1],
  ["p4", 2],
] as const;
const struck = ["p1", "p3", ...(probeFacility("tap").available ? [TAP] : [])];

beforeAll(async () => {
  dir = mkdtempSync("/tmp/pl-wl-");
  peers = PORTS.map(([name]) => new StreamPeer(join(dir, name)));
  handle = new DatapathHandle({
    ...{ slots: SHARE, connectionsMax: 1024, cores: CORES },
    portWorkerEntry: new URL("../testing/poisoned-port-worker.js", import.meta.url),
    portWorkerLookMs: 300,
    onLost: (loss) => losses.push(loss),
    onDied: (error) => deaths.push(error.message),
  });
  await handle.addBridge({ name: "br0", macTableEntries: 64, macAgeingMs: 300_000 });
  model = handle.model("br0", 1n, about);
  for (const [i, [name, core]] of PORTS.entries()) {
    const mac = Uint8Array.of(2, 0, 0, 0, 0, i);
    const spec = { name, type: "stream", options: { path: join(dir, name) }, mac, mtu: 1500 };
    await handle.addPort({ bridge: "br0", spec, ofport: i + 1, vlan: TRUNK }, { 0: core });
  }
  // The kernel gives such a device to one process at a time, and only once.
  if (probeFacility("tap").available) {
    const spec = { name: TAP, type: "tap", options: {}, mac: Uint8Array.of(2, 0, 0, 0, 0, 9), mtu: 1500 };
    await handle.addPort({ bridge: "br0", spec, ofport: 9, vlan: TRUNK }, { 0: 1 });
  }
  await linksUp();
  // There and back between the ports of either worker, and never from one to the other.
  for (const [from, to] of [
    [1, 3],
    [3, 1],
    [2, 4],
    [4, 2],
  ] as const)
    await model.change([flowMod({ match: [field("in_port", from)], instructions: [apply(output(to))] })]);
  await model.barrier();
});

afterAll(async () => {
  await handle.close();
  await Promise.all(peers.map((peer) => peer.close()));
  rmSync(dir, { recursive: true, force: true });
  rmSync(POISON_MARK, { force: true });
});

async function linksUp(): Promise<void> {
  await waitFor(
    async () => (await handle.call("portStates", { bridge: "br0" })).every((port) => port.linkUp),
    "links up",
    DEADLINE_MS,
  );
}

function numberOf({ buffer, byteOffset }: Uint8Array): number {
  return new DataView(buffer, byteOffset).getUint32(60);
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** Every packet is with the worker that forwards, or with a port worker that may have half as much again as its share. */
async function packetsAreBack(): Promise<void> {
  await waitFor(
    async () => {
      const free = (await handle.call("counters", {}))["packets_free"] as number;
      return free >= SHARE * CORES.length - 2 * (SHARE + SHARE / 2);
    },
    "the packets of the worker that died",
    DEADLINE_MS,
  );
}

async function rxOf(n: number): Promise<number> {
  const states = await handle.call("portStates", { bridge: "br0" });
  return states[n - 1]!.statistics["rx_packets"]!;
}

describe.each([
  ["dies", POISON_KILLS, "poisoned"],
  ["hangs", POISON_HANGS, "it hung"],
] as const)("a port worker that %s under traffic", (_, how, why) => {
  it("is told of and started again; the ports of others go on, its own come back", async () => {
    await linksUp();
    losses.length = 0;
    const dialled = peers.map((peer) => peer.dialled);
    const before = openDescriptors();
    const counted = await rxOf(1);
    // Both workers have work while one of them is struck.
    const sent = Array.from({ length: 400 }, (__, n) => numberedFrame(n));
    for (const [n, frame] of sent.entries()) {
      if (n === 200) peers[0]!.send(poisonedFrame(how));
      peers[0]!.send(frame);
      peers[1]!.send(frame);
    }
    expect(await peers[3]!.take(400)).toEqual(sent);
    await waitFor(() => losses.length === 1, "somebody to notice", DEADLINE_MS);
    expect(losses[0]).toMatchObject({ core: 1, ports: struck });
    expect(losses[0]!.reason).toContain(why);
    // What was not lost with it came in order.
    const came = peers[2]!.frames.splice(0).map((frame) => new DataView(frame.buffer).getUint32(60));
    expect(came).toEqual([...came].sort((a, b) => a - b));

    await waitFor(
      () => peers[0]!.dialled > dialled[0]! && peers[2]!.dialled > dialled[2]!,
      "dials",
      DEADLINE_MS,
    );
    await linksUp();
    const again = Array.from({ length: 300 }, (__, n) => numberedFrame(1000 + n));
    for (const frame of again) peers[0]!.send(frame);
    expect((await peers[2]!.take(300)).slice(-300)).toEqual(again);
    for (const frame of again) peers[2]!.send(frame);
    expect(await peers[0]!.take(300)).toEqual(again);
    // The others have not noticed.
    expect([peers[1]!.dialled, peers[3]!.dialled]).toEqual([dialled[1], dialled[3]]);
    expect(await rxOf(1)).toBeGreaterThanOrEqual(counted + 300);
    await packetsAreBack();
    // What the thread had open is closed: the new one has opened as much.
    await waitFor(
      () => openDescriptors() <= before + 1,
      () => `${openDescriptors()} of ${before}`,
      DEADLINE_MS,
    );
    expect(deaths).toEqual([]);
  }, 120_000);
});

describe("a port worker that dies while it and another one send to each other's ports", () => {
  it("leaves the other one with all that it had, and they send to each other again", async () => {
    await linksUp();
    losses.length = 0;
    for (const [from, to] of [
      [1, 2],
      [2, 1],
    ] as const)
      await model.change([
        flowMod({ match: [field("in_port", from)], priority: 200, instructions: [apply(output(to))] }),
      ]);
    const finished = async () =>
      (await handle.threads()).slice(1).map(({ status: { maskedHits } }) => maskedHits);
    /** Until both workers finish what comes, and nothing of it is lost. */
    let number = 1000;
    const exchange = async (): Promise<void> => {
      const before = await finished();
      const both = async () => (await finished()).every((hits, i) => hits > (before[i] ?? 0));
      await waitFor(
        async () => {
          const numbers = Array.from({ length: 50 }, () => number++);
          for (const n of numbers) for (const peer of peers.slice(0, 2)) peer.send(numberedFrame(n));
          for (const peer of peers.slice(0, 2)) {
            const came = (): number[] => peer.frames.map(numberOf).filter((n) => n >= numbers[0]!);
            await waitFor(
              () => came().at(-1) === numbers.at(-1),
              () => `${came()}`,
              DEADLINE_MS,
              1,
            );
            expect(came()).toEqual(numbers);
            peer.frames.length = 0;
          }
          return both();
        },
        "the fast path",
        DEADLINE_MS,
        10,
      );
    };
    await exchange();
    for (let n = 0; n < 400; n++) {
      if (n === 200) peers[0]!.send(poisonedFrame(POISON_KILLS));
      for (const peer of peers.slice(0, 2)) peer.send(numberedFrame(n));
    }
    await waitFor(() => losses.length === 1, "somebody to notice", DEADLINE_MS);
    await linksUp();
    await packetsAreBack();
    await waitFor(
      () => {
        for (const peer of peers.slice(0, 2)) peer.send(numberedFrame(999));
        return peers.slice(0, 2).every(({ frames }) => frames.some((frame) => numberOf(frame) === 999));
      },
      "frames of either worker",
      DEADLINE_MS,
      50,
    );
    await exchange();
    await packetsAreBack();
    await model.change([flowMod({ command: "delete_strict", priority: 200, match: [field("in_port", 1)] })]);
    await model.change([flowMod({ command: "delete_strict", priority: 200, match: [field("in_port", 2)] })]);
    expect(deaths).toEqual([]);
  }, 120_000);
});

describe("a port worker that hangs while it finishes frames itself", () => {
  it("holds a change up for a second, and is ended; what it has finished is counted", async () => {
    const count = async (): Promise<bigint> => {
      const flows = await model.flowStats({
        ...{ tableId: 0xff, outPort: 3, outGroup: 0xffffffff, cookie: 0n, cookieMask: 0n, match: [] },
      });
      expect(flows).toHaveLength(1);
      return flows[0]!.packetCount;
    };
    await linksUp();
    losses.length = 0;
    const counted = await count();
    let sent = 0;
    const send = (number: number): void => {
      peers[0]!.send(numberedFrame(number));
      sent++;
    };
    const finished = async () => (await handle.threads())[1]!.status.maskedHits;
    // Until the worker finishes what comes.
    await waitFor(
      async () => {
        for (let n = 0; n < 50; n++) send(n);
        await peers[2]!.take(50);
        return (await finished()) > 0;
      },
      "the fast path",
      DEADLINE_MS,
      10,
    );
    expect(await count()).toBe(counted + BigInt(sent));
    const certain = sent;
    // It hangs of one that it finishes itself; those that went another way have left.
    await waitFor(
      () => {
        if (existsSync(POISON_MARK)) return true;
        for (let n = 0; n < 50; n++) send(n);
        send(POISON_NUMBER);
        return false;
      },
      "the worker to hang",
      DEADLINE_MS,
      10,
    );
    await waitFor(
      async () => {
        const mod = { match: [field("in_port", 1)], instructions: [apply(output(3))] };
        await model.change([flowMod({ ...mod, command: "modify_strict" })]);
        return losses.length === 1;
      },
      "somebody to notice",
      DEADLINE_MS,
      5,
    );
    expect(losses[0]).toMatchObject({ core: 1, ports: struck });
    expect(losses[0]!.reason).toContain("others had to wait");
    const seen = BigInt(peers[2]!.frames.splice(0).length);
    const now = await count();
    expect(now).toBeGreaterThanOrEqual(counted + BigInt(certain) + seen);
    expect(now).toBeLessThanOrEqual(counted + BigInt(sent));
    await linksUp();
    await packetsAreBack();
    expect(deaths).toEqual([]);
  }, 120_000);
});

describe("port workers that die again and again", () => {
  it("end the datapath", async () => {
    await linksUp();
    for (let n = 0; n <= WORKER_DEATHS_MAX && deaths.length === 0; n++) {
      const count = losses.length;
      await waitFor(
        async () => {
          const [p1] = await handle.call("portStates", { bridge: "br0" });
          if (p1!.linkUp) peers[0]!.send(poisonedFrame(POISON_KILLS));
          return losses.length > count || deaths.length > 0;
        },
        "a death",
        DEADLINE_MS,
        20,
      );
    }
    expect(deaths).toHaveLength(1);
    expect(deaths[0]).toContain("poisoned");
  }, 120_000);
});
