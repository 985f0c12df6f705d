// What has been done to the flow, group and meter tables since a bundle began, so that all of it can be undone.
// Invariant: counters of a removed flow are kept until the bundle is committed, so that undoing restores them too.
// Thread: datapath worker.
import type { Instruction } from "../../base/openflow/index.js";
import type { Flow, FlowCounters } from "./flow.js";
import type { Group } from "./groups.js";
import type { Meter } from "./meters.js";
import type { FlowProgram } from "./program.js";

/** A flow as it was before it was modified. */
export interface FlowBefore {
  readonly instructions: readonly Instruction[];
  readonly program: FlowProgram;
  readonly packets: number;
  readonly bytes: number;
}

export function stateOf({ instructions, program, slot }: Flow, { packets, bytes }: FlowCounters): FlowBefore {
  return { instructions, program, packets: packets[slot]!, bytes: bytes[slot]! };
}

type Entry =
  | { readonly kind: "added" | "removed"; readonly flow: Flow }
  | { readonly kind: "modified"; readonly flow: Flow; readonly before: FlowBefore };

/** What the journal needs of the tables to undo; none of it is journalled again. */
export interface JournalledTables {
  link(flow: Flow): void;
  unlink(flow: Flow): void;
  freeCounters(flow: Flow): void;
  restore(flow: Flow, before: FlowBefore): void;
}

export class FlowJournal {
  /** The tables as they were before the first group or meter modification; undefined = there was none. */
  groups: ReadonlyMap<number, Group> | undefined;
  meters: ReadonlyMap<number, Meter> | undefined;
  readonly #entries: Entry[] = [];

  added(flow: Flow): void {
    this.#entries.push({ kind: "added", flow });
  }

  removed(flow: Flow): void {
    this.#entries.push({ kind: "removed", flow });
  }

  modified(flow: Flow, before: FlowBefore): void {
    this.#entries.push({ kind: "modified", flow, before });
  }

  /** What was removed is gone for good. */
  commit(tables: JournalledTables): void {
    const entries = this.#entries;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry.kind === "removed") tables.freeCounters(entry.flow);
    }
  }

  /** Undoes everything, the latest first. */
  rollBack(tables: JournalledTables): void {
    const entries = this.#entries;
    for (let i = entries.length - 1; i >= 0; i--) {
      const entry = entries[i]!;
      switch (entry.kind) {
        case "added":
          tables.unlink(entry.flow);
          tables.freeCounters(entry.flow);
          break;
        case "removed":
          tables.link(entry.flow);
          break;
        case "modified":
          tables.restore(entry.flow, entry.before);
      }
    }
  }
}
