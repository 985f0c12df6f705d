// What of a packet decided its way, the Megaflow line of ofproto/trace, and the rest of the trace with it: of our switch
// and of Open vSwitch, asked about the same packets and tables. Every line agrees.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { DummyTwins } from "../support/dummy-twins.js";

/** Flows, and packets that are traced through them. */
const SCRIPTS: readonly (readonly [flows: readonly string[], packets: readonly string[]])[] = [
  [
    ["actions=NORMAL"],
    [
      "in_port=1",
      "in_port=1,dl_vlan=5",
      "in_port=1,arp,arp_op=1,dl_dst=ff:ff:ff:ff:ff:ff",
      "in_port=1,arp,arp_op=2,dl_dst=ff:ff:ff:ff:ff:ff",
    ],
  ],
  [
    ["vlan_tci=0,actions=output:2", "priority=1,actions=drop"],
    ["in_port=1", "in_port=1,dl_vlan=5"],
  ],
  [
    ["dl_vlan=7,actions=output:2", "priority=1,actions=drop"],
    ["in_port=1,dl_vlan=5", "in_port=1,dl_vlan=7,dl_vlan_pcp=3"],
  ],
  [
    ["actions=push_vlan:0x8100,set_field:4103->vlan_vid,set_field:3->vlan_pcp,output:2"],
    ["in_port=1", "in_port=1,dl_vlan=5"],
  ],
  [["actions=mod_vlan_vid:7,output:2"], ["in_port=1", "in_port=1,dl_vlan=5"]],
  [
    ["dl_vlan=5,actions=pop_vlan,output:2", "dl_vlan=6,actions=set_field:4103->vlan_vid,output:2"],
    ["in_port=1,dl_vlan=5,dl_vlan_pcp=2", "in_port=1,dl_vlan=6,dl_vlan_pcp=2"],
  ],
  [
    [
      "tcp,actions=set_field:80->tcp_dst,output:2",
      "udp,actions=set_field:1.2.3.4->ip_src,move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],output:2",
      "tcp6,actions=set_field:fe80::5->ipv6_dst,output:2",
    ],
    [
      "in_port=1,tcp",
      "in_port=1,udp",
      "in_port=1,arp",
      "in_port=1,icmp,icmp_type=8",
      "in_port=1,tcp6",
      "in_port=1,sctp",
    ],
  ],
  [
    [
      "ip,actions=push_mpls:0x8847,set_field:5->mpls_label,output:2",
      "mpls,actions=dec_mpls_ttl,output:2",
      "dl_type=0x8848,actions=pop_mpls:0x0800,output:2",
    ],
    [
      "in_port=1,tcp,nw_ttl=9",
      "in_port=1,mpls,mpls_label=3,mpls_ttl=9,mpls_bos=1",
      "in_port=1,mpls,mpls_label=3,mpls_ttl=9",
      "in_port=1,dl_type=0x8848,mpls_label=3,mpls_ttl=9,mpls_bos=1",
    ],
  ],
  [["actions=load:3->NXM_NX_TUN_ID[],load:5->NXM_NX_PKT_MARK[],output:2"], ["in_port=1,tcp"]],
  [
    [
      "table=0,ip,actions=ct(table=1)",
      "table=1,priority=2,ct_zone=0,ct_mark=0x1/0x1,actions=2",
      "table=1,priority=1,actions=drop",
    ],
    ["in_port=1,tcp"],
  ],
  [
    [
      "nw_src=10.0.0.0/8,ip,priority=2,actions=2",
      "priority=3,ip,nw_dst=10.1.1.1,actions=drop",
      "priority=4,tcp,tp_dst=80,actions=drop",
      "priority=5,tcp,tp_src=0x100/0xff00,tcp_flags=+syn,actions=drop",
      "priority=4,udp,tp_dst=53,tp_src=53,actions=drop",
      "priority=7,ipv6,ipv6_src=fe80::/64,actions=drop",
      "priority=8,dl_src=00:00:00:00:00:01,actions=drop",
      "priority=9,reg3=5,actions=drop",
      "priority=3,arp,arp_tpa=10.0.0.1,arp_op=1,actions=drop",
    ],
    [
      "in_port=1,tcp,nw_src=10.0.0.1,nw_dst=9.9.9.9,tp_dst=81",
      "in_port=1,tcp,nw_src=10.0.0.1,nw_dst=10.1.1.1,tp_dst=80",
      "in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.1.1.1,udp_dst=80",
      "in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.2.1.1,udp_dst=53,udp_src=54",
      "in_port=1,ip,nw_src=11.2.3.4,nw_dst=10.1.1.0",
      "in_port=1,ip,nw_src=128.2.3.4,nw_dst=200.1.1.0",
      "in_port=1,tcp6,ipv6_src=fe80::1",
      "in_port=1,tcp6,ipv6_src=fe81::1",
      "in_port=1,arp,arp_tpa=10.0.0.1,arp_op=2",
      "in_port=1,arp,arp_tpa=10.0.0.1,arp_op=1",
      "in_port=1,dl_src=00:00:00:00:00:01",
    ],
  ],
  [["ip,actions=dec_ttl,output:2"], ["in_port=1,tcp,nw_ttl=5"]],
  [
    [
      "conj_id=5,ip,actions=2",
      "priority=20,ip,nw_src=10.0.0.1,actions=conjunction(5,1/2)",
      "priority=20,tcp,tp_dst=80,actions=conjunction(5,2/2)",
      "priority=10,ip,actions=drop",
    ],
    [
      "in_port=1,tcp,nw_src=10.0.0.1,tp_dst=80",
      "in_port=1,tcp,nw_src=10.0.0.1,tp_dst=81",
      "in_port=1,tcp,nw_src=10.0.0.2,tp_dst=80",
    ],
  ],
  [
    ["ip,actions=set_field:1.2.3.4->ip_src,output:2", "ipv6,actions=set_field:fe80::5->ipv6_dst,output:2"],
    ["in_port=1,tcp", "in_port=1,tcp,nw_src=1.2.3.4", "in_port=1,udp6"],
  ],
  [
    ["ip,actions=set_field:10->ip_dscp,output:2", "ipv6,actions=dec_ttl,output:2"],
    ["in_port=1,tcp", "in_port=1,tcp6,nw_ttl=4"],
  ],
  [["ip,actions=dec_ttl"], ["in_port=1,tcp,nw_ttl=3"]],
  [
    ["actions=set_field:00:00:00:00:00:05->eth_dst,output:2"],
    ["in_port=1,tcp,nw_ttl=3", "in_port=1,dl_dst=00:00:00:00:00:05"],
  ],
  [
    [
      "udp,actions=set_field:1.2.3.4->ip_src,move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],move:NXM_OF_IP_SRC[0..7]->NXM_NX_REG1[4..11],push:NXM_NX_REG0[],pop:NXM_NX_REG5[],multipath(nw_src,1,modulo_n,1,0,NXM_NX_REG3[]),output:2",
    ],
    ["in_port=1,udp"],
  ],
  [
    ["actions=2,LOCAL,1"],
    [
      "in_port=LOCAL",
      "in_port=1,mpls,mpls_label=3,mpls_ttl=9",
      "in_port=1,mpls,mpls_label=3,mpls_ttl=9,mpls_bos=1",
      "in_port=1,ip,nw_frag=first,nw_proto=6",
      "in_port=1,ip,nw_frag=later,nw_proto=1",
    ],
  ],
  [
    ["udp,tp_dst=53,actions=2"],
    ["in_port=1,udp,nw_frag=later", "in_port=1,udp,nw_frag=first", "in_port=1,udp,udp_dst=53"],
  ],
  [["icmp,icmp_type=8,actions=2"], ["in_port=1,icmp,icmp_type=8", "in_port=1,icmp,icmp_type=9"]],
  [
    ["ip,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],output:2"],
    ["in_port=1,tcp", "in_port=1,udp6", "in_port=1,arp"],
  ],
  [
    ["ip,actions=mod_nw_tos:8,output:2", "ipv6,actions=set_field:2->nw_ecn,output:2"],
    ["in_port=1,tcp", "in_port=1,udp6"],
  ],
  [["ip,actions=mod_nw_ttl:8,output:2"], ["in_port=1,tcp"]],
  [["ip,actions=set_field:1.2.3.4->ip_src"], ["in_port=1,tcp"]],
  [["ip,actions=output:2,set_field:1.2.3.4->ip_src"], ["in_port=1,tcp", "in_port=1,ip"]],
  [
    ["ip,actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),2"],
    ["in_port=1,tcp"],
  ],
];

let twins: DummyTwins;

beforeAll(async () => {
  twins = await DummyTwins.open();
  await twins.both(
    "vsctl add-br br0 -- set bridge br0 datapath_type=dummy fail_mode=secure other_config:hwaddr=aa:55:aa:55:00:00",
    "vsctl add-port br0 p1 -- set interface p1 type=dummy ofport_request=1",
    "vsctl add-port br0 p2 -- set interface p2 type=dummy ofport_request=2",
  );
});
afterAll(() => twins?.close());

/** Numbers that each counts by itself, and ports to which NORMAL floods in an order of its own. */
function normal(text: string): string {
  return text
    .replaceAll(/recirc(\(|_id=)0x[0-9a-f]+/g, "recirc$1N")
    .replace(
      /(Datapath actions: )(\d+(?:,\d+)+)$/m,
      (_, head, ports: string) => `${head}${ports.split(",").sort()}`,
    );
}

it.each(SCRIPTS.map(([flows, packets]) => [flows.join(" + "), flows, packets] as const))(
  "%s",
  async (_name, flows, packets) => {
    for (const { dir } of [twins.real, twins.ours])
      writeFileSync(join(dir, "flows"), `${flows.join("\n")}\n`);
    await twins.both("ofctl -O OpenFlow13 del-flows br0", "ofctl -O OpenFlow13 add-flows br0 $DIR/flows");
    for (const packet of packets) {
      const line = `appctl ofproto/trace br0 ${packet}`;
      const { ours, real } = await twins.answers(line);
      expect(normal(ours), line).toBe(normal(real));
    }
  },
);

it("a patch port leads to the tables of the bridge behind it", async () => {
  await twins.both(
    "vsctl add-br br1 -- set bridge br1 datapath_type=dummy fail_mode=secure",
    "vsctl add-port br1 p5 -- set interface p5 type=dummy ofport_request=5",
    "vsctl add-port br0 pa -- set interface pa type=patch options:peer=pb ofport_request=10 -- add-port br1 pb -- set interface pb type=patch options:peer=pa ofport_request=11",
    "ofctl -O OpenFlow13 del-flows br0",
    "ofctl -O OpenFlow13 add-flow br0 priority=2,tcp,actions=set_field:5->reg0,output:10,output:2",
    "ofctl -O OpenFlow13 add-flow br0 priority=1,actions=output:10",
    "ofctl -O OpenFlow13 add-flow br1 ip,actions=resubmit(,1),LOCAL",
    "ofctl -O OpenFlow13 add-flow br1 table=1,ip,reg0=0,actions=dec_ttl,5",
    "ofctl -O OpenFlow13 add-flow br1 priority=9,arp,actions=write_actions(output:5)",
  );
  for (const line of [
    "appctl ofproto/trace br0 in_port=1,tcp,nw_ttl=9",
    "appctl ofproto/trace br0 in_port=1,udp,nw_ttl=9",
    "appctl ofproto/trace br0 in_port=1,arp",
    "appctl ofproto/trace br1 in_port=11,icmp,nw_ttl=2",
    "appctl dpif/show",
  ]) {
    const { ours, real } = await twins.answers(line);
    expect(ours, line).toBe(real);
  }
});

it("NORMAL over a patch port is told in the order in which it decides", async () => {
  const port = (bridge: string, name: string, peer: string): string =>
    `vsctl --may-exist add-port ${bridge} ${name} -- set interface ${name} type=patch options:peer=${peer}`;
  await twins.both(
    "vsctl --may-exist add-br br1 -- set bridge br1 datapath_type=dummy",
    "vsctl --may-exist add-port br1 p5 -- set interface p5 type=dummy ofport_request=5",
    `${port("br0", "pa", "pb")} -- ${port("br1", "pb", "pa").slice("vsctl ".length)}`,
    "ofctl -O OpenFlow13 del-flows br0",
    "ofctl -O OpenFlow13 del-flows br1",
    "ofctl -O OpenFlow13 add-flow br0 actions=NORMAL",
    "ofctl -O OpenFlow13 add-flow br1 actions=NORMAL",
    "appctl fdb/add br0 pa 0 50:54:00:00:00:09",
    "appctl fdb/add br1 p5 0 50:54:00:00:00:09",
  );
  for (const line of [
    "appctl ofproto/trace br0 in_port=1,dl_dst=50:54:00:00:00:09",
    "appctl ofproto/trace br0 in_port=1,dl_src=50:54:00:00:00:29,dl_dst=50:54:00:00:00:09 -generate",
    "vsctl get interface pa error mtu status link_state",
    "ofctl -O OpenFlow13 dump-ports br0 pa",
  ]) {
    const { ours, real } = await twins.answers(line);
    expect(ours, line).toBe(real);
  }
});

it.each(["options:other=x", "options:peer=px options:other=x", "options:peer=px", "options:peer=nobody"])(
  "a patch port of %s says what is wrong with it",
  async (options) => {
    await twins.both("vsctl --may-exist add-br br1 -- set bridge br1 datapath_type=dummy");
    await twins.answers(`vsctl add-port br1 px -- set interface px type=patch ${options}`);
    const error = "vsctl get interface px error";
    // Open vSwitch tells of a peer that is not there some time after it has made the port.
    const isTold = async (): Promise<boolean> => (await twins.answers(error)).real !== "0\n[]\n";
    await waitFor(isTold, "an error of px", 20_000);
    const { ours, real } = await twins.answers(error);
    expect(ours).toBe(real);
    await twins.both("vsctl del-port br1 px");
  },
);
