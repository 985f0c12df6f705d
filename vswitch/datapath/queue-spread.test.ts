// Queues of a guest that several threads serve: see lent-queues.property.test.ts for what happens in what order.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { SwitchModel } from "../agent/index.js";
import { acceptGuest, type FakeGuest, MERGEABLE } from "../port/fake-guest.js";
import { numberedFrame } from "../testing/frames.js";
import { POISON_HANGS, POISON_KILLS, poisonedFrame } from "../testing/poison.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { StreamPeer } from "../testing/stream-peer.js";
import { DatapathHandle, type WorkerLoss } from "./index.js";

const DEADLINE_MS = 60_000;
const TRUNK = { mode: "trunk", tag: 0, trunks: [] } as const;
const about = { manufacturer: "Plinth", hardware: "", software: "", serialNumber: "", datapath: "br0" };
const PAIRS = 4;
/** Of the number in a frame, the pair that it was sent by. */
const PAIR_SHIFT = 20;

let dir: string;
let handle: DatapathHandle;
let model: SwitchModel;
let peer: StreamPeer;
let guest: FakeGuest;
const losses: WorkerLoss[] = [];
const sent = new Array<number>(PAIRS).fill(0);

const spec = (name: string, type: string, options: Record<string, string>) => ({
  ...{ name, type, options, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500 },
});

beforeAll(async () => {
  dir = mkdtempSync("/tmp/pl-qs-");
  peer = new StreamPeer(join(dir, "peer"));
  handle = new DatapathHandle({
    ...{ slots: 512, connectionsMax: 1024, cores: [0, 1, 2] },
    portWorkerEntry: new URL("../testing/poisoned-port-worker.js", import.meta.url),
    portWorkerLookMs: 300,
    onLost: (loss) => losses.push(loss),
  });
  await handle.addBridge({ name: "br0", macTableEntries: 64, macAgeingMs: 300_000 });
  model = handle.model("br0", 1n, about);
  const vm = spec("vm", "dpdkvhostuserclient", { "vhost-server-path": join(dir, "vm") });
  await handle.addPort({ bridge: "br0", spec: vm, ofport: 1, vlan: TRUNK });
  const other = spec("peer", "stream", { path: join(dir, "peer") });
  await handle.addPort({ bridge: "br0", spec: other, ofport: 2, vlan: TRUNK });
  await model.change([flowMod({ match: [field("in_port", 1)], instructions: [apply(output(2))] })]);
  await model.change([flowMod({ match: [field("in_port", 2)], instructions: [apply(output(1))] })]);
  await connect();
});

afterAll(async () => {
  guest.close();
  await handle.close();
  await peer.close();
  rmSync(dir, { recursive: true, force: true });
});

async function connect(): Promise<void> {
  guest = await acceptGuest(join(dir, "vm"), () => undefined, {
    ...{ pairs: PAIRS, ringSize: 64, features: MERGEABLE },
  });
  await guest.start();
  await waitFor(
    async () => (await handle.call("portStates", { bridge: "br0" })).every((port) => port.linkUp),
    "links up",
    DEADLINE_MS,
  );
}

/** By core, the numbers of the guest's queues that its worker serves. */
async function served(): Promise<Record<number, number[]>> {
  const threads = await handle.threads();
  return Object.fromEntries(
    threads.map(({ core, status }) => [
      core,
      status.ports
        .filter(({ name }) => name === "vm")
        .flatMap(({ queues }) => queues.filter(({ isEnabled }) => isEnabled).map(({ queue }) => queue))
        .sort(),
    ]),
  );
}

/** The same, whoever serves them. */
async function allServed(): Promise<number[]> {
  return Object.values(await served())
    .flat()
    .sort();
}

async function servedByAnyone(wanted: readonly number[]): Promise<void> {
  const isSo = async (): Promise<boolean> => JSON.stringify(await allServed()) === JSON.stringify(wanted);
  await waitFor(isSo, () => `queues ${wanted} to be served`, DEADLINE_MS);
}

/** Has the worker of the other port die or hang, and the guest listen for the switch again. */
async function poison(how: number): Promise<void> {
  losses.length = 0;
  peer.send(poisonedFrame(how));
  await waitFor(() => losses.length === 1, "somebody to notice", DEADLINE_MS);
  await waitFor(() => guest.frontEnd.isClosed(), "the connection to end", DEADLINE_MS);
  guest.close();
  await connect();
}

async function servedAs(wanted: Record<number, number[]>): Promise<void> {
  let now = {};
  await waitFor(
    async () => {
      now = await served();
      return JSON.stringify(now) === JSON.stringify(wanted);
    },
    () => `queues as wanted: ${JSON.stringify(now)}`,
    DEADLINE_MS,
  );
}

/** Sends by all pairs; each one's frames come through, in order. */
async function exchange(frames: number, meanwhile?: (round: number) => Promise<void>): Promise<void> {
  for (let i = 0; i < frames; i++) {
    for (let pair = 0; pair < PAIRS; pair++)
      await guest.send(numberedFrame((pair << PAIR_SHIFT) | sent[pair]!++), () => undefined, pair);
    await meanwhile?.(i);
  }
  const numbers = (await peer.take(frames * PAIRS)).map((frame) =>
    new DataView(frame.buffer, frame.byteOffset).getUint32(60),
  );
  for (let pair = 0; pair < PAIRS; pair++)
    expect(numbers.filter((one) => one >>> PAIR_SHIFT === pair)).toEqual(
      Array.from({ length: frames }, (_, n) => (pair << PAIR_SHIFT) | (sent[pair]! - frames + n)),
    );
}

describe("the queues of a guest", () => {
  it("are shared among the workers, and all frames come through in order", async () => {
    // The first stays with the port's worker; the other worker serves another port already.
    await servedAs({ 0: [], 1: [0, 2], 2: [1, 3] });
    await exchange(200);
    const [state] = await handle.call("portStates", { bridge: "br0" });
    expect(state!.statistics["rx_packets"]).toBe(200 * PAIRS);
    for (let n = 0; n < 20; n++) peer.send(numberedFrame(n));
    const back: number[] = [];
    await waitFor(
      () => {
        for (let pair = 0; pair < PAIRS; pair++)
          back.push(...guest.receive(pair).map((frame) => new DataView(frame.buffer).getUint32(60)));
        return back.length === 20;
      },
      "frames for the guest",
      DEADLINE_MS,
    );
    expect(back).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });

  it("go to the workers that are asked for, under traffic, and back when nobody asks", async () => {
    const wishes = [{ 0: 2, 1: 1 }, { 0: 1, 3: 1 }, {}, { 1: 1, 2: 1, 3: 1 }];
    await exchange(120, async (round) => {
      if (round % 30 === 10) await handle.pinPort("vm", wishes[Math.floor(round / 30)]!);
    });
    // A worker for which somebody asks keeps what is asked for alone.
    await handle.pinPort("vm", { 0: 1, 1: 2, 2: 2 });
    await servedAs({ 0: [], 1: [0, 3], 2: [1, 2] });
    await exchange(20);
    await handle.pinPort("vm", {});
    await handle.rebalancePorts();
    await exchange(20);
    expect(await allServed()).toEqual([0, 1, 2, 3]);
  });

  it("come back while the guest turns some off, and are shared again", async () => {
    for (const ring of [6, 7]) guest.frontEnd.enableRing(ring, false);
    await servedByAnyone([0, 1, 2]);
    for (const ring of [6, 7]) guest.frontEnd.enableRing(ring, true);
    await servedByAnyone([0, 1, 2, 3]);
    await exchange(50);
  });

  it.each([
    ["dies", POISON_KILLS],
    ["hangs", POISON_HANGS],
  ])(
    "are served again when a worker that has some %s: the guest is dialled anew",
    async (_, how) => {
      // The worker of the other port, which has some of the guest's queues.
      await waitFor(async () => (await served())[2]!.length > 0, "queues at the other worker", DEADLINE_MS);
      const { dialled } = peer;
      await poison(how);
      await waitFor(() => peer.dialled > dialled, "the other port to be opened", DEADLINE_MS);
      peer.frames.length = 0;
      await servedByAnyone([0, 1, 2, 3]);
      await exchange(50);
    },
    120_000,
  );

  it("are served again when the worker of the port dies", async () => {
    await handle.pinPort("peer", { 0: 1 });
    await handle.pinPort("vm", { 0: 1, 1: 2, 2: 2, 3: 2 });
    await servedAs({ 0: [], 1: [0], 2: [1, 2, 3] });
    await exchange(10);
    await poison(POISON_KILLS);
    await servedAs({ 0: [], 1: [0], 2: [1, 2, 3] });
    peer.frames.length = 0;
    await exchange(50);
  }, 120_000);

  it("are all with the worker that forwards before it leaves; the guest notices nothing, and nothing stays open", async () => {
    const descriptors = readdirSync("/proc/self/fd").length;
    await expect(handle.leave(join(dir, "nobody"))).rejects.toMatchObject({ code: "ENOENT" });
    await exchange(50);
    expect(guest.frontEnd.isClosed()).toBe(false);
    expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(descriptors + 2);
  });
});
