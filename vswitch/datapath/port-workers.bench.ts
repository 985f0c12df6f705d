// What a frame between two guests costs the port workers that serve them, one or one for each, and the worker that judges:
// with published verdicts, and without. All work in this thread, without a second core and its cache lines, and each is
// timed for itself.
// Run: node dist/vswitch/datapath/port-workers.bench.js [seconds]. Prints nanoseconds per frame: the best of many short
// slices, because other work on the machine only adds, and their median beside it.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { arenaSizeOf, PacketPool, sharedPoolSize, TX_PACKETS } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { acceptGuest, type FakeGuest, MERGEABLE } from "../port/fake-guest.js";
import {
  createHomeward,
  createPortLane,
  createWorkerLane,
  RemotePort,
  SlotBank,
  VhostUserPort,
} from "../port/index.js";
import { udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { RingDriver } from "../testing/ring-driver.js";
import { Datapath } from "./index.js";
import { PortHost } from "./port-host.js";

const SECONDS = Number(process.argv[2] ?? 2);
const SLICE_MS = 2;
const ROUNDS = 16;
const SHARE = 2048;

async function measure(
  name: string,
  sizeBytes: number,
  conversations: number,
  workers: number,
  publishes: boolean,
): Promise<void> {
  const dir = mkdtempSync("/tmp/plb-");
  const window = new GuestWindow(256 << 20);
  const slots = (workers + 1) * SHARE;
  const arena = { arena: window.bytes, arenaOffset: window.reserveAnonymous(arenaSizeOf(slots, 0)) };
  const shared = new SharedArrayBuffer(sharedPoolSize(slots, 0));
  const pool = new PacketPool({ slots, shared, isFull: true, ...arena });
  const homeward = createHomeward(workers, 8192);
  const hosts = Array.from({ length: workers }, (_, place) => {
    const own = new PacketPool({ slots, shared, ...arena });
    const lent = { lane: createWorkerLane(8192), place, share: SHARE, largeShare: 0 };
    const bank = new SlotBank({ pool, ...lent });
    const host = new PortHost({ pool: own, homeward, ...lent });
    host.balance();
    return { own, bank, host, workerLane: lent.lane };
  });
  const datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  const guests: FakeGuest[] = [];
  const drivers: RingDriver[] = [];
  const ports: VhostUserPort[] = [];
  for (const ofport of [1, 2]) {
    const path = join(dir, `${ofport}`);
    const at = (ofport - 1) % workers;
    const { own, bank, workerLane, host } = hosts[at]!;
    const port = new VhostUserPort({ name: `p${ofport}`, pool: own, window, path, role: "dial" });
    const lane = createPortLane(workers);
    host.add(port, lane);
    for (const [place, other] of hosts.entries()) if (place !== at) other.host.meet(at, workerLane, lane);
    const remote = new RemotePort({ name: port.name, lane, bank });
    bridge.addPort({ port: remote, ofport, mac: Uint8Array.of(2, 0, 0, 0, 0, ofport), mtu: 1500, nowMs: 0 });
    const tick = (): void => {
      for (const one of hosts) one.host.tick(performance.now());
      datapath.tick(performance.now());
    };
    const guest = await acceptGuest(path, tick, { features: MERGEABLE, pairs: 1 });
    await guest.start();
    while (!bridge.slot(ofport)!.linkUp) tick();
    guests.push(guest);
    drivers.push(new RingDriver(guest, 0));
    ports.push(port);
  }
  bridge.change(flowMod({ match: [field("in_port", 1)], instructions: [apply(output(2))] }), 0);
  const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
  drivers[0]!.fill(
    Array.from({ length: conversations > 0 ? 1 : 64 }, (_, i) =>
      udpFrame({ ...ends, sourcePort: 1000 + i }, new Uint8Array(sizeBytes - 42)),
    ),
  );
  drivers[0]!.conversations = conversations;
  const nowMs = Math.floor(performance.now()) + 1000;
  const turns = [...hosts.map(({ host }) => host), datapath];
  const spentMs = turns.map(() => 0);
  const slice = (): number[] => {
    const before = ports[1]!.stats[TX_PACKETS]!;
    spentMs.fill(0);
    for (const endMs = performance.now() + SLICE_MS; performance.now() < endMs; ) {
      for (let i = 0; i < ROUNDS; i++) {
        if (!publishes) bridge.publishing.withdraw();
        for (const driver of drivers) driver.pump();
        for (const [who, one] of turns.entries()) {
          const beganMs = performance.now();
          one.breathe(nowMs);
          spentMs[who] = spentMs[who]! + performance.now() - beganMs;
        }
      }
    }
    const frames = ports[1]!.stats[TX_PACKETS]! - before;
    return spentMs.map((ms) => (ms * 1e6) / frames);
  };
  for (let n = 0; n < 500; n++) slice();
  const slices = Array.from({ length: (SECONDS * 1000) / SLICE_MS }, slice);
  const text = [...hosts.map((_, place) => `worker ${place + 1}`), "judge"].map((who, i) => {
    const sorted = slices.map((one) => one[i]!).sort((a, b) => a - b);
    return `${who} ${sorted[0]!.toFixed(1)} (median ${sorted[sorted.length >> 1]!.toFixed(1)})`;
  });
  console.log(
    `${name}, ${workers} workers, ${publishes ? "published" : "handed over"}: ${text.join(", ")} ns/frame`,
  );
  datapath.close();
  for (const { host } of hosts) host.close();
  for (const guest of guests) guest.close();
  window.close();
  rmSync(dir, { recursive: true });
}

for (const [name, sizeBytes, conversations] of [
  ["64 bytes, 64 conversations", 64, 0],
  ["64 bytes, 10,000 conversations", 64, 10_000],
  ["1500 bytes, 64 conversations", 1500, 0],
] as const)
  for (const workers of [1, 2])
    for (const publishes of [false, true]) await measure(name, sizeBytes, conversations, workers, publishes);
