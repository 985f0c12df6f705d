// Whatever is written, several writes at a time: what quotas say is used is what there is, and never beyond what they
// allow unless they were made smaller.
import fc from "fast-check";
import { expect, test } from "vitest";
import { openMemoryStore } from "../../base/store/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import {
  type ApiObject,
  namespaceKind,
  parseQuantity,
  resourceQuotaKind,
  virtualMachineKind,
  volumeKind,
} from "../resources/index.js";
import { ApiError } from "./errors.js";
import { ResourceRegistry } from "./registry.js";

const RESOURCES = ["cpu", "requests.memory", "requests.storage", "count/volumes.plinth.dev"] as const;
type Hard = Partial<Record<(typeof RESOURCES)[number], number>>;
type Step =
  | { readonly do: "quota"; readonly name: string; readonly hard: Hard }
  | { readonly do: "machine" | "volume"; readonly name: string; readonly amount: number }
  | { readonly do: "delete"; readonly of: "machine" | "volume" | "quota"; readonly name: string }
  | { readonly do: "clear"; readonly of: "machine" | "volume" | "quota" }
  | { readonly do: "restart" };

const name = fc.constantFrom("x", "y", "z");
const amount = fc.integer({ min: 1, max: 8 });
const most = fc.integer({ min: 0, max: 16 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom("machine", "volume"), name, amount }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("delete"),
      of: fc.constantFrom("machine", "volume", "quota"),
      name,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("clear"), of: fc.constantFrom("machine", "volume", "quota") }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("quota"),
      name,
      hard: fc.record(
        Object.fromEntries(RESOURCES.map((resource) => [resource, most])) as Record<
          (typeof RESOURCES)[number],
          typeof most
        >,
        { requiredKeys: [] },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart") }) },
) as never;

const KINDS = { machine: virtualMachineKind, volume: volumeKind, quota: resourceQuotaKind } as const;
const specOf = (each: Step): object => {
  if (each.do === "machine") return { cpus: each.amount, memory: `${each.amount}Gi` };
  if (each.do === "volume") return { size: `${each.amount}Gi` };
  if (each.do !== "quota") return {};
  const text = (resource: string, most: number) =>
    /memory|storage/.test(resource) ? `${most}Gi` : `${most}`;
  return { hard: Object.fromEntries(Object.entries(each.hard).map(([r, most]) => [r, text(r, most)])) };
};

/** Makes the object be so. Refusals are answers. */
async function take(registry: ResourceRegistry, each: Step): Promise<void> {
  if (each.do === "restart") return;
  if (each.do === "clear") {
    await registry.deleteCollection(KINDS[each.of], { namespace: "a", matches: () => true }, {});
    return;
  }
  const place = { namespace: "a", name: each.name };
  try {
    if (each.do === "delete") await registry.delete(KINDS[each.of], place);
    else {
      const document = { metadata: { name: each.name }, spec: specOf(each) };
      const apply = { ...document, apiVersion: each.do === "quota" ? "v1" : "plinth.dev/v1alpha1" };
      const kind = KINDS[each.do];
      await registry.apply(kind, place, { ...apply, kind: kind.kind }, { manager: "m", force: true });
    }
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ApiError);
    expect(["Forbidden", "Invalid", "NotFound", "Conflict"]).toContain((thrown as ApiError).reason);
  }
}

test("used is what there is, and beyond hard only where hard came later", async () => {
  let reached = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 14 }),
      async (rounds) => {
        const store = openMemoryStore();
        const fresh = () => new ResourceRegistry({ store, clock: new SimulatedClock() });
        let registry = fresh();
        const all = async (kind: keyof typeof KINDS): Promise<ApiObject[]> => [
          ...(await registry.list(KINDS[kind], { namespace: "a", matches: () => true })).objects,
        ];
        await registry.create(namespaceKind, undefined, { metadata: { name: "a" } });
        for (const round of rounds) {
          const before = new Map((await all("quota")).map((quota) => [quota.metadata.name, quota]));
          await Promise.all(round.map((each) => take(registry, each)));
          if (round.some((each) => each.do === "restart")) registry = fresh();
          const machines = (await all("machine")) as unknown as { spec: { cpus: number; memory: string } }[];
          const volumes = (await all("volume")) as unknown as { spec: { size: string } }[];
          const total = (numbers: (number | undefined)[]) =>
            numbers.reduce((sum: number, n) => sum + (n ?? 0), 0);
          const counted: Record<string, number> = {
            cpu: total(machines.map(({ spec }) => spec.cpus)),
            "requests.memory": total(machines.map(({ spec }) => parseQuantity(spec.memory))),
            "requests.storage": total(volumes.map(({ spec }) => parseQuantity(spec.size))),
            "count/volumes.plinth.dev": volumes.length,
          };
          for (const quota of await all("quota")) {
            const { hard, used } = quota["status"] as Record<"hard" | "used", Record<string, string>>;
            expect(hard).toEqual((quota["spec"] as { hard: object }).hard);
            expect(Object.keys(used).sort()).toEqual(Object.keys(hard).sort());
            const known = before.get(quota.metadata.name);
            for (const [resource, text] of Object.entries(used)) {
              const now = parseQuantity(text) as number;
              expect([resource, now]).toEqual([resource, counted[resource]]);
              if (known?.metadata.generation !== quota.metadata.generation) continue;
              if (known.metadata.uid !== quota.metadata.uid) continue;
              const was =
                parseQuantity(
                  (known["status"] as typeof quota & { used: Record<string, string> }).used[resource] ?? "",
                ) ?? 0;
              expect(now).toBeLessThanOrEqual(Math.max(was, parseQuantity(hard[resource] ?? "") ?? 0));
              if (now === parseQuantity(hard[resource] ?? "")) reached++;
            }
          }
        }
        await store.close();
      },
    ),
    { numRuns: 60 },
  );
  // Quotas were reached, not only far away.
  expect(reached).toBeGreaterThan(0);
});
