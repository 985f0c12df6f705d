// The OpenFlow agent of the switch.

export {
  describeGroups,
  describeTables,
  type GroupAbilities,
  NO_METERS,
  type TableAbilities,
} from "./capabilities.js";
export type { ControllerSpec, ControllerStatus } from "./controller-link.js";
export { type ControllerTarget, parseControllerTarget } from "./controller-target.js";
export type { FailMode } from "./fail-mode.js";
export { type AgentModules, type AgentOptions, OpenFlowAgent } from "./openflow-agent.js";
export type {
  AtomicRefusal,
  ChangeRefusal,
  EncodedFlowMod,
  SwitchChange,
  SwitchEvent,
  SwitchModel,
} from "./switch-model.js";
