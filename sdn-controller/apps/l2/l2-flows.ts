// Tables source, destination and output: who is behind an address, and through which port. A destination is found by
// MAC and address together, so that policy judges exactly the machine that gets the frame. Pure.

import type { PortView } from "../../network/views.js";
import { load, output } from "../../pipeline/actions.js";
import { buildFlow, type Flow } from "../../pipeline/flow.js";
import { ETHERTYPE_IPV4 } from "../ethertypes.js";

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
  const here = { reg0: port.network.segmentId, eth_type: ETHERTYPE_IPV4 };
  return [
    ...port.addresses.flatMap((address) => [
      buildFlow({
        table: "source",
        priority: 100,
        match: { ...here, ipv4_src: address },
        actions: [load("reg2", identity)],
        next: "track",
        origin,
      }),
      buildFlow({
        table: "destination",
        priority: 100,
        match: { ...here, eth_dst: port.mac, ipv4_dst: address },
        actions: [load("reg3", identity), load("reg4", ofport)],
        next: "admin-egress",
        origin,
      }),
    ]),
    buildFlow({ table: "output", priority: 100, match: { reg4: ofport }, actions: [output(ofport)], origin }),
  ];
}
