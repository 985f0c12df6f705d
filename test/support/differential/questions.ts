// Questions that both switches must answer alike when the frames of a case have passed.
import type { FrameIn, Question } from "./compare.js";
import { BRIDGE } from "./wired-switch.js";

/** Who was learned where, whatever their age: lines of port, VLAN and address. */
export const LEARNED_STATIONS: Question = {
  tool: "appctl",
  args: ["fdb/show", BRIDGE],
  normalise: (answer) =>
    answer
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/).slice(0, 3).join(" "))
      .sort()
      .join("\n"),
};

/**
 * What would become of the frame, step by step to the actions of the datapath. Without the lines that tell its fields:
 * Open vSwitch adds some that no flow sees, and the megaflow is its own; it alone tells what a move has moved.
 */
export function traceOf({ port, frame }: FrameIn): Question {
  return {
    tool: "appctl",
    args: ["ofproto/trace", BRIDGE, `in_port=${port}`, Buffer.from(frame).toString("hex")],
    normalise: (answer) =>
      answer
        .split("\n")
        .filter((line) => !/^(Flow|Final flow|Megaflow):|^ *-> \S+ is now /.test(line))
        .join("\n"),
  };
}
