// Ports, directions and tiers of policies, one case a rule of the semantics, each with the answer worked out by hand.
import { describe, expect, it } from "vitest";

import { admin, baseline, deployment, policy } from "../../testing/manifests.js";
import {
  app,
  EVERYTHING,
  egress,
  from,
  fromDb,
  fromOps,
  ingress,
  inOrder,
  outside,
  type PolicyCase,
  ports,
  SHOP,
  to,
  WEB,
} from "../../testing/policy-cases.js";

const CASES: readonly PolicyCase[] = [
  // Ports
  [
    "TCP unless said otherwise",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: ports(80) })),
    [fromDb("TCP 80")],
  ],
  [
    "a protocol without port is all its ports",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: [{ protocol: "UDP" }] })),
    [fromDb("UDP 1-65535")],
  ],
  [
    "all three protocols are all connections",
    to(
      WEB,
      ...SHOP,
      ingress({ from: [app("db")], ports: [{ protocol: "UDP" }, { protocol: "TCP" }, { protocol: "SCTP" }] }),
    ),
    [fromDb()],
  ],
  [
    "a range",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: [{ port: 80, endPort: 90 }] })),
    [fromDb("TCP 80-90")],
  ],
  [
    "a range of one",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: [{ port: 80, endPort: 80 }] })),
    [fromDb("TCP 80")],
  ],
  [
    "two ranges of all ports together are all ports",
    to(
      WEB,
      ...SHOP,
      ingress({
        from: [app("db")],
        ports: [
          { port: 1, endPort: 100 },
          { port: 101, endPort: 65535 },
        ],
      }),
    ),
    [fromDb("TCP 1-65535")],
  ],
  [
    "ports of two rules add up",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: ports(80) }, { ports: ports(81, 90) })),
    [outside("TCP 81,90"), fromDb("TCP 80-81,90"), fromOps("TCP 81,90")],
  ],
  [
    "SCTP",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: [{ port: 7, protocol: "SCTP" }] })),
    [fromDb("SCTP 7")],
  ],
  [
    "a port by name that nobody has",
    to(WEB, ...SHOP, ingress({ from: [app("db")], ports: ports("http") })),
    [],
  ],
  [
    "a port by name is that of the destination, not of the source",
    to(
      WEB,
      deployment("web", { app: "web" }, [{ name: "http", containerPort: 8080 }]),
      deployment("db", { app: "db" }, [{ name: "http", containerPort: 9 }]),
      ingress({ ports: ports("http") }),
    ),
    [outside("TCP 8080"), fromDb("TCP 8080")],
  ],
  [
    "a port by name of another protocol is another port",
    to(
      WEB,
      deployment("web", { app: "web" }, [{ name: "dns", containerPort: 53, protocol: "UDP" }]),
      deployment("db"),
      ingress({ ports: ports("dns") }),
    ),
    [],
  ],
  [
    "a name that two containers use",
    to(
      WEB,
      deployment("web", { app: "web" }, [
        { name: "m", containerPort: 1 },
        { name: "m", containerPort: 9 },
      ]),
      deployment("db"),
      ingress({ from: [app("db")], ports: ports("m") }),
    ),
    [fromDb("TCP 1,9")],
  ],
  [
    "a name in egress is looked up at each destination",
    from(
      WEB,
      deployment("web"),
      deployment("a", { app: "a" }, [{ name: "http", containerPort: 1 }]),
      deployment("b", { app: "b" }, [{ name: "http", containerPort: 2 }]),
      egress({ ports: ports("http") }),
    ),
    ["default/a[Deployment] : TCP 1", "default/b[Deployment] : TCP 2"],
  ],
  // Directions
  [
    "policyTypes Ingress alone leaves egress rules idle",
    from(
      WEB,
      ...SHOP,
      policy("p", { ...app("web"), policyTypes: ["Ingress"], egress: [{ to: [app("db")] }] }),
    ),
    [outside(), fromDb(), fromOps()],
  ],
  [
    "policyTypes Egress alone leaves ingress open",
    to(WEB, ...SHOP, egress()),
    [outside(), fromDb(), fromOps()],
  ],
  [
    "egress rules without policyTypes isolate both directions",
    to(WEB, ...SHOP, policy("p", { ...app("web"), egress: [{}] })),
    [],
  ],
  [
    "the empty list of egress without policyTypes isolates ingress alone",
    from(WEB, ...SHOP, policy("p", { ...app("web"), egress: [] })),
    [outside(), fromDb(), fromOps()],
  ],
  [
    "both ends must allow it",
    to(
      WEB,
      ...SHOP,
      ingress({ from: [app("db")], ports: ports(80, 81) }),
      policy("q", { ...app("db"), policyTypes: ["Egress"], egress: [{ ports: ports(81, 82) }] }),
    ),
    [fromDb("TCP 81")],
  ],
  [
    "what isolates and what allows may be different policies",
    to(WEB, ...SHOP, policy("deny", { podSelector: {} }), ingress({ from: [app("db")], ports: ports(80) })),
    [fromDb("TCP 80")],
  ],
  // Admin policies
  [
    "Deny comes before what network policies allow",
    to(
      WEB,
      ...SHOP,
      ingress({ ports: ports(80) }),
      admin("a", {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [{ action: "Deny", from: [{ pods: { namespaceSelector: {}, ...app("db") } }] }],
      }),
    ),
    [outside("TCP 80"), fromOps("TCP 80")],
  ],
  [
    "Allow opens what network policies isolate",
    to(
      WEB,
      ...SHOP,
      ingress(),
      admin("a", {
        priority: 1,
        subject: { pods: { namespaceSelector: {}, ...app("web") } },
        ingress: [
          {
            action: "Allow",
            from: [{ namespaces: {} }],
            ports: [{ portNumber: { port: 22, protocol: "TCP" } }],
          },
        ],
      }),
    ),
    [fromDb("TCP 22"), fromOps("TCP 22")],
  ],
  [
    "Pass leaves it to the network policies, past later admin policies",
    to(
      WEB,
      ...SHOP,
      ingress({ from: [app("db")] }),
      admin("first", {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [{ action: "Pass", from: [{ namespaces: {} }] }],
      }),
      admin("second", {
        priority: 2,
        subject: { namespaces: {} },
        ingress: [{ action: "Deny", from: [{ namespaces: {} }] }],
      }),
    ),
    [fromDb()],
  ],
  [
    "Pass leaves it to the baseline where no network policy is",
    to(
      WEB,
      ...SHOP,
      admin("first", {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [{ action: "Pass", from: [{ namespaces: {} }] }],
      }),
      baseline({
        subject: { namespaces: {} },
        ingress: [
          { action: "Deny", from: [{ namespaces: {} }], ports: [{ portRange: { start: 1, end: 79 } }] },
        ],
      }),
    ),
    [
      outside(),
      fromDb("SCTP 1-65535,TCP 80-65535,UDP 1-65535"),
      fromOps("SCTP 1-65535,TCP 80-65535,UDP 1-65535"),
    ],
  ],
  [
    "the earlier rule of one policy decides",
    to(
      WEB,
      ...SHOP,
      admin("a", {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [
          { action: "Allow", from: [{ pods: { namespaceSelector: {}, ...app("db") } }] },
          { action: "Deny", from: [{ namespaces: {} }] },
        ],
      }),
    ),
    [outside(), fromDb()],
  ],
  [
    "networks are addresses, never workloads",
    from(
      WEB,
      ...SHOP,
      admin("a", {
        priority: 1,
        subject: { namespaces: {} },
        egress: [{ action: "Deny", to: [{ networks: ["10.0.0.0/8"] }] }],
      }),
    ),
    [
      outside(EVERYTHING, "0.0.0.0-9.255.255.255"),
      outside(EVERYTHING, "11.0.0.0-255.255.255.255"),
      fromDb(),
      fromOps(),
    ],
  ],
  [
    "nodes are nothing that is known",
    from(
      WEB,
      ...SHOP,
      admin("a", {
        priority: 1,
        subject: { namespaces: {} },
        egress: [{ action: "Deny", to: [{ nodes: {} }] }],
      }),
    ),
    [outside(), fromDb(), fromOps()],
  ],
  [
    "a port by name in an admin policy",
    to(
      WEB,
      deployment("web", { app: "web" }, [{ name: "http", containerPort: 8080 }]),
      deployment("db"),
      admin("a", {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [{ action: "Deny", from: [{ namespaces: {} }], ports: [{ namedPort: "http" }] }],
      }),
    ),
    [outside(), fromDb("SCTP 1-65535,TCP 1-8079,8081-65535,UDP 1-65535")],
  ],
  [
    "the baseline is silent where network policies isolate",
    to(
      WEB,
      ...SHOP,
      ingress({ from: [app("db")] }),
      baseline({ subject: { namespaces: {} }, ingress: [{ action: "Deny", from: [{ namespaces: {} }] }] }),
    ),
    [fromDb()],
  ],
  [
    "a network policy of one direction leaves the other to the baseline",
    from(
      WEB,
      ...SHOP,
      ingress({ from: [app("db")] }),
      baseline({
        subject: { pods: { namespaceSelector: {}, ...app("web") } },
        egress: [{ action: "Deny", to: [{ networks: ["0.0.0.0/0"] }] }],
      }),
    ),
    [fromDb(), fromOps()],
  ],
];

describe("ports, directions and tiers", () => {
  it.each(CASES)("%s", (_name, answer, expected) => {
    expect(answer).toEqual(inOrder(expected));
  });
});
