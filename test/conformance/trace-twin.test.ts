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
priority=130,in_port=3,udp,tp_src=10 actions=dec_ttl,sample(probability=12345,collector_set_id=23456,obs_domain_id=34567,obs_point_id=45678),output:2,sample(probability=1,collector_set_id=3,sampling_port=3,egress)
`;
const BESIDE = "in_port=3,udp,udp_src=9,udp_dst=2,nw_src=10.0.0.1,nw_dst=10.0.0.2";
const DATAPATH_FLOW =
  "eth(src=50:54:00:00:00:09,dst=50:54:00:00:00:0a),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=9,dst=2)";
const UDP_FRAME =
  "50540000000a505400000009080045000020000000004011664c0a0000010a00000200090002000c0000aabbccdd";
const IP = "nw_src=10.0.0.1,nw_dst=10.0.0.2,dl_src=00:00:00:00:00:01,dl_dst=00:00:00:00:00:02,nw_ttl=64";
const TCP_FRAME =
  "505400000007505400000009080045000028000000004006f97dc0a80001c0a80002000000500000000000000000500200000000000000";

const TRACES: readonly (readonly string[])[] = [
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
  ["br0", "foo=1"],
  ["br0", "in_port=1", "0011"],
  ["nobr", "in_port=1"],
  ["br0", "in_port=1,udp", "--ct-next", "foo"],
  ["br0", "in_port=1,udp", "--foo"],
  ["br0", "in_port=1,udp", "a", "b", "c"],
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
  for (const socket of [join(ovs.dir, "br0.mgmt"), ours.path("br0.mgmt")]) {
    const ofctl = (...words: string[]) => runOk("ovs-ofctl", ["-O", "OpenFlow13", ...words]);
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
    .replaceAll(/recirc_id=\d+,rule/g, "recirc_id,rule")
    .replaceAll(/recirc(\(|_id=)0x[0-9a-f]+/g, "recirc$1N");
  return text.split("\n");
}

it.each(TRACES.map((words) => [words.join(" "), words] as const))("%s", async (_name, words) => {
  expect(await told(ours.path("vswitchd.ctl"), words)).toEqual(await told(join(ovs.dir, "vs.ctl"), words));
});
