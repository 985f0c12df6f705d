// The tutorials of Open vSwitch, a learning switch with VLANs made of flow tables, and connection tracking: the same
// commands to our switch and to a real one, the same answers: flows, traces, what was learned, connections, datapath flows.
import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { DummyTwins } from "../support/dummy-twins.js";
import { PLINTH, run } from "../support/run.js";

const DEADLINE_MS = 20_000;
const SWITCH = [
  "table=0,dl_src=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop",
  "table=0,dl_dst=01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0,actions=drop",
  "table=0,priority=0,actions=resubmit(,1)",
  "table=1,priority=0,actions=drop",
  "table=1,priority=99,in_port=1,actions=resubmit(,2)",
  "table=1,priority=99,in_port=2,vlan_tci=0,actions=push_vlan:0x8100,set_field:4116->vlan_vid,resubmit(,2)",
  "table=1,priority=99,in_port=3,vlan_tci=0,actions=push_vlan:0x8100,set_field:4126->vlan_vid,resubmit(,2)",
  "table=1,priority=99,in_port=4,vlan_tci=0,actions=push_vlan:0x8100,set_field:4126->vlan_vid,resubmit(,2)",
  "table=2,actions=learn(table=10,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]),resubmit(,3)",
  "table=3,priority=50,actions=resubmit(,10),resubmit(,4)",
  "table=3,priority=99,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,4)",
  "table=4,reg0=1,actions=1",
  "table=4,reg0=2,vlan_tci=0x1000/0x1000,actions=pop_vlan,2",
  "table=4,reg0=3,vlan_tci=0x1000/0x1000,actions=pop_vlan,3",
  "table=4,reg0=4,vlan_tci=0x1000/0x1000,actions=pop_vlan,4",
  "table=4,reg0=0,priority=99,dl_vlan=20,actions=1,pop_vlan,2",
  "table=4,reg0=0,priority=99,dl_vlan=30,actions=1,pop_vlan,3,4",
  "table=4,reg0=0,priority=50,actions=1",
];
const CLIENT =
  "eth_type(0x0800),ipv4(src=192.168.0.2,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=1024,dst=2048)";
const SERVER =
  "eth_type(0x0800),ipv4(src=10.0.0.2,dst=192.168.0.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=2048,dst=1024)";

let twins: DummyTwins;

beforeAll(async () => {
  twins = await DummyTwins.open();
  await twins.both(
    "vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail_mode=secure other_config:hwaddr=aa:55:aa:55:00:00",
    ...[1, 2, 3, 4].map(
      (n) => `vsctl add-port br0 p${n} -- set interface p${n} type=dummy ofport_request=${n}`,
    ),
  );
});
afterAll(() => twins?.close());

/** Lines in order; what each counts by itself, and when it was, is left out. */
function normal(text: string): string[] {
  return text
    .replaceAll(/used:[\d.]+s/g, "used:N")
    .replaceAll(/recirc(\(|_id=|_id\()0x[0-9a-f]+/g, "recirc$1N")
    .split("\n");
}

async function agree(line: string, sorted = false): Promise<void> {
  const { ours, real } = await twins.answers(line);
  const told = (text: string) => (sorted ? normal(text).sort() : normal(text));
  expect(told(ours), line).toEqual(told(real));
}

/** Open vSwitch counts, and learns, a while later. */
async function settled(line: string, text: string): Promise<void> {
  await waitFor(
    async () => (await twins.answers(line)).real.includes(text),
    `${text} in ${line}`,
    DEADLINE_MS,
  );
}

it("a switch with VLANs and MAC learning, made of flow tables", async () => {
  for (const { dir } of [twins.real, twins.ours]) writeFileSync(join(dir, "flows"), `${SWITCH.join("\n")}\n`);
  await twins.both("ofctl -O OpenFlow13 add-flows br0 $DIR/flows");
  await agree("ofctl -O OpenFlow13 dump-flows br0", true);
  // As on a terminal: ports have names, tables none unless they were given some.
  await agree("ofctl -O OpenFlow13 --names --no-stats dump-flows br0", true);
  await agree("ofctl -O OpenFlow13 --names dump-tables br0");
  for (const packet of [
    "in_port=1,dl_dst=01:80:c2:00:00:05",
    "in_port=1,dl_dst=01:80:c2:00:00:10",
    "in_port=2",
    "in_port=2,dl_vlan=20",
    "in_port=1,dl_vlan=30,dl_src=10:00:00:00:00:01,dl_dst=20:00:00:00:00:01",
  ])
    await agree(`appctl ofproto/trace br0 ${packet}`);
  await twins.both(
    "appctl netdev-dummy/receive p1 'in_port(1),eth(src=50:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff),eth_type(0x8100),vlan(vid=20,pcp=0),encap(eth_type(0x1234))'",
    "appctl netdev-dummy/receive p2 'in_port(2),eth(src=90:00:00:00:00:01,dst=50:00:00:00:00:01),eth_type(0x1234)'",
  );
  const learned = "ofctl -O OpenFlow13 dump-flows br0 table=10";
  await settled(learned, "dl_dst=90:00:00:00:00:01");
  await settled(learned, "n_packets=1");
  await agree(learned, true);
  await agree("appctl ofproto/trace br0 in_port=2,dl_src=90:00:00:00:00:01,dl_dst=50:00:00:00:00:01");
  await agree(
    "appctl ofproto/trace br0 in_port=1,dl_vlan=20,dl_src=50:00:00:00:00:01,dl_dst=90:00:00:00:00:01",
  );
});

it("connection tracking of TCP", async () => {
  await twins.both(
    "ofctl del-flows br0",
    "ofctl add-flow br0 table=0,priority=50,ct_state=-trk,tcp,in_port=1,actions=ct(table=0)",
    "ofctl add-flow br0 table=0,priority=50,ct_state=+trk+new,tcp,in_port=1,actions=ct(commit),2",
    "ofctl add-flow br0 table=0,priority=50,ct_state=-trk,tcp,in_port=2,actions=ct(table=0)",
    "ofctl add-flow br0 table=0,priority=50,ct_state=+trk+est,tcp,in_port=2,actions=1",
    "ofctl add-flow br0 table=0,priority=50,ct_state=+trk+est,tcp,in_port=1,actions=2",
    "appctl revalidator/purge",
  );
  const steps = [
    [
      "p1",
      `in_port(1),eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),${CLIENT},tcp_flags(0x002)`,
      "SYN_SENT",
    ],
    [
      "p2",
      `in_port(2),eth(src=00:00:00:00:00:02,dst=00:00:00:00:00:01),${SERVER},tcp_flags(0x012)`,
      "ESTABLISHED",
    ],
    [
      "p1",
      `in_port(1),eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),${CLIENT},tcp_flags(0x010)`,
      "ESTABLISHED",
    ],
  ] as const;
  for (const [port, frame, state] of steps) {
    await twins.both(`appctl netdev-dummy/receive ${port} '${frame}'`);
    await settled("appctl dpctl/dump-conntrack", state);
    await agree("appctl dpctl/dump-conntrack");
  }
  await settled("appctl dpctl/dump-flows", "packets:1,");
  await agree("appctl dpctl/dump-flows", true);
  await settled("ofctl dump-flows br0", "n_packets=2");
  await agree("ofctl dump-flows br0", true);
});

// Of several groups of one size Open vSwitch looks at one.
it("flow tables with names, and with so many flows", async () => {
  await twins.both(
    "ofctl del-flows br0",
    "vsctl set bridge br0 other_config:dp-sn=S123 other_config:dp-desc=first-switch",
    "vsctl -- --id=@a create Flow_Table name=ingress flow_limit=2 -- --id=@b create Flow_Table name=learned flow_limit=4 overflow_policy=evict -- set bridge br0 flow_tables:2=@a flow_tables:3=@b",
    `vsctl set Flow_Table learned 'groups="NXM_OF_IN_PORT[]","NXM_OF_ETH_TYPE[]"'`,
    "ofctl -O OpenFlow13 --names add-flow br0 priority=1,actions=resubmit(,ingress)",
  );
  for (const flow of [
    "table=ingress,priority=1,actions=goto_table:learned",
    "table=ingress,priority=2,idle_timeout=9,actions=drop",
    "table=ingress,priority=3,actions=drop",
    "table=learned,priority=1,hard_timeout=500,in_port=1,actions=drop",
    "table=learned,priority=2,hard_timeout=400,in_port=1,actions=drop",
    "table=learned,priority=3,hard_timeout=100,in_port=2,actions=drop",
    "table=learned,priority=4,in_port=2,actions=drop",
    "table=learned,priority=5,hard_timeout=300,in_port=1,actions=drop",
    "table=learned,priority=6,hard_timeout=300,in_port=3,arp,actions=drop",
  ]) {
    await agree(`ofctl -O OpenFlow13 --names add-flow br0 ${flow}`);
    await agree("ofctl -O OpenFlow13 --names --no-stats dump-flows br0", true);
  }
  const told = await twins.answers("ofctl dump-desc br0");
  expect(told.ours).toMatch(/Serial Num: S123\nDP Description: first-switch/);
  expect(told.real).toMatch(/Serial Num: S123\nDP Description: first-switch/);
  const features = await twins.answers("ofctl -O OpenFlow13 dump-table-features br0");
  for (const text of Object.values(features))
    for (const [line, limit] of [
      ['table 2 \\("ingress"\\):', 2],
      ['table 3 \\("learned"\\):', 4],
    ])
      expect(text).toMatch(new RegExp(`${line}\\n.*\\n +max_entries=${limit}\\n`));
  await twins.both("vsctl clear bridge br0 flow_tables");
  await agree("ofctl -O OpenFlow13 --names --no-stats dump-flows br0", true);
});

it.each([
  ["vsctl", "list-br"],
  ["ofctl", "show", "br0"],
  ["appctl", "version"],
])("scripts need but a changed name, and OVS_RUNDIR: plinth %s", async (...words) => {
  const { ours, real } = twins;
  const control = real.path(`ovs-vswitchd.${readFileSync(real.path("ovs-vswitchd.pid"), "utf8").trim()}.ctl`);
  if (!existsSync(control)) symlinkSync("vs.ctl", control);
  for (const { dir } of [ours, real]) {
    const env = { ...process.env, OVS_RUNDIR: dir, PLINTH_DIR: "/nowhere" };
    const { code, stdout, stderr } = await run(process.execPath, [PLINTH, ...words], { env });
    expect([code, stderr], dir).toEqual([0, ""]);
    const theirs = await run(`ovs-${words[0]}`, words.slice(1), { env });
    expect(stdout.replaceAll(/xid=\S+/g, ""), dir).toBe(theirs.stdout.replaceAll(/xid=\S+/g, ""));
  }
});
