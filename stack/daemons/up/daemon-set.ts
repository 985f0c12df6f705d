// The daemons of one machine, as data: how each is started, how one knows that it is ready, how it is asked to stop.
// Pure: no process is started here.
import { join } from "node:path";
import type { DirectoryLayout } from "../directory.js";

export type DaemonName = "vswitchd" | "storaged" | "controller" | "nfd" | "host";

export interface DaemonSpec {
  readonly name: DaemonName;
  /** Arguments of `plinth`. */
  readonly args: readonly string[];
  /** The socket that it creates last. */
  readonly controlSocket: string;
  /** What it holds locked while it lives. */
  readonly lockFile: string;
  /** vswitchd speaks unixctl, as ovs-appctl does; the others our own control protocol. */
  readonly protocol: "control" | "unixctl";
  /** Daemons that must be ready before this one starts. */
  readonly after: readonly DaemonName[];
}

export interface DaemonSetOptions {
  /** API port; 0 lets the system choose. */
  readonly apiPort: number;
  /** Guest kernel to use in place of the distribution's. */
  readonly kernel?: string;
}

/** In the order in which they start; they stop in the reverse order. */
export function daemonSet(layout: DirectoryLayout, options: DaemonSetOptions): readonly DaemonSpec[] {
  const dir = ["--dir", layout.dir];
  const logs = ["--log-dir", layout.log];
  const kernel = options.kernel === undefined ? [] : ["--kernel", options.kernel];
  return [
    {
      name: "vswitchd",
      args: ["vswitchd", "--dir", layout.switch, ...logs],
      controlSocket: layout.switchControlSocket,
      lockFile: join(layout.switch, "vswitchd.lock"),
      protocol: "unixctl",
      after: [],
    },
    {
      name: "storaged",
      args: ["storaged", "--dir", layout.storage, "--disk", layout.defaultDisk, ...logs],
      controlSocket: layout.storageControlSocket,
      lockFile: join(layout.storage, "storaged.lock"),
      protocol: "control",
      after: [],
    },
    {
      name: "controller",
      args: ["controller", ...dir, "--port", String(options.apiPort), ...logs],
      controlSocket: layout.controllerControlSocket,
      lockFile: join(layout.run, "controller.lock"),
      protocol: "control",
      after: [],
    },
    {
      name: "nfd",
      args: ["nfd", ...dir, ...logs],
      controlSocket: layout.nfdControlSocket,
      lockFile: join(layout.run, "nfd.lock"),
      protocol: "control",
      after: [],
    },
    {
      name: "host",
      args: ["host", ...dir, ...kernel, ...logs],
      controlSocket: layout.hostControlSocket,
      lockFile: join(layout.run, "host.lock"),
      protocol: "control",
      after: ["vswitchd", "storaged", "controller", "nfd"],
    },
  ];
}
