// A client of one database: transactions, and a cache of monitored rows that survives lost connections.
// Source: RFC 7047; monitor_cond and update2 of ovsdb-server(7) where the server has them. Thread: main.
// Invariant: `onChange` sees every difference exactly once, also over a reconnection; the cache never goes empty in between.
import { PlinthError } from "../errors/index.js";
import { connectJsonRpc, type JsonRpcConnection, JsonRpcFault } from "../jsonrpc/index.js";
import { type Logger, silentLog } from "../log/index.js";
import { type Clock, systemClock, type Timer } from "../time/index.js";
import type { TlsFiles } from "../tls/index.js";
import { OvsdbError, show, syntaxError } from "./errors.js";
import { type Operation, type OperationResult, parseTransactReply } from "./operations.js";
import type { OvsdbRow } from "./row.js";
import { RowCache, type RowChange, type UpdateFormat } from "./row-cache.js";
import { parseSchema } from "./schema.js";
import type { DatabaseSchema } from "./types.js";

const BACKOFF_MS_MIN = 50;
const BACKOFF_MS_MAX = 5_000;
const PROBE_INTERVAL_MS = 5_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const MONITOR_ID = "plinth";

export interface OvsdbClientOptions {
  /** "unix:PATH", "tcp:HOST:PORT" or "ssl:HOST:PORT". */
  readonly endpoint: string;
  /** For ssl endpoints. */
  readonly tls?: TlsFiles | undefined;
  /** "Open_vSwitch" unless given. */
  readonly database?: string;
  /** Tables to keep in the cache; the columns named, or all. */
  readonly monitor?: Readonly<Record<string, { readonly columns?: readonly string[] }>>;
  /** Called after the cache took an update, with what changed. */
  readonly onChange?: (changes: readonly RowChange[]) => void;
  /** Called with true when the cache is in step, with false when the connection is lost. */
  readonly onState?: (connected: boolean) => void;
  /** Called when an attempt to connect has failed, with the reason, and when a connection was lost; another follows. */
  readonly onDown?: (reason: unknown) => void;
  readonly clock?: Clock;
  readonly log?: Logger;
}

export class OvsdbClient {
  readonly #options: OvsdbClientOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #database: string;
  #connection: JsonRpcConnection | undefined;
  /** Why we end the connection. */
  #failure: unknown;
  #schema: DatabaseSchema | undefined;
  #cache: RowCache | undefined;
  #format: UpdateFormat = "update2";
  /** Updates that came in one breath with the answer to our monitor request, before that was taken. */
  #early: unknown[] = [];
  #monitoring = false;
  #live = false;
  #closed = false;
  #backoffMs = BACKOFF_MS_MIN;
  #timer: Timer | undefined;
  #waiting: (() => void)[] = [];

  /** Starts connecting at once and keeps trying until `close`. */
  constructor(options: OvsdbClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#database = options.database ?? "Open_vSwitch";
    void this.#connect();
  }

  get isConnected(): boolean {
    return this.#live;
  }

  /** The schema that the server has; undefined before the first connection. */
  get schema(): DatabaseSchema | undefined {
    return this.#schema;
  }

  /** Resolves once connected with the cache in step. Rejects with "timed out" after `timeoutMs`. */
  ready(timeoutMs: number): Promise<void> {
    if (this.#live) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = (): void => {
        timer.cancel();
        if (this.#closed) reject(new OvsdbError("canceled", "the client was closed"));
        else resolve();
      };
      const timer = this.#clock.after(timeoutMs, () => {
        this.#waiting = this.#waiting.filter((other) => other !== done);
        reject(
          new OvsdbError("timed out", `no database at ${this.#options.endpoint} within ${timeoutMs} ms`),
        );
      });
      this.#waiting.push(done);
    });
  }

  /** The monitored rows of `table` by uuid. */
  rows(table: string): ReadonlyMap<string, OvsdbRow> {
    return this.#cache?.rows(table) ?? new Map();
  }

  /**
   * Runs `operations` as one transaction. Rejects with the OvsdbError of the operation that failed; nothing is
   * changed then. RPC_CLOSED and RPC_TIMEOUT leave open whether it was carried out.
   */
  async transact(operations: readonly Operation[], timeoutMs = 10_000): Promise<OperationResult[]> {
    await this.ready(timeoutMs);
    const connection = this.#connection as JsonRpcConnection;
    return parseTransactReply(
      await this.#call(connection, "transact", [this.#database, ...operations], timeoutMs),
      operations,
    );
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#connection?.close();
    this.#wake();
  }

  async #connect(): Promise<void> {
    let connection: JsonRpcConnection | undefined;
    try {
      connection = await connectJsonRpc(this.#options.endpoint, {
        clock: this.#clock,
        timeoutMs: HANDSHAKE_TIMEOUT_MS,
        sizeBytesMax: 256 * 1024 * 1024,
        tls: this.#options.tls,
        handler: {
          notification: (method, params) => this.#notified(method, params),
          closed: () => this.#lost(),
        },
      });
      this.#connection = connection;
      if (this.#closed) connection.close();
      await this.#handshake(connection);
    } catch (thrown) {
      this.#log.debug({ err: thrown, endpoint: this.#options.endpoint }, "database not reached");
      if (connection === undefined) this.#retry(thrown);
      else {
        this.#failure = thrown;
        connection.close();
      }
    }
  }

  async #handshake(connection: JsonRpcConnection): Promise<void> {
    this.#schema = parseSchema(await this.#call(connection, "get_schema", [this.#database]));
    this.#cache ??= new RowCache(this.#schema);
    const changes = this.#options.monitor === undefined ? [] : await this.#monitor(connection);
    if (!connection.isOpen) return;
    this.#live = true;
    this.#backoffMs = BACKOFF_MS_MIN;
    this.#probe(connection);
    if (changes.length > 0) this.#options.onChange?.(changes);
    this.#options.onState?.(true);
    this.#wake();
  }

  async #monitor(connection: JsonRpcConnection): Promise<RowChange[]> {
    const requests: Record<string, unknown> = {};
    for (const [table, { columns }] of Object.entries(this.#options.monitor ?? {})) {
      requests[table] = [columns === undefined ? {} : { columns }];
    }
    const params = [this.#database, MONITOR_ID, requests];
    this.#format = "update2";
    let initial: unknown;
    try {
      initial = await this.#call(connection, "monitor_cond", params);
    } catch (thrown) {
      if (!(thrown instanceof OvsdbError) || thrown.error !== "unknown method") throw thrown;
      this.#format = "update";
      initial = await this.#call(connection, "monitor", params);
    }
    const cache = this.#cache as RowCache;
    const changes = cache.replace(initial, this.#format);
    this.#monitoring = true;
    for (const updates of this.#early.splice(0)) changes.push(...cache.apply(updates, this.#format));
    return changes;
  }

  async #call(
    connection: JsonRpcConnection,
    method: string,
    params: readonly unknown[],
    timeoutMs = HANDSHAKE_TIMEOUT_MS,
  ): Promise<unknown> {
    try {
      return await connection.call(method, params, timeoutMs);
    } catch (thrown) {
      throw thrown instanceof JsonRpcFault ? ovsdbErrorOf(thrown) : thrown;
    }
  }

  #notified(method: string, params: readonly unknown[]): void {
    const [id, updates] = params;
    if (method !== this.#format || id !== MONITOR_ID || this.#cache === undefined) return;
    if (!this.#monitoring) {
      this.#early.push(updates);
      return;
    }
    try {
      const changes = this.#cache.apply(updates, this.#format);
      if (changes.length > 0) this.#options.onChange?.(changes);
    } catch (thrown) {
      if (!(thrown instanceof OvsdbError)) throw thrown;
      // Out of step: only a new monitor can repair that.
      this.#log.warn({ err: thrown }, "the database sent an update that makes no sense");
      this.#connection?.close();
    }
  }

  #lost(): void {
    this.#connection = undefined;
    this.#monitoring = false;
    this.#early = [];
    this.#timer?.cancel();
    if (this.#live) {
      this.#live = false;
      this.#options.onState?.(false);
    }
    const { endpoint } = this.#options;
    this.#retry(this.#failure ?? new PlinthError("RPC_CLOSED", `${endpoint} closed the connection`));
    this.#failure = undefined;
  }

  #retry(reason: unknown): void {
    if (this.#closed) return;
    this.#options.onDown?.(reason);
    this.#timer?.cancel();
    this.#timer = this.#clock.after(this.#backoffMs, () => void this.#connect());
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS_MAX);
  }

  #probe(connection: JsonRpcConnection): void {
    this.#timer = this.#clock.after(PROBE_INTERVAL_MS, async () => {
      if (!(await connection.probe(PROBE_INTERVAL_MS))) connection.close();
      else if (connection.isOpen) this.#probe(connection);
    });
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

function ovsdbErrorOf(fault: JsonRpcFault): OvsdbError {
  const value = fault.value;
  if (typeof value === "string") return new OvsdbError(value, "");
  const { error, details } = (value ?? {}) as { error?: unknown; details?: unknown };
  if (typeof error !== "string") return syntaxError(`the server answered with ${show(value)}`);
  return new OvsdbError(error, typeof details === "string" ? details : "");
}
