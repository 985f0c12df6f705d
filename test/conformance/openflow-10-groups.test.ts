// Groups as the ovs-ofctl of every day speaks of them, without -O: in Nicira's messages for OpenFlow 1.0. Our switch and
// a real Open vSwitch are told the same and must say the same.
import { afterAll, beforeAll, expect, it } from "vitest";
import { DummyTwins } from "../support/dummy-twins.js";

let twins: DummyTwins;

beforeAll(async () => {
  twins = await DummyTwins.open();
  await twins.both("vsctl add-br br0 -- set-fail-mode br0 secure");
});

afterAll(async () => {
  await twins?.close();
});

const LINES = [
  "add-group br0 group_id=1,type=select,selection_method=hash,fields(ip_src,tcp_dst),bucket=output:1,bucket=output:2",
  "add-group br0 group_id=2,type=select,selection_method=dp_hash,selection_method_param=3,bucket=weight:7,output:1",
  "add-group br0 group_id=3,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:1,group:1",
  "add-group br0 group_id=1,type=all",
  "insert-buckets br0 group_id=1,command_bucket_id=last,bucket=bucket_id=9,output:2",
  "insert-buckets br0 group_id=1,command_bucket_id=first,bucket=bucket_id=8,output:2",
  "insert-buckets br0 group_id=1,command_bucket_id=1,bucket=bucket_id=7,output:2",
  "insert-buckets br0 group_id=1,command_bucket_id=1,bucket=bucket_id=7,output:2",
  "insert-buckets br0 group_id=1,command_bucket_id=44,bucket=bucket_id=17,output:2",
  "insert-buckets br0 group_id=77,command_bucket_id=last,bucket=bucket_id=17,output:2",
  "dump-groups br0 1",
  "remove-buckets br0 group_id=1,command_bucket_id=first",
  "remove-buckets br0 group_id=1,command_bucket_id=7",
  "remove-buckets br0 group_id=1,command_bucket_id=55",
  "dump-groups br0 1",
  "dump-groups br0 2",
  "dump-groups br0 3",
  "dump-groups br0 99",
  "add-flow br0 in_port=1,actions=group:2",
  "dump-group-stats br0 group_id=2",
  "dump-group-stats br0 group_id=99",
  "mod-group br0 group_id=2,type=all,bucket=output:1",
  "mod-group br0 group_id=66,type=all,bucket=output:1",
  "--may-create mod-group br0 group_id=66,type=all,bucket=output:1",
  "dump-groups br0 66",
  "del-groups br0 group_id=66",
  "remove-buckets br0 group_id=2,command_bucket_id=all",
  "dump-groups br0 2",
  "del-groups br0",
  "dump-groups br0",
  "dump-flows br0",
] as const;

it("ovs-ofctl says the same of every command for groups", async () => {
  for (const line of LINES) {
    const { ours, real } = await twins.answers(`ofctl ${line}`);
    expect(ours, line).toBe(real);
  }
});
