// Starts the switch daemon with the real datapath. What it is made of is loaded when it starts: the command-line verbs
// come by the same door, and most of their time would go into loading a switch that they do not run.
import type { Vswitchd, VswitchdOptions } from "./vswitchd.js";

export interface StartVswitchdOptions extends VswitchdOptions {
  /** Internal ports get a TAP device of the host; needs CAP_NET_ADMIN. */
  readonly hostDevices?: boolean;
}

/** See `startVswitchdWith`. */
export async function startVswitchd(options: StartVswitchdOptions): Promise<Vswitchd> {
  const [{ avoidProcessors }, { DatapathBackend }, { startVswitchdWith }] = await Promise.all([
    import("../../base/linux/index.js"),
    import("./switch-backend.js"),
    import("./vswitchd.js"),
  ]);
  const hostDevices = options.hostDevices ?? false;
  return startVswitchdWith((common) => {
    // What the database, controllers and tools ask of this thread must not stop the forwarding.
    if (common.cores.length > 0) avoidProcessors(common.cores);
    return DatapathBackend.open({ ...common, hostDevices });
  }, options);
}
