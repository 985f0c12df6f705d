import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import type { Action } from "../../base/openflow/index.js";
import { addGroupsAndMeters, counts, FRAMES, flow, offer } from "../testing/random-tables.js";
import { goto, output, Rig } from "../testing/rig.js";

describe("Pipeline", () => {
  it("gives the same frames from its cache as without, and loses no packet", () => {
    let known = 0;
    let masked = 0;
    fc.assert(
      fc.property(
        fc.array(flow, { maxLength: 12 }),
        fc.array(fc.array(fc.nat(FRAMES.length - 1), { minLength: 1, maxLength: 4 }), {
          minLength: 1,
          maxLength: 6,
        }),
        (flows, bursts) => {
          const cached = new Rig(3, { slots: 64 });
          const fresh = new Rig(3, { slots: 64 });
          // NORMAL knows where frames go, or floods those in VLAN 5.
          for (const { bridge } of [cached, fresh])
            bridge.forwarding.macs.addStatic(0x52540000, 0x000b, 0, 3);
          for (const rig of [cached, fresh]) addGroupsAndMeters(rig);
          for (const mod of flows) for (const rig of [cached, fresh]) offer(rig, mod);
          for (const burst of [...bursts, ...bursts]) {
            fresh.bridge.tables.invalidate();
            const frames = burst.map((index) => FRAMES[index] as Uint8Array);
            const text = (rig: Rig): string =>
              JSON.stringify([...rig.send(1, ...frames)].map(([port, sent]) => [port, sent.map(toHex)]));
            expect(text(cached)).toBe(text(fresh));
          }
          expect(Array.from(cached.bridge.pipeline.dropCounters.packets)).toEqual(
            Array.from(fresh.bridge.pipeline.dropCounters.packets),
          );
          expect(cached.pool.available).toBe(64);
          expect(cached.bridge.tables.tableStats().slice(0, 3)).toEqual(
            fresh.bridge.tables.tableStats().slice(0, 3),
          );
          expect(counts(cached)).toEqual(counts(fresh));
          const { groups, meters } = cached.bridge.tables;
          expect(groups.stats(0, new Map())).toEqual(fresh.bridge.tables.groups.stats(0, new Map()));
          expect(meters.stats(0, new Map())).toEqual(fresh.bridge.tables.meters.stats(0, new Map()));
          masked += cached.bridge.bursts.masked.hits;
          known += cached.bridge.cacheHits - cached.bridge.pipeline.cache.hits;
        },
      ),
      { numRuns: 200 },
    );
    expect(known).toBeGreaterThan(200);
    expect(masked).toBeGreaterThan(50);
  });

  it("takes arbitrary bytes as frames without a fault, whatever is done to them", () => {
    const rig = new Rig(3, { slots: 64 });
    const anything: Action[] = [
      { type: "push_mpls", etherType: 0x8847 },
      { type: "copy_ttl_out" },
      { type: "dec_mpls_ttl" },
      { type: "copy_ttl_in" },
      { type: "pop_mpls", etherType: 0x0800 },
      { type: "set_nw_ttl", ttl: 9 },
      { type: "push_vlan", etherType: 0x88a8 },
      { type: "push_pbb", etherType: 0x88e7 },
      { type: "pop_pbb" },
      { type: "pop_vlan" },
      { type: "load", destination: { field: "ipv4_src", offset: 0, bits: 32 }, value: 1n },
      { type: "load", destination: { field: "ipv6_dst", offset: 0, bits: 128 }, value: 1n },
      { type: "load", destination: { field: "tcp_dst", offset: 0, bits: 16 }, value: 1n },
      { type: "load", destination: { field: "ip_proto", offset: 0, bits: 8 }, value: 58n },
      { type: "load", destination: { field: "icmpv6_type", offset: 0, bits: 8 }, value: 135n },
      { type: "load", destination: { field: "ipv6_nd_target", offset: 0, bits: 128 }, value: 1n },
      { type: "load", destination: { field: "ipv6_nd_sll", offset: 0, bits: 48 }, value: 1n },
      { type: "load", destination: { field: "arp_tha", offset: 0, bits: 48 }, value: 1n },
      { type: "load", destination: { field: "eth_type", offset: 0, bits: 16 }, value: 0x86ddn },
      { type: "ct", commit: true, force: false, zone: 1, alg: 0, actions: [] },
      output(2),
    ];
    rig.bridge.change(
      {
        type: "group_mod",
        xid: 1,
        command: "add",
        groupType: "all",
        groupId: 1,
        buckets: anything.map((one) => ({
          weight: 0,
          watchPort: 0xffffffff,
          watchGroup: 0xffffffff,
          actions: [one, output(3)],
        })),
      },
      0,
    );
    rig.flow({
      instructions: [{ type: "apply_actions", actions: [{ type: "group", groupId: 1 }] }, goto(1)],
    });
    // Prerequisites are checked against the match, so the same without them comes in by a packet-out.
    const type = fc.constantFrom(
      [0x08, 0x00, 0x45],
      [0x86, 0xdd, 0x60],
      [0x08, 0x06, 0x00],
      [0x88, 0x47, 0x00],
      [0x81, 0x00, 0x00],
      [0x88, 0xe7, 0x00],
      [0, 0, 0],
    );
    fc.assert(
      fc.property(type, fc.uint8Array({ minLength: 14, maxLength: 200 }), (head, data) => {
        if (head[0] !== 0 || head[1] !== 0) data.set(head.slice(0, Math.min(3, data.length - 12)), 12);
        rig.send(1, data);
        rig.bridge.change(
          { type: "packet_out", xid: 1, bufferId: 0xffffffff, inPort: 1, actions: anything, data },
          rig.nowMs,
        );
        rig.send(1);
        expect(rig.pool.available).toBe(64);
      }),
      { numRuns: 2000 },
    );
  });
});
