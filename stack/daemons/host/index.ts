// The host agent.
export { type HostAgentOptions, type RunningHostAgent, startHostAgent } from "./host-agent.js";
export { hostName } from "./host-registration.js";
