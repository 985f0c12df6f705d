// Frames of many conversations, of which few have lines of their own, through two bridges that share connections: with
// all that is known of them, and with nothing.
import fc from "fast-check";
import { expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import {
  type Action,
  type FlowMod,
  OFPG_ANY,
  OFPP_ANY,
  OFPTT_ALL,
  type OxmEntry,
} from "../../base/openflow/index.js";
import { MemoryPort } from "../../base/packet/index.js";
import { ct, mark, masquerade, nat } from "../testing/ct-actions.js";
import { tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, goto, output, Rig } from "../testing/rig.js";
import type { Bridge } from "./index.js";

const ACK = 16;
const PSH = 8;
const FIN = 1;
const CONVERSATIONS = 40;
const SLOTS = 256;

const IP = field("eth_type", 0x800);
const NEW = field("ct_state", 0x21, 0x21);
const EST = field("ct_state", 0x22, 0x22);

const start = fc.constantFrom<readonly Action[]>(
  [ct(false, 1, 1)],
  [ct(false, 1, 1)],
  [ct(false, 1, 1, nat())],
  [ct(true, 1, 1)],
  [{ type: "dec_nw_ttl" }, ct(false, 1, 1)],
  [{ type: "load", destination: { field: "reg0", offset: 0, bits: 16 }, value: 7n }, ct(false, 1, 1)],
);
/** What packets behind the ct() are told apart by. */
const seen = fc.constantFrom<readonly OxmEntry[]>(
  [IP, EST],
  [IP, EST, field("in_port", 1)],
  [IP, EST, field("in_port", 2)],
  [IP, EST, field("ip_dscp", 10)],
  [IP, EST, field("vlan_vid", 0x1005)],
  [IP, EST, field("eth_dst", 0x020000000007n)],
  [IP, EST, field("ip_proto", 6), field("tcp_flags", PSH, PSH)],
  [IP, EST, field("nw_ttl", 63)],
  [IP, EST, field("ipv4_src", 0x0a000003)],
  [IP, EST, field("ip_proto", 17), field("udp_src", 1005)],
  [IP, field("ct_mark", 1)],
  [IP, field("ct_zone", 2)],
  [IP, field("ct_state", 0x2a, 0x2a)],
  [IP, field("reg0", 7)],
);
const behind = fc.constantFrom<readonly Action[]>(
  [],
  [output(1)],
  [output(2)],
  [output(3)],
  [output(2), output(3)],
  [ct(true, 1, undefined, mark(1)), output(2)],
  [ct(true, 1, undefined, mark(2)), output(1)],
  [ct(true, 2, undefined), output(2)],
  [ct(false, 2, 2)],
  [ct(false, 1, 2)],
  [ct(true, 2, 2)],
  [{ type: "dec_nw_ttl" }, output(2)],
  [{ type: "dec_nw_ttl" }, ct(false, 2, 2)],
);
const flow = fc.record({
  tableId: fc.constantFrom(1, 1, 1, 2),
  priority: fc.integer({ min: 1, max: 4 }),
  match: seen,
  actions: behind,
});

/** A frame of conversation `n`, in its variant. */
function frameOf(n: number, toServer: boolean, variant: number): { port: number; bytes: Uint8Array } {
  const client = { address: `10.0.0.${n % 7}`, port: 1000 + n };
  const server = { address: "10.1.0.1", port: 80 };
  const [from, to] = toServer ? [client, server] : [server, client];
  const ends = {
    source: from.address,
    destination: to.address,
    sourcePort: from.port,
    destinationPort: to.port,
  };
  const isTcp = n % 3 !== 0;
  const flags = variant === 1 ? ACK | PSH : variant === 2 ? ACK | FIN : ACK;
  const numbers = {
    sequence: toServer ? 1000 : 5000,
    acknowledgment: toServer ? 5000 : 1000,
    window: 1000,
  };
  const payload = new Uint8Array(variant % 3);
  const bytes = isTcp ? tcpFrame(ends, flags, payload, numbers) : udpFrame(ends, payload);
  if (variant === 3) bytes[5] = 7;
  if (variant === 4) spoil(bytes, 15, 40);
  if (variant === 5) spoil(bytes, 22, 63);
  if (variant === 6) bytes[40] = (bytes[40] ?? 0) ^ 1;
  return { port: toServer ? 1 : 2, bytes: variant === 7 ? tagged(bytes, 0x8100, 5) : bytes };
}

/** Another byte in the IP header, and its checksum right again (RFC 1071). */
function spoil(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes.fill(0, 24, 26);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = ~((sum & 0xffff) + (sum >>> 16));
  bytes[24] = (sum >>> 8) & 0xff;
  bytes[25] = sum & 0xff;
}

class Pair {
  readonly rig = new Rig(3, { slots: SLOTS });
  readonly bridges: readonly Bridge[];
  readonly ports: readonly (readonly MemoryPort[])[];

  constructor() {
    const { rig } = this;
    const other = rig.datapath.addBridge("br1");
    const ports = [1, 2, 3].map((ofport) => {
      const port = new MemoryPort({ name: `q${ofport}`, pool: rig.pool });
      const mac = Uint8Array.of(2, 0, 0, 0, 1, ofport);
      other.addPort({ port, ofport, mac, mtu: 1500, nowMs: rig.nowMs });
      return port;
    });
    this.bridges = [rig.bridge, other];
    this.ports = [rig.ports, ports];
  }

  change(mod: FlowMod): void {
    for (const bridge of this.bridges) bridge.change(mod, this.rig.nowMs);
  }

  send(frames: readonly { bridge: number; port: number; bytes: Uint8Array }[]): string {
    const { rig } = this;
    for (const { bridge, port, bytes } of frames) this.ports[bridge]![port - 1]!.inject(bytes);
    while (rig.datapath.breathe(rig.nowMs) > 0);
    return JSON.stringify(this.ports.map((ports) => ports.map((port) => port.takeSent().map(toHex))));
  }

  counts(): unknown {
    const filter = { tableId: OFPTT_ALL, outPort: OFPP_ANY, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n };
    return this.bridges.map((bridge) => [
      bridge.tables
        .flowStats({ ...filter, match: [] }, this.rig.nowMs)
        .map(({ tableId, priority, packetCount, byteCount }) => [tableId, priority, packetCount, byteCount]),
      bridge.tables.tableStats().slice(0, 3),
      Array.from(bridge.pipeline.dropCounters.packets),
    ]);
  }
}

const FLUSH = -1;
const CHANGE = -2;

it("frames of known connections fare by rules as by the tables, whoever else has the connections", () => {
  let byRule = 0;
  let fronts = 0;
  fc.assert(
    fc.property(
      start,
      fc.array(flow, { minLength: 1, maxLength: 5 }),
      flow,
      fc.array(fc.constantFrom(0, 0, 0, 1, 1000, 31_000, FLUSH, CHANGE), { minLength: 6, maxLength: 6 }),
      fc.infiniteStream(fc.nat(0xffffff)),
      fc.constantFrom(0, 0, 0, 8),
      fc.boolean(),
      (first, flows, more, pauses, numbers, other, marks) => {
        const cached = new Pair();
        const fresh = new Pair();
        const change = (mod: Partial<FlowMod>): void => {
          for (const pair of [cached, fresh]) pair.change(flowMod(mod));
        };
        const commit = first.some((one) => one.type === "ct" && one.actions.length > 0)
          ? ct(true, 1, undefined, masquerade)
          : ct(true, 1, undefined);
        change({ match: [IP], instructions: [apply(...first)] });
        change({ tableId: 1, priority: 9, match: [IP, NEW], instructions: [apply(commit, output(2))] });
        change({ tableId: 1, priority: 0, match: [IP, EST], instructions: [apply(output(1))] });
        // Connections that differ in nothing else that is looked at.
        if (marks) {
          const marking = apply(ct(true, 1, undefined, mark(1)), output(2));
          const some = [IP, field("ipv4_src", 0x0a000004)];
          change({ tableId: 1, priority: 10, match: [IP, NEW], instructions: [goto(3)] });
          change({ tableId: 3, priority: 2, match: some, instructions: [marking] });
          change({ tableId: 3, priority: 1, match: [IP], instructions: [apply(commit, output(2))] });
          const marked = { match: [IP, field("ct_mark", 1)], instructions: [apply(output(3))] };
          change({ tableId: 1, priority: 5, ...marked });
        }
        for (const { actions, ...one } of flows) change({ ...one, instructions: [apply(...actions)] });
        // What most frames are, so that they soon have much in common.
        const draw = (): { bridge: number; port: number; bytes: Uint8Array } => {
          const number = numbers.next().value;
          const variant = number % 5 === 0 ? (number >> 8) % 8 : 0;
          const bridge = (number >> 16) % 16 < other ? 1 : 0;
          return { bridge, ...frameOf((number >> 4) % CONVERSATIONS, (number & 1) === 0, variant) };
        };
        for (let n = 0; n < 12; n++) {
          const pause = pauses[n % pauses.length] as number;
          for (const { rig } of [cached, fresh]) {
            rig.nowMs += Math.max(0, pause);
            if (pause === FLUSH) rig.datapath.conntrack.flush({ zone: 1 }, rig.nowMs);
          }
          if (pause === CHANGE) {
            const command = n % 2 === 0 ? "add" : "delete_strict";
            const { actions, ...one } = more;
            change({ ...one, command, instructions: command === "add" ? [apply(...actions)] : [] });
          }
          const frames = Array.from({ length: 100 }, draw);
          for (const bridge of fresh.bridges) bridge.tables.invalidate();
          expect(cached.send(frames)).toBe(fresh.send(frames));
          const { nowMs } = cached.rig;
          expect(cached.rig.datapath.conntrack.connections(nowMs)).toEqual(
            fresh.rig.datapath.conntrack.connections(nowMs),
          );
        }
        expect(cached.counts()).toEqual(fresh.counts());
        expect(cached.rig.pool.available).toBe(SLOTS);
        for (const { bursts } of cached.bridges) {
          byRule += bursts.ruleHits;
          fronts += bursts.fronts.hits;
        }
      },
    ),
    { numRuns: 30 },
  );
  expect(byRule).toBeGreaterThan(2000);
  expect(fronts).toBeGreaterThan(500);
});
