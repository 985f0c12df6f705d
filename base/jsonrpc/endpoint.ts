// Where to connect or listen, in the words of ovsdb(7): unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT, and punix:PATH,
// ptcp:PORT[:HOST], pssl:PORT[:HOST].
import { PlinthError } from "../errors/index.js";
import { checkUnixPath } from "../unix-path/index.js";

export type Endpoint =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp" | "tls"; readonly host: string; readonly port: number };

const OVSDB_PORT = 6640;

/** An endpoint to connect to, at `defaultPort` where none is named. Throws ENDPOINT_INVALID, SOCKET_PATH_INVALID or SOCKET_PATH_TOO_LONG. */
export function parseActiveEndpoint(text: string, defaultPort = OVSDB_PORT): Endpoint {
  if (text.startsWith("unix:")) return unixEndpoint(text.slice("unix:".length));
  const match = /^(tcp|ssl):(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/.exec(text);
  if (match === null) throw invalid(text, "unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT");
  const kind = match[1] === "ssl" ? "tls" : "tcp";
  return { kind, host: bare(match[2] as string), port: portOf(match[3] ?? String(defaultPort), text, 1) };
}

/** An endpoint to listen on; port 0 lets the system choose. Throws as above. */
export function parsePassiveEndpoint(text: string): Endpoint {
  if (text.startsWith("punix:")) return unixEndpoint(text.slice("punix:".length));
  const match = /^p(tcp|ssl):(\d{1,5})?(?::(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+))?$/.exec(text);
  if (match === null) throw invalid(text, "punix:PATH, ptcp:PORT[:HOST] or pssl:PORT[:HOST]");
  const kind = match[1] === "ssl" ? "tls" : "tcp";
  return { kind, host: bare(match[3] ?? "0.0.0.0"), port: portOf(match[2] ?? String(OVSDB_PORT), text, 0) };
}

function unixEndpoint(path: string): Endpoint {
  checkUnixPath(path);
  return { kind: "unix", path };
}

function bare(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host;
}

function portOf(digits: string, text: string, portMin: number): number {
  const port = Number(digits);
  if (port < portMin || port > 65535) throw invalid(text, `a port in ${portMin}–65535`);
  return port;
}

function invalid(text: string, expected: string): PlinthError {
  return new PlinthError("ENDPOINT_INVALID", `"${text.slice(0, 120)}" is no endpoint; expected ${expected}`);
}
