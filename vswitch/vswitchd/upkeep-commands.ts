// What ovs-appctl can ask of caches, controllers and of what this switch has none of: revalidator/*, dpctl/del-flows,
// bridge/reconnect, spanning trees, bonds, CFM, BFD, tunnels. Source: ovs-vswitchd(8).
import { existsSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import { command } from "./commands.js";
import { sortArguments } from "./dpctl-arguments.js";

export interface UpkeepModules {
  readonly bridges: () => ReadonlyMap<string, unknown>;
  /** Forgets every path and verdict that is cached. */
  readonly forgetPaths: () => Promise<void>;
  /** Resolves when everything asked before is in force. */
  readonly settle: () => Promise<void>;
  /** Ends the connections to the bridge's controllers that are dialled, and makes them anew. */
  readonly reconnect: (bridge: string) => void;
}

export function upkeepCommands(modules: UpkeepModules): Record<string, UnixctlCommand> {
  const { bridges, forgetPaths, settle, reconnect } = modules;
  const purge = async (): Promise<string> => {
    await forgetPaths();
    return "";
  };
  return {
    ...emptyCommands(),
    // No packet is ever judged by an older table: there is nothing to wait for but requests that are on their way.
    "revalidator/wait": command("", 0, 0, async () => {
      await settle();
      return "";
    }),
    "revalidator/purge": command("", 0, 0, purge),
    "dpctl/del-flows": command("[dp] [file]", 0, 2, async (args) => {
      const { words } = sortArguments(args, Number.POSITIVE_INFINITY);
      const file = words.at(-1);
      if (file === undefined) return purge();
      // In the answer, as the original, which calls this no failure of the command.
      if (!existsSync(file))
        return `ovs-vswitchd: Opening file "${file}" failed (No such file or directory)\n`;
      throw new Error(`${file}: cached ways are deleted all together, not by a file of flows`);
    }),
    "bridge/reconnect": command("[bridge]", 0, 1, ([bridge]) => {
      if (bridge !== undefined && !bridges().has(bridge))
        throw new PlinthError("BRIDGE_UNKNOWN", "Unknown bridge");
      for (const name of bridge === undefined ? bridges().keys() : [bridge]) reconnect(name);
      return "";
    }),
  };
}

/** What this switch does not have is shown as not being there. */
function emptyCommands(): Record<string, UnixctlCommand> {
  const neighbours = `${"IP".padEnd(46)}${"MAC".padEnd(20)}Bridge\n${"=".repeat(74)}\n`;
  const ofInterface = (refusal: string): UnixctlCommand =>
    command("[interface]", 0, 1, ([name]) => {
      if (name !== undefined) throw new PlinthError("PORT_UNKNOWN", refusal);
      return "";
    });
  /** Of one that is named there is none; of all there is nothing to do. */
  const ofEach = (usage: string, refusal: string, done: string): UnixctlCommand =>
    command(usage, 0, 1, ([name]) => {
      if (name !== undefined) throw new PlinthError("OBJECT_UNKNOWN", refusal);
      return done;
    });
  const ofBond = (usage: string, count: number): UnixctlCommand =>
    command(usage, count, count, () => {
      throw new PlinthError("BOND_UNKNOWN", "no such bond");
    });
  const fault = (refusal: string): UnixctlCommand =>
    command("[interface] normal|false|true", 1, 2, (args) => {
      const [state, name] = [...args].reverse();
      if (state !== "normal" && state !== "false" && state !== "true")
        throw new PlinthError("STATE_INVALID", "unknown fault string");
      if (name !== undefined) throw new PlinthError("PORT_UNKNOWN", refusal);
      return "OK\n";
    });
  return {
    "rstp/tcn": ofEach("[bridge]", "No such RSTP object", "OK\n"),
    "stp/tcn": ofEach("[bridge]", "no such stp object", "OK\n"),
    "lacp/show-stats": ofEach("[port]", "no such lacp object", ""),
    "cfm/set-fault": fault("no such CFM object"),
    "bfd/set-forwarding": fault("no such BFD object"),
    "bond/disable-member": ofBond("port member", 2),
    "bond/enable-member": ofBond("port member", 2),
    "bond/set-active-member": ofBond("port member", 2),
    // The names that these had before, which scripts still use.
    "bond/disable-slave": ofBond("port member", 2),
    "bond/enable-slave": ofBond("port member", 2),
    "bond/set-active-slave": ofBond("port member", 2),
    "bond/migrate": ofBond("port hash member", 3),
    "autoattach/status": command("[bridge]", 0, 1, () => ""),
    "autoattach/show-isid": command("[bridge]", 0, 1, () => ""),
    "autoattach/statistics": command("[bridge]", 0, 1, () => ""),
    "rstp/show": ofEach("[bridge]", "No such RSTP object", ""),
    "stp/show": ofEach("[bridge]", "no such stp object", ""),
    "cfm/show": ofInterface("no such CFM object"),
    "bfd/show": ofInterface("no such bfd object"),
    "tnl/ports/show": command("-v", 0, 1, () => "Listening ports:\n"),
    "tnl/neigh/show": command("", 0, 0, () => neighbours),
    "tnl/arp/show": command("", 0, 0, () => neighbours),
    "ovs/route/show": command("", 0, 0, () => "Route Table:\n"),
  };
}
