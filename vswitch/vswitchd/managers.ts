// Where the database can be reached beside DIR/db.sock: the remotes of the command line and of Manager rows, listening
// (punix, ptcp, pssl) or dialled (unix, tcp, ssl). Source: ovs-vswitchd.conf.db(5), Manager table. Thread: main.
// Invariant: after `follow`, exactly the targets that could be opened are open, with the settings given; the others
// have a reason and are tried again with each `follow`.
import { describeError, PlinthError } from "../../base/errors/index.js";
import { byUuid, mapValue, type Operation, updateOp } from "../../base/ovsdb/index.js";
import type { Clock } from "../../base/time/index.js";
import type { TlsFiles } from "../../base/tls/index.js";
import type { DatabaseServer, Remote } from "../db/index.js";
import type { ManagerConfig } from "./model.js";

interface Opened {
  /** The settings that it was opened with, to see that they changed. */
  readonly settings: string;
  readonly remote: Remote | undefined;
  /** Why it is not open. */
  readonly error: string | undefined;
}

type RemoteSettings = Pick<ManagerConfig, "target" | "inactivityProbeMs" | "maxBackoffMs">;

export class Managers {
  readonly #server: DatabaseServer;
  readonly #clock: Clock;
  readonly #open = new Map<string, Opened>();
  #fixed: readonly string[] = [];
  #managers: readonly ManagerConfig[] = [];
  #tls: TlsFiles | undefined;
  #toldAtMs = 0;

  constructor(server: DatabaseServer, clock: Clock) {
    this.#server = server;
    this.#clock = clock;
  }

  /** The targets that stay whatever the database says. */
  get fixed(): readonly string[] {
    return this.#fixed;
  }

  /** Adds a target that stays. Throws as `DatabaseServer.listen`; one that waits for an SSL row is kept instead. */
  async add(target: string): Promise<void> {
    if (this.#fixed.includes(target)) return;
    if (this.#open.get(target)?.remote !== undefined) {
      // A Manager row has it already.
      this.#fixed = [...this.#fixed, target];
      return;
    }
    const opened = await this.#openRemote({ target, inactivityProbeMs: undefined, maxBackoffMs: undefined });
    if (opened.error !== undefined && !isTls(target)) throw new PlinthError(opened.code, opened.error);
    this.#fixed = [...this.#fixed, target];
    this.#open.set(target, opened);
  }

  /** Ends a target of `add`; false when there is none. */
  async remove(target: string): Promise<boolean> {
    if (!this.#fixed.includes(target)) return false;
    this.#fixed = this.#fixed.filter((other) => other !== target);
    if (!this.#managers.some((manager) => manager.target === target)) await this.#close(target);
    return true;
  }

  /** Ends every connection; peers that are dialled are dialled again. */
  reconnect(): void {
    for (const { remote } of this.#open.values())
      for (const connection of remote?.connections ?? []) connection.close();
  }

  async follow(managers: readonly ManagerConfig[], tls: TlsFiles | undefined): Promise<void> {
    this.#managers = managers;
    this.#tls = tls;
    const fixed = this.#fixed.map((target) => ({
      target,
      inactivityProbeMs: undefined,
      maxBackoffMs: undefined,
    }));
    const wanted = new Map([...fixed, ...managers].map((remote) => [remote.target, remote]));
    for (const target of [...this.#open.keys()]) if (!wanted.has(target)) await this.#close(target);
    for (const [target, remote] of wanted) {
      const before = this.#open.get(target);
      if (before?.remote !== undefined && before.settings === this.#settingsOf(remote)) continue;
      await this.#close(target);
      this.#open.set(target, await this.#openRemote(remote));
    }
  }

  /** Tries what could not be opened again: its files may be there by now, its port free. */
  async retry(): Promise<void> {
    const isMissing = [...this.#open.values()].some(({ remote }) => remote === undefined);
    if (isMissing) await this.follow(this.#managers, this.#tls);
  }

  /** What the rows of Manager tell about their targets; what only grows with time is told anew with `withTimes`. */
  operations(withTimes: boolean): Operation[] {
    if (withTimes) this.#toldAtMs = this.#clock.nowMs();
    return this.#managers.map(({ uuid, target }) => {
      const { remote, error } = this.#open.get(target) ?? { remote: undefined, error: undefined };
      const isConnected = (remote?.connections.size ?? 0) > 0;
      const status = remote === undefined ? failedStatus(error) : this.#statusOf(target, remote);
      return updateOp("Manager", byUuid(uuid), { is_connected: isConnected, status: mapValue(status) });
    });
  }

  #statusOf(target: string, remote: Remote): Record<string, string> {
    const { state, connectionCount, lastError, connectedAtMs, disconnectedAtMs } = remote.status();
    const [connection] = remote.connections;
    const locks = connection === undefined ? undefined : this.#server.locksOf(connection);
    const since = (atMs: number | undefined): string | undefined =>
      atMs === undefined ? undefined : String(Math.max(0, Math.floor((this.#toldAtMs - atMs) / 1000)));
    const status = {
      state: state === "LISTENING" ? undefined : state,
      last_error: lastError,
      sec_since_connect: since(connectedAtMs),
      sec_since_disconnect: since(disconnectedAtMs),
      locks_held: locks?.held.join(" "),
      locks_waiting: locks?.waiting.join(" "),
      locks_lost: locks?.lost.join(" "),
      n_connections: connectionCount > 1 ? String(connectionCount) : undefined,
      bound_port: remote.port === undefined || !target.startsWith("p") ? undefined : String(remote.port),
    };
    return Object.fromEntries(Object.entries(status).filter(([, value]) => value)) as Record<string, string>;
  }

  #settingsOf({ target, inactivityProbeMs, maxBackoffMs }: RemoteSettings): string {
    return JSON.stringify([inactivityProbeMs, maxBackoffMs, isTls(target) ? this.#tls : null]);
  }

  async #openRemote(settings: RemoteSettings): Promise<Opened & { readonly code: string }> {
    const { target, inactivityProbeMs, maxBackoffMs } = settings;
    const described = this.#settingsOf(settings);
    try {
      const options = { inactivityProbeMs, maxBackoffMs, tls: this.#tls };
      const remote = await this.#server.listen(target, options);
      return { settings: described, remote, error: undefined, code: "" };
    } catch (thrown) {
      const code = thrown instanceof PlinthError ? thrown.code : "SOCKET_UNAVAILABLE";
      return { settings: described, remote: undefined, error: describeError(thrown), code };
    }
  }

  async #close(target: string): Promise<void> {
    const opened = this.#open.get(target);
    this.#open.delete(target);
    await opened?.remote?.close();
  }
}

function failedStatus(error: string | undefined): Record<string, string> {
  return { state: "VOID", ...(error === undefined ? {} : { last_error: error }) };
}

function isTls(target: string): boolean {
  return /^p?ssl:/.test(target);
}
