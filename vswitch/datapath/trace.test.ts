import { describe, expect, it } from "vitest";
import { tcpFrame } from "../testing/frames.js";
import { apply, field, goto, match, output, Rig } from "../testing/rig.js";

const IP = field("eth_type", 0x0800);

const frame = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 2);

const trace = (rig: Rig, inPort: number): string => rig.bridge.trace(frame, inPort, rig.nowMs);

describe("Bridge.trace()", () => {
  it("tells tables, actions, recirculation and the end, and changes nothing", () => {
    const rig = new Rig(2);
    const ct = { type: "ct", commit: false, force: false, zone: 1, alg: 0, actions: [] } as const;
    rig.flow({ cookie: 0xabn, match: match(field("in_port", 1)), instructions: [goto(1)] });
    rig.flow({ tableId: 1, priority: 7, match: match(IP), instructions: [apply({ ...ct, tableId: 2 })] });
    rig.flow({
      tableId: 2,
      match: match(IP, field("ct_state", 0x21, 0x21)),
      instructions: [apply({ ...ct, commit: true }, output(2))],
    });
    expect(trace(rig, 1).trimEnd().split("\n")).toEqual([
      "table 0: priority 100, cookie 0xab, matched in_port=0x1",
      "table 1: priority 7, cookie 0x0, matched eth_type=0x800",
      "    ct",
      "again from table 2: ct_state=0x21",
      "table 2: priority 100, cookie 0x0, matched eth_type=0x800,ct_state=0x21",
      "    ct",
      "    output",
      "     -> port 2",
    ]);
    expect(trace(rig, 2)).toContain("no match for in_port=0x2,eth_type=0x800,10.0.0.1>10.0.0.2");
    expect(trace(rig, 2)).toContain("dropped: table-miss");
    expect(rig.datapath.conntrack.size).toBe(0);
    expect(rig.bridge.tables.tableStats()[0]).toMatchObject({ lookupCount: 0n, matchedCount: 0n });
    expect(rig.datapath.counters()["drop_table_miss"]).toBe(0);
    expect(rig.pool.available).toBe(256);
  });
});
