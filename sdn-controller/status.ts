// What the user is told about networks, ports and functions: the part of their status that the controller owns. Pure.

import { formatIpv4Address } from "../base/wire/index.js";
import type { StatusCondition, StatusPatch } from "./inputs.js";
import type { Inventory } from "./network/inventory.js";
import { formatIpAddress, ipv4, ipv6 } from "./network/ip-address.js";
import { formatMac } from "./network/mac.js";
import { isRefusal, type Refusal } from "./network/network-plan.js";

/** Undefined when the object does not exist any more; the same holds for the other two. */
export function networkStatus(inventory: Inventory, key: string): StatusPatch | undefined {
  const network = inventory.network(key);
  if (network === undefined) return undefined;
  if (isRefusal(network)) return { kind: "Network", key, status: { conditions: [notReady(network)] } };
  const { segmentId } = network;
  return { kind: "Network", key, status: { segmentId, conditions: [ready(`segment ${segmentId}`)] } };
}

/** `forwards`: whether the switch has the port's flows; undefined = not known yet, so nothing is said about it. */
export function portStatus(inventory: Inventory, key: string, forwards?: boolean): StatusPatch | undefined {
  const port = inventory.port(key);
  if (port !== undefined) {
    const addresses = [...port.addresses.map(ipv4), ...port.addresses6.map(ipv6)].map(formatIpAddress);
    const macAddress = formatMac(port.mac);
    const allocated = { ...ready(`${addresses.join(", ")} at ${macAddress}`), type: "Allocated" };
    return {
      kind: "Port",
      key,
      status: { macAddress, addresses, conditions: [allocated, ...forwarding(forwards)] },
    };
  }
  const refusal = inventory.refusalOf("Port", key);
  if (refusal === undefined) return undefined;
  const conditions = [{ ...notReady(refusal), type: "Allocated" }, notReady(refusal)];
  return { kind: "Port", key, status: { addresses: [], conditions } };
}

function forwarding(forwards: boolean | undefined): StatusCondition[] {
  if (forwards === undefined) return [];
  return forwards
    ? [{ type: "Ready", status: "True", reason: "Forwarding", message: "the switch has its flows" }]
    : [{ type: "Ready", status: "False", reason: "NotAttached", message: "not plugged into a switch" }];
}

export function functionStatus(inventory: Inventory, key: string): StatusPatch | undefined {
  const balancer = inventory.function(key);
  if (balancer === undefined) {
    const refusal = inventory.refusalOf("NetworkFunction", key);
    if (refusal === undefined) return undefined;
    return { kind: "NetworkFunction", key, status: { endpoints: [], conditions: [notReady(refusal)] } };
  }
  const address = formatIpv4Address(balancer.address);
  const endpoints = balancer.endpoints.map((endpoint) => ({
    name: endpoint.name,
    address: formatIpv4Address(endpoint.address),
    macAddress: formatMac(endpoint.mac),
    draining: endpoint.draining,
  }));
  return {
    kind: "NetworkFunction",
    key,
    status: {
      address,
      macAddress: formatMac(balancer.mac),
      probeAddress: formatIpv4Address(balancer.probeAddress),
      endpoints,
      conditions: [ready(`${address} in front of ${endpoints.length} machines`)],
    },
  };
}

function ready(message: string): StatusCondition {
  return { type: "Ready", status: "True", reason: "Allocated", message };
}

function notReady(refusal: Refusal): StatusCondition {
  return { type: "Ready", status: "False", reason: refusal.reason, message: refusal.message };
}
