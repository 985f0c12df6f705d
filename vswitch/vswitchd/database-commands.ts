// What ovs-appctl can ask the switch's database server, in the words of ovsdb-server(1).
import { PlinthError } from "../../base/errors/index.js";
import type { UnixctlAnswer, UnixctlCommand } from "../cli/unixctl-server.js";
import type { DatabaseServer, Storage } from "../db/index.js";
import type { Managers } from "./managers.js";

export interface DatabaseCommandModules {
  readonly server: DatabaseServer;
  readonly storage: Storage;
  readonly managers: Managers;
}

export function databaseCommands(modules: DatabaseCommandModules): Record<string, UnixctlCommand> {
  const { server, storage, managers } = modules;
  const ours = storage.database.schema.name;
  const check = (name: string | undefined, refusal: string): void => {
    if (name === undefined || server.databaseNames.includes(name)) return;
    throw new PlinthError("DATABASE_UNKNOWN", refusal);
  };
  return {
    "ovsdb-server/compact": command("[DB]", 0, 1, ([name]) => {
      check(name, "no database by that name");
      if (name !== undefined && name !== ours)
        throw new PlinthError("DATABASE_BUILT_IN", "cannot compact built-in databases");
      storage.compact();
      return "";
    }),
    "ovsdb-server/list-dbs": command("", 0, 0, () => lines(server.databaseNames)),
    "ovsdb-server/get-db-storage-status": command("DB", 1, 1, ([name]) => {
      check(name, "Failed to find the database.");
      return "status: ok\n";
    }),
    "ovsdb-server/list-remotes": command("", 0, 0, () =>
      lines([...managers.fixed, `db:${ours},Open_vSwitch,manager_options`]),
    ),
    "ovsdb-server/add-remote": command("REMOTE", 1, 1, async ([target]) => {
      await managers.add(target as string);
      return "";
    }),
    "ovsdb-server/remove-remote": command("REMOTE", 1, 1, async ([target]) => {
      if (!(await managers.remove(target as string)))
        throw new PlinthError("REMOTE_UNKNOWN", "no such remote");
      return "";
    }),
    "ovsdb-server/reconnect": command("", 0, 0, () => {
      managers.reconnect();
      return "";
    }),
  };
}

function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  run: UnixctlCommand["run"],
): UnixctlCommand {
  return { usage, argumentsMin, argumentsMax, run };
}

function lines(words: readonly string[]): UnixctlAnswer {
  const data = [...words].sort();
  return { text: data.map((word) => `${word}\n`).join(""), data };
}
