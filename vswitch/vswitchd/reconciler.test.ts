import { expect, test } from "vitest";
import { type Logger, silentLog } from "../../base/log/index.js";
import { SimulatedClock } from "../../base/time/index.js";
import { MemoryBackend } from "./memory-backend.js";
import type { BridgeConfig, SwitchConfig } from "./model.js";
import { Reconciler } from "./reconciler.js";

const BRIDGE: BridgeConfig = {
  ...{ name: "br0", datapath: "netdev@plinth", uuid: "u", failMode: "standalone", datapathId: "1" },
  ...{ macAddress: "02:00:00:00:00:01", protocols: [], tls: undefined, controllers: [], macAgingMs: 1 },
  ...{ macTableSizeMax: 1, floodVlans: [], forwardReserved: false, tagsRead: 1, flowTables: [] },
  ...{ serialNumber: "None", description: "a bridge", mirrors: [] },
};
const CONFIG: SwitchConfig = {
  bridges: [{ config: BRIDGE, ports: [], error: undefined, unsupported: [] }],
  ...{ nextCfg: 1, managers: [], tls: undefined, statsIntervalMs: 5_000, wantsStatistics: false },
  zoneTimeouts: [],
  threads: { cores: [], sleeps: true, assignment: "cycles", isolates: true, problems: [] },
  connectionsMax: 1024,
};

test("what fails over and over is tried again and told once, and told once when it is carried out at last", async () => {
  const lines: string[] = [];
  const note =
    (level: string) =>
    (about: object, message: string): void =>
      void lines.push(`${level} ${message} ${"target" in about ? about.target : ""}`);
  const log = { ...silentLog, info: note("info"), warn: note("warn") } as Logger;
  const clock = new SimulatedClock();
  const backend = new MemoryBackend();
  const reconciler = new Reconciler({ backend, clock, log, read: () => CONFIG, report: async () => {} });
  const runs = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      clock.advance(5_000);
      await reconciler.trigger();
    }
  };
  backend.broken.add("br0");
  await runs(5);
  expect(backend.calls.length).toBeGreaterThanOrEqual(5);
  expect(lines).toEqual(["warn could not carry out br0"]);
  expect(reconciler.errors.get("br0")).toBe("br0 cannot be made");
  backend.broken.clear();
  await runs(3);
  expect(lines.slice(1)).toEqual(["info carried out br0"]);
  expect(reconciler.errors.size).toBe(0);
  // Broken anew, it is told anew.
  reconciler.applied.clear();
  await runs(3);
  expect(lines.slice(2)).toEqual(["warn could not carry out br0"]);
  await reconciler.stop();
});
