// Dialling a unix socket in a directory that somebody else may write: the socket that stands there, or nothing.
// Thread: any. Hot: no.
import { closeSync } from "node:fs";
import { connect, Socket } from "node:net";
import { constants } from "node:os";
import { PlinthError } from "../errors/index.js";
import { checkUnixPath } from "../unix-path/index.js";
import { EIO } from "./errno.js";
import { holdSocketFile, withSocketFile } from "./socket-file.js";
import { sysConnectUnix } from "./unix-socket.js";

/** As sysConnectUnix; also −ENOTSOCK for a link, −EMLINK for a socket with a second name. */
export function sysDialUnix(path: string): number {
  checkUnixPath(path);
  try {
    return withSocketFile(path, sysConnectUnix);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    return -((constants.errno as Readonly<Record<string, number>>)[thrown.code] ?? EIO);
  }
}

/** A stream connected to the socket file at `path`. What is wrong comes as its "error" event, as from net.connect. */
export function connectSocketFile(path: string): Socket {
  let fd: number;
  try {
    checkUnixPath(path);
    fd = holdSocketFile(path);
  } catch (thrown) {
    return new Socket().destroy(thrown as Error);
  }
  const socket = connect(`/proc/self/fd/${fd}`);
  let held = true;
  const release = (): void => {
    if (held) closeSync(fd);
    held = false;
  };
  return socket.once("connect", release).once("close", release);
}
