// Where Prometheus scrapes: HTTP with one page, /metrics, that anybody who reaches the socket may read.
// Invariants: scrapes that come while one is being answered share its answer; connections and their time are bounded.
// Thread: main.
import { chmodSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { describeError, PlinthError } from "../errors/index.js";
import { clearStaleSocket } from "../jsonrpc/index.js";
import type { Logger } from "../log/index.js";
import { checkUnixPath } from "../unix-path/index.js";

const CONNECTIONS_MAX = 64;
const HEADERS_SIZE_MAX = 8 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type MetricsEndpoint =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** "HOST:PORT", "[IPv6]:PORT" or "unix:PATH"; port 0 lets the system choose. Throws METRICS_ENDPOINT_INVALID, SOCKET_PATH_TOO_LONG. */
export function parseMetricsEndpoint(text: string): MetricsEndpoint {
  if (text.startsWith("unix:") && text.length > "unix:".length) {
    const path = text.slice("unix:".length);
    checkUnixPath(path);
    return { kind: "unix", path };
  }
  const [, bracketed, host = bracketed, digits] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text) ?? [];
  if (host !== undefined && Number(digits) <= 65_535) return { kind: "tcp", host, port: Number(digits) };
  throw new PlinthError(
    "METRICS_ENDPOINT_INVALID",
    `"${text.slice(0, 120)}" is no place for metrics; expected HOST:PORT, [IPv6]:PORT or unix:PATH`,
    { field: "--metrics" },
  );
}

export interface MetricsServer {
  /** The TCP port in use; undefined on a unix socket. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

/** Serves what `read` resolves with. Throws SOCKET_IN_USE, SOCKET_PATH_TAKEN, SOCKET_UNAVAILABLE. */
export async function openMetricsServer(
  endpoint: MetricsEndpoint,
  read: () => Promise<string>,
  log: Logger,
): Promise<MetricsServer> {
  if (endpoint.kind === "unix") await clearStaleSocket(endpoint.path);
  let current: Promise<string> | undefined;
  const scrape = (): Promise<string> => {
    current ??= read().finally(() => {
      current = undefined;
    });
    return current;
  };
  const server = createServer(
    {
      maxHeaderSize: HEADERS_SIZE_MAX,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
    },
    (request, response) => {
      answer(request, response, scrape).catch((thrown: unknown) => {
        log.warn({ why: describeError(thrown) }, "no metrics");
        if (!response.headersSent) refuse(response, 503, "there are no numbers now");
        else response.destroy();
      });
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, endpoint);
  server.on("error", () => {}); // A connection that could not be accepted is its peer's to try again.
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  scrape: () => Promise<string>,
): Promise<void> {
  // What a client sends along is of no interest, but has to be read.
  request.resume();
  const path = (request.url ?? "").split("?", 1)[0];
  if (path !== "/metrics") {
    refuse(response, 404, "only /metrics is here");
    return;
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    refuse(response, 405, "GET and HEAD are answered");
    return;
  }
  const text = Buffer.from(await scrape());
  response.writeHead(200, { "content-type": CONTENT_TYPE, "content-length": text.byteLength });
  response.end(request.method === "HEAD" ? undefined : text);
}

function refuse(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" });
  response.end(`${why}\n`);
}

function listen(server: Server, endpoint: MetricsEndpoint): Promise<void> {
  const before = endpoint.kind === "unix" ? process.umask(0o177) : undefined;
  return new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const where = endpoint.kind === "unix" ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
      const code = cause.code === "EADDRINUSE" ? "SOCKET_IN_USE" : "SOCKET_UNAVAILABLE";
      reject(
        new PlinthError(code, `cannot listen on ${where}: ${cause.message}`, { cause, field: "--metrics" }),
      );
    });
    if (endpoint.kind === "tcp") server.listen({ host: endpoint.host, port: endpoint.port }, resolve);
    else
      server.listen({ path: endpoint.path }, () => {
        chmodSync(endpoint.path, 0o600);
        resolve();
      });
  }).finally(() => {
    if (before !== undefined) process.umask(before);
  });
}
