// Table arp: the switch answers for every address of the segment that is there, so no ARP ever reaches a machine.
// Source: RFC 826; RFC 5227 for probes and announcements, which ask for the sender's own address. Pure.
import { move, outputToIngress, setField } from "../../pipeline/actions.js";
import { buildFlow, type Flow } from "../../pipeline/flow.js";
import { ETHERTYPE_ARP } from "../ethertypes.js";

const TABLE = "arp";
const ARP_REQUEST = 1;
const ARP_REPLY = 2;

export function arpBaseFlows(): Flow[] {
  return [
    buildFlow({
      table: TABLE,
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "arp-for-unknown-address" },
    }),
  ];
}

/** Answers requests for `address` on the segment with `mac`. */
export function arpResponderFlow(resource: string, segmentId: number, address: number, mac: number): Flow {
  return buildFlow({
    table: TABLE,
    priority: 100,
    match: { reg0: segmentId, eth_type: ETHERTYPE_ARP, arp_op: ARP_REQUEST, arp_tpa: address },
    actions: [
      move("eth_src", "eth_dst"),
      setField("eth_src", mac),
      setField("arp_op", ARP_REPLY),
      move("arp_sha", "arp_tha"),
      setField("arp_sha", mac),
      move("arp_spa", "arp_tpa"),
      setField("arp_spa", address),
      outputToIngress(),
    ],
    origin: { resource },
  });
}

/** What a port says or asks about its own address needs no answer: an answer would look like a conflict. */
export function arpOwnFlow(resource: string, ofport: number, address: number): Flow {
  return buildFlow({
    table: TABLE,
    priority: 110,
    match: { in_port: ofport, eth_type: ETHERTYPE_ARP, arp_tpa: address },
    origin: { resource, reason: "arp-announcement" },
  });
}
