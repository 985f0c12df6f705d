import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { callControl, connectJsonRpc } from "../../base/jsonrpc/index.js";
import { silentLog } from "../../base/log/index.js";
import {
  insertOp,
  mapValue,
  mutateOp,
  namedUuid,
  type Operation,
  OvsdbClient,
  type OvsdbRow,
  setValue,
  updateOp,
} from "../../base/ovsdb/index.js";
import { waitFor } from "../../base/time/index.js";
import { MemoryBackend } from "./memory-backend.js";
import { startVswitchdWith, type Vswitchd } from "./vswitchd.js";

let dir: string;
let daemon: Vswitchd;
let backend: MemoryBackend;
let client: OvsdbClient;

beforeEach(async () => {
  dir = mkdtempSync("/tmp/vsd-");
  await start();
});
afterEach(async () => {
  client.close();
  await daemon.close();
  rmSync(dir, { recursive: true, force: true });
});

async function start(): Promise<void> {
  backend = new MemoryBackend();
  daemon = await startVswitchdWith(async () => backend, { dir, log: silentLog });
  client = new OvsdbClient({
    endpoint: `unix:${join(dir, "db.sock")}`,
    monitor: { Open_vSwitch: {}, Bridge: {}, Port: {}, Interface: {}, Manager: {} },
  });
  await client.ready(5000);
}

const row = (table: string, name: string): OvsdbRow => {
  const found = [...client.rows(table).values()].find((one) => one.string("name") === name);
  if (found === undefined) throw new Error(`no ${table} ${name}`);
  return found;
};
const root = () => [...client.rows("Open_vSwitch").values()][0]!;

/** Changes the configuration and waits until it is in force, as ovs-vsctl does. */
async function configure(...operations: Operation[]): Promise<void> {
  const next = (root().number("next_cfg") ?? 0) + 1;
  await client.transact([...operations, mutateOp("Open_vSwitch", [], [["next_cfg", "+=", 1]])]);
  await waitFor(() => (root().number("cur_cfg") ?? 0) >= next, "cur_cfg", 5000);
}

const port = (name: string, row: Record<string, never> | object, iface: object): Operation[] => [
  insertOp("Port", { name, interfaces: namedUuid(`i${name}`), ...row }, `p${name}`),
  insertOp("Interface", { name, ...iface }, `i${name}`),
];

const addBridge = (...ports: string[]): Operation[] => [
  insertOp(
    "Bridge",
    {
      name: "br0",
      fail_mode: "secure",
      ports: setValue(["br0", ...ports].map((name) => namedUuid(`p${name}`))),
    },
    "b",
  ),
  mutateOp("Open_vSwitch", [], [["bridges", "insert", namedUuid("b")]]),
  ...port("br0", {}, { type: "internal" }),
];

describe("startVswitchd()", () => {
  it("carries bridges and ports out and tells their numbers", async () => {
    await configure(
      ...addBridge("p1", "p2"),
      ...port("p1", { tag: 5 }, { type: "stream", options: mapValue({ path: "/x" }), ofport_request: 9 }),
      ...port("p2", { trunks: setValue([2, 3]) }, { type: "stream", options: mapValue({ path: "/y" }) }),
    );
    const { config, ports } = backend.bridges.get("br0")!;
    expect(config).toMatchObject({
      failMode: "secure",
      datapathId: row("Bridge", "br0").string("datapath_id"),
    });
    expect(ports.get("p1")).toMatchObject({
      ofport: 9,
      vlan: { mode: "access", tag: 5 },
      options: { path: "/x" },
    });
    expect(ports.get("p2")).toMatchObject({ ofport: 1, vlan: { mode: "trunk", trunks: [2, 3] } });
    expect(row("Interface", "br0").number("ofport")).toBe(65534);
    await waitFor(() => row("Interface", "p1").optionalString("link_state") === "up", "link state", 5000);
    await waitFor(
      () => row("Interface", "p1").map("statistics").get("rx_packets") === "7",
      "counters",
      10_000,
    );
  });

  it("changes VLANs, address and MTU in place and remakes ports whose device changed", async () => {
    await configure(
      ...addBridge("p1"),
      ...port("p1", { tag: 5 }, { type: "stream", options: mapValue({ path: "/x" }) }),
    );
    backend.calls.length = 0;
    await configure(updateOp("Port", [["name", "==", "p1"]], { tag: 6 }));
    expect(backend.calls).toEqual(["setPort p1"]);
    await configure(
      updateOp("Interface", [["name", "==", "p1"]], { mac: "02:00:00:00:00:99", mtu_request: 1400 }),
    );
    expect(backend.calls.splice(0)).toEqual(["setPort p1", "setPort p1"]);
    await configure(updateOp("Interface", [["name", "==", "p1"]], { options: mapValue({ path: "/z" }) }));
    expect(backend.calls).toEqual(["removePort p1", "addPort p1"]);
    await configure(updateOp("Open_vSwitch", [], { bridges: setValue([]) }));
    expect(backend.bridges.size).toBe(0);
  });

  it("lets workers sleep unless the configuration forbids it, from when it says so", async () => {
    const other_config = (config: Record<string, string>): Operation =>
      updateOp("Open_vSwitch", [], { other_config: mapValue(config) });
    expect(backend.sleeps).toBe(true);
    await configure(other_config({ "pmd-sleep-max": "0" }));
    expect(backend.sleeps).toBe(false);
    await configure(other_config({}));
    expect(backend.sleeps).toBe(true);
  });

  it("names what cannot be done in the row and goes on", async () => {
    backend.broken.add("p3");
    await configure(
      ...addBridge("p1", "p2", "p3", "p4"),
      ...port("p1", {}, { type: "warp" }),
      ...port("p2", {}, { type: "stream" }),
      ...port("p3", {}, { type: "internal" }),
      ...port("p4", {}, { type: "internal" }),
    );
    expect(row("Interface", "p1")).toMatchObject({});
    expect(row("Interface", "p1").string("error")).toContain('"warp"');
    expect(row("Interface", "p2").string("error")).toContain("options:path");
    expect(row("Interface", "p3").string("error")).toContain("cannot be made");
    expect(row("Interface", "p3").number("ofport")).toBe(-1);
    expect(row("Interface", "p4").optionalString("error")).toBeUndefined();
    backend.broken.clear();
    await configure();
    expect(row("Interface", "p3").optionalString("error")).toBeUndefined();
  });

  it("refuses a bridge whose name would leave the directory", async () => {
    await configure(
      insertOp("Bridge", { name: "../x" }, "b"),
      mutateOp("Open_vSwitch", [], [["bridges", "insert", namedUuid("b")]]),
    );
    expect(row("Bridge", "../x").map("status").get("error")).toContain("cannot name a bridge");
    expect(backend.bridges.size).toBe(0);
  });

  it("has its configuration and numbers back after a restart", async () => {
    await configure(
      ...addBridge("p1", "p2"),
      ...port("p1", {}, { type: "internal" }),
      ...port("p2", {}, { type: "internal" }),
    );
    const number = row("Interface", "p2").number("ofport");
    await configure(mutateOp("Bridge", [], [["ports", "delete", ["uuid", row("Port", "p1").uuid]]]));
    client.close();
    await daemon.close();
    expect(backend.closed).toBe(true);
    expect(existsSync(join(dir, "vswitchd.ctl"))).toBe(false);
    await start();
    expect([...backend.bridges.get("br0")!.ports.keys()].sort()).toEqual(["br0", "p2"]);
    expect(backend.bridges.get("br0")!.ports.get("p2")!.ofport).toBe(number);
  });

  it("listens where a manager is set, and says why not", async () => {
    const path = join(dir, "m.sock");
    await configure(
      insertOp("Manager", { target: `punix:${path}` }, "m"),
      insertOp("Manager", { target: "ssl:1.2.3.4" }, "n"),
      updateOp("Open_vSwitch", [], { manager_options: setValue([namedUuid("m"), namedUuid("n")]) }),
    );
    const status = (target: string) =>
      [...client.rows("Manager").values()].find((one) => one.string("target") === target)!.map("status");
    await waitFor(() => status("ssl:1.2.3.4").has("last_error"), "the error", 5000);
    const peer = await connectJsonRpc(`unix:${path}`);
    expect(await peer.call("list_dbs", [])).toContain("Open_vSwitch");
    await configure(updateOp("Open_vSwitch", [], { manager_options: setValue([]) }));
    await waitFor(() => !existsSync(path), "the listener to go", 5000);
    await peer.closed;
  });

  it("refuses a second instance", async () => {
    await expect(
      startVswitchdWith(async () => new MemoryBackend(), { dir, log: silentLog }),
    ).rejects.toMatchObject({ code: "ALREADY_RUNNING" });
    expect(await callControl(join(dir, "vswitchd.ctl"), "ping")).toMatchObject({
      name: "vswitchd",
      pid: process.pid,
    });
  });

  it("answers inspection commands, refuses odd ones and ends on exit", async () => {
    const control = await connectJsonRpc(`unix:${join(dir, "vswitchd.ctl")}`);
    await configure(...addBridge());
    expect(await control.call("version", [])).toMatch(/^vswitchd \(Plinth\)/);
    expect(await control.call("list-commands", [])).toContain("fdb/show");
    backend.macs = [
      { ofport: 65534, vlan: 3, macAddress: "02:00:00:00:00:09", ageMs: 2500, isStatic: false },
    ];
    expect(await control.call("fdb/show", ["br0"])).toBe(
      " port  VLAN  MAC                Age\nLOCAL     3  02:00:00:00:00:09    2\n",
    );
    await expect(control.call("fdb/show", ["nope"])).rejects.toThrow("no such bridge");
    await expect(control.call("fdb/show", [])).rejects.toThrow("command requires at least 1 arguments");
    await expect(control.call("warp", [])).rejects.toThrow("not a valid command");
    await expect(control.call("version", [7])).rejects.toThrow("text");
    await control.call("exit", []);
    await daemon.closed;
  });
});
