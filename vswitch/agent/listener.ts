// A socket on which clients of the switch (ovs-ofctl, service controllers) connect. They take no part in anything
// unless they ask: no unasked messages, no role. Thread: main.

import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import { createTlsServer, type TlsFiles } from "../../base/tls/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";
import { Connection, type ConnectionModules } from "./connection.js";
import { MANAGEMENT_CONNECTIONS_MAX } from "./limits.js";
import type { SwitchEvent } from "./switch-model.js";

export type ListenTarget =
  /** A stale file is replaced; only the owner may connect. */
  | { readonly type: "punix"; readonly path: string }
  | { readonly type: "ptcp" | "pssl"; readonly host: string; readonly port: number };

/** ovs-ofctl answers echoes, but nothing hangs on noticing quickly that it is gone. */
const PROBE_INTERVAL_MS = 60_000;

/** Resolves when clients can connect. PlinthError OPENFLOW_LISTEN_FAILED, SOCKET_PATH_TOO_LONG. */
export async function listenOn(server: Server, name: string, target: ListenTarget): Promise<void> {
  if (target.type === "punix") {
    checkUnixPath(target.path);
    rmSync(target.path, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      reject(new PlinthError("OPENFLOW_LISTEN_FAILED", `${name}: ${cause.message}`, { cause }));
    });
    if (target.type === "punix") server.listen(target.path, resolve);
    else server.listen(target.port, target.host, resolve);
  });
  if (target.type === "punix") chmodSync(target.path, 0o600);
}

export class Listener {
  readonly #name: string;
  readonly #modules: ConnectionModules;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  #isClosed = false;

  private constructor(name: string, target: ListenTarget, modules: ConnectionModules, tls?: TlsFiles) {
    this.#name = name;
    this.#modules = modules;
    const onSocket = (socket: Socket): void => this.#onSocket(socket);
    this.#server = target.type === "pssl" ? createTlsServer(tls, {}, onSocket) : createServer(onSocket);
    this.#server.on("tlsClientError", (error: Error) => modules.log.warn({ target: name }, error.message));
  }

  /**
   * Resolves when clients can connect; `tls` is for pssl. PlinthError OPENFLOW_LISTEN_FAILED, SOCKET_PATH_TOO_LONG,
   * TLS_NOT_CONFIGURED, TLS_FILE_UNREADABLE.
   */
  static async open(
    name: string,
    target: ListenTarget,
    modules: ConnectionModules,
    tls?: TlsFiles | undefined,
  ): Promise<Listener> {
    const listener = new Listener(name, target, modules, tls);
    await listenOn(listener.#server, name, target);
    return listener;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  offer(event: SwitchEvent): void {
    for (const connection of this.#connections) connection.offer(event);
  }

  /** Ends all connections and removes the socket. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.close("the switch stopped listening");
    await closed;
  }

  #onSocket(socket: Socket): void {
    if (this.#isClosed || this.#connections.size >= MANAGEMENT_CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    const connection: Connection = new Connection(
      socket,
      {
        name: this.#name,
        kind: "management",
        probeIntervalMs: PROBE_INTERVAL_MS,
        onClosed: () => this.#connections.delete(connection),
      },
      this.#modules,
    );
    this.#connections.add(connection);
  }
}
