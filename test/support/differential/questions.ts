// Questions that both switches must answer alike when the frames of a case have passed.
import type { FrameIn, Question } from "./compare.js";
import { BRIDGE } from "./wired-switch.js";

/** Who was learned where, whatever their age: lines of port, VLAN and address. */
export const learnedStations = (bridge: string): Question => ({
  tool: "appctl",
  args: ["fdb/show", bridge],
  normalise: (answer) =>
    answer
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/).slice(0, 3).join(" "))
      .sort()
      .join("\n"),
});

/** Lines that only one of them has (docs/differences-from-ovs.md). */
const NOT_OURS =
  /^(Flow|Final flow|Megaflow):|^ *-> \S+ is now |^This flow is handled by the userspace slow path|^ {2}- Uses action\(s\) not supported/;

/**
 * What would become of the frame, step by step to the actions of the datapath. Without the lines that tell its fields:
 * Open vSwitch adds some that no flow sees, and the megaflow is its own; it alone tells what a move has moved, and that
 * actions are slow.
 */
export function traceOf({ port, frame }: FrameIn, bridge = BRIDGE): Question {
  return {
    tool: "appctl",
    args: ["ofproto/trace", bridge, `in_port=${port}`, Buffer.from(frame).toString("hex")],
    normalise: (answer) =>
      answer
        .split("\n")
        .filter((line) => !NOT_OURS.test(line))
        .join("\n"),
  };
}

/**
 * At a select group a trace of Open vSwitch ends: its datapath is to compute the hash. Of an output to many ports it tells
 * them in the order of its memory.
 */
export function traceIsChance(openflow: readonly (readonly string[])[]): boolean {
  return openflow.some((words) => /type=select|[=,](all|flood)\b/.test(words.join(" ")));
}
