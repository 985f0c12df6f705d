// Groups outlive the switch as they are, also those that were changed bucket by bucket; options of tunnels too.
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
import { changeTunnelOptions } from "./flow-keeper.js";

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

it("options of tunnels are mapped as they were after a restart, and so are the flows that name them", () => {
  const directory = mkdtempSync("/tmp/kept-options-");
  try {
    const path = join(directory, "flows");
    const rigs = [new Rig(2), new Rig(2), new Rig(2)] as const;
    const [before, after, again] = rigs;
    before.bridge.keepFlows(path, before.nowMs);
    const mapping = (number: number) => [1, 2, number, 8, 0, number, 0, 0];
    const mod = (command: number, number: number): Uint8Array =>
      Uint8Array.of(0, command, 0, 0, 0, 0, 0, 0, ...mapping(number));
    for (const one of [mod(0, 3), mod(0, 4), mod(1, 3)])
      expect(changeTunnelOptions(before.bridge, one)).toBeUndefined();
    before.flow({ match: [{ field: "tun_metadata4", value: Uint8Array.of(7) }] });
    for (const rig of [after, again]) {
      rig.bridge.keepFlows(path, rig.nowMs);
      expect(rig.bridge.tables.options.describe()).toEqual(before.bridge.tables.options.describe());
      expect(rig.bridge.tables.flowsOf(0).map(({ match }) => match)).toEqual([
        [{ field: "tun_metadata4", value: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 7) }],
      ]);
    }
    expect(after.bridge.tables.options.names).toEqual(["tun_metadata4"]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
