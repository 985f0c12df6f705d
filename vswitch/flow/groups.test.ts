import { describe, expect, it } from "vitest";
import {
  type Action,
  type Bucket,
  type GroupMod,
  type GroupType,
  OFPG_ALL,
  OFPG_ANY,
  OFPMF_PKTPS,
  OFPP_ANY,
  OFPPC_PORT_DOWN,
} from "../../base/openflow/index.js";
import { plainFrame, tcpFrame } from "../testing/frames.js";
import { apply, codeOf, output, Rig } from "../testing/rig.js";

const frame = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const bucket = (actions: readonly Action[], more: Partial<Bucket> = {}): Bucket => ({
  weight: 0,
  watchPort: OFPP_ANY,
  watchGroup: OFPG_ANY,
  actions,
  ...more,
});
const group = (groupId: number): Action => ({ type: "group", groupId });

function change(
  rig: Rig,
  command: GroupMod["command"],
  groupType: GroupType,
  groupId: number,
  ...buckets: Bucket[]
): void {
  rig.bridge.change({ type: "group_mod", xid: 1, command, groupType, groupId, buckets }, rig.nowMs);
}

function setDown(rig: Rig, port: number, down: boolean): void {
  const macAddress = Uint8Array.of(2, 0, 0, 0, 0, port);
  const config = down ? OFPPC_PORT_DOWN : 0;
  rig.bridge.change(
    { type: "port_mod", xid: 1, port, macAddress, config, mask: OFPPC_PORT_DOWN, advertise: 0 },
    rig.nowMs,
  );
}

describe("groups", () => {
  it("that multiply, or watch each other in a circle, end after so many steps", () => {
    const rig = new Rig(2);
    for (let id = 32; id > 0; id--) {
      const actions = [id === 32 ? output(2) : group(id + 1)];
      change(rig, "add", "all", id, bucket(actions), bucket(actions));
    }
    rig.flow({ instructions: [apply(group(1))] });
    expect(rig.send(1, frame).get(2)?.length ?? 0).toBeLessThan(4096);
    expect(rig.pool.available).toBe(256);
    for (const id of [101, 102, 103]) {
      const watched = bucket([output(2)], { watchGroup: 101 + ((id - 100) % 3) });
      change(rig, "add", "ff", id, ...Array.from({ length: 1000 }, () => watched));
    }
    rig.flow({ instructions: [apply(group(101))] });
    expect(rig.where(1, frame)).toEqual([]);
    const reasons = rig.bridge.pipeline.dropCounters.report().map(({ reason }) => reason);
    expect(reasons).toContain("nesting");
    expect(reasons).toContain("no-live-bucket");
  });

  it("refuse with the specification's codes", () => {
    const rig = new Rig(2);
    const add = (type: GroupType, id: number, ...buckets: Bucket[]) =>
      codeOf(() => change(rig, "add", type, id, ...buckets));
    expect(add("all", 1, bucket([output(1)]))).toBe("accepted");
    expect(add("all", 1)).toBe("OFPGMFC_GROUP_EXISTS");
    expect(add("all", 0xffffff01)).toBe("OFPGMFC_INVALID_GROUP");
    expect(add("indirect", 2)).toBe("OFPGMFC_INVALID_GROUP");
    expect(add("all", 2, bucket([output(1)], { watchPort: 1 }))).toBe("OFPGMFC_WATCH_UNSUPPORTED");
    expect(add("all", 2, bucket([output(1)], { weight: 9 }))).toBe("OFPGMFC_INVALID_GROUP");
    expect(add("ff", 2, bucket([output(1)]))).toBe("OFPGMFC_INVALID_GROUP");
    expect(add("ff", 2, bucket([output(1)], { watchGroup: 0xffffff80 }))).toBe("OFPGMFC_BAD_WATCH");
    expect(add("all", 2, bucket([group(9)]))).toBe("OFPBAC_BAD_OUT_GROUP");
    expect(add("all", 2, bucket([group(2)]))).toBe("OFPGMFC_LOOP");
    expect(add("all", 2, bucket([{ type: "clone", actions: [group(1)] }]))).toBe("accepted");
    expect(codeOf(() => change(rig, "modify", "all", 1, bucket([group(2)])))).toBe("OFPGMFC_LOOP");
    expect(codeOf(() => change(rig, "modify", "all", 3))).toBe("OFPGMFC_UNKNOWN_GROUP");
    expect(codeOf(() => change(rig, "delete", "all", 1))).toBe("OFPGMFC_CHAINED_GROUP");
    expect(codeOf(() => change(rig, "delete", "all", 7))).toBe("accepted");
    change(rig, "delete", "all", 2);
    expect(codeOf(() => change(rig, "delete", "all", 1))).toBe("accepted");
    change(rig, "add", "all", 1);
    change(rig, "add", "all", 2, bucket([group(1)]));
    expect(codeOf(() => change(rig, "delete", "all", OFPG_ALL))).toBe("accepted");
    expect(rig.bridge.tables.groups.descriptions()).toEqual([]);
  });

  it("fail over to the first live bucket, by port and by group, with the next packet", () => {
    const rig = new Rig(3);
    change(rig, "add", "ff", 1, bucket([output(2)], { watchPort: 2 }));
    change(rig, "add", "ff", 2, bucket([group(1)], { watchGroup: 1 }), bucket([output(3)], { watchPort: 3 }));
    rig.flow({ instructions: [apply(group(2))] });
    expect(rig.where(1, frame)).toEqual([2]);
    setDown(rig, 2, true);
    expect(rig.where(1, frame)).toEqual([3]);
    setDown(rig, 3, true);
    expect(rig.where(1, frame)).toEqual([]);
    setDown(rig, 2, false);
    expect(rig.where(1, frame)).toEqual([2]);
    expect(rig.bridge.pipeline.dropCounters.report()).toMatchObject([
      { reason: "no-live-bucket", packets: 1, tableId: 0, priority: 100 },
    ]);
  });

  it("spread conversations by weight, each always to the same bucket", () => {
    const rig = new Rig(3);
    change(rig, "add", "select", 1, bucket([output(2)], { weight: 1 }), bucket([output(3)], { weight: 3 }));
    rig.flow({ instructions: [apply(group(1))] });
    const counts = new Map<number, number>();
    for (let n = 0; n < 400; n++) {
      const one = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + n }, 2);
      const [first] = rig.where(1, one);
      if (n % 10 === 0) expect(rig.where(1, one)).toEqual([first]);
      counts.set(first as number, (counts.get(first as number) ?? 0) + 1);
    }
    expect(counts.get(2)).toBeGreaterThan(60);
    expect(counts.get(2)).toBeLessThan(140);
    expect((counts.get(2) as number) + (counts.get(3) as number)).toBe(400);
  });

  it("keep an exit to the bucket that it is in, also when it is in a clone there", () => {
    const rig = new Rig(4);
    const exits: Action = { type: "clone", actions: [{ type: "exit" }] };
    change(rig, "add", "all", 1, bucket([exits, output(2)]), bucket([output(3)]));
    rig.flow({ instructions: [apply(group(1), output(4))] });
    expect(rig.where(1, frame)).toEqual([3, 4]);
  });

  it("count packets and references", () => {
    const rig = new Rig(3);
    change(rig, "add", "all", 1, bucket([output(2)]), bucket([output(3)]));
    change(rig, "add", "indirect", 2, bucket([group(1)]));
    rig.flow({ instructions: [apply(group(1))] });
    rig.flow({ priority: 3, instructions: [apply({ type: "clone", actions: [group(1)] })] });
    rig.send(1, frame, frame);
    const [stats] = rig.bridge.tables.groupStats(rig.nowMs);
    expect(stats).toMatchObject({
      groupId: 1,
      referenceCount: 3,
      packetCount: 2n,
      byteCount: BigInt(2 * frame.byteLength),
      buckets: [{ packetCount: 2n }, { packetCount: 2n }],
    });
  });

  it("go on counting when they are modified, with buckets that begin anew", () => {
    const rig = new Rig(3);
    change(rig, "add", "all", 1, bucket([output(2)]));
    rig.flow({ instructions: [apply(group(1))] });
    rig.send(1, frame, frame);
    rig.nowMs += 3_500;
    change(rig, "modify", "indirect", 1, bucket([output(3)]));
    expect(rig.where(1, frame)).toEqual([3]);
    expect(rig.bridge.tables.groupStats(rig.nowMs)[0]).toMatchObject({
      packetCount: 3n,
      byteCount: BigInt(3 * frame.byteLength),
      durationSeconds: 3,
      buckets: [{ packetCount: 1n, byteCount: BigInt(frame.byteLength) }],
    });
  });
});

describe("meters", () => {
  it("refuse numbers that are no meter's, and drop what exceeds their rate, by name", () => {
    const rig = new Rig(2);
    const meter = (meterId: number) =>
      codeOf(() =>
        rig.bridge.change(
          {
            type: "meter_mod",
            xid: 1,
            command: "add",
            flags: OFPMF_PKTPS,
            meterId,
            bands: [{ type: "drop", rate: 10, burstSize: 0 }],
          },
          rig.nowMs,
        ),
      );
    expect(meter(0)).toBe("OFPMMFC_INVALID_METER");
    expect(meter(0xffff0001)).toBe("OFPMMFC_INVALID_METER");
    expect(meter(0xffffffff)).toBe("OFPMMFC_INVALID_METER");
    expect(meter(1)).toBe("accepted");
    rig.flow({ cookie: 9n, instructions: [{ type: "meter", meterId: 1 }, apply(output(2))] });
    expect(rig.send(1, frame, frame, frame).get(2)).toHaveLength(1);
    expect(rig.bridge.pipeline.dropCounters.report()).toEqual([
      { reason: "meter", packets: 2, tableId: 0, cookie: 9n, priority: 100 },
    ]);
  });

  it("go on counting when they are modified, with bands that begin anew", () => {
    const rig = new Rig(2);
    const meter = (command: "add" | "modify", rate: number): void =>
      rig.bridge.change(
        {
          ...({ type: "meter_mod", xid: 1, command, flags: OFPMF_PKTPS, meterId: 1 } as const),
          bands: [{ type: "drop", rate, burstSize: 0 }],
        },
        rig.nowMs,
      );
    meter("add", 10);
    rig.flow({ instructions: [{ type: "meter", meterId: 1 }, apply(output(2))] });
    rig.send(1, frame, frame, frame);
    rig.nowMs += 3_500;
    meter("modify", 20);
    expect(rig.send(1, frame, frame, frame).get(2), "two at once of twenty a second").toHaveLength(2);
    expect(rig.bridge.tables.meterStats(rig.nowMs)[0]).toMatchObject({
      packetInCount: 6n,
      byteInCount: BigInt(6 * frame.byteLength),
      durationSeconds: 3,
      bands: [{ packetCount: 1n, byteCount: BigInt(frame.byteLength) }],
    });
  });
});
