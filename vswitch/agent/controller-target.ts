// Where a controller is: the target strings of OVSDB's Controller rows.
// Source: ovs-vswitchd.conf.db(5), Controller table. `ssl:` and the listening targets (ptcp:, pssl:) are refused.

import { PlinthError } from "../../base/errors/index.js";

export type ControllerTarget =
  | { readonly type: "unix"; readonly path: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number };

const OPENFLOW_PORT = 6653;
/** sun_path without its NUL; Node cuts longer paths silently. */
const UNIX_PATH_MAX = 107;

/** Parses `unix:PATH`, `tcp:HOST[:PORT]` or `tcp:[IPV6][:PORT]`; PlinthError CONTROLLER_TARGET_INVALID otherwise. */
export function parseControllerTarget(target: string): ControllerTarget {
  if (target.startsWith("unix:")) {
    const path = target.slice("unix:".length);
    checkSocketPath(path);
    return { type: "unix", path };
  }
  const match = /^tcp:(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(target);
  const port = Number(match?.[3] ?? OPENFLOW_PORT);
  if (match === null || port < 1 || port > 65535) {
    throw new PlinthError("CONTROLLER_TARGET_INVALID", `"${target}" is no controller`, {
      field: "target",
      remedy: "use unix:PATH, tcp:HOST:PORT or tcp:[IPV6]:PORT",
    });
  }
  return { type: "tcp", host: (match[1] ?? match[2]) as string, port };
}

/** PlinthError SOCKET_PATH_TOO_LONG when the kernel would not take the path. */
export function checkSocketPath(path: string): void {
  const size = Buffer.byteLength(path);
  if (size > 0 && size <= UNIX_PATH_MAX) return;
  throw new PlinthError(
    "SOCKET_PATH_TOO_LONG",
    `a unix socket's path has 1 to ${UNIX_PATH_MAX} bytes: ${path}`,
    {
      context: { size },
    },
  );
}
