// The OVSDB server: databases, their clients' monitors, locks and waiting transactions.
// Source: RFC 7047, 4; monitor_cond, monitor_cond_since, get_server_id and _Server from ovsdb-server(7). Thread: main.
// Invariants: a client sees the update of its own transaction before the answer to it; an answer to a committed
// transaction is sent after its record is on the medium.
import { randomUUID } from "node:crypto";
import {
  type JsonRpcConnection,
  JsonRpcFault,
  type JsonRpcHandler,
  type JsonRpcRequest,
  type JsonRpcServer,
  listenJsonRpc,
} from "../../base/jsonrpc/index.js";
import {
  encodeSchema,
  insertOp,
  isIdentifier,
  OvsdbError,
  show,
  syntaxError,
} from "../../base/ovsdb/index.js";
import { type Clock, systemClock } from "../../base/time/index.js";
import { type Commit, Database } from "./database.js";
import { transact } from "./execute.js";
import { LOCKS_MAX, MONITORS_MAX } from "./limits.js";
import { type LockNotice, LockTable } from "./locks.js";
import { Monitor, type MonitorNotation } from "./monitor.js";
import { SERVER_SCHEMA } from "./server-schema.js";
import { WaitingTransactions } from "./waiting.js";

interface Hosted {
  readonly database: Database;
  readonly sync: () => Promise<void>;
  readonly waiting: WaitingTransactions;
  /** Changes with each commit: the last transaction id of monitor_cond_since. */
  lastId: string;
}

interface OpenMonitor {
  readonly id: unknown;
  readonly hosted: Hosted;
  readonly monitor: Monitor;
}

/** What the server keeps of one connection. */
class Client {
  readonly connection: JsonRpcConnection;
  readonly monitors = new Map<string, OpenMonitor>();
  constructor(connection: JsonRpcConnection) {
    this.connection = connection;
  }
}

type Method = (params: readonly unknown[], client: Client, request: JsonRpcRequest) => unknown;

export interface ServedDatabase {
  readonly database: Database;
  /** Resolves when every commit so far is on the medium; absent for one in memory only. */
  readonly sync?: () => Promise<void>;
}

export class DatabaseServer {
  readonly #clock: Clock;
  readonly #hosted = new Map<string, Hosted>();
  readonly #clients = new Map<JsonRpcConnection, Client>();
  readonly #locks = new LockTable<Client>();
  readonly #serverId = randomUUID();
  readonly #servers = new Set<JsonRpcServer>();
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(served: readonly ServedDatabase[], clock: Clock = systemClock) {
    this.#clock = clock;
    this.#methods = this.#table();
    const own = new Database(SERVER_SCHEMA);
    for (const { database, sync } of [...served, { database: own, sync: undefined }]) {
      this.#host(database, sync ?? (() => Promise.resolve()));
    }
    describeDatabases(
      own,
      [...this.#hosted.values()].map(({ database }) => database),
    );
  }

  /** Serves clients at "punix:PATH" or "ptcp:PORT[:HOST]". Throws as `listenJsonRpc`. */
  async listen(endpoint: string): Promise<{ readonly port: number | undefined; close(): Promise<void> }> {
    const server = await listenJsonRpc(endpoint, this.#handler(), { mode: 0o600, clock: this.#clock });
    this.#servers.add(server);
    return {
      port: server.port,
      close: async () => {
        this.#servers.delete(server);
        await server.close();
      },
    };
  }

  /** How many clients are connected. */
  get clientCount(): number {
    return this.#clients.size;
  }

  /** Ends all listeners, connections and waiting transactions. The databases stay open. */
  async close(): Promise<void> {
    for (const stop of this.#unsubscribe) stop();
    for (const { waiting } of this.#hosted.values()) waiting.close();
    await Promise.all([...this.#servers].map((server) => server.close()));
  }

  #host(database: Database, sync: () => Promise<void>): void {
    const hosted: Hosted = {
      database,
      sync,
      waiting: new WaitingTransactions(this.#clock),
      lastId: randomUUID(),
    };
    this.#hosted.set(database.schema.name, hosted);
    this.#unsubscribe.push(
      database.subscribe((commit) => {
        hosted.lastId = randomUUID();
        this.#publish(hosted, commit);
        hosted.waiting.changed();
      }),
    );
  }

  #handler(): JsonRpcHandler {
    return {
      request: (request, connection) => this.#request(request, this.#clientOf(connection)),
      notification: (method, params, connection) => {
        if (method === "cancel") this.#cancel(this.#clientOf(connection), params[0]);
      },
      closed: (connection) => {
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
      ["list_dbs", () => [...this.#hosted.keys()]],
      ["get_schema", ([name]) => encodeSchema(this.#find(name).database.schema)],
      ["get_server_id", () => this.#serverId],
      ["set_db_change_aware", () => ({})],
      ["transact", (params, client, request) => this.#transact(params, client, request)],
      ["monitor", (params, client) => this.#monitor(params, client, "update")],
      ["monitor_cond", (params, client) => this.#monitor(params, client, "update2")],
      ["monitor_cond_since", (params, client) => this.#monitor(params, client, "update3")],
      ["monitor_cond_change", (params, client) => this.#changeMonitor(params, client)],
      ["monitor_cancel", ([id], client) => this.#cancelMonitor(id, client)],
      ["lock", ([lock], client) => ({ locked: this.#locks.lock(client, this.#newLock(lock, client)) })],
      ["steal", ([lock], client) => this.#steal(lock, client)],
      ["unlock", ([lock], client) => this.#unlock(lock, client)],
    ]);
  }

  #find(name: unknown): Hosted {
    const hosted = typeof name === "string" ? this.#hosted.get(name) : undefined;
    if (hosted === undefined) throw new OvsdbError("unknown database", `there is no database ${show(name)}`);
    return hosted;
  }

  #transact(params: readonly unknown[], client: Client, request: JsonRpcRequest): unknown {
    const [name, ...operations] = params;
    const hosted = this.#find(name);
    const beganMs = this.#clock.nowMs();
    return hosted.waiting.run({
      owner: client,
      id: JSON.stringify(request.id),
      attempt: () =>
        transact(hosted.database, operations, {
          elapsedMs: this.#clock.nowMs() - beganMs,
          ownsLock: (lock) => this.#locks.holds(client, lock),
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
    for (const { waiting } of this.#hosted.values()) waiting.cancel(client, JSON.stringify(id));
  }

  #monitor(params: readonly unknown[], client: Client, notation: MonitorNotation): unknown {
    const [name, id, requests] = params;
    const hosted = this.#find(name);
    const key = JSON.stringify(id ?? null);
    if (client.monitors.has(key)) throw new OvsdbError("duplicate monitor ID", key.slice(0, 60));
    if (client.monitors.size >= MONITORS_MAX) {
      throw new OvsdbError("resources exhausted", `a client has at most ${MONITORS_MAX} monitors`);
    }
    const monitor = new Monitor(hosted.database, requests, notation);
    client.monitors.set(key, { id, hosted, monitor });
    const initial = monitor.initial(hosted.database);
    // No history is kept, so what a returning client saw last is never found and it gets everything.
    return notation === "update3" ? [false, hosted.lastId, initial] : initial;
  }

  #changeMonitor([oldId, newId, requests]: readonly unknown[], client: Client): unknown {
    const open = client.monitors.get(JSON.stringify(oldId ?? null));
    if (open === undefined || open.monitor.notation === "update") throw unknownMonitor(oldId);
    const newKey = JSON.stringify(newId ?? null);
    if (newKey !== JSON.stringify(oldId ?? null) && client.monitors.has(newKey)) {
      throw new OvsdbError("duplicate monitor ID", newKey.slice(0, 60));
    }
    const updates = open.monitor.changeConditions(open.hosted.database, requests);
    client.monitors.delete(JSON.stringify(oldId ?? null));
    const moved = { ...open, id: newId };
    client.monitors.set(newKey, moved);
    if (updates !== undefined) notify(client, moved, updates);
    return {};
  }

  #cancelMonitor(id: unknown, client: Client): unknown {
    if (!client.monitors.delete(JSON.stringify(id ?? null))) throw new JsonRpcFault("unknown monitor");
    return {};
  }

  #publish(hosted: Hosted, { changes }: Commit): void {
    for (const client of this.#clients.values()) {
      for (const open of client.monitors.values()) {
        if (open.hosted !== hosted) continue;
        const updates = open.monitor.update(changes);
        if (updates !== undefined) notify(client, open, updates);
      }
    }
  }

  #newLock(lock: unknown, client: Client): string {
    if (!isIdentifier(lock)) throw syntaxError(`${show(lock)} cannot name a lock`);
    if (this.#locks.isQueued(client, lock))
      throw syntaxError(`lock ${lock} was asked for before; unlock it first`);
    if (this.#locks.countOf(client) >= LOCKS_MAX) {
      throw new OvsdbError("resources exhausted", `a client has at most ${LOCKS_MAX} locks`);
    }
    return lock;
  }

  #steal(lock: unknown, client: Client): unknown {
    this.#tell(this.#locks.steal(client, this.#newLock(lock, client)));
    return { locked: true };
  }

  #unlock(lock: unknown, client: Client): unknown {
    if (typeof lock !== "string" || !this.#locks.isQueued(client, lock)) {
      throw syntaxError(`${show(lock)} is no lock of this client`);
    }
    this.#tell(this.#locks.unlock(client, lock));
    return {};
  }

  #tell(notices: readonly LockNotice<Client>[]): void {
    for (const { owner, kind, lock } of notices) owner.connection.notify(kind, [lock]);
  }
}

function notify(client: Client, { id, hosted, monitor }: OpenMonitor, updates: unknown): void {
  const { notation } = monitor;
  client.connection.notify(notation, notation === "update3" ? [id, hosted.lastId, updates] : [id, updates]);
}

function unknownMonitor(id: unknown): OvsdbError {
  return syntaxError(`there is no monitor ${show(id)}`);
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
        ...(schema === SERVER_SCHEMA ? {} : { schema: JSON.stringify(encodeSchema(schema)) }),
      }),
    ),
  );
}
