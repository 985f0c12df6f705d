// What a packet of an established connection costs in the datapath, without a guest or a socket, both directions alike.
// Run: node dist/vswitch/datapath/conntrack.bench.js [seconds] [part of a name]. Prints nanoseconds of processor time
// per packet, the best of ten runs: other work on the machine only adds.
import type { Action, Instruction, Match } from "../../base/openflow/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { tcpFrame, udpFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, goto, output } from "../testing/rig.js";
import { Datapath } from "./index.js";

const SECONDS = Number(process.argv[2] ?? 1);
const WANTED = process.argv[3] ?? "";
const SYN = 2;
const ACK = 16;
const SERVER = "10.1.0.1";

type FlowEntry = readonly [table: number, match: Match, instructions: readonly Instruction[]];

interface Conversation {
  readonly opening: readonly (readonly [port: 1 | 2, frame: Uint8Array])[];
  /** What goes on for ever, by direction. */
  readonly there: Uint8Array;
  readonly back: Uint8Array;
}

function ends(i: number) {
  const source = `10.0.${(i >> 8) & 255}.${i & 255}`;
  return { source, destination: SERVER, sourcePort: 1024 + (i % 50_000), destinationPort: 80 };
}

/** `seen`: where the server believes the client to be. */
function tcp(i: number, seen = ends(i)): Conversation {
  const client = ends(i);
  const server = {
    source: SERVER,
    destination: seen.source,
    sourcePort: 80,
    destinationPort: seen.sourcePort,
  };
  const window = { window: 0xffff };
  return {
    opening: [
      [1, tcpFrame(client, SYN, undefined, { sequence: 100, ...window })],
      [2, tcpFrame(server, SYN | ACK, undefined, { sequence: 500, acknowledgment: 101, ...window })],
      [1, tcpFrame(client, ACK, undefined, { sequence: 101, acknowledgment: 501, ...window })],
    ],
    there: tcpFrame(client, ACK, new Uint8Array(6), { sequence: 101, acknowledgment: 501, ...window }),
    back: tcpFrame(server, ACK, new Uint8Array(6), { sequence: 501, acknowledgment: 101, ...window }),
  };
}

function udp(i: number): Conversation {
  const client = ends(i);
  const there = udpFrame(client, new Uint8Array(18));
  const back = udpFrame(
    {
      source: SERVER,
      destination: client.source,
      sourcePort: client.destinationPort,
      destinationPort: client.sourcePort,
    },
    new Uint8Array(18),
  );
  return {
    opening: [
      [1, there],
      [2, back],
    ],
    there,
    back,
  };
}

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

function track(zone: number, tableId: number, ...actions: Action[]): Action {
  return { type: "ct", commit: false, force: false, zone, tableId, alg: 0, actions };
}
function commit(zone: number, ...actions: Action[]): Action {
  return { type: "ct", commit: true, force: false, zone, alg: 0, actions };
}
const IP = field("eth_type", 0x800);
const FROM_1 = field("in_port", 1);
const NEW = field("ct_state", 0x21, 0x21);
const EST = field("ct_state", 0x22, 0x22);

/** Whoever is behind port 1 may open connections. */
const FIREWALL: readonly FlowEntry[] = [
  [0, [IP], [apply(track(1, 1))]],
  [1, [IP, NEW, FROM_1], [apply(commit(1), output(2))]],
  [1, [IP, EST], [goto(2)]],
  [2, [FROM_1], [apply(output(2))]],
  [2, [field("in_port", 2)], [apply(output(1))]],
];

const NAT = (nat: Partial<Extract<Action, { type: "nat" }>>): Action => ({
  type: "nat",
  direction: "existing",
  selection: "auto",
  persistent: false,
  ...nat,
});

/** The same, and everybody behind port 1 has one address. */
const MASQUERADE: readonly FlowEntry[] = [
  [0, [IP], [apply(track(1, 1, NAT({})))]],
  [
    1,
    [IP, NEW, FROM_1],
    [apply(commit(1, NAT({ direction: "source", addressMin: Uint8Array.of(10, 2, 0, 1) })), output(2))],
  ],
  [1, [IP, EST], [goto(2)]],
  [2, [FROM_1], [apply(output(2))]],
  [2, [field("in_port", 2)], [apply(output(1))]],
];

const masqueraded = (i: number) => tcp(i, { ...ends(i), source: "10.2.0.1" });

measure("TCP, 32 connections", FIREWALL, 32, (i) => tcp(i));
measure("TCP, 4 000 connections", FIREWALL, 4000, (i) => tcp(i));
measure("TCP, 40 000 connections", FIREWALL, 40_000, (i) => tcp(i));
measure("UDP, 32 connections", FIREWALL, 32, udp);
measure("TCP masqueraded, 32 connections", MASQUERADE, 32, masqueraded);
measure("TCP masqueraded, 4 000 connections", MASQUERADE, 4000, masqueraded);
