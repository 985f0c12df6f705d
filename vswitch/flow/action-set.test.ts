import { describe, expect, it } from "vitest";
import {
  type Action,
  type BitRange,
  type Bucket,
  OFPG_ANY,
  OFPP_ANY,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, codeOf, field, goto, match, output, Rig, write } from "../testing/rig.js";

const A = "52:54:00:00:00:01";
const B = "52:54:00:00:00:02";
const frame = plainFrame(A, B);
const CLEAR = { type: "clear_actions" } as const;

const range = (name: OxmFieldName, offset: number, bits: number): BitRange => ({ field: name, offset, bits });
const load = (destination: BitRange, value: bigint): Action => ({ type: "load", destination, value });
const move = (source: OxmFieldName, destination: OxmFieldName): Action => ({
  type: "move",
  source: range(source, 0, 48),
  destination: range(destination, 0, 48),
});
const group = (groupId: number): Action => ({ type: "group", groupId });
const resubmit = (tableId: number): Action => ({
  type: "resubmit",
  port: 0xfffffff8,
  tableId,
  withCt: false,
});

function addGroup(rig: Rig, groupId: number, ...actions: readonly Action[]): void {
  const bucket: Bucket = { weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions };
  const buckets = [bucket];
  rig.bridge.change(
    { type: "group_mod", xid: 1, command: "add", groupType: "indirect", groupId, buckets },
    rig.nowMs,
  );
}

const addresses = (rig: Rig): string | undefined => {
  const [sent] = rig.send(1, frame).get(2) ?? [];
  return sent && Buffer.from(sent.subarray(0, 12)).toString("hex");
};

describe("the action set", () => {
  it("sets fields in the order in which that was added, with cumulative effect", () => {
    const rig = new Rig(2);
    const toB: Action = { type: "set_field", ...field("eth_dst", 0x525400000009) };
    rig.flow({ instructions: [write(move("eth_dst", "eth_src"), toB, output(2))] });
    expect(addresses(rig)).toBe("525400000009525400000002");
    rig.flow({ instructions: [write(toB, move("eth_dst", "eth_src"), output(2))] });
    expect(addresses(rig)).toBe("525400000009525400000009");
  });

  it("adds up what several tables write of one field", () => {
    const rig = new Rig(2);
    rig.flow({ instructions: [write(load(range("eth_dst", 0, 8), 1n), output(2)), goto(1)] });
    rig.flow({ tableId: 1, instructions: [write(load(range("eth_dst", 8, 8), 7n))] });
    expect(addresses(rig)).toBe("525400000701525400000001");
  });

  it("executes of group, output, resubmit and ct_clear only the first", () => {
    const rig = new Rig(5);
    addGroup(rig, 1, output(3));
    rig.flow({ tableId: 1, instructions: [apply(output(4))] });
    rig.flow({ instructions: [write({ type: "ct_clear" }, resubmit(1))] });
    expect(rig.where(1, frame)).toEqual([4]);
    rig.flow({ instructions: [write({ type: "ct_clear" }, resubmit(1), output(2))] });
    expect(rig.where(1, frame)).toEqual([2]);
    rig.flow({ instructions: [write(resubmit(1), group(1), output(2))] });
    expect(rig.where(1, frame)).toEqual([3]);
    addGroup(rig, 2, resubmit(1), output(2));
    rig.flow({ instructions: [apply(group(2))] });
    expect(rig.where(1, frame)).toEqual([2]);
  });

  it("is not changed by what is written while it is executed", () => {
    const rig = new Rig(5);
    addGroup(rig, 1, resubmit(2));
    rig.flow({ instructions: [write(group(1))] });
    rig.flow({ tableId: 2, instructions: [CLEAR, write(output(4))] });
    expect(rig.where(1, frame)).toEqual([]);
    // Before that it is.
    rig.flow({ instructions: [apply(group(1)), write(load(range("eth_dst", 0, 8), 1n))] });
    expect(rig.where(1, frame)).toEqual([4]);
  });

  it("is checked with the actions that a later one replaces", () => {
    const rig = new Rig(2);
    expect(codeOf(() => rig.flow({ instructions: [write(group(9), group(8))] }))).toBe(
      "OFPBAC_BAD_OUT_GROUP",
    );
    addGroup(rig, 8, output(2));
    expect(codeOf(() => rig.flow({ instructions: [write(group(9), group(8))] }))).toBe(
      "OFPBAC_BAD_OUT_GROUP",
    );
    expect(codeOf(() => rig.flow({ instructions: [write(group(8), group(8))] }))).toBe("accepted");
    expect(codeOf(() => addGroup(rig, 3, group(9), group(8)))).toBe("OFPBAC_BAD_OUT_GROUP");
    expect(codeOf(() => rig.flow({ instructions: [write({ type: "exit" })] }))).toBe("OFPBAC_BAD_TYPE");
  });

  it("shows in actset_output the port that it would output to, and none when it has a group", () => {
    const rig = new Rig(5);
    addGroup(rig, 1, output(3));
    rig.flow({ tableId: 1, match: match(field("actset_output", 2)), instructions: [apply(output(4))] });
    rig.flow({ instructions: [write(output(2)), goto(1)] });
    expect(rig.where(1, frame)).toEqual([2, 4]);
    rig.flow({ instructions: [write(output(2), group(1)), goto(1)] });
    expect(rig.where(1, frame)).toEqual([]);
  });
});
