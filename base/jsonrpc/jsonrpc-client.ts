// Connects to a JSON-RPC peer. Thread: main.
import { connect as connectSocket, type Socket } from "node:net";
import { PlinthError } from "../errors/index.js";
import { systemClock } from "../time/index.js";
import { bootstrapCaCert, connectTls, mustBootstrap, type TlsFiles } from "../tls/index.js";
import { type Endpoint, parseActiveEndpoint } from "./endpoint.js";
import { JsonRpcConnection, type JsonRpcHandler, type JsonRpcOptions } from "./jsonrpc-connection.js";
import { CALL_TIMEOUT_MS } from "./limits.js";

export interface ConnectOptions extends JsonRpcOptions {
  readonly timeoutMs?: number;
  /** For ssl endpoints. */
  readonly tls?: TlsFiles | undefined;
  readonly handler?: JsonRpcHandler;
}

/**
 * Connects to `endpoint` (text or parsed). Rejects with RPC_UNREACHABLE when nobody answers in time or TLS refuses the
 * peer, ENDPOINT_INVALID, or a TLS_ code when our own side of TLS cannot be had.
 */
export async function connectJsonRpc(
  endpoint: Endpoint | string,
  options: ConnectOptions = {},
): Promise<JsonRpcConnection> {
  const target = typeof endpoint === "string" ? parseActiveEndpoint(endpoint) : endpoint;
  if (target.kind === "tls" && mustBootstrap(options.tls))
    await bootstrapCaCert(target, options.tls, options.timeoutMs ?? CALL_TIMEOUT_MS);
  const socket = await openSocket(target, options);
  return new JsonRpcConnection(socket, options.handler ?? {}, options);
}

function openSocket(target: Endpoint, options: ConnectOptions): Promise<Socket> {
  const timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
  const name = target.kind === "unix" ? target.path : `${target.host}:${target.port}`;
  return new Promise((resolve, reject) => {
    const socket = beginConnection(target, options);
    const fail = (why: string, cause?: Error): void => {
      timer.cancel();
      socket.destroy();
      reject(new PlinthError("RPC_UNREACHABLE", `cannot connect to ${name}: ${why}`, { cause }));
    };
    const timer = (options.clock ?? systemClock).after(timeoutMs, () =>
      fail(`no answer within ${timeoutMs} ms`),
    );
    const onError = (error: Error): void => fail(error.message, error);
    socket.once("error", onError);
    socket.once(target.kind === "tls" ? "secureConnect" : "connect", () => {
      timer.cancel();
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

function beginConnection(target: Endpoint, { tls }: ConnectOptions): Socket {
  if (target.kind === "unix") return connectSocket({ path: target.path });
  if (target.kind === "tls") return connectTls(target, tls);
  return connectSocket({ host: target.host, port: target.port });
}
