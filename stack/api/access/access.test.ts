// Roles over real HTTPS: who may do what, in the words of Kubernetes, and that nobody gives more than they have.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ApiClient } from "../client.js";
import { issueUserCertificate } from "../tls.js";
import { type AccessServer, OURS, RBAC, refusal, send, startAccessServer } from "./access-server.js";

const DAY_MS = 86_400_000;
let access: AccessServer;
beforeAll(async () => {
  access = await startAccessServer();
});
afterAll(() => access?.close());

const role = (name: string, rules: object[]): object => ({ metadata: { name }, rules });
const network = (name: string): object => ({
  metadata: { name },
  spec: { vlan: 5, subnets: ["10.0.0.0/24"] },
});

describe("a user with a client certificate", () => {
  test("is known by CN and O, may discover and ask, and nothing else", async () => {
    const jane = await access.userClient("jane", ["dev", "ops"]);
    const me = await send(jane, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {
      kind: "SelfSubjectReview",
      apiVersion: "authentication.k8s.io/v1",
    });
    expect(me).toMatchObject({
      status: { userInfo: { username: "jane", groups: ["dev", "ops", "system:authenticated"] } },
    });
    for (const path of ["/api", "/apis", "/api/v1", OURS, "/openapi/v3"]) await send(jane, "GET", path);
    expect(await refusal(send(jane, "GET", `${OURS}/namespaces/shop/networks`))).toBe(
      '403 networks.plinth.dev is forbidden: User "jane" cannot list resource "networks" in API group "plinth.dev" in the namespace "shop"',
    );
    expect(await refusal(send(jane, "GET", "/api/v1/namespaces/shop/secrets/s"))).toBe(
      '403 secrets "s" is forbidden: User "jane" cannot get resource "secrets" in API group "" in the namespace "shop"',
    );
    expect(await refusal(send(jane, "GET", `${OURS}/hosts`))).toBe(
      '403 hosts.plinth.dev is forbidden: User "jane" cannot list resource "hosts" in API group "plinth.dev" at the cluster scope',
    );
    expect(await refusal(send(jane, "POST", `${OURS}/namespaces/shop/virtualmachines/v/exec`, {}))).toBe(
      '403 virtualmachines.plinth.dev "v" is forbidden: User "jane" cannot create resource "virtualmachines/exec" in API group "plinth.dev" in the namespace "shop"',
    );
  });

  test("of another authority, or whose time is over, is nobody", async () => {
    const place = join(access.directory, "other");
    const certificate = await issueUserCertificate(
      place,
      { name: "eve", groups: [], validMs: DAY_MS },
      Date.now(),
    );
    const eve = access.keep(
      new ApiClient({ server: access.server.access.server, ca: access.server.access.ca, certificate }),
    );
    expect(await refusal(send(eve, "GET", "/api"))).toBe("401 Unauthorized");
    const late = await access.userClient("late", [], 60_000);
    await send(late, "GET", "/api");
    access.clock.advance(120_000);
    expect(await refusal(send(late, "GET", "/api"))).toBe("401 Unauthorized");
    const nobody = access.keep(
      new ApiClient({ server: access.server.access.server, ca: access.server.access.ca }),
    );
    expect(await refusal(send(nobody, "GET", "/api"))).toBe("401 Unauthorized");
  });

  test("gets rights with a binding and loses them with it", async () => {
    const bob = await access.userClient("bob");
    const networks = `${OURS}/namespaces/shop/networks`;
    await access.bind("bob", "edit", "shop");
    await send(bob, "POST", networks, network("front"));
    expect(await send(bob, "GET", networks)).toMatchObject({ items: [{ metadata: { name: "front" } }] });
    expect(await refusal(send(bob, "POST", `${OURS}/namespaces/bank/networks`, network("x")))).toMatch(
      /^403 .* cannot create resource "networks" .* namespace "bank"/,
    );
    expect(await refusal(send(bob, "PATCH", `${networks}/front/status`, { status: {} }))).toMatch(
      /"networks\/status"/,
    );
    await send(access.admin, "DELETE", `${RBAC}/namespaces/shop/rolebindings/bob-edit`);
    expect(await refusal(send(bob, "GET", networks))).toMatch(/^403/);
  });

  test("may be held to names, also in lists and watches", async () => {
    const carol = await access.userClient("carol");
    await send(
      access.admin,
      "POST",
      `${RBAC}/namespaces/shop/roles`,
      role("one-secret", [
        { verbs: ["get", "list", "watch"], apiGroups: [""], resources: ["secrets"], resourceNames: ["mine"] },
      ]),
    );
    await send(access.admin, "POST", `${RBAC}/namespaces/shop/rolebindings`, {
      metadata: { name: "carol" },
      subjects: [{ kind: "User", name: "carol" }],
      roleRef: { kind: "Role", name: "one-secret" },
    });
    const secrets = "/api/v1/namespaces/shop/secrets";
    for (const name of ["mine", "yours"]) await send(access.admin, "POST", secrets, { metadata: { name } });
    await send(carol, "GET", `${secrets}/mine`);
    expect(await refusal(send(carol, "GET", `${secrets}/yours`))).toMatch(/^403 secrets "yours"/);
    expect(await refusal(send(carol, "GET", secrets))).toMatch(/cannot list/);
    expect(await refusal(send(carol, "GET", secrets, undefined, { query: { watch: true } }))).toMatch(
      /cannot watch/,
    );
    const one = await send(carol, "GET", secrets, undefined, {
      query: { fieldSelector: "metadata.name=mine" },
    });
    expect((one as { items: unknown[] }).items).toHaveLength(1);
    const two = { query: { fieldSelector: "metadata.name=mine,metadata.name!=x" } };
    expect(await refusal(send(carol, "GET", secrets, undefined, two))).toMatch(/^403/);
  });

  test("needs to create as well as to patch for an apply that makes something", async () => {
    const dave = await access.userClient("dave");
    const rule = { verbs: ["patch"], apiGroups: ["plinth.dev"], resources: ["networks"] };
    await send(access.admin, "POST", `${RBAC}/clusterroles`, role("patcher", [rule]));
    await access.bind("dave", "patcher");
    const applied = { apiVersion: "plinth.dev/v1alpha1", kind: "Network", ...network("applied") };
    const how = { contentType: "application/apply-patch+yaml", query: { fieldManager: "d" } };
    const path = `${OURS}/namespaces/bank/networks/applied`;
    expect(await refusal(send(dave, "PATCH", path, applied, how))).toMatch(
      /cannot create resource "networks"/,
    );
    await send(access.admin, "POST", `${OURS}/namespaces/bank/networks`, network("applied"));
    await send(dave, "PATCH", path, applied, how);
  });
});

describe("nobody gives more than they have", () => {
  test("in roles, unless they may escalate", async () => {
    const erin = await access.userClient("erin");
    await access.bind("erin", "admin", "bank");
    const roles = `${RBAC}/namespaces/bank/roles`;
    await send(
      erin,
      "POST",
      roles,
      role("fine", [{ verbs: ["get"], apiGroups: [""], resources: ["secrets"] }]),
    );
    const more = [
      { verbs: ["get", "update"], apiGroups: ["plinth.dev"], resources: ["networks", "networks/status"] },
    ];
    expect(await refusal(send(erin, "POST", roles, role("more", more)))).toBe(
      '403 roles.rbac.authorization.k8s.io "more" is forbidden: user "erin" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:["plinth.dev"], Resources:["networks/status"], Verbs:["update"]}',
    );
    expect(
      await refusal(
        send(
          erin,
          "PATCH",
          `${roles}/fine`,
          { rules: more },
          { contentType: "application/merge-patch+json" },
        ),
      ),
    ).toMatch(/^403/);
    const applied = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", ...role("fine", more) };
    const how = { contentType: "application/apply-patch+yaml", query: { fieldManager: "e", force: true } };
    expect(await refusal(send(erin, "PATCH", `${roles}/fine`, applied, how))).toMatch(/not currently held/);
    const escalate = [
      { verbs: ["escalate"], apiGroups: ["rbac.authorization.k8s.io"], resources: ["roles"] },
    ];
    await send(access.admin, "POST", `${RBAC}/clusterroles`, role("escalator", escalate));
    await access.bind("erin", "escalator", "bank");
    await send(erin, "POST", roles, role("more", more));
  });

  test("in bindings, unless they may bind that role", async () => {
    const fred = await access.userClient("fred");
    await access.bind("fred", "admin", "bank");
    const bindings = `${RBAC}/namespaces/bank/rolebindings`;
    const give = (name: string): Promise<unknown> =>
      send(fred, "POST", bindings, {
        metadata: { name: `give-${name}` },
        subjects: [{ kind: "Group", name: "friends" }],
        roleRef: { kind: "ClusterRole", name },
      });
    await give("view");
    expect(await refusal(give("cluster-admin"))).toMatch(
      /^403 rolebindings.* "give-cluster-admin" is forbidden: .* not currently held/,
    );
    expect(await refusal(give("none"))).toBe('404 clusterroles.rbac.authorization.k8s.io "none" not found');
    const rule = {
      verbs: ["bind"],
      apiGroups: ["rbac.authorization.k8s.io"],
      resources: ["clusterroles"],
      resourceNames: ["cluster-admin"],
    };
    await send(access.admin, "POST", `${RBAC}/clusterroles`, role("binder", [rule]));
    await access.bind("fred", "binder", "bank");
    await give("cluster-admin");
  });

  test("a binding keeps its role, and malformed rules are refused by field", async () => {
    await access.bind("x", "view", "shop");
    const change = send(
      access.admin,
      "PATCH",
      `${RBAC}/namespaces/shop/rolebindings/x-view`,
      { roleRef: { name: "edit" } },
      { contentType: "application/merge-patch+json" },
    );
    expect(await refusal(change)).toMatch(/^422 .*roleRef: .*cannot change roleRef/);
    const rules = [
      { verbs: ["get"], nonResourceURLs: ["/x"] },
      { verbs: [], apiGroups: [""], resources: ["y"] },
      { verbs: ["get"] },
    ];
    const said = await refusal(
      send(access.admin, "POST", `${RBAC}/namespaces/shop/roles`, role("bad", rules)),
    );
    for (const field of ["rules[1].verbs"]) expect(said).toContain(field);
    const said2 = await refusal(
      send(
        access.admin,
        "POST",
        `${RBAC}/namespaces/shop/roles`,
        role("bad", [rules[0] as object, rules[2] as object]),
      ),
    );
    for (const field of ["rules[0].nonResourceURLs", "rules[1].apiGroups", "rules[1].resources"])
      expect(said2).toContain(field);
  });
});

describe("service accounts", () => {
  test("have tokens that end with their time or with the account", async () => {
    const accounts = "/api/v1/namespaces/shop/serviceaccounts";
    await send(access.admin, "POST", accounts, { metadata: { name: "robot" } });
    const asked = await send(access.admin, "POST", `${accounts}/robot/token`, {
      spec: { expirationSeconds: 600 },
    });
    const { status } = asked as { status: { token: string; expirationTimestamp: string } };
    const robot = access.keep(
      new ApiClient({
        server: access.server.access.server,
        ca: access.server.access.ca,
        token: status.token,
      }),
    );
    expect(await refusal(send(robot, "GET", `${OURS}/hosts`))).toContain(
      'User "system:serviceaccount:shop:robot"',
    );
    await send(access.admin, "POST", `${RBAC}/clusterrolebindings`, {
      metadata: { name: "robots" },
      subjects: [{ kind: "ServiceAccount", name: "robot", namespace: "shop" }],
      roleRef: { kind: "ClusterRole", name: "cluster-admin" },
    });
    await send(robot, "GET", `${OURS}/hosts`);
    for (const token of [
      // Another first letter of the signature: the last ones may stand for the same bytes.
      status.token.replace(/[^.](?=[^.]*$)/, (letter) => (letter === "A" ? "B" : "A")),
      status.token.replace(/^[^.]*/, "eyJhbGciOiJub25lIn0"),
      "a.b.c",
    ]) {
      const forged = access.keep(
        new ApiClient({ server: access.server.access.server, ca: access.server.access.ca, token }),
      );
      expect(await refusal(send(forged, "GET", "/api"))).toBe("401 Unauthorized");
    }
    expect(
      await refusal(
        send(access.admin, "POST", `${accounts}/robot/token`, { spec: { expirationSeconds: 5 } }),
      ),
    ).toMatch(/^422 .*expirationSeconds/);
    access.clock.advance(601_000);
    expect(await refusal(send(robot, "GET", "/api"))).toBe("401 Unauthorized");
    const fresh = (await send(access.admin, "POST", `${accounts}/robot/token`, {})) as typeof asked & {
      status: { token: string };
    };
    const again = access.keep(
      new ApiClient({
        server: access.server.access.server,
        ca: access.server.access.ca,
        token: fresh.status.token,
      }),
    );
    await send(again, "GET", "/api");
    await send(access.admin, "DELETE", `${accounts}/robot`);
    await send(access.admin, "POST", accounts, { metadata: { name: "robot" } });
    expect(await refusal(send(again, "GET", "/api"))).toBe("401 Unauthorized");
  });
});

describe("reviews", () => {
  const review = (
    client: ApiClient,
    kind: string,
    plural: string,
    spec: object,
    namespace?: string,
  ): Promise<unknown> =>
    send(
      client,
      "POST",
      `/apis/authorization.k8s.io/v1/${namespace === undefined ? "" : `namespaces/${namespace}/`}${plural}`,
      {
        kind,
        apiVersion: "authorization.k8s.io/v1",
        spec,
      },
    );

  test("say what the asker, or anybody, may", async () => {
    const gina = await access.userClient("gina");
    await access.bind("gina", "view", "bank");
    const ask = (namespace: string, verb: string): Promise<unknown> =>
      review(gina, "SelfSubjectAccessReview", "selfsubjectaccessreviews", {
        resourceAttributes: { namespace, verb, group: "plinth.dev", resource: "networks" },
      });
    expect(await ask("bank", "list")).toMatchObject({
      status: {
        allowed: true,
        reason: expect.stringContaining('RoleBinding "gina-view/bank" of ClusterRole "view"'),
      },
    });
    expect(await ask("bank", "create")).toMatchObject({ status: { allowed: false } });
    expect(await ask("shop", "list")).toMatchObject({ status: { allowed: false } });
    const other = {
      user: "gina",
      resourceAttributes: { namespace: "bank", verb: "get", group: "plinth.dev", resource: "ports" },
    };
    expect(await review(access.admin, "SubjectAccessReview", "subjectaccessreviews", other)).toMatchObject({
      status: { allowed: true },
    });
    expect(await refusal(review(gina, "SubjectAccessReview", "subjectaccessreviews", other))).toMatch(/^403/);
    expect(
      await review(access.admin, "LocalSubjectAccessReview", "localsubjectaccessreviews", other, "bank"),
    ).toMatchObject({ status: { allowed: true } });
    expect(
      await refusal(
        review(access.admin, "LocalSubjectAccessReview", "localsubjectaccessreviews", other, "shop"),
      ),
    ).toMatch(/^400/);
    expect(
      await refusal(review(access.admin, "SubjectAccessReview", "subjectaccessreviews", { user: "gina" })),
    ).toMatch(/^422/);
    const rules = (await review(gina, "SelfSubjectRulesReview", "selfsubjectrulesreviews", {
      namespace: "bank",
    })) as {
      status: { resourceRules: { resources: string[] }[]; nonResourceRules: object[] };
    };
    expect(rules.status.resourceRules.some(({ resources }) => resources.includes("networks"))).toBe(true);
    expect(rules.status.nonResourceRules).toHaveLength(1);
  });
});
