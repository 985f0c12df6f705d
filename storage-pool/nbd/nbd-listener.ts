// Sockets that NBD clients connect to. Thread: the pool's worker. Hot: no.
import { unlinkSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import {
  closeFile,
  EPOLLIN,
  type Epoll,
  giveSocketFile,
  listenTcp,
  listenUnix,
} from "../../base/linux/index.js";

/** Where a server listens: a unix socket (given to `uid` as root), a TCP address, or a descriptor that it takes over. */
export type NbdPlace =
  | { readonly kind: "unix"; readonly path: string; readonly uid?: number | undefined }
  | { readonly kind: "tcp"; readonly address: string; readonly port: number }
  | { readonly kind: "inherited"; readonly fd: number };

/** Throws EADDRINUSE, EPERM and SOCKET_PATH_TOO_LONG. */
export function openListener(place: NbdPlace): { fd: number; port: number } {
  if (place.kind === "inherited") return { fd: place.fd, port: 0 };
  if (place.kind === "tcp") return listenTcp(place.address, place.port);
  const { path, uid } = place;
  const fd = listenUnix(path, { mode: 0o600 });
  try {
    if (uid !== undefined && process.getuid?.() === 0) giveSocketFile(path, uid);
  } catch (cause) {
    closeFile(fd);
    throw new PlinthError("EPERM", `the socket ${path} cannot be given to user ${uid}`, { cause });
  }
  return { fd, port: 0 };
}

export function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Whoever owns the directory may have removed it already.
  }
}

/** Whether clients are taken, or wait in the backlogs of sockets that listen. */
export function askForClients(epoll: Epoll, fds: Iterable<number>, asked: boolean): void {
  for (const fd of fds) epoll.modify(fd, asked ? EPOLLIN : 0); // cold
}
