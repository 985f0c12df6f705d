// Listens for JSON-RPC peers on a unix, TCP or TLS socket. Thread: main.
// Invariant: a live listener's path is never taken; a stale socket file is replaced; anything else is left alone.
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { isMainThread } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { createTlsServer, type TlsFiles } from "../tls/index.js";
import { checkUnixPath } from "../unix-path/index.js";
import { type Endpoint, parsePassiveEndpoint } from "./endpoint.js";
import { JsonRpcConnection, type JsonRpcHandler, type JsonRpcOptions } from "./jsonrpc-connection.js";
import { CONNECTIONS_MAX, HANDSHAKE_TIMEOUT_MS } from "./limits.js";

export interface ListenOptions extends JsonRpcOptions {
  /** Permission bits of a unix socket, in force from its first moment. */
  readonly mode?: number;
  /** For pssl endpoints. */
  readonly tls?: TlsFiles | undefined;
  /** Peers at once; further ones are hung up on. */
  readonly connectionsMax?: number;
  /** Called for each new connection before its first message. */
  readonly connected?: (connection: JsonRpcConnection) => void;
}

export interface JsonRpcServer {
  /** The TCP port in use, also when 0 was asked for; undefined on a unix socket. */
  readonly port: number | undefined;
  readonly connections: ReadonlySet<JsonRpcConnection>;
  /** Stops listening, removes the socket file and ends every connection. */
  close(): Promise<void>;
}

/**
 * Listens on `endpoint` ("punix:PATH", "ptcp:PORT[:HOST]" or parsed).
 * Throws SOCKET_IN_USE, SOCKET_PATH_TAKEN, SOCKET_PATH_TOO_LONG, ENDPOINT_INVALID or a TLS_ code before anything is
 * touched.
 */
export async function listenJsonRpc(
  endpoint: Endpoint | string,
  handler: JsonRpcHandler,
  options: ListenOptions = {},
): Promise<JsonRpcServer> {
  const at = typeof endpoint === "string" ? parsePassiveEndpoint(endpoint) : endpoint;
  if (at.kind === "unix") await clearStaleSocket(at.path);
  const connections = new Set<JsonRpcConnection>();
  const server = createListener(at, options, (socket) => {
    if (connections.size >= (options.connectionsMax ?? CONNECTIONS_MAX)) {
      socket.destroy();
      return;
    }
    const connection = new JsonRpcConnection(
      socket,
      {
        ...(handler.request ? { request: handler.request.bind(handler) } : {}),
        ...(handler.notification ? { notification: handler.notification.bind(handler) } : {}),
        closed: (gone, reason) => {
          connections.delete(gone);
          handler.closed?.(gone, reason);
        },
      },
      options,
    );
    connections.add(connection);
    options.connected?.(connection);
  });
  await bind(server, at, options.mode ?? 0o600);
  server.on("error", () => {}); // A connection that could not be accepted is its peer's to try again.
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : undefined,
    connections,
    close: async () => {
      const stopped = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      for (const connection of connections) void connection.end(200);
      await stopped;
    },
  };
}

function createListener(
  at: Endpoint,
  { tls, connectionsMax = CONNECTIONS_MAX }: ListenOptions,
  accept: (socket: Socket) => void,
): Server {
  if (at.kind !== "tls") return createServer(accept);
  const server = createTlsServer(tls, { handshakeTimeout: HANDSHAKE_TIMEOUT_MS }, accept);
  // Also bounds those that have not finished the handshake.
  server.maxConnections = 2 * connectionsMax;
  // Who fails the handshake, or breaks off in it, is gone; nobody else is concerned.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  return server;
}

/**
 * Finds out whether `listenJsonRpc` would succeed now, so that a caller can refuse before it changes anything.
 * Throws as it does.
 */
export async function probeListen(endpoint: string): Promise<void> {
  const at = parsePassiveEndpoint(endpoint);
  if (at.kind === "unix") return clearStaleSocket(at.path);
  const server = createServer();
  await bind(server, at, 0);
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}

/**
 * Makes room for a unix socket at `path`: removes one that nobody listens on any more.
 * Throws SOCKET_IN_USE when somebody does, SOCKET_PATH_TAKEN when it is no socket.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  checkUnixPath(path);
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new PlinthError("SOCKET_PATH_TAKEN", `cannot look at ${path}: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
  if (!isSocket) {
    throw new PlinthError("SOCKET_PATH_TAKEN", `${path} is there and is no socket`, { remedy: "remove it" });
  }
  if (await someoneListens(path)) {
    throw new PlinthError("SOCKET_IN_USE", `another process listens on ${path}`, { remedy: "stop it first" });
  }
  unlinkSync(path);
}

function someoneListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    // Only a refusal proves that nobody is there; a full backlog (EAGAIN) or EACCES does not.
    socket.once("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

function bind(server: Server, at: Endpoint, mode: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const name = at.kind === "unix" ? at.path : `${at.host}:${at.port}`;
      const code = error.code === "EADDRINUSE" ? "SOCKET_IN_USE" : "SOCKET_UNAVAILABLE";
      reject(new PlinthError(code, `cannot listen on ${name}: ${error.message}`, { cause: error }));
    });
    if (at.kind !== "unix") {
      server.listen({ host: at.host, port: at.port }, resolve);
      return;
    }
    // bind(2) happens inside listen(); the umask makes the mode right from the first moment.
    const before = isMainThread ? process.umask(0o777 & ~mode) : undefined;
    server.listen({ path: at.path }, () => {
      chmodSync(at.path, mode);
      resolve();
    });
    if (before !== undefined) process.umask(before);
  });
}
