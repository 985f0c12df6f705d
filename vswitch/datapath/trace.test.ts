import { describe, expect, it } from "vitest";
import { formatStory, formatTrace } from "../cli/trace-text.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, field, goto, match, output, Rig } from "../testing/rig.js";

const IP = field("eth_type", 0x0800);

const frame = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 2);

const trace = (rig: Rig, inPort: number): string =>
  formatTrace(rig.bridge.trace({ frame, inPort, ctDefault: "actual" }, rig.nowMs));

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
    const lines = trace(rig, 1).split("\n");
    expect(lines.filter((line) => /^( ?[\d-]| {4}|Datapath|recirc)/.test(line))).toEqual([
      "-------------",
      " 0. in_port=1, priority 100, cookie 0xab",
      "    goto_table:1",
      " 1. ip, priority 7",
      "    ct(table=2,zone=1)",
      "    drop",
      "     -> A clone of the packet is forked to recirculate. The forked pipeline will be resumed at table 2.",
      "     -> Sets the packet to an untracked state, and clears all the conntrack fields.",
      "Datapath actions: ct(zone=1),recirc(0x1)",
      "recirc(0x1) - resume conntrack with ct_state=new|trk",
      "-------------",
      "    thaw",
      "        Resuming from table 2",
      " 2. ct_state=+new+trk,ip, priority 100",
      "    ct(commit,zone=1)",
      "    drop",
      "     -> Sets the packet to an untracked state, and clears all the conntrack fields.",
      "    output:2",
      "Datapath actions: ct(commit,zone=1),2",
    ]);
    expect(trace(rig, 2)).toContain(" 0. No match.\n    drop\n");
    const story = formatStory("2", rig.bridge.trace({ frame, inPort: 2 }, rig.nowMs));
    expect(story).toContain("table 0: no flow matches");
    expect(story).toContain("It is dropped by table 0 (table-miss).");
    const [first] = rig.bridge.trace({ frame, inPort: 2 }, rig.nowMs);
    const actions = ["2", "push_vlan(vid=5,pcp=0)", "3", "4", "ct(commit)", "pop_vlan", "trunc(100)", "6"];
    expect(formatStory("2", [{ ...first!, actions }], new Map([[3, "p3"]]))).toContain(
      "It leaves by port 2, port p3 (push_vlan(vid=5,pcp=0)), port 4, port 6 (pop_vlan, trunc(100)).\n",
    );
    expect(rig.datapath.conntrack.size).toBe(0);
    expect(rig.bridge.tables.tableStats()[0]).toMatchObject({ lookupCount: 0n, matchedCount: 0n });
    expect(rig.datapath.counters()["drop_table_miss"]).toBe(0);
    expect(rig.pool.available).toBe(256);
  });

  it("goes on with the first address that a new connection may get, or with that of a known one", () => {
    const rig = new Rig(2);
    const ct = { type: "ct", force: false, zone: 1, alg: 0, tableId: 2 } as const;
    const nat = { type: "nat", direction: "source", persistent: false, selection: "auto" } as const;
    const range = { addressMin: Uint8Array.of(9, 9, 9, 9), portMin: 700, portMax: 700 };
    const opened = { ...ct, commit: true, actions: [{ ...nat, ...range }] };
    rig.flow({ match: match(IP), instructions: [apply(opened)] });
    rig.flow({
      tableId: 2,
      match: match(IP, field("ipv4_src", 0x09090909)),
      instructions: [apply(output(2))],
    });
    const story = (): string =>
      formatStory("1", rig.bridge.trace({ frame, inPort: 1, ctDefault: "actual" }, rig.nowMs));
    expect(story()).toContain("translated, for example to nw_src=9.9.9.9,tp_src=700,nw_dst=10.0.0.2,");
    expect(story()).toContain("It leaves by port 2.");
    expect(rig.datapath.conntrack.size).toBe(0);
    expect([...rig.send(1, frame).keys()]).toEqual([2]);
    expect(story()).not.toContain("translated");
    expect(story()).toContain("It leaves by port 2.");
    expect(rig.pool.available).toBe(256);
  });
});
