// Starts the switch daemon with the real datapath.
import { DatapathBackend } from "./switch-backend.js";
import { startVswitchdWith, type Vswitchd, type VswitchdOptions } from "./vswitchd.js";

export interface StartVswitchdOptions extends VswitchdOptions {
  /** Internal ports get a TAP device of the host; needs CAP_NET_ADMIN. */
  readonly hostDevices?: boolean;
}

/** See `startVswitchdWith`. */
export function startVswitchd(options: StartVswitchdOptions): Promise<Vswitchd> {
  const hostDevices = options.hostDevices ?? false;
  return startVswitchdWith((common) => DatapathBackend.open({ ...common, hostDevices }), options);
}
