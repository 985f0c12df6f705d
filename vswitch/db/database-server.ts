// The OVSDB server: databases, their clients' monitors, locks and waiting transactions.
// Source: RFC 7047, 4; monitor_cond, monitor_cond_since, get_server_id and _Server from ovsdb-server(7). Thread: main.
// Invariants: a client sees the update of its own transaction before the answer to it; an answer to a committed
// transaction is sent after its record is on the medium.
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { stringifyExactJson } from "../../base/json/index.js";
import {
  type JsonRpcConnection,
  JsonRpcFault,
  type JsonRpcHandler,
  type JsonRpcRequest,
} from "../../base/jsonrpc/index.js";
import { type Logger, silentLog } from "../../base/log/index.js";
import {
  type DatabaseSchema,
  encodeSchema,
  insertOp,
  isIdentifier,
  OvsdbError,
  parseSchema,
  syntaxError,
} from "../../base/ovsdb/index.js";
import { type Clock, systemClock } from "../../base/time/index.js";
import { ClientMonitors } from "./client-monitors.js";
import { Database } from "./database.js";
import { transact } from "./execute.js";
import { HostedDatabase, type ServedDatabase } from "./hosted-database.js";
import { LOCKS_MAX, OPERATIONS_MAX } from "./limits.js";
import { type LockNotice, LockTable, type OwnersLocks } from "./locks.js";
import type { MonitorNotation } from "./monitor.js";
import { openRemote, type Remote, type RemoteOptions } from "./remote.js";
import { SERVER_SCHEMA } from "./server-schema.js";

/** What the server keeps of one connection. */
class Client {
  readonly connection: JsonRpcConnection;
  readonly monitors: ClientMonitors;
  constructor(connection: JsonRpcConnection) {
    this.connection = connection;
    this.monitors = new ClientMonitors((method, params) => connection.notify(method, params));
  }
}

type Method = (params: readonly unknown[], client: Client, request: JsonRpcRequest) => unknown;

export class DatabaseServer {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #hosted = new Map<string, HostedDatabase>();
  readonly #clients = new Map<JsonRpcConnection, Client>();
  readonly #locks = new LockTable<Client>();
  readonly #serverId = randomUUID();
  readonly #remotes = new Set<Remote>();
  readonly #methods: ReadonlyMap<string, Method>;

  constructor(served: readonly ServedDatabase[], clock: Clock = systemClock, log: Logger = silentLog) {
    this.#clock = clock;
    this.#log = log;
    this.#methods = this.#table();
    const own = new Database(SERVER_SCHEMA);
    describeDatabases(own, [...served.map(({ database }) => database), own]);
    for (const one of [...served, { database: own, isReserved: true }]) {
      const hosted = new HostedDatabase(one, clock, (changed, { changes }) => {
        for (const { monitors } of this.#clients.values()) monitors.publish(changed, changes);
      });
      this.#hosted.set(hosted.name, hosted);
    }
  }

  /**
   * Serves clients at "punix:PATH", "ptcp:PORT[:HOST]" or "pssl:PORT[:HOST]", or dials one at "unix:PATH",
   * "tcp:HOST:PORT" or "ssl:HOST:PORT" again and again. A listener throws as `listenJsonRpc`.
   */
  async listen(endpoint: string, options: RemoteOptions = {}): Promise<Remote> {
    const remote = await openRemote(endpoint, this.#handler(), this.#clock, options);
    this.#remotes.add(remote);
    return {
      port: remote.port,
      connections: remote.connections,
      status: () => remote.status(),
      close: async () => {
        this.#remotes.delete(remote);
        await remote.close();
      },
    };
  }

  /** How many clients are connected. */
  get clientCount(): number {
    return this.#clients.size;
  }

  get databaseNames(): readonly string[] {
    return [...this.#hosted.keys()];
  }

  /** The locks that a client holds, waits for and has lost to a thief. */
  locksOf(connection: JsonRpcConnection): OwnersLocks {
    const client = this.#clients.get(connection);
    return client === undefined ? { held: [], waiting: [], lost: [] } : this.#locks.locksOf(client);
  }

  /** Ends all remotes, connections and waiting transactions. The databases stay open. */
  async close(): Promise<void> {
    for (const hosted of this.#hosted.values()) hosted.close();
    await Promise.all([...this.#remotes].map((remote) => remote.close()));
  }

  #handler(): JsonRpcHandler {
    return {
      request: (request, connection) => this.#request(request, this.#clientOf(connection)),
      notification: (method, params, connection) => {
        if (method === "cancel") this.#cancel(this.#clientOf(connection), params[0]);
      },
      closed: (connection, reason) => {
        if (reason !== undefined) this.#log.warn({ err: reason }, "lost a client of the database");
        const client = this.#clients.get(connection);
        if (client === undefined) return;
        this.#clients.delete(connection);
        this.#tell(this.#locks.release(client));
        for (const { waiting } of this.#hosted.values()) waiting.drop(client);
      },
    };
  }

  #clientOf(connection: JsonRpcConnection): Client {
    let client = this.#clients.get(connection);
    if (client === undefined) {
      client = new Client(connection);
      this.#clients.set(connection, client);
    }
    return client;
  }

  #request(request: JsonRpcRequest, client: Client): unknown {
    try {
      const method = this.#methods.get(request.method);
      // A bare text, which clients compare to learn what an older server lacks.
      if (method === undefined) throw new JsonRpcFault("unknown method");
      return method(request.params, client, request);
    } catch (thrown) {
      throw thrown instanceof OvsdbError ? new JsonRpcFault(thrown.toJson()) : thrown;
    }
  }

  #table(): ReadonlyMap<string, Method> {
    return new Map<string, Method>([
      ["list_dbs", () => this.databaseNames],
      ["get_schema", (params) => encodeSchema(this.#find("get_schema", params).database.schema)],
      ["get_server_id", () => this.#serverId],
      ["set_db_change_aware", setDbChangeAware],
      ["transact", (params, client, request) => this.#transact(params, client, request)],
      ["monitor", (params, client, request) => this.#monitor(params, client, request, "update")],
      ["monitor_cond", (params, client, request) => this.#monitor(params, client, request, "update2")],
      ["monitor_cond_since", (params, client, request) => this.#monitor(params, client, request, "update3")],
      ["monitor_cond_change", (params, client) => client.monitors.change(params)],
      ["monitor_cancel", (params, client) => client.monitors.cancel(params)],
      ["lock", (params, client) => this.#lock(params, client)],
      ["steal", (params, client) => this.#steal(params, client)],
      ["unlock", (params, client) => this.#unlock(params, client)],
      ["convert", (params) => this.#convert(params)],
    ]);
  }

  /** The database that the first parameter of `method` names. */
  #find(method: string, params: readonly unknown[]): HostedDatabase {
    const [name] = params;
    if (typeof name !== "string")
      throw syntaxError(`${method} request params must begin with <db-name>`, params);
    const hosted = this.#hosted.get(name);
    if (hosted !== undefined) return hosted;
    throw new OvsdbError("unknown database", `${method} request specifies unknown database ${name}`, params);
  }

  #transact(params: readonly unknown[], client: Client, request: JsonRpcRequest): unknown {
    const hosted = this.#find("transact", params);
    const operations = params.slice(1);
    const id = stringifyExactJson(request.id);
    for (const { waiting } of this.#hosted.values())
      if (waiting.holds(client, id)) throw syntaxError("transact: duplicate request ID", params);
    const beganMs = this.#clock.nowMs();
    return hosted.waiting.run({
      owner: client,
      id,
      attempt: () =>
        transact(hosted.database, operations, {
          elapsedMs: this.#clock.nowMs() - beganMs,
          ownsLock: (lock) => this.#locks.holds(client, lock),
          readOnly: hosted.isReserved,
          operationsMax: OPERATIONS_MAX,
        }),
      finish: async ({ committed, results }) => {
        // Every commit is durable before it is answered; one that changed nothing may still show what another wrote.
        try {
          if (committed) await hosted.sync();
          return results;
        } catch (thrown) {
          if (!(thrown instanceof OvsdbError)) throw thrown;
          return [...results, thrown.toJson()];
        }
      },
    });
  }

  #cancel(client: Client, id: unknown): void {
    for (const { waiting } of this.#hosted.values()) waiting.cancel(client, stringifyExactJson(id));
  }

  #monitor(
    params: readonly unknown[],
    client: Client,
    { method }: JsonRpcRequest,
    notation: MonitorNotation,
  ): unknown {
    return client.monitors.open(this.#find(method, params), params, notation);
  }

  /** The schema is part of the switch: another one could not be acted on. The one that is there changes nothing. */
  #convert(params: readonly unknown[]): unknown {
    const { schema } = this.#find("convert", params).database;
    if (params.length !== 2) throw syntaxError("array expected", params);
    if (isSame(parseSchema(params[1]), schema)) return {};
    const details = `${schema.name} stays at version ${schema.version}: its schema comes with the program`;
    throw new OvsdbError("not supported", details);
  }

  #newLock(method: "lock" | "steal", params: readonly unknown[], client: Client): string {
    const lock = lockOf(method, params);
    if (this.#locks.isAsked(client, lock))
      throw syntaxError(`must issue "unlock" before new "${method}"`, params);
    if (this.#locks.countOf(client) >= LOCKS_MAX) {
      throw new OvsdbError("resources exhausted", `a client has at most ${LOCKS_MAX} locks`);
    }
    return lock;
  }

  #lock(params: readonly unknown[], client: Client): unknown {
    return { locked: this.#locks.lock(client, this.#newLock("lock", params, client)) };
  }

  #steal(params: readonly unknown[], client: Client): unknown {
    this.#tell(this.#locks.steal(client, this.#newLock("steal", params, client)));
    return { locked: true };
  }

  #unlock(params: readonly unknown[], client: Client): unknown {
    const lock = lockOf("unlock", params);
    if (!this.#locks.isAsked(client, lock))
      throw syntaxError('unlock: "unlock" without "lock" or "steal"', params);
    this.#tell(this.#locks.unlock(client, lock));
    return {};
  }

  #tell(notices: readonly LockNotice<Client>[]): void {
    for (const { owner, kind, lock } of notices) owner.connection.notify(kind, [lock]);
  }
}

/** Databases come and go only with the program, so that there is nothing to become aware of. */
function setDbChangeAware(params: readonly unknown[]): unknown {
  if (params.length !== 1 || typeof params[0] !== "boolean")
    throw syntaxError("set_db_change_aware: true or false parameter expected", params);
  return {};
}

function lockOf(method: string, params: readonly unknown[]): string {
  const [lock] = params;
  if (params.length !== 1 || !isIdentifier(lock))
    throw syntaxError(`${method} request params must be <id>`, params);
  return lock;
}

/** True when two schemas say the same; their checksums are of the files they came in. */
function isSame(a: DatabaseSchema, b: DatabaseSchema): boolean {
  const said = ({ cksum: _, ...schema }: DatabaseSchema): unknown => encodeSchema(schema);
  return isDeepStrictEqual(said(a), said(b));
}

function describeDatabases(own: Database, databases: readonly Database[]): void {
  transact(
    own,
    databases.map(({ schema }) =>
      insertOp("Database", {
        name: schema.name,
        model: "standalone",
        connected: true,
        leader: true,
        schema: stringifyExactJson(encodeSchema(schema)),
      }),
    ),
  );
}
