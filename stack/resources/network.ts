// Network: an isolated layer-2 segment of a tenant, with the address ranges its machines get addresses from.
import Type from "typebox";
import { isHostAddress, type Prefix, parseAddress, parsePrefix, prefixesOverlap } from "./cidr.js";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind, type ValidationContext } from "./kind.js";
import { Conditions, resourceSchema } from "./schema.js";

export const NetworkSchema = resourceSchema(
  PLINTH_API_VERSION,
  "Network",
  "An isolated layer-2 network of a tenant. Machines on it get their addresses by DHCP.",
  {
    spec: Type.Object(
      {
        vlan: Type.Integer({
          minimum: 1,
          maximum: 4094,
          description: "IEEE 802.1Q VLAN ID, 1 to 4094; unique in its namespace.",
        }),
        subnets: Type.Array(Type.String(), {
          minItems: 1,
          maxItems: 8,
          description:
            "Address ranges such as 10.10.0.0/24. They may not overlap with each other or with those of another network of the namespace.",
        }),
        mtu: Type.Integer({
          default: 1500,
          minimum: 576,
          maximum: 9216,
          description: "Largest IP packet in bytes; given to machines by DHCP.",
        }),
        gateway: Type.Optional(
          Type.String({
            description: "Address of the router, given to machines by DHCP. Lies in one of the subnets.",
          }),
        ),
        dnsServers: Type.Optional(
          Type.Array(Type.String(), { maxItems: 8, description: "Name servers given to machines by DHCP." }),
        ),
      },
      { description: "What is wanted." },
    ),
    status: Type.Optional(
      Type.Object(
        {
          segmentId: Type.Optional(
            Type.Integer({ description: "The number (24 bits) that isolates this network inside switches." }),
          ),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type Network = Type.Static<typeof NetworkSchema>;

export const networkKind = defineKind<Network>({
  ...plinthKind,
  kind: "Network",
  plural: "networks",
  singular: "network",
  shortNames: ["net", "nets"],
  namespaced: true,
  schema: NetworkSchema,
  comparesSiblings: true,
  columns: [
    { name: "VLAN", type: "integer", description: "VLAN ID", value: (network) => network.spec.vlan },
    { name: "Subnets", description: "Address ranges", value: (network) => network.spec.subnets.join(",") },
    {
      name: "MTU",
      type: "integer",
      description: "Largest packet",
      wide: true,
      value: (network) => network.spec.mtu,
    },
    {
      name: "Segment",
      type: "integer",
      description: "Segment in switches",
      wide: true,
      value: (network) => network.status?.segmentId,
    },
    { name: "Gateway", description: "Router", wide: true, value: (network) => network.spec.gateway },
  ],
  validate: validateNetwork,
});

/** A machine needs an address besides the network, broadcast and gateway ones. */
const PREFIX_LENGTH_MAX_V4 = 29;

function validateNetwork(network: Network, errors: FieldErrors, context: ValidationContext<Network>): void {
  const { spec } = network;
  const prefixes = validateSubnets(spec.subnets, errors);
  if (spec.gateway !== undefined) {
    const gateway = parseAddress(spec.gateway);
    if (gateway === undefined) {
      errors.invalid("spec.gateway", spec.gateway, "must be an IP address such as 10.10.0.1");
    } else if (!prefixes.some((prefix) => prefix !== undefined && isHostAddress(prefix, gateway))) {
      errors.invalid("spec.gateway", spec.gateway, "must be a host address in one of spec.subnets");
    }
  }
  for (const [i, server] of (spec.dnsServers ?? []).entries()) {
    if (parseAddress(server) === undefined) {
      errors.invalid(`spec.dnsServers[${i}]`, server, "must be an IP address such as 10.10.0.1");
    }
  }
  for (const other of context.siblings) {
    if (other.spec.vlan === spec.vlan) {
      errors.invalid("spec.vlan", spec.vlan, `is used by network ${JSON.stringify(other.metadata.name)}`);
    }
    for (const [i, prefix] of prefixes.entries()) {
      const taken = other.spec.subnets.find((text) => {
        const theirs = parsePrefix(text);
        return prefix !== undefined && theirs !== undefined && prefixesOverlap(prefix, theirs);
      });
      if (taken === undefined) continue;
      const where = `overlaps with ${taken} of network ${JSON.stringify(other.metadata.name)}`;
      errors.invalid(`spec.subnets[${i}]`, spec.subnets[i], where);
    }
  }
}

function validateSubnets(subnets: readonly string[], errors: FieldErrors): (Prefix | undefined)[] {
  const prefixes: (Prefix | undefined)[] = [];
  for (const [i, text] of subnets.entries()) {
    const prefix = parsePrefix(text);
    const field = `spec.subnets[${i}]`;
    if (prefix === undefined) {
      errors.invalid(field, text, "must be a CIDR block without host bits, such as 10.10.0.0/24");
    } else if (prefix.bits === 32 && (prefix.length > PREFIX_LENGTH_MAX_V4 || prefix.length < 8)) {
      errors.invalid(field, text, `must have a prefix length from 8 to ${PREFIX_LENGTH_MAX_V4}`);
    } else if (prefix.bits === 128 && prefix.length !== 64) {
      errors.invalid(field, text, "must have the prefix length 64");
    } else if (isReserved(prefix)) {
      errors.invalid(
        field,
        text,
        "must be a range of unicast addresses, outside 0.0.0.0/8, 127.0.0.0/8 and 224.0.0.0/3",
      );
    } else {
      const earlier = prefixes.findIndex((other) => other !== undefined && prefixesOverlap(other, prefix));
      if (earlier >= 0) errors.invalid(field, text, `overlaps with spec.subnets[${earlier}]`);
    }
    prefixes.push(prefix);
  }
  return prefixes;
}

function isReserved(prefix: Prefix): boolean {
  if (prefix.bits === 128) return prefix.first >> 120n === 0xffn || prefix.first >> 120n === 0n;
  const first = Number(prefix.first >> 24n);
  return first === 0 || first === 127 || first >= 224;
}
