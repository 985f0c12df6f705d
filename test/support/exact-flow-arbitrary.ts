// Packets as flows, as compose-packet takes them, right and wrong: a protocol and a few fields with one value each.
import fc from "fast-check";

const protocol = fc.constantFrom(
  ...["", "ip", "tcp", "udp", "sctp", "icmp", "arp", "rarp", "dl_type=0x1234", "ip,nw_proto=47"],
  // A stack of labels has an end.
  ...["ipv6", "tcp6", "udp6", "sctp6", "icmp6", "mpls,mpls_bos=1", "mplsm,mpls_bos=1"],
);
const field = fc.constantFrom(
  ...[
    "dl_src=00:01:02:03:04:05",
    "dl_dst=ff:ff:ff:ff:ff:ff",
    "dl_vlan=5",
    "dl_vlan_pcp=3",
    "vlan_tci=0x1005",
  ],
  ...["nw_src=10.0.0.1", "nw_dst=192.168.1.2", "ipv6_src=fe80::1", "ipv6_dst=::2", "ipv6_label=0x12345"],
  ...["tp_src=80", "tp_dst=1234", "nw_tos=16", "nw_ecn=2", "nw_ttl=7", "nw_frag=no", "nw_proto=6"],
  ...["icmp_type=8", "icmp_code=1", "icmpv6_type=135", "icmpv6_type=136", "icmpv6_code=0", "tcp_flags=0x12"],
  ...["nd_target=::3", "nd_sll=00:00:00:00:00:01", "nd_tll=00:00:00:00:00:02", "tcp_flags=syn|ack"],
  ...["arp_op=1", "arp_op=2", "arp_spa=1.2.3.4", "arp_tpa=5.6.7.8", "arp_sha=00:00:00:00:00:0a"],
  ...["mpls_label=5", "mpls_tc=2", "mpls_ttl=9", "dl_vlan=4096", "nw_ttl=x", "foo=1"],
);

export const exactFlowArbitrary: fc.Arbitrary<string> = fc
  .tuple(protocol, fc.uniqueArray(field, { maxLength: 4 }))
  .map(([first, fields]) => [first, ...fields].filter((part) => part !== "").join(","));
