// Where clients come from: a listener that they dial, or one peer that we dial again and again.
// Source: ovs-vswitchd.conf.db(5), Manager table; ovsdb(7), connection methods. Thread: main.
// Invariant: a dialled remote has at most one connection, and one attempt or pause when it has none.

import { describeError } from "../../base/errors/index.js";
import {
  connectJsonRpc,
  type JsonRpcConnection,
  type JsonRpcHandler,
  listenJsonRpc,
  parseActiveEndpoint,
} from "../../base/jsonrpc/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { TlsFiles } from "../../base/tls/index.js";
import { CLIENT_BACKLOG_BYTES_MAX, CLIENTS_MAX, REQUEST_BYTES_MAX } from "./limits.js";

const PROBE_MS = 5_000;
const BACKOFF_MS_MIN = 1_000;
const BACKOFF_MS_MAX = 8_000;

export interface RemoteOptions {
  /** How long a client may be silent before it is asked whether it is there; 0 for never. 5 s, on unix sockets never. */
  readonly inactivityProbeMs?: number | undefined;
  /** The longest pause between attempts to dial; 8 s unless given. */
  readonly maxBackoffMs?: number | undefined;
  readonly tls?: TlsFiles | undefined;
  /** CLIENT_BACKLOG_BYTES_MAX unless given. */
  readonly backlogBytesMax?: number | undefined;
}

/** In the words of the Manager table's status column. */
export interface RemoteStatus {
  readonly state: "ACTIVE" | "BACKOFF" | "CONNECTING" | "LISTENING";
  readonly connectionCount: number;
  readonly lastError: string | undefined;
  /** On the server's clock; undefined for never. */
  readonly connectedAtMs: number | undefined;
  readonly disconnectedAtMs: number | undefined;
}

export interface Remote {
  /** The port that is listened on, also when 0 was asked for; undefined for unix sockets and dialled peers. */
  readonly port: number | undefined;
  readonly connections: ReadonlySet<JsonRpcConnection>;
  status(): RemoteStatus;
  /** Ends the listener or the dialling, and every connection. */
  close(): Promise<void>;
}

/** Throws as `listenJsonRpc`, or ENDPOINT_INVALID for what can be neither listened at nor dialled. */
export async function openRemote(
  endpoint: string,
  handler: JsonRpcHandler,
  clock: Clock,
  options: RemoteOptions,
): Promise<Remote> {
  const isPassive = /^p(unix|tcp|ssl):/.test(endpoint);
  const isUnix = /^p?unix:/.test(endpoint);
  const inactivityProbeMs = options.inactivityProbeMs ?? (isUnix ? 0 : PROBE_MS);
  const settings = { ...options, inactivityProbeMs };
  if (isPassive) return openListener(endpoint, handler, clock, settings);
  parseActiveEndpoint(endpoint);
  return new DialledRemote(endpoint, handler, clock, settings);
}

async function openListener(
  endpoint: string,
  handler: JsonRpcHandler,
  clock: Clock,
  options: RemoteOptions,
): Promise<Remote> {
  let connectedAtMs: number | undefined;
  let disconnectedAtMs: number | undefined;
  let lastError: string | undefined;
  const server = await listenJsonRpc(
    endpoint,
    {
      ...handler,
      closed: (connection, reason) => {
        disconnectedAtMs = clock.nowMs();
        lastError = reason === undefined ? undefined : describeError(reason);
        handler.closed?.(connection, reason);
      },
    },
    {
      mode: 0o600,
      clock,
      tls: options.tls,
      connectionsMax: CLIENTS_MAX,
      sizeBytesMax: REQUEST_BYTES_MAX,
      backlogBytesMax: options.backlogBytesMax ?? CLIENT_BACKLOG_BYTES_MAX,
      inactivityProbeMs: options.inactivityProbeMs ?? 0,
      connected: () => {
        connectedAtMs = clock.nowMs();
      },
    },
  );
  return {
    port: server.port,
    connections: server.connections,
    status: () => {
      const connectionCount = server.connections.size;
      const state = connectionCount > 0 ? "ACTIVE" : "LISTENING";
      return { state, connectionCount, lastError, connectedAtMs, disconnectedAtMs };
    },
    close: () => server.close(),
  };
}

class DialledRemote implements Remote {
  readonly port = undefined;
  readonly #endpoint: string;
  readonly #handler: JsonRpcHandler;
  readonly #clock: Clock;
  readonly #options: RemoteOptions;
  readonly #connections = new Set<JsonRpcConnection>();
  #timer: Timer | undefined;
  #backoffMs = BACKOFF_MS_MIN;
  #closed = false;
  #dialling: Promise<void>;
  #lastError: string | undefined;
  #connectedAtMs: number | undefined;
  #disconnectedAtMs: number | undefined;
  #pausing = false;

  constructor(endpoint: string, handler: JsonRpcHandler, clock: Clock, options: RemoteOptions) {
    this.#endpoint = endpoint;
    this.#handler = handler;
    this.#clock = clock;
    this.#options = options;
    this.#dialling = this.#dial();
  }

  get connections(): ReadonlySet<JsonRpcConnection> {
    return this.#connections;
  }

  status(): RemoteStatus {
    const connectionCount = this.#connections.size;
    return {
      state: connectionCount > 0 ? "ACTIVE" : this.#pausing ? "BACKOFF" : "CONNECTING",
      connectionCount,
      lastError: this.#lastError,
      connectedAtMs: this.#connectedAtMs,
      disconnectedAtMs: this.#disconnectedAtMs,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    const open = [...this.#connections];
    await Promise.all(open.map((connection) => connection.end(200)));
    await this.#dialling;
  }

  async #dial(): Promise<void> {
    try {
      const connection = await connectJsonRpc(this.#endpoint, {
        clock: this.#clock,
        timeoutMs: this.#options.maxBackoffMs ?? BACKOFF_MS_MAX,
        tls: this.#options.tls,
        inactivityProbeMs: this.#options.inactivityProbeMs ?? 0,
        sizeBytesMax: REQUEST_BYTES_MAX,
        backlogBytesMax: this.#options.backlogBytesMax ?? CLIENT_BACKLOG_BYTES_MAX,
        handler: { ...this.#handler, closed: (gone, reason) => this.#lost(gone, reason) },
      });
      this.#connections.add(connection);
      this.#connectedAtMs = this.#clock.nowMs();
      if (this.#closed) connection.close();
    } catch (thrown) {
      this.#lastError = describeError(thrown);
      this.#pause();
    }
  }

  #lost(connection: JsonRpcConnection, reason: Error | undefined): void {
    this.#connections.delete(connection);
    this.#disconnectedAtMs = this.#clock.nowMs();
    this.#lastError = reason === undefined ? "the peer hung up" : describeError(reason);
    const heldMs = this.#disconnectedAtMs - (this.#connectedAtMs ?? 0);
    // A peer that takes us and drops us at once is no better than one that is not there.
    if (heldMs >= this.#backoffMs) this.#backoffMs = BACKOFF_MS_MIN;
    this.#handler.closed?.(connection, reason);
    this.#pause();
  }

  #pause(): void {
    if (this.#closed) return;
    this.#pausing = true;
    this.#timer = this.#clock.after(this.#backoffMs, () => {
      this.#pausing = false;
      this.#dialling = this.#dial();
    });
    this.#backoffMs = Math.min(this.#backoffMs * 2, this.#options.maxBackoffMs ?? BACKOFF_MS_MAX);
  }
}
