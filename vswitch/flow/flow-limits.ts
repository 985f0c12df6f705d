// How many flows each table may have, and which of them gives way to another one: of the largest group of flows that
// agree in some fields the one that expires soonest. Flows without a time-out never give way.
// Source: ovs-vswitchd.conf.db(5), Flow_Table: flow_limit, overflow_policy, groups. Thread: datapath worker.
import type { BitRange } from "../../base/openflow/index.js";
import { expiryMs, type Flow, type FlowCounters, isTimed } from "./flow.js";

export interface FlowLimit {
  readonly tableId: number;
  readonly flowsMax: number;
  /** Whether a flow gives way; otherwise one that is too many is refused. */
  readonly evicts: boolean;
  /** The parts of fields that groups agree in; of flows that do not match one it is 0. */
  readonly groups: readonly BitRange[];
}

/** Among so many flows of the largest groups the next to expire is looked for, the oldest first. */
const EXAMINED_MAX = 64;

export class FlowLimits {
  readonly #tables = new Map<number, LimitedTable>();

  /** `flowsOf`: what the table has now. */
  configure(limits: readonly FlowLimit[], flowsOf: (tableId: number) => readonly Flow[]): void {
    this.#tables.clear();
    for (const limit of limits) {
      const table = new LimitedTable(limit);
      this.#tables.set(limit.tableId, table);
      for (const flow of flowsOf(limit.tableId)) table.entered(flow);
    }
  }

  get tableIds(): readonly number[] {
    return [...this.#tables.keys()];
  }

  flowsMax(tableId: number): number {
    return this.#tables.get(tableId)?.limit.flowsMax ?? Number.POSITIVE_INFINITY;
  }

  /** Whether victim() has somebody to name. */
  mayEvict(tableId: number): boolean {
    return this.#tables.get(tableId)?.isEmpty === false;
  }

  /** The flow is in its table now, or has a time-out now. */
  entered(flow: Flow): void {
    this.#tables.get(flow.tableId)?.entered(flow);
  }

  left(flow: Flow): void {
    this.#tables.get(flow.tableId)?.left(flow);
  }

  /** Who gives way in the table, or null. */
  victim(tableId: number, counters: FlowCounters): Flow | null {
    return this.#tables.get(tableId)?.victim(counters) ?? null;
  }
}

type Group = Set<Flow>;

class LimitedTable {
  readonly limit: FlowLimit;
  readonly #groups = new Map<string, Group>();
  /** Groups by how many flows they have, and the size of the largest. */
  readonly #bySize: Set<Group>[] = [];
  #largest = 0;

  constructor(limit: FlowLimit) {
    this.limit = limit;
  }

  get isEmpty(): boolean {
    return this.#largest === 0;
  }

  entered(flow: Flow): void {
    if (!this.limit.evicts || !isTimed(flow)) return;
    const name = groupOf(flow, this.limit.groups);
    const group = this.#groups.get(name) ?? new Set();
    if (group.has(flow)) return;
    this.#bySize[group.size]?.delete(group);
    group.add(flow);
    this.#groups.set(name, group);
    this.#file(group);
    this.#largest = Math.max(this.#largest, group.size);
  }

  left(flow: Flow): void {
    const name = groupOf(flow, this.limit.groups);
    const group = this.#groups.get(name);
    if (group?.has(flow) !== true) return;
    const filed = this.#bySize[group.size];
    filed?.delete(group);
    if (group.size === this.#largest && filed?.size === 0) this.#largest--;
    group.delete(flow);
    if (group.size === 0) this.#groups.delete(name);
    else this.#file(group);
  }

  #file(group: Group): void {
    const filed = this.#bySize[group.size] ?? new Set();
    filed.add(group);
    this.#bySize[group.size] = filed;
  }

  victim(counters: FlowCounters): Flow | null {
    let soonest: Flow | null = null;
    let examined = 0;
    for (const group of this.#bySize[this.#largest] ?? [])
      for (const flow of group) {
        if (examined++ === EXAMINED_MAX) {
          this.#putLast(group, flow);
          return soonest;
        }
        if (soonest === null || expiryMs(flow, counters) < expiryMs(soonest, counters)) soonest = flow;
      }
    return soonest;
  }

  /** Flows of the group before `next` were looked at: the next time others are. */
  #putLast(group: Group, next: Flow): void {
    const looked: Flow[] = [];
    for (const flow of group) {
      if (flow === next) break;
      looked.push(flow);
    }
    for (const flow of looked) {
      group.delete(flow);
      group.add(flow);
    }
  }
}

/** What the flow has in the parts of fields. */
function groupOf(flow: Flow, parts: readonly BitRange[]): string {
  return parts.map((part) => bitsOf(flow, part)).join("/");
}

function bitsOf({ match }: Flow, { field, offset, bits }: BitRange): bigint {
  const entry = match.find((one) => one.field === (field === "nxm_in_port" ? "in_port" : field));
  let value = 0n;
  for (const byte of entry?.value ?? []) value = (value << 8n) | BigInt(byte);
  return (value >> BigInt(offset)) & ((1n << BigInt(bits)) - 1n);
}
