import { describe, expect, it } from "vitest";
import {
  type Bucket,
  type GroupMod,
  OFPG_ANY,
  OFPG_BUCKET_ALL,
  OFPG_BUCKET_FIRST,
  OFPG_BUCKET_LAST,
  OFPP_ANY,
} from "../../base/openflow/index.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, field, output, Rig } from "../testing/rig.js";

const bucket = (port: number, bucketId?: number): Bucket => ({
  ...{ weight: 1, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [output(port)] },
  ...(bucketId === undefined ? {} : { bucketId }),
});
const groupMod = (mod: Partial<GroupMod>): GroupMod => ({
  ...{ type: "group_mod", xid: 1, command: "add", groupType: "select", groupId: 1, buckets: [] },
  ...mod,
});
const insert = (at: number, ...buckets: Bucket[]): GroupMod =>
  groupMod({
    command: "modify",
    groupType: "all",
    bucketCommand: "insert_bucket",
    commandBucketId: at,
    buckets,
  });
const remove = (at: number): GroupMod =>
  groupMod({ command: "modify", groupType: "all", bucketCommand: "remove_bucket", commandBucketId: at });

function change(rig: Rig, mod: GroupMod): string {
  try {
    rig.bridge.change(mod, rig.nowMs);
    return "accepted";
  } catch (thrown) {
    return (thrown as { code: string }).code;
  }
}

const idsOf = (rig: Rig): (number | undefined)[] =>
  rig.bridge.tables.groups.descriptions().flatMap(({ buckets }) => buckets.map(({ bucketId }) => bucketId));

describe("buckets", () => {
  it("are put in and taken out by place and number, and nothing else of the group changes", () => {
    const rig = new Rig(4);
    change(rig, groupMod({ buckets: [bucket(2), bucket(3)] }));
    rig.nowMs += 5000;
    for (const mod of [insert(OFPG_BUCKET_LAST, bucket(4, 9)), insert(OFPG_BUCKET_FIRST, bucket(4, 8))])
      expect(change(rig, mod)).toBe("accepted");
    expect(change(rig, insert(1, bucket(4, 7), bucket(4, 6)))).toBe("accepted");
    expect(idsOf(rig)).toEqual([8, 0, 1, 7, 6, 9]);
    expect(change(rig, remove(OFPG_BUCKET_FIRST))).toBe("accepted");
    expect(change(rig, remove(7))).toBe("accepted");
    expect(change(rig, remove(OFPG_BUCKET_LAST))).toBe("accepted");
    expect(idsOf(rig)).toEqual([0, 1, 6]);
    expect(rig.bridge.tables.groups.descriptions()).toMatchObject([{ groupType: "select" }]);
    expect(rig.bridge.tables.groupStats(rig.nowMs)).toMatchObject([{ durationSeconds: 5 }]);
    expect(change(rig, remove(OFPG_BUCKET_ALL))).toBe("accepted");
    expect(idsOf(rig)).toEqual([]);
  });

  it("that stay go on counting", () => {
    const rig = new Rig(4);
    change(
      rig,
      groupMod({ groupType: "all", buckets: [bucket(2), bucket(3)].map((one) => ({ ...one, weight: 0 })) }),
    );
    rig.flow({ instructions: [apply({ type: "group", groupId: 1 })] });
    const frame = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 2);
    rig.send(1, frame, frame);
    change(rig, remove(0));
    change(rig, insert(OFPG_BUCKET_LAST, { ...bucket(4, 5), weight: 0 }));
    expect([...rig.send(1, frame).keys()]).toEqual([3, 4]);
    expect(rig.bridge.tables.groupStats(rig.nowMs)).toMatchObject([
      { packetCount: 3n, buckets: [{ packetCount: 3n }, { packetCount: 1n }] },
    ]);
  });

  it("are refused that cannot be there, and then nothing has changed", () => {
    const rig = new Rig(4);
    expect(change(rig, insert(OFPG_BUCKET_LAST, bucket(2)))).toBe("OFPGMFC_UNKNOWN_GROUP");
    change(rig, groupMod({ buckets: [bucket(2), bucket(3)] }));
    expect(change(rig, insert(1, bucket(4, 1)))).toBe("OFPGMFC_BUCKET_EXISTS");
    expect(change(rig, insert(44, bucket(4, 7)))).toBe("OFPGMFC_UNKNOWN_BUCKET");
    expect(change(rig, insert(OFPG_BUCKET_ALL, bucket(4, 7)))).toBe("OFPGMFC_BAD_BUCKET");
    expect(change(rig, { ...remove(1), buckets: [bucket(4)] })).toBe("OFPGMFC_BAD_BUCKET");
    expect(change(rig, remove(55))).toBe("OFPGMFC_UNKNOWN_BUCKET");
    const own: Bucket = { ...bucket(1, 7), actions: [{ type: "group", groupId: 1 }] };
    expect(change(rig, insert(OFPG_BUCKET_LAST, own))).toBe("OFPGMFC_LOOP");
    change(rig, groupMod({ groupType: "indirect", groupId: 2, buckets: [{ ...bucket(2), weight: 0 }] }));
    expect(change(rig, { ...remove(0), groupId: 2 })).toBe("OFPGMFC_INVALID_GROUP");
    expect(idsOf(rig)).toEqual([undefined, undefined, undefined]);
  });
});

describe("a selection method", () => {
  const to = (rig: Rig, source: string, sourcePort: number): number | undefined =>
    rig.where(1, tcpFrame({ source, destination: "10.0.0.2", sourcePort }, 2))[0];

  it("chooses by the fields that it names and no others, and by its parameter", () => {
    const rig = new Rig(3);
    const selection = (parameter: bigint): GroupMod["selection"] => ({
      method: "hash",
      parameter,
      fields: [field("ipv4_src", 0xffffff00)],
    });
    const buckets = [bucket(2), bucket(3)];
    change(rig, groupMod({ buckets, selection: selection(0n) as NonNullable<GroupMod["selection"]> }));
    rig.flow({ instructions: [apply({ type: "group", groupId: 1 })] });
    const nets = Array.from({ length: 64 }, (_, n) => `10.1.${n}`);
    const first = nets.map((net) => to(rig, `${net}.1`, 1));
    expect(new Set(first)).toEqual(new Set([2, 3]));
    for (let port = 2; port < 5; port++)
      expect(nets.map((net) => to(rig, `${net}.${port}`, port))).toEqual(first);
    change(
      rig,
      groupMod({
        command: "modify",
        buckets,
        selection: selection(7n) as NonNullable<GroupMod["selection"]>,
      }),
    );
    expect(nets.map((net) => to(rig, `${net}.1`, 1))).not.toEqual(first);
  });

  it("is told with the group, and refused where it makes no sense", () => {
    const rig = new Rig(3);
    const selection = { method: "dp_hash", parameter: 3n, fields: [] };
    expect(change(rig, groupMod({ buckets: [bucket(2)], selection }))).toBe("accepted");
    expect(rig.bridge.tables.groups.descriptions()).toMatchObject([{ selection }]);
    const bad = (mod: Partial<GroupMod>): string => change(rig, groupMod({ groupId: 2, selection, ...mod }));
    expect(bad({ groupType: "all" })).toBe("OFPTFFC_BAD_ARGUMENT");
    expect(bad({ selection: { ...selection, method: "foo" } })).toBe("OFPTFFC_BAD_ARGUMENT");
    expect(bad({ selection: { ...selection, fields: [field("tcp_dst", 0xffff)] } })).toBe(
      "OFPTFFC_BAD_ARGUMENT",
    );
    expect(rig.bridge.tables.groups.descriptions()).toHaveLength(1);
  });
});
