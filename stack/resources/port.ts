// Port: one attachment of a machine to a network. The controller makes one for each interface of a virtual machine.
import Type from "typebox";
import { isMacAddress, parseAddress } from "./cidr.js";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind, type ValidationContext } from "./kind.js";
import { Conditions, resourceSchema } from "./schema.js";

export const PortSchema = resourceSchema(
  PLINTH_API_VERSION,
  "Port",
  "One attachment of a virtual machine to a network: its MAC and IP addresses and where it is plugged in. Made by the controller for each interface.",
  {
    spec: Type.Object(
      {
        network: Type.String({
          minLength: 1,
          description: "Name of the Network in the same namespace. Cannot be changed.",
        }),
        virtualMachine: Type.Optional(
          Type.String({ description: "Name of the machine that is plugged in." }),
        ),
        macAddress: Type.Optional(
          Type.String({
            description: "Unicast MAC address, lower case with colons; chosen by the controller when absent.",
          }),
        ),
        addresses: Type.Optional(
          Type.Array(Type.String(), {
            maxItems: 8,
            description: "IP addresses that must be used; chosen by the controller when absent.",
          }),
        ),
      },
      { description: "What is wanted." },
    ),
    status: Type.Optional(
      Type.Object(
        {
          macAddress: Type.Optional(Type.String({ description: "The MAC address in use." })),
          addresses: Type.Optional(Type.Array(Type.String(), { description: "The IP addresses in use." })),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is. Ready says that the switch forwards for this port." },
      ),
    ),
  },
);
export type Port = Type.Static<typeof PortSchema>;

export const portKind = defineKind<Port>({
  ...plinthKind,
  kind: "Port",
  plural: "ports",
  singular: "port",
  shortNames: ["pt"],
  namespaced: true,
  schema: PortSchema,
  comparesSiblings: true,
  columns: [
    { name: "Network", description: "The network", value: (port) => port.spec.network },
    { name: "VM", description: "The machine", value: (port) => port.spec.virtualMachine },
    { name: "Addresses", description: "IP addresses", value: (port) => port.status?.addresses?.join(",") },
    {
      name: "Ready",
      description: "Forwarding",
      value: (port) => port.status?.conditions?.find((condition) => condition.type === "Ready")?.status,
    },
    { name: "MAC", description: "MAC address", wide: true, value: (port) => port.status?.macAddress },
  ],
  validate: validatePort,
});

function validatePort(port: Port, errors: FieldErrors, context: ValidationContext<Port>): void {
  const { spec } = port;
  if (context.previous !== undefined && context.previous.spec.network !== spec.network) {
    errors.invalid("spec.network", spec.network, "cannot be changed");
  }
  validateMac("spec.macAddress", spec.macAddress, errors);
  for (const [i, address] of (spec.addresses ?? []).entries()) {
    const field = `spec.addresses[${i}]`;
    if (parseAddress(address) === undefined) {
      errors.invalid(field, address, "must be an IP address such as 10.10.0.5");
      continue;
    }
    const other = context.siblings.find(
      (sibling) => sibling.spec.network === spec.network && (sibling.spec.addresses ?? []).includes(address),
    );
    if (other !== undefined)
      errors.invalid(field, address, `is used by port ${JSON.stringify(other.metadata.name)}`);
  }
}

export function validateMac(field: string, macAddress: string | undefined, errors: FieldErrors): void {
  if (macAddress !== undefined && !isMacAddress(macAddress)) {
    errors.invalid(
      field,
      macAddress,
      "must be a unicast MAC address such as 02:00:00:00:00:01 in lower case",
    );
  }
}
