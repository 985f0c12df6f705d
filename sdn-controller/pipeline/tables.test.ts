import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { load } from "./actions.js";
import { cookieOf, parseCookie } from "./cookie.js";
import { buildFlow } from "./flow.js";
import { FlowStore } from "./flow-store.js";
import { DROP_REASONS, TABLE_NAMES, TABLES } from "./tables.js";

describe("the tables' declaration", () => {
  it("numbers every table once and leads only forwards", () => {
    expect(new Set(TABLE_NAMES.map((name) => TABLES[name].id)).size).toBe(TABLE_NAMES.length);
    for (const name of TABLE_NAMES) {
      for (const next of TABLES[name].next) expect(TABLES[next].id).toBeGreaterThan(TABLES[name].id);
    }
  });

  it("has a documented meaning for every drop reason", () => {
    const text = readFileSync(new URL("../../docs/networking.md", import.meta.url), "utf8");
    for (const reason of Object.keys(DROP_REASONS)) expect(text).toContain(`\`${reason}\``);
    expect(new Set(Object.values(DROP_REASONS)).size).toBe(Object.keys(DROP_REASONS).length);
  });
});

describe("buildFlow()", () => {
  const origin = { resource: "Port/a/b" };
  it("refuses a field, an action, a next table or a silent drop that the declaration does not allow", () => {
    const base = { table: "classify", priority: 1, match: { in_port: 1 }, next: "guard", origin } as const;
    expect(() => buildFlow({ ...base, match: { eth_src: 1 } })).toThrow(
      "eth_src is not matched in table classify",
    );
    expect(() => buildFlow({ ...base, actions: [load("reg3", 1)] })).toThrow("load:reg3 is not allowed");
    expect(() => buildFlow({ ...base, next: "output" })).toThrow("output does not follow classify");
    expect(() => buildFlow({ table: "classify", priority: 1, match: {}, origin })).toThrow("has no reason");
    expect(() => buildFlow(base)).not.toThrow();
  });
});

describe("cookies", () => {
  it("lead back to table, reason, rule and resource", () => {
    const cookie = cookieOf("egress", { resource: "NetworkPolicy/a/b", ruleId: 7 });
    expect(parseCookie(cookie)).toMatchObject({ table: "egress", reason: undefined, ruleId: 7 });
    const drop = cookieOf("guard", { resource: "Port/a/b", reason: "spoofed-ip" });
    expect(parseCookie(drop)).toMatchObject({ table: "guard", reason: "spoofed-ip" });
    expect(parseCookie(drop)?.resourceHash).not.toBe(parseCookie(cookie)?.resourceHash);
    expect(parseCookie(0n)).toBeUndefined();
    expect(parseCookie(2n ** 64n - 1n)).toBeUndefined();
  });
});

describe("FlowStore", () => {
  const flow = (resource: string) =>
    buildFlow({
      table: "egress",
      priority: 5,
      match: { reg2: 1 },
      next: "admin-ingress",
      origin: { resource },
    });

  it("keeps a flow until its last owner lets go, whatever the order", () => {
    const one = new FlowStore();
    one.set("a", [flow("NetworkPolicy/a")]);
    one.set("b", [flow("NetworkPolicy/b")]);
    const two = new FlowStore();
    two.set("b", [flow("NetworkPolicy/b")]);
    two.set("a", [flow("NetworkPolicy/a")]);
    const [key] = one.keys();
    expect(one.flow(key as string)?.body).toBe(two.flow(key as string)?.body);
    one.takeTouched();
    one.set("a", []);
    expect(one.flow(key as string)?.origin.resource).toBe("NetworkPolicy/b");
    expect(one.takeTouched().size).toBe(1);
    one.set("b", []);
    expect(one.size).toBe(0);
    one.takeTouched();
    one.set("b", []);
    expect(one.takeTouched().size).toBe(0);
  });
});
