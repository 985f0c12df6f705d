import { describe, expect, it } from "vitest";
import { type Datum, setOf } from "../../base/ovsdb/index.js";
import { type DatabaseChange, DatabaseRow } from "./database.js";
import { TransactionHistory } from "./history.js";
import { HISTORY_BYTES_MAX, HISTORY_CHANGES_MAX } from "./limits.js";
import { OPEN_VSWITCH_SCHEMA } from "./open-vswitch-schema.js";

const table = OPEN_VSWITCH_SCHEMA.tables.get("Queue")!;
const row = (uuid: string, dscp: number | string) =>
  new DatabaseRow(uuid, table, new Map<string, Datum>([["dscp", setOf([dscp])]]));
const change = (
  uuid: string,
  before: DatabaseRow | undefined,
  after: DatabaseRow | undefined,
): DatabaseChange => ({
  table,
  uuid,
  before,
  after,
});

describe("TransactionHistory", { timeout: 30_000 }, () => {
  it("joins what happened to a row, and forgets what came and went", () => {
    const history = new TransactionHistory();
    const begin = history.lastId;
    const [first, second] = [row("a", 1), row("a", 2)];
    history.add([change("a", undefined, first), change("b", undefined, row("b", 1))]);
    const middle = history.lastId;
    history.add([change("a", first, second)]);
    history.add([change("b", row("b", 1), undefined)]);
    expect(history.since(begin)).toEqual([change("a", undefined, second)]);
    expect(history.since(middle)?.map(({ uuid, after }) => [uuid, after])).toEqual([
      ["a", second],
      ["b", undefined],
    ]);
    expect(history.since(history.lastId)).toEqual([]);
    expect(history.since("00000000-0000-0000-0000-000000000000")).toBeUndefined();
  });

  it.each([
    [
      "changes",
      () => Array.from({ length: HISTORY_CHANGES_MAX }, (_, i) => change(`${i}`, undefined, row(`${i}`, 1))),
    ],
    ["bytes", () => [change("a", undefined, row("a", "x".repeat(HISTORY_BYTES_MAX)))]],
  ])("keeps no more %s than its limit", (_, fill) => {
    const history = new TransactionHistory();
    const begin = history.lastId;
    history.add([change("z", undefined, row("z", 1))]);
    const first = history.lastId;
    history.add(fill());
    expect(history.since(begin)).toBeUndefined();
    // What is just at the limit is kept.
    expect(history.since(first)).toBeDefined();
    history.add([change("y", undefined, row("y", 1))]);
    expect(history.since(first)).toBeUndefined();
    expect(history.since(history.lastId)).toEqual([]);
  });
});
