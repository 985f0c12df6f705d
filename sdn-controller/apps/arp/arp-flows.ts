// Table arp: the switch answers for every address of the segment that is there, so no ARP ever reaches a machine.
// Source: RFC 826; RFC 5227 for probes and announcements, which ask for the sender's own address. Pure.
import { move, outputToIngress, setField } from "../../pipeline/actions.js";
import { buildFlow, type Flow } from "../../pipeline/flow.js";
import { ETHERTYPE_ARP } from "../ethertypes.js";

const TABLE = "arp";
const ARP_REQUEST = 1;
const ARP_REPLY = 2;
/** Of every answer: shared, as there are very many. */
const ASKER_TO_DESTINATION = move("eth_src", "eth_dst");
const IS_REPLY = setField("arp_op", ARP_REPLY);
const ASKER_TO_TARGET = move("arp_sha", "arp_tha");
const ASKERS_ADDRESS_TO_TARGET = move("arp_spa", "arp_tpa");
const BACK = outputToIngress();

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
      ASKER_TO_DESTINATION,
      setField("eth_src", mac),
      IS_REPLY,
      ASKER_TO_TARGET,
      setField("arp_sha", mac),
      ASKERS_ADDRESS_TO_TARGET,
      setField("arp_spa", address),
      BACK,
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
