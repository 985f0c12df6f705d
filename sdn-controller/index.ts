// The SDN controller: compiles networks, ports, policies and functions into flows and keeps a switch's flows so.
export type { ChangeRecord } from "./channel/flow-driver.js";
export type { Leadership } from "./channel/mastership.js";
export { Compiler } from "./compiler.js";
export {
  SdnController,
  type SdnControllerOptions,
  type SdnMetrics,
  type SdnModules,
  type SdnOutputs,
} from "./controller.js";
export type * from "./inputs.js";
export type { Flow } from "./pipeline/flow.js";
export { type DropReason, TABLES } from "./pipeline/tables.js";
export * as analysis from "./policy/analysis/index.js";
export { type HandlingProblem, type PolicyHandling, parseHandling } from "./policy/handling.js";
export type { ChangeReview } from "./proof/change-review.js";
export type { ExplainQuestion, Explanation } from "./proof/explain.js";
export type { GroupPlan } from "./proof/group-plan.js";
export { formatBreach } from "./proof/invariants.js";
export type { Plan, PlanLine, TooMany } from "./proof/plan.js";
export { type Sdn, type SdnOptions, startSdn } from "./start.js";
