// HTTPS requests to the API server: JSON in, JSON out, and JSON lines for watches.

import type { IncomingMessage } from "node:http";
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import { PlinthError } from "../../base/errors/index.js";
import type { ServerAccess } from "./credentials.js";
import { fromStatus } from "./errors.js";

export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** The answer's warnings are nobody's business. */
  readonly quiet?: boolean;
}

const REQUEST_TIMEOUT_MS = 30_000;
const LINE_SIZE_BYTES_MAX = 8 * 1024 * 1024;

export class HttpTransport {
  readonly #access: ServerAccess;
  readonly #agent: Agent;
  readonly #onWarning: (text: string) => void;

  constructor(access: ServerAccess, onWarning: (text: string) => void = () => {}) {
    this.#access = access;
    this.#agent = new Agent({
      keepAlive: true,
      ca: access.ca,
      ...access.certificate,
      maxSockets: 64,
      maxCachedSessions: 4,
    });
    this.#onWarning = onWarning;
  }

  get access(): ServerAccess {
    return this.#access;
  }

  /** Resolves with the JSON of a 2xx answer; throws ApiError for another, PlinthError API_UNREACHABLE without one. */
  async json(request: HttpRequest): Promise<unknown> {
    const response = await this.#send(request, request.timeoutMs ?? REQUEST_TIMEOUT_MS);
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of response) chunks.push(chunk as Buffer);
    } catch (cause) {
      throw this.#unreachable(cause);
    }
    return parseAnswer(response, Buffer.concat(chunks).toString());
  }

  /** Calls `onLine` for each JSON line until the server ends the stream. Throws when nothing comes for `idleMs`. */
  async lines(request: HttpRequest, idleMs: number, onLine: (line: unknown) => void): Promise<void> {
    const response = await this.#send(request, idleMs);
    if ((response.statusCode ?? 500) >= 300) {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      parseAnswer(response, Buffer.concat(chunks).toString());
      return;
    }
    let rest = "";
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response) {
        rest += decoder.decode(chunk as Buffer, { stream: true });
        if (rest.length > LINE_SIZE_BYTES_MAX) throw new Error("a line of the watch is too long");
        const lines = rest.split("\n");
        rest = lines.pop() as string;
        for (const line of lines) if (line !== "") onLine(JSON.parse(line));
      }
    } catch (cause) {
      if (cause instanceof PlinthError) throw cause;
      throw this.#unreachable(cause);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** A kept connection may be closed by the server just as it is used again; a read is then sent once more. */
  async #send(request: HttpRequest, timeoutMs: number): Promise<IncomingMessage> {
    try {
      return await this.#sendOnce(request, timeoutMs);
    } catch (thrown) {
      if (!(thrown instanceof StaleConnection)) throw thrown;
      if (request.method === "GET") return this.#sendOnce(request, timeoutMs);
      throw this.#unreachable(thrown.cause);
    }
  }

  #sendOnce(request: HttpRequest, timeoutMs: number): Promise<IncomingMessage> {
    const url = new URL(request.path, this.#access.server);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const body = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body));
    const options: RequestOptions = {
      method: request.method,
      agent: this.#agent,
      timeout: timeoutMs,
      headers: {
        ...(this.#access.token === undefined ? {} : { authorization: `Bearer ${this.#access.token}` }),
        accept: request.accept ?? "application/json",
        "user-agent": "plinth",
        ...(body === undefined
          ? {}
          : { "content-type": request.contentType ?? "application/json", "content-length": body.byteLength }),
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    };
    return new Promise((resolve, reject) => {
      const sent = httpsRequest(url, options, (response) => {
        const warnings = request.quiet === true ? [] : (response.headersDistinct["warning"] ?? []);
        for (const warning of warnings) this.#onWarning(warning);
        resolve(response);
      });
      sent.on("timeout", () => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      sent.on("error", (cause: NodeJS.ErrnoException) => {
        const stale = sent.reusedSocket && (cause.code === "ECONNRESET" || cause.code === "EPIPE");
        reject(stale ? new StaleConnection(cause) : this.#unreachable(cause));
      });
      sent.end(body);
    });
  }

  #unreachable(cause: unknown): PlinthError {
    const { message, code } = cause as NodeJS.ErrnoException;
    return new PlinthError("API_UNREACHABLE", `cannot reach ${this.#access.server}: ${message || code}`, {
      cause,
      remedy: "is the controller running? (plinth up)",
    });
  }
}

class StaleConnection extends Error {
  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

function parseAnswer(response: IncomingMessage, text: string): unknown {
  const status = response.statusCode ?? 500;
  let answer: unknown;
  try {
    answer = text === "" ? {} : JSON.parse(text);
  } catch {
    answer = undefined;
  }
  if (status >= 200 && status < 300 && answer !== undefined) return answer;
  const { kind } = (answer ?? {}) as { kind?: string };
  throw fromStatus(
    kind === "Status" ? (answer as object) : { message: `HTTP ${status}: ${text.slice(0, 200)}` },
    status,
  );
}
