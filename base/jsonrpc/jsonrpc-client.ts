// Connects to a JSON-RPC peer. Thread: main.
import { connect as connectSocket, type Socket } from "node:net";
import { PlinthError } from "../errors/index.js";
import { systemClock } from "../time/index.js";
import { type Endpoint, parseActiveEndpoint } from "./endpoint.js";
import { JsonRpcConnection, type JsonRpcHandler, type JsonRpcOptions } from "./jsonrpc-connection.js";
import { CALL_TIMEOUT_MS } from "./limits.js";

export interface ConnectOptions extends JsonRpcOptions {
  readonly timeoutMs?: number;
  readonly handler?: JsonRpcHandler;
}

/** Connects to `endpoint` (text or parsed). Rejects with RPC_UNREACHABLE when nobody answers in time. */
export async function connectJsonRpc(
  endpoint: Endpoint | string,
  options: ConnectOptions = {},
): Promise<JsonRpcConnection> {
  const target = typeof endpoint === "string" ? parseActiveEndpoint(endpoint) : endpoint;
  const socket = await openSocket(target, options);
  return new JsonRpcConnection(socket, options.handler ?? {}, options);
}

function openSocket(target: Endpoint, options: ConnectOptions): Promise<Socket> {
  const timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
  const name = target.kind === "unix" ? target.path : `${target.host}:${target.port}`;
  return new Promise((resolve, reject) => {
    const socket =
      target.kind === "unix"
        ? connectSocket({ path: target.path })
        : connectSocket({ host: target.host, port: target.port });
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
    socket.once("connect", () => {
      timer.cancel();
      socket.off("error", onError);
      resolve(socket);
    });
  });
}
