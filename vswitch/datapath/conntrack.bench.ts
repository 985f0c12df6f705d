// What a packet of an established connection costs in the datapath, without a guest or a socket, both directions alike.
// Run: node dist/vswitch/datapath/conntrack.bench.js [seconds] [part of a name]. Prints nanoseconds of processor time
// per packet, the best of ten runs: other work on the machine only adds.
import { type Batch, PacketPool } from "../../base/packet/index.js";
import {
  type Conversation,
  masqueradedConversation,
  tcpConversation,
  udpConversation,
} from "../testing/conversations.js";
import { FIREWALL, type FlowEntry, MASQUERADE } from "../testing/firewalls.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { Datapath } from "./index.js";

const SECONDS = Number(process.argv[2] ?? 1);
const WANTED = process.argv[3] ?? "";

function measure(
  name: string,
  flows: readonly FlowEntry[],
  count: number,
  make: (i: number) => Conversation,
): void {
  if (!name.includes(WANTED)) return;
  const conversations = Array.from({ length: count }, (_, i) => make(i));
  const pool = new PacketPool({ slots: 512 });
  const datapath = new Datapath({ pool, onEvents: () => undefined, connectionsMax: 1 << 18 });
  const bridge = datapath.addBridge("br0");
  const ports = [1, 2].map((n) => new GeneratorPort(`p${n}`, pool, []));
  const mac = new Uint8Array(6);
  ports.forEach((port, i) => void bridge.addPort({ port, ofport: i + 1, mac, mtu: 1500, nowMs: 0 }));
  for (const [tableId, match, instructions] of flows)
    bridge.change(flowMod({ tableId, match, instructions, priority: match.length }), 0);
  const nowMs = 40_000;
  for (let step = 0; step < (conversations[0]?.opening.length ?? 0); step++) {
    const [port] = conversations[0]!.opening[step]!;
    ports[port - 1]!.once(conversations.map((one) => one.opening[step]![1]));
    while (datapath.breathe(nowMs) > 0);
  }
  const opened = ports[0]!.taken + ports[1]!.taken;
  if (opened !== conversations.length * conversations[0]!.opening.length)
    throw new Error(`${name}: ${opened} frames came through while connections were opened`);
  ports[0]!.always(conversations.map((one) => one.there));
  ports[1]!.always(conversations.map((one) => one.back));
  const run = (seconds: number): number => {
    const before = ports[0]!.taken + ports[1]!.taken;
    const cpu = process.cpuUsage();
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      for (let i = 0; i < 32; i++) datapath.breathe(nowMs);
    }
    const { user, system } = process.cpuUsage(cpu);
    return ((user + system) * 1000) / (ports[0]!.taken + ports[1]!.taken - before);
  };
  run(0.5);
  const best = Math.min(...Array.from({ length: 10 }, () => run(SECONDS / 10)));
  console.log(`${name.padEnd(44)} ${best.toFixed(0).padStart(5)} ns/packet`);
}

measure("TCP, 32 connections", FIREWALL, 32, (i) => tcpConversation(i));
measure("TCP, 4 000 connections", FIREWALL, 4000, (i) => tcpConversation(i));
measure("TCP, 40 000 connections", FIREWALL, 40_000, (i) => tcpConversation(i));
measure("UDP, 32 connections", FIREWALL, 32, udpConversation);
measure("TCP masqueraded, 32 connections", MASQUERADE, 32, masqueradedConversation);
measure("TCP masqueraded, 4 000 connections", MASQUERADE, 4000, masqueradedConversation);

/** Gives UDP frames of many conversations, each of which has a source address and port of its own. */
class ManyPort extends GeneratorPort {
  readonly #many: number;
  readonly #isClient: boolean;
  readonly #pool: PacketPool;
  readonly #frame: Uint8Array;
  readonly #sum: number;
  /** The next of all; drawn at random when it is none. */
  next = 0;
  inOrder = true;
  #random = 1;

  constructor(n: number, pool: PacketPool, many: number) {
    super(`p${n}`, pool, []);
    this.#pool = pool;
    this.#many = many;
    this.#isClient = n === 1;
    const { there, back } = udpConversation(0);
    this.#frame = (this.#isClient ? there : back).slice();
    // UDP over IPv4 may do without a checksum (RFC 768); the header's is made anew for each frame.
    this.#frame.fill(0, 40, 42);
    const client = this.#isClient ? 26 : 30;
    this.#frame.fill(0, 24, 26).fill(0, client, client + 4);
    let sum = 0;
    for (let i = 14; i < 34; i += 2) sum += (this.#frame[i]! << 8) | this.#frame[i + 1]!;
    this.#sum = sum;
  }

  override rx(batch: Batch): number {
    const count = Math.min(batch.room, this.left);
    const { view, offset } = this.#pool;
    for (let n = 0; n < count; n++) {
      let i = this.next;
      if (this.inOrder) this.next = (this.next + 1) % this.#many;
      else {
        this.#random ^= this.#random << 13;
        this.#random ^= this.#random >>> 17;
        this.#random ^= this.#random << 5;
        i = (this.#random >>> 0) % this.#many;
      }
      const packet = this.#pool.allocateFrom(this.#frame);
      const at = offset[packet]!;
      const high = 0x0a00 | (i >>> 16);
      const low = i & 0xffff;
      let sum = this.#sum + high + low;
      sum = (sum & 0xffff) + (sum >>> 16);
      sum = (sum & 0xffff) + (sum >>> 16);
      view.setUint16(at + 24, ~sum);
      view.setUint32(at + (this.#isClient ? 26 : 30), (high << 16) | low);
      view.setUint16(at + (this.#isClient ? 34 : 36), 1024 + (i % 50_000));
      batch.push(packet);
    }
    this.left -= count;
    return count;
  }
}

/** Connections of UDP are opened, and then their frames come in any order; also what a frame costs that is not tracked. */
function measureMany(name: string, flows: readonly FlowEntry[], many: number, opens: boolean): void {
  if (!name.includes(WANTED)) return;
  const pool = new PacketPool({ slots: 512 });
  const datapath = new Datapath({ pool, onEvents: () => undefined, connectionsMax: 1 << 20 });
  const bridge = datapath.addBridge("br0");
  const ports = [1, 2].map((n) => new ManyPort(n, pool, many)) as [ManyPort, ManyPort];
  const mac = new Uint8Array(6);
  ports.forEach((port, i) => void bridge.addPort({ port, ofport: i + 1, mac, mtu: 1500, nowMs: 0 }));
  for (const [tableId, match, instructions] of flows)
    bridge.change(flowMod({ tableId, match, instructions, priority: match.length }), 0);
  const nowMs = 40_000;
  const cpu = () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  };
  const all = (port: ManyPort): number => {
    for (const one of ports) {
      one.left = 0;
      one.next = 0;
    }
    port.left = many;
    const before = cpu();
    while (datapath.breathe(nowMs) > 0);
    return ((cpu() - before) * 1000) / many;
  };
  let best = Number.POSITIVE_INFINITY;
  for (let n = 0; n < (opens ? 8 : 1); n++) {
    datapath.conntrack.flush({}, nowMs);
    best = Math.min(best, all(ports[0]));
  }
  if (opens) {
    console.log(`${name.padEnd(44)} ${best.toFixed(0).padStart(5)} ns/packet`);
    return;
  }
  all(ports[1]);
  for (const port of ports) {
    port.left = Number.POSITIVE_INFINITY;
    port.inOrder = false;
  }
  const slice = (packets: number): number => {
    const start = ports[0].taken + ports[1].taken;
    const before = cpu();
    while (ports[0].taken + ports[1].taken - start < packets) datapath.breathe(nowMs);
    return ((cpu() - before) * 1000) / (ports[0].taken + ports[1].taken - start);
  };
  slice(200_000);
  const slices = Array.from({ length: 40 }, () => slice(SECONDS * 50_000)).sort((a, b) => a - b);
  console.log(
    `${name.padEnd(44)} ${slices[0]!.toFixed(0).padStart(5)} ns/packet, median ${slices[20]!.toFixed(0)}`,
  );
}

const PLAIN: readonly FlowEntry[] = [
  [0, [field("in_port", 1)], [apply(output(2))]],
  [0, [field("in_port", 2)], [apply(output(1))]],
];
measureMany("UDP not tracked", PLAIN, 100_000, false);
measureMany("UDP, 100 connections at random", FIREWALL, 100, false);
measureMany("UDP, 10 000 connections at random", FIREWALL, 10_000, false);
measureMany("UDP, 100 000 connections at random", FIREWALL, 100_000, false);
measureMany("UDP, 1 000 000 connections at random", FIREWALL, 1_000_000, false);
measureMany("UDP, begin 100 000 connections", FIREWALL, 100_000, true);
measureMany("UDP, begin 1 000 000 connections", FIREWALL, 1_000_000, true);
