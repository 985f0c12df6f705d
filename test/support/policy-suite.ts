// What policies promise beyond allowing and denying, on any switch that the controller drives: dropped pairs are counted
// with the policy that did it, open connections are cut or kept as policies want, staged policies only count, and what
// is to be logged is told once.
import { describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { TCP_ACK, TCP_SYN } from "../../base/wire/index.js";
import type { SdnController } from "../../sdn-controller/index.js";
import type { PolicyHandling } from "../../sdn-controller/policy/handling.js";
import type { NetworkPolicySpec, Policy } from "../../sdn-controller/policy/network-policy.js";
import { POLICIES, policyChange } from "../../sdn-controller/testing/shop.js";
import { type End, tcpFrame } from "./pipeline-frames.js";

export interface PolicyTools {
  controller(): SdnController;
  end(name: string): End;
  ports(port: number, frame: Uint8Array): Promise<number[]>;
  /** Resolves when the switch has counted all that has passed for the flows that it passed by; absent: it has at once. */
  counted?(): Promise<void>;
}

const APP = 4;
const DB = 5;
const DEADLINE_MS = 30_000;
const DB_SELECTOR = { podSelector: { matchLabels: { tier: "db" } }, policyTypes: ["Ingress"] as const };

export function policySuite(tools: PolicyTools): void {
  const original = (name: string): Policy => {
    const policy = POLICIES.find((each) => each.name === name);
    if (policy === undefined) throw new Error(`no policy ${name}`);
    return policy;
  };
  const policy = (name: string, spec: NetworkPolicySpec, handling: PolicyHandling = {}): Policy => ({
    namespace: "shop",
    name,
    spec,
    handling,
  });
  const set = async (...changes: Parameters<SdnController["update"]>[0]): Promise<void> => {
    // What is counted only after a change is counted for the flows that are there then.
    await tools.counted?.();
    tools.controller().update(changes);
    await tools.controller().whenSettled();
  };
  const metrics = async () => {
    tools.controller().audit();
    await tools.controller().whenSettled();
    return tools.controller().metrics();
  };
  const segment = (from: string, to: string, source: number, port: number, flags = TCP_SYN): Uint8Array =>
    tcpFrame(tools.end(from), tools.end(to), { source, destination: port }, flags, 1, 0);
  const request = (source: number, port: number, flags = TCP_SYN): Promise<number[]> =>
    tools.ports(APP, segment("app", "db", source, port, flags));
  const reply = (source: number, port: number): Promise<number[]> =>
    tools.ports(DB, segment("db", "app", port, source, TCP_ACK));

  describe("policies at work", () => {
    it("count each dropped pair with the policies that did it", async () => {
      const count = async (source: string, destination: string) =>
        (await metrics()).pairs.find((pair) => pair.source === source && pair.destination === destination);
      const frame = segment("web1-back", "db", 50_001, 5432);
      // What was dropped earlier may still be on its way to being counted.
      expect(await tools.ports(6, frame)).toEqual([]);
      let before = 0;
      const isQuiet = async (): Promise<boolean> => {
        const last = before;
        before = (await count("shop/web1", "shop/db"))?.packets ?? 0;
        return before > 0 && before === last;
      };
      await waitFor(isQuiet, "the pair to be counted", DEADLINE_MS, 200);
      for (let i = 0; i < 5; i++) expect(await tools.ports(6, frame)).toEqual([]);
      await waitFor(
        async () => ((await count("shop/web1", "shop/db"))?.packets ?? 0) === before + 5,
        () => `5 more packets than ${before}: ${JSON.stringify(tools.controller().metrics().pairs)}`,
        DEADLINE_MS,
      );
      expect(await count("shop/web1", "shop/db")).toMatchObject({
        direction: "Egress",
        policies: ["NetworkPolicy/shop/default-deny", "NetworkPolicy/shop/web"],
        example: { protocol: "TCP", port: 5432 },
      });
    });

    it("keep open connections where every policy that denies says so, and cut and report them elsewhere", async () => {
      const closed = { ...DB_SELECTOR, ingress: [] };
      const keep = { keepsLive: true };
      await set(policyChange({ ...original("default-deny"), handling: keep }));
      expect([await request(51_000, 5432), await reply(51_000, 5432)]).toEqual([[DB], [APP]]);
      await set(policyChange(policy("db", closed, keep)));
      expect([await request(51_000, 5432, TCP_ACK), await reply(51_000, 5432)]).toEqual([[DB], [APP]]);
      expect(await request(51_001, 5432)).toEqual([]);
      const before = (await metrics()).policyNews.total;
      await set(policyChange(policy("db", closed)));
      expect([await request(51_000, 5432, TCP_ACK), await reply(51_000, 5432)]).toEqual([[], []]);
      const cut = () =>
        tools
          .controller()
          .metrics()
          .policyNews.items.filter(({ kind }) => kind === "cut");
      await waitFor(() => tools.controller().metrics().policyNews.total > before, "the report", DEADLINE_MS);
      expect(cut().at(-1)).toMatchObject({
        from: "shop/app",
        to: "shop/db",
        protocol: "TCP",
        port: 5432,
        policies: ["NetworkPolicy/shop/db", "NetworkPolicy/shop/default-deny"],
      });
      await set(policyChange(original("db")), policyChange(original("default-deny")));
    });

    it("judge by peers and ports together where a rule is about many of both", async () => {
      const tier = (name: string) => ({ podSelector: { matchLabels: { tier: name } } });
      const wide = (ports: readonly number[]) =>
        policy("db", {
          ...DB_SELECTOR,
          ingress: [{ from: ["app", "web", "db"].map(tier), ports: ports.map((port) => ({ port })) }],
        });
      const clauses = (): number => {
        const { flows } = tools.controller().compiler;
        return [...flows.keys()].filter((key) => flows.flow(key)?.clauses !== undefined).length;
      };
      const { flowsRefused, flowsRepaired } = tools.controller().metrics();
      const out = policy("out", { podSelector: {}, policyTypes: ["Egress"], egress: [{}] });
      await set(policyChange(out), policyChange(wide([5432, 80, 443, 9000, 9002])));
      expect(clauses()).toBeGreaterThan(0);
      expect([await request(56_000, 5432), await request(56_001, 9002)]).toEqual([[DB], [DB]]);
      expect([await request(56_002, 9001), await request(56_003, 5433)]).toEqual([[], []]);
      await set(policyChange(wide([5432, 80, 443, 9000, 9001])));
      expect([await request(56_004, 9001), await request(56_005, 9002)]).toEqual([[DB], []]);
      expect(await metrics()).toMatchObject({ flowsRefused, flowsRepaired });
      await set(policyChange(out, true), policyChange(original("db")));
      expect(clauses()).toBe(0);
    });

    it("only count what a staged policy would do", async () => {
      const out = policy("out", { podSelector: {}, policyTypes: ["Egress"], egress: [{}] });
      const tried = policy(
        "tried",
        { ...DB_SELECTOR, ingress: [{ ports: [{ port: 5432 }] }] },
        { staged: true },
      );
      await set(
        policyChange(original("default-deny"), true),
        policyChange(original("db"), true),
        policyChange(out),
        policyChange(tried),
      );
      const counts = async () => {
        const { staged } = await metrics();
        const sum = (verdict: string) =>
          staged
            .filter((each) => each.verdict === verdict)
            .reduce((total, { packets }) => total + packets, 0);
        return { deny: sum("deny"), allow: sum("allow") };
      };
      // A switch may count what its caches passed only after a while.
      const counted = (expected: { deny: number; allow: number }): Promise<void> =>
        waitFor(
          async () => JSON.stringify(await counts()) === JSON.stringify(expected),
          () => `${JSON.stringify(expected)}: ${JSON.stringify(tools.controller().metrics().staged)}`,
          DEADLINE_MS,
        );
      const before = await counts();
      expect(await request(52_000, 5432)).toEqual([DB]);
      expect(await request(52_001, 7000)).toEqual([DB]);
      await counted({ deny: before.deny + 1, allow: before.allow });
      const { staged } = await metrics();
      expect(staged.find(({ verdict }) => verdict === "deny")).toMatchObject({ policies: ["shop/tried"] });
      await set(policyChange(policy("db", { ...DB_SELECTOR, ingress: [] })));
      expect(await request(52_002, 5432)).toEqual([]);
      expect(await request(52_003, 7000)).toEqual([]);
      await counted({ deny: before.deny + 1, allow: before.allow + 1 });
      await set(
        policyChange(original("default-deny")),
        policyChange(original("db")),
        policyChange(out, true),
        policyChange(tried, true),
      );
    });

    it("log each new connection that a rule to be logged decides about, once", async () => {
      await set(policyChange({ ...original("db"), handling: { log: ["ingress[0]", "denied"] } }));
      const wide = policy("app", {
        podSelector: { matchLabels: { tier: "app" } },
        policyTypes: ["Egress"],
        egress: [{}],
      });
      await set(policyChange(policy("wide", wide.spec)));
      const news = () => tools.controller().metrics().policyNews;
      const before = news().total;
      expect(await request(53_000, 5432)).toEqual([DB]);
      expect(await request(53_001, 7000)).toEqual([]);
      await waitFor(() => news().total >= before + 2, "two reports", DEADLINE_MS);
      expect(await reply(53_000, 5432)).toEqual([APP]);
      expect(await request(53_000, 5432, TCP_ACK)).toEqual([DB]);
      const told = news().items.slice(before - news().total);
      expect(told.map(({ kind, port, policies }) => [kind, port, policies])).toEqual([
        ["allowed", 5432, ["NetworkPolicy/shop/db"]],
        ["denied", 7000, ["NetworkPolicy/shop/db", "NetworkPolicy/shop/default-deny"]],
      ]);
      await set(
        policyChange(original("db")),
        policyChange(wide, true),
        policyChange(policy("wide", wide.spec), true),
      );
      await set(policyChange(original("app")));
    });
  });
}
