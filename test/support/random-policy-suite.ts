// Random policies of every kind on a switch that forwards: what the oracle of the Kubernetes semantics says of a packet is
// what the proof over the tables says, what `explain` says, and what happens to a real one.
import fc from "fast-check";
import { expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  ETHERTYPE_IPV4,
  formatIpv4Address,
  ICMP_ECHO_REQUEST,
  parseEthernet,
  parseIpv4,
  TCP_SYN,
} from "../../base/wire/index.js";
import type { InventoryChange, SdnController } from "../../sdn-controller/index.js";
import type { AdminPolicy } from "../../sdn-controller/policy/admin-network-policy.js";
import type { Policy } from "../../sdn-controller/policy/network-policy.js";
import { judge } from "../../sdn-controller/policy/oracle.js";
import { Reachability } from "../../sdn-controller/proof/reachability.js";
import { adminPolicies, namespaceLabels, pod, policies } from "../../sdn-controller/testing/arbitraries.js";
import { POLICIES, policyChange, portInput } from "../../sdn-controller/testing/shop.js";
import { type End, icmpFrame, tcpFrame, udpFrame } from "./pipeline-frames.js";

const DEADLINE_MS = 30_000;
const RUNS = process.env["PLINTH_NIGHTLY"] === "1" ? 200 : 6;
/** Machines of one network. */
const MACHINES = ["app", "db", "web1-back", "web2-back"] as const;
const TIERS = ["app", "db", "web", "web"];
const PROBES = [
  { protocol: "TCP", port: 2 },
  { protocol: "TCP", port: 7 },
  { protocol: "TCP", port: 12 },
  { protocol: "UDP", port: 5 },
  { protocol: "ICMP" },
] as const;

interface Tools {
  controller(): SdnController;
  end(port: string): End;
  inject(ofport: number, frame: Uint8Array): Promise<void>;
  sentBy(ofport: number): Uint8Array[];
  /** Resolves when what was injected before has been handled. */
  fence(): Promise<void>;
}

/** What the arbitraries say of their own world, said of the example's. */
function transplanted<T>(value: T): T {
  const text = JSON.stringify(value)
    .replaceAll('"red"', '"shop"')
    .replace(/10\.0\.0\.(\d+)\/(?!8")/g, "10.20.0.$1/");
  return JSON.parse(text) as T;
}

const world = fc
  .tuple(policies, adminPolicies, fc.array(pod, { minLength: 4, maxLength: 4 }), namespaceLabels)
  .map(([some, admin, pods, names]) => ({
    policies: transplanted(some).map(
      (policy): Policy => ({ ...policy, namespace: "shop", name: `${policy.namespace}-${policy.name}` }),
    ),
    admin: transplanted(admin),
    pods: pods.map((each) => ({ ...each, namespace: "shop" })),
    labels: names["red"] ?? {},
  }));
type World = typeof world extends fc.Arbitrary<infer T> ? T : never;

export function randomPolicySuite(tools: Tools): void {
  let serial = 0;
  const tally = { allowed: 0, denied: 0 };
  let present: InventoryChange[] = POLICIES.map((policy) => policyChange(policy));

  /** Takes back the policies that are there, and says this instead. */
  async function change(to: readonly InventoryChange[], others: readonly InventoryChange[]): Promise<void> {
    const gone = present.map((each) => ({ ...each, value: undefined }) as InventoryChange);
    present = [...to];
    tools.controller().update([...gone, ...to, ...others]);
    await tools.controller().whenSettled();
  }

  async function compare({ policies: all, admin, pods, labels }: World): Promise<void> {
    const adminChange = (value: AdminPolicy) => ({ kind: value.kind, key: value.name, value }) as const;
    await change(
      [...all.map((policy) => policyChange(policy)), ...admin.map(adminChange)],
      [
        { kind: "Namespace", key: "shop", value: { name: "shop", labels } },
        ...MACHINES.map((name, i): InventoryChange => {
          const { labels: own, namedPorts } = pods[i] as (typeof pods)[0];
          return {
            kind: "Port",
            key: `shop/${name}`,
            value: portInput(name, "back", own, { namedPorts }),
          };
        }),
      ],
    );
    const { compiler } = tools.controller();
    const reach = new Reachability(compiler);
    const before = new Map(MACHINES.map((name) => [name, tools.sentBy(tools.end(name).ofport).length]));
    const rows: { readonly text: string; readonly arrival: string; readonly oracle: boolean }[] = [];
    for (const [i, from] of MACHINES.entries()) {
      for (const [j, to] of MACHINES.entries()) {
        if (i === j) continue;
        const [a, b] = [tools.end(from), tools.end(to)];
        const [source, destination] = [`shop/${from}`, `shop/${to}`];
        const [x, y] = [source, destination].map((key) => compiler.inventory.port(key));
        if (x === undefined || y === undefined) throw new Error(`no ports ${source} and ${destination}`);
        const space = reach.between(x, y, 4);
        for (const probe of PROBES) {
          const number = 1 + (serial++ % 60_000);
          const oracleEnd = (k: number, end: End) => ({
            address: formatIpv4Address(end.address),
            pod: pods[k] as (typeof pods)[0],
          });
          const connection = { source: oracleEnd(i, a), destination: oracleEnd(j, b), ...probe };
          const oracle = judge(all, () => labels, connection, admin).allowed;
          const explained = tools.controller().explain({ source, destination, ...probe }).allowed;
          const proved =
            probe.protocol === "ICMP"
              ? space.others
              : space.connections[probe.protocol].some(
                  ({ first, last }) => first <= probe.port && probe.port <= last,
                );
          const text = `${from} to ${to} ${JSON.stringify(probe)}`;
          expect(`${text} proved ${proved} explained ${explained}`).toBe(
            `${text} proved ${oracle} explained ${oracle}`,
          );
          rows.push({ text, arrival: `${to} ${probe.protocol} ${number}`, oracle });
          await tools.inject(a.ofport, frameOf(a, b, probe, number));
        }
      }
    }
    const arrived = (): Set<string> =>
      new Set(
        MACHINES.flatMap((name) =>
          tools
            .sentBy(tools.end(name).ofport)
            .slice(before.get(name))
            .flatMap((frame) => nameOf(frame))
            .map((word) => `${name} ${word}`),
        ),
      );
    await tools.fence();
    const allowed = rows.filter(({ oracle }) => oracle);
    const missing = (): string[] => {
      const seen = arrived();
      return allowed.filter(({ arrival }) => !seen.has(arrival)).map(({ text }) => text);
    };
    await waitFor(
      () => missing().length === 0,
      () => `what is allowed to arrive: ${missing()}`,
      DEADLINE_MS,
      5,
    );
    expect([...arrived()].sort()).toEqual(allowed.map(({ arrival }) => arrival).sort());
    tally.allowed += allowed.length;
    tally.denied += rows.length - allowed.length;
  }

  it("gives random policies the verdict of the oracle: by proof, by explanation, and by real packets", async () => {
    await fc.assert(
      fc.asyncProperty(world, compare),
      // To shrink on a switch takes longer than to read the example.
      { numRuns: RUNS, endOnFailure: true },
    );
    expect(Math.min(tally.allowed, tally.denied)).toBeGreaterThan(5 * RUNS);
    expect(tools.controller().metrics()).toMatchObject({ flowsRefused: 0, flowsDisagreed: 0 });
    await change(
      POLICIES.map((policy) => policyChange(policy)),
      [
        { kind: "Namespace", key: "shop", value: { name: "shop", labels: {} } },
        ...MACHINES.map((name, i): InventoryChange => {
          const value = portInput(name, "back", { tier: TIERS[i] as string });
          return { kind: "Port", key: `shop/${name}`, value };
        }),
      ],
    );
  });
}

function frameOf(from: End, to: End, probe: (typeof PROBES)[number], number: number): Uint8Array {
  switch (probe.protocol) {
    case "TCP":
      return tcpFrame(from, to, { source: number, destination: probe.port }, TCP_SYN, 1, 0);
    case "UDP":
      return udpFrame(from, to, number, probe.port);
    default:
      return icmpFrame(from, to, ICMP_ECHO_REQUEST, number);
  }
}

/** Which of the frames it is; nothing for those that others send. */
function nameOf(frame: Uint8Array): string[] {
  const { etherType, payload } = parseEthernet(frame);
  if (etherType !== ETHERTYPE_IPV4) return [];
  const { protocol, payload: inner } = parseIpv4(payload);
  const name = { 1: "ICMP", 6: "TCP", 17: "UDP" }[protocol];
  if (name === undefined) return [];
  return [`${name} ${new DataView(inner.buffer, inner.byteOffset).getUint16(name === "ICMP" ? 4 : 0)}`];
}
