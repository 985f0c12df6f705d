import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectJsonRpc } from "../../base/jsonrpc/index.js";
import { insertOp, parseSchema, setValue, updateOp } from "../../base/ovsdb/index.js";
import type { Database } from "./database.js";
import { DatabaseServer } from "./database-server.js";
import { transact } from "./execute.js";
import { OPEN_VSWITCH_SCHEMA } from "./open-vswitch-schema.js";
import { encodeRecord, type LogFileSystem } from "./record-log.js";
import { openStorage, type StorageOptions } from "./storage.js";

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync("/tmp/ost-");
  path = join(dir, "conf.db");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const open = (options: StorageOptions = {}) => openStorage(path, OPEN_VSWITCH_SCHEMA, options);
const addQueue = (database: Database, dscp: number) => transact(database, [insertOp("Queue", { dscp })]);
const queues = (database: Database) =>
  [...database.rows("Queue").values()].map((row) => row.number("dscp")).sort((a, b) => a! - b!);

describe("openStorage()", () => {
  it("brings back what was committed, without ephemeral columns", async () => {
    const first = open();
    transact(first.database, [
      insertOp("Open_vSwitch", {
        bridges: ["named-uuid", "b"],
        statistics: ["map", [["cpu", "2"]]],
        next_cfg: 3,
      }),
      insertOp("Bridge", { name: "br0", fail_mode: "secure", ports: setValue([["named-uuid", "p"]]) }, "b"),
      insertOp("Port", { name: "p", tag: 7, interfaces: ["named-uuid", "i"] }, "p"),
      insertOp("Interface", { name: "p", link_state: "up" }, "i"),
    ]);
    transact(first.database, [updateOp("Port", [], { tag: 8 })]);
    await first.close();
    const { database, close } = open();
    expect([...database.rows("Port").values()][0]!.number("tag")).toBe(8);
    expect([...database.rows("Interface").values()][0]!.optionalString("link_state")).toBeUndefined();
    expect([...database.rows("Open_vSwitch").values()][0]!.map("statistics").size).toBe(0);
    expect([...database.rows("Bridge").values()][0]!.string("fail_mode")).toBe("secure");
    await close();
  });

  it("survives a file cut at any byte: all whole records are there, later commits are kept", {
    timeout: 60_000,
  }, async () => {
    const first = open();
    const sizes = [statSync(path).size];
    for (const dscp of [1, 2, 3]) {
      addQueue(first.database, dscp);
      sizes.push(statSync(path).size);
    }
    await first.close();
    const bytes = readFileSync(path);
    for (let cut = sizes[0]!; cut <= bytes.length; cut += 3) {
      writeFileSync(path, bytes.subarray(0, cut));
      const whole = sizes.filter((size) => size <= cut).length - 1;
      const second = open();
      expect(queues(second.database)).toEqual([1, 2, 3].slice(0, whole));
      addQueue(second.database, 9);
      await second.close();
      const third = open();
      expect(queues(third.database)).toEqual([...[1, 2, 3].slice(0, whole), 9]);
      await third.close();
    }
  });

  it("refuses a bad record that whole ones follow, names the place and touches nothing", async () => {
    const first = open();
    const begin = statSync(path).size;
    for (const dscp of [1, 2, 3]) addQueue(first.database, dscp);
    await first.close();
    const bytes = readFileSync(path);
    const end = bytes.indexOf("OVSDB JSON ", begin + 1);
    for (let at = begin; at < end; at += 7) {
      const broken = Buffer.from(bytes);
      broken[at]! ^= 1;
      writeFileSync(path, broken);
      expect(() => open()).toThrow(
        expect.objectContaining({
          code: "DATABASE_DAMAGED",
          message: expect.stringContaining(`at byte ${begin} `),
        }),
      );
      expect(readFileSync(path).equals(broken)).toBe(true);
    }
  });

  it("keeps aside whole a file of another schema whose contents have no place in this one", async () => {
    const older = parseSchema({
      name: "Open_vSwitch",
      version: "8.0.0",
      tables: {
        Queue: { columns: { dscp: { type: "integer" }, colour: { type: "string" } }, isRoot: true },
        Gone: { columns: { x: { type: "integer" } }, isRoot: true },
      },
    });
    const first = openStorage(path, older);
    transact(first.database, [insertOp("Queue", { dscp: 7, colour: "red" }), insertOp("Gone", { x: 1 })]);
    await first.close();
    const bytes = readFileSync(path);
    const second = open();
    expect(queues(second.database)).toEqual([7]);
    await second.close();
    expect(readFileSync(`${path}.before-${OPEN_VSWITCH_SCHEMA.version}`)).toEqual(bytes);
    expect(readFileSync(path, "utf8")).not.toContain("colour");
  });

  it("cuts a flipped byte of the last record, and keeps that aside", async () => {
    const first = open();
    for (const dscp of [1, 2]) addQueue(first.database, dscp);
    const middle = statSync(path).size - 20;
    await first.close();
    const bytes = readFileSync(path);
    bytes[middle]! ^= 1;
    writeFileSync(path, bytes);
    const second = open();
    expect(queues(second.database)).toEqual([1]);
    expect(existsSync(`${path}.cut`)).toBe(true);
    await second.close();
  });

  it("refuses a file that is not ours, untouched", () => {
    writeFileSync(path, "precious");
    expect(() => open()).toThrow(expect.objectContaining({ code: "DATABASE_UNREADABLE" }));
    expect(readFileSync(path, "utf8")).toBe("precious");
    const foreign = encodeRecord({ name: "Other", version: "1.0.0", tables: {} });
    writeFileSync(path, foreign);
    expect(() => open()).toThrow(expect.objectContaining({ code: "DATABASE_FOREIGN" }));
    expect(readFileSync(path)).toEqual(foreign);
    const [major = 0] = OPEN_VSWITCH_SCHEMA.version.split(".").map(Number);
    const newer = encodeRecord({ name: "Open_vSwitch", version: `${major + 1}.0.0`, tables: {} });
    writeFileSync(path, newer);
    expect(() => open()).toThrow(expect.objectContaining({ code: "DATABASE_NEWER" }));
    expect(readFileSync(path)).toEqual(newer);
  });

  it("refuses a transaction that cannot be written and stays as it was", async () => {
    let full = false;
    const { writeSync } = await import("node:fs");
    const files: LogFileSystem = {
      write: (fd, bytes, position) => {
        if (!full) return writeSync(fd, bytes, 0, bytes.length, position);
        writeSync(fd, bytes, 0, 5, position);
        throw new Error("ENOSPC: no space left on device");
      },
      sync: (_fd, done) => done(null),
    };
    const first = open({ files });
    addQueue(first.database, 1);
    full = true;
    expect(addQueue(first.database, 2)).toMatchObject({
      committed: false,
      results: [{}, { error: "I/O error" }],
    });
    expect(queues(first.database)).toEqual([1]);
    full = false;
    addQueue(first.database, 3);
    await first.close();
    const second = open();
    expect(queues(second.database)).toEqual([1, 3]);
    await second.close();
  });

  it("rewrites a file that has grown, with the same rows", async () => {
    const first = open();
    transact(first.database, [insertOp("Open_vSwitch", {})]);
    const filler = "x".repeat(100_000);
    for (let i = 0; i < 30; i++) {
      transact(first.database, [
        updateOp("Open_vSwitch", [], { external_ids: ["map", [["k", `${filler}${i}`]]] }),
      ]);
    }
    expect(statSync(path).size).toBeLessThan(1_500_000);
    await first.sync();
    await first.close();
    const second = open();
    expect([...second.database.rows("Open_vSwitch").values()][0]!.map("external_ids").get("k")).toBe(
      `${filler}29`,
    );
    await second.close();
  });

  it("reads records that ovsdb-server wrote as differences", async () => {
    await open().close();
    const uuid = "11111111-1111-1111-1111-111111111111";
    const records = [
      {
        Queue: {
          [uuid]: {
            dscp: 4,
            other_config: [
              "map",
              [
                ["a", "1"],
                ["b", "2"],
              ],
            ],
          },
        },
        _date: 1,
        _is_diff: true,
      },
      {
        Queue: {
          [uuid]: {
            dscp: 5,
            other_config: [
              "map",
              [
                ["a", "1"],
                ["c", "3"],
              ],
            ],
          },
        },
        _date: 2,
        _is_diff: true,
      },
      { Unknown: { [uuid]: { x: 1 } }, Queue: { [uuid]: { unknown: 1 } } },
    ];
    writeFileSync(path, Buffer.concat([readFileSync(path), ...records.map(encodeRecord)]));
    const { database, close } = open();
    const row = database.rows("Queue").get(uuid)!;
    expect(row.number("dscp")).toBe(5);
    expect(Object.fromEntries(row.map("other_config"))).toEqual({ b: "2", c: "3" });
    await close();
  });

  it("shares one sync between callers, never one that began before their commit", async () => {
    const begun: (() => void)[] = [];
    let synced = 0;
    const { writeSync } = await import("node:fs");
    const files: LogFileSystem = {
      write: (fd, bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
      sync: (_fd, done) => begun.push(() => done(null)),
    };
    const storage = open({ files });
    const commit = (dscp: number): void => {
      addQueue(storage.database, dscp);
      void storage.sync().then(() => synced++);
    };
    const settle = () => new Promise((resolve) => setImmediate(resolve));
    for (const dscp of [1, 2, 3]) commit(dscp);
    expect(begun).toHaveLength(1);
    begun[0]!();
    await settle();
    expect(synced).toBe(1);
    expect(begun).toHaveLength(2);
    commit(4);
    begun[1]!();
    await settle();
    expect(synced).toBe(3);
    expect(begun).toHaveLength(3);
    begun[2]!();
    await settle();
    expect(synced).toBe(4);
    const closed = storage.close();
    begun[3]!();
    await closed;
  });

  it("answers with an error when the medium refuses a commit", async () => {
    const { writeSync } = await import("node:fs");
    const files: LogFileSystem = {
      write: (fd, bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
      sync: (_fd, done) => setImmediate(() => done(new Error("EIO: i/o error"))),
    };
    const storage = open({ files });
    const server = new DatabaseServer([storage]);
    await server.listen(`punix:${join(dir, "db")}`);
    const peer = await connectJsonRpc(`unix:${join(dir, "db")}`);
    try {
      const answer = await peer.call("transact", ["Open_vSwitch", insertOp("Queue", { dscp: 1 })]);
      expect(answer).toEqual([{ uuid: expect.anything() }, expect.objectContaining({ error: "I/O error" })]);
    } finally {
      peer.close();
      await server.close();
      await expect(storage.close()).rejects.toMatchObject({ error: "I/O error" });
    }
  });
});
