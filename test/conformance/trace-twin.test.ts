// ofproto/trace of our switch and of Open vSwitch, asked by the same ovs-appctl about the same packets and tables:
// every line agrees, but for the numbers that each counts by itself.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { RealOvs } from "../support/real-ovs.js";
import { requirePrograms, run, runOk } from "../support/run.js";

const FLOWS = `
priority=100,in_port=1,tcp,tp_dst=80 actions=push_vlan:0x8100,set_field:4106->vlan_vid,resubmit(,1)
priority=90,in_port=1,udp actions=ct(table=1,zone=5)
priority=80,in_port=1,icmp actions=dec_ttl,set_field:00:11:22:33:44:55->eth_src,output:2,output:3
priority=60,in_port=1,ipv6 actions=drop
priority=55,in_port=1,ip,nw_proto=3 actions=set_field:4->ip_dscp,set_field:1.2.3.4->ip_src,output:2,IN_PORT,output:1,output:77
priority=50,in_port=2,ip actions=write_actions(output:1),goto_table:2
priority=45,in_port=2,arp actions=group:1
priority=40,in_port=2,dl_vlan=5 actions=pop_vlan,output:1
priority=30,in_port=3,tcp actions=set_field:8080->tcp_dst,set_field:10.0.0.9->ip_dst,output:1
priority=25,in_port=3,udp actions=CONTROLLER:128
table=1,priority=10,ct_state=+new+trk,udp actions=ct(commit,zone=5),output:2
table=1,priority=5,cookie=0x1234 actions=output:2
table=2,priority=5 actions=set_field:1->metadata,goto_table:3
table=3,priority=1 actions=write_actions(output:3)
priority=120,in_port=3,udp,tp_src=9 actions=resubmit(,4)
table=4,priority=9,reg3=7,ip actions=2
table=4,priority=9,reg12=7,ip actions=IN_PORT
table=4,priority=8,metadata=5,ip actions=1,2
table=4,priority=7,tun_id=9,ip actions=move:NXM_NX_TUN_ID[0..31]->NXM_NX_REG1[],resubmit(,5)
table=4,priority=6,ct_state=+est+trk,ip actions=resubmit(,5)
table=4,priority=5,ct_mark=3,ip actions=drop
table=4,priority=4,pkt_mark=3,ip actions=2
table=4,priority=3,ip actions=ct(commit,exec(move:NXM_NX_REG0[]->NXM_NX_CT_LABEL[0..31],load:0x7->NXM_NX_CT_LABEL[32..63],move:NXM_NX_CT_LABEL[32..63]->NXM_NX_CT_LABEL[64..95],move:NXM_OF_IP_SRC[]->NXM_NX_CT_MARK[])),2
table=5,priority=3,ip,reg1=9 actions=ct(commit,zone=NXM_NX_REG1[0..15],nat(src=1.2.3.4),exec(set_field:0x3/0xff->ct_mark,move:NXM_NX_REG1[0..3]->NXM_NX_CT_MARK[8..11]))
table=5,priority=0 actions=drop
priority=200,tun_metadata0=7 actions=set_field:0x1234567890->tun_metadata0,resubmit(,10)
priority=190,tun_metadata1=0/0xff00 actions=write_actions(set_field:3->tun_metadata0,output:2),goto_table:12
priority=180,tun_metadata2 actions=clone(set_field:5/0xf->tun_metadata0,resubmit(,12)),delete_field:tun_metadata2,resubmit(,12)
table=10 actions=move:tun_metadata0[0..31]->reg3[],move:tun_metadata0[0..15]->tun_metadata1[16..31],load:5->tun_metadata1[40..43],resubmit(,11)
table=11,tun_metadata1=0x56780000/0xffff0000 actions=push:tun_metadata1[0..31],pop:tun_metadata0[0..31],resubmit(,12)
table=12,tun_metadata0 actions=learn(table=13,tun_metadata0[0..31]=tun_metadata1[0..31],load:tun_metadata1[0..31]->reg1),2
table=12,priority=0 actions=move:tun_metadata0[0..31]->reg4[],3
priority=140,in_port=3,udp,tp_src=11 actions=set_queue:3,2,1,pop_queue,2,set_queue:0,1,set_field:7->pkt_mark,set_queue:9,2,resubmit(,14)
priority=140,in_port=3,udp,tp_src=12 actions=pop_queue,set_queue:0,pop_queue,1
table=14 actions=set_queue:0x1234,controller,1
priority=300,metadata=21,tcp actions=ct(commit,nat(src=10.9.0.5-10.9.0.9:100-200),table=20)
priority=300,metadata=21,udp actions=ct(commit,nat(dst=10.9.0.5:80),table=20),ct(table=20)
priority=300,metadata=21,tcp6 actions=ct(commit,zone=7,nat(dst=[fd00::5]-[fd00::9]:7-8),table=20)
priority=300,metadata=21,udp6 actions=ct(commit,zone=7,nat(src=fd00::5,random),exec(load:5->NXM_NX_CT_MARK[]),table=20)
priority=300,metadata=21,icmp actions=ct(nat,table=20)
table=20,priority=9,ip,nw_src=10.9.0.5 actions=2,ct(commit,zone=3,nat(dst=10.9.0.7),table=21)
table=20,priority=9,udp,nw_dst=10.9.0.5,tp_dst=80 actions=dec_ttl,3
table=20,priority=9,ipv6,ipv6_dst=fd00::5 actions=3
table=20,priority=8 actions=1
table=20,priority=9,ipv6,ipv6_src=fd00::5 actions=ct(commit,zone=7,exec(set_field:2/3->ct_mark,set_field:1->ct_label),table=21)
table=21,ipv6 actions=ct(table=22)
table=21,ip actions=3
table=22 actions=3
metadata=24,udp actions=output:NXM_OF_IN_PORT[],load:2->NXM_NX_REG3[],output:NXM_NX_REG3[],output:NXM_NX_REG3[0..15],load:0x10002->NXM_NX_REG4[],output:NXM_NX_REG4[]
metadata=26,udp actions=controller(userdata=01.02,pause,meter_id=5),2
metadata=26,tcp actions=controller(userdata=01.02),dec_ttl,2
metadata=25,udp actions=bundle(symmetric_l3,5,active_backup,ofport,members:3,1),bundle_load(nw_dst,5,active_backup,ofport,NXM_NX_REG2[0..15],members:3,1)
metadata=22,udp actions=set_queue:3,3,2,dec_ttl,3,pop_queue,2
metadata=29,udp actions=load:7->NXM_OF_ETH_DST[8..15],set_field:2->nw_ecn,load:9->NXM_OF_IP_SRC[0..7],load:5->NXM_OF_UDP_SRC[0..3],1
metadata=29,udp6 actions=load:7->NXM_OF_ETH_SRC[8..15],set_field:3/3->ipv6_label,load:9->NXM_NX_IPV6_DST[0..7],1
metadata=22,udp6 actions=set_queue:3,2,pop_queue,push:NXM_NX_REG0[],pop:NXM_NX_REG1[],pop:NXM_NX_REG2[]
metadata=23,udp actions=set_queue:3,set_field:3->ip_dscp,2,push_vlan:0x8100,2,3
priority=300,metadata=26,ip actions=learn(table=26,in_port=2,output:NXM_OF_IN_PORT[]),IN_PORT,resubmit(2,27),resubmit(3,27),output(port=3,max_len=100),clone(output:2),ct(commit,exec(load:0->NXM_NX_CT_LABEL[0],load:0->NXM_NX_CT_MARK[])),ct(commit,exec(load:0->NXM_NX_CT_MARK[0])),bundle(eth_src,0,active_backup,ofport,members:2,3),write_actions(output:1,output:2),write_metadata:0x5
table=27,in_port=2 actions=note:01,output:1
priority=130,in_port=3,udp,tp_src=10 actions=dec_ttl,sample(probability=12345,collector_set_id=23456,obs_domain_id=34567,obs_point_id=45678),output:2,sample(probability=1,collector_set_id=3,sampling_port=3,egress)
`;
const OPTIONS =
  "{class=0xffff,type=0,len=4}->tun_metadata0,{class=0xffff,type=1,len=8}->tun_metadata1,{class=0x102,type=0x80,len=124}->tun_metadata2";
const BESIDE = "in_port=3,udp,udp_src=9,udp_dst=2,nw_src=10.0.0.1,nw_dst=10.0.0.2";
const DATAPATH_FLOW =
  "eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=9,dst=2)";
const UDP_FRAME =
  "50540000000a505400000009080045000020000000004011664c0a0000010a00000200090002000c0000aabbccdd";
const IP = "nw_src=10.0.0.1,nw_dst=10.0.0.2,dl_src=00:00:00:00:00:01,dl_dst=00:00:00:00:00:02,nw_ttl=64";
const TCP_FRAME =
  "505400000007505400000009080045000028000000004006f97dc0a80001c0a80002000000500000000000000000500200000000000000";

const TRACES: readonly (readonly string[])[] = [
  ["br0", `metadata=26,in_port=1,udp,${IP}`],
  ["br0", `metadata=26,in_port=1,udp,${IP}`, "-generate"],
  ["br0", `metadata=26,in_port=1,tcp,${IP},nw_ttl=1`, "-generate"],
  ["br0", `metadata=24,in_port=1,udp,${IP}`],
  ["br0", `metadata=25,in_port=1,udp,${IP}`],
  ["br0", `metadata=22,in_port=1,udp,${IP},nw_tos=4,nw_ecn=1`],
  ["br0", `metadata=22,in_port=1,udp,${IP},nw_tos=44`],
  ["br0", "metadata=22,in_port=1,udp6,nw_tos=4,nw_ecn=2,nw_ttl=9"],
  ["br0", `metadata=29,in_port=2,udp,${IP},nw_tos=4`],
  ["br0", "metadata=29,in_port=2,udp6,ipv6_label=8"],
  ["br0", `metadata=23,in_port=1,udp,${IP}`],
  ["br0", `metadata=21,in_port=2,tcp,tp_src=21,${IP}`],
  ["br0", `metadata=21,in_port=2,tcp,tp_src=21,${IP}`, "--ct-next", "est,trk", "--ct-next", "new,trk"],
  ["br0", `metadata=21,in_port=2,udp,udp_src=22,${IP}`],
  ["br0", "metadata=21,in_port=2,tcp6,tp_src=21,tp_dst=5,ipv6_src=::1,ipv6_dst=::2"],
  ["br0", "metadata=21,in_port=2,udp6,udp_src=21,ipv6_src=::1,ipv6_dst=::2"],
  ["br0", `metadata=21,in_port=2,icmp,icmp_code=3,${IP}`],
  ["br0", `in_port=1,tcp,tp_dst=80,${IP}`],
  ["br0", `in_port=1,tcp,tp_dst=81,${IP}`],
  ["br0", `in_port=1,udp,${IP}`],
  ["br0", `in_port=1,udp,${IP}`, "--ct-next", "trk,est"],
  ["--ct-next", "trk,est,rpl", "br0", `in_port=1,udp,${IP}`],
  ["br0", "in_port=1,icmp,nw_ttl=64,icmp_type=8"],
  ["br0", "in_port=1,icmp,nw_ttl=1"],
  ["br0", "in_port=1,ipv6"],
  ["br0", "in_port=1,ip,nw_proto=3,nw_ttl=3"],
  ["br0", `in_port=2,ip,${IP}`],
  ["br0", "in_port=2,arp,arp_op=1"],
  ["in_port(p1)"],
  [`in_port(p2),${DATAPATH_FLOW}`],
  ["br0", "in_port=2,dl_vlan=5,dl_vlan_pcp=1,dl_type=0x1234"],
  ["br0", `in_port=3,tcp,${IP}`],
  ["br0", `in_port=3,udp,${IP}`],
  ["br0", "in_port=3"],
  ["br0", "in_port=1", TCP_FRAME],
  ["br0", `in_port=1,udp,${IP}`, "-generate"],
  // What a packet has besides its bytes.
  ...["", ",reg0=9", ",reg3=7", ",reg12=7", ",metadata=5", ",tun_id=9", ",pkt_mark=3"].map((more) => [
    "br0",
    `${BESIDE}${more}`,
  ]),
  ...["ct_state=est|trk", "ct_state=trk|est,ct_mark=3", "ct_zone=3,ct_label=0x5"].map((more) => [
    "br0",
    `${BESIDE},${more}`,
  ]),
  ...["reg3=7", "metadata=5", "tun_id=9", "pkt_mark=3"].map((more) => [
    "br0",
    `in_port=3,${more}`,
    UDP_FRAME,
  ]),
  ...["skb_mark(3)", "ct_state(est|trk),ct_zone(1)", "ct_state(0x22),ct_label(0x5),ct_mark(0x3)"].map(
    (more) => [`in_port(3),${more},${DATAPATH_FLOW}`],
  ),
  ["br0", "in_port=3,udp,udp_src=10,nw_ttl=9"],
  ["br0", "in_port=3,udp,udp_src=11"],
  ["br0", "in_port=3,udp,udp_src=12"],
  // Options of tunnels, and what is told of a packet that came through one.
  ...["tun_metadata0=7", "tun_metadata1=0x123400aa", "tun_metadata2=0x112233,tun_metadata9=1"].flatMap(
    (options) =>
      ["", "tun_src=1.2.3.4,tun_dst=5.6.7.8,tun_id=3,", "tun_ipv6_dst=::1,tun_flags=oam,"].map((ends) => [
        "br0",
        `in_port=1,${ends}${options}`,
      ]),
  ),
  ["br0", "in_port=3,tun_dst=1.1.1.1,tun_gbp_id=3,tun_gbp_flags=1,reg0=5"],
  ["br0", "in_port=3,tun_src=1.1.1.1,tun_gbp_id=4"],
  // A packet has one value of each field, behind what it needs.
  ...[
    "in_port=1,tcp,tcp_flags=+syn-ack",
    "in_port=1,tcp,tcp_flags=syn|ack",
    "in_port=1,ip,ct_state=+trk",
    "in_port=1,ip,nw_frag=not_later",
    "in_port=foo",
    "in_port=1,in_port=2",
    "tcp,udp",
    "tcp_flags=fin,tcp",
    "udp,nw_src=10.0.0.0/8",
    "icmp6,icmpv6_type=136,nd_target=fe80::1,nd_tll=00:11:22:33:44:55",
    "reg0=1,xreg0=1",
    "dl_vlan=3,vlan_pcp=3,dl_vlan=4",
  ].map((flow) => ["br0", flow]),
  ["br0", "foo=1"],
  ["br0", "in_port=1", "0011"],
  ["nobr", "in_port=1"],
  ["br0", "in_port=1,udp", "--ct-next", "foo"],
  ["br0", "in_port=1,udp", "--foo"],
  ["br0", "in_port=1,udp", "--no-names"],
  ["br0", "in_port=1,udp", "--consistent"],
  // Ports by their names, for people.
  ...[
    "in_port=p1,tcp,tp_dst=80",
    "in_port=p1,udp",
    "in_port=2,arp",
    "in_port=LOCAL",
    "in_port=77",
    "metadata=26,in_port=p1,ip",
  ].map((flow) => ["br0", "--names", `${flow}`]),
  ["br0", "--names", "metadata=26,in_port=p1,ip", "-generate"],
  ["--names", `in_port(p3),${DATAPATH_FLOW}`],
  ["br0", "in_port=1,udp", "a", "b", "c"],
];

/** One after the other, of the flows above and the options that they name. */
const CHANGES: readonly (readonly string[])[] = [
  ["dump-tlv-map"],
  ["add-tlv-map", "{class=0xffff,type=9,len=4}->tun_metadata5,{class=0xffff,type=1,len=4}->tun_metadata6"],
  ["add-tlv-map", "{class=0xffff,type=9,len=4}->tun_metadata0"],
  ["add-tlv-map", "{class=1,type=1,len=124}->tun_metadata5,{class=1,type=2,len=124}->tun_metadata6"],
  ["add-tlv-map", "{class=1,type=2,len=0}->tun_metadata63"],
  ["del-tlv-map", "{class=0xffff,type=0,len=4}->tun_metadata0"],
  ["del-tlv-map", "{class=7,type=7,len=4}->tun_metadata40"],
  ["del-tlv-map"],
  ["add-flow", "tun_metadata40=1,actions=2"],
  ["add-flow", "table=30,actions=delete_field:tun_metadata40"],
  ["add-flow", "table=30,actions=push:tun_metadata1"],
  [
    "add-flow",
    "table=30,tun_metadata0=0x123456789a,tun_metadata63=0,actions=set_field:0x5/0xf->tun_metadata1",
  ],
  [
    "--strict",
    "mod-flows",
    "table=30,tun_metadata63,tun_metadata0=0x12345678,actions=load:7->tun_metadata0[30..33]",
  ],
  ["dump-flows", "table=30", "--no-stats"],
  ["dump-flows", "table=0,tun_metadata0", "--no-stats"],
  ["dump-flows", "tun_metadata40", "--no-stats"],
  ["add-group", "group_id=9,type=all,bucket=set_field:5->tun_metadata40,output:2"],
  ["del-flows", "table=30"],
  ["del-tlv-map", "{class=1,type=2,len=0}->tun_metadata63"],
  ["dump-tlv-map"],
];

let directory: string;
let ovs: RealOvs;
let ours: PlinthSwitch;

beforeAll(async () => {
  requirePrograms("ovs-appctl", "ovs-ofctl");
  directory = mkdtempSync("/tmp/trtw-");
  writeFileSync(join(directory, "flows.txt"), FLOWS);
  ovs = await RealOvs.start();
  await ovs.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  ours = await PlinthSwitch.open();
  await ours.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  for (const n of [1, 2, 3]) {
    await ovs.addPort("br0", `p${n}`, n, `i${n}`);
    await ours.addPort("br0", `p${n}`, n, `i${n}`);
  }
  const queue = ["--", "--id=@q", "create", "qos", "type=linux-htb", "queues:3=@a"];
  for (const one of [ovs, ours])
    await one.vsctl("set", "port", "p2", "qos=@q", ...queue, "--", "--id=@a", "create", "queue", "dscp=11");
  for (const socket of [join(ovs.dir, "br0.mgmt"), ours.path("br0.mgmt")]) {
    const ofctl = (...words: string[]) => runOk("ovs-ofctl", ["-O", "OpenFlow13", ...words]);
    await ofctl("add-tlv-map", `unix:${socket}`, OPTIONS);
    await ofctl("add-group", `unix:${socket}`, "group_id=1,type=all,bucket=output:1,bucket=output:3");
    await ofctl("add-flows", `unix:${socket}`, join(directory, "flows.txt"));
  }
});

afterAll(async () => {
  await ours?.destroy();
  await ovs?.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function told(socket: string, words: readonly string[]): Promise<readonly string[]> {
  const { code, stdout, stderr } = await run("ovs-appctl", ["-t", socket, "ofproto/trace", ...words]);
  const text = `${code}\n${stdout}${stderr}`
    .replaceAll(socket, "SOCKET")
    // The queue is in no flow of ours.
    .replaceAll(/skb_priority=[0-9a-fx]+,/g, "")
    .replaceAll(/recirc_id=[1-9]\d*,rule/g, "recirc_id=N,rule")
    .replaceAll(/recirc(\(|_id=)0x[0-9a-f]+/g, "recirc$1N");
  return text.split("\n");
}

it.each(TRACES.map((words) => [words.join(" "), words] as const))("%s", async (_name, words) => {
  expect(await told(ours.path("vswitchd.ctl"), words)).toEqual(await told(join(ovs.dir, "vs.ctl"), words));
});

async function answered(socket: string, [verb = "", ...words]: readonly string[]): Promise<string> {
  const [option, command, rest] = verb.startsWith("--")
    ? [[verb], words[0] ?? "", words.slice(1)]
    : [[], verb, words];
  const version = command === "add-group" ? ["-O", "OpenFlow13"] : [];
  const { code, stdout, stderr } = await run("ovs-ofctl", [
    ...version,
    ...option,
    command,
    `unix:${socket}`,
    ...rest,
  ]);
  return `${code}\n${stdout}${stderr}`
    .replaceAll(socket, "SOCKET")
    .replaceAll(/xid=0x[0-9a-f]+/g, "xid")
    .replaceAll(/^\d{4}-\d\d-\d\dT[\d:]+Z\|/gm, "");
}

it("options of tunnels and the flows that name them are changed and told alike", async () => {
  for (const words of CHANGES)
    expect(await answered(ours.path("br0.mgmt"), words), words.join(" ")).toBe(
      await answered(join(ovs.dir, "br0.mgmt"), words),
    );
});
