// Dropped packets by reason and by resource, from the counters of drop flows, and from the last word of those that are
// removed. A flow's counter begins anew when the flow or the switch does; these totals only grow.
import type { FlowRemoved, FlowStats } from "../../base/openflow/index.js";
import { type CookieParts, type CookieSlice, isInSlice, parseCookie } from "../pipeline/cookie.js";
import { flowKey } from "../pipeline/flow.js";
import type { DropReason, TableName } from "../pipeline/tables.js";

export interface DropCount {
  readonly reason: DropReason;
  readonly table: TableName;
  /** Hash of the resource's name, as in the cookie. */
  readonly resourceHash: number;
  readonly packets: number;
}

export class DropCounters {
  readonly #last = new Map<string, { readonly packets: bigint; readonly cookie: bigint }>();
  readonly #totals = new Map<string, { parts: CookieParts; packets: bigint }>();

  /** Takes a complete report of all flows, or of all in `slice`. */
  take(flows: readonly FlowStats[], slice?: CookieSlice): void {
    const present = new Set<string>();
    for (const flow of flows) present.add(this.#count(flow));
    for (const [key, { cookie }] of this.#last)
      if (!present.has(key) && (slice === undefined || isInSlice(cookie, slice))) this.#last.delete(key);
  }

  /** Takes the last count of a flow that is gone. */
  takeRemoved(flow: FlowRemoved): void {
    this.#last.delete(this.#count(flow));
  }

  #count(flow: Pick<FlowStats, "cookie" | "tableId" | "priority" | "match" | "packetCount">): string {
    const parts = parseCookie(flow.cookie);
    if (parts?.reason === undefined) return "";
    const key = `${flow.cookie} ${flowKey(flow.tableId, flow.priority, flow.match)}`;
    const last = this.#last.get(key)?.packets ?? 0n;
    const grown = flow.packetCount >= last ? flow.packetCount - last : flow.packetCount;
    this.#last.set(key, { packets: flow.packetCount, cookie: flow.cookie });
    if (grown === 0n) return key;
    const total = `${parts.table === "dropped"} ${parts.reason} ${parts.resourceHash}`;
    const before = this.#totals.get(total)?.packets ?? 0n;
    this.#totals.set(total, { parts, packets: before + grown });
    return key;
  }

  /** Of everything but what table dropped counts. */
  list(): DropCount[] {
    return this.#all().filter(({ table }) => table !== "dropped");
  }

  /** Packets by hash of the pair that table dropped counts. */
  pairs(): Map<number, number> {
    const dropped = this.#all().filter(({ table }) => table === "dropped");
    return new Map(dropped.map(({ resourceHash, packets }) => [resourceHash, packets]));
  }

  #all(): DropCount[] {
    return [...this.#totals.values()].flatMap(({ parts, packets }) => {
      const { reason, table, resourceHash } = parts;
      return reason === undefined ? [] : { reason, table, resourceHash, packets: Number(packets) };
    });
  }
}
