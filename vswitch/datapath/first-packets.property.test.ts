// Frames that begin connections, many in a burst, by all that is known of such frames and by nothing: what they begin, what
// stops them, and what follows them.
import fc from "fast-check";
import { expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import {
  type Action,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_NORMAL,
  OFPTT_ALL,
  type OxmEntry,
} from "../../base/openflow/index.js";
import { ct, mark, masquerade, nat } from "../testing/ct-actions.js";
import { icmpFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output, Rig } from "../testing/rig.js";

const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;
const ECE_CWR = 0xc0;
const SLOTS = 256;
const BURSTS = 8;
const CONVERSATIONS = 300;

const IP = field("eth_type", 0x800);
const NEW = field("ct_state", 0x21, 0x21);

const start = fc.constantFrom<readonly Action[]>(
  [ct(false, 1, 1)],
  [ct(false, 1, 1)],
  [ct(false, 1, 1)],
  [ct(true, 1, 1)],
  [ct(false, 1, 1, nat())],
  [ct(true, 1, 1, masquerade)],
  [{ type: "dec_nw_ttl" }, ct(false, 1, 1)],
  [{ type: "set_queue", queueId: 1 }, ct(false, 1, 1)],
);
const seen = fc.constantFrom<readonly OxmEntry[]>(
  [IP, NEW],
  [IP, NEW],
  [IP, NEW, field("in_port", 1)],
  [IP, NEW, field("in_port", 2)],
  [IP, NEW, field("ip_dscp", 10)],
  [IP, NEW, field("ip_proto", 17)],
  [IP, NEW, field("ip_proto", 6), field("tcp_flags", ECE_CWR, ECE_CWR)],
  [IP, NEW, field("ipv4_src", 0x0a000003)],
  [IP, NEW, field("ip_proto", 17), field("udp_src", 1005)],
  [IP, field("ct_state", 0x22, 0x22)],
  [IP, field("ct_state", 0x30, 0x30)],
  [IP, field("ct_mark", 1)],
  [IP, field("ct_zone", 2)],
  [IP, field("ct_nw_src", 0x0a000003), field("ct_state", 0x21, 0x21)],
);
const sourceAsLabel: Action = {
  type: "move",
  source: { field: "ipv4_src", offset: 0, bits: 32 },
  destination: { field: "ct_label", offset: 16, bits: 32 },
};
const committed = ct(true, 1, undefined);
const behind = fc.constantFrom<readonly Action[]>(
  [],
  [output(2)],
  [committed],
  [committed, output(2)],
  [committed, output(2)],
  [committed, output(1)],
  [output(3), committed],
  [committed, output(2), output(3)],
  [committed, output(OFPP_NORMAL)],
  [ct(true, 2, undefined), output(2)],
  [committed, ct(true, 2, undefined), output(2)],
  [ct(true, 1, undefined, mark(1)), output(2)],
  [ct(true, 1, undefined, mark(1), sourceAsLabel), output(2)],
  [ct(true, 1, undefined, sourceAsLabel), output(OFPP_NORMAL)],
  [ct(true, 1, undefined, masquerade), output(2)],
  [{ ...committed, force: true } as Action, output(2)],
  [{ type: "dec_nw_ttl" }, committed, output(2)],
  [ct(false, 2, 2)],
  [ct(true, 2, 2)],
  [ct(true, 1, 2)],
);
const flow = fc.record({
  tableId: fc.constantFrom(1, 1, 2),
  priority: fc.integer({ min: 1, max: 4 }),
  match: seen,
  actions: behind,
});

/** A frame of conversation `n`, mostly its first. */
function frameOf(n: number, toServer: boolean, variant: number): { port: number; bytes: Uint8Array } {
  const [source, destination] = [`10.0.${n >> 5}.${n % 7}`, "10.1.0.1"];
  const [sourcePort, destinationPort] = [1000 + n, 80];
  const ends = toServer
    ? { source, destination, sourcePort, destinationPort }
    : {
        source: destination,
        destination: source,
        sourcePort: destinationPort,
        destinationPort: sourcePort,
      };
  const flags = [SYN, ACK, SYN | ACK, RST, SYN | FIN, SYN | PSH, SYN | ECE_CWR, 0][variant] ?? SYN;
  const numbers = { sequence: 1000, acknowledgment: (flags & ACK) === 0 ? 0 : 5000, window: 1000 };
  const payload = new Uint8Array(variant % 3);
  const kind = n % 9 === 0 ? "icmp" : n % 3 === 0 ? "udp" : "tcp";
  const bytes =
    kind === "tcp"
      ? tcpFrame(ends, flags, payload, numbers)
      : kind === "udp"
        ? udpFrame(ends, payload)
        : icmpFrame(ends, toServer ? 8 : 0, 0x00070000 + n, payload);
  // Of the IP header: its length, what it says of fragments, its TOS, its checksum; behind it ports, length, sums, flags.
  const spoilt = [0, 0, 0, 0, 0, 0, 0, 0, 17, 20, 21, 15, 24, 35, 38, 40, 46, 47, 50][variant] ?? 0;
  if (spoilt > 0) bytes[spoilt] = (bytes[spoilt] ?? 0) ^ (variant & 1 ? 0x20 : 0x01);
  if (spoilt > 0 && spoilt < 24) renewHeaderSum(bytes);
  const whole = variant === 19 ? tagged(bytes, 0x8100, 5) : variant === 20 ? bytes.subarray(0, 40) : bytes;
  return { port: toServer ? 1 : 2, bytes: whole };
}

/** RFC 1071. */
function renewHeaderSum(bytes: Uint8Array): void {
  bytes.fill(0, 24, 26);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = ~((sum & 0xffff) + (sum >>> 16));
  bytes[24] = (sum >>> 8) & 0xff;
  bytes[25] = sum & 0xff;
}

function counts({ bridge, datapath, nowMs }: Rig): unknown {
  const filter = { tableId: OFPTT_ALL, outPort: OFPP_ANY, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n };
  return [
    bridge.tables
      .flowStats({ ...filter, match: [] }, nowMs)
      .map(({ tableId, priority, packetCount, byteCount }) => [tableId, priority, packetCount, byteCount]),
    bridge.tables.tableStats().slice(0, 3),
    Array.from(bridge.pipeline.dropCounters.packets),
    datapath.conntrack.begun,
    datapath.conntrack.evictions,
  ];
}

const FLUSH = -1;
const LIMIT = -2;
const FULL = -3;
const CHANGE = -4;
const EXPECT = -5;

it("frames that begin connections fare by rules as by the tables, and begin the same", () => {
  let commits = 0;
  fc.assert(
    fc.property(
      start,
      fc.array(flow, { maxLength: 4 }),
      flow,
      fc.array(fc.constantFrom(0, 0, 1, 1000, 61_000, FLUSH, FLUSH, LIMIT, FULL, CHANGE, EXPECT), {
        minLength: BURSTS,
        maxLength: BURSTS,
      }),
      fc.infiniteStream(fc.nat(0xffffff)),
      (first, flows, more, pauses, numbers) => {
        const cached = new Rig(3, { slots: SLOTS });
        const fresh = new Rig(3, { slots: SLOTS });
        const rigs = [cached, fresh];
        for (const rig of rigs) {
          rig.flow({ match: [IP], instructions: [apply(...first)] });
          const match = [IP, NEW];
          rig.flow({ tableId: 1, priority: 0, match, instructions: [apply(committed, output(2))] });
          for (const { actions, ...one } of flows)
            rig.bridge.change(flowMod({ ...one, instructions: [apply(...actions)] }), rig.nowMs);
        }
        for (const [n, pause] of pauses.entries()) {
          for (const rig of rigs) {
            const { conntrack } = rig.datapath;
            rig.nowMs += Math.max(0, pause);
            if (pause === FLUSH) conntrack.flush({}, rig.nowMs);
            if (pause === LIMIT)
              conntrack.configure({ limits: [{ zone: 1, limit: n % 2 === 0 ? 30 + n : 0 }] });
            if (pause === FULL) conntrack.configure({ connectionsMax: n % 2 === 0 ? 20 + n : 1024 });
            if (pause === EXPECT) expectOne(rig, n);
            if (pause === CHANGE) {
              const command = n % 2 === 0 ? "add" : "delete_strict";
              const { actions, ...one } = more;
              const instructions = command === "add" ? [apply(...actions)] : [];
              rig.bridge.change(flowMod({ ...one, command, instructions }), rig.nowMs);
            }
          }
          const frames = Array.from({ length: 100 }, () => {
            const number = numbers.next().value;
            const variant = number % 4 === 0 ? (number >> 8) % 21 : 0;
            // One of so many answers, or comes again at once.
            return frameOf((number >> 13) % CONVERSATIONS, ((number >> 4) & 7) !== 0, variant);
          });
          for (const { port, bytes } of frames) for (const rig of rigs) rig.ports[port - 1]!.inject(bytes);
          const text = (rig: Rig): string =>
            JSON.stringify([...rig.send(1)].map(([port, sent]) => [port, sent.map(toHex)]));
          fresh.bridge.tables.invalidate();
          expect(text(cached)).toBe(text(fresh));
          expect(cached.datapath.conntrack.connections(cached.nowMs)).toEqual(
            fresh.datapath.conntrack.connections(fresh.nowMs),
          );
        }
        expect(counts(cached)).toEqual(counts(fresh));
        // Nobody waits for the rest of fragments any more.
        cached.datapath.conntrack.sweep(cached.nowMs + 120_000);
        expect(cached.pool.available).toBe(SLOTS);
        commits += cached.bridge.bursts.commits;
      },
    ),
    { numRuns: 20 },
  );
  expect(commits).toBeGreaterThan(500);
});

/** Somebody has announced a connection: UDP from whatever port of a client. */
function expectOne({ datapath, nowMs }: Rig, n: number): void {
  const [source, destination] = [new Int32Array(4), new Int32Array(4)];
  source[0] = 0x0a000000 | (n % 7);
  destination[0] = 0x0a010001;
  datapath.conntrack.expectations.add(source, 0, destination, 0, 80, (17 << 16) | 1, nowMs);
}
