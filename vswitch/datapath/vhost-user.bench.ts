// What a frame costs from one guest to another: rings, copies and tables, without a second core and its cache lines.
// Two fake guests in this thread keep their rings full; their own work is a few stores per burst.
// Run: node dist/vswitch/datapath/vhost-user.bench.js [seconds]. Prints nanoseconds of processor time per frame,
// the best of ten runs: other work on the machine only adds.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Match, OFPP_NORMAL } from "../../base/openflow/index.js";
import { PacketPool, SLOT_SIZE } from "../../base/packet/index.js";
import { FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { acceptGuest, type FakeGuest, HEADER_SIZE, MERGEABLE } from "../port/fake-guest.js";
import { VhostUserPort } from "../port/index.js";
import { udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { Datapath } from "./index.js";

const SECONDS = Number(process.argv[2] ?? 1);
const SLOTS = 1024;
/** 52:54:00:00:00:0b, to which the frames go. */
const RECEIVER_HIGH = 0x52540000;
const RECEIVER_LOW = 0x000b;
const TRANSMIT = 1;
const RECEIVE = 0;

/** Drives one guest's rings: every descriptor has its frame, so only indices move. */
class Driver {
  readonly #guest: FakeGuest;
  readonly #u16: Uint16Array;

  constructor(guest: FakeGuest) {
    this.#guest = guest;
    const { bytes } = guest.frontEnd;
    this.#u16 = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    for (const ring of [RECEIVE, TRANSMIT]) {
      const at = guest.frontEnd.availableAt(ring) / 2;
      this.#u16[at] = 1; // No interrupts.
      for (let i = 0; i < guest.frontEnd.ringSize; i++) this.#u16[at + 2 + i] = i;
    }
  }

  /** Puts one frame into each transmit buffer. */
  fill(frames: readonly Uint8Array[]): void {
    const { frontEnd } = this.#guest;
    for (let i = 0; i < frontEnd.ringSize; i++) {
      const frame = frames[i % frames.length]!;
      const at = frontEnd.bufferAt(TRANSMIT, i);
      frontEnd.bytes.fill(0, at, at + HEADER_SIZE);
      frontEnd.bytes.set(frame, at + HEADER_SIZE);
      frontEnd.setDescriptor(TRANSMIT, i, FRONT_END_GUEST_BASE + at, HEADER_SIZE + frame.byteLength, 0);
    }
  }

  /** Offers every buffer that came back. */
  pump(): void {
    const { frontEnd } = this.#guest;
    const u16 = this.#u16;
    for (let ring = RECEIVE; ring <= TRANSMIT; ring++) {
      const used = u16[frontEnd.usedAt(ring) / 2 + 1]!;
      u16[frontEnd.availableAt(ring) / 2 + 1] = used + frontEnd.ringSize;
    }
  }
}

async function measure(
  name: string,
  sizeBytes: number,
  matches: readonly Match[],
  port: number,
): Promise<void> {
  const dir = mkdtempSync("/tmp/plb-");
  const window = new GuestWindow(256 << 20);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  const pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
  const datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  const drivers: Driver[] = [];
  const ports: VhostUserPort[] = [];
  const guests: FakeGuest[] = [];
  for (let n = 1; n <= 2; n++) {
    const path = join(dir, `${n}`);
    const vhost = new VhostUserPort({ name: `p${n}`, pool, window, path, role: "dial" });
    const mac = Uint8Array.of(2, 0, 0, 0, 0, n);
    bridge.addPort({ port: vhost, ofport: n, mac, mtu: 1500, nowMs: 0 });
    const guest = await acceptGuest(path, () => datapath.tick(performance.now()), { features: MERGEABLE });
    await guest.start();
    while (!vhost.linkUp) datapath.tick(performance.now());
    guests.push(guest);
    ports.push(vhost);
    drivers.push(new Driver(guest));
  }
  for (const match of matches)
    bridge.change(flowMod({ match, instructions: [apply(output(port === 0 ? 2 : port))] }), 0);
  const frames = Array.from({ length: 64 }, (_, i) => {
    const frame = udpFrame(
      { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + i },
      new Uint8Array(sizeBytes - 42),
    );
    return frame;
  });
  drivers[0]!.fill(frames);
  // The receiver never speaks: say where it is, or NORMAL floods.
  bridge.forwarding.macs.addStatic(RECEIVER_HIGH, RECEIVER_LOW, 0, 2);
  const run = (seconds: number): number => {
    const before = ports[1]!.stats[2]!;
    const cpu = process.cpuUsage();
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      for (let i = 0; i < 32; i++) {
        drivers[0]!.pump();
        drivers[1]!.pump();
        datapath.breathe(1000);
      }
    }
    const { user, system } = process.cpuUsage(cpu);
    return ((user + system) * 1000) / (ports[1]!.stats[2]! - before);
  };
  run(0.5);
  const best = Math.min(...Array.from({ length: 10 }, () => run(SECONDS / 10)));
  console.log(`${name.padEnd(36)} ${best.toFixed(0).padStart(5)} ns/frame`);
  datapath.close();
  for (const guest of guests) guest.close();
  window.close();
  rmSync(dir, { recursive: true });
}

await measure("64 bytes, flow by port", 64, [[field("in_port", 1)]], 2);
await measure("64 bytes, NORMAL", 64, [[]], OFPP_NORMAL);
await measure("1500 bytes, flow by port", 1500, [[field("in_port", 1)]], 2);
