// Flows as text: what ovs-ofctl makes of them, byte for byte, and what it prints of what we make of them.
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import { encodeMessage, type OpenFlowMessage, parseMessage } from "../../base/openflow/index.js";
import { parseFlow } from "../../vswitch/cli/flow-text.js";
import { formatInstructions } from "../../vswitch/cli/instruction-text.js";
import { flowModOf } from "../../vswitch/cli/ofctl-flows.js";
import { flowModsOf } from "../support/ofctl-peer.js";
import { requirePrograms } from "../support/run.js";

/** Without the xid, which each side counts for itself. */
const body = (message: Uint8Array): string => toHex(message).slice(16);

const ours = (text: string): string => {
  const message = { ...flowModOf("add", parseFlow(text)), xid: 1 } as OpenFlowMessage;
  return body(encodeMessage(message));
};

const MATCHES = [
  "in_port=5",
  "in_port=LOCAL",
  "reg8=5,reg15=7/15",
  "xreg0=5",
  "xxreg3=5,xreg4=0xff",
  "tun_id=5,tun_src=1.2.3.4,tun_dst=1.0.0.0/8",
  "tun_ipv6_src=fe80::1,tun_ipv6_dst=fe80::/10",
  "tun_gbp_id=5,tun_gbp_flags=8",
  "pkt_mark=5/7,metadata=5,conj_id=7",
  "actset_output=unset",
  "ct_state=+trk+est-rel,ct_zone=3,ct_mark=7/15,ct_label=0x5",
  "ct_state=trk",
  "ct_state=trk|new,reg1[3..7]=5",
  "ct_state=0x21",
  "ct_state=0x21/0x23",
  "ct_state=0",
  "reg0[0..15]=0xffff,reg0[16..31]=1,xxreg1[64..127]=7",
  "metadata[8]=1,tun_id[0..23]=0x123456",
  "dl_vlan=10,dl_vlan_pcp=3",
  "dl_src=01:00:00:00:00:00/01:00:00:00:00:00,eth_dst=ff:ff:ff:ff:ff:ff",
  "dl_type=0x1234",
  "ip,nw_frag=no",
  "ip,nw_frag=yes",
  "ip,ip_frag=not_later,nw_ecn=2,nw_ttl=64",
  "ip,ip_dscp=4,ip_ecn=1",
  "tcp,tcp_flags=+syn-ack,tp_src=80,tp_dst=0x50/0xfff0",
  "tcp,tcp_flags=syn|ack",
  "tcp,tcp_flags=0x12/0x17",
  "tcp,tcp_flags=2",
  "ip,nw_src=10.1.2.3/255.255.0.255,nw_dst=10.0.0.0/0",
  "ip,nw_frag=no,nw_ttl=64,nw_tos=252",
  "ip,ip_frag=first,ip_dscp=63,nw_ecn=3",
  "ip,nw_frag=not_later",
  "ipv6,ipv6_src=::ffff:1.2.3.4,ipv6_dst=fe80::/ffff::",
  "ipv6,ipv6_label=0x12345/0xfffff",
  "dl_vlan=0xffff",
  "dl_vlan_pcp=3",
  "vlan_tci=0",
  "vlan_tci=0x1005",
  "vlan_tci=0x1000/0x1000",
  "vlan_tci=0xf005/0xf000",
  "vlan_vid=0x1005/0x1fff",
  "dl_type=0x1234,dl_dst=01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0",
  "rarp,arp_op=3,arp_sha=00:00:00:00:00:01,arp_tpa=1.2.3.4/24",
  "tcp6,tcp_src=80,ipv6_label=0x12345",
  "ipv6,ipv6_label=0x1/0xf,ipv6_src=::1",
  "icmp,icmp_type=8,icmp_code=0",
  "icmp6,icmp_type=136,icmp_code=0,nd_target=fe80::1,nd_tll=00:00:00:00:00:01",
  "icmp6,icmp_type=135,icmp_code=0,nd_reserved=5,nd_options_type=2",
  "arp,arp_op=1,arp_spa=1.2.3.4,arp_tpa=1.2.3.0/24,arp_sha=00:00:00:00:00:01",
  "mpls,mpls_label=5,mpls_tc=3,mpls_bos=1,mpls_ttl=5",
  "sctp6,sctp_dst=5",
  "udp,udp_dst=53,nw_src=10.0.0.0/255.0.255.0",
  "ip,nw_proto=47,reg0=1,tun_id=4,in_port=2,metadata=3/7,dl_src=00:00:00:00:00:09",
];

const ACTIONS = [
  "output:NXM_NX_REG0[16..31]",
  "output(port=3,max_len=100)",
  "resubmit(5,6)",
  "resubmit:5",
  "resubmit(,6)",
  "note:01.02.03.04.05.06.07",
  "note:",
  "controller",
  "controller:100",
  "controller(reason=no_match,max_len=50,id=7)",
  "controller(userdata=01.02.03.04.05,id=7)",
  "push:NXM_NX_REG0[],pop:NXM_NX_REG1[0..15]",
  "exit",
  "set_queue:5,pop_queue",
  "enqueue:1:2",
  "multipath(eth_src,50,modulo_n,4,0,NXM_NX_REG0[0..3])",
  "multipath(symmetric_l3l4+udp,50,hrw,4,5,NXM_NX_REG0[])",
  "bundle(eth_src,0,hrw,ofport,members:4,8)",
  "bundle_load(symmetric_l4,0,active_backup,ofport,NXM_NX_REG0[],members:4,8,9)",
  "learn(table=1,idle_timeout=10,hard_timeout=20,fin_idle_timeout=2,fin_hard_timeout=3,priority=10,cookie=0xfedcba9876543210,in_port=99,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG1[16..31],output:NXM_OF_IN_PORT[])",
  "learn(table=1,delete_learned,send_flow_rem,limit=5,result_dst=reg0[8],eth_type=0x800,nw_src=1.2.3.4,load:5->reg1[0..7],NXM_OF_VLAN_TCI[0..11],reg3=0x12345678)",
  "learn(send_flow_rem,cookie=5,priority=9,load:0->NXM_NX_REG0[],NXM_NX_REG1[0..7]=5,NXM_NX_REG2[]=NXM_NX_REG3[])",
  "conjunction(3,1/2),conjunction(4,2/3)",
  "conjunction(3,1/2),note:00.01",
  "ct_clear",
  "clone(output:1,push_vlan:0x8100,set_field:4101->vlan_vid,output:2),output:3",
  "write_metadata:0x1234",
  "meter:2,write_actions(output:1),write_metadata:1/3,goto_table:4",
  "set_tunnel:5,set_tunnel64:0x123456789",
  "check_pkt_larger(1500)->reg0[5]",
  "set_field:5->reg0,set_field:5/7->reg0,set_field:0->reg15",
  "set_field:0x5/0xf0f->xreg0",
  "set_field:00:11:22:33:44:55/ff:00:00:00:00:ff->eth_src",
  "mod_dl_src:00:00:00:00:00:01,mod_dl_dst:00:00:00:00:00:02",
  "mod_vlan_vid:5,mod_vlan_pcp:3",
  "mod_vlan_pcp:5",
  "push_vlan:0x88a8,pop_vlan,push_mpls:0x8847,pop_mpls:0x800",
  "load:5->NXM_NX_XXREG0[0..63],load:0xffff->NXM_OF_IN_PORT[],load:7->OXM_OF_ETH_DST[]",
  "set_field:0x12345678aabbccdd->xreg7,set_field:5->tun_id,set_field:10->in_port",
  "move:NXM_NX_REG15[0..3]->NXM_NX_REG8[4..7],move:OXM_OF_PKT_REG3[]->OXM_OF_METADATA[]",
  "move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],move:OXM_OF_IN_PORT[]->NXM_NX_REG1[]",
  "all,local,in_port,flood,normal,5",
  "drop",
  "goto_table:1",
  "write_actions(set_field:5/7->reg0,output:2)",
];

/** With the match that they need. */
const WHOLE = [
  "ip,actions=dec_ttl(1,2,3),dec_ttl,mod_nw_ttl:5",
  "ip,actions=mod_nw_tos:16,mod_nw_ecn:2,mod_nw_src:1.2.3.4,mod_nw_dst:4.3.2.1",
  "ip,actions=set_field:10.0.0.1->ip_src,set_field:1->nw_ttl,set_field:3->nw_ecn,set_field:4->ip_dscp",
  "ip,actions=load:7->NXM_OF_IP_TOS[],load:1->NXM_NX_IP_TTL[],load:1->NXM_NX_IP_ECN[],load:1->OXM_OF_IP_DSCP[]",
  "tcp,actions=mod_tp_src:5,mod_tp_dst:7,fin_timeout(idle_timeout=5,hard_timeout=10)",
  "tcp,actions=move:NXM_NX_TCP_FLAGS[]->NXM_NX_REG0[0..11]",
  "mpls,actions=set_mpls_ttl:7,dec_mpls_ttl,set_mpls_label:5,set_mpls_tc:3",
  "dl_vlan=5,actions=mod_vlan_vid:5,mod_vlan_pcp:3,strip_vlan",
  "ipv6,actions=set_field:fe80::1->ipv6_src,set_field:5->ipv6_label",
  "udp,actions=set_field:5->udp_src,load:9->NXM_OF_UDP_DST[]",
  "ip,actions=ct",
  "ip,actions=ct(nat)",
  "ip,actions=ct(commit,nat(src,random))",
  "udp,actions=ct(commit,alg=tftp)",
  "ip,actions=ct(commit,nat(dst=10.0.0.1:80))",
  "ip,actions=ct(table=1,zone=NXM_NX_REG3[0..15])",
  "tcp,actions=ct(commit,force,table=5,alg=ftp,nat(src=10.0.0.1-10.0.0.9:1-5,persistent,hash),exec(load:5->NXM_NX_CT_MARK[],set_field:1->ct_label))",
  "ipv6,actions=ct(commit,nat(src=[fe80::1]-[fe80::5]:5-6))",
  "ipv6,actions=ct(commit,nat(dst=fe80::1-fe80::2))",
  "ip,actions=ct(commit,exec(set_field:0x1/0xf->ct_mark,move:NXM_NX_REG0[]->NXM_NX_CT_LABEL[32..63]))",
  "table=3,priority=7,cookie=5,idle_timeout=3,hard_timeout=9,actions=output:1",
];

const FLOWS = [
  ...MATCHES.map((match) => `${match},actions=output:1`),
  ...ACTIONS.map((actions) => `actions=${actions}`),
  ...WHOLE,
];

describe("flows as text", () => {
  beforeAll(() => requirePrograms("ovs-ofctl"));

  it("become the bytes that ovs-ofctl sends", async () => {
    const theirs = (await flowModsOf(FLOWS)).map(body);
    expect(theirs).toHaveLength(FLOWS.length);
    for (const [i, text] of FLOWS.entries()) expect(`${text} ${ours(text)}`).toBe(`${text} ${theirs[i]}`);
  });

  it("become the same bytes for any combination of matches and actions", async () => {
    const plain = MATCHES.filter((match) => !/^(ip|tcp|udp|icmp|arp|mpls|sctp|dl_type)/.test(match));
    const free = ACTIONS.filter((one) => !/conjunction|drop|write_|meter|goto_table|exit|vlan/.test(one));
    const flow = fc
      .tuple(
        fc.nat(0xffff),
        fc.constantFrom(...plain),
        fc.array(fc.constantFrom(...free), { minLength: 1, maxLength: 4 }),
      )
      .map(([priority, match, list]) => `priority=${priority},${match},actions=${list.join(",")}`);
    const flows = fc.sample(flow, { numRuns: 300, seed: 1 });
    const theirs = (await flowModsOf(flows)).map(body);
    for (const [i, text] of flows.entries()) expect(`${text} ${ours(text)}`).toBe(`${text} ${theirs[i]}`);
  });

  it("are shown so that ovs-ofctl understands them as what they are", async () => {
    // enqueue has no form of its own in OpenFlow 1.3.
    const flows = FLOWS.filter((text) => !text.includes("enqueue"));
    const shown = flows.map((text) => {
      const head = text.slice(0, text.indexOf("actions="));
      return `${head}actions=${formatInstructions(parseFlow(text).instructions ?? [])}`;
    });
    const theirs = (await flowModsOf(shown)).map(body);
    for (const [i, text] of flows.entries())
      expect(`${shown[i]} ${theirs[i]}`).toBe(`${shown[i]} ${ours(text)}`);
  });

  it("are read back from the bytes as the same values", async () => {
    for (const bytes of await flowModsOf(FLOWS)) {
      expect(toHex(encodeMessage(parseMessage(bytes)))).toBe(toHex(bytes));
    }
  });
});
