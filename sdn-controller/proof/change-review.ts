// What changes would do, looked at before they are made: reachability gained and lost, and promises broken. Pure.
import type { Compiler } from "../compiler.js";
import type { InventoryChange } from "../inputs.js";
import { type GroupPlan, groupPlanOf } from "./group-plan.js";
import { type Breach, breachesOf, breachKeys } from "./invariants.js";
import { boundedPlan, type Plan, type TooMany } from "./plan.js";

/** More breaches than these are not told; one is enough to refuse. */
const BREACHES_MAX = 10;

export interface ChangeReview {
  /** Given when asked for. */
  readonly plan?: Plan | TooMany;
  /** The same among very many ports, when asked for. */
  readonly groups?: GroupPlan | TooMany;
  /** Only those that the changes bring about. */
  readonly breaches: readonly Breach[];
}

export function reviewChanges(
  compiler: Compiler,
  changes: readonly InventoryChange[],
  options: { readonly plan: boolean; readonly groups?: boolean },
): ChangeReview {
  const groups = options.groups === true ? { groups: groupPlanOf(compiler, changes) } : {};
  const promised = compiler.invariants.length > 0 || changes.some(({ kind }) => kind === "Invariant");
  if (!promised && !options.plan) return { ...groups, breaches: [] };
  const after = compiler.fork(changes);
  return {
    ...groups,
    ...(options.plan ? { plan: boundedPlan(compiler, after) } : {}),
    breaches: newBreaches(compiler, after),
  };
}

function newBreaches(before: Compiler, after: Compiler): Breach[] {
  if (breachesOf(after, after.invariants, 1).length === 0) return [];
  // Only an invariant that says the same as before can have been broken before.
  const texts = new Map(before.invariants.map((invariant) => [invariant.name, JSON.stringify(invariant)]));
  const unchanged = after.invariants.filter((one) => texts.get(one.name) === JSON.stringify(one));
  return breachesOf(after, after.invariants, BREACHES_MAX, breachKeys(before, unchanged));
}
