// What a switch has against what it should have: the fewest flow-mods, in an order that never opens a gap. Pure.
// New flows first, from the last table to the first, so that nothing is sent to a table before its flows are there;
// then flows that differ; then what is left over, from the first table to the last. A flow that drops is not replaced
// but deleted and added, so that the switch reports how many packets it dropped.

import type { FlowMod, FlowStats, Match } from "../../base/openflow/index.js";
import { OFP_NO_BUFFER, OFPFF_SEND_FLOW_REM, OFPG_ANY, OFPP_ANY } from "../../base/openflow/index.js";
import { type CookieSlice, isInSlice } from "../pipeline/cookie.js";
import { type Flow, flowBody, flowKey } from "../pipeline/flow.js";
import type { FlowStore } from "../pipeline/flow-store.js";

/** A flow that is on the switch, as far as we know. */
export interface InstalledFlow {
  readonly body: string;
  readonly tableId: number;
  readonly priority: number;
  readonly match: Match;
  readonly flags: number;
  readonly cookie: bigint;
}

export type InstalledFlows = Map<string, InstalledFlow>;

/** Everything but the xid, which the sender of the messages gives. */
export type FlowModBody = Omit<FlowMod, "xid">;

/** One flow to bring in line. Its messages are made when they are asked for: a cold start has very many steps. */
export class FlowPlanStep {
  readonly key: string;
  readonly kind: "add" | "change" | "delete";
  /** What is installed once the switch has taken the step; undefined after a delete. */
  readonly after: Flow | undefined;
  readonly #present: InstalledFlow | undefined;

  /** At least one of `wanted` and `present`. */
  constructor(key: string, wanted: Flow | undefined, present: InstalledFlow | undefined) {
    this.key = key;
    this.kind = wanted === undefined ? "delete" : present === undefined ? "add" : "change";
    this.after = wanted;
    this.#present = present;
  }

  /** In the order in which they have to be sent. */
  messages(): FlowModBody[] {
    const present = this.#present;
    if (this.after === undefined) return present === undefined ? [] : [deletion(present)];
    const counted = present !== undefined && (present.flags & OFPFF_SEND_FLOW_REM) !== 0;
    return counted ? [deletion(present), addition(this.after)] : [addition(this.after)];
  }
}

/** What a switch reports. A flow that is as `desired` says is that very object, so that it is held once. */
export function installedFrom(reported: readonly FlowStats[], desired: FlowStore): InstalledFlows {
  const installed: InstalledFlows = new Map();
  for (const { tableId, priority, match, cookie, flags, instructions } of reported) {
    const body = flowBody(cookie, flags, instructions);
    const key = flowKey(tableId, priority, match);
    const wanted = desired.flow(key);
    if (wanted?.body === body) installed.set(wanted.key, wanted);
    else installed.set(key, { body, tableId, priority, match, flags, cookie });
  }
  return installed;
}

/** Replaces what was installed of `slice` by `present`, all that the switch reports of it. */
export function replaceSlice(installed: InstalledFlows, present: InstalledFlows, slice: CookieSlice): void {
  for (const [key, { cookie }] of installed) if (isInSlice(cookie, slice)) installed.delete(key);
  for (const [key, flow] of present) installed.set(key, flow);
}

/** Keys of desired flows that are in `slice`. */
export function desiredKeys(desired: FlowStore, slice: CookieSlice): string[] {
  return [...desired.keys()].filter((key) => isInSlice(desired.flow(key)?.cookie ?? 0n, slice));
}

/** Steps that make `keys` (default: every key of either side) on the switch what `desired` says. */
export function planFlows(
  installed: ReadonlyMap<string, InstalledFlow>,
  desired: FlowStore,
  keys: Iterable<string> = new Set([...installed.keys(), ...desired.keys()]),
): FlowPlanStep[] {
  const adds: FlowPlanStep[] = [];
  const changes: FlowPlanStep[] = [];
  const deletes: { step: FlowPlanStep; tableId: number }[] = [];
  for (const key of keys) {
    const wanted = desired.flow(key);
    const present = installed.get(key);
    if (wanted === undefined) {
      if (present !== undefined)
        deletes.push({ step: new FlowPlanStep(key, undefined, present), tableId: present.tableId });
    } else if (present === undefined) adds.push(new FlowPlanStep(key, wanted, undefined));
    else if (present.body !== wanted.body) changes.push(new FlowPlanStep(key, wanted, present));
  }
  adds.sort(lastTableFirst);
  changes.sort(lastTableFirst);
  deletes.sort((a, b) => a.tableId - b.tableId || byKey(a.step, b.step));
  return [...adds, ...changes, ...deletes.map(({ step }) => step)];
}

function lastTableFirst(a: FlowPlanStep, b: FlowPlanStep): number {
  return (b.after?.tableId ?? 0) - (a.after?.tableId ?? 0) || byKey(a, b);
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : 1;
}

/** An add replaces a flow of the same match and priority at once, cookie included, which a modify would not. */
function addition({ tableId, priority, match, instructions, cookie, flags }: Flow): FlowModBody {
  return flowMod("add", { tableId, priority, match }, instructions, cookie, flags);
}

function deletion(flow: InstalledFlow): FlowModBody {
  return flowMod("delete_strict", flow, [], 0n, 0);
}

function flowMod(
  command: FlowMod["command"],
  { tableId, priority, match }: Pick<InstalledFlow, "tableId" | "priority" | "match">,
  instructions: FlowMod["instructions"],
  cookie: bigint,
  flags: number,
): FlowModBody {
  return {
    type: "flow_mod",
    cookie,
    cookieMask: 0n,
    tableId,
    command,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority,
    bufferId: OFP_NO_BUFFER,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    flags,
    match,
    instructions,
  };
}
