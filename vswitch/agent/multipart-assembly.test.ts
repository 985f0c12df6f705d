import { describe, expect, it } from "vitest";
import {
  type MultipartRequest,
  type MultipartRequestBody,
  OFPG_ANY,
  OFPP_ANY,
  type TableFeatures,
} from "../../base/openflow/index.js";
import { ASSEMBLIES_MAX, ASSEMBLY_BYTES_MAX } from "./limits.js";
import { MultipartAssembly } from "./multipart-assembly.js";

const table = (tableId: number): TableFeatures => ({
  tableId,
  name: "",
  metadataMatch: 0n,
  metadataWrite: 0n,
  config: 0,
  maxEntries: 0,
  properties: [],
});
const piece = (xid: number, flags: number, body: MultipartRequestBody): MultipartRequest => ({
  type: "multipart_request",
  xid,
  flags,
  body,
});
const tables = (xid: number, flags: number, ...ids: number[]): MultipartRequest =>
  piece(xid, flags, { kind: "table_features", tables: ids.map(table) });
const idsOf = (taken: ReturnType<MultipartAssembly["take"]>): unknown =>
  typeof taken === "object" && "tables" in taken.body
    ? taken.body.tables.map(({ tableId }) => tableId)
    : taken;

describe("MultipartAssembly", () => {
  it("joins pieces, of several requests at a time", () => {
    const assembly = new MultipartAssembly();
    expect(assembly.take(tables(1, 1, 0, 1), 100)).toBeUndefined();
    expect(assembly.take(tables(2, 1, 7), 100)).toBeUndefined();
    expect(idsOf(assembly.take(tables(3, 0, 9), 100))).toEqual([9]);
    expect(assembly.take(tables(1, 1), 100)).toBeUndefined();
    expect(idsOf(assembly.take(tables(1, 0, 2), 100))).toEqual([0, 1, 2]);
    expect(idsOf(assembly.take(tables(2, 0, 8), 100))).toEqual([7, 8]);
    expect(idsOf(assembly.take(tables(1, 0, 5), 100))).toEqual([5]);
  });

  it("takes an empty last piece of what has no body, and refuses a second body where there can be one", () => {
    const assembly = new MultipartAssembly();
    expect(assembly.take(piece(1, 1, { kind: "desc" }), 16)).toBeUndefined();
    expect(assembly.take(piece(1, 0, { kind: "desc" }), 16)).toMatchObject({ body: { kind: "desc" } });
    const filter = {
      tableId: 0,
      outPort: OFPP_ANY,
      outGroup: OFPG_ANY,
      cookie: 0n,
      cookieMask: 0n,
      match: [],
    };
    expect(assembly.take(piece(2, 1, { kind: "flow", ...filter }), 56)).toBeUndefined();
    expect(assembly.take(piece(2, 0, { kind: "flow", ...filter }), 56)).toBe("OFPBRC_BAD_MULTIPART");
  });

  it("refuses pieces of different kinds once, and ignores the rest of that request", () => {
    const assembly = new MultipartAssembly();
    assembly.take(tables(1, 1, 0), 100);
    expect(assembly.take(piece(1, 1, { kind: "desc" }), 16)).toBe("OFPBRC_BAD_MULTIPART");
    expect(assembly.take(tables(1, 1, 1), 100)).toBeUndefined();
    expect(assembly.take(tables(1, 0, 2), 100)).toBeUndefined();
    expect(idsOf(assembly.take(tables(1, 0, 3), 100))).toEqual([3]);
  });

  it("keeps so many bytes of all requests together, refuses more once, and has room again afterwards", () => {
    const assembly = new MultipartAssembly();
    const half = ASSEMBLY_BYTES_MAX / 2;
    assembly.take(tables(1, 1, 0), half);
    assembly.take(tables(2, 1, 0), half);
    expect(assembly.take(tables(1, 1, 1), 1)).toBe("OFPBRC_MULTIPART_BUFFER_OVERFLOW");
    expect(assembly.take(tables(1, 1, 2), 1)).toBeUndefined();
    expect(assembly.take(tables(3, 1, 0), half)).toBeUndefined();
    expect(assembly.take(tables(4, 1, 0), 1)).toBe("OFPBRC_MULTIPART_BUFFER_OVERFLOW");
    expect(assembly.take(tables(1, 0, 3), 1)).toBeUndefined();
    // The last piece is not kept any more.
    expect(idsOf(assembly.take(tables(2, 0, 1), 1))).toEqual([0, 1]);
    expect(idsOf(assembly.take(tables(3, 0, 1), 1))).toEqual([0, 1]);
  });

  it("forgets the oldest request that was never finished", () => {
    const assembly = new MultipartAssembly();
    for (let xid = 0; xid <= ASSEMBLIES_MAX; xid++) assembly.take(tables(xid, 1, 0), 10);
    expect(idsOf(assembly.take(tables(0, 0, 1), 10))).toEqual([1]);
    expect(idsOf(assembly.take(tables(1, 0, 1), 10))).toEqual([0, 1]);
  });
});
