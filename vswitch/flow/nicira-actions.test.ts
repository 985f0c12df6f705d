import { describe, expect, it } from "vitest";
import {
  type Action,
  ALL_FLOWS,
  type BitRange,
  type LearnAction,
  OFPFF_SEND_FLOW_REM,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { plainFrame, tcpFrame } from "../testing/frames.js";
import { apply, codeOf, field, goto, match, output, Rig, write } from "../testing/rig.js";

const A = "52:54:00:00:00:01";
const B = "52:54:00:00:00:02";
const frame = plainFrame(A, B);
const back = plainFrame(B, A);
const tcp = (flags: number): Uint8Array => tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, flags);

const range = (name: OxmFieldName, offset: number, bits: number): BitRange => ({ field: name, offset, bits });
const load = (destination: BitRange, value: bigint): Action => ({ type: "load", destination, value });
const resubmit = (tableId: number, port = 0xfffffff8): Action => ({
  type: "resubmit",
  port,
  tableId,
  withCt: false,
});
const LEARN: LearnAction = {
  type: "learn",
  idleTimeoutSeconds: 0,
  hardTimeoutSeconds: 0,
  priority: 50,
  cookie: 7n,
  tableId: 1,
  finIdleTimeoutSeconds: 0,
  finHardTimeoutSeconds: 0,
  sendFlowRemoved: false,
  deleteLearned: false,
  limit: 0,
  specs: [
    { kind: "match", source: range("eth_src", 0, 48), destination: range("eth_dst", 0, 48) },
    { kind: "output", source: range("nxm_in_port", 0, 16) },
  ],
};
const stats = (rig: Rig, tableId: number) =>
  rig.bridge.tables.flowStats({ ...ALL_FLOWS, tableId }, rig.nowMs);

describe("Nicira actions", () => {
  it("output to the port that a field names, as OpenFlow 1.0 numbers it", () => {
    const rig = new Rig(3);
    const to = (value: bigint): number[] => {
      const set = load(range("reg8", 16, 16), value);
      const source = range("reg8", 16, 16);
      rig.flow({ instructions: [apply(set, { type: "output_reg", source, maxLength: 0 })] });
      return rig.where(1, frame);
    };
    expect(to(2n)).toEqual([2]);
    expect(to(0xfff8n)).toEqual([1]);
    expect(to(0xfffbn)).toEqual([2, 3]);
    expect(to(0xffffn)).toEqual([]);
    expect(rig.bridge.pipeline.dropCounters.report()).toEqual([
      { reason: "bad-port", packets: 1, tableId: 0, cookie: 0n, priority: 100 },
    ]);
  });

  it("tell those controllers of a TTL that cannot be lowered that dec_ttl names, which may be none", () => {
    const rig = new Rig(2);
    const ip = match(field("eth_type", 0x0800));
    const told = (...controllerIds: readonly number[]): number => {
      const actions = [
        { type: "set_nw_ttl", ttl: 1 },
        { type: "dec_ttl_ids", controllerIds },
        output(2),
      ] as const;
      rig.flow({ match: ip, instructions: [apply(...actions)] });
      const before = rig.bridge.packetIns;
      expect(rig.where(1, tcp(0))).toEqual([]);
      return rig.bridge.packetIns - before;
    };
    expect(told(1, 2)).toBe(2);
    expect(told()).toBe(0);
    expect(told(0)).toBe(1);
  });

  it("keep values on a stack, which resubmit shares and a clone does not change", () => {
    const rig = new Rig(3);
    const whole = (name: OxmFieldName): BitRange => range(name, 0, 32);
    rig.flow({
      instructions: [
        apply(
          load(whole("reg0"), 0x12345n),
          { type: "push", range: whole("reg0") },
          { type: "push", range: range("eth_src", 0, 48) },
          {
            type: "clone",
            actions: [
              { type: "pop", range: whole("reg2") },
              { type: "pop", range: whole("reg3") },
            ],
          },
          resubmit(1),
          { type: "pop", range: whole("reg4") },
          { type: "pop", range: whole("reg1") },
          resubmit(2),
        ),
      ],
    });
    rig.flow({ tableId: 1, instructions: [apply({ type: "pop", range: range("eth_dst", 0, 48) })] });
    const found = match(field("reg1", 0), field("reg4", 0x12345), field("reg2", 0), field("reg3", 0));
    rig.flow({ tableId: 2, match: found, instructions: [apply(output(2))] });
    const sent = rig.send(1, frame).get(2)?.[0];
    expect(sent?.slice(0, 12)).toEqual(plainFrame(A, A).slice(0, 12));
  });

  it("end the run with exit, but for the action set", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply(resubmit(1), output(2)), goto(2)] });
    rig.flow({ tableId: 1, instructions: [apply({ type: "exit" }, output(2))] });
    expect(rig.where(1, frame)).toEqual([]);
    rig.flow({ instructions: [write(output(3)), goto(1)] });
    expect(rig.where(1, frame)).toEqual([3]);
  });

  it("end the run with an exit in a clone too, but for the action set", () => {
    const rig = new Rig(3);
    const exits: Action = { type: "clone", actions: [output(3), { type: "exit" }] };
    rig.flow({ instructions: [apply(exits, output(2)), goto(1)] });
    rig.flow({ tableId: 1, instructions: [apply(output(2))] });
    expect(rig.where(1, frame)).toEqual([3]);
    rig.flow({ instructions: [write(output(2)), goto(1)] });
    rig.flow({
      tableId: 1,
      instructions: [apply({ type: "clone", actions: [{ type: "exit" }] }, output(3))],
    });
    // Once for the clone, which has the set too, and once for the packet.
    expect(rig.send(1, frame).get(2)).toEqual([frame, frame]);
  });

  it("run a clone on a copy, and refuse clones too deep", () => {
    const rig = new Rig(3);
    const tag: Action = { type: "push_vlan", etherType: 0x8100 };
    rig.flow({ instructions: [apply({ type: "clone", actions: [tag, output(2)] }, output(3))] });
    const out = rig.send(1, frame);
    expect(out.get(2)?.[0]?.byteLength).toBe(frame.byteLength + 4);
    expect(out.get(3)).toEqual([frame]);
    let deep: Action = output(2);
    for (let n = 0; n < 5; n++) deep = { type: "clone", actions: [deep] };
    expect(codeOf(() => rig.flow({ instructions: [apply(deep)] }))).toBe("OFPBAC_TOO_MANY");
    expect(rig.pool.available).toBe(256);
  });

  it("give a clone an action set of its own, which it executes at its end", () => {
    const rig = new Rig(3);
    const toB = plainFrame(B, B);
    const source: Action = { type: "set_field", field: "eth_src", value: toB.slice(6, 12) };
    rig.flow({ instructions: [write(output(2)), goto(1)] });
    rig.flow({
      tableId: 1,
      instructions: [
        apply({ type: "clone", actions: [source, resubmit(2)] }, resubmit(2)),
        { type: "clear_actions" },
      ],
    });
    rig.flow({ tableId: 2, instructions: [write({ type: "dec_nw_ttl" })] });
    expect(rig.send(1, frame)).toEqual(new Map([[2, [toB]]]));
  });

  it("truncate what is output, and only that", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply({ type: "output_trunc", port: 2, maxLength: 20 }, output(3))] });
    const out = rig.send(1, frame);
    expect(out.get(2)).toEqual([frame.slice(0, 20)]);
    expect(out.get(3)).toEqual([frame]);
    expect(rig.pool.available).toBe(256);
  });

  it("say whether a frame is larger, each time anew", () => {
    const rig = new Rig(3);
    const destination = range("reg0", 3, 1);
    rig.flow({
      instructions: [apply({ type: "check_pkt_larger", sizeBytes: frame.byteLength, destination }), goto(1)],
    });
    rig.flow({ tableId: 1, match: match(field("reg0", 8)), instructions: [apply(output(2))] });
    rig.flow({ tableId: 1, match: match(field("reg0", 0)), instructions: [apply(output(3))] });
    const longer = Uint8Array.from([...frame, 0]);
    for (let n = 0; n < 3; n++) {
      expect(rig.where(1, frame)).toEqual([3]);
      expect(rig.where(1, longer)).toEqual([2]);
    }
  });

  it("choose a live member, and load the port that has none", () => {
    const rig = new Rig(3);
    const bundle: Action = {
      type: "bundle",
      fields: "symmetric_l4",
      basis: 0,
      algorithm: "active_backup",
      members: [9, 3, 2],
    };
    rig.flow({ instructions: [apply(bundle)] });
    expect(rig.where(1, frame)).toEqual([3]);
    const destination = range("reg0", 0, 16);
    rig.flow({ instructions: [apply({ ...bundle, members: [9], destination }), goto(1)] });
    rig.flow({ tableId: 1, match: match(field("reg0", 0xffff)), instructions: [apply(output(2))] });
    expect(rig.where(1, frame)).toEqual([2]);
  });

  it("spread conversations over links and keep each on its own, both ways", () => {
    const rig = new Rig(3);
    const seen = new Set<number>();
    for (const algorithm of ["modulo_n", "hash_threshold", "hrw", "iter_hash"] as const) {
      const destination = range("reg0", 0, 16);
      rig.flow({
        instructions: [
          apply(
            {
              type: "multipath",
              fields: "symmetric_l4",
              basis: 1,
              algorithm,
              linkMax: 1,
              argument: 4,
              destination,
            },
            load(range("reg0", 16, 1), 1n),
          ),
          goto(1),
        ],
      });
      rig.flow({ tableId: 1, match: match(field("reg0", 0x10000)), instructions: [apply(output(2))] });
      rig.flow({ tableId: 1, match: match(field("reg0", 0x10001)), instructions: [apply(output(3))] });
      for (let n = 1; n < 30; n++) {
        const other = `52:54:00:00:01:${n.toString(16).padStart(2, "0")}`;
        const [there] = rig.where(1, plainFrame(A, other));
        expect(rig.where(1, plainFrame(other, A))).toEqual([there]);
        seen.add(there as number);
      }
    }
    expect([...seen].sort()).toEqual([2, 3]);
  });

  it("set the ingress port for the lookup of a resubmit only, and for everything by a load", () => {
    const rig = new Rig(3);
    const again: Action = { type: "output", port: 0xfffffff8, maxLength: 0 };
    rig.flow({ instructions: [apply(resubmit(1, 3))] });
    rig.flow({ tableId: 1, match: match(field("in_port", 3)), instructions: [apply(again)] });
    expect(rig.where(1, frame)).toEqual([1]);
    rig.flow({ instructions: [apply(load(range("nxm_in_port", 0, 16), 0xffffn), output(1))] });
    expect(rig.where(1, frame)).toEqual([1]);
  });

  it("show what the action set would output to", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [write(output(2)), goto(1)] });
    rig.flow({ tableId: 1, match: match(field("actset_output", 2)), instructions: [write(output(3))] });
    expect(rig.where(1, frame)).toEqual([3]);
    rig.flow({ instructions: [goto(1)] });
    rig.flow({
      tableId: 1,
      match: match(field("actset_output", 0xfffffff7)),
      instructions: [apply(output(1 + 1))],
    });
    expect(rig.where(1, frame)).toEqual([2]);
  });
});

describe("learn", () => {
  it("teaches a flow that the next packet meets, and renews it without a change", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply(LEARN), goto(1)] });
    rig.flow({
      tableId: 1,
      priority: 1,
      instructions: [apply({ type: "output", port: 0xfffffffb, maxLength: 0 })],
    });
    expect(rig.where(1, frame)).toEqual([2, 3]);
    expect(rig.where(2, back)).toEqual([1]);
    const { version } = rig.bridge.tables;
    for (let n = 0; n < 4; n++) expect(rig.where(1, frame)).toEqual([2]);
    expect(rig.bridge.tables.version).toBe(version);
    // The station moves.
    expect(rig.where(3, frame)).toEqual([2]);
    expect(rig.where(2, back)).toEqual([3]);
    const learned = stats(rig, 1).filter(({ cookie }) => cookie === 7n);
    expect(learned.map(({ priority }) => priority)).toEqual([50, 50]);
    expect(learned.find(({ match: [entry] }) => entry?.value.at(-1) === 1)).toMatchObject({
      match: [{ field: "eth_dst" }],
      instructions: [{ actions: [{ type: "output", port: 3 }] }],
    });
  });

  it("counts time-outs from the last lesson, and shortens them after a FIN", () => {
    const rig = new Rig(2);
    const specs: LearnAction["specs"] = [
      { kind: "match", source: 0x800n, destination: range("eth_type", 0, 16) },
      { kind: "match", source: 6n, destination: range("ip_proto", 0, 8) },
    ];
    const learn = {
      ...LEARN,
      specs,
      hardTimeoutSeconds: 10,
      finIdleTimeoutSeconds: 2,
      sendFlowRemoved: true,
    };
    rig.flow({ instructions: [apply(learn), goto(1)] });
    rig.send(1, tcp(16));
    rig.nowMs += 8000;
    rig.send(1, tcp(16));
    rig.nowMs += 8000;
    rig.send(1, tcp(16));
    expect(stats(rig, 1)).toMatchObject([{ idleTimeoutSeconds: 0, hardTimeoutSeconds: 10 }]);
    rig.flow({ instructions: [goto(1)] });
    rig.send(1, tcp(17));
    expect(stats(rig, 1)).toMatchObject([{ idleTimeoutSeconds: 2, flags: OFPFF_SEND_FLOW_REM }]);
    rig.nowMs += 3000;
    rig.send(1);
    expect(stats(rig, 1)).toEqual([]);
    expect(rig.events).toMatchObject([{ type: "flow_removed", reason: "idle_timeout", cookie: 7n }]);
  });

  it("shows a packet only what others have taught", () => {
    const rig = new Rig(3);
    const own: Action = {
      ...LEARN,
      specs: [
        { kind: "match", source: range("eth_dst", 0, 48), destination: range("eth_dst", 0, 48) },
        { kind: "output", source: range("nxm_in_port", 0, 16) },
      ],
    };
    rig.flow({ instructions: [apply(own), goto(1)] });
    rig.flow({ tableId: 1, priority: 1, instructions: [apply(output(3))] });
    expect(rig.where(1, frame)).toEqual([3]);
    expect(rig.where(2, frame)).toEqual([1]);
    // Renewed by the frame before.
    expect(rig.where(3, frame)).toEqual([2]);
  });

  it("stops at its limit and says so, and goes with its last learner", () => {
    const rig = new Rig(3);
    const learn: Action = { ...LEARN, limit: 1, deleteLearned: true, result: range("reg0", 0, 1) };
    rig.flow({ instructions: [apply(learn), goto(2)] });
    rig.flow({ priority: 9, instructions: [apply(learn)] });
    rig.flow({ tableId: 2, match: match(field("reg0", 1)), instructions: [apply(output(2))] });
    rig.flow({ tableId: 2, match: match(field("reg0", 0)), instructions: [apply(output(3))] });
    expect(rig.where(1, frame)).toEqual([2]);
    expect(rig.where(1, back)).toEqual([3]);
    expect(rig.where(1, frame)).toEqual([2]);
    expect(stats(rig, 1)).toHaveLength(1);
    rig.flow({ command: "delete_strict", priority: 9 });
    expect(stats(rig, 1)).toHaveLength(1);
    rig.flow({ command: "delete_strict" });
    expect(stats(rig, 1)).toHaveLength(0);
  });

  it("is refused where the learned match lacks what its fields need", () => {
    const rig = new Rig(1);
    const port: LearnAction = {
      ...LEARN,
      specs: [{ kind: "match", source: 80n, destination: range("tcp_dst", 0, 16) }],
    };
    expect(codeOf(() => rig.flow({ instructions: [apply(port)] }))).toBe("OFPBAC_MATCH_INCONSISTENT");
  });
});
