// What a frame costs from one guest to another: rings, copies and tables, without a second core and its cache lines.
// Two fake guests in this thread keep their rings full; their own work is a few stores per burst.
// Run: node dist/vswitch/datapath/vhost-user.bench.js [seconds] [part of a name]. Prints nanoseconds of processor time
// per frame: the best of many short slices, because other work on the machine only adds, and their median beside it.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Match, OFPP_NORMAL } from "../../base/openflow/index.js";
import { PacketPool, SLOT_SIZE } from "../../base/packet/index.js";
import { BUFFER_SIZE, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { acceptGuest, type FakeGuest, HEADER_SIZE, MERGEABLE } from "../port/fake-guest.js";
import { VhostUserPort } from "../port/index.js";
import { udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { Datapath } from "./index.js";

const SECONDS = Number(process.argv[2] ?? 1);
const WANTED = process.argv[3] ?? "";
const SLICE_SECONDS = 0.02;
const SLOTS = 1024;
/** The word of a frame that has the lower half of its source address and the upper half of its destination. */
const ADDRESS_WORD = 7;
/** 52:54:00:00:00:0b, to which the frames go. */
const RECEIVER_HIGH = 0x52540000;
const RECEIVER_LOW = 0x000b;
const TRANSMIT = 1;
const RECEIVE = 0;

/** Drives one guest's rings: every descriptor has its frame, so only indices move. */
class Driver {
  readonly #guest: FakeGuest;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  /** How many conversations its frames are made part of, drawn anew each time; 0: they stay as they were put in. */
  conversations = 0;
  #state = 0x2545f491;

  constructor(guest: FakeGuest) {
    this.#guest = guest;
    const { bytes } = guest.frontEnd;
    this.#u16 = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    this.#u32 = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
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
      const at = frontEnd.availableAt(ring) / 2 + 1;
      if (ring === TRANSMIT && this.conversations > 0)
        this.#converse(u16[at]!, (used + frontEnd.ringSize - u16[at]!) & 0xffff);
      u16[at] = used + frontEnd.ringSize;
    }
  }

  #converse(from: number, count: number): void {
    const { frontEnd } = this.#guest;
    const first = (frontEnd.bufferAt(TRANSMIT, 0) + HEADER_SIZE) / 4 + ADDRESS_WORD;
    const mask = frontEnd.ringSize - 1;
    let state = this.#state;
    for (let i = 0; i < count; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      const conversation = (state >>> 0) % this.conversations;
      // The destination address stays 10.0.….
      this.#u32[first + ((from + i) & mask) * (BUFFER_SIZE / 4)] =
        0x000a0000 | ((conversation & 0xff) << 8) | (conversation >>> 8);
    }
    this.#state = state;
  }
}

async function measure(
  name: string,
  sizeBytes: number,
  matches: readonly Match[],
  port: number,
  conversations = 0,
): Promise<void> {
  if (!name.includes(WANTED)) return;
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
  const frames = Array.from({ length: conversations > 0 ? 1 : 64 }, (_, i) => {
    const frame = udpFrame(
      { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + i },
      new Uint8Array(sizeBytes - 42),
    );
    return frame;
  });
  drivers[0]!.fill(frames);
  drivers[0]!.conversations = conversations;
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
await measure("64 bytes, NORMAL", 64, [[]], OFPP_NORMAL);
await measure("1500 bytes, flow by port", 1500, [[field("in_port", 1)]], 2);
