// The controller daemon.
export {
  type ControllerOptions,
  type Part,
  type PartContext,
  type RunningController,
  type StartPart,
  startController,
} from "./controller.js";
export { SdnPart, startSdnPart } from "./sdn.js";
