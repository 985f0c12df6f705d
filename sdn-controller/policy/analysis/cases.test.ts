// Who a rule is about, one case a rule of the semantics, each with the answer worked out by hand.
import { describe, expect, it } from "vitest";

import { type Fields, namespace, pod, policy } from "../../testing/manifests.js";
import {
  app,
  block,
  EVERYTHING,
  egress,
  from,
  fromDb,
  fromOps,
  ingress,
  inOrder,
  named,
  outside,
  type PolicyCase,
  ports,
  SHOP,
  to,
  WEB,
  where,
} from "../../testing/policy-cases.js";

const CASES: readonly PolicyCase[] = [
  // Selectors of pods
  ["a label", to(WEB, ...SHOP, ingress({ from: [app("db")] })), [fromDb()]],
  [
    "several peers add up",
    to(WEB, ...SHOP, ingress({ from: [app("db"), app("ops")] })),
    [fromDb(), fromOps()],
  ],
  ["In", to(WEB, ...SHOP, ingress({ from: [where("app", "In", ["db", "x"])] })), [fromDb()]],
  [
    "NotIn takes who has other values",
    to(WEB, ...SHOP, ingress({ from: [where("app", "NotIn", ["db"])] })),
    [fromOps()],
  ],
  [
    "NotIn takes who has no such label",
    to(WEB, ...SHOP, pod("default", "bare"), ingress({ from: [where("app", "NotIn", ["db", "ops"])] })),
    [`default/bare[Pod] : ${EVERYTHING}`],
  ],
  [
    "Exists",
    to(WEB, ...SHOP, pod("default", "bare"), ingress({ from: [where("app", "Exists")] })),
    [fromDb(), fromOps()],
  ],
  [
    "DoesNotExist",
    to(WEB, ...SHOP, pod("default", "bare"), ingress({ from: [where("app", "DoesNotExist")] })),
    [`default/bare[Pod] : ${EVERYTHING}`],
  ],
  [
    "labels and expressions must both hold",
    to(
      WEB,
      ...SHOP,
      ingress({
        from: [
          {
            podSelector: {
              matchLabels: { app: "db" },
              ...(where("app", "NotIn", ["db"])["podSelector"] as Fields),
            },
          },
        ],
      }),
    ),
    [],
  ],
  [
    "the empty selector takes pods without labels",
    to(WEB, ...SHOP, pod("default", "bare"), ingress({ from: [{ podSelector: {} }] })),
    [`default/bare[Pod] : ${EVERYTHING}`, fromDb(), fromOps()],
  ],
  // Namespaces
  [
    "podSelector alone stays in the policy's namespace",
    to(WEB, ...SHOP, pod("other", "db", { app: "db" }), ingress({ from: [app("db")] })),
    [fromDb()],
  ],
  [
    "namespaceSelector alone takes every pod there",
    to(WEB, ...SHOP, pod("other", "x"), ingress({ from: [{ namespaceSelector: named("other") }] })),
    [`other/x[Pod] : ${EVERYTHING}`],
  ],
  [
    "both together must hold",
    to(
      WEB,
      ...SHOP,
      pod("other", "x"),
      pod("other", "db", { app: "db" }),
      ingress({ from: [{ namespaceSelector: named("other"), ...app("db") }] }),
    ),
    [`other/db[Pod] : ${EVERYTHING}`],
  ],
  [
    "one after the other are two peers",
    to(
      WEB,
      ...SHOP,
      pod("other", "x"),
      ingress({ from: [{ namespaceSelector: named("other") }, app("db")] }),
    ),
    [fromDb(), `other/x[Pod] : ${EVERYTHING}`],
  ],
  [
    "the empty namespaceSelector takes all namespaces, but no addresses",
    to(WEB, ...SHOP, pod("other", "x"), ingress({ from: [{ namespaceSelector: {} }] })),
    [fromDb(), fromOps(), `other/x[Pod] : ${EVERYTHING}`],
  ],
  [
    "labels of a namespace that is described",
    to(
      WEB,
      ...SHOP,
      namespace("other", { team: "a" }),
      pod("other", "x"),
      pod("third", "y"),
      ingress({ from: [{ namespaceSelector: { matchLabels: { team: "a" } } }] }),
    ),
    [`other/x[Pod] : ${EVERYTHING}`],
  ],
  [
    "a name label that says otherwise is overruled",
    to(
      WEB,
      ...SHOP,
      namespace("other", { "kubernetes.io/metadata.name": "lie" }),
      pod("other", "x"),
      ingress({ from: [{ namespaceSelector: named("other") }] }),
    ),
    [`other/x[Pod] : ${EVERYTHING}`],
  ],
  [
    "namespaces without the label fulfil NotIn and DoesNotExist",
    to(
      WEB,
      ...SHOP,
      namespace("other", { team: "a" }),
      pod("other", "x"),
      pod("third", "y"),
      ingress({
        from: [{ namespaceSelector: { matchExpressions: [{ key: "team", operator: "DoesNotExist" }] } }],
      }),
    ),
    [fromDb(), fromOps(), `third/y[Pod] : ${EVERYTHING}`],
  ],
  [
    "a policy in another namespace is about nobody here",
    to(WEB, ...SHOP, policy("p", { podSelector: {} }, "other")),
    [outside(), fromDb(), fromOps()],
  ],
  // Addresses
  ["a block is no workload", to(WEB, ...SHOP, ingress({ from: [block("0.0.0.0/0")] })), [outside()]],
  [
    "an exception at each end of a block",
    to(WEB, ...SHOP, ingress({ from: [block("10.0.0.0/30", ["10.0.0.0/32", "10.0.0.3/32"])] })),
    [outside(EVERYTHING, "10.0.0.1-10.0.0.2")],
  ],
  [
    "an exception that is all of the block",
    to(WEB, ...SHOP, ingress({ from: [block("10.0.0.0/8", ["10.0.0.0/8"])] })),
    [],
  ],
  [
    "an exception that another peer names again",
    to(WEB, ...SHOP, ingress({ from: [block("10.0.0.0/8", ["10.0.0.0/9"]), block("10.0.0.0/9")] })),
    [outside(EVERYTHING, "10.0.0.0-10.127.255.255"), outside(EVERYTHING, "10.128.0.0-10.255.255.255")],
  ],
  [
    "bits behind the prefix length do not count",
    to(WEB, ...SHOP, ingress({ from: [block("10.1.2.3/8")] })),
    [outside(EVERYTHING, "10.0.0.0-10.255.255.255")],
  ],
  [
    "the last address",
    to(WEB, ...SHOP, ingress({ from: [block("255.255.255.255/32")] })),
    [outside(EVERYTHING, "255.255.255.255-255.255.255.255")],
  ],
  [
    "blocks of one policy cut the lines of all workloads, in the same direction only",
    to("default/db", ...SHOP, ingress({ from: [block("128.0.0.0/1")] })),
    [
      outside(EVERYTHING, "0.0.0.0-127.255.255.255"),
      outside(EVERYTHING, "128.0.0.0-255.255.255.255"),
      `default/ops[Deployment] : ${EVERYTHING}`,
      `default/web[Deployment] : ${EVERYTHING}`,
    ],
  ],
  [
    "blocks of ingress do not cut destinations",
    from("default/ops", ...SHOP, ingress({ from: [block("128.0.0.0/1")] })),
    [outside(), fromDb()],
  ],
  [
    "blocks and ports",
    from(
      WEB,
      ...SHOP,
      egress(
        { to: [block("10.0.0.0/8")], ports: ports(443) },
        { to: [block("10.0.0.0/9")], ports: [{ port: 53, protocol: "UDP" }] },
      ),
    ),
    [outside("TCP 443,UDP 53", "10.0.0.0-10.127.255.255"), outside("TCP 443", "10.128.0.0-10.255.255.255")],
  ],
];

describe("peers of rules", () => {
  it.each(CASES)("%s", (_name, answer, expected) => {
    expect(answer).toEqual(inOrder(expected));
  });
});
