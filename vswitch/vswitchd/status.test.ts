// What the switch tells through the database while time goes by: on a clock that the test moves.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import {
  insertOp,
  mapValue,
  mutateOp,
  namedUuid,
  OvsdbClient,
  type OvsdbRow,
  updateOp,
} from "../../base/ovsdb/index.js";
import { SimulatedClock, waitFor } from "../../base/time/index.js";
import { MemoryBackend } from "./memory-backend.js";
import { startVswitchdWith, type Vswitchd } from "./vswitchd.js";

const LOOK_MS = 500;

let dir: string;
let clock: SimulatedClock;
let backend: MemoryBackend;
let daemon: Vswitchd;
let client: OvsdbClient;
/** Every change that a client hears of, as "table column". */
let heard: string[];

beforeEach(async () => {
  dir = mkdtempSync("/tmp/vst-");
  clock = new SimulatedClock();
  backend = new MemoryBackend();
  daemon = await startVswitchdWith(async () => backend, { dir, log: silentLog, clock });
  heard = [];
  client = new OvsdbClient({
    endpoint: `unix:${join(dir, "db.sock")}`,
    monitor: { Open_vSwitch: {}, Interface: {}, Controller: {} },
    onChange: (changes) => heard.push(...changes.map(({ kind, table }) => `${kind} ${table}`)),
  });
  await client.ready(5000);
  await client.transact([
    insertOp("Bridge", { name: "br0", ports: namedUuid("p") }, "b"),
    insertOp("Port", { name: "br0", interfaces: namedUuid("i") }, "p"),
    insertOp("Interface", { name: "br0", type: "internal" }, "i"),
    mutateOp(
      "Open_vSwitch",
      [],
      [
        ["bridges", "insert", namedUuid("b")],
        ["next_cfg", "+=", 1],
      ],
    ),
  ]);
  await waitFor(() => root().number("cur_cfg") === 1, "cur_cfg", 5000);
});
afterEach(async () => {
  client.close();
  await daemon.close();
  rmSync(dir, { recursive: true, force: true });
});

const root = (): OvsdbRow => [...client.rows("Open_vSwitch").values()][0]!;
const iface = (): OvsdbRow => [...client.rows("Interface").values()][0]!;

/** Lets the switch look as often as it does in `totalMs`, and everything that it wrote be heard. */
async function pass(totalMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < totalMs; passedMs += LOOK_MS) {
    clock.advance(LOOK_MS);
    // A look asks the backend, one answer after the other, and then writes; the next is timed after that.
    for (let turn = 0; turn < 3; turn++) await client.transact([{ op: "comment", comment: "heard" }]);
  }
}

describe("the switch's status", { timeout: 30_000 }, () => {
  it("costs no write while nothing changes", async () => {
    await pass(1_000);
    heard.length = 0;
    await pass(12_000);
    expect(heard).toEqual([]);
    backend.rxPackets = 8;
    await pass(6_000);
    expect(heard).toEqual(["modify Interface"]);
    expect(iface().map("statistics").get("rx_packets")).toBe("8");
  });

  it("writes counters as often as other_config:stats-update-interval says, at least 5 s apart", async () => {
    await client.transact([
      updateOp("Open_vSwitch", [], { other_config: mapValue({ "stats-update-interval": "20000" }) }),
    ]);
    await pass(20_000);
    heard.length = 0;
    for (let i = 0; i < 8; i++) {
      backend.rxPackets++;
      await pass(5_000);
    }
    expect(heard).toEqual(["modify Interface", "modify Interface"]);
  });

  it("counts how often a link was seen to change", async () => {
    for (const linkUp of [false, true, false]) {
      backend.linkUp = linkUp;
      await pass(LOOK_MS);
      expect(iface().optionalString("link_state")).toBe(linkUp ? "up" : "down");
    }
    expect(iface().number("link_resets")).toBe(3);
    expect(iface().optionalString("admin_state")).toBe("up");
    expect(iface().number("ifindex")).toBe(0);
  });

  it("tells since when a controller is connected, and since when it was not", async () => {
    const target = "tcp:192.0.2.1:6653";
    let [connectedAtMs, disconnectedAtMs]: (number | undefined)[] = [];
    const state = (isConnected: boolean): void => {
      if (isConnected) connectedAtMs = clock.nowMs();
      else if (connectedAtMs !== undefined) disconnectedAtMs = clock.nowMs();
      const status = { target, role: undefined, lastError: undefined, connectedAtMs, disconnectedAtMs };
      backend.controllers = [{ ...status, isConnected, state: isConnected ? "ACTIVE" : "BACKOFF" }];
    };
    state(false);
    await client.transact([
      insertOp("Controller", { target }, "c"),
      updateOp("Bridge", [], { controller: namedUuid("c") }),
    ]);
    const told = () => Object.fromEntries([...client.rows("Controller").values()][0]!.map("status"));
    await pass(6_000);
    expect(told()).toEqual({ state: "BACKOFF" });
    state(true);
    await pass(11_000);
    expect(Number(told()["sec_since_connect"])).toBeGreaterThanOrEqual(5);
    expect(told()).not.toHaveProperty("sec_since_disconnect");
    state(false);
    await pass(6_000);
    expect(Number(told()["sec_since_connect"])).toBeGreaterThanOrEqual(11);
    expect(Number(told()["sec_since_disconnect"])).toBeLessThanOrEqual(6);
    heard.length = 0;
    await pass(10_000);
    // Time alone is told as seldom as counters are.
    expect(heard.length).toBeLessThanOrEqual(3);
  });

  it("tells of the machine only when it is asked to", async () => {
    await pass(6_000);
    expect(root().map("statistics").size).toBe(0);
    const enable = (value: string) =>
      client.transact([
        updateOp("Open_vSwitch", [], { other_config: mapValue({ "enable-statistics": value }) }),
      ]);
    await enable("true");
    await pass(6_000);
    expect([...root().map("statistics").keys()]).toEqual(
      expect.arrayContaining(["cpu", "load_average", "memory", "process_vswitchd"]),
    );
    await enable("false");
    await pass(6_000);
    expect(root().map("statistics").size).toBe(0);
  });

  it("names the host once, and leaves what an operator has named", async () => {
    const ids = root().map("external_ids");
    expect(ids.get("system-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(ids.get("rundir")).toBe(dir);
    expect(ids.get("hostname")).not.toBe("");
    await client.transact([
      updateOp("Open_vSwitch", [], {
        external_ids: mapValue({ "system-id": "mine", hostname: "here", rundir: "/old" }),
      }),
    ]);
    client.close();
    await daemon.close();
    daemon = await startVswitchdWith(async () => backend, { dir, log: silentLog, clock });
    client = new OvsdbClient({ endpoint: `unix:${join(dir, "db.sock")}`, monitor: { Open_vSwitch: {} } });
    await client.ready(5000);
    expect(Object.fromEntries(root().map("external_ids"))).toEqual({
      "system-id": "mine",
      hostname: "here",
      rundir: dir,
    });
  });
});
