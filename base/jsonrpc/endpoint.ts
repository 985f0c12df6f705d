// Where to connect or listen, in the words of ovsdb(7): unix:PATH, tcp:HOST:PORT, punix:PATH, ptcp:PORT[:HOST].
import { Buffer } from "node:buffer";
import { PlinthError } from "../errors/index.js";
import { UNIX_PATH_BYTES_MAX } from "./limits.js";

export type Endpoint =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** An endpoint to connect to. Throws ENDPOINT_INVALID or SOCKET_PATH_TOO_LONG. */
export function parseActiveEndpoint(text: string): Endpoint {
  if (text.startsWith("unix:")) return unixEndpoint(text.slice("unix:".length));
  const match = /^tcp:(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/.exec(text);
  if (match === null) throw invalid(text, "unix:PATH or tcp:HOST:PORT");
  return { kind: "tcp", host: bare(match[1] as string), port: portOf(match[2] ?? "6640", text, 1) };
}

/** An endpoint to listen on; port 0 lets the system choose. Throws as above. */
export function parsePassiveEndpoint(text: string): Endpoint {
  if (text.startsWith("punix:")) return unixEndpoint(text.slice("punix:".length));
  const match = /^ptcp:(\d{1,5})(?::(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+))?$/.exec(text);
  if (match === null) throw invalid(text, "punix:PATH or ptcp:PORT[:HOST]");
  return { kind: "tcp", host: bare(match[2] ?? "0.0.0.0"), port: portOf(match[1] as string, text, 0) };
}

/** Throws SOCKET_PATH_TOO_LONG when the kernel would cut `path`. */
export function checkUnixPath(path: string): void {
  const sizeBytes = Buffer.byteLength(path);
  if (sizeBytes > UNIX_PATH_BYTES_MAX) {
    throw new PlinthError(
      "SOCKET_PATH_TOO_LONG",
      `socket path ${path} has ${sizeBytes} bytes; at most ${UNIX_PATH_BYTES_MAX} are possible`,
      { remedy: "choose a shorter directory" },
    );
  }
}

function unixEndpoint(path: string): Endpoint {
  if (path === "" || path.includes("\0")) throw invalid(path, "a path");
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
