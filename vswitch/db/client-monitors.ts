// The monitors of one client: opened, changed and canceled by its requests, told of each commit.
// Source: RFC 7047, 4.1.5 to 4.1.7; ovsdb-server(7), 4.1.12 to 4.1.16. Invariant: an id names one monitor at a time.
import { stringifyExactJson } from "../../base/json/index.js";
import { JsonRpcFault } from "../../base/jsonrpc/index.js";
import { isUuid, OvsdbError, sortMembers, syntaxError } from "../../base/ovsdb/index.js";
import type { DatabaseChange } from "./database.js";
import type { HostedDatabase } from "./hosted-database.js";
import { MONITORS_MAX } from "./limits.js";
import { Monitor, type MonitorNotation } from "./monitor.js";

interface OpenMonitor {
  readonly id: unknown;
  readonly hosted: HostedDatabase;
  readonly monitor: Monitor;
}

type Notify = (method: string, params: readonly unknown[]) => void;

export class ClientMonitors {
  readonly #open = new Map<string, OpenMonitor>();
  readonly #notify: Notify;

  constructor(notify: Notify) {
    this.#notify = notify;
  }

  /** Opens a monitor on `hosted`, which the first of the parameters names; returns the answer. */
  open(hosted: HostedDatabase, params: readonly unknown[], notation: MonitorNotation): unknown {
    const [, id, requests, lastId] = params;
    // What is too much for `monitor` is left unread, as ovsdb-server does.
    const wanted = notation === "update3" ? 4 : 3;
    if (notation === "update" ? params.length < wanted : params.length !== wanted)
      throw invalidParameters(params);
    const key = keyOf(id);
    if (this.#open.has(key)) throw duplicateId(id);
    if (this.#open.size >= MONITORS_MAX) {
      throw new OvsdbError("resources exhausted", `a client has at most ${MONITORS_MAX} monitors`);
    }
    if (notation === "update3" && !isUuid(lastId)) {
      const wrong = typeof lastId === "string" ? "must be UUID format." : "must be string";
      throw syntaxError(`last-txn-id ${wrong}`, lastId);
    }
    const monitor = new Monitor(hosted.database, requests, notation);
    this.#open.set(key, { id, hosted, monitor });
    if (notation !== "update3") return monitor.initial(hosted.database);
    const missed = hosted.history.since((lastId as string).toLowerCase());
    const updates = missed === undefined ? monitor.initial(hosted.database) : (monitor.update(missed) ?? {});
    return [missed !== undefined, hosted.history.lastId, updates];
  }

  /** Takes new conditions and a new id for a monitor; what appears and vanishes by that is sent before the answer. */
  change(params: readonly unknown[]): unknown {
    if (params.length !== 3) throw invalidParameters(params);
    const [oldId, newId, requests] = params;
    const open = this.#open.get(keyOf(oldId));
    if (open === undefined || open.monitor.notation === "update")
      throw syntaxError("unknown monitor session", oldId);
    const newKey = keyOf(newId);
    if (newKey !== keyOf(oldId) && this.#open.has(newKey)) throw duplicateId(newId);
    const updates = open.monitor.changeConditions(open.hosted.database, requests);
    this.#open.delete(keyOf(oldId));
    const moved = { ...open, id: newId };
    this.#open.set(newKey, moved);
    if (updates !== undefined) this.#send(moved, updates);
    return {};
  }

  /** The two failures are bare texts (RFC 7047, 4.1.7). */
  cancel(params: readonly unknown[]): unknown {
    if (params.length !== 1) throw new JsonRpcFault("invalid parameters");
    if (!this.#open.delete(keyOf(params[0]))) throw new JsonRpcFault("unknown monitor");
    return {};
  }

  /** Shows a commit to every monitor of `hosted`. */
  publish(hosted: HostedDatabase, changes: readonly DatabaseChange[]): void {
    for (const open of this.#open.values()) {
      if (open.hosted !== hosted) continue;
      const updates = open.monitor.update(changes);
      if (updates !== undefined) this.#send(open, updates);
    }
  }

  #send({ id, hosted, monitor }: OpenMonitor, updates: unknown): void {
    const { notation } = monitor;
    this.#notify(notation, notation === "update3" ? [id, hosted.history.lastId, updates] : [id, updates]);
  }
}

function keyOf(id: unknown): string {
  return stringifyExactJson(sortMembers(id ?? null));
}

function duplicateId(id: unknown): OvsdbError {
  return syntaxError("duplicate monitor ID", id);
}

function invalidParameters(params: readonly unknown[]): OvsdbError {
  return syntaxError("invalid parameters", params);
}
