// Random flow tables, and frames that meet them: what both switches must do alike. Left out is what is not specified:
// flows of equal priority that overlap, hashes, and what a switch may do in its own time (learn).
import fc from "fast-check";
import { icmpFrame, plainFrame, tcpFrame, udpFrame } from "../../../../vswitch/testing/frames.js";
import type { FrameIn } from "../compare.js";

const TABLES = 3;
const HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.1.1"];
const MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
const ETHER = "dl_src=52:54:00:00:00:01";

/** `ip` and `tcp` say what may be done to a packet that matches. */
interface MatchText {
  readonly text: string;
  readonly ip: boolean;
  readonly tcp: boolean;
}

const plain = (text: string): MatchText => ({ text, ip: false, tcp: false });
const ip = (text: string): MatchText => ({ text, ip: true, tcp: false });
const tcp = (text: string): MatchText => ({ text, ip: true, tcp: true });

const MATCHES: readonly MatchText[] = [
  plain(""),
  plain("in_port=1"),
  plain("in_port=2"),
  plain(ETHER),
  plain("dl_dst=52:54:00:00:00:02/ff:ff:ff:ff:ff:00"),
  plain("dl_vlan=5"),
  plain("vlan_tci=0x1000/0x1000"),
  plain("vlan_tci=0/0x1fff"),
  plain("dl_vlan_pcp=3"),
  ip("ip"),
  ip("ip,nw_src=10.0.0.0/24"),
  ip("ip,nw_dst=10.0.0.2"),
  ip("ip,nw_ttl=64"),
  ip("ip,nw_tos=16"),
  tcp("tcp"),
  tcp("tcp,tp_dst=80"),
  tcp("tcp,tcp_flags=+syn-ack"),
  tcp("tcp,tp_src=1000/0xfffe"),
  ip("udp,tp_dst=53"),
  ip("icmp,icmp_type=8"),
  plain("reg0=7"),
  plain("reg1=0x10000/0xffff0000"),
  plain("reg9=3"),
  plain("metadata=5/0xf"),
  plain("xreg3=9"),
  plain("tun_id=4"),
  plain("pkt_mark=1"),
  plain("actset_output=2"),
];

const PLAIN_ACTIONS = [
  "output:1",
  "output:2",
  "output:3",
  "IN_PORT",
  "FLOOD",
  "ALL",
  "load:7->NXM_NX_REG0[]",
  "load:1->NXM_NX_REG1[16..31]",
  "load:3->NXM_NX_REG9[]",
  "set_field:9->xreg3",
  "set_field:4->tun_id",
  "set_field:1->pkt_mark",
  "set_field:0x5/0xf->metadata",
  "load:2->NXM_NX_REG2[0..15],output:NXM_NX_REG2[0..15]",
  "load:0xfff8->NXM_NX_REG2[0..15],output:NXM_NX_REG2[0..15]",
  "load:0->NXM_OF_IN_PORT[]",
  "load:0xffff->NXM_OF_IN_PORT[]",
  "move:NXM_OF_IN_PORT[]->NXM_NX_REG2[0..15],output:NXM_NX_REG2[0..15]",
  "move:NXM_NX_REG0[0..15]->NXM_NX_REG1[16..31]",
  "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
  "set_field:52:54:00:00:00:09->eth_src",
  "set_field:00:00:00:00:00:07/00:00:00:00:00:0f->eth_dst",
  "push:NXM_OF_ETH_SRC[],pop:NXM_OF_ETH_DST[]",
  "push:NXM_NX_REG0[],push:NXM_NX_REG9[],pop:NXM_NX_REG0[],pop:NXM_NX_REG9[]",
  "pop:NXM_NX_REG0[]",
  "push:NXM_NX_REG0[0..7]",
  "push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp",
  "strip_vlan",
  "mod_vlan_vid:9",
  "clone(set_field:52:54:00:00:00:08->eth_src,load:3->NXM_NX_REG9[],output:3)",
  "clone(output:2,exit)",
  "output(port=2,max_len=40)",
  "note:01.02",
  "exit",
  "resubmit(,1)",
  "resubmit(,2)",
  "resubmit(2,2)",
  "group:1",
  "group:2",
  "group:3",
];
const IP_ACTIONS = [
  "mod_nw_src:10.0.9.9",
  "set_field:10.0.8.8->ip_dst",
  "dec_ttl",
  "mod_nw_tos:32",
  "mod_nw_ecn:1",
  "mod_nw_ttl:9",
  "move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]",
  "load:0x5->NXM_OF_IP_DST[0..7]",
];
const TCP_ACTIONS = ["mod_tp_src:99", "mod_tp_dst:98", "load:1->NXM_OF_TCP_DST[0]"];

const SET_ACTIONS = ["output:1", "output:2", "output:3", "set_field:7->reg0", "group:1", ""];

/** The flows of a table; each has a priority of its own, so that none overlaps another of the same. */
function flowText(table: number, priority: number): fc.Arbitrary<string> {
  return fc
    .record({
      match: fc.constantFrom(...MATCHES),
      plain: fc.array(fc.constantFrom(...PLAIN_ACTIONS), { maxLength: 4 }),
      ofIp: fc.array(fc.constantFrom(...IP_ACTIONS), { maxLength: 2 }),
      ofTcp: fc.array(fc.constantFrom(...TCP_ACTIONS), { maxLength: 1 }),
      set: fc.constantFrom(...SET_ACTIONS),
      clear: fc.constantFrom(false, false, false, true),
      metadata: fc.constantFrom("", "", "write_metadata:5/7"),
      next: fc.constantFrom(-1, table + 1),
    })
    .map(({ match, plain: list, ofIp, ofTcp, set, clear, metadata, next }) => {
      const first = [...(match.ip ? ofIp : []), ...(match.tcp ? ofTcp : [])];
      const parts = [
        ...first,
        ...list,
        ...(clear ? ["clear_actions"] : []),
        ...(set === "" ? [] : [`write_actions(${set})`]),
        ...(metadata === "" ? [] : [metadata]),
        ...(next > table && next < TABLES ? [`goto_table:${next}`] : []),
      ];
      const head = [`table=${table}`, `priority=${priority}`, ...(match.text === "" ? [] : [match.text])];
      return `${head.join(",")},actions=${parts.length === 0 ? "drop" : parts.join(",")}`;
    });
}

/** Two conjunctions of one priority whose clauses overlap. */
const CONJUNCTIONS = [
  "priority=500,ip,nw_src=10.0.0.0/24,actions=conjunction(1,1/2),conjunction(2,1/3)",
  "priority=500,ip,nw_src=10.0.1.0/24,actions=conjunction(2,1/3)",
  "priority=500,ip,nw_dst=10.0.0.2,actions=conjunction(1,2/2)",
  "priority=500,ip,nw_dst=10.0.0.1,actions=conjunction(2,2/3)",
  "priority=500,tcp,tp_dst=80,actions=conjunction(2,3/3)",
  "priority=500,conj_id=1,ip,actions=load:7->NXM_NX_REG0[],output:3",
  "priority=500,conj_id=2,ip,actions=output:1,output:2",
];

/**
 * A table-miss flow each: without one OpenFlow 1.3.5, 5.4 discards the packet, where Open vSwitch still executes its
 * action set.
 */
const MISSES = Array.from({ length: TABLES }, (_, table) => `table=${table},priority=0,actions=drop`);

const GROUPS = [
  "group_id=1,type=all,bucket=output:1,bucket=set_field:52:54:00:00:00:0a->eth_src,output:3",
  "group_id=2,type=indirect,bucket=set_field:7->reg0,output:2",
  "group_id=3,type=all,bucket=group:2,bucket=resubmit(,2)",
];

/** Commands of ovs-ofctl that fill the tables. */
export const flowTables: fc.Arbitrary<readonly (readonly string[])[]> = fc
  .tuple(fc.tuple(...Array.from({ length: 12 }, (_, n) => flowText(n % TABLES, 10 + n))), fc.boolean())
  .map(([flows, conjunctions]) => [
    ...GROUPS.map((group) => ["add-group", group]),
    ...[...MISSES, ...flows, ...(conjunctions ? CONJUNCTIONS : [])].map((flow) => ["add-flow", flow]),
  ]);

/** Frames between a few hosts, with and without a tag. */
export function hostFrame(ports: number): fc.Arbitrary<FrameIn> {
  const ends = fc.record({
    source: fc.constantFrom(...HOSTS),
    destination: fc.constantFrom(...HOSTS),
    sourcePort: fc.constantFrom(1000, 1001, 1002),
    destinationPort: fc.constantFrom(80, 53, 443),
  });
  const [first, second] = MACS as [string, string];
  const frame = fc.oneof(
    fc.tuple(ends, fc.constantFrom(2, 16, 18)).map(([between, flags]) => tcpFrame(between, flags)),
    ends.map((between) => udpFrame(between)),
    ends.map((between) => icmpFrame(between, 8, 0x00010001)),
    fc.constantFrom(plainFrame(first, second), plainFrame(second, first), plainFrame(first, second, 5, 3)),
  );
  return fc.record({ port: fc.integer({ min: 1, max: ports }), frame });
}
