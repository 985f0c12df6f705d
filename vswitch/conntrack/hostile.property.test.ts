import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CT_STATE_EST,
  CT_STATE_INV,
  CT_STATE_NEW,
  CT_STATE_RPL,
  CT_STATE_TRK,
  type CtAction,
} from "../../base/openflow/index.js";
import { icmpFrame, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import { trackAction } from "../testing/track-rig.js";

/** A datapath per example takes its time on a busy machine. */
const DEADLINE_MS = 240_000;

const SLOTS = 256;
const A = { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 4000, destinationPort: 21 };
const A6 = { ...A, source: "fd00::1", destination: "fd00::2" };
const quoted = tcpFrame(A, 2).subarray(14);
const quoted6 = udpFrame(A6).subarray(14);
const line = new TextEncoder().encode("PORT 10,0,0,1,20,1\r\n");

/** Real packets to spoil: every kind that tracking looks into. */
const REAL: readonly Uint8Array[] = [
  tcpFrame(A, 2),
  tcpFrame(A, 16, line, { options: Uint8Array.of(3, 3, 7, 1) }),
  tcpFrame(A6, 2, new Uint8Array(0), { options: Uint8Array.of(3, 3, 7, 1) }),
  udpFrame(A, new Uint8Array(60)),
  udpFrame(A6, new Uint8Array(60)),
  icmpFrame(A, 8, 1),
  icmpFrame(A6, 128, 1),
  icmpFrame({ source: "10.0.0.9", destination: A.source }, 3, 0, quoted),
  icmpFrame({ source: "fd00::9", destination: A6.source }, 1, 0, quoted6),
];
const spoilt = fc
  .record({
    frame: fc.constantFrom(...REAL),
    edits: fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 6 }),
    size: fc.option(fc.integer({ min: 14, max: 120 }), { nil: undefined }),
  })
  .map(({ frame, edits, size }) => {
    const bytes = frame.slice(0, size);
    for (const [at, value] of edits) if (at < bytes.byteLength) bytes[at] = value;
    return bytes;
  });
const frames = fc.array(
  fc.tuple(fc.boolean(), fc.oneof(spoilt, fc.uint8Array({ minLength: 14, maxLength: 100 }))),
  {
    maxLength: 40,
  },
);

function hostileRig(): Rig {
  const rig = new Rig(2, { slots: SLOTS });
  const nat = (direction: "source" | "existing", address: number[]): CtAction["actions"] => [
    {
      type: "nat",
      direction,
      persistent: false,
      selection: "auto",
      ...(direction === "existing" ? {} : { addressMin: Uint8Array.from(address) }),
    },
  ];
  for (const [etherType, address] of [
    [0x0800, [192, 0, 2, 1]],
    [0x86dd, [0xfd, 1, ...Array(13).fill(0), 1]],
  ] as const) {
    const ip = field("eth_type", etherType);
    rig.flow({
      match: match(ip),
      instructions: [apply(trackAction({ tableId: 1, actions: nat("existing", []) }))],
    });
    const commit = (alg: number) =>
      apply(trackAction({ commit: true, alg, tableId: 2, actions: nat("source", [...address]) }));
    const fresh = field("ct_state", CT_STATE_NEW, CT_STATE_NEW);
    rig.flow({ tableId: 1, match: match(ip, fresh), instructions: [commit(0)] });
    rig.flow({
      tableId: 1,
      priority: 300,
      match: match(ip, field("ip_proto", 6), fresh),
      instructions: [commit(21)],
    });
    rig.flow({ tableId: 1, priority: 10, match: match(ip), instructions: [apply(output(2))] });
  }
  rig.flow({ tableId: 2, instructions: [apply(output(2))] });
  return rig;
}

describe("hostile packets", () => {
  it(
    "never break tracking, leave it more connections than it may have, or keep a packet for ever",
    () => {
      fc.assert(
        fc.property(frames, (sent) => {
          const rig = hostileRig();
          for (const [back, frame] of sent) rig.send(back ? 2 : 1, frame);
          expect(rig.datapath.conntrack.size).toBeLessThanOrEqual(1024);
          rig.nowMs += 60_000;
          rig.datapath.tick(rig.nowMs);
          expect(rig.pool.available).toBe(SLOTS);
          expect(rig.datapath.conntrack.fragments.held).toBe(0);
          // It still works.
          expect(rig.where(1, udpFrame({ ...A, source: "10.7.7.7" }))).toEqual([2]);
        }),
        { numRuns: 50 },
      );
    },
    DEADLINE_MS,
  );

  it(
    "have states that ovs-fields(7) allows: inv alone, never new with est or with rpl",
    () => {
      fc.assert(
        fc.property(frames, (sent) => {
          const rig = hostileRig();
          const tell = { type: "controller", maxLength: 0xffff, controllerId: 0, reason: "action" } as const;
          for (const tableId of [1, 2]) rig.flow({ tableId, priority: 900, instructions: [apply(tell)] });
          for (const [back, frame] of sent) {
            rig.nowMs += 10;
            rig.events = [];
            rig.send(back ? 2 : 1, frame);
            for (const event of rig.events) {
              if (event.type !== "packet_in") continue;
              const value =
                event.match.find((one) => one.field === "ct_state")?.value ?? Uint8Array.of(0, 0, 0, 0);
              const state = value[3] as number;
              expect(state & CT_STATE_TRK).toBe(CT_STATE_TRK);
              if ((state & CT_STATE_INV) !== 0) expect(state & 0x0f).toBe(0);
              if ((state & CT_STATE_NEW) !== 0) expect(state & (CT_STATE_EST | CT_STATE_RPL)).toBe(0);
            }
          }
        }),
        { numRuns: 50 },
      );
    },
    DEADLINE_MS,
  );
});
