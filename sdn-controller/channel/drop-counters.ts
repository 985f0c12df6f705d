// Dropped packets by reason and by resource, from the counters of drop flows, and from the last word of those that are
// removed. A flow's counter begins anew when the flow or the switch does; these totals only grow.
import type { FlowRemoved, FlowStats } from "../../base/openflow/index.js";
import { type CookieParts, parseCookie } from "../pipeline/cookie.js";
import { flowKey } from "../pipeline/flow.js";
import type { DropReason } from "../pipeline/tables.js";

export interface DropCount {
  readonly reason: DropReason;
  /** Hash of the resource's name, as in the cookie. */
  readonly resourceHash: number;
  readonly packets: number;
}

export class DropCounters {
  readonly #last = new Map<string, bigint>();
  readonly #totals = new Map<string, { parts: CookieParts; packets: bigint }>();

  /** Takes a complete report of all flows. */
  take(flows: readonly FlowStats[]): void {
    const present = new Set<string>();
    for (const flow of flows) present.add(this.#count(flow));
    for (const key of this.#last.keys()) if (!present.has(key)) this.#last.delete(key);
  }

  /** Takes the last count of a flow that is gone. */
  takeRemoved(flow: FlowRemoved): void {
    this.#last.delete(this.#count(flow));
  }

  #count(flow: Pick<FlowStats, "cookie" | "tableId" | "priority" | "match" | "packetCount">): string {
    const parts = parseCookie(flow.cookie);
    // What reaches table denied was counted where it was denied.
    if (parts?.reason === undefined || parts.table === "denied") return "";
    const key = `${flow.cookie} ${flowKey(flow.tableId, flow.priority, flow.match)}`;
    const last = this.#last.get(key) ?? 0n;
    const grown = flow.packetCount >= last ? flow.packetCount - last : flow.packetCount;
    this.#last.set(key, flow.packetCount);
    if (grown === 0n) return key;
    const total = `${parts.reason} ${parts.resourceHash}`;
    const before = this.#totals.get(total)?.packets ?? 0n;
    this.#totals.set(total, { parts, packets: before + grown });
    return key;
  }

  list(): DropCount[] {
    return [...this.#totals.values()].flatMap(({ parts, packets }) =>
      parts.reason === undefined
        ? []
        : { reason: parts.reason, resourceHash: parts.resourceHash, packets: Number(packets) },
    );
  }
}
