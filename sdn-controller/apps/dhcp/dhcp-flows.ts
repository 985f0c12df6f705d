// Table dhcp: requests go to the controller, which answers out of the same port. Pure.

import type { PortView } from "../../network/views.js";
import { toController } from "../../pipeline/actions.js";
import { buildFlow, type Flow } from "../../pipeline/flow.js";

export function dhcpPortFlows(port: PortView, ofport: number): Flow[] {
  return [
    buildFlow({
      table: "dhcp",
      priority: 100,
      match: { in_port: ofport },
      actions: [toController()],
      origin: { resource: `Port/${port.key}` },
    }),
  ];
}
