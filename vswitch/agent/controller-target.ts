// Where a controller is: the target strings of OVSDB's Controller rows.
// Source: ovs-vswitchd.conf.db(5), Controller table.

import { PlinthError } from "../../base/errors/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";

export type ControllerTarget =
  | { readonly type: "unix"; readonly path: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "ssl"; readonly host: string; readonly port: number }
  | { readonly type: "punix"; readonly path: string }
  | { readonly type: "ptcp"; readonly host: string; readonly port: number }
  | { readonly type: "pssl"; readonly host: string; readonly port: number };

const OPENFLOW_PORT = 6653;

/**
 * Parses `unix:PATH`, `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]`, `punix:PATH`, `ptcp:[PORT][:HOST]` or `pssl:[PORT][:HOST]`,
 * IPv6 addresses in brackets. PlinthError CONTROLLER_TARGET_INVALID otherwise. A listener without a host listens on this machine only.
 */
export function parseControllerTarget(target: string): ControllerTarget {
  const unix = /^(p?unix):(.+)$/.exec(target);
  if (unix !== null) {
    const path = unix[2] as string;
    checkUnixPath(path);
    return { type: unix[1] as "unix" | "punix", path };
  }
  const dialled = /^(tcp|ssl):(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(target);
  if (dialled !== null)
    return endpoint(dialled[1] as "tcp" | "ssl", target, dialled[2] ?? dialled[3], dialled[4]);
  const heard = /^(ptcp|pssl):(\d{1,5})?(?::(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+)))?$/.exec(target);
  if (heard !== null)
    return endpoint(heard[1] as "ptcp" | "pssl", target, heard[3] ?? heard[4] ?? "127.0.0.1", heard[2]);
  throw invalid(target);
}

function endpoint(
  type: "tcp" | "ssl" | "ptcp" | "pssl",
  target: string,
  host: string | undefined,
  portText: string | undefined,
): ControllerTarget {
  const port = Number(portText ?? OPENFLOW_PORT);
  if (host === undefined || port < 1 || port > 65535) throw invalid(target);
  return { type, host, port } as ControllerTarget;
}

function invalid(target: string): PlinthError {
  return new PlinthError("CONTROLLER_TARGET_INVALID", `"${target}" is no controller`, {
    field: "target",
    remedy:
      "use unix:PATH, tcp:HOST:PORT, tcp:[IPV6]:PORT, ssl:HOST:PORT, punix:PATH, ptcp:PORT:HOST or pssl:PORT:HOST",
  });
}
