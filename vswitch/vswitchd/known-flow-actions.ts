// What is done to packets of a kind that the caches hold (flow/known-flows.ts), in the words of Open vSwitch's datapath: by
// a trace of a packet of that kind. Thread: main.
import { type Match, OFPP_IN_PORT } from "../../base/openflow/index.js";
import { frameOfMatch } from "../cli/match-frame.js";
import type { DatapathHandle, KnownBridgeFlow } from "../datapath/index.js";
import type { TraceRun } from "../flow/index.js";

/** The number by which packets that go on in a table after connection tracking are told from those that come in. */
export function recirculationOf(table: number | undefined): number {
  return table === undefined ? 0 : table + 1;
}

export async function actionsOf(
  datapath: DatapathHandle,
  bridge: string,
  { start, inPort, table }: KnownBridgeFlow,
): Promise<readonly string[]> {
  const [tci] = start.tags;
  const tag: Match =
    tci === undefined
      ? []
      : [
          { field: "vlan_vid", value: Uint8Array.of((tci >> 8) & 0x1f, tci & 0xff) },
          { field: "vlan_pcp", value: Uint8Array.of(tci >> 13) },
        ];
  const runs = await datapath.call("trace", {
    ...{ bridge, inPort, frame: frameOfMatch([...start.match, ...tag]), given: start.match },
    // Others of the kind may have other addresses.
    ...{ ctDefault: "actual", keepsNormal: true },
    ...(table === undefined
      ? {}
      : { actions: [{ type: "resubmit", port: OFPP_IN_PORT, tableId: table, withCt: false }] }),
  });
  return runs[0]?.actions.map((action) => renumbered(action, runs)) ?? [];
}

/** The trace numbers by itself where packets go on. */
function renumbered(action: string, runs: readonly TraceRun[]): string {
  const number = /^recirc\(0x([0-9a-f]+)\)$/.exec(action)?.[1];
  if (number === undefined) return action;
  const first = runs.find(({ recirculation }) => recirculation === Number.parseInt(number, 16))?.nodes[0];
  return first?.kind === "thaw" ? `recirc(0x${recirculationOf(first.tableId).toString(16)})` : action;
}
