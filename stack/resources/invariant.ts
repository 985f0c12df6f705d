// Invariant: a promise about who reaches whom. A change that would break it is refused, with a packet that shows how.
import Type from "typebox";
import { defineKind, PLINTH_API_VERSION, PLINTH_GROUP, PLINTH_VERSION } from "./kind.js";
import { validateSelector } from "./names.js";
import { LabelSelectorSchema, OneOf, resourceSchema } from "./schema.js";

const Ends = (description: string) =>
  Type.Object(
    {
      namespaceSelector: Type.Optional(
        LabelSelectorSchema("Selects namespaces by their labels; all when absent or empty."),
      ),
      podSelector: Type.Optional(
        LabelSelectorSchema("Selects machines in them by their labels; all when absent or empty."),
      ),
    },
    { description },
  );

const Port = Type.Object({
  protocol: OneOf(["TCP", "UDP", "SCTP"], { default: "TCP", description: "Transport protocol." }),
  port: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 65535, description: "Port number. All ports when absent." }),
  ),
  endPort: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 65535, description: "Last port of a range that starts at port." }),
  ),
});

const InvariantSchema = resourceSchema(
  PLINTH_API_VERSION,
  "Invariant",
  "A promise about who reaches whom. A change of policies, namespaces, machines or invariants that would break it is refused.",
  {
    spec: Type.Object(
      {
        assert: OneOf(["Never", "Always"], {
          description:
            "Never: no machine of from reaches one of to. Always: each machine of from reaches each other one of to.",
        }),
        from: Ends("The machines that connect."),
        to: Ends("The machines that they connect to."),
        ports: Type.Optional(
          Type.Array(Port, {
            minItems: 1,
            description: "What it is about; every protocol and port when absent.",
          }),
        ),
      },
      { description: "What is wanted." },
    ),
  },
);
export type Invariant = Type.Static<typeof InvariantSchema>;

export const invariantKind = defineKind<Invariant>({
  group: PLINTH_GROUP,
  version: PLINTH_VERSION,
  hasStatus: false,
  strategicMerge: false,
  kind: "Invariant",
  plural: "invariants",
  singular: "invariant",
  shortNames: ["inv"],
  namespaced: false,
  schema: InvariantSchema,
  columns: [
    { name: "Assert", description: "Never or Always", value: (invariant) => invariant.spec.assert },
    {
      name: "Ports",
      description: "What it is about",
      value: (invariant) =>
        (invariant.spec.ports ?? [])
          .map(({ protocol, port, endPort }) =>
            port === undefined
              ? protocol
              : `${protocol} ${port}${endPort === undefined ? "" : `-${endPort}`}`,
          )
          .join(",") || "all",
    },
  ],
  validate({ spec }, errors) {
    for (const side of ["from", "to"] as const) {
      validateSelector(spec[side].namespaceSelector, `spec.${side}.namespaceSelector`, errors);
      validateSelector(spec[side].podSelector, `spec.${side}.podSelector`, errors);
    }
    for (const [i, { port, endPort }] of (spec.ports ?? []).entries()) {
      if (endPort === undefined) continue;
      const at = `spec.ports[${i}]`;
      if (port === undefined) errors.required(`${at}.port`, "must be specified when endPort is");
      else if (endPort < port)
        errors.invalid(`${at}.endPort`, endPort, "must be greater than or equal to `port`");
    }
  },
});
