// What a frame between two guests of one port worker costs that worker, and the one that judges: with published verdicts,
// and without. Both work in this thread, without a second core and its cache lines, and each is timed for itself.
// Run: node dist/vswitch/datapath/port-workers.bench.js [seconds]. Prints nanoseconds per frame: the best of many short
// slices, because other work on the machine only adds, and their median beside it.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { arenaSizeOf, PacketPool, sharedPoolSize, TX_PACKETS } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { acceptGuest, type FakeGuest, MERGEABLE } from "../port/fake-guest.js";
import { createPortLane, createWorkerLane, RemotePort, SlotBank, VhostUserPort } from "../port/index.js";
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
  publishes: boolean,
): Promise<void> {
  const dir = mkdtempSync("/tmp/plb-");
  const window = new GuestWindow(256 << 20);
  const slots = 2 * SHARE;
  const arena = { arena: window.bytes, arenaOffset: window.reserveAnonymous(arenaSizeOf(slots, 0)) };
  const shared = new SharedArrayBuffer(sharedPoolSize(slots, 0));
  const pool = new PacketPool({ slots, shared, isFull: true, ...arena });
  const hostPool = new PacketPool({ slots, shared, ...arena });
  const lent = { lane: createWorkerLane(slots), share: SHARE, largeShare: 0 };
  const bank = new SlotBank({ pool, ...lent });
  const host = new PortHost({ pool: hostPool, ...lent });
  host.balance();
  const datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  const guests: FakeGuest[] = [];
  const drivers: RingDriver[] = [];
  const ports: VhostUserPort[] = [];
  for (const ofport of [1, 2]) {
    const path = join(dir, `${ofport}`);
    const port = new VhostUserPort({ name: `p${ofport}`, pool: hostPool, window, path, role: "dial" });
    const lane = createPortLane();
    host.add(port, lane);
    const remote = new RemotePort({ name: port.name, lane, bank });
    bridge.addPort({ port: remote, ofport, mac: Uint8Array.of(2, 0, 0, 0, 0, ofport), mtu: 1500, nowMs: 0 });
    const tick = (): void => {
      host.tick(performance.now());
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
  const spentMs = [0, 0];
  const slice = (): number[] => {
    const before = ports[1]!.stats[TX_PACKETS]!;
    spentMs.fill(0);
    for (const endMs = performance.now() + SLICE_MS; performance.now() < endMs; ) {
      for (let i = 0; i < ROUNDS; i++) {
        if (!publishes) bridge.publishing.withdraw();
        for (const driver of drivers) driver.pump();
        const beganMs = performance.now();
        host.breathe(nowMs);
        const halfMs = performance.now();
        datapath.breathe(nowMs);
        spentMs[0] = spentMs[0]! + halfMs - beganMs;
        spentMs[1] = spentMs[1]! + performance.now() - halfMs;
      }
    }
    const frames = ports[1]!.stats[TX_PACKETS]! - before;
    return spentMs.map((ms) => (ms * 1e6) / frames);
  };
  for (let n = 0; n < 500; n++) slice();
  const slices = Array.from({ length: (SECONDS * 1000) / SLICE_MS }, slice);
  const text = ["worker", "judge"].map((who, i) => {
    const sorted = slices.map((one) => one[i]!).sort((a, b) => a - b);
    return `${who} ${sorted[0]!.toFixed(1)} (median ${sorted[sorted.length >> 1]!.toFixed(1)})`;
  });
  console.log(`${name}, ${publishes ? "published" : "handed over"}: ${text.join(", ")} ns/frame`);
  datapath.close();
  host.close();
  for (const guest of guests) guest.close();
  window.close();
  rmSync(dir, { recursive: true });
}

for (const [name, sizeBytes, conversations] of [
  ["64 bytes, 64 conversations", 64, 0],
  ["64 bytes, 10,000 conversations", 64, 10_000],
  ["1500 bytes, 64 conversations", 1500, 0],
] as const)
  for (const publishes of [false, true]) await measure(name, sizeBytes, conversations, publishes);
