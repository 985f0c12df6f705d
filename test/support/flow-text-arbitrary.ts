// Flows as people might write them, right and wrong: any field with any kind of value, any action with any argument, a
// typing error now and then. For comparisons of ovs-ofctl with `plinth ofctl`.
import fc from "fast-check";

const of = <T>(...values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const small = fc.oneof(fc.nat(8).map(String), fc.nat(70_000).map(String), fc.nat(0xffff).map(hex));
const mac = of("00:11:22:33:44:55", "01:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "0:1:2:3:4:5");
const ipv4 = of("10.0.0.1", "192.168.1.0", "255.255.255.255", "0.0.0.0");
const ipv6 = of("::1", "fe80::1", "2001:db8::ff00:42:8329", "::ffff:1.2.3.4", "::");
const port = of("1", "2", "LOCAL", "in_port", "CONTROLLER", "65534", "0xfffe", "none", "ANY", "normal");

function hex(number: number): string {
  return `0x${number.toString(16)}`;
}

/** VALUE, or VALUE/MASK. */
const masked = (value: fc.Arbitrary<string>, mask: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(value, fc.option(mask, { freq: 2, nil: undefined }))
    .map(([a, b]) => (b === undefined ? a : `${a}/${b}`));
const number = masked(small, of("0", "1", "0xff", "0xffff", "0xffffffff", "0xf0f0", "-1"));

const FIELDS: readonly (readonly [names: readonly string[], value: fc.Arbitrary<string>])[] = [
  [["in_port", "in_port_oxm", "actset_output"], port],
  [["dl_src", "eth_src", "dl_dst", "eth_dst"], masked(mac, mac)],
  [["dl_type", "eth_type"], of("0x800", "0x806", "0x86dd", "0x8847", "0x894f", "2048", "0x1234", "0x05ff")],
  [
    ["dl_vlan", "vlan_vid", "vlan_tci"],
    masked(of("0", "5", "0x1005", "0x1fff"), of("0x1000", "0xfff", "0x1fff", "0xffff", "0xf000")),
  ],
  [["dl_vlan_pcp", "vlan_pcp"], of("0", "3", "7")],
  [
    ["nw_src", "ip_dst", "nw_dst", "ip_src", "arp_spa", "arp_tpa", "tun_src", "tun_dst", "ct_nw_src"],
    masked(ipv4, of("8", "32", "0", "33", "255.0.255.0", "255.255.0.0")),
  ],
  [
    ["ipv6_src", "ipv6_dst", "nd_target", "tun_ipv6_src", "tun_ipv6_dst"],
    masked(ipv6, of("64", "128", "0", "ffff::", "129")),
  ],
  [["nw_proto", "ip_proto"], of("1", "6", "17", "58", "132", "255", "256")],
  // Values that a field cannot hold are refused here and cut there, so there are none.
  [["nw_ttl", "nw_tos"], of("0", "4", "16", "252", "300", "x")],
  [["ip_dscp"], of("0", "3", "63")],
  [["nw_ecn", "ip_ecn"], of("0", "1", "3")],
  [["nw_frag", "ip_frag"], of("no", "yes", "first", "later", "not_later", "maybe")],
  [["tp_src", "tcp_dst", "udp_src", "sctp_dst", "tp_dst", "tcp_src"], number],
  [["tcp_flags"], of("+syn", "+syn-ack", "syn|ack", "0x12", "0x12/0xff", "+foo", "-syn+syn", "0xfff")],
  [["icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code"], of("0", "8", "135", "136", "256")],
  [["arp_op"], of("1", "2", "255", "256")],
  [["arp_sha", "arp_tha", "nd_sll", "nd_tll"], masked(mac, mac)],
  [["ipv6_label"], masked(of("0x12345", "5"), of("0xf", "0xff000"))],
  [["mpls_label", "mpls_tc", "mpls_ttl"], of("0", "1", "5", "7")],
  [["mpls_bos"], of("0", "1")],
  [
    ["metadata", "tun_id", "reg0", "reg15", "xreg1", "xxreg0", "pkt_mark", "ct_mark", "dp_hash", "ct_label"],
    number,
  ],
  [["conj_id", "recirc_id", "ct_zone", "tun_gbp_id", "tun_gbp_flags", "tun_erspan_ver"], number],
  [
    ["tun_metadata0", "tun_metadata1", "tun_metadata63"],
    masked(of("0", "0x1234", "1", "0x0102030405"), of("0xff", "0xff00", "0xffff")),
  ],
  [["ct_state"], of("+trk", "+trk+est", "+new-rel", "trk|new", "0x21/0x23", "+foo", "+trk-trk")],
  [
    ["nsh_flags", "nsh_spi", "nsh_si", "nsh_c1", "nsh_ttl", "nsh_np", "nsh_mdtype"],
    of("0", "1", "2", "5", "0xff"),
  ],
  [["packet_type"], of("(0,0)", "(1,0x800)", "(1,0x894f)", "(0,1)", "5")],
  [["reg1[0..7]", "reg1[8]", "metadata[0..31]"], of("0", "1", "255", "256")],
  [["priority", "idle_timeout", "hard_timeout", "importance"], of("0", "1", "65535", "65536", "x")],
  [["cookie"], of("0", "5", "0x123456789", "5/7", "0xffffffffffffffff")],
  [["table"], of("0", "5", "254", "255", "256")],
  [["duration", "n_packets", "idle_age", "foo"], of("1", "2s")],
];

const PROTOCOLS = [
  "ip",
  "tcp",
  "udp",
  "sctp",
  "icmp",
  "arp",
  "rarp",
  "ipv6",
  "tcp6",
  "udp6",
  "icmp6",
  "mpls",
  "mplsm",
  "eth",
];
const FLAGS = ["send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"];

const fieldPart = fc
  .constantFrom(...FIELDS)
  .chain(([names, value]) => fc.tuple(of(...names), value))
  .map(([name, value]) => `${name}=${value}`);
const matchPart = fc.oneof(
  { weight: 6, arbitrary: fieldPart },
  { weight: 3, arbitrary: of(...PROTOCOLS) },
  { weight: 1, arbitrary: of(...FLAGS, "tun_metadata2", "foo") },
);

const range = of(
  "reg0",
  "NXM_NX_REG0[]",
  "reg1[0..15]",
  "NXM_OF_ETH_SRC[]",
  "OXM_OF_METADATA[0..31]",
  "NXM_OF_TCP_SRC[]",
  "tun_id[]",
  "reg2[5]",
  "xxreg1[64..127]",
  "NXM_OF_IN_PORT[]",
  "reg0[40]",
  "foo[]",
  "NXM_NX_CT_MARK[]",
);
const queue = of("0", "1", "4294967295");
const ACTIONS: readonly fc.Arbitrary<string>[] = [
  fc.tuple(of("output:", "enqueue:1:", ""), port).map(([a, b]) => `${a}${b}`),
  range.map((text) => `output:${text}`),
  fc.tuple(port, small).map(([a, b]) => `output(port=${a},max_len=${b})`),
  of(
    "drop",
    "all",
    "flood",
    "local",
    "in_port",
    "table",
    "exit",
    "pop_queue",
    "ct_clear",
    "dec_ttl",
    "pop_vlan",
    "strip_vlan",
  ),
  of(
    "controller",
    "controller:100",
    "controller(max_len=5,reason=no_match,id=3)",
    "controller(reason=group,id=3)",
    "controller(userdata=01.02)",
    "controller(pause)",
    "controller(foo=1)",
    "controller(meter_id=3)",
  ),
  small.map((text) => `group:${text}`),
  queue.map((text) => `set_queue:${text}`),
  fc
    .tuple(
      of(
        "mod_vlan_vid",
        "set_vlan_vid",
        "mod_vlan_pcp",
        "set_vlan_pcp",
        "mod_nw_tos",
        "mod_nw_ecn",
        "mod_nw_ttl",
        "mod_tp_src",
        "mod_tp_dst",
        "set_mpls_ttl",
        "set_mpls_label",
        "set_mpls_tc",
        "set_tunnel",
        "set_tunnel64",
      ),
      small,
    )
    .map(([a, b]) => `${a}:${b}`),
  fc.tuple(of("mod_dl_src", "mod_dl_dst"), mac).map(([a, b]) => `${a}:${b}`),
  fc.tuple(of("mod_nw_src", "mod_nw_dst"), ipv4).map(([a, b]) => `${a}:${b}`),
  of(
    "push_vlan:0x8100",
    "push_vlan:0x88a8",
    "push_vlan:0x1234",
    "push_mpls:0x8847",
    "push_mpls:0x800",
    "pop_mpls:0x800",
    "dec_mpls_ttl",
    "dec_ttl(1,2)",
    "dec_nsh_ttl",
  ),
  fieldPart.map((text) => `set_field:${text.replace(/^([^=]*)=(.*)$/, "$2->$1")}`),
  fc.tuple(small, range).map(([a, b]) => `load:${a}->${b}`),
  fc.tuple(range, range).map(([a, b]) => `move:${a}->${b}`),
  fc.tuple(of("push", "pop"), range).map(([a, b]) => `${a}:${b}`),
  fc.tuple(port, of("", ",5", ",256", ",1,ct")).map(([a, b]) => `resubmit(${a}${b})`),
  of(
    "resubmit:1",
    "resubmit(,3)",
    "note:01.02.03",
    "note:xx",
    "conjunction(1,1/2)",
    "conjunction(1,3/2)",
    "goto_table:5",
    "goto_table:255",
    "clear_actions",
    "meter:1",
    "write_metadata:5/7",
    "write_actions(output:1)",
    "apply_actions(output:1)",
  ),
  of(
    "learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "learn(table=1,idle_timeout=5,eth_type=0x800,load:5->reg0[])",
    "learn(foo)",
    "learn(table=255)",
    "learn(limit=3,result_dst=reg0[0])",
  ),
  of(
    "ct",
    "ct(commit)",
    "ct(commit,zone=5,table=3)",
    "ct(commit,nat(src=10.0.0.1-10.0.0.9))",
    "ct(nat)",
    "ct(commit,exec(set_field:1->ct_mark))",
    "ct(zone=NXM_NX_REG0[0..15])",
    "ct(foo)",
    "ct(force)",
    "ct(commit,alg=ftp)",
  ),
  of(
    "multipath(eth_src,50,modulo_n,4,0,NXM_NX_REG0[])",
    "multipath(eth_src,50,foo,4,0,reg0)",
    "bundle(eth_src,0,hrw,ofport,members:4,8)",
    "bundle_load(eth_src,0,hrw,ofport,reg0,members:4)",
    "fin_timeout(idle_timeout=5)",
  ),
  of(
    "clone(output:1)",
    "clone(dec_ttl,output:1)",
    "check_pkt_larger(100)->reg0[0]",
    "sample(probability=5)",
    "sample(probability=0)",
    "encap(nsh(md_type=1))",
    "encap(foo)",
    "decap()",
    "delete_field:tun_metadata0",
    "foo",
    "foo:1",
  ),
];
const actions = fc.array(fc.oneof(...ACTIONS), { minLength: 1, maxLength: 3 }).map((list) => list.join(","));
const separator = of(",", ", ", " ", ",,");

/** A flow as add-flow takes it, right or wrong. */
export const flowTextArbitrary: fc.Arbitrary<string> = fc
  .tuple(fc.array(matchPart, { maxLength: 4 }), separator, fc.option(actions, { freq: 15 }))
  .map(([parts, between, list]) => [...parts, ...(list === null ? [] : [`actions=${list}`])].join(between));
