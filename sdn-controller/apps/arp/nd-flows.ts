// Neighbour discovery in tables arp and neighbour: the switch answers solicitations for every address of the segment that is there, by
// turning the question into its answer: type, target's link-layer address in place of the source's, flags. None ever
// reaches a machine. Source: RFC 4861, 4.3, 4.4 and 7.2.4. Pure.
import { move, outputToIngress, setField } from "../../pipeline/actions.js";
import { buildFlow, type Flow } from "../../pipeline/flow.js";
import { ETHERTYPE_IPV6, IPPROTO_ICMPV6 } from "../ethertypes.js";

export const ND_SOLICITATION = 135;
export const ND_ADVERTISEMENT = 136;
const OPTION_TARGET_LINK_LAYER = 2;
/** Solicited and override; not a router. */
const FLAGS = 0x60000000;
const ND = { eth_type: ETHERTYPE_IPV6, ip_proto: IPPROTO_ICMPV6 } as const;

export function ndBaseFlows(): Flow[] {
  return [
    // In a table of its own, since only an advertisement may get a target's link-layer address.
    buildFlow({
      table: "arp",
      priority: 10,
      match: { ...ND, icmpv6_type: ND_SOLICITATION },
      actions: [setField("icmpv6_type", ND_ADVERTISEMENT)],
      next: "neighbour",
      origin: { resource: "Pipeline" },
    }),
    buildFlow({
      table: "neighbour",
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "nd-for-unknown-address" },
    }),
  ];
}

/** Answers solicitations for `address` on the segment with `mac`. */
export function ndResponderFlow(resource: string, segmentId: number, address: bigint, mac: number): Flow {
  return buildFlow({
    table: "neighbour",
    priority: 100,
    match: { reg0: segmentId, ...ND, icmpv6_type: ND_ADVERTISEMENT, ipv6_nd_target: address },
    actions: [
      move("eth_src", "eth_dst"),
      setField("eth_src", mac),
      move("ipv6_src", "ipv6_dst"),
      setField("ipv6_src", address),
      setField("nd_reserved", FLAGS),
      setField("nd_options_type", OPTION_TARGET_LINK_LAYER),
      setField("ipv6_nd_tll", mac),
      outputToIngress(),
    ],
    origin: { resource },
  });
}

/** What a port asks about its own address, such as whether it is a duplicate (RFC 4862, 5.4), needs no answer. */
export function ndOwnFlow(resource: string, ofport: number, address: bigint): Flow {
  return buildFlow({
    table: "arp",
    priority: 110,
    match: { in_port: ofport, ...ND, icmpv6_type: ND_SOLICITATION, ipv6_nd_target: address },
    origin: { resource, reason: "nd-announcement" },
  });
}
