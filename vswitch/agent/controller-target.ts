// Where a controller is: the target strings of OVSDB's Controller rows.
// Source: ovs-vswitchd.conf.db(5), Controller table. `ssl:` and `pssl:` are refused.

import { PlinthError } from "../../base/errors/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";

export type ControllerTarget =
  | { readonly type: "unix"; readonly path: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "punix"; readonly path: string }
  | { readonly type: "ptcp"; readonly host: string; readonly port: number };

const OPENFLOW_PORT = 6653;

/**
 * Parses `unix:PATH`, `tcp:HOST[:PORT]`, `punix:PATH` or `ptcp:[PORT][:HOST]`, IPv6 addresses in brackets.
 * PlinthError CONTROLLER_TARGET_INVALID otherwise. A ptcp without a host listens on this machine only.
 */
export function parseControllerTarget(target: string): ControllerTarget {
  const unix = /^(p?unix):(.+)$/.exec(target);
  if (unix !== null) {
    const path = unix[2] as string;
    checkUnixPath(path);
    return { type: unix[1] as "unix" | "punix", path };
  }
  const tcp = /^tcp:(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(target);
  if (tcp !== null) return endpoint("tcp", target, tcp[1] ?? tcp[2], tcp[3]);
  const ptcp = /^ptcp:(\d{1,5})?(?::(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+)))?$/.exec(target);
  if (ptcp !== null) return endpoint("ptcp", target, ptcp[2] ?? ptcp[3] ?? "127.0.0.1", ptcp[1]);
  throw invalid(target);
}

function endpoint(
  type: "tcp" | "ptcp",
  target: string,
  host: string | undefined,
  portText: string | undefined,
): ControllerTarget {
  const port = Number(portText ?? OPENFLOW_PORT);
  if (host === undefined || port < 1 || port > 65535) throw invalid(target);
  return { type, host, port };
}

function invalid(target: string): PlinthError {
  return new PlinthError("CONTROLLER_TARGET_INVALID", `"${target}" is no controller`, {
    field: "target",
    remedy: "use unix:PATH, tcp:HOST:PORT, tcp:[IPV6]:PORT, punix:PATH or ptcp:PORT:HOST",
  });
}
