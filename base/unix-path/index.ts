// Paths of unix sockets: sun_path holds 108 bytes with its NUL (unix(7)), and Node cuts a longer one without a word.
// Pure.
import { PlinthError } from "../errors/index.js";

export const UNIX_PATH_BYTES_MAX = 107;

/** Throws SOCKET_PATH_TOO_LONG or SOCKET_PATH_INVALID, naming the path, when no unix socket can have it. */
export function checkUnixPath(path: string): void {
  if (path === "" || path.includes("\0")) {
    throw new PlinthError("SOCKET_PATH_INVALID", `no path for a unix socket: ${JSON.stringify(path)}`);
  }
  const sizeBytes = Buffer.byteLength(path);
  if (sizeBytes <= UNIX_PATH_BYTES_MAX) return;
  throw new PlinthError(
    "SOCKET_PATH_TOO_LONG",
    `socket path ${path} has ${sizeBytes} bytes; at most ${UNIX_PATH_BYTES_MAX} are possible`,
    { remedy: "choose a shorter directory", context: { path, sizeBytes } },
  );
}
