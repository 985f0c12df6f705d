import { describe, expect, test } from "vitest";
import { type ApiObject, conform, FieldErrors, findKind, type SchemaNode } from "./index.js";

const GROUP = "policy.networking.k8s.io/v1alpha1";

function refusals(kindName: string, name: string, spec: object, siblings: ApiObject[] = []): string[] {
  const kind = findKind(GROUP, kindName);
  if (kind === undefined) throw new Error(`no kind ${kindName}`);
  const report = { errors: new FieldErrors(), unknownFields: [] as string[] };
  const document = { apiVersion: GROUP, kind: kindName, metadata: { name }, spec };
  const object = conform(kind.schema as SchemaNode, document, "", report) as ApiObject;
  if (report.errors.list.length === 0)
    kind.validate?.(object, report.errors, { previous: undefined, siblings });
  return report.errors.list.map(({ field, message }) => `${field}: ${message}`);
}

const all = { namespaces: {} };
const admin = (spec: object, siblings: ApiObject[] = []): string[] =>
  refusals("AdminNetworkPolicy", "a", { priority: 5, subject: all, ...spec }, siblings);
const ingress = (rule: object): string[] => admin({ ingress: [{ action: "Deny", from: [all], ...rule }] });

describe("AdminNetworkPolicy", () => {
  test("accepts what the documentation of the API shows", () => {
    expect(
      admin({
        subject: { pods: { namespaceSelector: { matchLabels: { tenant: "a" } }, podSelector: {} } },
        ingress: [
          {
            name: "from monitoring",
            action: "Allow",
            from: [{ namespaces: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
            ports: [
              { portNumber: { protocol: "TCP", port: 9100 } },
              { portRange: { start: 1, end: 9 } },
              { namedPort: "web" },
            ],
          },
          { action: "Pass", from: [all] },
        ],
        egress: [{ action: "Deny", to: [{ networks: ["10.0.0.0/8", "2001:db8::/32"] }, { nodes: {} }] }],
      }),
    ).toEqual([]);
  });

  test("advises about what is taken and may not have been meant", () => {
    const advice = (kindName: string, to: object[]): string[] =>
      findKind(GROUP, kindName)?.advise?.({ spec: { egress: [{ action: "Deny", to }] } } as never) ?? [];
    for (const kindName of ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy"]) {
      expect(advice(kindName, [{ networks: ["10.0.0.0/8", "10.1.2.3/8"] }, { nodes: {} }])).toEqual([
        "spec.egress[0].to[0].networks[1]: 10.1.2.3/8 has bits behind its length and counts as 10.0.0.0/8",
        "spec.egress[0].to[1].nodes: hosts are not on the networks of machines, so this selects nothing",
      ]);
      expect(advice(kindName, [{ networks: ["2001:db8::/32"] }, { namespaces: {} }])).toEqual([]);
    }
  });

  test("logs only rules that it has", () => {
    const kind = findKind(GROUP, "AdminNetworkPolicy");
    const logged = (log: string): string[] => {
      const errors = new FieldErrors();
      const metadata = { name: "a", annotations: { "policy.plinth.dev/log": log } };
      const spec = { priority: 5, subject: all, ingress: [{ action: "Deny", from: [all] }] };
      const policy = { apiVersion: GROUP, kind: "AdminNetworkPolicy", metadata, spec };
      kind?.validate?.(policy as unknown as ApiObject, errors, { previous: undefined, siblings: [] });
      return errors.list.map(({ field, message }) => `${field}: ${message}`);
    };
    expect([...logged("all"), ...logged("denied, ingress[0]")]).toEqual([]);
    expect(logged("ingress[0],ingress[1],egress[0]")).toEqual([
      expect.stringMatching(
        /^metadata.annotations\[policy.plinth.dev\/log\]: .*ingress\[1\].*has 1 ingress rules/,
      ),
      expect.stringMatching(/egress\[0\].*has 0 egress rules/),
    ]);
    expect(logged("ingress[00]")).toEqual([expect.stringMatching(/must be "all", or a list of/)]);
  });

  test.each<[string, string[], RegExp]>([
    [
      "a priority that is taken",
      admin({}, [{ metadata: { name: "b" }, spec: { priority: 5 } } as unknown as ApiObject]),
      /^spec.priority: .*is that of "b" already/,
    ],
    ["a priority out of range", admin({ priority: 1001 }), /^spec.priority: /],
    ["no priority", admin({ priority: undefined }), /^spec.priority: Required/],
    [
      "two subjects",
      admin({ subject: { namespaces: {}, pods: { namespaceSelector: {}, podSelector: {} } } }),
      /^spec.subject: .*exactly one of namespaces, pods/,
    ],
    ["no subject", admin({ subject: {} }), /^spec.subject: .*exactly one/],
    ["an action that is none", ingress({ action: "Drop" }), /^spec.ingress\[0\].action: Unsupported value/],
    ["a rule without senders", ingress({ from: [] }), /^spec.ingress\[0\].from: /],
    [
      "a peer of two kinds",
      admin({ egress: [{ action: "Deny", to: [{ namespaces: {}, networks: ["10.0.0.0/8"] }] }] }),
      /^spec.egress\[0\].to\[0\]: .*exactly one/,
    ],
    [
      "a block that is none",
      admin({ egress: [{ action: "Deny", to: [{ networks: ["10.0.0.1/33"] }] }] }),
      /networks\[0\]: .*must be a CIDR block/,
    ],
    [
      "a port of two kinds",
      ingress({ ports: [{ namedPort: "a", portNumber: { port: 1 } }] }),
      /ports\[0\]: .*exactly one/,
    ],
    [
      "a range that ends before it begins",
      ingress({ ports: [{ portRange: { start: 9, end: 1 } }] }),
      /portRange.end: /,
    ],
    ["port 0", ingress({ ports: [{ portNumber: { port: 0 } }] }), /portNumber.port: /],
    [
      "too many changes of action",
      admin({
        ingress: Array.from({ length: 66 }, (_, i) => ({
          action: i % 2 === 0 ? "Deny" : "Allow",
          from: [all],
        })),
      }),
      /^spec.ingress: .*at most 63 times/,
    ],
  ])("refuses %s", (_name, found, expected) => {
    expect(found.join("\n")).toMatch(expected);
  });
});

describe("BaselineAdminNetworkPolicy", () => {
  const baseline = (name: string, action: string): string[] =>
    refusals("BaselineAdminNetworkPolicy", name, { subject: all, ingress: [{ action, from: [all] }] });

  test("is one, named default, and cannot pass", () => {
    expect(baseline("default", "Deny")).toEqual([]);
    expect(baseline("other", "Deny").join()).toMatch(/^metadata.name: .*must be "default"/);
    expect(baseline("default", "Pass").join()).toMatch(/action: Unsupported value/);
  });
});
