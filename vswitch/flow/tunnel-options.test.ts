import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Action, BitRange, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { changeTunnelOptions } from "../datapath/flow-keeper.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, codeOf, field, goto, match, output, Rig } from "../testing/rig.js";
import { TunnelOptions } from "./tunnel-options.js";

const ADD = 0;
const DELETE = 1;
const CLEAR = 2;
const frame = tcpFrame({ source: "10.1.2.3", destination: "10.0.0.2" }, 2);

type Row = readonly [number: number, size: number, type?: number];

function mod(command: number, ...rows: readonly Row[]): Uint8Array {
  const mappings = rows.flatMap(([number, size, type = number]) => [0xff, 0xff, type, size, 0, number, 0, 0]);
  return Uint8Array.of(0, command, 0, 0, 0, 0, 0, 0, ...mappings);
}
const unused = (): boolean => false;
const option = (number: number, ...value: number[]): OxmEntry => ({
  field: `tun_metadata${number}` as OxmFieldName,
  value: Uint8Array.from(value),
});
const set = (number: number, ...value: number[]): Action => ({
  type: "set_field",
  ...option(number, ...value),
});
const there = (number: number): OxmEntry => ({ ...option(number), mask: new Uint8Array(0) });
const range = (name: OxmFieldName, offset: number, bits: number): BitRange => ({ field: name, offset, bits });
const resubmit = (tableId: number): Action => ({
  type: "resubmit",
  port: 0xfffffff8,
  tableId,
  withCt: false,
});

function rig(...rows: readonly Row[]): Rig {
  const one = new Rig(3);
  expect(changeTunnelOptions(one.bridge, mod(ADD, ...rows))).toBeUndefined();
  return one;
}

describe("TunnelOptions", () => {
  it("refuses what a table cannot hold, and changes nothing then", () => {
    const options = new TunnelOptions();
    expect(options.change(mod(ADD, [0, 4], [1, 8]), unused)).toBeUndefined();
    const before = options.describe();
    const add = (...rows: readonly Row[]): unknown => options.change(mod(ADD, ...rows), unused);
    expect(add([5, 4], [0, 4, 9])).toBe("NXTTMFC_ALREADY_MAPPED");
    expect(add([5, 4, 1])).toBe("NXTTMFC_DUP_ENTRY");
    expect(add([5, 4, 7], [6, 4, 7])).toBe("NXTTMFC_DUP_ENTRY");
    expect(add([5, 124], [6, 124])).toBe("NXTTMFC_TABLE_FULL");
    expect(add([5, 3])).toBe("NXTTMFC_BAD_OPT_LEN");
    expect(add([5, 128])).toBe("NXTTMFC_BAD_OPT_LEN");
    expect(add([64, 4])).toBe("NXTTMFC_BAD_FIELD_IDX");
    expect(options.change(mod(3), unused)).toBe("NXTTMFC_BAD_COMMAND");
    expect(options.change(mod(ADD, [5, 4]).subarray(0, 12), unused)).toBe("OFPBRC_BAD_LEN");
    expect(options.change(mod(CLEAR), () => true)).toBe("NXTTMFC_INVALID_TLV_DEL");
    expect(options.describe()).toEqual(before);
    expect(options.change(mod(DELETE, [9, 4]), () => true)).toBeUndefined();
    expect(add([5, 120], [6, 124])).toBeUndefined();
    expect(add([7, 0])).toBeUndefined();
  });

  it("holds whatever fits in 256 bytes, in places that do not overlap, and is made again by whole()", () => {
    const row = fc.tuple(
      fc.nat(63),
      fc.nat(31).map((words) => 4 * words),
      fc.nat(80),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), row), { maxLength: 80 }), (steps) => {
        const options = new TunnelOptions();
        const kept = new Map<number, { readonly size: number; readonly type: number }>();
        for (const [adds, [number, size, type]] of steps) {
          const error = options.change(mod(adds ? ADD : DELETE, [number, size, type]), unused);
          const space = [...kept.values()].reduce((sum, one) => sum + one.size, size);
          const isDouble = [...kept.values()].some((one) => one.type === type);
          if (!adds) {
            expect(error).toBeUndefined();
            kept.delete(number);
          } else if (kept.has(number)) expect(error).toBe("NXTTMFC_ALREADY_MAPPED");
          else if (isDouble) expect(error).toBe("NXTTMFC_DUP_ENTRY");
          else if (space > 256) expect(error).toBe("NXTTMFC_TABLE_FULL");
          else {
            expect(error).toBeUndefined();
            kept.set(number, { size, type });
          }
          const taken = new Set<number>();
          for (const name of options.names) {
            const { start, bits } = options.find(name) as { start: number; bits: number };
            expect(bits).toBe(8 * (kept.get(Number(name.slice(12)))?.size ?? -1));
            for (let bit = start; bit < start + bits; bit += 32) {
              expect(taken.has(bit)).toBe(false);
              taken.add(bit);
            }
          }
        }
        const again = new TunnelOptions();
        expect(again.change(options.whole(), unused)).toBeUndefined();
        expect(again.describe()).toEqual(options.describe());
      }),
    );
  });

  it("answers arbitrary bytes with a result", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const result = new TunnelOptions().change(bytes, unused);
        expect(result === undefined || /^(NXTTMFC|OFPBRC)_/.test(result)).toBe(true);
      }),
    );
  });
});

describe("options of tunnels in flows", () => {
  it("are matched where they are there, with whatever value", () => {
    const one = rig([0, 4], [1, 8]);
    one.flow({ instructions: [apply(set(0, 0)), goto(1)] });
    one.flow({ tableId: 1, priority: 9, match: match(there(1)), instructions: [apply(output(3))] });
    one.flow({ tableId: 1, priority: 8, match: match(option(0, 0)), instructions: [apply(output(2))] });
    expect(one.where(1, frame)).toEqual([2]);
    one.flow({ instructions: [apply(set(1, 0)), goto(1)] });
    expect(one.where(1, frame)).toEqual([3]);
    expect(one.where(1, frame)).toEqual([3]);
    one.flow({ instructions: [goto(1)] });
    expect(one.where(1, frame)).toEqual([]);
  });

  it("are set, moved, deleted, pushed and popped; a clone has its own", () => {
    const one = rig([0, 4], [1, 8]);
    const whole = range("tun_metadata0", 0, 32);
    const moved: Action = {
      type: "move",
      source: range("ipv4_src", 0, 16),
      destination: range("tun_metadata1", 40, 16),
    };
    const clone: Action = {
      type: "clone",
      actions: [{ type: "delete_field", field: "tun_metadata1" }, set(0, 1), resubmit(2)],
    };
    one.flow({
      match: match(field("eth_type", 0x0800)),
      instructions: [apply(set(0, 1, 2, 3, 4, 5), moved, { type: "push", range: whole }, clone, resubmit(1))],
    });
    const found = match(option(0, 1, 2, 3, 4), option(1, 0, 2, 3, 0, 0, 0, 0, 0));
    const popped: Action = { type: "pop", range: range("tun_metadata1", 0, 32) };
    one.flow({
      tableId: 1,
      match: found,
      instructions: [apply({ type: "delete_field", field: "tun_metadata0" }, popped, resubmit(2))],
    });
    one.flow({ tableId: 2, priority: 9, match: match(option(0, 1)), instructions: [apply(output(2))] });
    one.flow({
      tableId: 2,
      priority: 8,
      match: match(option(1, 0, 2, 3, 0, 1, 2, 3, 4)),
      instructions: [apply(output(3))],
    });
    for (let n = 0; n < 3; n++) expect(one.where(1, frame)).toEqual([2, 3]);
    expect(one.bridge.tables.flowsOf(2).map((flow) => flow.match[0]?.value.byteLength)).toEqual([4, 8]);
  });

  it("are refused where they are not mapped, or are not that long", () => {
    const one = rig([0, 4]);
    const flow = (...actions: Action[]): string =>
      codeOf(() => one.flow({ instructions: [apply(...actions)] }));
    expect(flow(set(1, 1))).toBe("NXFMFC_INVALID_TLV_FIELD");
    expect(flow({ type: "delete_field", field: "tun_metadata1" })).toBe("NXFMFC_INVALID_TLV_FIELD");
    expect(flow({ type: "push", range: range("tun_metadata0", 0, 33) })).toBe("OFPBAC_BAD_SET_LEN");
    expect(codeOf(() => one.flow({ match: match(option(2, 1)) }))).toBe("NXFMFC_INVALID_TLV_FIELD");
    expect(one.bridge.tables.flowCount).toBe(0);
    const bucket = {
      weight: 0,
      watchPort: 0xffffffff,
      watchGroup: 0xffffffff,
      actions: [set(1, 1), output(2)],
    };
    one.bridge.change(
      { type: "group_mod", xid: 1, command: "add", groupType: "all", groupId: 1, buckets: [bucket] },
      one.nowMs,
    );
    one.flow({ instructions: [apply({ type: "group", groupId: 1 })] });
    expect(one.where(1, frame)).toEqual([2]);
  });

  it("stay mapped while a flow names them; a packet-in tells those that are there", () => {
    const one = rig([0, 4], [1, 8]);
    one.flow({ instructions: [apply(set(1, 7), { type: "output", port: 0xfffffffd, maxLength: 0xffff })] });
    expect(changeTunnelOptions(one.bridge, mod(CLEAR))).toBe("NXTTMFC_INVALID_TLV_DEL");
    expect(changeTunnelOptions(one.bridge, mod(DELETE, [0, 4]))).toBeUndefined();
    one.send(1, frame);
    const told = one.events.find((event) => event.type === "packet_in");
    expect(told?.type === "packet_in" ? told.match.slice(1) : []).toEqual([
      option(1, 0, 0, 0, 0, 0, 0, 0, 7),
    ]);
    one.flow({ command: "delete" });
    expect(changeTunnelOptions(one.bridge, mod(CLEAR))).toBeUndefined();
    expect(one.bridge.tables.options.size).toBe(0);
  });

  it("are learned", () => {
    const one = rig([0, 4], [1, 8]);
    const learn: Action = {
      ...{ type: "learn", idleTimeoutSeconds: 0, hardTimeoutSeconds: 0, priority: 5, cookie: 0n, tableId: 1 },
      ...{ finIdleTimeoutSeconds: 0, finHardTimeoutSeconds: 0, sendFlowRemoved: false, deleteLearned: false },
      limit: 0,
      specs: [
        { kind: "match", source: range("tun_metadata1", 0, 32), destination: range("tun_metadata0", 0, 32) },
        { kind: "output", source: range("nxm_in_port", 0, 16) },
      ],
    };
    one.flow({ match: match(field("in_port", 1)), instructions: [apply(set(1, 9), learn)] });
    one.send(1, frame);
    expect(one.bridge.tables.flowsOf(1).map(({ match: learned }) => learned)).toEqual([
      [option(0, 0, 0, 0, 9)],
    ]);
    one.flow({ match: match(field("in_port", 2)), instructions: [apply(set(0, 9)), goto(1)] });
    expect(one.where(2, frame)).toEqual([1]);
  });
});
