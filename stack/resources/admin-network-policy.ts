// AdminNetworkPolicy of policy.networking.k8s.io/v1alpha1: what the administrator allows and denies before any
// NetworkPolicy is asked, or leaves to them. "Pod" means virtual machine here.
// Source: sigs.k8s.io/network-policy-api, apis/v1alpha1 and the CRD's validation.
import Type from "typebox";
import { blockAdvice, parseBlock } from "./cidr.js";
import type { FieldErrors } from "./field-errors.js";
import { defineKind } from "./kind.js";
import { isPortName, PORT_NAME_EXPECTED, validateSelector } from "./names.js";
import { validateHandling } from "./policy-annotations.js";
import { type LabelSelector, LabelSelectorSchema, OneOf, resourceSchema } from "./schema.js";

export const ADMIN_POLICY_GROUP = "policy.networking.k8s.io";
export const ADMIN_POLICY_API_VERSION = `${ADMIN_POLICY_GROUP}/v1alpha1`;

const RULES_MAX = 100;
/** Neighbouring rules of one action share a priority of the switch, of which a policy has this many. */
const ACTION_CHANGES_MAX = 63;

const Pods = Type.Object(
  {
    namespaceSelector: LabelSelectorSchema("Selects namespaces by their labels; empty selects all."),
    podSelector: LabelSelectorSchema("Selects machines in them by their labels; empty selects all."),
  },
  { description: "Machines by the labels of their namespace and their own." },
);
const Namespaces = Type.Optional(
  LabelSelectorSchema("All machines of the namespaces with these labels; empty selects all namespaces."),
);

const Subject = Type.Object(
  { namespaces: Namespaces, pods: Type.Optional(Pods) },
  { description: "The machines that this policy is about: exactly one field is set." },
);

const Port = Type.Object({
  portNumber: Type.Optional(
    Type.Object(
      {
        protocol: OneOf(["TCP", "UDP", "SCTP"], { default: "TCP", description: "Transport protocol." }),
        port: Type.Integer({ minimum: 1, maximum: 65535, description: "Port number." }),
      },
      { description: "One port." },
    ),
  ),
  portRange: Type.Optional(
    Type.Object(
      {
        protocol: OneOf(["TCP", "UDP", "SCTP"], { default: "TCP", description: "Transport protocol." }),
        start: Type.Integer({ minimum: 1, maximum: 65535, description: "First port." }),
        end: Type.Integer({ minimum: 1, maximum: 65535, description: "Last port." }),
      },
      { description: "Neighbouring ports." },
    ),
  ),
  namedPort: Type.Optional(
    Type.String({
      description: "Port of this name at the destination, with the protocol that it has there.",
    }),
  ),
});

const IngressPeer = Type.Object({ namespaces: Namespaces, pods: Type.Optional(Pods) });
const EgressPeer = Type.Object({
  namespaces: Namespaces,
  pods: Type.Optional(Pods),
  networks: Type.Optional(
    Type.Array(Type.String(), {
      description: "Address ranges such as 10.9.0.0/16.",
      minItems: 1,
      maxItems: 25,
    }),
  ),
  nodes: Type.Optional(
    LabelSelectorSchema("Hosts. They are not on tenants' networks, so this selects nothing."),
  ),
});

/** The rules of both kinds; they differ in the actions that there are. */
function ruleFields<const T extends string>(actions: readonly T[]) {
  return {
    name: Type.Optional(
      Type.String({ maxLength: 100, description: "A name, for people and for what explains." }),
    ),
    action: OneOf(actions, { description: "What becomes of connections that match." }),
    ports: Type.Optional(
      Type.Array(Port, { description: "Destination ports; all when absent.", minItems: 1, maxItems: 100 }),
    ),
  };
}

/** What both kinds have in common. */
export function adminPolicyFields<const T extends string>(actions: readonly T[]) {
  return {
    subject: Subject,
    ingress: Type.Optional(
      Type.Array(
        Type.Object({
          ...ruleFields(actions),
          from: Type.Array(IngressPeer, { description: "Senders.", minItems: 1, maxItems: 100 }),
        }),
        { description: "Incoming connections: the first rule that matches decides.", maxItems: RULES_MAX },
      ),
    ),
    egress: Type.Optional(
      Type.Array(
        Type.Object({
          ...ruleFields(actions),
          to: Type.Array(EgressPeer, { description: "Receivers.", minItems: 1, maxItems: 100 }),
        }),
        { description: "Outgoing connections: the first rule that matches decides.", maxItems: RULES_MAX },
      ),
    ),
  };
}

const AdminNetworkPolicySchema = resourceSchema(
  ADMIN_POLICY_API_VERSION,
  "AdminNetworkPolicy",
  "What the administrator allows or denies for all tenants before NetworkPolicies are asked. Pass leaves it to those.",
  {
    spec: Type.Object(
      {
        priority: Type.Integer({
          minimum: 0,
          maximum: 1000,
          description: "Policies with a lower number are asked first. No two may have the same.",
        }),
        ...adminPolicyFields(["Allow", "Deny", "Pass"]),
      },
      { description: "What is wanted." },
    ),
  },
);
export type AdminNetworkPolicy = Type.Static<typeof AdminNetworkPolicySchema>;

export const adminNetworkPolicyKind = defineKind<AdminNetworkPolicy>({
  group: ADMIN_POLICY_GROUP,
  version: "v1alpha1",
  kind: "AdminNetworkPolicy",
  plural: "adminnetworkpolicies",
  singular: "adminnetworkpolicy",
  shortNames: ["anp"],
  namespaced: false,
  hasStatus: false,
  strategicMerge: false,
  comparesSiblings: true,
  schema: AdminNetworkPolicySchema,
  columns: [
    {
      name: "Priority",
      type: "integer",
      description: "Lower is asked first",
      value: (policy) => policy.spec.priority,
    },
  ],
  validate(policy, errors, { siblings }) {
    const { priority } = policy.spec;
    const other = siblings.find((each) => each.spec.priority === priority);
    if (other !== undefined)
      errors.invalid("spec.priority", priority, `is that of ${JSON.stringify(other.metadata.name)} already`);
    validateHandling(policy, false, errors);
    validateAdminPolicy(policy.spec, errors);
  },
  advise: ({ spec }) => adviseAdminPolicy(spec),
});

type Spec = Pick<AdminNetworkPolicy["spec"], "subject"> & {
  readonly ingress?: readonly Rule[] | undefined;
  readonly egress?: readonly Rule[] | undefined;
};
interface Rule {
  readonly action: string;
  readonly ports?: readonly Type.Static<typeof Port>[] | undefined;
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
}
type Peer = Type.Static<typeof EgressPeer>;

/** The rules that both kinds have and the schema cannot say. */
export function validateAdminPolicy(spec: Spec, errors: FieldErrors): void {
  validateOne(spec.subject, ["namespaces", "pods"], "spec.subject", errors);
  validateSelectors(spec.subject, "spec.subject", errors);
  for (const [word, rules] of [
    ["ingress", spec.ingress],
    ["egress", spec.egress],
  ] as const) {
    validateActions(rules ?? [], `spec.${word}`, errors);
    for (const [i, rule] of (rules ?? []).entries()) validateRule(rule, `spec.${word}[${i}]`, errors);
  }
}

/** What both kinds take and may not have been meant. */
export function adviseAdminPolicy({ egress = [] }: Spec): string[] {
  return egress.flatMap(({ to = [] }, i) =>
    to.flatMap(({ networks = [], nodes }, j) => {
      const field = `spec.egress[${i}].to[${j}]`;
      const blocks = networks.flatMap((text, k) => blockAdvice(text, `${field}.networks[${k}]`));
      if (nodes === undefined) return blocks;
      return [
        ...blocks,
        `${field}.nodes: hosts are not on the networks of machines, so this selects nothing`,
      ];
    }),
  );
}

function validateActions(rules: readonly Rule[], field: string, errors: FieldErrors): void {
  const changes = rules.filter(({ action }, i) => i > 0 && action !== rules[i - 1]?.action).length;
  if (changes > ACTION_CHANGES_MAX)
    errors.invalid(field, changes, `may change between actions at most ${ACTION_CHANGES_MAX} times`);
}

function validateRule(rule: Rule, field: string, errors: FieldErrors): void {
  for (const [j, peer] of (rule.from ?? []).entries())
    validatePeer(peer, `${field}.from[${j}]`, false, errors);
  for (const [j, peer] of (rule.to ?? []).entries()) validatePeer(peer, `${field}.to[${j}]`, true, errors);
  for (const [j, port] of (rule.ports ?? []).entries()) {
    const at = `${field}.ports[${j}]`;
    validateOne(port, ["portNumber", "portRange", "namedPort"], at, errors);
    const { portRange, namedPort } = port;
    if (portRange !== undefined && portRange.end < portRange.start)
      errors.invalid(`${at}.portRange.end`, portRange.end, "must be greater than or equal to `start`");
    if (namedPort !== undefined && !isPortName(namedPort))
      errors.invalid(`${at}.namedPort`, namedPort, PORT_NAME_EXPECTED);
  }
}

function validatePeer(peer: Peer, field: string, egress: boolean, errors: FieldErrors): void {
  validateOne(
    peer,
    egress ? ["namespaces", "pods", "networks", "nodes"] : ["namespaces", "pods"],
    field,
    errors,
  );
  validateSelectors(peer, field, errors);
  validateSelector(peer.nodes, `${field}.nodes`, errors);
  for (const [i, cidr] of (peer.networks ?? []).entries()) {
    if (parseBlock(cidr) === undefined)
      errors.invalid(`${field}.networks[${i}]`, cidr, "must be a CIDR block such as 10.9.0.0/16");
  }
}

function validateSelectors(
  subject: {
    readonly namespaces?: LabelSelector | undefined;
    readonly pods?: Type.Static<typeof Pods> | undefined;
  },
  field: string,
  errors: FieldErrors,
): void {
  validateSelector(subject.namespaces, `${field}.namespaces`, errors);
  validateSelector(subject.pods?.namespaceSelector, `${field}.pods.namespaceSelector`, errors);
  validateSelector(subject.pods?.podSelector, `${field}.pods.podSelector`, errors);
}

function validateOne(object: object, fields: readonly string[], field: string, errors: FieldErrors): void {
  const given = fields.filter((name) => (object as Record<string, unknown>)[name] !== undefined);
  if (given.length !== 1) errors.invalid(field, given, `exactly one of ${fields.join(", ")} must be set`);
}
