import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../../base/log/index.js";
import { SimulatedClock, waitFor } from "../../../base/time/index.js";
import type { MachineChange } from "../../../hypervisor-core/index.js";
import type { Network, Port, VirtualMachine, Volume } from "../../resources/index.js";
import { statusChange } from "./api-writer.js";
import { hostName } from "./host-registration.js";
import {
  desiredMachine,
  type MachineView,
  needsRestart,
  phaseOf,
  planMachine,
  retaggedInterfaces,
} from "./machine-plan.js";
import { type MachineRecord, MachineRecords, shortId } from "./machine-records.js";
import { WorkQueue } from "./work-queue.js";

const vm = (spec: Partial<VirtualMachine["spec"]> = {}): VirtualMachine =>
  ({
    apiVersion: "plinth.dev/v1alpha1",
    kind: "VirtualMachine",
    metadata: { name: "web1", namespace: "shop", uid: "u-1" },
    spec: {
      powerState: "Running",
      cpus: 1,
      memory: "128Mi",
      image: "guest",
      interfaces: [{ name: "eth0", network: "front" }],
      disks: [{ name: "data", volume: "db-data" }],
      ports: [],
      ...spec,
    },
  }) as unknown as VirtualMachine;
const port = (status: object): Port =>
  ({ metadata: { name: "web1-eth0" }, spec: {}, status }) as unknown as Port;
const ADDRESSED = port({ macAddress: "02:00:00:00:00:01", addresses: ["10.10.0.5"] });
const NETWORK = { spec: { vlan: 10 } } as Network;
const volume = (status: object | undefined): Volume =>
  ({ metadata: {}, spec: {}, status }) as unknown as Volume;
const AVAILABLE = volume({ phase: "Available" });
const change = (state: MachineChange["state"]): MachineChange => ({ state, reason: "Test", message: "" });
const BOOT = { ready: true, seeded: true, boot: { type: "kernel", kernel: "/k", arguments: "" } } as const;

const view = (more: Partial<MachineView> = {}): MachineView => ({
  vm: vm(),
  change: change("stopped"),
  record: undefined,
  boot: BOOT,
  port: (name) => (name === "web1-eth0" ? ADDRESSED : undefined),
  network: () => NETWORK,
  volume: () => AVAILABLE,
  ...more,
});
const RECORD: MachineRecord = {
  id: shortId("u-1"),
  namespace: "shop",
  name: "web1",
  uid: "u-1",
  active: true,
  interfaces: [],
  disks: [],
  digest: "x",
};

describe("planMachine()", () => {
  it("starts a machine once everything it needs is there", () => {
    expect(planMachine(view())).toMatchObject({
      step: "start",
      machine: {
        memoryBytes: 128 * 1024 * 1024,
        interfaces: [{ name: "eth0", port: "shop/web1-eth0", macAddress: "02:00:00:00:00:01", vlan: 10 }],
        disks: [{ name: "data", volume: "shop/db-data" }],
      },
    });
  });

  it.each([
    ["WaitingForImage", "downloading", { boot: { ready: false, message: "downloading" } }],
    ["WaitingForPort", "waiting for Port shop/web1-eth0 to be made", { port: () => undefined }],
    ["WaitingForPort", "waiting for Port shop/web1-eth0 to get an address", { port: () => port({}) }],
    ["WaitingForNetwork", "waiting for Network shop/front to exist", { network: () => undefined }],
    ["WaitingForVolume", "waiting for Volume shop/db-data to exist", { volume: () => undefined }],
    [
      "WaitingForVolume",
      "waiting for Volume shop/db-data to become available",
      { volume: () => volume(undefined) },
    ],
    [
      "VolumeInUse",
      "waiting for Volume shop/db-data: db has it",
      { volume: () => volume({ phase: "InUse", attachedTo: "db" }) },
    ],
  ] as [string, string, Partial<MachineView>][])(
    "says what it waits for: %s, %s",
    (reason, message, more) => {
      const plan = planMachine(view(more));
      expect(plan).toEqual({ step: "wait", reason, message });
      expect(phaseOf(change("stopped"), plan)).toBe("Pending");
    },
  );

  it("leads from every state to the one that is wanted, and then rests", () => {
    const step = (powerState: "Running" | "Stopped" | "Paused", state: MachineChange["state"]): string =>
      planMachine(view({ vm: vm({ powerState }), change: change(state) })).step;
    expect(step("Running", "running")).toBe("none");
    expect(step("Running", "paused")).toBe("resume");
    expect(step("Running", "failed")).toBe("start");
    expect(step("Paused", "stopped")).toBe("start");
    expect(step("Paused", "running")).toBe("pause");
    expect(step("Paused", "paused")).toBe("none");
    expect(step("Stopped", "running")).toBe("stop");
    expect(step("Stopped", "paused")).toBe("stop");
    expect(step("Stopped", "failed")).toBe("stop");
    expect(step("Stopped", "stopped")).toBe("none");
    for (const power of ["Running", "Stopped", "Paused"] as const) {
      for (const state of ["starting", "stopping"] as const) expect(step(power, state)).toBe("none");
    }
    expect(planMachine(view({ vm: vm({ powerState: "Stopped" }), record: RECORD })).step).toBe("stop");
  });

  it("knows when only a restart would bring the change", () => {
    const desired = desiredMachine(view());
    const digest = "digest" in desired ? desired.digest : "";
    expect(needsRestart(view({ record: { ...RECORD, digest } }))).toBe(false);
    expect(needsRestart(view({ record: { ...RECORD, digest }, vm: vm({ cpus: 2 }) }))).toBe(true);
    expect(needsRestart(view({ record: { ...RECORD, digest, active: false }, vm: vm({ cpus: 2 }) }))).toBe(
      false,
    );
  });
});

describe("retaggedInterfaces()", () => {
  const eth0 = {
    name: "eth0",
    port: "shop/web1-eth0",
    macAddress: "02:00:00:00:00:01",
    network: "shop/front",
  };
  const record = { ...RECORD, interfaces: [{ ...eth0, vlan: 10 }] };
  const moved = { spec: { vlan: 30 } } as Network;

  it("follows the network's VLAN, which is nothing that a restart is needed for", () => {
    const desired = desiredMachine(view());
    const digest = "digest" in desired ? desired.digest : "";
    const changed = view({ record: { ...record, digest }, network: () => moved });
    expect(retaggedInterfaces(changed)).toEqual([{ ...eth0, vlan: 30 }]);
    expect(needsRestart(changed)).toBe(false);
  });

  it("says nothing when nothing changes, the network is gone, or was another at the start", () => {
    expect(retaggedInterfaces(view())).toBeUndefined();
    expect(retaggedInterfaces(view({ record }))).toBeUndefined();
    expect(retaggedInterfaces(view({ record, network: () => undefined }))).toBeUndefined();
    const old = { ...RECORD, interfaces: [{ ...eth0, network: undefined, vlan: 10 }] };
    expect(retaggedInterfaces(view({ record: old, network: () => moved }))).toBeUndefined();
  });

  it("leaves a change of the network itself to the restart", () => {
    const desired = desiredMachine(view());
    const digest = "digest" in desired ? desired.digest : "";
    const other = vm({ interfaces: [{ name: "eth0", network: "back" }] });
    const network = (name: string) => (name === "back" ? moved : NETWORK);
    const changed = view({ record: { ...record, digest }, vm: other, network });
    expect(retaggedInterfaces(changed)).toBeUndefined();
    expect(needsRestart(changed)).toBe(true);
  });
});

describe("MachineRecords", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync("/tmp/prec-");
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("are as they were after the agent was killed, without what is no record", () => {
    const records = new MachineRecords(dir, silentLog);
    records.put(RECORD);
    records.put({ ...RECORD, active: false });
    writeFileSync(join(dir, "00000000.json"), "{}");
    writeFileSync(join(dir, "ffffffff.json"), "torn");
    writeFileSync(join(dir, `${RECORD.id}.json.new`), "half a rec");
    const again = new MachineRecords(dir, silentLog);
    expect(again.list()).toEqual([{ ...RECORD, active: false }]);
    again.remove(RECORD.id);
    expect(readdirSync(dir)).not.toContain(`${RECORD.id}.json`);
  });

  it("take nothing from a file of any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        writeFileSync(join(dir, "00000000.json"), bytes);
        expect(new MachineRecords(dir, silentLog).list()).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });
});

describe("WorkQueue", () => {
  it("runs a key again when it was touched while it ran, and backs off each failing key by itself", async () => {
    const clock = new SimulatedClock();
    const runs: string[] = [];
    let release: () => void = () => {};
    let fail = true;
    const queue = new WorkQueue(
      {
        name: "test",
        concurrency: 2,
        run: async (key) => {
          runs.push(key);
          if (key === "slow" && runs.length === 1) await new Promise<void>((resolve) => (release = resolve));
          if (key === "bad" && fail) throw new Error("not yet");
          return undefined;
        },
      },
      { clock, log: silentLog },
    );
    queue.add("slow");
    await waitFor(() => runs.length === 1, "the first run", 1000, 1);
    queue.add("slow");
    queue.add("slow");
    queue.add("bad");
    await waitFor(() => runs.length === 2, "another key", 1000, 1);
    expect(runs).toEqual(["slow", "bad"]);
    release();
    await waitFor(() => runs.length === 3, "the second run", 1000, 1);
    expect(runs).toEqual(["slow", "bad", "slow"]);
    await waitFor(
      () => {
        clock.advance(250);
        return runs.length === 4;
      },
      "the retry",
      1000,
      1,
    );
    fail = false;
    queue.add("bad");
    await waitFor(() => runs.length === 5, "a touched key to go at once", 1000, 1);
    await queue.close();
    queue.add("slow");
    expect(runs).toEqual(["slow", "bad", "slow", "bad", "bad"]);
  });
});

describe("statusChange()", () => {
  it("is empty when the object shows it already", () => {
    const ready = { type: "Ready", status: "True", reason: "Running", message: "" } as const;
    const object = { status: { phase: "Running", conditions: [{ ...ready, lastTransitionTime: "t" }] } };
    expect(statusChange(object, { phase: "Running", host: undefined }, [ready])).toBeUndefined();
    expect(statusChange(object, { phase: "Paused" }, [ready])).toEqual({ phase: "Paused" });
    expect(statusChange({ status: { attachedTo: "db" } }, { attachedTo: undefined }, [])).toEqual({
      attachedTo: null,
    });
  });
});

describe("hostName()", () => {
  it("is a DNS label whatever the machine is called", () => {
    expect(hostName("Web_Server.example.org")).toBe("web-server-example-org");
    expect(hostName("___")).toBe("host");
    fc.assert(
      fc.property(fc.string(), (name) => {
        expect(hostName(name)).toMatch(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
      }),
    );
  });
});
