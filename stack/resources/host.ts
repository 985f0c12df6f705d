// Host: a machine that runs virtual machines. Its agent registers it and keeps its status.
import Type from "typebox";
import { defineKind, PLINTH_API_VERSION, plinthKind } from "./kind.js";
import { formatBytes } from "./quantity.js";
import { Conditions, resourceSchema, Time } from "./schema.js";

const Amounts = (description: string) =>
  Type.Object(
    {
      cpus: Type.Number({ description: "Processors." }),
      memoryBytes: Type.Integer({ description: "Main memory." }),
    },
    { description },
  );

export const HostSchema = resourceSchema(
  PLINTH_API_VERSION,
  "Host",
  "A machine that runs virtual machines. Registered by its agent, which renews lastHeartbeatTime.",
  {
    spec: Type.Object(
      {
        unschedulable: Type.Boolean({ default: false, description: "True keeps new machines away." }),
        cpuOvercommit: Type.Number({
          default: 4,
          minimum: 1,
          maximum: 64,
          description: "Virtual CPUs that are placed per processor.",
        }),
      },
      { description: "What is wanted.", default: {} },
    ),
    status: Type.Optional(
      Type.Object(
        {
          capacity: Type.Optional(Amounts("What the machine has for virtual machines.")),
          allocated: Type.Optional(Amounts("What its virtual machines were given.")),
          accelerator: Type.Optional(
            Type.String({ description: "kvm, or tcg where hardware virtualisation is missing." }),
          ),
          facilities: Type.Optional(
            Type.Array(
              Type.Object({
                name: Type.String({ description: "Name of a facility of the kernel, such as io_uring." }),
                available: Type.Boolean({ description: "Whether it can be used." }),
                reason: Type.Optional(Type.String({ description: "Why not." })),
              }),
              { description: "What was probed at start." },
            ),
          ),
          lastHeartbeatTime: Type.Optional(Time({ description: "When the agent last reported." })),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is. Ready becomes Unknown when the agent is silent." },
      ),
    ),
  },
);
export type Host = Type.Static<typeof HostSchema>;

export const hostKind = defineKind<Host>({
  ...plinthKind,
  kind: "Host",
  plural: "hosts",
  singular: "host",
  shortNames: [],
  namespaced: false,
  schema: HostSchema,
  columns: [
    {
      name: "Ready",
      description: "Whether its agent reports",
      value: (host) =>
        host.status?.conditions?.find((condition) => condition.type === "Ready")?.status ?? "Unknown",
    },
    {
      name: "CPUs",
      type: "integer",
      description: "Processors",
      value: (host) => host.status?.capacity?.cpus,
    },
    {
      name: "Memory",
      description: "Main memory",
      value: (host) =>
        host.status?.capacity === undefined ? undefined : formatBytes(host.status.capacity.memoryBytes),
    },
    { name: "Accelerator", description: "kvm or tcg", value: (host) => host.status?.accelerator },
    {
      name: "Unschedulable",
      type: "boolean",
      description: "New machines are kept away",
      wide: true,
      value: (host) => host.spec.unschedulable,
    },
  ],
});
