import { describe, expect, it } from "vitest";
import type { CtAction } from "../../base/openflow/index.js";
import { ipv4Bytes, parseIpv4Address } from "../../base/wire/index.js";
import { A, A6, INVALID, NEW, natTo, REPLY, turn } from "../testing/conversation.js";
import { cut, join } from "../testing/fragments.js";
import { type Ends, icmpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import { TrackRig, trackAction } from "../testing/track-rig.js";

const PAYLOAD = Uint8Array.from({ length: 3500 }, (_, i) => i & 0xff);

/** ct_state of each packet that got past tracking. */
function states(rig: TrackRig, port: number, ...frames: Uint8Array[]): number[] {
  rig.events = [];
  rig.send(port, ...frames);
  return rig.events.flatMap((event) =>
    event.type === "packet_in" ? [Number(rig.value(event.match, "ct_state"))] : [],
  );
}

describe("fragments", () => {
  it.each([A, A6])(
    "of $source are held until their datagram is whole, then go on as one, in any order",
    (ends) => {
      for (const order of [
        [0, 1, 2],
        [2, 0, 1],
        [1, 2, 0],
      ]) {
        const rig = new TrackRig();
        const pieces = cut(udpFrame(ends, PAYLOAD), [1400, 2800]);
        const [first, second, third] = order.map((n) => pieces[n] as Uint8Array) as [
          Uint8Array,
          Uint8Array,
          Uint8Array,
        ];
        expect(states(rig, 1, first)).toEqual([]);
        expect(states(rig, 1, second)).toEqual([]);
        expect(rig.pool.available).toBe(254);
        expect(states(rig, 1, third)).toEqual([NEW, NEW, NEW]);
        expect(rig.pool.available).toBe(256);
        expect(rig.datapath.conntrack.connections(rig.nowMs).map((one) => one.original.sourcePort)).toEqual([
          A.sourcePort,
        ]);
        expect(states(rig, 2, ...cut(udpFrame(turn(ends), PAYLOAD), [1400, 2800]))).toEqual([
          REPLY,
          REPLY,
          REPLY,
        ]);
      }
    },
  );

  it("of a datagram with a wrong checksum are invalid, all of them", () => {
    const rig = new TrackRig();
    const pieces = cut(udpFrame(A, PAYLOAD), [1400, 2800]);
    const broken = pieces[1] as Uint8Array;
    broken[500] = (broken[500] as number) ^ 1;
    expect(states(rig, 1, ...pieces)).toEqual([INVALID, INVALID, INVALID]);
    expect(rig.datapath.conntrack.size).toBe(0);
  });

  it("that overlap drop their datagram, exact duplicates only themselves", () => {
    const rig = new TrackRig();
    const [a, b, c] = cut(udpFrame(A, PAYLOAD), [1400, 2800]) as [Uint8Array, Uint8Array, Uint8Array];
    const [, overlapping] = cut(udpFrame(A, PAYLOAD), [1392, 2800]) as [Uint8Array, Uint8Array];
    expect(states(rig, 1, a, a)).toEqual([INVALID]);
    expect(states(rig, 1, overlapping)).toEqual([INVALID]);
    expect(rig.pool.available).toBe(256);
    expect(states(rig, 1, b, c)).toEqual([]);
    expect(rig.datapath.conntrack.fragments.counters[0].overlapped).toBe(2);
  });

  it("that are too small, or too late, do not wait", () => {
    const rig = new TrackRig();
    expect(states(rig, 1, ...cut(udpFrame(A, PAYLOAD), [800, 2800]).slice(0, 1))).toEqual([INVALID]);
    states(rig, 1, ...cut(udpFrame(A, PAYLOAD), [1400, 2800]).slice(0, 2));
    rig.nowMs += 16_000;
    rig.datapath.tick(rig.nowMs);
    expect(rig.pool.available).toBe(256);
    expect(rig.datapath.conntrack.fragments.counters[0]).toMatchObject({ tooSmall: 1, expired: 2 });
  });

  it("are held as the settings say: per IP version, their number and their size", () => {
    const rig = new TrackRig();
    const { conntrack } = rig.datapath;
    const first = (ends: Required<Ends>, n = 7) => cut(udpFrame(ends, PAYLOAD), [1400, 2800], n).slice(0, 1);
    states(rig, 1, ...first(A), ...first(A6));
    expect(conntrack.status().fragmentLists).toEqual([
      expect.objectContaining({ ipv6: false, source: A.source, zone: 5, protocol: 17, state: "first frag" }),
      expect.objectContaining({ ipv6: true, source: A6.source, zone: 5, protocol: 0, count: 1 }),
    ]);
    // What is held goes with the version that is switched off, and with no other.
    conntrack.configure({ fragments: { version: 4, enabled: false } });
    expect(conntrack.status().fragmentLists.map(({ ipv6 }) => ipv6)).toEqual([true]);
    expect(conntrack.fragments.counters.map(({ purged }) => purged)).toEqual([1, 0]);
    expect(states(rig, 1, ...first(A))).toEqual([INVALID]);
    conntrack.configure({ fragments: { version: 4, enabled: true, sizeMin: 1500 } });
    expect(states(rig, 1, ...first(A))).toEqual([INVALID]);
    conntrack.configure({ fragments: { sizeMin: 400, max: 5000 } });
    expect(states(rig, 1, ...first(A))).toEqual([]);
    expect(conntrack.status()).toMatchObject({ fragmentsMax: 5000, fragmentsHeld: 2 });
  });

  it("of one sender leave room for those of others, and packets for everybody", () => {
    const rig = new TrackRig();
    for (let n = 0; n < 2000; n++) states(rig, 1, ...cut(udpFrame(A, PAYLOAD), [1400], n).slice(0, 1));
    expect(rig.pool.available).toBeGreaterThanOrEqual(256 >> 2);
    rig.datapath.conntrack.fragments.purge();
    expect(rig.pool.available).toBe(256);
    rig.datapath.conntrack.fragments.fragmentsMax = 40;
    // Packet-ins are limited too.
    rig.nowMs += 5000;
    for (let n = 0; n < 100; n++) states(rig, 1, ...cut(udpFrame(A, PAYLOAD), [1400], n).slice(0, 1));
    expect(rig.datapath.conntrack.fragments.held).toBe(10);
    expect(states(rig, 1, ...cut(udpFrame({ ...A, source: "10.0.0.3" }, PAYLOAD), [1400, 2800]))).toEqual([
      NEW,
      NEW,
      NEW,
    ]);
  });

  it("are translated: addresses of all, ports of the first, with right checksums, there and back", () => {
    const rig = new Rig(2);
    const ip = field("eth_type", 0x0800);
    const nat = (direction: "source" | "existing"): CtAction["actions"] => [
      {
        type: "nat",
        direction,
        persistent: false,
        selection: "auto",
        ...(direction === "source"
          ? { addressMin: ipv4Bytes(parseIpv4Address("192.0.2.1")), portMin: 5000 }
          : {}),
      },
    ];
    rig.flow({
      match: match(ip, field("in_port", 1)),
      instructions: [apply(trackAction({ commit: true, tableId: 1, actions: nat("source") }))],
    });
    rig.flow({ tableId: 1, match: match(field("in_port", 1)), instructions: [apply(output(2))] });
    rig.flow({
      match: match(ip, field("in_port", 2)),
      instructions: [apply(trackAction({ tableId: 1, actions: nat("existing") }))],
    });
    rig.flow({ tableId: 1, match: match(field("in_port", 2)), instructions: [apply(output(1))] });
    const out = rig.send(1, ...cut(udpFrame(A, PAYLOAD), [1400, 2800])).get(2) ?? [];
    const outside = { ...A, source: "192.0.2.1", sourcePort: 5000 };
    expect(out).toHaveLength(3);
    for (const frame of out) expect([...frame.slice(26, 30)]).toEqual([192, 0, 2, 1]);
    expect(join(out)).toEqual(udpFrame(outside, PAYLOAD).slice(34));
    const back = rig.send(2, ...cut(udpFrame(turn(outside), PAYLOAD), [2000])).get(1) ?? [];
    expect(join(back)).toEqual(udpFrame(turn(A), PAYLOAD).slice(34));
    expect(rig.pool.available).toBe(256);
  });

  it.each([A, A6])(
    "of $source pass a ct() that leads to no table: once, at once, and tracked when whole",
    (ends) => {
      const rig = new Rig(3);
      const commit = trackAction({ commit: true });
      const ip = field("eth_type", ends === A ? 0x0800 : 0x86dd);
      // What stands in front of ct() is done once too.
      rig.flow({ match: match(ip), instructions: [apply(output(3), commit, output(2))] });
      const [first, second, third] = cut(udpFrame(ends, PAYLOAD), [1400, 2800]) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      const out: Uint8Array[] = [];
      for (const [piece, connections] of [
        [second, 0],
        [first, 0],
        [third, 1],
      ] as const) {
        const sent = rig.send(1, piece);
        expect(sent.get(3)).toEqual([piece]);
        out.push(...(sent.get(2) ?? []));
        expect(rig.datapath.conntrack.size).toBe(connections);
      }
      expect(out).toEqual([second, first, third]);
      expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.original.sourcePort).toBe(ends.sourcePort);
      expect(rig.pool.available).toBe(256);
      // What never becomes whole is let go of.
      rig.send(1, first);
      rig.nowMs += 16_000;
      rig.datapath.tick(rig.nowMs);
      expect(rig.pool.available).toBe(256);
    },
  );

  it("lose the last one where their connection may not be", () => {
    const rig = new Rig(2);
    rig.datapath.conntrack.configure({ limits: [{ zone: 5, limit: 1 }] });
    const ip = field("eth_type", 0x0800);
    rig.flow({ match: match(ip), instructions: [apply(trackAction({ commit: true }), output(2))] });
    rig.send(1, udpFrame({ ...A, source: "10.0.0.9" }));
    expect(rig.send(1, ...cut(udpFrame(A, PAYLOAD), [1400, 2800])).get(2)).toHaveLength(2);
    expect(rig.datapath.counters()["drop_conntrack_zone_limit"]).toBe(1);
    expect(rig.pool.available).toBe(256);
  });

  it("that are translated without a table to go on in wait, and come out whole", () => {
    const rig = new Rig(2);
    const ip = field("eth_type", 0x0800);
    const actions = natTo("source", "192.0.2.1", 5000);
    rig.flow({ match: match(ip), instructions: [apply(trackAction({ commit: true, actions }), output(2))] });
    const out = rig.send(1, ...cut(udpFrame(A, PAYLOAD), [1400, 2800])).get(2) ?? [];
    const outside = { ...A, source: "192.0.2.1", sourcePort: 5000 };
    expect(join(out)).toEqual(udpFrame(outside, PAYLOAD).slice(34));
    expect(rig.pool.available).toBe(256);
  });

  it("of an echo request are tracked by its identifier", () => {
    const rig = new TrackRig();
    expect(states(rig, 1, ...cut(icmpFrame(A, 8, 0x00050001, PAYLOAD), [1400, 2800]))).toEqual([
      NEW,
      NEW,
      NEW,
    ]);
    const reply = icmpFrame(turn(A), 0, 0x00050001, PAYLOAD);
    expect(states(rig, 2, ...cut(reply, [1400, 2800]))).toEqual([REPLY, REPLY, REPLY]);
    expect(rig.datapath.conntrack.size).toBe(1);
  });
});
