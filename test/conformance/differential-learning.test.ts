// NORMAL, its table of stations and mirrors beside a real Open vSwitch, as ovs-appctl shows them: fdb/*, and traces that
// learn, flood, mirror and refuse, line by line. What passes on the wire is compared by differential-vlan.test.ts and
// differential-mirrors.test.ts.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { DummyTwins, type Line } from "../support/dummy-twins.js";

const PORTS = 5;
const DEADLINE_MS = 30_000;

let twins: DummyTwins;

beforeAll(async () => {
  twins = await DummyTwins.open();
  await twins.both(
    "vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail_mode=standalone other_config:hwaddr=aa:55:aa:55:00:00",
    // One after the other: Open vSwitch floods in the order in which ports came.
    ...Array.from({ length: PORTS }, (_, n) => `vsctl ${added(`p${n + 1}`, n + 1)}`),
    "appctl time/stop",
  );
});
afterAll(() => twins?.close());

function added(name: string, ofport: number): string {
  return `add-port br0 ${name} -- set interface ${name} type=dummy ofport_request=${ofport}`;
}

/** Each is asked of both, and answered alike. */
async function agree(...lines: readonly Line[]): Promise<void> {
  for (const line of lines) {
    const isQuestion = line.startsWith("appctl ");
    const { ours, real } = await (isQuestion ? twins.told(line) : twins.answers(line));
    expect(ours, line).toBe(real);
  }
}

/** The station with this number. */
const mac = (n: number): string => `50:54:00:00:00:${n.toString(16).padStart(2, "0")}`;
const FLOW = `dl_src=${mac(1)},dl_dst=${mac(2)}`;
const trace = (flow: string, ...more: string[]): Line =>
  ["appctl ofproto/trace br0", flow, ...more].join(" ");
const learn = (port: number, n: number): Line => trace(`in_port=${port},dl_src=${mac(n)}`, "-generate");

const PORT_NAMES = Array.from({ length: PORTS }, (_, n) => `p${n + 1}`);
const NORMAL = "priority=0,actions=NORMAL";

/** As new, but for these further commands of ovs-vsctl and these flows; static stations stay. */
async function reset(vsctl: readonly string[] = [], flows: readonly string[] = []): Promise<void> {
  const columns = "tag trunks cvlans vlan_mode other_config";
  const commands = [
    "clear bridge br0 mirrors flood_vlans",
    "remove bridge br0 other_config mac-table-size mac-aging-time forward-bpdu",
    ...PORT_NAMES.map((name) => `clear port ${name} ${columns} -- set port ${name} protected=false`),
    ...vsctl,
  ];
  for (const { dir } of [twins.real, twins.ours])
    writeFileSync(join(dir, "flows"), `${[NORMAL, ...flows].join("\n")}\n`);
  await twins.both(`vsctl ${commands.join(" -- ")}`, "ofctl replace-flows br0 $DIR/flows");
  await twins.told("appctl fdb/flush br0");
}

describe("the table of stations", () => {
  it("tells of the flow that a bridge begins with", () =>
    agree("ofctl dump-flows br0", "appctl fdb/show br0"));

  it("lists what was learned in that order, statically added or not, and counts it", async () => {
    await reset();
    await agree(
      "appctl fdb/stats-clear br0",
      "appctl fdb/stats-show br0",
      learn(3, 1),
      learn(1, 2),
      `appctl fdb/add br0 p2 0 ${mac(3)}`,
      `appctl fdb/add br0 p2 20 ${mac(3)}`,
      `appctl fdb/add br0 br0 0 ${mac(4)}`,
      learn(1, 5),
      "appctl fdb/show br0",
      "appctl fdb/stats-show br0",
      // Seen again at once: nothing changes. By another port: it moves, unless it is static.
      learn(3, 1),
      learn(2, 2),
      learn(1, 3),
      "appctl coverage/read-counter mac_learning_static_none_move",
      "appctl fdb/show br0",
      "appctl fdb/stats-show br0",
    );
  });

  it("takes static stations over what it has, and away", () =>
    agree(
      `appctl fdb/add br0 p2 0 ${mac(3)}`,
      `appctl fdb/add br0 p1 0 ${mac(3)}`,
      `appctl fdb/add br0 p3 0 ${mac(1)}`,
      `appctl fdb/add br0 p4 0 ${mac(5)}`,
      "appctl fdb/show br0",
      `appctl fdb/del br0 0 ${mac(2)}`,
      `appctl fdb/del br0 7 ${mac(3)}`,
      ...[1, 3, 4, 5].map((n) => `appctl fdb/del br0 0 ${mac(n)}`),
      `appctl fdb/del br0 20 ${mac(3)}`,
      "appctl fdb/show br0",
      "appctl fdb/stats-show br0",
      "appctl fdb/flush",
      "appctl fdb/show br0",
    ));

  it.each([
    `appctl fdb/add br0 nope 0 ${mac(1)}`,
    `appctl fdb/add br0 2 0 ${mac(1)}`,
    `appctl fdb/add nope p1 0 ${mac(1)}`,
    "appctl fdb/add br0 p1 0 50:54:00:00:00",
    "appctl fdb/add br0 p1 0",
    "appctl fdb/del br0 0 nonsense",
    "appctl fdb/stats-show",
    "appctl fdb/stats-clear nope",
  ])("refuses: %s", (line) => agree(line));

  it("is bounded: who has most stations gives way, and the oldest of them first", async () => {
    await twins.both("vsctl set bridge br0 other_config:mac-table-size=10");
    const resized = async () => (await twins.told("appctl fdb/stats-show br0")).real.includes("/10\n");
    await waitFor(resized, "a smaller table", DEADLINE_MS);
    await twins.both("appctl fdb/stats-clear br0");
    await agree(...[1, 2, 3, 4, 5, 6].map((n) => learn(1, n)), ...[7, 8, 9].map((n) => learn(2, n)));
    await agree(learn(3, 10), learn(3, 11), learn(3, 12), learn(4, 13), "appctl fdb/show br0");
    await agree("appctl time/warp 3000", learn(3, 11), learn(4, 8), "appctl fdb/show br0");
    await agree("appctl fdb/stats-show br0");
  });

  it("forgets with age, at least fifteen seconds, and what was behind a port that goes", async () => {
    await twins.both("vsctl set bridge br0 other_config:mac-aging-time=5");
    await agree("appctl time/warp 13000 1000", "appctl fdb/show br0");
    const aged = async () => !(await twins.told("appctl fdb/show br0")).real.includes(mac(13));
    await twins.both("appctl time/warp 2500 500");
    await waitFor(aged, "Open vSwitch to forget", DEADLINE_MS);
    await agree("appctl fdb/show br0", "appctl fdb/stats-show br0");
    await agree(learn(5, 1), learn(4, 2), `appctl fdb/add br0 p4 0 ${mac(7)}`, "vsctl del-port p5");
    await agree(
      "appctl fdb/show br0",
      `appctl fdb/del br0 0 ${mac(7)}`,
      `vsctl ${added("p5", 5)}`,
      "appctl fdb/show br0",
    );
  });
});

describe("traces of NORMAL", () => {
  it("flood in the order in which ports came, learn only with a packet, and find what was learned", async () => {
    await reset();
    await agree(
      trace(`in_port=3,${FLOW}`),
      "appctl fdb/show br0",
      trace(`in_port=3,${FLOW}`, "-generate"),
      trace(`in_port=1,dl_src=${mac(2)},dl_dst=${mac(1)}`),
      trace(`in_port=3,dl_src=${mac(2)},dl_dst=${mac(1)}`),
      trace("in_port=4", "505400000001505400000009080000"),
      trace(`in_port=4,dl_src=${mac(9)},dl_dst=ff:ff:ff:ff:ff:ff`),
      trace(`in_port=4,dl_src=${mac(9)},dl_dst=01:80:c2:00:00:0e`),
      trace(`in_port=77,${FLOW}`),
      trace(`in_port=LOCAL,${FLOW}`),
      "appctl ofproto/trace-packet-out br0 in_port=controller NORMAL",
      `appctl ofproto/trace ovs-dummy 'in_port(1),eth(src=${mac(1)},dst=${mac(7)}),eth_type(0x8100),vlan(vid=99,pcp=5),encap(eth_type(0xabcd))' -generate`,
      "appctl fdb/show br0",
    );
  });

  it("follow every mode of a port, and say why a frame may not come in", async () => {
    await reset([
      "set port p1 tag=10 -- set port p2 trunks=10,20 -- set port p3 vlan_mode=native-tagged tag=20 -- set port p4 vlan_mode=native-untagged tag=10 trunks=20 -- set port p5 vlan_mode=dot1q-tunnel tag=300 cvlans=5,6",
    ]);
    const tags = ["", ",vlan_tci=0x7000", ...[5, 10, 20, 30].map((vlan) => `,dl_vlan=${vlan},dl_vlan_pcp=3`)];
    for (const port of [1, 2, 3, 4, 5])
      await agree(...tags.map((tag) => trace(`in_port=${port},${FLOW}${tag}`)));
    await agree(
      trace(`in_port=1,${FLOW}`, "-generate"),
      trace(`in_port=2,dl_src=${mac(5)},dl_dst=${mac(1)},dl_vlan=10`),
      trace(`in_port=2,dl_src=${mac(5)},dl_dst=${mac(1)},dl_vlan=20`),
      trace(`in_port=4,dl_src=${mac(5)},dl_dst=${mac(1)}`),
      "appctl fdb/show br0",
    );
  });

  it("spare protected ports, and do not learn in VLANs that are flooded", async () => {
    await reset(["set port p1 protected=true -- set port p4 protected=true -- set bridge br0 flood_vlans=7"]);
    await agree(
      trace(`in_port=1,${FLOW}`),
      `appctl fdb/add br0 p4 0 ${mac(2)}`,
      trace(`in_port=1,${FLOW}`),
      trace(`in_port=2,${FLOW}`),
      trace(`in_port=2,${FLOW},dl_vlan=7`, "-generate"),
      "ofctl add-flow br0 in_port=1,actions=output:2,output:4",
      trace(`in_port=1,${FLOW}`),
      `appctl fdb/del br0 0 ${mac(2)}`,
      "appctl fdb/show br0",
    );
  });

  it("carry out learn() with a packet", async () => {
    await reset(
      [],
      [
        "in_port=1,actions=learn(table=1,idle_timeout=9,hard_timeout=8,cookie=0x5,send_flow_rem,eth_type=0x800,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0x7->NXM_NX_REG0[],output:NXM_OF_IN_PORT[])",
      ],
    );
    await agree(
      trace(`in_port=1,ip,${FLOW}`),
      "ofctl dump-flows br0 table=1",
      trace(`in_port=1,ip,${FLOW}`, "-generate"),
      "ofctl dump-flows br0 table=1",
    );
  });
});

describe("traces of mirrors", () => {
  const flows = [
    "in_port=1,actions=output:2",
    "in_port=2,actions=output:1",
    "in_port=4,ip,actions=output(port=2,max_len=20),dec_ttl,output:2",
  ];
  const bothWays = [trace("in_port=1,icmp"), trace("in_port=2,icmp")];

  async function mirror(columns: readonly string[], ...vsctl: readonly string[]): Promise<void> {
    const names = [1, 2, 3].map((n) => `--id=@p${n} get port p${n}`);
    const made = `--id=@m create mirror name=m0 ${columns.join(" ")} -- set bridge br0 mirrors=@m`;
    await reset([...names, made, ...vsctl], flows);
  }

  it("show what comes in before it leaves, and nothing of what comes in by the output", async () => {
    await mirror(["select_all=true", "output_port=@p3"]);
    await agree(
      ...bothWays,
      trace("in_port=3,icmp"),
      "appctl ofproto/trace-packet-out br0 in_port=1,icmp output:2",
    );
    await agree(trace(`in_port=5,${FLOW}`), trace(`in_port=LOCAL,${FLOW}`));
  });

  it("select by source and by destination, and cut", async () => {
    await mirror(["select_src_port=@p1", "output_port=@p3", "snaplen=100"]);
    await agree(...bothWays);
    await mirror(["select_dst_port=@p2", "output_port=@p3"]);
    await agree(...bothWays);
    await agree(trace("in_port=4,icmp,nw_ttl=9"));
  });

  it("select by VLAN, as the frame comes in and as it leaves", async () => {
    await mirror(["select_all=true", "select_vlan=11", "output_port=@p3"]);
    await agree(...bothWays, trace("in_port=1,icmp,dl_vlan=11"), trace("in_port=1,icmp,dl_vlan=10"));
    await twins.both("vsctl set port p1 tag=11");
    await agree(...bothWays);
  });

  it("send to a VLAN, but not from it", async () => {
    await mirror(["select_all=true", "output_vlan=12"], "set port p4 tag=12");
    await agree(...bothWays, trace("in_port=1,icmp,dl_vlan=12"), trace("in_port=1,icmp,dl_vlan=13"));
  });
});
