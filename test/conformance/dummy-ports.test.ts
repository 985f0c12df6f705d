// Scripts for `ovs-vswitchd --enable-dummy` run against our switch: the same commands, answered the same; frames that are
// put into dummy ports leave where they leave there, byte for byte; the time stands still and moves when told.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parsePcap } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { DummyTwins, type Line } from "../support/dummy-twins.js";

const DEADLINE_MS = 20_000;
const IP = "eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800)";
const IPV6 = "eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x86dd)";
const V4 = "src=10.0.0.2,dst=10.0.0.1,tos=0,ttl=64";
const V6 = "src=fe80::1,dst=fe80::2,label=0x5,tclass=0x70,hlimit=128";

let twins: DummyTwins;

beforeAll(async () => {
  twins = await DummyTwins.open();
  await twins.both(
    "vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail_mode=secure other_config:hwaddr=aa:55:aa:55:00:00",
    "vsctl add-port br0 p1 -- set interface p1 type=dummy ofport_request=1 options:pcap=$DIR/p1.pcap",
    "vsctl add-port br0 p2 -- set interface p2 type=dummy ofport_request=2 options:tx_pcap=$DIR/p2-tx.pcap options:rxq_pcap=$DIR/p2-rx.pcap",
    "vsctl add-port br0 p3 -- set interface p3 type=dummy ofport_request=3",
    "vsctl add-br br1 -- add-port br1 eth7 -- set interface eth7 ofport_request=7",
    "ofctl add-flow br0 actions=output:2,output:LOCAL",
  );
});
afterAll(() => twins?.close());

async function agree(...lines: readonly Line[]): Promise<void> {
  for (const line of lines) {
    const { ours, real } = await twins.answers(line);
    expect(ours, line).toBe(real);
  }
}

const recorded = (dir: string, name: string): string[] =>
  (parsePcap(readFileSync(join(dir, name))) ?? []).map(({ frame }) => Buffer.from(frame).toString("hex"));

/** Frames in the files of both, once there are `count` in the real one's. */
async function frames(name: string, count: number): Promise<{ ours: string[]; real: string[] }> {
  const done = () => recorded(twins.real.dir, name).length >= count;
  await waitFor(done, () => `${count} frames in ${name}`, DEADLINE_MS);
  return { ours: recorded(twins.ours.dir, name), real: recorded(twins.real.dir, name) };
}

describe("dummy ports", () => {
  it.each([
    "appctl dpif/show",
    "appctl dpif/dump-dps",
    "appctl dpctl/dump-dps",
    "ofctl -O OpenFlow10 show br0",
    "ofctl -O OpenFlow13 show br0",
    "vsctl get interface p1 ofport mac_in_use:aa error",
    "vsctl get interface p1 ofport admin_state link_state link_speed duplex mtu ifindex error",
    "vsctl get interface eth7 ofport admin_state link_state error",
    "appctl netdev-dummy/receive",
    "appctl netdev-dummy/receive p1",
    "appctl netdev-dummy/receive p9 00",
    "appctl netdev-dummy/receive p1 00",
    "appctl netdev-dummy/receive p1 nonsense",
    "appctl netdev-dummy/receive p1 tcp,nw_src=1.2.3.4",
    "appctl netdev-dummy/receive p1 'in_port(1),eth(foo)'",
    `appctl netdev-dummy/receive p1 '${IP},ipv4(${V4},proto=17,frag=no),udp(src=1,dst=2)' --len 5`,
    "appctl netdev-dummy/receive p1 --qid 1 50540000000a505400000009080000",
    "appctl netdev-dummy/set-admin-state",
    "appctl netdev-dummy/set-admin-state p1 sideways",
    "appctl netdev-dummy/set-admin-state p9 down",
    "appctl netdev-dummy/conn-state",
    "appctl netdev-dummy/conn-state p1",
    "appctl netdev-dummy/conn-state p9",
    "appctl time/warp x",
    "appctl time/warp 0",
    "appctl time/warp -5",
    `appctl ofproto/trace ovs-dummy 'in_port(1),${IP},ipv4(${V4},proto=17,frag=no),udp(src=1,dst=2)'`,
    `appctl ofproto/trace ovs-dummy 'in_port(100),${IP},ipv4(${V4},proto=17,frag=no),udp(src=1,dst=2)'`,
    `appctl ofproto/trace ovs-dummy 'in_port(77),${IP}'`,
    "appctl ofproto/trace nowhere 'in_port(1)'",
  ])("answers as Open vSwitch does: %s", async (line) => {
    const { ours, real } = await twins.answers(line);
    const told = (text: string) => text.replaceAll(/^Megaflow: .*\n/gm, "");
    expect(told(ours)).toBe(told(real));
  });

  it("make the same frames of flows, and send and record them", async () => {
    const flows = [
      `${IP},ipv4(${V4},proto=6,frag=no),tcp(src=8,dst=9),tcp_flags(0x010)`,
      `${IP},ipv4(${V4},proto=6,frag=no),tcp(src=8,dst=9),tcp_flags(0x002)`,
      `${IP},ipv4(${V4},proto=17,frag=no),udp(src=8,dst=9)`,
      `${IP},ipv4(${V4},proto=1,frag=no),icmp(type=8,code=0)`,
      `${IPV6},ipv6(${V6},proto=6,frag=no),tcp(src=8,dst=9)`,
      `${IPV6},ipv6(${V6},proto=58,frag=no),icmpv6(type=128,code=0)`,
      "eth(src=50:54:00:00:00:09,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2,op=1,sha=50:54:00:00:00:09,tha=00:00:00:00:00:00)",
      `eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x8100),vlan(vid=10,pcp=3),encap(eth_type(0x0800),ipv4(${V4},proto=17,frag=no),udp(src=8,dst=9))`,
      "eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x1234)",
    ];
    for (const flow of flows) await twins.both(`appctl netdev-dummy/receive p1 'in_port(1),${flow}'`);
    await twins.both(
      `appctl netdev-dummy/receive p1 'in_port(1),${flows[0]}' --len 90`,
      "appctl netdev-dummy/receive p1 50540000000a50540000000908000000",
      "appctl netdev-dummy/receive p1 --qid 0 50540000000a505400000009080000 50540000000a50540000000b080000",
      "appctl netdev-dummy/receive br0 'in_port(100),eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x1234)'",
      "appctl netdev-dummy/receive p2 50540000000a505400000009080000",
    );
    const sent = await frames("p2-tx.pcap", flows.length + 5);
    expect(sent.ours).toEqual(sent.real);
    const received = await frames("p1.pcap", flows.length + 4);
    expect(received.ours).toEqual(received.real);
    const other = await frames("p2-rx.pcap", 1);
    expect(other.ours).toEqual(other.real);
    const counted = async () => (await twins.answers("ofctl dump-flows br0")).real.includes("n_packets=15");
    await waitFor(counted, "Open vSwitch to count", DEADLINE_MS);
    await agree("ofctl dump-flows br0", "ofctl -O OpenFlow13 dump-ports br0 2", "ofctl dump-ports br0 LOCAL");
  });

  it("are put down and up", async () => {
    await agree("appctl netdev-dummy/set-admin-state p2 down", "ofctl show br0");
    const state = "vsctl --timeout=10 wait-until interface p2 admin_state=down link_state=down";
    await twins.both(state);
    await agree("appctl netdev-dummy/set-admin-state up", "ofctl show br0");
  });

  it("are passed over by groups and bundles while they are down, and let nothing in or out as a port-mod says", async () => {
    const ofctl = "ofctl -O OpenFlow13";
    await twins.both(
      `${ofctl} add-group br0 group_id=7,type=ff,bucket=watch_port:1,output:1,bucket=watch_port:2,output:2`,
      `${ofctl} add-flow br0 priority=9,in_port=3,actions=group:7`,
      `${ofctl} add-flow br0 'priority=9,in_port=2,actions=bundle(eth_src,50,hrw,ofport,members:1)'`,
    );
    const configs = ["down", "up", "no-forward", "forward", "no-receive", "receive"];
    for (const config of configs) {
      await twins.both(`${ofctl} mod-port br0 p1 ${config}`);
      for (const port of config === "down" ? ["p2", "p3"] : ["p1", "p2", "p3"]) {
        const { ours, real } = await twins.answers(`appctl ofproto/trace br0 in_port=${port},dl_type=0x1234`);
        const told = (text: string) => text.replaceAll(/^Megaflow: .*\n/gm, "");
        expect(told(ours), `${config} ${port}`).toBe(told(real));
      }
    }
    await twins.both(`${ofctl} del-groups br0`, `${ofctl} --strict del-flows br0 priority=9,in_port=2`);
  });

  it("are joined by streams, and carry frames over them", async () => {
    await twins.both(
      "vsctl set interface p2 options:pstream=punix:$DIR/wire",
      "vsctl set interface p3 options:stream=unix:$DIR/wire options:rxq_pcap=$DIR/p3.pcap",
    );
    const joined = async () => {
      const { ours, real } = await twins.answers("appctl netdev-dummy/conn-state");
      return ours === "0\np3: connected\n" && real === ours;
    };
    await waitFor(joined, "streams that are connected", DEADLINE_MS);
    await twins.both("ofctl del-flows br0", "ofctl add-flow br0 in_port=1,actions=2");
    await twins.both("appctl netdev-dummy/receive p1 50540000000a505400000009123401020304");
    await waitFor(
      () => [twins.ours.dir, twins.real.dir].every((dir) => recorded(dir, "p3.pcap").length === 1),
      "the frame at the other end",
      DEADLINE_MS,
    );
    expect(recorded(twins.ours.dir, "p3.pcap")).toEqual(["50540000000a505400000009123401020304"]);
    await agree("appctl netdev-dummy/conn-state p2", "appctl netdev-dummy/conn-state p3");
  });
});

describe("the time", () => {
  it("stands still and is moved: stations age, flows end, connections too", async () => {
    await twins.both("vsctl clear interface p2 options -- clear interface p3 options");
    await twins.both("appctl time/stop", "ofctl del-flows br0");
    await twins.both(
      "ofctl add-flow br0 priority=9,in_port=1,udp,actions=ct(commit),NORMAL",
      "ofctl add-flow br0 priority=1,actions=NORMAL",
      "ofctl add-flow br0 table=1,idle_timeout=10,actions=drop",
      "ofctl add-flow br0 table=2,hard_timeout=20,actions=drop",
      `appctl netdev-dummy/receive p1 'in_port(1),${IP},ipv4(${V4},proto=17,frag=no),udp(src=8,dst=9)'`,
    );
    const learned = async () => (await twins.answers("appctl fdb/show br0")).real.includes("50:54");
    await waitFor(learned, "Open vSwitch to have learned", DEADLINE_MS);
    await agree("appctl fdb/show br0", "appctl time/warp 7000", "appctl fdb/show br0");
    await agree("appctl dpctl/dump-conntrack dummy@ovs-dummy");
    const flows = async () =>
      (await twins.answers("ofctl dump-flows br0")).real.match(/table=[12]/g)?.length ?? 0;
    expect(await flows()).toBe(2);
    await twins.both("appctl time/warp 5000 1000");
    await waitFor(async () => (await flows()) === 1, "the idle flow to end", DEADLINE_MS);
    await agree("ofctl dump-flows br0", "appctl fdb/show br0");
    await twins.both("appctl time/warp 20000 1000");
    await waitFor(async () => (await flows()) === 0, "the hard flow to end", DEADLINE_MS);
    await agree("ofctl dump-flows br0");
    await twins.both("appctl time/warp 300000 1000");
    const aged = async () => !(await twins.answers("appctl fdb/show br0")).real.includes("50:54");
    await waitFor(aged, "Open vSwitch to forget the station", DEADLINE_MS);
    await agree("appctl fdb/show br0");
    const told = await twins.answers("appctl dpctl/dump-conntrack dummy@ovs-dummy");
    expect(told.ours).toBe("0\n");
  });
});
