// The flow monitors of one connection: which changes it hears of, and in what detail. Pure decisions.
// Source: ONF extension 187; Nicira's flow monitor, which it grew from (ovs-ofctl(8), monitor).

import {
  type FlowMonitorRequest,
  type FlowStats,
  type FlowUpdate,
  OFPP_ANY,
  OFPTT_ALL,
  type OfpErrorName,
} from "../../base/openflow/index.js";
import { compileMatch, covers, EVERY_OPTION, type MaskedKey, refersToPort } from "../flow/index.js";
import { FLOW_MONITORS_MAX } from "./limits.js";
import type { FlowChangeEvent } from "./switch-model.js";

interface Monitor {
  readonly request: FlowMonitorRequest;
  readonly key: MaskedKey;
}

const FLAG_OF = { added: "add", deleted: "delete", modified: "modify" } as const;

export class FlowMonitors {
  readonly #monitors = new Map<number, Monitor>();

  get count(): number {
    return this.#monitors.size;
  }

  /** Adds all, or none and returns the error. Throws PlinthError OFPBMC_…. */
  add(requests: readonly FlowMonitorRequest[]): OfpErrorName | undefined {
    const added = new Map<number, Monitor>();
    for (const request of requests) {
      const { monitorId, flags } = request;
      if (this.#monitors.has(monitorId) || added.has(monitorId)) return "OFPMOFC_MONITOR_EXISTS";
      if (!flags.add && !flags.delete && !flags.modify) return "OFPMOFC_BAD_FLAGS";
      if (this.#monitors.size + added.size >= FLOW_MONITORS_MAX) return "OFPBRC_EPERM";
      added.set(monitorId, { request, key: compileMatch(request.match, EVERY_OPTION) });
    }
    for (const [monitorId, monitor] of added) this.#monitors.set(monitorId, monitor);
    return undefined;
  }

  /** False when there is none. */
  cancel(monitorId: number): boolean {
    return this.#monitors.delete(monitorId);
  }

  /** What to tell of the change; undefined = nothing. `isOwn`: a message of this connection made it. */
  updateOf(change: FlowChangeEvent, isOwn: boolean): FlowUpdate | undefined {
    const key = compileMatch(change.match, EVERY_OPTION);
    const concerned = [...this.#monitors.values()].filter(
      (monitor) => monitor.request.flags[FLAG_OF[change.event]] && isAbout(monitor, key, change),
    );
    if (concerned.length === 0) return undefined;
    const hasFlag = (flag: "own" | "actions"): boolean =>
      concerned.some(({ request }) => request.flags[flag]);
    if (isOwn && !hasFlag("own")) return { event: "abbreviated", xid: change.xid };
    const { type: _type, before: _before, origin: _origin, xid: _xid, instructions, ...rest } = change;
    return { ...rest, instructions: hasFlag("actions") ? instructions : [] };
  }
}

function isAbout({ request, key }: Monitor, flowKey: MaskedKey, change: FlowChangeEvent): boolean {
  const lists = change.before === undefined ? [change.instructions] : [change.instructions, change.before];
  return (
    (request.tableId === OFPTT_ALL || request.tableId === change.tableId) &&
    covers(key, flowKey) &&
    (request.outPort === OFPP_ANY || lists.some((list) => refersToPort(list, request.outPort)))
  );
}

/** The flows that there are when monitors begin: each once, whichever monitors it concerns. */
export function initialUpdates(
  found: readonly { readonly request: FlowMonitorRequest; readonly flows: readonly FlowStats[] }[],
): readonly FlowUpdate[] {
  const seen = new Map<string, FlowUpdate>();
  for (const { request, flows } of found) {
    for (const flow of flows) {
      const name = nameOfFlow(flow);
      const known = seen.get(name);
      if (known !== undefined && !request.flags.actions) continue;
      const { tableId, priority, idleTimeoutSeconds, hardTimeoutSeconds, cookie, match } = flow;
      const instructions = request.flags.actions ? flow.instructions : [];
      const times = { idleTimeoutSeconds, hardTimeoutSeconds };
      seen.set(name, { event: "added", tableId, priority, ...times, cookie, match, instructions });
    }
  }
  return [...seen.values()];
}

/** The same for the same table, priority and match. */
export function nameOfFlow(flow: Pick<FlowStats, "tableId" | "priority" | "match">): string {
  const { value, mask } = compileMatch(flow.match, EVERY_OPTION);
  return `${flow.tableId} ${flow.priority} ${value.join()} ${mask.join()}`;
}
