// Groups outlive the switch as they are, also those that were changed bucket by bucket.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import {
  type Bucket,
  type GroupMod,
  OFPG_ANY,
  OFPG_BUCKET_FIRST,
  OFPG_BUCKET_LAST,
  OFPP_ANY,
} from "../../base/openflow/index.js";
import { field, output, Rig } from "../testing/rig.js";

it("a group that was changed bucket by bucket is the same after a restart, and so is what chooses", () => {
  const directory = mkdtempSync("/tmp/kept-groups-");
  try {
    const path = join(directory, "flows");
    const before = new Rig(3);
    before.bridge.keepFlows(path, before.nowMs);
    const bucket = (port: number): Bucket => ({
      ...{ weight: 2, watchPort: port, watchGroup: OFPG_ANY, actions: [output(port)] },
    });
    const base = { type: "group_mod", xid: 1, groupType: "select", groupId: 1 } as const;
    const fields = [field("ipv4_src", 0xffffff00)];
    const mods: GroupMod[] = [
      {
        ...base,
        command: "add",
        buckets: [bucket(1), bucket(2)],
        selection: { method: "hash", parameter: 5n, fields },
      },
      {
        ...{ ...base, command: "modify", bucketCommand: "insert_bucket", commandBucketId: OFPG_BUCKET_LAST },
        buckets: [{ ...bucket(3), watchPort: OFPP_ANY, bucketId: 9 }],
      },
      {
        ...base,
        command: "modify",
        bucketCommand: "remove_bucket",
        commandBucketId: OFPG_BUCKET_FIRST,
        buckets: [],
      },
      { ...base, groupId: 2, command: "add", buckets: [bucket(1)] },
    ];
    for (const mod of mods) before.bridge.change(mod, before.nowMs);
    const kept = before.bridge.tables.groups.descriptions();
    expect(kept[0]?.buckets.map(({ bucketId }) => bucketId)).toEqual([1, 9]);
    const after = new Rig(3);
    after.bridge.keepFlows(path, after.nowMs);
    expect(after.bridge.tables.groups.descriptions()).toEqual(kept);
    // Written anew by the restart, and read once more.
    const again = new Rig(3);
    again.bridge.keepFlows(path, again.nowMs);
    expect(again.bridge.tables.groups.descriptions()).toEqual(kept);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
