// What a switch has against what it should have: the fewest flow-mods, in an order that never opens a gap. Pure.
// New flows first, from the last table to the first, so that nothing is sent to a table before its flows are there;
// then flows that differ; then what is left over, from the first table to the last. A flow that drops is not replaced
// but deleted and added, so that the switch reports how many packets it dropped.

import type { FlowMod, FlowStats, Match } from "../../base/openflow/index.js";
import { OFP_NO_BUFFER, OFPFF_SEND_FLOW_REM, OFPG_ANY, OFPP_ANY } from "../../base/openflow/index.js";
import { type Flow, flowBody, flowKey } from "../pipeline/flow.js";
import type { FlowStore } from "../pipeline/flow-store.js";

/** A flow that is on the switch, as far as we know. */
export interface InstalledFlow {
  readonly body: string;
  readonly tableId: number;
  readonly priority: number;
  readonly match: Match;
  readonly flags: number;
}

export type InstalledFlows = Map<string, InstalledFlow>;

/** Everything but the xid, which the sender of the messages gives. */
export type FlowModBody = Omit<FlowMod, "xid">;

export interface FlowPlanStep {
  readonly key: string;
  readonly kind: "add" | "change" | "delete";
  /** What has to be sent first. */
  readonly before?: FlowModBody;
  readonly message: FlowModBody;
  /** What is installed once the switch has taken the step; undefined after a delete. */
  readonly after: InstalledFlow | undefined;
}

export function installedFrom(reported: readonly FlowStats[]): InstalledFlows {
  const installed: InstalledFlows = new Map();
  for (const { tableId, priority, match, cookie, flags, instructions } of reported) {
    const body = flowBody(cookie, flags, instructions);
    installed.set(flowKey(tableId, priority, match), { body, tableId, priority, match, flags });
  }
  return installed;
}

/** Steps that make `keys` (default: every key of either side) on the switch what `desired` says. */
export function planFlows(
  installed: ReadonlyMap<string, InstalledFlow>,
  desired: FlowStore,
  keys: Iterable<string> = new Set([...installed.keys(), ...desired.keys()]),
): FlowPlanStep[] {
  const adds: { flow: Flow; key: string }[] = [];
  const changes: { flow: Flow; key: string; present: InstalledFlow }[] = [];
  const deletes: { flow: InstalledFlow; key: string }[] = [];
  for (const key of keys) {
    const wanted = desired.flow(key);
    const present = installed.get(key);
    if (wanted === undefined) {
      if (present !== undefined) deletes.push({ key, flow: present });
    } else if (present === undefined) adds.push({ key, flow: wanted });
    else if (present.body !== wanted.body) changes.push({ key, flow: wanted, present });
  }
  adds.sort((a, b) => b.flow.tableId - a.flow.tableId || order(a, b));
  changes.sort((a, b) => b.flow.tableId - a.flow.tableId || order(a, b));
  deletes.sort((a, b) => a.flow.tableId - b.flow.tableId || order(a, b));
  return [
    ...adds.map(({ key, flow }) => install("add", key, flow)),
    ...changes.map(({ key, flow, present }): FlowPlanStep => {
      const step = install("change", key, flow);
      return (present.flags & OFPFF_SEND_FLOW_REM) === 0 ? step : { ...step, before: deletion(present) };
    }),
    ...deletes.map(
      ({ key, flow }): FlowPlanStep => ({ key, kind: "delete", message: deletion(flow), after: undefined }),
    ),
  ];
}

function order(a: { key: string }, b: { key: string }): number {
  return a.key < b.key ? -1 : 1;
}

const COMMON = {
  type: "flow_mod",
  cookieMask: 0n,
  idleTimeoutSeconds: 0,
  hardTimeoutSeconds: 0,
  bufferId: OFP_NO_BUFFER,
  outPort: OFPP_ANY,
  outGroup: OFPG_ANY,
  flags: 0,
} as const;

/** An add replaces a flow of the same match and priority at once, cookie included, which a modify would not. */
function install(kind: "add" | "change", key: string, flow: Flow): FlowPlanStep {
  const { tableId, priority, match, instructions, cookie, flags, body } = flow;
  return {
    key,
    kind,
    message: { ...COMMON, command: "add", tableId, priority, match, instructions, cookie, flags },
    after: { body, tableId, priority, match, flags },
  };
}

function deletion(flow: InstalledFlow): FlowModBody {
  const { tableId, priority, match } = flow;
  return { ...COMMON, command: "delete_strict", tableId, priority, match, instructions: [], cookie: 0n };
}
