// Our OVSDB server beside a real ovsdb-server: the same requests get the same answers and the same notifications.
// Compared without what may differ: uuids (by the insert that made them), versions, and the order of rows and of what
// one commit shows to several monitors. PLINTH_NIGHTLY=1: many more of them.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connectJsonRpc } from "../../base/jsonrpc/index.js";
import { RAW_BYTES } from "../support/ovsdb-bytes.js";
import { MISTAKES } from "../support/ovsdb-mistakes.js";
import { portConditions, transactions } from "../support/ovsdb-operations.js";
import { OvsdbPair } from "../support/ovsdb-pair.js";
import { rawAnswers } from "../support/ovsdb-raw.js";
import { RFC_7047_SCRIPTS } from "../support/ovsdb-scripts.js";
import { OvsdbSide } from "../support/ovsdb-side.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const TIMES = NIGHTLY ? 5 : 0.4;
const NOBODY = "00000000-0000-0000-0000-000000000000";
if (NIGHTLY) vi.setConfig({ testTimeout: 20 * 60_000 });
const TABLES = ["Bridge", "Port", "Interface", "Mirror", "Queue", "QoS", "Flow_Sample_Collector_Set", "SSL"];

let pair: OvsdbPair;

beforeAll(async () => {
  pair = await OvsdbPair.open();
});
afterAll(() => pair?.close());

async function connectSides(): Promise<{ ours: OvsdbSide; theirs: OvsdbSide }> {
  const ours = await OvsdbSide.connect(async (heard) => {
    const connection = await connectJsonRpc(pair.endpoint, {
      handler: { notification: (method, params) => heard([method, ...params]) },
    });
    return { connection, call: (method, params) => connection.call(method, params) };
  });
  const theirs = await OvsdbSide.connect((heard) =>
    pair.real.connect((method, params) => heard([method, ...params])),
  );
  for (const side of [ours, theirs]) {
    await side.step(0, "transact", [
      "Open_vSwitch",
      { op: "delete", table: "Open_vSwitch", where: [] },
      { op: "delete", table: "QoS", where: [] },
      { op: "delete", table: "Queue", where: [] },
      { op: "delete", table: "Flow_Sample_Collector_Set", where: [] },
      { op: "insert", table: "Open_vSwitch", row: {} },
    ]);
  }
  return { ours, theirs };
}

/** Runs the same steps on both and compares after each. */
async function compare(steps: readonly Step[]): Promise<void> {
  const { ours, theirs } = await connectSides();
  try {
    for (const [client, method, ...params] of steps) {
      const mine = await ours.step(client, method, params);
      const published = await theirs.step(client, method, params);
      expect({ method, params, ...(mine as object) }).toEqual({ method, params, ...(published as object) });
    }
    const dump = TABLES.map((table) => ({ op: "select", table, where: [] }));
    const all = (side: OvsdbSide) => side.step(0, "transact", ["Open_vSwitch", ...dump]);
    expect(await all(ours)).toEqual(await all(theirs));
  } finally {
    ours.close();
    theirs.close();
  }
}

type Step = readonly [client: number, method: string, ...params: unknown[]];

const client = fc.integer({ min: 0, max: 1 });
const transact = fc
  .tuple(client, transactions)
  .map(([who, operations]): Step => [who, "transact", "Open_vSwitch", ...operations]);
const monitored = fc.subarray([
  "name",
  "tag",
  "trunks",
  "external_ids",
  "interfaces",
  "protected",
  "_version",
]);
const select = fc.record(
  {
    initial: fc.boolean(),
    insert: fc.boolean(),
    delete: fc.boolean(),
    modify: fc.boolean(),
  },
  { requiredKeys: [] },
);

describe("beside ovsdb-server", () => {
  it("answers any transactions in the same way", async () => {
    await fc.assert(fc.asyncProperty(fc.array(transact, { minLength: 1, maxLength: 8 }), compare), {
      numRuns: 150 * TIMES,
    });
  });

  it("shows any transactions to monitors in the same way, with any columns, selections and conditions", async () => {
    const opening = fc
      .tuple(monitored, select, portConditions, monitored, select)
      .map(([columns, selected, condition, other, otherSelected]): Step[] => [
        [
          0,
          "monitor",
          "Open_vSwitch",
          "v1",
          { Port: [{ columns, select: selected }], Bridge: {}, Mirror: {} },
        ],
        [
          1,
          "monitor_cond",
          "Open_vSwitch",
          ["v2"],
          { Port: [{ columns: other, where: condition }], QoS: {} },
        ],
        [
          1,
          "monitor_cond",
          "Open_vSwitch",
          3,
          { Queue: [{ select: otherSelected, where: [["dscp", "<", 9]] }] },
        ],
      ]);
    const change = portConditions.map(
      (condition): Step => [1, "monitor_cond_change", ["v2"], ["v2"], { Port: [{ where: condition }] }],
    );
    const steps = fc.array(fc.oneof({ weight: 4, arbitrary: transact }, { weight: 1, arbitrary: change }), {
      minLength: 1,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(transact, opening, steps, (first, monitors, rest) =>
        compare([first, ...monitors, ...rest]),
      ),
      { numRuns: 120 * TIMES },
    );
  });

  // When a client stops waiting, ovsdb-server 3.1.0 tells the holder once more that it has the lock; RFC 7047, 4.1.10
  // knows "locked" only for who gets it.
  it("hands locks about in the same way, and asserts them, but tells no holder what it holds", async () => {
    const lock = fc.constantFrom("one", "two");
    const step = fc.oneof(
      fc
        .tuple(client, fc.constantFrom("lock", "steal", "unlock"), lock)
        .map(([who, method, name]): Step => [who, method, name]),
      fc
        .tuple(client, lock)
        .map(([who, name]): Step => [who, "transact", "Open_vSwitch", { op: "assert", lock: name }]),
    );
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), compare), {
      numRuns: 100 * TIMES,
    });
  });

  it("explains every mistake in the same words", async () => {
    await compare(MISTAKES.map((operations): Step => [0, "transact", "Open_vSwitch", ...operations]));
  });

  // U+0000 and lone halves of surrogates, which end a connection of ovsdb-server, are left out.
  it.each(Object.entries(RFC_7047_SCRIPTS))("keeps to RFC 7047, %s", (_name, steps) => compare(steps));

  it("answers odd requests in the same way", async () => {
    const port = (request: unknown) => ({ Port: request });
    await compare([
      ...["get_schema", "transact", "monitor_cond", "convert"].flatMap((method): Step[] => [
        [0, method],
        [0, method, 1],
        [0, method, "nope"],
      ]),
      ...[[], [1], [true, false], [true], [false]].map(
        (params): Step => [0, "set_db_change_aware", ...params],
      ),
      [0, "fly"],
      [0, "cancel", 1],
      [0, "transact", "Open_vSwitch"],
      [0, "transact", "Open_vSwitch", 1, {}],
      [0, "transact", "Open_vSwitch", { op: "abort" }, { op: "fly" }, 1],
      // Integers have 64 bits.
      ...[2n ** 63n - 1n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, -(2n ** 63n), 1.5].map(
        (timeout): Step => [
          0,
          "transact",
          "Open_vSwitch",
          { op: "wait", timeout, table: "Bridge", where: [], until: "==", rows: [] },
        ],
      ),
      [0, "transact", "_Server", { op: "delete", table: "Database", where: [] }],
      [0, "transact", "_Server", { op: "select", table: "Database", where: [], columns: ["name", "model"] }],
      ...[[], [1], ["1x"], ["a", "b"]].flatMap((params) =>
        ["lock", "steal", "unlock"].map((method): Step => [0, method, ...params]),
      ),
      [0, "monitor", "Open_vSwitch", null, {}],
      [0, "monitor", "Open_vSwitch", null, {}],
      ...[
        1,
        [1],
        { columns: ["x"] },
        { columns: ["name", "name"] },
        { select: { x: true } },
        { select: { insert: 1 } },
      ].flatMap((request): Step[] => [
        [0, "monitor", "Open_vSwitch", "m", port(request)],
        [0, "monitor_cond", "Open_vSwitch", "m", port(request)],
      ]),
      [0, "monitor", "Open_vSwitch", "m", port([{ columns: ["name"] }, { columns: ["name"] }])],
      [0, "monitor", "Open_vSwitch", "m", { Nope: [] }],
      [0, "monitor", "Open_vSwitch", "long", {}, 1, 2],
      [0, "monitor_cond", "Open_vSwitch", "m", {}, 1],
      [0, "monitor_cond", "Open_vSwitch", "m", port({ where: true })],
      [0, "monitor_cond", "Open_vSwitch", "m", port({ where: [["x", "==", 1]] })],
      // What is wrong is told, also where another request shows every row.
      ...[{}, { where: [] }, { where: [true] }].map(
        (all): Step => [
          0,
          "monitor_cond",
          "Open_vSwitch",
          "m",
          port([
            { columns: ["name"], ...all },
            { columns: ["tag"], where: [["x", "==", 1]] },
          ]),
        ],
      ),
      [0, "monitor_cond", "Open_vSwitch", "m", port([{ columns: ["name"] }, { columns: ["tag"] }])],
      [0, "monitor_cond", "Open_vSwitch", "m", {}],
      [0, "monitor_cond_change", "m", "n", {}],
      [0, "monitor_cond_change", "m", "m", {}],
      [0, "monitor_cond_change", "n", null, {}],
      [0, "monitor_cond_change", "n"],
      [0, "monitor_cond_change", "n", "n", port([{ columns: ["name"] }])],
      [0, "monitor_cond_change", "n", "n", { Nope: [{ where: [] }] }],
      [0, "monitor_cond_since", "Open_vSwitch", "s", {}],
      [0, "monitor_cond_since", "Open_vSwitch", "s", {}, null],
      [0, "monitor_cond_since", "Open_vSwitch", "s", {}, "x"],
      [0, "monitor_cancel"],
      [0, "monitor_cancel", "nope"],
      [0, "monitor_cancel", null],
      [0, "monitor_cancel", "n", "n"],
    ]);
  });

  it("takes any bytes as ovsdb-server does", async () => {
    for (const bytes of RAW_BYTES) {
      const sent = Buffer.from(bytes).toString("latin1").slice(0, 300);
      const [ours, theirs] = await Promise.all(
        [pair.endpoint, pair.real.endpoint].map((endpoint) => rawAnswers(endpoint, bytes)),
      );
      expect({ sent, told: ours }).toEqual({ sent, told: theirs });
    }
  });

  it("takes a transaction of many operations, and a long row", async () => {
    const [operations, length] = NIGHTLY ? [100_000, 50_000_000] : [2_000, 500_000];
    const connection = await connectJsonRpc(pair.endpoint, { sizeBytesMax: 2 ** 26 });
    const transact = (...operations: object[]) =>
      connection.call("transact", ["Open_vSwitch", ...operations], 60_000);
    try {
      const many = Array.from({ length: operations }, () => ({ op: "select", table: "SSL", where: [] }));
      expect(((await transact(...many)) as unknown[]).length).toBe(operations);
      const external_ids = ["map", [["long", "x".repeat(length)]]];
      const [, { rows }] = (await transact(
        { op: "insert", table: "Queue", row: { external_ids } },
        { op: "select", table: "Queue", where: [], columns: ["dscp"] },
        { op: "abort" },
      )) as [unknown, { rows: unknown[] }];
      expect(rows).toEqual([{ dscp: ["set", []] }]);
    } finally {
      connection.close();
    }
  });

  it("shows update3 as ovsdb-server does, but for ids that it does not keep", async () => {
    const { ours, theirs } = await connectSides();
    try {
      for (const [method, ...params] of [
        ["transact", "Open_vSwitch", { op: "insert", table: "Queue", row: { dscp: 1 } }],
        ["monitor_cond_since", "Open_vSwitch", "s", { Queue: [{ where: [["dscp", "<", 5]] }] }, NOBODY],
        ["transact", "Open_vSwitch", { op: "update", table: "Queue", where: [], row: { dscp: 2 } }],
        ["transact", "Open_vSwitch", { op: "update", table: "Queue", where: [], row: { dscp: 9 } }],
        ["monitor_cond_change", "s", "s", { Queue: [{ where: [["dscp", "==", 9]] }] }],
        ["monitor_cancel", "s"],
      ] as [string, ...unknown[]][]) {
        expect(await ours.step(0, method, params)).toEqual(await theirs.step(0, method, params));
      }
    } finally {
      ours.close();
      theirs.close();
    }
  });
});
