// One machine sends whatever fills connection tracking, as fast as it can, while others in zones of their own say little:
// none of their connections is lost, new ones of theirs are remembered, what they are promised by a helper is kept, and
// nothing grows beyond its bound. The attacker may have an accomplice behind its other port who answers.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CT_STATE_NEW } from "../../base/openflow/index.js";
import { ACK, SYN, turn } from "../../vswitch/testing/conversation.js";
import { cut } from "../../vswitch/testing/fragments.js";
import { type Ends, icmpFrame, tcpFrame, udpFrame } from "../../vswitch/testing/frames.js";
import { apply, field, match, output, Rig } from "../../vswitch/testing/rig.js";
import { trackAction } from "../../vswitch/testing/track-rig.js";

const DEADLINE_MS = 240_000;
const nothing = new Uint8Array(0);
/** Ports of one zone each: a machine and who it talks to. The first pair is the attacker's. */
const PAIRS = 4;
const CONNECTIONS_MAX = 1024;
const SLOTS = 512;
const EXPECTATIONS_MAX = 1024;
const BURST = 48;

class FloodRig extends Rig {
  constructor() {
    super(2 * PAIRS, { slots: SLOTS });
    for (const etherType of [0x0800, 0x86dd]) {
      const ip = field("eth_type", etherType);
      const fresh = field("ct_state", CT_STATE_NEW, CT_STATE_NEW);
      for (let port = 1; port <= 2 * PAIRS; port++) {
        const zone = (port + 1) >> 1;
        const inPort = field("in_port", port);
        const out = output(port % 2 === 1 ? port + 1 : port - 1);
        const commit = (alg: number) => apply(trackAction({ zone, commit: true, alg }), out);
        this.flow({ match: match(ip, inPort), instructions: [apply(trackAction({ zone, tableId: 1 }))] });
        this.flow({ tableId: 1, match: match(ip, inPort, fresh), instructions: [commit(0)] });
        this.flow({
          tableId: 1,
          priority: 200,
          match: match(ip, inPort, fresh, field("ip_proto", 6), field("tcp_dst", 21)),
          instructions: [commit(21)],
        });
        this.flow({ tableId: 1, priority: 10, match: match(inPort), instructions: [apply(out)] });
      }
    }
    this.send(1, udpFrame({ source: "192.0.2.99", destination: "192.0.2.98" }));
    this.nowMs += 1_000_000;
    this.datapath.conntrack.flush({}, this.nowMs);
  }

  open(port: number, ends: Required<Ends>): void {
    this.send(port, tcpFrame(ends, SYN, nothing, { sequence: 100 }));
    this.send(port + 1, tcpFrame(turn(ends), SYN | ACK, nothing, { sequence: 500, acknowledgment: 101 }));
    this.send(port, tcpFrame(ends, ACK, nothing, { sequence: 101, acknowledgment: 501 }));
  }
}

/** What an attacker does with a number: frames of its own and of its accomplice. */
type Attack = (n: number) => readonly (readonly [port: 1 | 2, frame: Uint8Array])[];

const victim = (n: number): Required<Ends> => ({
  source: `172.16.${(n >>> 8) & 255}.${n & 255}`,
  destination: "10.0.0.2",
  sourcePort: 1024 + (n % 60_000),
  destinationPort: 80,
});
const one = { ...victim(0), source: "172.16.0.1" };
const announce = (n: number): Uint8Array =>
  new TextEncoder().encode(
    [0, 1, 2, 3].map((more) => `PORT 172,16,0,1,${4 + ((n + more) % 250)},${n & 255}\r\n`).join(""),
  );

const ATTACKS: Readonly<Record<string, Attack>> = {
  "SYNs from everywhere": (n) => [[1, tcpFrame(victim(n), SYN, nothing, { sequence: n })]],
  "SYNs from one address": (n) => [[1, tcpFrame({ ...victim(n), source: one.source }, SYN)]],
  "answered connections": (n) => [
    [1, tcpFrame(victim(n), SYN, nothing, { sequence: 100 })],
    [2, tcpFrame(turn(victim(n)), SYN | ACK, nothing, { sequence: 500, acknowledgment: 101 })],
    [1, tcpFrame(victim(n), ACK, nothing, { sequence: 101, acknowledgment: 501 })],
  ],
  "answered datagrams": (n) => [
    [1, udpFrame(victim(n))],
    [2, udpFrame(turn(victim(n)))],
  ],
  "segments of no connection": (n) => [[1, tcpFrame(victim(n), ACK, nothing, { sequence: n })]],
  "echo requests": (n) => [[1, icmpFrame(victim(n), 8, (n % 65_536) * 65_536)]],
  "first fragments": (n) => [
    [1, cut(udpFrame(victim(n), new Uint8Array(2000)), [1240], n & 0xffff)[0] as Uint8Array],
  ],
  "control connections that announce": (n) => {
    const ends = { ...one, sourcePort: 1024 + (n % 700), destinationPort: 21 };
    return [
      [1, tcpFrame(ends, SYN, nothing, { sequence: 100 })],
      [2, tcpFrame(turn(ends), SYN | ACK, nothing, { sequence: 500, acknowledgment: 101 })],
      [1, tcpFrame(ends, ACK, announce(n), { sequence: 101, acknowledgment: 501 })],
    ];
  },
};

const TENANTS = Array.from({ length: PAIRS - 1 }, (_, n) => 2 * n + 3);
const tenant = (port: number, n: number, destinationPort = 80): Required<Ends> => ({
  source: `10.1.0.${port}`,
  destination: "10.2.0.1",
  sourcePort: 5000 + n,
  destinationPort,
});

/** Connections of every kind in each quiet zone, and a data connection that is expected. */
function settle(rig: FloodRig): void {
  for (const port of TENANTS) {
    rig.open(port, tenant(port, 0));
    rig.send(port, tcpFrame(tenant(port, 1), SYN, nothing, { sequence: 7 }));
    rig.send(port, udpFrame(tenant(port, 2)));
    rig.send(port + 1, udpFrame(turn(tenant(port, 2))));
    rig.send(port, udpFrame(tenant(port, 3)));
    rig.send(port, icmpFrame(tenant(port, 4), 8, 0x00070001));
    const control = tenant(port, 5, 21);
    rig.open(port, control);
    const text = new TextEncoder().encode(`PORT 10,1,0,${port},20,1\r\n`);
    rig.send(port, tcpFrame(control, ACK, text, { sequence: 101, acknowledgment: 501 }));
  }
}

const listOf = (rig: FloodRig): string[] =>
  rig.datapath.conntrack
    .connections(rig.nowMs)
    .filter(({ zone }) => zone > 1)
    .map(({ zone, protocol, original, state }) => JSON.stringify([zone, protocol, original, state]))
    .sort();

describe("a flood from one port", () => {
  it(
    "takes nothing from quiet neighbours, keeps them from nothing, and costs no more memory than there is for it",
    () => {
      const names = Object.keys(ATTACKS);
      fc.assert(
        fc.property(
          fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 }),
          fc.integer({ min: 1500, max: 4000 }),
          fc.nat(1_000_000),
          (kinds, count, first) => {
            const rig = new FloodRig();
            settle(rig);
            const before = listOf(rig);
            expect(before).toHaveLength(TENANTS.length * 6);
            const frames: Uint8Array[][] = [[], []];
            const flush = (): void => {
              for (const port of [1, 2]) rig.send(port, ...(frames[port - 1] as Uint8Array[]).splice(0));
            };
            for (let n = 0; n < count; n++) {
              const attack = ATTACKS[kinds[n % kinds.length] as string] as Attack;
              for (const [port, frame] of attack(first + n)) {
                // What answers comes after what it answers.
                if (port === 2) flush();
                (frames[port - 1] as Uint8Array[]).push(frame);
              }
              if ((frames[0] as Uint8Array[]).length >= BURST) flush();
              expect(rig.datapath.conntrack.size).toBeLessThanOrEqual(CONNECTIONS_MAX);
              // A million packets a second.
              if (n % 1000 === 0) rig.nowMs += 1;
            }
            flush();
            expect(listOf(rig)).toEqual(before);
            expect(rig.datapath.conntrack.expectations.count).toBeLessThanOrEqual(EXPECTATIONS_MAX);
            for (const port of TENANTS) {
              // The data connection that was announced before is let in as such, and new ones are remembered.
              const data = { source: "10.2.0.1", sourcePort: 20, destination: `10.1.0.${port}` };
              expect(rig.where(port + 1, tcpFrame({ ...data, destinationPort: 5121 }, SYN))).toEqual([port]);
              const fresh = tenant(port, 9);
              expect(rig.where(port, udpFrame(fresh))).toEqual([port + 1]);
              expect(rig.where(port + 1, udpFrame(turn(fresh)))).toEqual([port]);
              const large = cut(udpFrame(tenant(port, 10), new Uint8Array(2000)), [1240]);
              expect(rig.send(port, ...large).get(port + 1)).toHaveLength(2);
            }
            expect(listOf(rig)).toHaveLength(TENANTS.length * 9);
            const related = rig.datapath.conntrack.expectations.count;
            rig.nowMs += 100_000;
            rig.datapath.tick(rig.nowMs);
            expect(rig.datapath.conntrack.expectations.count).toBe(0);
            expect(related).toBeLessThanOrEqual(EXPECTATIONS_MAX);
            expect(rig.pool.available).toBe(SLOTS);
          },
        ),
        { numRuns: 12, endOnFailure: true },
      );
    },
    DEADLINE_MS,
  );

  it.each(Object.keys(ATTACKS))("%s do fill what there is to fill", (name) => {
    const rig = new FloodRig();
    const attack = ATTACKS[name] as Attack;
    for (let n = 0; n < 1500; n++) for (const [port, frame] of attack(n)) rig.send(port, frame);
    const { size, fragments, expectations } = rig.datapath.conntrack;
    expect(
      Math.max(size / CONNECTIONS_MAX, fragments.held / 100, expectations.count / EXPECTATIONS_MAX),
    ).toBeGreaterThanOrEqual(1);
  });
});
