// What a packet of an established connection costs in the datapath, without a guest or a socket, both directions alike.
// Run: node dist/vswitch/datapath/conntrack.bench.js [seconds] [part of a name]. Prints nanoseconds of processor time
// per packet, the best of ten runs: other work on the machine only adds.
import { PacketPool } from "../../base/packet/index.js";
import {
  type Conversation,
  masqueradedConversation,
  tcpConversation,
  udpConversation,
} from "../testing/conversations.js";
import { FIREWALL, type FlowEntry, MASQUERADE } from "../testing/firewalls.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { flowMod } from "../testing/rig.js";
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
