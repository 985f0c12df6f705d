// What a frame costs from one guest to another: rings, copies and tables, without a second core and its cache lines.
// Two fake guests in this thread keep their rings full; their own work is a few stores per burst.
// Run: node dist/vswitch/datapath/vhost-user.bench.js [seconds] [part of a name]. Prints nanoseconds of processor time
// per frame: the best of many short slices, because other work on the machine only adds, and their median beside it.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Match, OFPP_NORMAL } from "../../base/openflow/index.js";
import { PacketPool, SLOT_SIZE } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { acceptGuest, type FakeGuest, MERGEABLE, PACKED } from "../port/fake-guest.js";
import { VhostUserPort } from "../port/index.js";
import { udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { RingDriver } from "../testing/ring-driver.js";
import { Datapath } from "./index.js";

const SECONDS = Number(process.argv[2] ?? 1);
const WANTED = process.argv[3] ?? "";
/** Short enough to end, most often, before another process has its turn. */
const SLICE_SECONDS = 0.002;
const SLOTS = 1024;
/** 52:54:00:00:00:0b, to which the frames go. */
const RECEIVER_HIGH = 0x52540000;
const RECEIVER_LOW = 0x000b;

async function measure(
  name: string,
  sizeBytes: number,
  matches: readonly Match[],
  port: number,
  conversations = 0,
  features = MERGEABLE,
  cards = 2,
  burst = Number.POSITIVE_INFINITY,
  pairs = 1,
): Promise<void> {
  if (!name.includes(WANTED)) return;
  const dir = mkdtempSync("/tmp/plb-");
  const window = new GuestWindow(256 << 20);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  const pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
  const datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  const drivers: RingDriver[] = [];
  const ports: VhostUserPort[] = [];
  const guests: FakeGuest[] = [];
  for (let n = 1; n <= cards; n++) {
    const path = join(dir, `${n}`);
    const vhost = new VhostUserPort({ name: `p${n}`, pool, window, path, role: "dial" });
    const mac = Uint8Array.of(2, 0, 0, 0, 0, n);
    bridge.addPort({ port: vhost, ofport: n, mac, mtu: 1500, nowMs: 0 });
    const guest = await acceptGuest(path, () => datapath.tick(performance.now()), { features, pairs });
    await guest.start();
    while (!vhost.linkUp) datapath.tick(performance.now());
    guests.push(guest);
    ports.push(vhost);
    for (let pair = 0; pair < pairs; pair++) {
      const driver = new RingDriver(guest, pair);
      driver.burst = burst;
      drivers.push(driver);
    }
  }
  for (const match of matches)
    bridge.change(flowMod({ match, instructions: [apply(output(port === 0 ? 2 : port))] }), 0);
  const frames = Array.from({ length: conversations > 0 ? 1 : 64 }, (_, i) => {
    const isWide = name.includes("IPv6");
    const ends = isWide
      ? { source: "fd00::1", destination: "fd00::2" }
      : { source: "10.0.0.1", destination: "10.0.0.2" };
    const frame = udpFrame({ ...ends, sourcePort: 1000 + i }, new Uint8Array(sizeBytes - (isWide ? 62 : 42)));
    return frame;
  });
  for (let n = 0; n < cards; n += 2) {
    for (let pair = 0; pair < pairs; pair++) {
      const driver = drivers[n * pairs + pair]!;
      driver.fill(frames);
      driver.conversations = conversations;
    }
    if (n > 0)
      bridge.change(flowMod({ match: [field("in_port", n + 1)], instructions: [apply(output(n + 2))] }), 0);
  }
  // The receiver never speaks: say where it is, or NORMAL floods.
  bridge.forwarding.macs.addStatic(RECEIVER_HIGH, RECEIVER_LOW, 0, 2);
  const received = (): number => ports.reduce((sum, { stats }) => sum + stats[2]!, 0);
  const run = (seconds: number): number => {
    const before = received();
    const cpu = process.cpuUsage();
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      for (let i = 0; i < 32; i++) {
        for (let n = 0; n < drivers.length; n++) drivers[n]!.pump();
        datapath.breathe(1000);
      }
    }
    const { user, system } = process.cpuUsage(cpu);
    return ((user + system) * 1000) / (received() - before);
  };
  run(0.5);
  const slices = Array.from({ length: SECONDS / SLICE_SECONDS }, () => run(SLICE_SECONDS)).sort(
    (a, b) => a - b,
  );
  const [best, median] = [slices[0]!, slices[slices.length >> 1]!];
  console.log(`${name.padEnd(48)} ${best.toFixed(1).padStart(6)} ns/frame, median ${median.toFixed(1)}`);
  datapath.close();
  for (const guest of guests) guest.close();
  window.close();
  rmSync(dir, { recursive: true });
}

await measure("64 bytes, flow by port, 64 conversations", 64, [[field("in_port", 1)]], 2);
await measure("64 bytes, flow by port, 10,000 conversations", 64, [[field("in_port", 1)]], 2, 10_000);
await measure("64 bytes, flow by port, packed rings", 64, [[field("in_port", 1)]], 2, 0, PACKED);
await measure("64 bytes, NORMAL", 64, [[]], OFPP_NORMAL);
await measure("64 bytes, IPv6, flow by port", 64, [[field("in_port", 1)]], 2);
await measure("1500 bytes, IPv6, flow by port", 1500, [[field("in_port", 1)]], 2);
await measure("64 bytes, IPv6, NORMAL", 64, [[]], OFPP_NORMAL);
for (const size of [128, 256, 594, 1500])
  await measure(`${size} bytes, flow by port`, size, [[field("in_port", 1)]], 2);
for (const burst of [32, 8])
  await measure(
    `64 bytes, ten guests, bursts of ${burst}`,
    64,
    [[field("in_port", 1)]],
    2,
    0,
    MERGEABLE,
    10,
    burst,
  );
await measure(
  "64 bytes, ten guests, many conversations each",
  64,
  [[field("in_port", 1)]],
  2,
  10_000,
  MERGEABLE,
  10,
);
await measure(
  "64 bytes, four queue pairs, 10,000 conversations",
  64,
  [[field("in_port", 1)]],
  2,
  10_000,
  MERGEABLE,
  2,
  Number.POSITIVE_INFINITY,
  4,
);
