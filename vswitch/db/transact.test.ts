import { describe, expect, it } from "vitest";
import {
  byUuid,
  deleteOp,
  insertOp,
  mapValue,
  mutateOp,
  namedUuid,
  type Operation,
  parseSchema,
  selectOp,
  setValue,
  updateOp,
  uuidValue,
} from "../../base/ovsdb/index.js";
import { Database } from "./database.js";
import { type TransactOptions, transact } from "./execute.js";
import { OPEN_VSWITCH_SCHEMA } from "./open-vswitch-schema.js";

function run(
  database: Database,
  operations: readonly unknown[],
  options: TransactOptions = {},
  // biome-ignore lint/suspicious/noExplicitAny: results are JSON of many shapes
): readonly any[] {
  const outcome = transact(database, operations, options);
  if (outcome.kind === "wait") throw new Error("the transaction waits");
  return outcome.results;
}

/** A switch with bridge br0 and one port of each name. */
function makeSwitch(...ports: string[]): Database {
  const database = new Database(OPEN_VSWITCH_SCHEMA);
  const operations: Operation[] = [
    insertOp("Open_vSwitch", { bridges: namedUuid("br") }),
    insertOp("Bridge", { name: "br0", ports: setValue(ports.map((name) => namedUuid(`p_${name}`))) }, "br"),
  ];
  for (const name of ports) {
    operations.push(
      insertOp("Port", { name, interfaces: namedUuid(`i_${name}`) }, `p_${name}`),
      insertOp("Interface", { name }, `i_${name}`),
    );
  }
  for (const result of run(database, operations)) expect(result).not.toHaveProperty("error");
  return database;
}

const uuidOfPort = (database: Database, name: string): string =>
  [...database.rows("Port").values()].find((row) => row.string("name") === name)!.uuid;

describe("transact()", () => {
  it("resolves names used before their insert", () => {
    const database = makeSwitch("p1", "p2");
    const [bridge] = database.rows("Bridge").values();
    expect(bridge!.strings("ports").sort()).toEqual([...database.rows("Port").keys()].sort());
  });

  it("collects rows that nothing refers to any more, all the way down", () => {
    const database = makeSwitch("p1", "p2");
    const gone = uuidOfPort(database, "p1");
    run(database, [mutateOp("Bridge", [], [["ports", "delete", uuidValue(gone)]])]);
    expect([...database.rows("Interface").values()].map((row) => row.string("name"))).toEqual(["p2"]);
    run(database, [updateOp("Open_vSwitch", [], { bridges: setValue([]) })]);
    expect(database.rowCount).toBe(1);
  });

  it("keeps no unreferenced insert outside root tables, and keeps root rows", () => {
    const database = makeSwitch();
    expect(
      run(database, [
        insertOp("Port", { name: "x", interfaces: namedUuid("i") }),
        insertOp("Interface", { name: "x" }, "i"),
      ]),
    ).toHaveLength(2);
    expect(database.rows("Port").size).toBe(0);
    run(database, [insertOp("QoS", { type: "linux-htb" })]);
    expect(database.rows("QoS").size).toBe(1);
  });

  it("refuses dangling references and the deletion of referenced rows", () => {
    const database = makeSwitch("p1");
    const [missing] = run(database, [
      mutateOp("Bridge", [], [["ports", "insert", uuidValue("12345678-1234-1234-1234-123456789abc")]]),
    ]).slice(-1);
    expect(missing.error).toBe("referential integrity violation");
    const results = run(database, [deleteOp("Port", [["name", "==", "p1"]])]);
    expect(results).toEqual([
      { count: 1 },
      expect.objectContaining({ error: "referential integrity violation" }),
    ]);
    expect(database.rows("Port").size).toBe(1);
    // Also of a row that would be collected at once.
    expect(run(database, [insertOp("Port", { name: "p9" })]).at(-1)).toMatchObject({
      error: "referential integrity violation",
    });
  });

  it("refuses a second row with one index, also for a swap in between", () => {
    const database = makeSwitch("p1", "p2");
    const before = database.rowCount;
    const results = run(database, [
      insertOp("Port", { name: "p1", interfaces: namedUuid("i") }, "p"),
      insertOp("Interface", { name: "p3" }, "i"),
      mutateOp("Bridge", [], [["ports", "insert", namedUuid("p")]]),
    ]);
    expect(results[3].error).toBe("constraint violation");
    expect(results[3].details).toContain('identical values (p1) for index on column "name"');
    expect(database.rowCount).toBe(before);
  });

  it("lets weak references go with their row", () => {
    const database = makeSwitch("p1", "p2");
    run(database, [
      insertOp(
        "Mirror",
        {
          name: "m",
          select_src_port: setValue([
            uuidValue(uuidOfPort(database, "p1")),
            uuidValue(uuidOfPort(database, "p2")),
          ]),
        },
        "m",
      ),
      updateOp("Bridge", [], { mirrors: namedUuid("m") }),
    ]);
    run(database, [mutateOp("Bridge", [], [["ports", "delete", uuidValue(uuidOfPort(database, "p1"))]])]);
    const [mirror] = database.rows("Mirror").values();
    expect(mirror!.strings("select_src_port")).toEqual([uuidOfPort(database, "p2")]);
  });

  it("writes no weak reference to a row that is not there, or goes as it came", () => {
    const database = makeSwitch("p1");
    const port = uuidOfPort(database, "p1");
    const missing = uuidValue("12345678-1234-1234-1234-123456789abc");
    run(database, [
      insertOp("Port", { name: "brief", interfaces: namedUuid("i") }, "p"),
      insertOp("Interface", { name: "brief" }, "i"),
      insertOp(
        "Mirror",
        {
          name: "m",
          select_src_port: setValue([uuidValue(port), namedUuid("p"), missing]),
        },
        "m",
      ),
      updateOp("Bridge", [], { mirrors: namedUuid("m") }),
    ]);
    const [mirror] = database.rows("Mirror").values();
    expect(mirror!.strings("select_src_port")).toEqual([port]);
    run(database, [mutateOp("Mirror", [], [["select_src_port", "insert", missing]])]);
    expect([...database.rows("Mirror").values()][0]!.strings("select_src_port")).toEqual([port]);
  });

  it("says which row would be left without the weak references that it must have", () => {
    const required = { key: { type: "uuid", refTable: "A", refType: "weak" }, min: 1, max: "unlimited" };
    const database = new Database(
      parseSchema({
        name: "d",
        version: "1.0.0",
        tables: {
          A: { columns: { n: { type: "integer" } }, isRoot: true },
          B: { columns: { n: { type: "integer" }, as: { type: required } }, isRoot: true },
        },
      }),
    );
    const [gone, kept, late] = ["a", "b", "c"].map((digit) => `12345678-1234-1234-1234-12345678901${digit}`);
    const failure = (...operations: unknown[]) => run(database, operations).find((result) => result?.error);
    run(database, [
      insertOp("A", { n: 1 }, "a"),
      { op: "insert", table: "B", row: { as: namedUuid("a") }, uuid: kept },
    ]);
    expect(database.rows("B").size).toBe(1);
    // The words of ovsdb-server.
    expect(failure(deleteOp("A", []))).toEqual({
      error: "constraint violation",
      details:
        `Deletion of 1 weak reference(s) to deleted (or never-existing) rows from column "as" in "B" row ${kept} ` +
        "caused this column to become empty, but constraints on this column disallow an empty column.",
    });
    const nothing = { as: setValue([uuidValue(gone!), uuidValue(late!)]) };
    expect(failure({ op: "insert", table: "B", row: nothing, uuid: late }).details).toContain(
      `Deletion of 2 weak reference(s) to deleted (or never-existing) rows from column "as" in "B" row ${late} ` +
        "(inserted within this transaction) caused",
    );
    expect(failure({ op: "insert", table: "B", row: {}, uuid: late }).details).toBe(
      `Weak reference column "as" in "B" row ${late} (inserted within this transaction) contained all-zeros UUID ` +
        "(probably as the default value for this column) but deleting this value caused a constraint volation " +
        "because this column is not allowed to be empty.",
    );
    expect(database.rows("B").size).toBe(1);
  });

  it("enforces maxRows, constraints, sizes and immutability by name", () => {
    const database = makeSwitch("p1");
    const failure = (...operations: unknown[]) => run(database, operations).find((result) => result?.error);
    expect(failure(insertOp("Open_vSwitch", {}))).toMatchObject({
      error: "constraint violation",
      details: expect.stringContaining("Open_vSwitch"),
    });
    expect(failure(updateOp("Port", [], { tag: 4096 }))).toMatchObject({
      error: "constraint violation",
      details: "4096 is not in the valid range 0 to 4095 (inclusive)",
    });
    expect(failure(updateOp("Port", [], { vlan_mode: "odd" }))).toMatchObject({
      error: "constraint violation",
    });
    expect(failure(updateOp("Port", [], { interfaces: setValue([]) }))).toMatchObject({
      error: "syntax error",
    });
    expect(failure(updateOp("Port", [], { name: "x" }))).toMatchObject({ error: "constraint violation" });
    expect(failure(updateOp("Port", [], { nothing: 1 }))).toMatchObject({ error: "unknown column" });
    expect(failure({ op: "insert", table: "Port", row: {}, rows: [] })).toMatchObject({
      error: "syntax error",
    });
    expect(failure(insertOp("Queue", {}, "a"), insertOp("Queue", {}, "a"))).toMatchObject({
      error: "duplicate uuid-name",
    });
    expect(failure({ op: "fly" }, { op: "fly" })).toMatchObject({ error: "syntax error" });
  });

  it("leaves nothing of a transaction that fails or aborts", () => {
    const database = makeSwitch();
    const results = run(database, [
      insertOp("QoS", { type: "a" }),
      { op: "abort" },
      insertOp("QoS", { type: "b" }),
    ]);
    expect(results).toEqual([
      { uuid: expect.anything() },
      expect.objectContaining({ error: "aborted" }),
      null,
    ]);
    expect(database.rows("QoS").size).toBe(0);
  });

  it("mutates numbers, sets and maps", () => {
    const database = makeSwitch("p1");
    const failure = (mutations: Parameters<typeof mutateOp>[2], table = "Open_vSwitch") =>
      run(database, [mutateOp(table, [], mutations)]).find((result) => result?.error)?.error;
    run(database, [
      mutateOp(
        "Open_vSwitch",
        [],
        [
          ["next_cfg", "+=", 7],
          ["next_cfg", "*=", 3],
          ["next_cfg", "/=", 2],
          ["next_cfg", "%=", 4],
        ],
      ),
    ]);
    const [row] = database.rows("Open_vSwitch").values();
    expect(row!.number("next_cfg")).toBe(2);
    expect(failure([["next_cfg", "/=", 0]])).toBe("domain error");
    const toZero: Parameters<typeof mutateOp>[2] = [
      ["next_cfg", "-=", 9],
      ["next_cfg", "*=", 0],
    ];
    expect(failure(toZero)).toBeUndefined();
    const [zeroed] = database.rows("Open_vSwitch").values();
    expect(Object.is(zeroed!.number("next_cfg"), 0)).toBe(true);
    run(database, [mutateOp("Open_vSwitch", [], [["next_cfg", "+=", 2]])]);
    expect(failure([["next_cfg", "+=", 2n ** 63n - 3n]])).toBeUndefined();
    expect(database.rows("Open_vSwitch").values().next().value!.integer("next_cfg")).toBe(2n ** 63n - 1n);
    expect(failure([["next_cfg", "+=", 1]])).toBe("range error");
    expect(failure([["next_cfg", "-=", 2n ** 63n - 3n]])).toBeUndefined();
    expect(database.rows("Open_vSwitch").values().next().value!.integer("next_cfg")).toBe(2);
    expect(failure([["external_ids", "+=", 1]])).toBe("syntax error");
    expect(failure([["tag", "insert", setValue([1, 2])]], "Port")).toBe("syntax error");
    run(database, [mutateOp("Port", [], [["external_ids", "insert", mapValue({ a: "1", b: "2" })]])]);
    run(database, [mutateOp("Port", [], [["external_ids", "insert", mapValue({ a: "9", c: "3" })]])]);
    run(database, [
      mutateOp(
        "Port",
        [],
        [
          ["external_ids", "delete", setValue(["b"])],
          ["external_ids", "delete", mapValue({ c: "other" })],
        ],
      ),
    ]);
    const [port] = database.rows("Port").values();
    expect(Object.fromEntries(port!.map("external_ids"))).toEqual({ a: "1", c: "3" });
  });

  it("selects with every kind of condition", () => {
    const database = makeSwitch("p1", "p2", "p3");
    run(database, [updateOp("Port", [["name", "==", "p2"]], { tag: 20, trunks: setValue([1, 2]) })]);
    const names = (...where: Parameters<typeof selectOp>[1]) =>
      run(database, [selectOp("Port", where, ["name"])])[0]
        .rows.map((row: { name: string }) => row.name)
        .sort();
    expect(names(["trunks", "includes", setValue([1])])).toEqual(["p2"]);
    expect(names(["trunks", "excludes", setValue([1])])).toEqual(["p1", "p3"]);
    expect(names(["tag", ">=", 20])).toEqual(["p2"]);
    expect(names(["tag", "<", 20])).toEqual([]);
    expect(names(["name", "!=", "p1"], ["tag", "==", setValue([])])).toEqual(["p3"]);
    expect(run(database, [selectOp("Port", byUuid(uuidOfPort(database, "p3")))])[0].rows[0]).toMatchObject({
      name: "p3",
      _uuid: ["uuid", uuidOfPort(database, "p3")],
    });
  });

  it("waits, times out, and asserts locks", () => {
    const database = makeSwitch("p1");
    const wait = {
      op: "wait",
      table: "Port",
      where: [["name", "==", "p1"]],
      columns: ["tag"],
      until: "==",
      rows: [{ tag: 5 }],
      timeout: 10,
    };
    expect(transact(database, [wait])).toEqual({ kind: "wait", timeoutMs: 10 });
    const timedOut = (details: string) => ({ error: "timed out", details });
    expect(run(database, [wait], { elapsedMs: 10 })[0]).toEqual(timedOut('"wait" timed out after 10 ms'));
    expect(run(database, [{ ...wait, timeout: 0 }])[0]).toEqual(timedOut('"where" clause test failed'));
    // Integers have 64 bits.
    const longest = { ...wait, timeout: 2n ** 63n - 1n };
    expect(transact(database, [longest])).toEqual({ kind: "wait", timeoutMs: 2 ** 63 });
    expect(run(database, [{ ...wait, timeout: 2n ** 63n }])[0].error).toBe("syntax error");
    expect(run(database, [{ ...wait, timeout: -(2n ** 63n) }])[0].details).toBe(
      "timeout must be nonnegative",
    );
    run(database, [updateOp("Port", [], { tag: 5 })]);
    expect(run(database, [wait])).toEqual([{}]);
    expect(run(database, [{ op: "assert", lock: "L" }])[0].error).toBe("not owner");
    expect(run(database, [{ op: "assert", lock: "L" }], { ownsLock: (lock) => lock === "L" })).toEqual([{}]);
  });

  it("changes a row's version only with the row", () => {
    const database = makeSwitch("p1");
    const version = () => [...database.rows("Port").values()][0]!.version;
    const before = version();
    expect(transact(database, [updateOp("Port", [], { tag: setValue([]) })])).toMatchObject({
      committed: true,
      changed: false,
    });
    expect(version()).toBe(before);
    run(database, [updateOp("Port", [], { tag: 1 })]);
    expect(version()).not.toBe(before);
  });
});
