import { describe, expect, it } from "vitest";
import type { Action, OxmEntry } from "../../base/openflow/index.js";
import { tcpFrame } from "../testing/frames.js";
import { apply, codeOf, field, match, output, Rig } from "../testing/rig.js";

const IP = field("eth_type", 0x800);
const source = (last: number): OxmEntry => field("ipv4_src", 0x0a000000 + last);
const destination = (last: number): OxmEntry => field("ipv4_dst", 0x0a000000 + last);
const conjunction = (id: number, clause: number, clauseCount = 2): Action => ({
  type: "conjunction",
  id,
  clause: clause - 1,
  clauseCount,
});
const packet = (from: number, to: number): Uint8Array =>
  tcpFrame({ source: `10.0.0.${from}`, destination: `10.0.0.${to}` }, 2);

/** Hosts 1 and 2 may send to 3 and 4. */
function allowed(): Rig {
  const rig = new Rig(3);
  for (const last of [1, 2])
    rig.flow({ match: match(IP, source(last)), instructions: [apply(conjunction(5, 1))] });
  for (const last of [3, 4])
    rig.flow({ match: match(IP, destination(last)), instructions: [apply(conjunction(5, 2))] });
  rig.flow({ match: match(field("conj_id", 5), IP), instructions: [apply(output(2))] });
  rig.flow({ priority: 1, instructions: [apply(output(3))] });
  return rig;
}

describe("conjunction", () => {
  it("is met by a packet that meets a flow of each clause, cached or not", () => {
    const rig = allowed();
    for (let n = 0; n < 2; n++) {
      expect(rig.where(1, packet(1, 3))).toEqual([2]);
      expect(rig.where(1, packet(2, 4))).toEqual([2]);
      expect(rig.where(1, packet(1, 5))).toEqual([3]);
      expect(rig.where(1, packet(7, 4))).toEqual([3]);
    }
  });

  it("yields to ordinary flows of a higher priority, and counts at the flow with its id", () => {
    const rig = allowed();
    rig.flow({ priority: 200, match: match(IP, source(1)), instructions: [apply(output(3))] });
    expect(rig.where(1, packet(1, 3))).toEqual([3]);
    expect(rig.where(1, packet(2, 3))).toEqual([2]);
    const counts = rig.bridge.tables
      .flowStats(
        { tableId: 0, outPort: 0xffffffff, outGroup: 0xffffffff, cookie: 0n, cookieMask: 0n, match: [] },
        0,
      )
      .filter(({ packetCount }) => packetCount > 0n);
    expect(counts.map((flow) => [flow.priority, flow.match[0]?.field])).toEqual([
      [200, "eth_type"],
      [100, "conj_id"],
    ]);
  });

  it("lets a flow stand for clauses of several", () => {
    const rig = allowed();
    rig.flow({ match: match(IP, source(1)), instructions: [apply(conjunction(5, 1), conjunction(6, 1))] });
    rig.flow({ match: match(IP, destination(9)), instructions: [apply(conjunction(6, 2))] });
    rig.flow({ match: match(field("conj_id", 6), IP), instructions: [apply(output(1 + 1), output(3))] });
    expect(rig.where(1, packet(1, 9))).toEqual([2, 3]);
    expect(rig.where(1, packet(1, 3))).toEqual([2]);
    expect(rig.where(1, packet(2, 9))).toEqual([3]);
  });

  it("becomes an ordinary flow when it is modified, and back", () => {
    const rig = allowed();
    rig.flow({ command: "modify_strict", match: match(IP, source(1)), instructions: [apply(output(3))] });
    expect(rig.where(1, packet(1, 3))).toEqual([3]);
    rig.flow({
      command: "modify_strict",
      match: match(IP, source(1)),
      instructions: [apply(conjunction(5, 1))],
    });
    expect(rig.where(1, packet(1, 3))).toEqual([2]);
    rig.flow({ command: "delete_strict", match: match(IP, source(1)) });
    expect(rig.where(1, packet(1, 3))).toEqual([3]);
    rig.flow({ command: "delete" });
    expect(rig.bridge.tables.flowCount).toBe(0);
  });

  it("stands alone or with notes", () => {
    const rig = new Rig(1);
    const note: Action = { type: "note", data: new Uint8Array(6) };
    const refused = (...actions: Action[]) => codeOf(() => rig.flow({ instructions: [apply(...actions)] }));
    expect(refused(conjunction(1, 1), output(1))).toBe("NXBAC_BAD_CONJUNCTION");
    expect(refused(conjunction(1, 1), note)).toBe("accepted");
    expect(
      codeOf(() => rig.flow({ instructions: [apply(conjunction(1, 1)), { type: "clear_actions" }] })),
    ).toBe("NXBAC_BAD_CONJUNCTION");
  });
});
