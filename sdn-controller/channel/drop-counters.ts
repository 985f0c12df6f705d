// Dropped packets by reason and by resource, from the counters of drop flows. A flow's counter begins anew when the
// flow or the switch does; these totals only grow.
import type { FlowStats } from "../../base/openflow/index.js";
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
    for (const flow of flows) {
      const parts = parseCookie(flow.cookie);
      // What reaches table denied was counted where it was denied.
      if (parts?.reason === undefined || parts.table === "denied") continue;
      const key = `${flow.cookie} ${flowKey(flow.tableId, flow.priority, flow.match)}`;
      present.add(key);
      const last = this.#last.get(key) ?? 0n;
      const grown = flow.packetCount >= last ? flow.packetCount - last : flow.packetCount;
      this.#last.set(key, flow.packetCount);
      if (grown === 0n) continue;
      const total = `${parts.reason} ${parts.resourceHash}`;
      const before = this.#totals.get(total)?.packets ?? 0n;
      this.#totals.set(total, { parts, packets: before + grown });
    }
    for (const key of this.#last.keys()) if (!present.has(key)) this.#last.delete(key);
  }

  list(): DropCount[] {
    return [...this.#totals.values()].flatMap(({ parts, packets }) =>
      parts.reason === undefined
        ? []
        : { reason: parts.reason, resourceHash: parts.resourceHash, packets: Number(packets) },
    );
  }
}
