// The order of dump-flows --sort and --rsort. Pure.
import type { FlowStats, OxmFieldName } from "../../base/openflow/index.js";
import { commandError } from "./errors.js";
import { bytesToNumber, fieldNamed } from "./field-text.js";

export interface SortKey {
  readonly field: string;
  readonly descending: boolean;
}

/** Throws COMMAND_FAILED for a field that does not exist. */
export function sortKey(field: string | undefined, descending: boolean): SortKey {
  if (field !== undefined && field !== "priority") {
    try {
      fieldNamed(field);
    } catch {
      throw commandError(`${field}: unknown field name`);
    }
  }
  return { field: field ?? "priority", descending };
}

/** Sorted by each key in turn, then by priority; flows that lack a field come last. Without keys as they are. */
export function sortFlows(flows: readonly FlowStats[], keys: readonly SortKey[]): readonly FlowStats[] {
  if (keys.length === 0) return flows;
  const all = [...keys, { field: "priority", descending: true }];
  return [...flows].sort((a, b) => {
    for (const key of all) {
      const order = compare(a, b, key);
      if (order !== 0) return order;
    }
    return 0;
  });
}

function compare(a: FlowStats, b: FlowStats, { field, descending }: SortKey): number {
  if (field === "priority") return (a.priority - b.priority) * (descending ? -1 : 1);
  const { name } = fieldNamed(field);
  const [left, right] = [fieldOf(a, name), fieldOf(b, name)];
  if (left === undefined || right === undefined)
    return Number(left === undefined) - Number(right === undefined);
  const order = left < right ? -1 : left > right ? 1 : 0;
  return descending ? -order : order;
}

function fieldOf(flow: FlowStats, name: OxmFieldName): bigint | undefined {
  const entry = flow.match.find(({ field }) => field === name);
  return entry && bytesToNumber(entry.value);
}
