// Tables source, destination and output: who is behind an address, and through which port. A destination is found by
// MAC and address together, so that policy judges exactly the machine that gets the frame. Pure.

import { ipv6AddressesOf, type PortView } from "../../network/views.js";
import { load, output } from "../../pipeline/actions.js";
import { buildFlow, type Flow, type MatchSpec } from "../../pipeline/flow.js";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from "../ethertypes.js";

const MULTICAST_BIT = 2 ** 40;

export function l2BaseFlows(): Flow[] {
  return [
    buildFlow({ table: "source", priority: 0, match: {}, next: "track", origin: { resource: "Pipeline" } }),
    buildFlow({
      table: "destination",
      priority: 50,
      match: { eth_dst: { value: MULTICAST_BIT, mask: MULTICAST_BIT } },
      origin: { resource: "Pipeline", reason: "multicast-not-enabled" },
    }),
    buildFlow({
      table: "destination",
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "unknown-destination" },
    }),
    buildFlow({
      table: "output",
      priority: 0,
      match: {},
      origin: { resource: "Pipeline/output", reason: "unknown-destination" },
    }),
  ];
}

export function l2PortFlows(port: PortView, ofport: number, identity: number): Flow[] {
  const origin = { resource: `Port/${port.key}` };
  const segment = { reg0: port.network.segmentId };
  const destination = (match: MatchSpec): Flow =>
    buildFlow({
      table: "destination",
      priority: 100,
      match: { ...segment, eth_dst: port.mac, ...match },
      actions: [load("reg3", identity), load("reg4", ofport)],
      next: "admin-egress",
      origin,
    });
  return [
    ...port.addresses.flatMap((address) => [
      buildFlow({
        table: "source",
        priority: 100,
        match: { ...segment, eth_type: ETHERTYPE_IPV4, ipv4_src: address },
        actions: [load("reg2", identity)],
        next: "track",
        origin,
      }),
      destination({ eth_type: ETHERTYPE_IPV4, ipv4_dst: address }),
    ]),
    ...ipv6AddressesOf(port).map((address) => destination({ eth_type: ETHERTYPE_IPV6, ipv6_dst: address })),
    buildFlow({ table: "output", priority: 100, match: { reg4: ofport }, actions: [output(ofport)], origin }),
  ];
}
