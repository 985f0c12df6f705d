// NetworkPolicy of networking.k8s.io/v1, unchanged: who may connect to whom. "Pod" means virtual machine here.
// Source: Kubernetes API reference, NetworkPolicy v1; validation as in k8s.io/kubernetes/pkg/apis/networking/validation.
import Type from "typebox";
import { blockAdvice, parseBlock, prefixInside } from "./cidr.js";
import type { FieldErrors } from "./field-errors.js";
import { defineKind } from "./kind.js";
import { isPortName, PORT_NAME_EXPECTED, validateSelector } from "./names.js";
import { validateHandling } from "./policy-annotations.js";
import { IntOrString, LabelSelectorSchema, OneOf, resourceSchema } from "./schema.js";

const NetworkPolicyPort = Type.Object({
  protocol: OneOf(["TCP", "UDP", "SCTP"], { default: "TCP", description: "Transport protocol." }),
  port: Type.Optional(
    IntOrString({ description: "Port number, or name of a port of the machine. All ports when absent." }),
  ),
  endPort: Type.Optional(
    Type.Integer({ description: "Last port of a range that starts at port, which is a number then." }),
  ),
});

const IpBlock = Type.Object(
  {
    cidr: Type.String({ description: "Address range such as 192.168.1.0/24." }),
    except: Type.Optional(
      Type.Array(Type.String(), { description: "Ranges inside cidr that are left out." }),
    ),
  },
  { description: "A range of addresses. Excludes the selectors." },
);

const NetworkPolicyPeer = Type.Object({
  podSelector: Type.Optional(
    LabelSelectorSchema("Selects machines by their labels, in this namespace or the selected ones."),
  ),
  namespaceSelector: Type.Optional(
    LabelSelectorSchema("Selects namespaces by their labels; empty selects all."),
  ),
  ipBlock: Type.Optional(IpBlock),
});

const ports = Type.Optional(
  Type.Array(NetworkPolicyPort, { description: "Allowed ports; all when absent or empty." }),
);

export const NetworkPolicySchema = resourceSchema(
  "networking.k8s.io/v1",
  "NetworkPolicy",
  "Which connections machines may have. Without any policy that selects a machine everything is allowed to it; policies add up.",
  {
    spec: Type.Object(
      {
        podSelector: Type.Optional(
          LabelSelectorSchema(
            "The machines that this policy is about; all of the namespace when empty or absent.",
          ),
        ),
        policyTypes: Type.Optional(
          Type.Array(OneOf(["Ingress", "Egress"]), {
            description:
              "Directions that are restricted. Ingress, and Egress too when egress is given, when absent.",
          }),
        ),
        ingress: Type.Optional(
          Type.Array(
            Type.Object({
              from: Type.Optional(
                Type.Array(NetworkPolicyPeer, { description: "Allowed senders; all when absent or empty." }),
              ),
              ports,
            }),
            { description: "Allowed incoming connections." },
          ),
        ),
        egress: Type.Optional(
          Type.Array(
            Type.Object({
              to: Type.Optional(
                Type.Array(NetworkPolicyPeer, {
                  description: "Allowed receivers; all when absent or empty.",
                }),
              ),
              ports,
            }),
            { description: "Allowed outgoing connections." },
          ),
        ),
      },
      { description: "What is wanted." },
    ),
  },
);
export type NetworkPolicy = Type.Static<typeof NetworkPolicySchema>;
export type NetworkPolicyPeer = Type.Static<typeof NetworkPolicyPeer>;
export type NetworkPolicyPort = Type.Static<typeof NetworkPolicyPort>;

export const networkPolicyKind = defineKind<NetworkPolicy>({
  group: "networking.k8s.io",
  version: "v1",
  kind: "NetworkPolicy",
  plural: "networkpolicies",
  singular: "networkpolicy",
  shortNames: ["netpol"],
  namespaced: true,
  hasStatus: false,
  strategicMerge: true,
  schema: NetworkPolicySchema,
  columns: [
    {
      name: "Pod-Selector",
      description: "The machines it is about",
      value: (policy) => formatSelector(policy.spec.podSelector),
    },
    {
      name: "Types",
      description: "Directions",
      wide: true,
      value: (policy) => policy.spec.policyTypes?.join(","),
    },
  ],
  complete(policy) {
    policy.spec.podSelector ??= {};
    if (policy.spec.policyTypes !== undefined && policy.spec.policyTypes.length > 0) return;
    policy.spec.policyTypes = (policy.spec.egress?.length ?? 0) > 0 ? ["Ingress", "Egress"] : ["Ingress"];
  },
  validate(policy, errors) {
    const { spec } = policy;
    validateHandling(policy, true, errors);
    validateSelector(spec.podSelector, "spec.podSelector", errors);
    if ((spec.policyTypes?.length ?? 0) > 2)
      errors.tooMany("spec.policyTypes", spec.policyTypes?.length ?? 0, 2);
    for (const [i, rule] of (spec.ingress ?? []).entries()) {
      const field = `spec.ingress[${i}]`;
      validatePorts(rule.ports, `${field}.ports`, errors);
      for (const [j, peer] of (rule.from ?? []).entries()) validatePeer(peer, `${field}.from[${j}]`, errors);
    }
    for (const [i, rule] of (spec.egress ?? []).entries()) {
      const field = `spec.egress[${i}]`;
      validatePorts(rule.ports, `${field}.ports`, errors);
      for (const [j, peer] of (rule.to ?? []).entries()) validatePeer(peer, `${field}.to[${j}]`, errors);
    }
  },
  advise({ spec }) {
    return [
      ...(spec.ingress ?? []).flatMap(({ from = [] }, i) =>
        from.flatMap((peer, j) => peerAdvice(peer, `spec.ingress[${i}].from[${j}]`)),
      ),
      ...(spec.egress ?? []).flatMap(({ to = [] }, i) =>
        to.flatMap((peer, j) => peerAdvice(peer, `spec.egress[${i}].to[${j}]`)),
      ),
    ];
  },
});

function validatePorts(
  list: readonly NetworkPolicyPort[] | undefined,
  field: string,
  errors: FieldErrors,
): void {
  for (const [i, { port, endPort }] of (list ?? []).entries()) {
    const at = `${field}[${i}]`;
    if (typeof port === "number" && !isPortNumber(port)) {
      errors.invalid(`${at}.port`, port, "must be between 1 and 65535, inclusive");
    }
    if (typeof port === "string" && !isPortName(port)) errors.invalid(`${at}.port`, port, PORT_NAME_EXPECTED);
    if (endPort === undefined) continue;
    if (port === undefined) errors.required(`${at}.port`, "must be specified when endPort is");
    else if (typeof port === "string")
      errors.invalid(`${at}.endPort`, endPort, "may not be used with a named port");
    else if (!isPortNumber(endPort))
      errors.invalid(`${at}.endPort`, endPort, "must be between 1 and 65535, inclusive");
    else if (endPort < port)
      errors.invalid(`${at}.endPort`, endPort, "must be greater than or equal to `port`");
  }
}

function isPortNumber(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}

function validatePeer(peer: NetworkPolicyPeer, field: string, errors: FieldErrors): void {
  validateSelector(peer.podSelector, `${field}.podSelector`, errors);
  validateSelector(peer.namespaceSelector, `${field}.namespaceSelector`, errors);
  const selects = peer.podSelector !== undefined || peer.namespaceSelector !== undefined;
  if (peer.ipBlock === undefined) {
    if (!selects) errors.required(field, "must specify a peer: podSelector, namespaceSelector or ipBlock");
    return;
  }
  if (selects) errors.forbidden(field, "may not specify both ipBlock and another peer");
  const block = parseBlock(peer.ipBlock.cidr);
  if (block === undefined) {
    errors.invalid(`${field}.ipBlock.cidr`, peer.ipBlock.cidr, "must be a CIDR block such as 10.9.0.0/16");
  }
  for (const [i, text] of (peer.ipBlock.except ?? []).entries()) {
    const at = `${field}.ipBlock.except[${i}]`;
    const except = parseBlock(text);
    if (except === undefined) errors.invalid(at, text, "must be a CIDR block such as 10.9.1.0/24");
    else if (block !== undefined && !prefixInside(except, block)) {
      errors.invalid(at, text, `must be a strict subset of \`cidr\` (${peer.ipBlock.cidr})`);
    }
  }
}

function peerAdvice({ ipBlock }: NetworkPolicyPeer, field: string): string[] {
  if (ipBlock === undefined) return [];
  return [
    ...blockAdvice(ipBlock.cidr, `${field}.ipBlock.cidr`),
    ...(ipBlock.except ?? []).flatMap((text, i) => blockAdvice(text, `${field}.ipBlock.except[${i}]`)),
  ];
}

function formatSelector(selector: NetworkPolicy["spec"]["podSelector"] = {}): string {
  const parts = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    if (operator === "Exists") parts.push(key);
    else if (operator === "DoesNotExist") parts.push(`!${key}`);
    else parts.push(`${key} ${operator === "In" ? "in" : "notin"} (${(values ?? []).join(",")})`);
  }
  return parts.length === 0 ? "<none>" : parts.join(",");
}
