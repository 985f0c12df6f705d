// The order of an action set, and what of it takes effect: for write-actions, buckets and traces.
// Source: ovs-actions(7), Action Sets, which is OpenFlow 1.3.5, 5.10 with the actions of Open vSwitch. Thread: any.
import type { Action } from "../../base/openflow/index.js";
import { flowError } from "./errors.js";
import { SLOT_GROUP, SLOT_SETS, SLOTS } from "./program.js";

/** Throws OFPBAC_BAD_TYPE for an action that cannot stand in an action set. */
export function slotOf(action: Action): number {
  const slot = SLOTS[action.type];
  if (slot === undefined) throw flowError("OFPBAC_BAD_TYPE", `${action.type} has no place in an action set`);
  return slot;
}

/** By places, in their order: of each place the last action, but of what sets fields all, as they were given. */
export function bySlot(actions: readonly Action[]): [slot: number, actions: Action[]][] {
  const slots = new Map<number, Action[]>();
  for (const action of actions) {
    const slot = slotOf(action);
    slots.set(slot, slot === SLOT_SETS ? [...(slots.get(slot) ?? []), action] : [action]);
  }
  return [...slots].sort(([a], [b]) => a - b);
}

/** What is executed, in order: of the actions that send the packet on only the first, and nothing without one. */
export function effective(actions: readonly Action[]): Action[] {
  const ordered = bySlot(actions);
  const end = ordered.find(([slot]) => slot >= SLOT_GROUP);
  if (end === undefined) return [];
  return ordered.filter((one) => one[0] < SLOT_GROUP || one === end).flatMap(([, inSlot]) => inSlot);
}
