import { describe, expect, it } from "vitest";
import {
  type Action,
  ALL_FLOWS,
  OFPFF_CHECK_OVERLAP,
  OFPFF_NO_BYT_COUNTS,
  OFPFF_NO_PKT_COUNTS,
  OFPFF_RESET_COUNTS,
  OFPFF_SEND_FLOW_REM,
  OFPTT_ALL,
  type OxmEntry,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, codeOf, field, goto, match, output, Rig, write } from "../testing/rig.js";

const frame = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");

describe("FlowTables", () => {
  it("judges the next packet by a change, cached or not", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply(output(2))] });
    for (let n = 0; n < 3; n++) expect(rig.where(1, frame)).toEqual([2]);
    rig.flow({ command: "modify", instructions: [apply(output(3))] });
    expect(rig.where(1, frame)).toEqual([3]);
    rig.flow({ priority: 200, match: match(field("in_port", 1)), instructions: [] });
    expect(rig.where(1, frame)).toEqual([]);
    rig.flow({ command: "delete_strict", priority: 200, match: match(field("in_port", 1)) });
    expect(rig.where(1, frame)).toEqual([3]);
  });

  it("counts every packet of a flow exactly, and keeps counters over an identical add unless told to reset", () => {
    const rig = new Rig(2);
    rig.flow({ instructions: [apply(output(2))] });
    rig.send(1, ...Array.from({ length: 100 }, () => frame));
    const stats = () => rig.bridge.tables.flowStats(ALL_FLOWS, rig.nowMs)[0]!;
    expect([stats().packetCount, stats().byteCount]).toEqual([100n, BigInt(100 * frame.byteLength)]);
    rig.flow({ instructions: [apply(output(2))] });
    expect(stats().packetCount).toBe(100n);
    rig.flow({ flags: OFPFF_RESET_COUNTS, instructions: [apply(output(2))] });
    expect(stats().packetCount).toBe(0n);
  });

  it("tells no counters of flows that are not to be counted, and brings none back", () => {
    const rig = new Rig(2);
    const NONE = 0xffffffffffffffffn;
    const flags = OFPFF_NO_PKT_COUNTS | OFPFF_SEND_FLOW_REM;
    rig.flow({ flags, idleTimeoutSeconds: 5, instructions: [apply(output(2))] });
    rig.send(1, frame, frame);
    const stats = () => rig.bridge.tables.flowStats(ALL_FLOWS, rig.nowMs)[0]!;
    expect([stats().packetCount, stats().byteCount]).toEqual([NONE, BigInt(2 * frame.byteLength)]);
    expect(rig.bridge.tables.aggregateStats(ALL_FLOWS)).toEqual({
      packetCount: 0n,
      byteCount: BigInt(2 * frame.byteLength),
      flowCount: 1,
    });
    rig.flow({ flags: OFPFF_NO_BYT_COUNTS, instructions: [apply(output(2))] });
    expect([stats().packetCount, stats().byteCount]).toEqual([0n, NONE]);
    rig.flow({ flags: flags | OFPFF_NO_BYT_COUNTS, idleTimeoutSeconds: 5, instructions: [apply(output(2))] });
    // The idle time-out does not need the counters.
    rig.nowMs += 4000;
    rig.send(1, frame);
    rig.nowMs += 4000;
    rig.send(1);
    expect(rig.bridge.tables.flowCount).toBe(1);
    rig.nowMs += 2000;
    rig.send(1);
    expect(rig.events).toMatchObject([{ reason: "idle_timeout", packetCount: NONE, byteCount: NONE }]);
  });

  it("resets counters by a modify only when asked, and sends no removal for a flow that is replaced", () => {
    const rig = new Rig(2);
    rig.flow({ flags: OFPFF_SEND_FLOW_REM, instructions: [apply(output(2))] });
    rig.send(1, frame);
    const packets = () => rig.bridge.tables.flowStats(ALL_FLOWS, rig.nowMs)[0]!.packetCount;
    rig.flow({ command: "modify", instructions: [] });
    expect(packets()).toBe(1n);
    rig.flow({ command: "modify_strict", flags: OFPFF_RESET_COUNTS, instructions: [] });
    expect(packets()).toBe(0n);
    rig.flow({ flags: OFPFF_SEND_FLOW_REM });
    expect(rig.events).toEqual([]);
  });

  it("adds as many flows of one match as there are priorities, and finds each again", () => {
    const rig = new Rig(2);
    const only = match(field("in_port", 1));
    for (let i = 0; i < 65_536; i++)
      rig.flow({
        priority: (i * 25_717) & 0xffff,
        cookie: BigInt(i),
        match: only,
        instructions: [apply(output(2))],
      });
    expect(rig.bridge.tables.flowCount).toBe(65_536);
    rig.flow({ command: "modify_strict", priority: 65_535, match: only, instructions: [] });
    expect(rig.where(1, frame)).toEqual([]);
    rig.flow({ command: "delete_strict", priority: 65_535, match: only });
    expect(rig.where(1, frame)).toEqual([2]);
    rig.flow({ command: "delete", match: only });
    expect(rig.bridge.tables.flowCount).toBe(0);
  });

  it("has the tables that it is told to have, with so many flows and these bits of metadata", () => {
    const rig = new Rig(2);
    const { tables } = rig.bridge;
    const ones = 0xffffffffffffffffn;
    const whole = { maxEntries: 1_000_000, metadataMatch: ones, metadataWrite: ones };
    const metadata = (value: bigint, mask?: bigint) => {
      const bytes = (bits: bigint): Uint8Array =>
        Uint8Array.from({ length: 8 }, (_, i) => Number((bits >> BigInt(56 - 8 * i)) & 0xffn));
      return match({
        field: "metadata",
        value: bytes(value),
        ...(mask === undefined ? {} : { mask: bytes(mask) }),
      });
    };
    for (const tableId of [0, 1, 2, 3]) rig.flow({ tableId, flags: OFPFF_SEND_FLOW_REM });
    rig.bridge.watchFlows(true);
    tables.configure(
      [
        { tableId: 0, ...whole },
        { tableId: 2, ...whole, maxEntries: 2 },
        { tableId: 5, ...whole, metadataMatch: 0xffn, metadataWrite: 0xf0n },
      ],
      rig.nowMs,
    );
    rig.datapath.deliver();
    expect(tables.flowStats(ALL_FLOWS, rig.nowMs).map(({ tableId }) => tableId)).toEqual([0]);
    expect(tables.tableStats().map(({ tableId }) => tableId)).toEqual([0, 2, 5]);
    expect(rig.events.map((event) => event.type)).toEqual(["flow_change", "flow_change", "flow_change"]);
    const refused = (mod: Parameters<Rig["flow"]>[0]) => codeOf(() => rig.flow(mod));
    expect(refused({ tableId: 1 })).toBe("OFPFMFC_BAD_TABLE_ID");
    expect(refused({ tableId: 1, command: "delete" })).toBe("OFPFMFC_BAD_TABLE_ID");
    expect(refused({ instructions: [goto(1)] })).toBe("OFPBIC_BAD_TABLE_ID");
    expect(refused({ instructions: [goto(5)] })).toBe("accepted");
    expect([1, 2, 3].map((priority) => refused({ tableId: 2, priority }))).toEqual([
      "accepted",
      "accepted",
      "OFPFMFC_TABLE_FULL",
    ]);
    expect(refused({ tableId: 2, priority: 2 })).toBe("accepted");
    expect(refused({ tableId: 5, match: metadata(1n) })).toBe("OFPBMC_BAD_MASK");
    expect(refused({ tableId: 5, match: metadata(1n, 0xffn) })).toBe("accepted");
    const writing = (mask: bigint) => [{ type: "write_metadata", metadata: 0n, mask } as const];
    expect(refused({ tableId: 5, instructions: writing(0xffn) })).toBe("OFPBIC_UNSUP_METADATA_MASK");
    expect(refused({ tableId: 5, instructions: writing(0xf0n) })).toBe("accepted");
    tables.configure(
      [...Array(254).keys()].map((tableId) => ({ tableId, ...whole })),
      rig.nowMs,
    );
    expect(refused({ tableId: 1 })).toBe("accepted");
    expect(tables.flowStats(ALL_FLOWS, rig.nowMs).map(({ tableId }) => tableId)).toEqual([0, 1]);
  });

  it("refuses with the specification's codes and changes nothing", () => {
    const rig = new Rig(2);
    const refused = (mod: Parameters<Rig["flow"]>[0]) => codeOf(() => rig.flow(mod));
    expect(refused({ tableId: 254 })).toBe("OFPFMFC_BAD_TABLE_ID");
    expect(refused({ tableId: 3, instructions: [goto(3)] })).toBe("OFPBIC_BAD_TABLE_ID");
    expect(refused({ flags: 0x80 })).toBe("OFPFMFC_BAD_FLAGS");
    expect(refused({ bufferId: 5 })).toBe("OFPBRC_BUFFER_UNKNOWN");
    expect(refused({ match: match(field("in_phy_port", 1)) })).toBe("OFPBMC_BAD_FIELD");
    expect(refused({ match: match(field("xreg3", 2), field("reg7", 1)) }), "its lower half").toBe(
      "OFPBMC_DUP_FIELD",
    );
    const masked = (name: OxmFieldName, value: number, mask: number): OxmEntry => ({
      ...field(name, value),
      mask: field(name, mask).value,
    });
    expect(refused({ match: [masked("xreg3", 2, 0xff), masked("reg7", 0x100, 0xff00)] })).toBe("accepted");
    rig.flow({ command: "delete" });
    expect(refused({ instructions: [apply({ type: "group", groupId: 9 })] })).toBe("OFPBAC_BAD_OUT_GROUP");
    expect(refused({ instructions: [{ type: "meter", meterId: 9 }] })).toBe("OFPMMFC_UNKNOWN_METER");
    expect(
      refused({ instructions: [apply({ type: "set_field", field: "tcp_dst", value: Uint8Array.of(0, 1) })] }),
    ).toBe("OFPBAC_MATCH_INCONSISTENT");
    expect(refused({ instructions: [apply({ type: "push_vlan", etherType: 0x0800 })] })).toBe(
      "OFPBAC_BAD_ARGUMENT",
    );
    expect(rig.bridge.tables.flowCount).toBe(0);
    rig.flow({ match: match(field("in_port", 1)) });
    expect(refused({ flags: OFPFF_CHECK_OVERLAP, match: match(field("eth_type", 0x800)) })).toBe(
      "OFPFMFC_OVERLAP",
    );
    expect(refused({ flags: OFPFF_CHECK_OVERLAP, match: match(field("in_port", 2)) })).toBe("accepted");
  });

  it("expires by idle and hard time-out, and says so", () => {
    const rig = new Rig(2);
    rig.flow({
      flags: OFPFF_SEND_FLOW_REM,
      cookie: 1n,
      idleTimeoutSeconds: 5,
      hardTimeoutSeconds: 12,
      instructions: [apply(output(2))],
    });
    for (const atMs of [4000, 8000, 11_000]) {
      rig.nowMs = 1000 + atMs;
      expect(rig.where(1, frame)).toEqual([2]);
    }
    rig.nowMs = 1000 + 12_000;
    expect(rig.where(1, frame)).toEqual([]);
    expect(rig.events).toMatchObject([
      { type: "flow_removed", reason: "hard_timeout", cookie: 1n, packetCount: 3n, durationSeconds: 12 },
    ]);
    rig.flow({ flags: OFPFF_SEND_FLOW_REM, cookie: 2n, idleTimeoutSeconds: 5 });
    rig.nowMs += 6000;
    rig.send(1);
    expect(rig.events[1]).toMatchObject({ reason: "idle_timeout", cookie: 2n });
  });

  it("deletes by cookie, out_port and out_group; a deleted group takes its flows along", () => {
    const rig = new Rig(3);
    rig.flow({ priority: 1, cookie: 0x11n, instructions: [apply(output(2))] });
    rig.flow({ priority: 2, cookie: 0x12n, instructions: [write(output(3))] });
    rig.bridge.change(
      {
        type: "group_mod",
        xid: 1,
        command: "add",
        groupType: "indirect",
        groupId: 7,
        buckets: [{ weight: 0, watchPort: 0xffffffff, watchGroup: 0xffffffff, actions: [output(2)] }],
      },
      rig.nowMs,
    );
    rig.flow({
      priority: 3,
      cookie: 0x21n,
      flags: OFPFF_SEND_FLOW_REM,
      instructions: [apply({ type: "group", groupId: 7 })],
    });
    rig.flow({ command: "delete", tableId: OFPTT_ALL, cookie: 0x20n, cookieMask: 0xf0n, outPort: 3 });
    expect(rig.bridge.tables.flowCount).toBe(3);
    rig.flow({ command: "delete", tableId: OFPTT_ALL, outPort: 3 });
    expect(rig.bridge.tables.flowCount).toBe(2);
    expect(rig.where(1, frame)).toEqual([2]);
    rig.bridge.change(
      { type: "group_mod", xid: 1, command: "delete", groupType: "all", groupId: 7, buckets: [] },
      rig.nowMs,
    );
    expect(rig.bridge.tables.flowStats(ALL_FLOWS, 0).map((flow) => flow.cookie)).toEqual([0x11n]);
    rig.send(1);
    rig.datapath.deliver();
    expect(rig.events.filter((event) => event.type === "flow_removed")).toMatchObject([
      { reason: "group_delete" },
    ]);
  });

  it("runs write-actions in the order of the action set, clears them, and drops on a table miss", () => {
    const rig = new Rig(3);
    const tag = { type: "push_vlan", etherType: 0x8100 } as const;
    rig.flow({ instructions: [write(output(2), tag), goto(1)] });
    expect(rig.where(1, frame)).toEqual([]);
    rig.flow({ tableId: 1, instructions: [write(output(3))] });
    const out = rig.send(1, frame);
    expect([...out.keys()]).toEqual([3]);
    expect(out.get(3)?.[0]?.byteLength).toBe(frame.byteLength + 4);
    rig.flow({ tableId: 1, instructions: [{ type: "clear_actions" }] });
    expect(rig.where(1, frame)).toEqual([]);
  });

  it("refuses groups that contain themselves and runs buckets on copies", () => {
    const rig = new Rig(3);
    const group = (command: "add" | "modify", groupId: number, ...lists: (readonly Action[])[]) =>
      rig.bridge.change(
        {
          type: "group_mod",
          xid: 1,
          command,
          groupType: "all",
          groupId,
          buckets: lists.map((actions) => ({
            weight: 0,
            watchPort: 0xffffffff,
            watchGroup: 0xffffffff,
            actions,
          })),
        },
        0,
      );
    group("add", 1, [output(2)]);
    group("add", 2, [{ type: "group", groupId: 1 }]);
    expect(codeOf(() => group("modify", 1, [{ type: "group", groupId: 2 }]))).toBe("OFPGMFC_LOOP");
    group("modify", 1, [{ type: "push_vlan", etherType: 0x8100 }, output(2)], [output(3)]);
    rig.flow({ instructions: [apply({ type: "group", groupId: 2 }, output(3))] });
    const out = rig.send(1, frame);
    expect(out.get(2)?.map((sent) => sent.byteLength)).toEqual([frame.byteLength + 4]);
    expect(out.get(3)).toEqual([frame, frame]);
    expect(rig.pool.available).toBe(256);
  });
});
