// Questions that both switches must answer alike when the frames of a case have passed.
import type { Question } from "./compare.js";
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
