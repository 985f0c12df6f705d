import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { encodeMessage, type FlowMod, OPENFLOW_13 } from "../../base/openflow/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import type { BridgeChange } from "./bridge.js";
import { carryOut, pack } from "./change-parts.js";
import { Datapath } from "./datapath.js";

const add = (port: number, details: Partial<FlowMod> = {}): FlowMod =>
  flowMod({ match: [field("in_port", port)], instructions: [apply(output(port + 1))], ...details });

const encoded = (mod: FlowMod, bytes = encodeMessage(mod)) =>
  ({ type: "encoded_flow_mod", xid: mod.xid, dialect: OPENFLOW_13, bytes }) as const;

/** A datapath with one bridge, whose flows are kept in a file; and how to start it again. */
function withBridge(work: (again: () => Datapath) => void): void {
  const dir = mkdtempSync("/tmp/plc-");
  let datapath: Datapath | undefined;
  try {
    work(() => {
      datapath?.close();
      datapath = new Datapath({ pool: new PacketPool({ slots: 64 }), onEvents: () => undefined });
      datapath.addBridge("br0").keepFlows(join(dir, "flows"), 0);
      return datapath;
    });
  } finally {
    datapath?.close();
    rmSync(dir, { recursive: true });
  }
}

const portsOf = (datapath: Datapath): readonly number[] =>
  datapath
    .bridge("br0")
    .tables.flowsOf(0)
    .map(({ match }) => match[0]?.value[3] ?? -1)
    .sort((a, b) => a - b);

it("flow-mods travel as bytes, other changes beside them, and what is refused is told by its place", () => {
  withBridge((again) => {
    const datapath = again();
    const malformed = encodeMessage(add(4));
    malformed[25] = 99; // the command
    const wrongPort: BridgeChange = {
      ...{ type: "port_mod", xid: 9, port: 77, macAddress: new Uint8Array(6) },
      ...{ config: 0, mask: 0, advertise: 0 },
    };
    const changes = [
      encoded(add(1)),
      encoded(add(2)),
      wrongPort,
      encoded(add(3)),
      encoded(add(4), malformed),
      encoded(add(5, { tableId: 255 })),
      encoded(add(6)),
    ];
    const parts = pack(changes, 0, changes.length);
    expect(parts.map(({ type }) => type)).toEqual(["flow_mods", "port_mod", "flow_mods"]);
    const refused = carryOut(datapath.bridge("br0"), parts, 0, 1);
    expect(refused).toMatchObject([
      { index: 2, error: "OFPPMFC_BAD_PORT" },
      { index: 4, error: "OFPFMFC_BAD_COMMAND", isMalformed: true },
      { index: 5, error: "OFPFMFC_BAD_TABLE_ID" },
    ]);
    expect(portsOf(datapath)).toEqual([1, 2, 3, 6]);
    expect(pack(changes, 3, 4)).toHaveLength(1);
  });
});

it("what was changed by bytes is there after a restart, and told to whoever watches", () => {
  withBridge((again) => {
    const first = again();
    const bridge = first.bridge("br0");
    const mods = [
      add(1),
      add(2, { idleTimeoutSeconds: 60 }),
      add(3),
      add(4, { cookie: 7n }),
      add(1, { command: "delete_strict" }),
      // Nothing of this is so: another cookie.
      add(4, { command: "delete_strict", cookie: 6n, cookieMask: 0xffn }),
      add(3, { command: "modify", instructions: [apply(output(9))] }),
    ];
    carryOut(
      bridge,
      pack(
        mods.map((mod) => encoded(mod)),
        0,
        mods.length,
      ),
      0,
      1,
    );
    const stats = (datapath: Datapath) =>
      datapath
        .bridge("br0")
        .tables.flowsOf(0)
        .map(({ match, instructions, cookie, idleTimeoutSeconds }) => ({
          ...{ match, instructions, cookie, idleTimeoutSeconds },
        }))
        .sort((a, b) => (a.match[0]?.value[3] ?? 0) - (b.match[0]?.value[3] ?? 0));
    const before = stats(first);
    expect(portsOf(first)).toEqual([2, 3, 4]);
    const second = again();
    expect(stats(second)).toEqual(before);

    const heard: unknown[] = [];
    const watched = new Datapath({
      pool: new PacketPool({ slots: 64 }),
      onEvents: (_, events) => heard.push(...events),
    });
    const listening = watched.addBridge("br1");
    listening.watchFlows(true);
    carryOut(listening, pack([encoded(add(1, { xid: 5 }))], 0, 1), 0, 3);
    watched.deliver();
    expect(heard).toMatchObject([{ type: "flow_change", event: "added", origin: 3, xid: 5 }]);
    watched.close();
  });
});

it("of a bundle nothing is told or kept before it is committed", () => {
  withBridge((again) => {
    const first = again();
    const bridge = first.bridge("br0");
    bridge.begin();
    carryOut(bridge, pack([encoded(add(1))], 0, 1), 0, 1);
    bridge.rollBack();
    carryOut(bridge, pack([encoded(add(2))], 0, 1), 0, 1);
    expect(portsOf(again())).toEqual([2]);
  });
});
