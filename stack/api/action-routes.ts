// Subresources beside status: what the host agent answers (exec, reboot, revert, and the serial console as a WebSocket),
// and tokens of service accounts.
// The agent listens on DIR/run/host.sock and speaks the JSON-RPC of base/jsonrpc.
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type WebSocket, WebSocketServer } from "ws";
import { PlinthError } from "../../base/errors/index.js";
import { isObject } from "../../base/json/index.js";
import { callControl } from "../../base/jsonrpc/index.js";
import { connectSocketFile } from "../../base/linux/index.js";
import {
  FieldErrors,
  type ResourceKind,
  serviceAccountKind,
  virtualMachineKind,
  volumeKind,
} from "../resources/index.js";
import type { ServiceAccountTokens } from "./access/index.js";
import { pathOf } from "./discovery.js";
import { ApiError, invalid } from "./errors.js";
import { CONSOLES_MAX, HOST_CALL_TIMEOUT_MS_MAX } from "./limits.js";
import type { ResourceRegistry } from "./registry.js";

export interface ActionModules {
  readonly registry: ResourceRegistry;
  readonly tokens: ServiceAccountTokens;
  /** DIR/run/host.sock */
  readonly hostSocket: string;
}

interface Target {
  readonly namespace: string;
  readonly name: string;
}
const CALL_TIMEOUT_MS = 30_000;
const ANSWER_MARGIN_MS = 5_000;
const CONSOLE_PATH = new RegExp(
  `^${pathOf(virtualMachineKind)}/namespaces/([^/]+)/virtualmachines/([^/]+)/console$`,
);

export function registerActions(server: FastifyInstance, modules: ActionModules): void {
  const vm = `${pathOf(virtualMachineKind)}/namespaces/:namespace/virtualmachines/:name`;
  server.post(`${vm}/exec`, async (request) => {
    const target = await existing(modules, virtualMachineKind, request);
    const { timeoutMs, ...parameters } = parseExec(request.body, target.name);
    return callHost(
      modules,
      "vm.exec",
      { ...target, ...parameters, timeoutMs },
      timeoutMs + ANSWER_MARGIN_MS,
    );
  });
  server.post(`${vm}/reboot`, async (request) => {
    const target = await existing(modules, virtualMachineKind, request);
    return callHost(modules, "vm.reboot", { ...target }, CALL_TIMEOUT_MS);
  });
  server.get(`${vm}/console`, async () => {
    throw new ApiError("BadRequest", "the console is a WebSocket: send an Upgrade");
  });
  server.post(
    `${pathOf(serviceAccountKind)}/namespaces/:namespace/serviceaccounts/:name/token`,
    async (request, reply) => {
      reply.code(201);
      return modules.tokens.issue(request.params as Target, request.body);
    },
  );
  const volume = `${pathOf(volumeKind)}/namespaces/:namespace/volumes/:name`;
  server.post(`${volume}/revert`, async (request) => {
    const target = await existing(modules, volumeKind, request);
    const snapshot = isObject(request.body) ? request.body["snapshot"] : undefined;
    if (typeof snapshot !== "string" || snapshot === "") {
      const errors = new FieldErrors();
      errors.required("snapshot", "name of a VolumeSnapshot of the volume");
      throw invalid(volumeKind, target.name, errors.list);
    }
    return callHost(modules, "volume.revert", { ...target, snapshot }, HOST_CALL_TIMEOUT_MS_MAX);
  });
  server.post(`${volume}/rewind`, async (request) => {
    const target = await existing(modules, volumeKind, request);
    const { to, into } = isObject(request.body) ? request.body : {};
    const errors = new FieldErrors();
    if (typeof to !== "string" || Number.isNaN(Date.parse(to))) {
      errors.invalid("to", to ?? null, "must be a time such as 2026-03-01T12:00:05Z");
    }
    if (into !== undefined && (typeof into !== "string" || into === "")) {
      errors.invalid("into", into, "must be the name of a new Volume in the same namespace");
    }
    if (errors.list.length > 0) throw invalid(volumeKind, target.name, errors.list);
    const params = { ...target, to, ...(into === undefined ? {} : { into }) };
    return callHost(modules, "volume.rewind", params, HOST_CALL_TIMEOUT_MS_MAX);
  });
}

/** WebSocket connections to serial consoles. */
export class Consoles {
  readonly #modules: ActionModules;
  readonly #authorize: (request: IncomingMessage) => Promise<void>;
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: 64 * 1024,
    handleProtocols: () => false,
  });

  /** `authorize` throws ApiError for a request of somebody who may not. */
  constructor(modules: ActionModules, authorize: (request: IncomingMessage) => Promise<void>) {
    this.#modules = modules;
    this.#authorize = authorize;
  }

  /** For the `upgrade` event of the HTTP server. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on("error", () => socket.destroy());
    try {
      await this.#authorize(request);
      const target = this.#target(request);
      await this.#modules.registry.get(virtualMachineKind, target);
      const answer = await callHost(this.#modules, "vm.console", { ...target }, CALL_TIMEOUT_MS);
      const path = isObject(answer) ? answer["socket"] : undefined;
      if (typeof path !== "string") throw new ApiError("InternalError", "the host agent named no console");
      this.#server.handleUpgrade(request, socket, head, (webSocket) => join(webSocket, path));
    } catch (thrown) {
      refuse(
        socket,
        thrown instanceof ApiError ? thrown : new ApiError("InternalError", "the console failed"),
      );
    }
  }

  close(): void {
    for (const client of this.#server.clients) client.terminate();
    this.#server.close();
  }

  #target(request: IncomingMessage): Target {
    if (this.#server.clients.size >= CONSOLES_MAX) {
      throw new ApiError("TooManyRequests", `${CONSOLES_MAX} consoles are open`);
    }
    const match = CONSOLE_PATH.exec((request.url ?? "").split("?")[0] ?? "");
    if (match === null) throw new ApiError("NotFound", "the server could not find the requested resource");
    try {
      return {
        namespace: decodeURIComponent(match[1] as string),
        name: decodeURIComponent(match[2] as string),
      };
    } catch {
      throw new ApiError("BadRequest", "the path is malformed");
    }
  }
}

/** Bytes both ways until one side ends. */
function join(webSocket: WebSocket, path: string): void {
  const serial = connectSocketFile(path);
  serial.on("data", (bytes) => {
    webSocket.send(bytes, { binary: true });
    if (webSocket.bufferedAmount > 1024 * 1024) {
      serial.pause();
      const resume = setInterval(() => {
        if (webSocket.bufferedAmount > 64 * 1024 && webSocket.readyState === webSocket.OPEN) return;
        clearInterval(resume);
        serial.resume();
      }, 20);
    }
  });
  serial.on("error", () => webSocket.close(1011, "the console is not there"));
  serial.on("close", () => webSocket.close(1000));
  // A guest that does not read its console holds up whoever types there, not this process's memory.
  webSocket.on("message", (data) => {
    if (!serial.write(data as Buffer)) webSocket.pause();
  });
  serial.on("drain", () => webSocket.resume());
  webSocket.on("close", () => serial.destroy());
  webSocket.on("error", () => serial.destroy());
}

function refuse(socket: Duplex, error: ApiError): void {
  const body = JSON.stringify(error.toStatus());
  socket.end(
    `HTTP/1.1 ${error.status} ${error.reason}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

async function existing(
  modules: ActionModules,
  kind: ResourceKind,
  request: FastifyRequest,
): Promise<Target> {
  const { namespace, name } = request.params as Target;
  await modules.registry.get(kind, { namespace, name });
  return { namespace, name };
}

function parseExec(body: unknown, name: string): { command: string[]; stdin?: string; timeoutMs: number } {
  const errors = new FieldErrors();
  const { command, stdin, timeoutMs = CALL_TIMEOUT_MS } = isObject(body) ? body : {};
  const isCommand =
    Array.isArray(command) && command.length > 0 && command.every((part) => typeof part === "string");
  if (!isCommand) errors.required("command", "a list of words: the program and its arguments");
  if (stdin !== undefined && typeof stdin !== "string") errors.wrongType("stdin", stdin, "a string");
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 1 && timeoutMs <= HOST_CALL_TIMEOUT_MS_MAX)) {
    errors.invalid("timeoutMs", timeoutMs, `must be between 1 and ${HOST_CALL_TIMEOUT_MS_MAX}`);
  }
  if (errors.list.length > 0) throw invalid(virtualMachineKind, name, errors.list);
  return {
    command: command as string[],
    ...(stdin === undefined ? {} : { stdin: stdin as string }),
    timeoutMs: timeoutMs as number,
  };
}

async function callHost(
  modules: ActionModules,
  method: string,
  parameters: Record<string, unknown>,
  timeoutMs: number,
): Promise<unknown> {
  try {
    return (await callControl(modules.hostSocket, method, parameters, timeoutMs)) ?? {};
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    const causes = [{ reason: thrown.code, message: thrown.message, field: thrown.field ?? "" }];
    if (thrown.code === "RPC_TIMEOUT")
      throw new ApiError("Timeout", "the host agent did not answer in time", { causes });
    if (thrown.code === "RPC_UNREACHABLE" || thrown.code === "RPC_CLOSED") {
      throw new ApiError("ServiceUnavailable", "the host agent is not running", { causes });
    }
    throw new ApiError("BadRequest", `${thrown.message} [${thrown.code}]`, { causes });
  }
}
