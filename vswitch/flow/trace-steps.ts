// What a trace tells of an action and of a flow. Pure.
import type { Action, BitRange } from "../../base/openflow/index.js";
import type { Flow } from "./flow.js";
import type { TraceFlow } from "./trace-nodes.js";

/** Where an action writes something that does not stand in it. */
export function destinationOf(action: Action): BitRange | undefined {
  if (action.type === "move" || action.type === "multipath") return action.destination;
  if (action.type === "bundle") return action.destination;
  return action.type === "pop" ? action.range : undefined;
}

export function describeFlow(flow: Flow): TraceFlow {
  const { priority, cookie, match, instructions } = flow;
  const isEmpty = instructions.every((one) => one.type === "apply_actions" && one.actions.length === 0);
  return { priority, cookie, match, isEmpty };
}
