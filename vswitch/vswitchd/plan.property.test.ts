import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import { MemoryBackend } from "./memory-backend.js";
import type { BridgeModel, PortConfig, SwitchConfig } from "./model.js";
import { plan } from "./plan.js";
import { Reconciler } from "./reconciler.js";

const port = fc.record({
  name: fc.constantFrom("br0", "a", "b", "c"),
  uuid: fc.constantFrom("u1", "u2"),
  type: fc.constantFrom("internal", "stream"),
  options: fc.constantFrom({}, { path: "/x" }, { path: "/y" }),
  isDummy: fc.constant(false),
  macAddress: fc.constant("02:00:00:00:00:02"),
  mtu: fc.constantFrom(undefined, 1500),
  vlan: fc.record({
    mode: fc.constantFrom("access" as const, "trunk" as const),
    tag: fc.integer({ min: 0, max: 3 }),
    trunks: fc.constant([]),
  }),
  isProtected: fc.boolean(),
  unsupported: fc.constantFrom([], ["bfd"]),
  qos: fc.constantFrom(undefined, { type: "linux-htb", queues: [{ queueId: 0 }] }),
  policing: fc.constant({ rateKbps: 0, burstKb: 0, rateKpkts: 0, burstKpkts: 0 }),
  ofportRequest: fc.constantFrom(undefined, 1, 2),
  ofportBefore: fc.constantFrom(undefined, 1, 2, 65534, 70000),
  error: fc.constantFrom(undefined, undefined, "wrong"),
});
const bridge = (name: string): fc.Arbitrary<BridgeModel> =>
  fc
    .tuple(
      fc.uniqueArray(port, { selector: (one: PortConfig) => one.name }),
      fc.constantFrom("ua", "ub"),
      fc.constantFrom<"secure" | "standalone">("secure", "standalone"),
      fc.constantFrom(undefined, undefined, undefined, "wrong"),
    )
    .map(([ports, uuid, failMode, error]) => ({
      config: {
        name,
        datapath: "netdev@plinth",
        uuid,
        failMode,
        datapathId: "1",
        macAddress: "02:00:00:00:00:01",
        protocols: [],
        tls: undefined,
        controllers: [],
        macAgingMs: 1,
        macTableSizeMax: 1,
        floodVlans: [],
        forwardReserved: false,
        tagsRead: 1,
        flowTables: [],
        serialNumber: "None",
        description: "a bridge",
        mirrors: [],
      },
      ports,
      error,
      unsupported: [],
    }));
const config: fc.Arbitrary<SwitchConfig> = fc
  .subarray(["br0", "br1"])
  .chain((names) => fc.tuple(...names.map(bridge)))
  .map((bridges) => ({
    bridges,
    nextCfg: 1,
    managers: [],
    tls: undefined,
    statsIntervalMs: 5_000,
    wantsStatistics: false,
    zoneTimeouts: [],
    threads: { cores: [], sleeps: true, assignment: "cycles" as const, isolates: true, problems: [] },
    connectionsMax: 1024,
  }));

describe("plan()", () => {
  it("leads from any configuration to any other, and is empty afterwards", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(config, { minLength: 1, maxLength: 6 }), async (configs) => {
        const backend = new MemoryBackend();
        let current = configs[0]!;
        const reconciler = new Reconciler({
          backend,
          clock: new SimulatedClock(),
          log: silentLog,
          read: () => current,
          report: async () => {},
        });
        for (current of configs) {
          await reconciler.trigger();
          const wanted = current.bridges.filter(({ error }) => error === undefined);
          expect([...backend.bridges.keys()].sort()).toEqual(
            wanted.map(({ config: { name } }) => name).sort(),
          );
          for (const {
            config: { name },
            ports,
          } of wanted) {
            const there = [...backend.bridges.get(name)!.ports.values()];
            expect(there.map((one) => one.name).sort()).toEqual(
              ports
                .filter(({ error }) => error === undefined)
                .map((one) => one.name)
                .sort(),
            );
            for (const one of there) expect(one.ofport === 65534).toBe(one.name === name);
            expect(new Set(there.map(({ ofport }) => ofport)).size).toBe(there.length);
          }
          expect(plan(reconciler.applied, current)).toEqual([]);
          const failed = current.bridges.flatMap((one) =>
            one.ports.filter(({ error }) => (one.error ?? error) !== undefined),
          );
          expect([...reconciler.errors.keys()].filter((key) => key.includes("/"))).toHaveLength(
            failed.length,
          );
        }
      }),
    );
  });
});
