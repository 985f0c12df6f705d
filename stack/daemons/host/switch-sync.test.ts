import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../../base/log/index.js";
import { insertOp, mutateOp, namedUuid, OvsdbClient, setValue } from "../../../base/ovsdb/index.js";
import { systemClock, waitFor } from "../../../base/time/index.js";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../../vswitch/index.js";
import { type DesiredPort, type DesiredSwitch, planSwitch, SWITCH_TABLES } from "./switch-plan.js";
import { SwitchSync } from "./switch-sync.js";

let dir: string;
let storage: Storage;
let server: DatabaseServer;
let sync: SwitchSync;
let reader: OvsdbClient;
let desired: DesiredSwitch;

const vmPort = (name: string, vlan: number, iface = `shop/${name}`): DesiredPort => ({
  name,
  type: "dpdkvhostuserclient",
  options: { "vhost-server-path": `/run/${name}.sock` },
  externalIds: { "iface-id": iface },
  vlan,
});
const A = vmPort("vm00000001n0", 10);
const B = vmPort("vm00000002n0", 20);
const FUNCTION: DesiredPort = {
  name: "nf00000003",
  type: "stream",
  options: { path: "/run/nf.sock" },
  externalIds: { "iface-id": "nf:shop/web" },
  vlan: 10,
};

beforeEach(async () => {
  dir = mkdtempSync("/tmp/psw-");
  storage = openStorage(join(dir, "conf.db"), OPEN_VSWITCH_SCHEMA);
  server = new DatabaseServer([storage]);
  await server.listen(`punix:${join(dir, "db.sock")}`);
  desired = { controller: "unix:/run/openflow.sock", ports: [A, FUNCTION] };
  const modules = { clock: systemClock, log: silentLog };
  sync = new SwitchSync({ databaseSocket: join(dir, "db.sock"), desired: () => desired }, modules);
  reader = new OvsdbClient({ endpoint: `unix:${join(dir, "db.sock")}`, monitor: SWITCH_TABLES });
  await reader.ready(5_000);
  await waitFor(() => sync.isConnected, "the database", 5_000);
});
afterEach(async () => {
  await sync.close();
  reader.close();
  await server.close();
  await storage.close();
  rmSync(dir, { recursive: true, force: true });
});

const settled = (): Promise<void> =>
  waitFor(
    () => planSwitch(reader, desired).length === 0,
    () => JSON.stringify(planSwitch(reader, desired)),
    5_000,
  );
const names = (): string[] => [...reader.rows("Port").values()].map((row) => row.string("name")).sort();

describe("SwitchSync", () => {
  it("changes nothing before it was told that all ports are known", async () => {
    await expect(sync.sync()).rejects.toMatchObject({ code: "SWITCH_UNAVAILABLE" });
    expect(names()).toEqual([]);
  });

  it("makes the bridge and its ports, follows changes, and then has nothing left to do", async () => {
    sync.enable();
    await settled();
    expect(names()).toEqual(["br-int", "nf00000003", "vm00000001n0"]);
    const [bridge] = reader.rows("Bridge").values();
    expect(bridge?.string("fail_mode")).toBe("secure");
    expect(bridge?.string("datapath_type")).toBe("netdev");

    const moved = { ...A, vlan: 30, externalIds: { "iface-id": "shop/other" } };
    desired = { controller: "unix:/run/other.sock", ports: [moved, B] };
    await sync.sync();
    await settled();
    expect(names()).toEqual(["br-int", "vm00000001n0", "vm00000002n0"]);
    const port = [...reader.rows("Port").values()].find((row) => row.string("name") === A.name);
    expect(port?.number("tag")).toBe(30);
    expect([...reader.rows("Controller").values()].map((row) => row.string("target"))).toEqual([
      "unix:/run/other.sock",
    ]);
  });

  it("leaves what others made alone, and repairs its own", async () => {
    sync.enable();
    await settled();
    const [bridge] = reader.rows("Bridge").values();
    const mine = { name: "uplink0", interfaces: namedUuid("i") };
    await reader.transact([
      insertOp("Interface", { name: "uplink0", type: "internal" }, "i"),
      insertOp("Port", mine, "p"),
      mutateOp("Bridge", [["name", "==", "br-int"]], [["ports", "insert", setValue([namedUuid("p")])]]),
    ]);
    const port = [...reader.rows("Port").values()].find((row) => row.string("name") === A.name);
    await reader.transact([
      mutateOp(
        "Bridge",
        [["name", "==", "br-int"]],
        [["ports", "delete", setValue([["uuid", port?.uuid ?? ""]])]],
      ),
    ]);
    await settled();
    expect(bridge).toBeDefined();
    expect(names()).toEqual(["br-int", "nf00000003", "uplink0", "vm00000001n0"]);
  });
});
