// Drops by reason: how many, and which flow of which table the last packet had met. Thread: datapath worker. Hot: yes.
import { DROP_REASONS, type DropReason } from "./drop-reasons.js";
import type { Flow } from "./flow.js";

/** The last packet that was dropped for a reason. */
export interface DropReport {
  readonly reason: DropReason;
  readonly packets: number;
  /** −1: it had not come to a table. */
  readonly tableId: number;
  /** The last flow that it had met, or null. */
  readonly cookie: bigint | null;
  readonly priority: number;
}

export class DropCounters {
  /** By the DROP_ numbers. */
  readonly packets = new Float64Array(DROP_REASONS.length);
  readonly #tables = new Int32Array(DROP_REASONS.length).fill(-1);
  readonly #flows: (Flow | null)[] = new Array<Flow | null>(DROP_REASONS.length).fill(null);

  count(reason: number, tableId: number, flow: Flow | null): void {
    this.countMany(reason, 1, tableId, flow);
  }

  /** As count(), for so many packets. */
  countMany(reason: number, packets: number, tableId: number, flow: Flow | null): void {
    this.packets[reason] = this.packets[reason]! + packets;
    this.#tables[reason] = tableId;
    this.#flows[reason] = flow;
  }

  /** Every reason for which a packet has been dropped. */
  report(): DropReport[] {
    return DROP_REASONS.flatMap((reason, i) => {
      const packets = this.packets[i]!;
      const flow = this.#flows[i]!;
      if (packets === 0) return [];
      const { cookie, priority } = flow ?? { cookie: null, priority: 0 };
      return [{ reason, packets, tableId: this.#tables[i]!, cookie, priority }];
    });
  }
}
