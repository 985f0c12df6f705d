// dpctl/dump-flows of our switch with dummy ports and of Open vSwitch, after the same frames: the same flows, with the same
// masks, actions and counters.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { DummyTwins } from "../support/dummy-twins.js";

const DEADLINE_MS = 20_000;
const FLOWS = [
  "priority=9,dl_vlan=5,actions=pop_vlan,2",
  "priority=8,ip,nw_dst=10.0.0.0/8,tcp_dst=0x50/0xf0,tcp,actions=2",
  "priority=7,ip,nw_tos=16,actions=2",
  "priority=7,ipv6,ipv6_src=fe80::/16,actions=drop",
  "priority=7,arp,arp_tpa=10.0.0.1,actions=2",
  "priority=6,udp,actions=ct(table=1)",
  "priority=6,icmp,icmp_type=8,actions=2",
  "priority=5,dl_src=50:54:00:00:00:00/ff:ff:00:00:00:00,actions=2",
  "priority=5,tcp,tcp_flags=+syn-ack,actions=dec_ttl,2",
  "priority=0,actions=NORMAL",
  "table=1,ct_state=+new+trk,udp,actions=ct(commit),2",
];
const FRAMES = [
  "in_port(1),eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x8100),vlan(vid=5,pcp=1),encap(eth_type(0x0800),ipv4(src=1.1.1.1,dst=2.2.2.2,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0))",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x8100),vlan(vid=6,pcp=1),encap(eth_type(0x1234))",
  "in_port(1),eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=1.1.1.1,dst=2.2.2.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=1,dst=2),tcp_flags(0x002)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=1.1.1.1,dst=10.2.2.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=1,dst=80),tcp_flags(0x10)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=1.1.1.1,dst=10.2.2.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=80)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0806),arp(sip=10.0.0.2,tip=10.0.0.1,op=1,sha=60:54:00:00:00:09,tha=00:00:00:00:00:00)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),arp(sip=10.0.0.2,tip=10.0.0.3,op=1,sha=60:54:00:00:00:09,tha=00:00:00:00:00:00)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x86dd),ipv6(src=fe80::1,dst=fe80::2,label=0,proto=58,tclass=0,hlimit=128,frag=no),icmpv6(type=128,code=0)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=1.1.1.1,dst=2.2.2.2,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)",
  "in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=1.1.1.1,dst=2.2.2.2,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)",
];

let twins: DummyTwins;

beforeAll(async () => {
  twins = await DummyTwins.open();
  for (const { dir } of [twins.real, twins.ours]) writeFileSync(join(dir, "flows"), `${FLOWS.join("\n")}\n`);
  await twins.both(
    "vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail_mode=secure",
    "vsctl add-port br0 p1 -- set interface p1 type=dummy ofport_request=1",
    "vsctl add-port br0 p2 -- set interface p2 type=dummy ofport_request=2",
    "ofctl -O OpenFlow13 add-flows br0 $DIR/flows",
    ...FRAMES.map((frame) => `appctl netdev-dummy/receive p1 '${frame}'`),
  );
});
afterAll(() => twins?.close());

/** Lines in order; when a flow was last used, the numbers of recirculations, and the order of flooding are each one's own. */
function normal(text: string): string[] {
  return text
    .replaceAll(/used:[\d.]+s/g, "used:N")
    .replaceAll(/recirc(\(|_id\()0x[0-9a-f]+/g, "recirc$1N")
    .replaceAll(
      /(actions:)(\w+(?:,\w+)+)$/gm,
      (_, head, ports: string) => `${head}${ports.split(",").sort()}`,
    )
    .split("\n")
    .sort();
}

describe("flows of dummy ports", () => {
  it.each([
    "dpctl/dump-flows",
    "dpctl/dump-flows --names",
    "dpif/dump-flows br0",
    "dpctl/dump-flows dummy@ovs-dummy",
  ])("are those of Open vSwitch: %s", async (command) => {
    // Open vSwitch counts a while later.
    const counted = async () => (await twins.answers(`appctl ${command}`)).real.includes("packets:1,");
    await waitFor(counted, "Open vSwitch to count", DEADLINE_MS);
    const { ours, real } = await twins.answers(`appctl ${command}`);
    expect(normal(ours)).toEqual(normal(real));
  });

  it.each([
    ["filter=tcp,tcp_dst=80", 3],
    ["filter=in_port=p1,arp pmd=-1", 2],
    ["filter=in_port=2", 0],
    ["type=non-offloaded filter=", 10],
    ["type=tc", 0],
    ["pmd=3", 0],
  ])("are chosen as in Open vSwitch: %s", async (words, linesMin) => {
    const { ours, real } = await twins.answers(`appctl dpctl/dump-flows ${words}`);
    expect(normal(ours)).toEqual(normal(real));
    expect(normal(ours).length).toBeGreaterThanOrEqual(linesMin);
  });

  it("are counted by dpctl/show, and what ports have carried is told by its -s", async () => {
    const { ours, real } = await twins.answers("appctl dpctl/show -s");
    const count = /^ {2}flows: (\d+)$/m.exec(real)?.[1];
    expect(Number(count)).toBeGreaterThan(5);
    expect(/^ {2}flows: (\d+)$/m.exec(ours)?.[1]).toBe(count);
    // Errors are counted here and not there; the others are "?" in both.
    const ports = (text: string) =>
      text.slice(text.indexOf("  port 1:")).replaceAll(/(errors|dropped):[?0]/g, "$1:N");
    expect(ports(ours)).toBe(ports(real));
    expect(ports(ours)).toContain("RX packets:10 ");
  });

  it("follow the tables, and go when they are not used", async () => {
    await twins.both("ofctl del-flows br0", "ofctl add-flow br0 actions=drop", "appctl revalidator/wait");
    const { ours, real } = await twins.answers("appctl dpctl/dump-flows");
    expect(normal(ours).filter((line) => line.includes("actions:2"))).toEqual([]);
    expect(normal(real).filter((line) => line.includes("actions:2"))).toEqual([]);
    await twins.both("appctl revalidator/purge");
    const purged = await twins.answers("appctl dpctl/dump-flows");
    expect(purged.ours).toBe(purged.real);
  });
});

describe("ovs-ofctl ct-flush", () => {
  it("forgets the connections that it forgets there", async () => {
    const udp = (source: string) =>
      `appctl netdev-dummy/receive p1 'in_port(1),eth(src=60:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=${source},dst=10.2.2.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=80)'`;
    await twins.both("ofctl del-flows br0", "ofctl add-flow br0 ip,actions=ct(commit,zone=5),2");
    await twins.both(udp("1.1.1.1"), udp("1.1.1.2"), `appctl netdev-dummy/receive p1 '${FRAMES.at(-1)}'`);
    const list = async () => {
      const { ours, real } = await twins.answers("appctl dpctl/dump-conntrack");
      return { ours: normal(ours), real: normal(real) };
    };
    const inZone = async () => (await list()).real.filter((line) => line.endsWith("zone=5")).length;
    await waitFor(async () => (await inZone()) === 3, "three connections", DEADLINE_MS);
    for (const line of [
      "ofctl -O OpenFlow13 ct-flush br0 zone=6",
      "ofctl ct-flush-zone br0 4",
      "ofctl -O OpenFlow13 ct-flush br0 zone=5 ct_nw_src=1.1.1.1,ct_nw_proto=17",
      "ofctl -O OpenFlow10 ct-flush br0 ct_nw_proto=17 ct_nw_dst=1.1.1.9",
      "ofctl -O OpenFlow10 ct-flush br0 ct_nw_proto=1,icmp_type=8",
      "ofctl -O OpenFlow13 ct-flush-zone br0 5",
    ]) {
      const told = await twins.answers(line);
      expect(told.ours, line).toBe(told.real);
      const { ours, real } = await list();
      expect(ours, line).toEqual(real);
    }
  });
});
