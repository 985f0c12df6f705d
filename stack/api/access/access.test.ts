// Roles over real HTTPS: who may do what, in the words of Kubernetes, and that nobody gives more than they have.
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { SimulatedClock } from "../../../base/time/index.js";
import { type ApiServer, startApiServer } from "../api-server.js";
import { ApiClient } from "../client.js";
import { loadToken } from "../credentials.js";
import type { ApiError } from "../errors.js";
import type { HttpRequest } from "../http-transport.js";
import { LocalClient } from "../local-client.js";
import { ResourceRegistry } from "../registry.js";
import { issueUserCertificate, loadTls } from "../tls.js";
import { DEFAULT_CLUSTER_ROLE_BINDINGS, DEFAULT_CLUSTER_ROLES } from "./default-roles.js";

const DAY_MS = 86_400_000;
const OURS = "/apis/plinth.dev/v1alpha1";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";

let directory: string;
let store: Store;
let server: ApiServer;
let clock: SimulatedClock;
let admin: ApiClient;
const clients: ApiClient[] = [];

beforeAll(async () => {
  directory = await mkdtemp("/tmp/pacc-");
  const tls = await loadTls(join(directory, "tls"), Date.now());
  const token = await loadToken(join(directory, "token"));
  store = openMemoryStore();
  clock = new SimulatedClock();
  clock.advance(Date.now());
  const registry = new ResourceRegistry({ store, clock });
  const local = new LocalClient({ component: "controller" }, { registry, clock });
  for (const role of DEFAULT_CLUSTER_ROLES) await local.create("ClusterRole", role);
  for (const binding of DEFAULT_CLUSTER_ROLE_BINDINGS) await local.create("ClusterRoleBinding", binding);
  for (const name of ["shop", "bank"]) await local.create("Namespace", { metadata: { name } });
  const options = { port: 0, tls, token, version: "0.0.0", hostSocket: join(directory, "host.sock") };
  server = await startApiServer(options, { registry, clock, log: silentLog });
  admin = new ApiClient(server.access);
});
afterAll(async () => {
  for (const client of [admin, ...clients]) client?.close();
  await server?.close();
  await store?.close();
  await rm(directory, { recursive: true, force: true });
});

async function userClient(name: string, groups: string[] = [], validMs = DAY_MS): Promise<ApiClient> {
  const certificate = await issueUserCertificate(
    join(directory, "tls"),
    { name, groups, validMs },
    Date.now(),
  );
  return keep(new ApiClient({ server: server.access.server, ca: server.access.ca, certificate }));
}
function keep(client: ApiClient): ApiClient {
  clients.push(client);
  return client;
}

const send = (
  client: ApiClient,
  method: HttpRequest["method"],
  path: string,
  body?: object,
  more: object = {},
) => client.transport.json({ method, path, ...(body === undefined ? {} : { body }), ...more });
async function refusal(promise: Promise<unknown>): Promise<string> {
  const thrown = (await promise.then(
    () => new Error("it was not refused"),
    (reason: unknown) => reason,
  )) as ApiError;
  return `${thrown.status} ${thrown.message}`;
}
const bind = (user: string, clusterRole: string, namespace?: string): Promise<unknown> => {
  const place = namespace === undefined ? "clusterrolebindings" : `namespaces/${namespace}/rolebindings`;
  return send(admin, "POST", `${RBAC}/${place}`, {
    metadata: { name: `${user}-${clusterRole}` },
    subjects: [{ kind: "User", name: user }],
    roleRef: { kind: "ClusterRole", name: clusterRole },
  });
};
const role = (name: string, rules: object[]): object => ({ metadata: { name }, rules });
const network = (name: string): object => ({
  metadata: { name },
  spec: { vlan: 5, subnets: ["10.0.0.0/24"] },
});

describe("a user with a client certificate", () => {
  test("is known by CN and O, may discover and ask, and nothing else", async () => {
    const jane = await userClient("jane", ["dev", "ops"]);
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
    const place = join(directory, "other");
    const certificate = await issueUserCertificate(
      place,
      { name: "eve", groups: [], validMs: DAY_MS },
      Date.now(),
    );
    const eve = keep(new ApiClient({ server: server.access.server, ca: server.access.ca, certificate }));
    expect(await refusal(send(eve, "GET", "/api"))).toBe("401 Unauthorized");
    const late = await userClient("late", [], 60_000);
    await send(late, "GET", "/api");
    clock.advance(120_000);
    expect(await refusal(send(late, "GET", "/api"))).toBe("401 Unauthorized");
    const nobody = keep(new ApiClient({ server: server.access.server, ca: server.access.ca }));
    expect(await refusal(send(nobody, "GET", "/api"))).toBe("401 Unauthorized");
  });

  test("gets rights with a binding and loses them with it", async () => {
    const bob = await userClient("bob");
    const networks = `${OURS}/namespaces/shop/networks`;
    await bind("bob", "edit", "shop");
    await send(bob, "POST", networks, network("front"));
    expect(await send(bob, "GET", networks)).toMatchObject({ items: [{ metadata: { name: "front" } }] });
    expect(await refusal(send(bob, "POST", `${OURS}/namespaces/bank/networks`, network("x")))).toMatch(
      /^403 .* cannot create resource "networks" .* namespace "bank"/,
    );
    expect(await refusal(send(bob, "PATCH", `${networks}/front/status`, { status: {} }))).toMatch(
      /"networks\/status"/,
    );
    await send(admin, "DELETE", `${RBAC}/namespaces/shop/rolebindings/bob-edit`);
    expect(await refusal(send(bob, "GET", networks))).toMatch(/^403/);
  });

  test("may be held to names, also in lists and watches", async () => {
    const carol = await userClient("carol");
    await send(
      admin,
      "POST",
      `${RBAC}/namespaces/shop/roles`,
      role("one-secret", [
        { verbs: ["get", "list", "watch"], apiGroups: [""], resources: ["secrets"], resourceNames: ["mine"] },
      ]),
    );
    await send(admin, "POST", `${RBAC}/namespaces/shop/rolebindings`, {
      metadata: { name: "carol" },
      subjects: [{ kind: "User", name: "carol" }],
      roleRef: { kind: "Role", name: "one-secret" },
    });
    const secrets = "/api/v1/namespaces/shop/secrets";
    for (const name of ["mine", "yours"]) await send(admin, "POST", secrets, { metadata: { name } });
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
    const dave = await userClient("dave");
    const rule = { verbs: ["patch"], apiGroups: ["plinth.dev"], resources: ["networks"] };
    await send(admin, "POST", `${RBAC}/clusterroles`, role("patcher", [rule]));
    await bind("dave", "patcher");
    const applied = { apiVersion: "plinth.dev/v1alpha1", kind: "Network", ...network("applied") };
    const how = { contentType: "application/apply-patch+yaml", query: { fieldManager: "d" } };
    const path = `${OURS}/namespaces/bank/networks/applied`;
    expect(await refusal(send(dave, "PATCH", path, applied, how))).toMatch(
      /cannot create resource "networks"/,
    );
    await send(admin, "POST", `${OURS}/namespaces/bank/networks`, network("applied"));
    await send(dave, "PATCH", path, applied, how);
  });
});

describe("nobody gives more than they have", () => {
  test("in roles, unless they may escalate", async () => {
    const erin = await userClient("erin");
    await bind("erin", "admin", "bank");
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
    await send(admin, "POST", `${RBAC}/clusterroles`, role("escalator", escalate));
    await bind("erin", "escalator", "bank");
    await send(erin, "POST", roles, role("more", more));
  });

  test("in bindings, unless they may bind that role", async () => {
    const fred = await userClient("fred");
    await bind("fred", "admin", "bank");
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
    await send(admin, "POST", `${RBAC}/clusterroles`, role("binder", [rule]));
    await bind("fred", "binder", "bank");
    await give("cluster-admin");
  });

  test("a binding keeps its role, and malformed rules are refused by field", async () => {
    await bind("x", "view", "shop");
    const change = send(
      admin,
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
    const said = await refusal(send(admin, "POST", `${RBAC}/namespaces/shop/roles`, role("bad", rules)));
    for (const field of ["rules[1].verbs"]) expect(said).toContain(field);
    const said2 = await refusal(
      send(
        admin,
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
    await send(admin, "POST", accounts, { metadata: { name: "robot" } });
    const asked = await send(admin, "POST", `${accounts}/robot/token`, { spec: { expirationSeconds: 600 } });
    const { status } = asked as { status: { token: string; expirationTimestamp: string } };
    const robot = keep(
      new ApiClient({ server: server.access.server, ca: server.access.ca, token: status.token }),
    );
    expect(await refusal(send(robot, "GET", `${OURS}/hosts`))).toContain(
      'User "system:serviceaccount:shop:robot"',
    );
    await send(admin, "POST", `${RBAC}/clusterrolebindings`, {
      metadata: { name: "robots" },
      subjects: [{ kind: "ServiceAccount", name: "robot", namespace: "shop" }],
      roleRef: { kind: "ClusterRole", name: "cluster-admin" },
    });
    await send(robot, "GET", `${OURS}/hosts`);
    for (const token of [
      `${status.token.slice(0, -2)}AA`,
      status.token.replace(/^[^.]*/, "eyJhbGciOiJub25lIn0"),
      "a.b.c",
    ]) {
      const forged = keep(new ApiClient({ server: server.access.server, ca: server.access.ca, token }));
      expect(await refusal(send(forged, "GET", "/api"))).toBe("401 Unauthorized");
    }
    expect(
      await refusal(send(admin, "POST", `${accounts}/robot/token`, { spec: { expirationSeconds: 5 } })),
    ).toMatch(/^422 .*expirationSeconds/);
    clock.advance(601_000);
    expect(await refusal(send(robot, "GET", "/api"))).toBe("401 Unauthorized");
    const fresh = (await send(admin, "POST", `${accounts}/robot/token`, {})) as typeof asked & {
      status: { token: string };
    };
    const again = keep(
      new ApiClient({ server: server.access.server, ca: server.access.ca, token: fresh.status.token }),
    );
    await send(again, "GET", "/api");
    await send(admin, "DELETE", `${accounts}/robot`);
    await send(admin, "POST", accounts, { metadata: { name: "robot" } });
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
    const gina = await userClient("gina");
    await bind("gina", "view", "bank");
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
    expect(await review(admin, "SubjectAccessReview", "subjectaccessreviews", other)).toMatchObject({
      status: { allowed: true },
    });
    expect(await refusal(review(gina, "SubjectAccessReview", "subjectaccessreviews", other))).toMatch(/^403/);
    expect(
      await review(admin, "LocalSubjectAccessReview", "localsubjectaccessreviews", other, "bank"),
    ).toMatchObject({ status: { allowed: true } });
    expect(
      await refusal(review(admin, "LocalSubjectAccessReview", "localsubjectaccessreviews", other, "shop")),
    ).toMatch(/^400/);
    expect(
      await refusal(review(admin, "SubjectAccessReview", "subjectaccessreviews", { user: "gina" })),
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
