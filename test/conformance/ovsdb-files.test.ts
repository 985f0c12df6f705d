// What leaves and enters by files: a backup that a real ovsdb-server starts from and one that goes back in, our log
// read by ovsdb-tool, compaction while it is written, and SIGKILL in the middle of transactions.
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { RealOvsdbServer } from "../support/real-ovsdb-server.js";
import { requirePrograms, runOk } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

let dir: string;
let daemon: SwitchProcess;

beforeAll(() => {
  requirePrograms("ovs-vsctl", "ovsdb-client", "ovsdb-tool", "ovsdb-server");
  dir = mkdtempSync("/tmp/ofi-");
});
beforeEach(async () => {
  daemon = new SwitchProcess();
  await daemon.start();
});
afterEach(() => daemon?.destroy());
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function configure(): Promise<void> {
  await daemon.vsctl(
    ...[
      "add-br",
      "br0",
      "--",
      "add-port",
      "br0",
      "p1",
      "tag=7",
      "--",
      "set",
      "Interface",
      "p1",
      "type=internal",
    ],
    ...["external_ids:iface-id=a b", "--", "--id=@q", "create", "Queue", "dscp=5", "external_ids:k=v"],
    ...[
      "--",
      "set",
      "Port",
      "p1",
      "qos=@s",
      "--",
      "--id=@s",
      "create",
      "QoS",
      "type=linux-htb",
      "queues:0=@q",
    ],
  );
}

const vsctlAt = async (endpoint: string, ...words: string[]) =>
  (await runOk("ovs-vsctl", [`--db=${endpoint}`, "--no-wait", "--timeout=15", ...words])).trim();

/** What an operator has configured, as ovs-vsctl lists it. */
async function configured(endpoint: string): Promise<string[]> {
  const lists = await Promise.all([
    vsctlAt(endpoint, "--format=csv", "--columns=name,tag", "list", "Port"),
    vsctlAt(endpoint, "--format=csv", "--columns=name,type,external_ids", "list", "Interface"),
    vsctlAt(endpoint, "--format=csv", "--columns=type", "list", "QoS"),
    vsctlAt(endpoint, "--format=csv", "--columns=dscp,external_ids", "list", "Queue"),
  ]);
  return lists.flatMap((text) => text.split("\n").sort());
}

describe("a backup by ovsdb-client", () => {
  it("is a database that a real ovsdb-server starts from", async () => {
    await configure();
    const wanted = await configured(daemon.endpoint);
    const backup = join(dir, "backup");
    writeFileSync(backup, await runOk("ovsdb-client", ["backup", daemon.endpoint, "Open_vSwitch"]));
    const real = await RealOvsdbServer.start(backup);
    try {
      expect(await configured(real.endpoint)).toEqual(wanted);
      await vsctlAt(real.endpoint, "add-br", "br1");
      // And ours starts from what that server has made of it.
      writeFileSync(backup, await runOk("ovsdb-client", ["backup", real.endpoint, "Open_vSwitch"]));
    } finally {
      await real.stop();
    }
    await daemon.end();
    copyFileSync(backup, daemon.path("conf.db"));
    await daemon.start();
    expect(await daemon.vsctl("list-br")).toBe("br0\nbr1");
    expect(await daemon.vsctl("get", "Port", "p1", "tag")).toBe("7");
  });

  it("goes back in by restore, and is in force then", async () => {
    await configure();
    const wanted = await configured(daemon.endpoint);
    const backup = join(dir, "restored");
    writeFileSync(backup, await runOk("ovsdb-client", ["backup", daemon.endpoint, "Open_vSwitch"]));
    await daemon.vsctl("del-br", "br0");
    await daemon.vsctl("--all", "destroy", "QoS", "--", "--all", "destroy", "Queue");
    expect(await daemon.vsctl("list-br")).toBe("");
    // It seeks in its input, so that a pipe will not do.
    const restore = 'exec ovsdb-client restore "$0" Open_vSwitch <"$1"';
    await runOk("sh", ["-c", restore, daemon.endpoint, backup]);
    expect(await configured(daemon.endpoint)).toEqual(wanted);
    await waitFor(() => existsSync(daemon.path("br0.mgmt")), "the restored bridge", 20_000);
    expect(await daemon.ofctl("show", "br0")).toContain("(p1): addr:");
  });
});

describe("the file", () => {
  it("is read, checked and compacted by ovsdb-tool, and served by ovsdb-server", async () => {
    await configure();
    const wanted = await configured(daemon.endpoint);
    await daemon.end();
    const copy = join(dir, "copy");
    copyFileSync(daemon.path("conf.db"), copy);
    expect((await runOk("ovsdb-tool", ["db-name", copy])).trim()).toBe("Open_vSwitch");
    expect((await runOk("ovsdb-tool", ["db-version", copy])).trim()).toBe("8.3.1");
    expect(
      (
        await runOk("ovsdb-tool", ["needs-conversion", copy, "/usr/share/openvswitch/vswitch.ovsschema"])
      ).trim(),
    ).toBe("no");
    expect(await runOk("ovsdb-tool", ["show-log", "-m", copy])).toContain("br0");
    await runOk("ovsdb-tool", ["compact", copy]);
    const real = await RealOvsdbServer.start(copy);
    try {
      expect(await configured(real.endpoint)).toEqual(wanted);
    } finally {
      await real.stop();
    }
  });

  it("is compacted online, with nothing lost that is written meanwhile", async () => {
    const peer = await connectJsonRpc(daemon.endpoint);
    const insert = (dscp: number, padding: number) =>
      peer.call("transact", [
        "Open_vSwitch",
        { op: "insert", table: "Queue", row: { dscp, external_ids: ["map", [["p", "x".repeat(padding)]]] } },
      ]);
    for (let i = 0; i < 40; i++) {
      await insert(i, 10_000);
      await peer.call("transact", [
        "Open_vSwitch",
        { op: "delete", table: "Queue", where: [["dscp", "==", i]] },
      ]);
    }
    const before = statSync(daemon.path("conf.db")).size;
    const writing = Promise.all(Array.from({ length: 30 }, (_, i) => insert(i, 10)));
    await daemon.appctl("ovsdb-server/compact", "Open_vSwitch");
    await writing;
    expect(statSync(daemon.path("conf.db")).size).toBeLessThan(before / 4);
    peer.close();
    await daemon.end("SIGKILL");
    await daemon.start();
    expect((await daemon.vsctl("--bare", "--columns=dscp", "list", "Queue")).split(/\s+/)).toHaveLength(30);
  });

  it("that is damaged is refused with the place, untouched", async () => {
    await configure();
    await daemon.end();
    const path = daemon.path("conf.db");
    const bytes = readFileSync(path);
    // Within the second record; whole ones follow.
    const second = bytes.indexOf("OVSDB JSON ", 1);
    const third = bytes.indexOf("OVSDB JSON ", second + 1);
    expect(third).toBeGreaterThan(second);
    bytes[second + 100] = (bytes[second + 100] as number) ^ 1;
    writeFileSync(path, bytes);
    await expect(daemon.start()).rejects.toThrow(`is damaged at byte ${second}`);
    expect(readFileSync(path).equals(bytes)).toBe(true);
    // What the message says to do, done.
    writeFileSync(path, bytes.subarray(0, second));
    await daemon.start();
    expect(await daemon.vsctl("list-br")).toBe("");
  });
});

describe("SIGKILL", () => {
  it("in the middle of transactions of several clients loses none that was acknowledged, and halves none", async () => {
    const acknowledged = new Set<string>();
    const doubtful = new Set<string>();
    let next = 0;
    for (let round = 0; round < 4; round++) {
      const peers = await Promise.all([1, 2, 3].map(() => connectJsonRpc(daemon.endpoint)));
      const running = peers.map((peer) =>
        insertUntilClosed(peer, () => `key${next++}`, acknowledged, doubtful),
      );
      const goal = acknowledged.size + 25 + 20 * round;
      await waitFor(
        () => acknowledged.size >= goal,
        () => `${goal}, not ${acknowledged.size}`,
        30_000,
        1,
      );
      await daemon.end("SIGKILL");
      await Promise.all(running);
      await daemon.start();
    }
    const peer = await connectJsonRpc(daemon.endpoint);
    const select = { op: "select", table: "Queue", where: [], columns: ["_uuid", "external_ids"] };
    const [{ rows }] = (await peer.call("transact", ["Open_vSwitch", select])) as [
      { rows: { external_ids: [string, [string, string][]] }[] },
    ];
    peer.close();
    const counts = new Map<string, number>();
    for (const { external_ids } of rows) {
      const key = external_ids[1][0]![1];
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    // Each transaction inserted two rows: all or nothing.
    for (const key of acknowledged) expect([key, counts.get(key)]).toEqual([key, 2]);
    for (const [key, count] of counts) {
      expect([key, count]).toEqual([key, 2]);
      expect(acknowledged.has(key) || doubtful.has(key)).toBe(true);
    }
  });
});

/** One transaction after the other; the one that is under way when the connection ends may or may not be there. */
async function insertUntilClosed(
  peer: JsonRpcConnection,
  nextKey: () => string,
  acknowledged: Set<string>,
  doubtful: Set<string>,
): Promise<void> {
  while (peer.isOpen) {
    const key = nextKey();
    const row = { external_ids: ["map", [["key", key]]] };
    const insert = { op: "insert", table: "Queue", row };
    try {
      await peer.call("transact", ["Open_vSwitch", insert, insert, { op: "commit", durable: true }]);
      acknowledged.add(key);
    } catch {
      doubtful.add(key);
    }
  }
}
