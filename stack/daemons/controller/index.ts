// The controller daemon.
export {
  type ControllerOptions,
  type PartContext,
  type RunningController,
  type StartPart,
  startController,
} from "./controller.js";
export { SdnPart, startSdnPart } from "./sdn.js";
