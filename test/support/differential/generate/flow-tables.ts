// Random flow tables, and frames that meet them: what both switches must do alike. Left out is what is not specified:
// flows of equal priority that overlap, hashes, and what a switch may do in its own time (learn).
import fc from "fast-check";
import { icmpFrame, plainFrame, tcpFrame, udpFrame } from "../../../../vswitch/testing/frames.js";
import type { FrameIn } from "../compare.js";

const TABLES = 3;
const FLOWS = 12;
const HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.1.1"];
const MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
const ETHER = "dl_src=52:54:00:00:00:01";

/** What else is known says what may be done to a packet that matches. */
interface MatchText {
  readonly text: string;
  readonly untagged: boolean;
  readonly vlan: boolean;
  readonly ip: boolean;
  readonly tcp: boolean;
}

const UNTAGGED = "vlan_tci=0/0x1fff";
const plain = (text: string): MatchText => ({
  text,
  ...{ untagged: false, vlan: false, ip: false, tcp: false },
});
const untagged = (of: MatchText): MatchText => ({
  ...of,
  text: of.text === "" ? UNTAGGED : `${of.text},${UNTAGGED}`,
  untagged: true,
});
const vlan = (text: string): MatchText => ({ ...plain(text), vlan: true });
const ip = (text: string): MatchText => ({ ...plain(text), ip: true });
const tcp = (text: string): MatchText => ({ ...ip(text), tcp: true });

const MATCHES: readonly MatchText[] = [
  plain(""),
  plain("in_port=1"),
  plain("in_port=2"),
  plain(ETHER),
  plain("dl_dst=52:54:00:00:00:02/ff:ff:ff:ff:ff:00"),
  vlan("dl_vlan=5"),
  vlan("vlan_tci=0x1000/0x1000"),
  untagged(plain("")),
  untagged(plain("in_port=1")),
  untagged(ip("ip")),
  untagged(tcp("tcp")),
  vlan("dl_vlan_pcp=3"),
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
  "clone(set_field:52:54:00:00:00:08->eth_src,load:3->NXM_NX_REG9[],output:3)",
  // What was pushed before is behind the first output in Open vSwitch too (docs/differences-from-ovs.md).
  "output:2,output(port=2,max_len=40)",
  "note:01.02",
  "group:1",
  "group:2",
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
/**
 * Only onto frames without a tag, and before they go on in other tables: of more than two tags Open vSwitch loses some
 * (docs/differences-from-ovs.md). VID and priority are both given, for it does not take them over from a tag before.
 */
const PUSHES = [
  "",
  "push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp",
  "mod_vlan_vid:9,mod_vlan_pcp:2",
  "push_vlan:0x8100,set_field:4102->vlan_vid,push_vlan:0x8100,set_field:4103->vlan_vid,set_field:1->vlan_pcp",
];
const TCP_ACTIONS = ["mod_tp_src:99", "mod_tp_dst:98", "load:1->NXM_OF_TCP_DST[0]"];

/** Not together with an action set, which Open vSwitch then forgets (docs/differences-from-ovs.md). */
const EXITS = ["exit", "clone(output:2,exit)"];

const SET_ACTIONS = [
  ...["output:1", "output:2", "output:3", "set_field:7->reg0", "group:1", ""],
  "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],load:0x7->NXM_OF_ETH_SRC[8..15],output:3",
  "load:0x5->NXM_OF_ETH_SRC[0..7],move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
  "set_field:00:00:00:00:00:07/00:00:00:00:00:0f->eth_dst",
  ...["output:2,group:2", "ct_clear", "ct_clear,output:1", "set_queue:1,output:2"],
];

/** A flow; each has a priority of its own, so that none overlaps another of the same. */
function flowText(table: number, priority: number, withSets: boolean): fc.Arbitrary<string> {
  const actions = [...PLAIN_ACTIONS, ...onwards(table), ...(withSets ? [] : EXITS)];
  return fc
    .record({
      match: fc.constantFrom(...MATCHES),
      plain: fc.array(fc.constantFrom(...actions), { maxLength: 4 }),
      ofIp: fc.array(fc.constantFrom(...IP_ACTIONS), { maxLength: 2 }),
      ofTcp: fc.array(fc.constantFrom(...TCP_ACTIONS), { maxLength: 1 }),
      ofUntagged: fc.constantFrom(...PUSHES),
      ofVlan: fc.constantFrom("", "pop_vlan"),
      set: withSets ? fc.constantFrom(...SET_ACTIONS, ...onwards(table)) : fc.constant(""),
      clear: fc.constantFrom(false, false, false, true),
      metadata: fc.constantFrom("", "", "write_metadata:5/7"),
      next: fc.constantFrom(-1, table + 1),
    })
    .map(({ match, plain: list, ofIp, ofTcp, ofUntagged, ofVlan, set, clear, metadata, next }) => {
      const pushes = match.untagged && ofUntagged !== "" ? [ofUntagged] : [];
      const first = [...pushes, ...(match.ip ? ofIp : []), ...(match.tcp ? ofTcp : [])];
      const parts = [
        ...first,
        ...list,
        ...(match.vlan && ofVlan !== "" ? [ofVlan] : []),
        ...(clear ? ["clear_actions"] : []),
        ...(set === "" ? [] : [`write_actions(${set})`]),
        ...(metadata === "" ? [] : [metadata]),
        ...(next > table && next < TABLES ? [`goto_table:${next}`] : []),
      ];
      const head = [`table=${table}`, `priority=${priority}`, ...(match.text === "" ? [] : [match.text])];
      return `${head.join(",")},actions=${parts.length === 0 ? "drop" : parts.join(",")}`;
    });
}

/** What goes on in later tables; never back, for what has left before a loop is cut is not the same. */
function onwards(table: number): string[] {
  const later = Array.from({ length: TABLES - 1 - table }, (_, n) => table + 1 + n);
  // Group 3 goes on in the last table.
  return later.flatMap((next) => [`resubmit(,${next})`, `resubmit(2,${next})`, "group:3"]);
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
 * For every case: groups, and a table-miss flow for each table: without one OpenFlow 1.3.5, 5.4 discards the packet,
 * where Open vSwitch still executes its action set.
 */
export const FLOW_TABLE_BASE: readonly (readonly string[])[] = [
  "group_id=1,type=all,bucket=output:1,bucket=set_field:52:54:00:00:00:0a->eth_src,output:3",
  "group_id=2,type=indirect,bucket=set_field:7->reg0,output:2",
  `group_id=3,type=all,bucket=group:2,bucket=resubmit(,${TABLES - 1})`,
]
  .map((group) => ["add-group", group])
  .concat(
    Array.from({ length: TABLES }, (_, table) => ["add-flow", `table=${table},priority=0,actions=drop`]),
  );

/** Commands of ovs-ofctl that fill the tables. */
export const flowTables: fc.Arbitrary<readonly (readonly string[])[]> = fc
  .record({ withSets: fc.boolean(), withConjunctions: fc.boolean() })
  .chain(({ withSets, withConjunctions }) => {
    const flows = Array.from({ length: FLOWS }, (_, n) => flowText(n % TABLES, 10 + n, withSets));
    const conjunctions = withConjunctions ? CONJUNCTIONS : [];
    return fc.tuple(...flows).map((texts) => [...texts, ...conjunctions].map((flow) => ["add-flow", flow]));
  });

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
