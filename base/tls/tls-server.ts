// A TLS server whose key and certificates may be renewed in their files while it runs: who connects next meets the new
// ones. Source: ovs-vswitchd.conf.db(5), SSL table, by what ovs-vswitchd does: it reads files again that have changed.
import { statSync } from "node:fs";
import type { Socket } from "node:net";
import { createServer, type Server } from "node:tls";
import { readTlsFiles, type TlsFiles } from "./tls-files.js";

export interface TlsServerOptions {
  readonly handshakeTimeout?: number;
}

/**
 * Throws TLS_NOT_CONFIGURED or TLS_FILE_UNREADABLE for files that cannot be used now; later, the last ones that could
 * be used stay.
 */
export function createTlsServer(
  files: TlsFiles | undefined,
  options: TlsServerOptions,
  accept: (socket: Socket) => void,
): Server {
  const server = createServer({ ...readTlsFiles(files), ...options }, accept);
  let stamps = stampsOf(files);
  // In front of the handshake, which takes what it finds.
  server.prependListener("connection", () => {
    const now = stampsOf(files);
    if (now === stamps) return;
    try {
      server.setSecureContext(readTlsFiles(files));
      stamps = now;
    } catch {
      // Half written, or a key whose certificate is still to come: the next one who connects looks again.
    }
  });
  return server;
}

/** Another text when one of the files is another. */
function stampsOf(files: TlsFiles | undefined): string {
  const paths = [files?.privateKey, files?.certificate, files?.caCert, files?.peerCaCert];
  return paths.map((path) => (path === undefined ? "" : stampOf(path))).join();
}

function stampOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}
