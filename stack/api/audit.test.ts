// The audit log as it is written while real requests come.
import { request as httpsRequest } from "node:https";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  type AccessServer,
  type AuditEvent,
  OURS,
  refusal,
  send,
  startAccessServer,
} from "./access/access-server.js";

let access: AccessServer;
beforeAll(async () => {
  access = await startAccessServer();
});
afterAll(() => access?.close());

describe("the audit log", () => {
  /** What was written down about an object of that name; the last line comes just after its answer. */
  async function told(name: string, count: number): Promise<AuditEvent[]> {
    const about = (): AuditEvent[] => access.audited.filter(({ objectRef }) => objectRef?.name === name);
    await waitFor(
      () => about().length >= count,
      () => JSON.stringify(about()),
      30_000,
    );
    return about();
  }

  test("says who changed which policy, from what to what", async () => {
    const policies = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
    const policy = (port: number): object => ({
      metadata: { name: "audited" },
      spec: { podSelector: {}, ingress: [{ ports: [{ port }] }] },
    });
    await send(access.admin, "POST", policies, policy(80));
    await send(access.admin, "PUT", `${policies}/audited`, policy(81));
    await send(access.admin, "GET", `${policies}/audited`);
    await send(access.admin, "DELETE", `${policies}/audited`);
    const [created, replaced, deleted] = await told("audited", 3);
    expect(created).toMatchObject({ verb: "create", level: "Request", responseStatus: { code: 201 } });
    expect(replaced).toMatchObject({
      kind: "Event",
      apiVersion: "audit.k8s.io/v1",
      level: "Request",
      stage: "ResponseComplete",
      verb: "update",
      user: { username: "plinth", groups: ["system:masters", "system:authenticated"] },
      objectRef: { resource: "networkpolicies", namespace: "shop", apiGroup: "networking.k8s.io" },
      requestObject: { spec: { ingress: [{ ports: [{ port: 81 }] }] } },
      responseStatus: { code: 200 },
      annotations: { "authorization.k8s.io/decision": "allow" },
    });
    expect(JSON.parse(replaced?.annotations["plinth.dev/before"] ?? "")).toMatchObject({
      spec: { ingress: [{ ports: [{ port: 80 }] }] },
    });
    expect(deleted).toMatchObject({ verb: "delete" });
    expect(deleted?.annotations["plinth.dev/before"]).toContain("81");
  });

  test("says what the review of a change had to say, once it is stored", async () => {
    const policies = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
    const policy = (spec: object): object => ({ metadata: { name: "reviewed" }, spec });
    access.reviewWith({
      reviews: ({ kind }) => kind === "NetworkPolicy",
      review: async ({ objects: [object], gone }) => ({
        warnings: [],
        notes: { "plinth.dev/reachability": gone ? "loses" : "gains" },
        ...(object["spec"] !== undefined && "egress" in (object["spec"] as object) ? { refusal: "no" } : {}),
      }),
    });
    await send(access.admin, "POST", policies, policy({ podSelector: {} }));
    await refusal(
      send(access.admin, "PUT", `${policies}/reviewed`, policy({ podSelector: {}, egress: [{}] })),
    );
    await send(access.admin, "DELETE", `${policies}/reviewed`);
    access.reviewWith(undefined);
    const notes = (await told("reviewed", 3)).map(
      ({ responseStatus, annotations }) => `${responseStatus.code} ${annotations["plinth.dev/reachability"]}`,
    );
    expect(notes).toEqual(["201 gains", "403 undefined", "200 loses"]);
  });

  test("says of a collection what went and what that did, and of a refusal by the review why", async () => {
    const policies = "/apis/networking.k8s.io/v1/namespaces/bank/networkpolicies";
    let refusing = true;
    for (const name of ["one", "two"])
      await send(access.admin, "POST", policies, { metadata: { name }, spec: { podSelector: {} } });
    access.reviewWith({
      reviews: ({ kind }) => kind === "NetworkPolicy",
      review: async ({ objects, dryRun }) => ({
        warnings: dryRun ? [`loses ${objects.length}`] : [],
        notes: { "plinth.dev/reachability": `${objects.length} at once` },
        ...(refusing ? { refusal: "invariant i would be broken" } : {}),
      }),
    });
    const refused = await refusal(send(access.admin, "DELETE", policies));
    refusing = false;
    await send(access.admin, "DELETE", policies);
    access.reviewWith(undefined);
    expect(refused).toBe(
      "403 networkpolicies.networking.k8s.io (2) are forbidden: invariant i would be broken",
    );
    const about = () => access.audited.filter(({ verb }) => verb === "deletecollection");
    await waitFor(
      () => about().length === 2,
      () => JSON.stringify(about()),
      30_000,
    );
    const [blocked, done] = about().map(({ annotations }) => annotations);
    // It was not for lack of rights.
    expect(blocked).toMatchObject({
      "plinth.dev/refused": "invariant i would be broken",
      "authorization.k8s.io/decision": "allow",
    });
    expect(blocked).not.toHaveProperty(["plinth.dev/reachability"]);
    expect(done).toMatchObject({
      "plinth.dev/deleted": '["one","two"]',
      "plinth.dev/reachability": "2 at once",
    });
    expect(JSON.parse(done?.["plinth.dev/before"] ?? "")).toMatchObject([
      { metadata: { name: "one" }, spec: { podSelector: {} } },
      { metadata: { name: "two" } },
    ]);
  });

  test("says whose labels changed, from what to what", async () => {
    const machines = `${OURS}/namespaces/shop/virtualmachines`;
    await send(access.admin, "POST", machines, { metadata: { name: "labelled", labels: { tier: "web" } } });
    const more = { contentType: "application/merge-patch+json" };
    await send(access.admin, "PATCH", `${machines}/labelled`, { metadata: { labels: { tier: "db" } } }, more);
    const [, patched] = await told("labelled", 2);
    expect(JSON.parse(patched?.annotations["plinth.dev/labels"] ?? "")).toEqual({
      from: { tier: "web" },
      to: { tier: "db" },
    });
  });

  test("names who acted for whom", async () => {
    const secrets = "/api/v1/namespaces/shop/secrets";
    await access.bind("yan", "edit", "shop");
    await new Promise<void>((resolve, reject) => {
      const body = JSON.stringify({ metadata: { name: "acted" } });
      const headers = {
        authorization: `Bearer ${access.server.access.token}`,
        "content-type": "application/json",
        "impersonate-user": "yan",
      };
      const sent = httpsRequest(
        `${access.server.access.server}${secrets}`,
        { method: "POST", ca: access.server.access.ca, headers },
        (response) => response.resume().on("end", resolve),
      );
      sent.on("error", reject).end(body);
    });
    const [acted] = await told("acted", 1);
    expect(acted).toMatchObject({
      user: { username: "plinth" },
      impersonatedUser: { username: "yan", groups: ["system:authenticated"] },
      responseStatus: { code: 201 },
    });
  });

  test("has refusals, no content of secrets, and no reads", async () => {
    const secrets = "/api/v1/namespaces/shop/secrets";
    await send(access.admin, "POST", secrets, {
      metadata: { name: "audited-secret" },
      stringData: { k: "hidden-value" },
    });
    await send(access.admin, "PUT", `${secrets}/audited-secret`, {
      metadata: { name: "audited-secret" },
      stringData: { k: "hidden-value-2" },
    });
    await refusal(
      send(access.admin, "PUT", `${secrets}/audited-secret`, {
        metadata: { name: "audited-secret" },
        data: { k: "hidden-value-3" },
      }),
    );
    const zoe = await access.userClient("zoe");
    await refusal(send(zoe, "GET", `${secrets}/audited-secret`));
    const events = await told("audited-secret", 4);
    expect(events.map(({ level, verb, user }) => `${level} ${verb} ${user.username}`)).toEqual([
      "Metadata create plinth",
      "Metadata update plinth",
      "Metadata update plinth",
      "Metadata get zoe",
    ]);
    expect(events[2]).toMatchObject({ responseStatus: { code: 422, reason: "Invalid" } });
    expect(events[3]).toMatchObject({
      responseStatus: { code: 403, reason: "Forbidden" },
      annotations: { "authorization.k8s.io/decision": "forbid" },
    });
    expect(JSON.stringify(access.audited)).not.toMatch(/hidden-value|PRIVATE|eyJ/);
    const reads = access.audited.filter(({ verb }) => ["get", "list", "watch"].includes(verb));
    expect(reads.map(({ user }) => user.username)).toEqual(["zoe"]);
  });
});
