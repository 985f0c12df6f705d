// What a trace tells of an action and of a flow. Pure.
import type { Action, BitRange } from "../../base/openflow/index.js";
import { queueOf } from "./datapath-actions.js";
import { getBits, keyField } from "./fields.js";
import type { Flow } from "./flow.js";
import type { TraceFlow, TraceNode } from "./trace-nodes.js";
import type { TunnelOptions } from "./tunnel-options.js";

/** Where an action writes something that does not stand in it, with so many values on the stack. */
export function destinationOf(action: Action, stacked: number): BitRange | undefined {
  if (action.type === "move" || action.type === "multipath") return action.destination;
  if (action.type === "bundle") return action.destination;
  return action.type === "pop" && stacked > 0 ? action.range : undefined;
}

/** What an action says of itself besides its name; undefined: nothing. */
export function remarkOf(
  action: Action,
  key: Int32Array,
  stacked: number,
  options: TunnelOptions,
): TraceNode | undefined {
  if (action.type === "pop" && stacked === 0) return { kind: "error", text: "stack underflow" };
  if (action.type === "delete_field") return { kind: "detail", text: `delete ${action.field}` };
  if (action.type === "pop_queue" && queueOf(key) !== 0) return { kind: "detail", text: "queue = 0" };
  if (action.type !== "output_reg") return undefined;
  const { field, offset, bits } = action.source;
  const place = keyField(field, options);
  if (place === undefined) return undefined;
  const port = getBits(key, place.start + place.bits - offset - bits, bits);
  return port > 0xffffn
    ? { kind: "warning", text: `output port ${port} is out of range` }
    : { kind: "detail", text: `output port is ${port}` };
}

export function describeFlow(flow: Flow): TraceFlow {
  const { priority, cookie, match, instructions } = flow;
  const isEmpty = instructions.every((one) => one.type === "apply_actions" && one.actions.length === 0);
  return { priority, cookie, match, isEmpty };
}
