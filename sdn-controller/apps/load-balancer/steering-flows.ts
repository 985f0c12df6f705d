// Table steer, and the replies' way back: frames for a load balancer go to its port; its own frames are judged in the
// name they carry. The balancer rewrites destination addresses only, so policy sees client and real endpoint. Pure.
//
//   client → virtual address ──steer──► balancer ──(destination rewritten)──► policy as client → endpoint, commit+mark
//   client ◄──exempt── balancer ◄──mark── endpoint's reply to the client's address

import type { LoadBalancerView } from "../../network/views.js";
import { load, output } from "../../pipeline/actions.js";
import { buildFlow, type Flow, type MatchSpec } from "../../pipeline/flow.js";
import { FLAG_EXEMPT } from "../../pipeline/tables.js";
import { ETHERTYPE_IPV4 } from "../ethertypes.js";

const TABLE = "steer";

export function steerBaseFlows(): Flow[] {
  return [
    buildFlow({ table: TABLE, priority: 0, match: {}, next: "track", origin: { resource: "Pipeline" } }),
  ];
}

export function steeringFlows(balancer: LoadBalancerView, ofport: number): Flow[] {
  const origin = { resource: `NetworkFunction/${balancer.key}` };
  const ip = { eth_type: ETHERTYPE_IPV4 };
  const towards = { reg0: balancer.network.segmentId, eth_dst: balancer.mac, ...ip };
  const towardsIt = (match: MatchSpec): Flow =>
    buildFlow({ table: TABLE, priority: 100, match, actions: [output(ofport)], origin });
  const inOwnName = (address: number): Flow =>
    buildFlow({
      table: TABLE,
      priority: 110,
      match: { in_port: ofport, ...ip, ipv4_src: address },
      actions: [load("reg6", FLAG_EXEMPT)],
      next: "destination",
      origin,
    });
  return [
    towardsIt({ ...towards, ipv4_dst: balancer.address }),
    // Health checks: only real endpoints reach the probe address.
    ...balancer.endpoints.map((endpoint) =>
      towardsIt({ ...towards, ipv4_src: endpoint.address, ipv4_dst: balancer.probeAddress }),
    ),
    inOwnName(balancer.address),
    inOwnName(balancer.probeAddress),
    buildFlow({
      table: TABLE,
      priority: 105,
      match: { in_port: ofport },
      actions: [load("reg5", balancer.number)],
      next: "source",
      origin,
    }),
  ];
}
