// Unix stream sockets by descriptor: usable inside a worker's poll loop, with descriptors passed along.
// Everything is non-blocking and close-on-exec. `sys…` calls return the result or the negated errno.
// Source: unix(7), cmsg(3), on 64-bit Linux. Invariant: a path is at most 107 bytes, checked before use
// (the kernel and Node would truncate or fail unclearly). Thread: any. Hot: yes (receive, send).

import { lstatSync, unlinkSync } from "node:fs";
import { setUint64 } from "../bytes/index.js";
import { PlinthError } from "../errors/index.js";
import { checkUnixPath } from "../unix-path/index.js";
import { check, EADDRINUSE, ECONNREFUSED, EINPROGRESS, raw, systemError } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile } from "./file.js";
import {
  cBind,
  cGetsockopt,
  cListen,
  cRecv,
  cRecvmsg,
  cSend,
  cSendmsg,
  cSetsockopt,
  cSocket,
} from "./socket-calls.js";
import { changeSocketMode } from "./socket-file.js";
import { noteDescriptor } from "./thread-ledger.js";

const cSocketpair = define<(domain: number, type: number, protocol: number, fds: number) => number>(
  "int socketpair(int domain, int type, int protocol, intptr_t fds)",
);
type WithAddress = (fd: number, address: number, length: number) => number;
const cConnect = define<WithAddress>("int connect(int fd, intptr_t address, unsigned int length)");
const cAccept = define<(fd: number, a: number, l: number, flags: number) => number>(
  "int accept4(int fd, intptr_t address, intptr_t length, int flags)",
);
const cFchmod = define<(fd: number, mode: number) => number>("int fchmod(int fd, unsigned int mode)");

const AF_UNIX = 1;
const SOCK_STREAM_FLAGS = 1 | 0o4000 | 0o2000000;
const ACCEPT_FLAGS = 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_PEERCRED = 17;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** More descriptors than this in one message are closed unseen. vhost-user sends at most 8. */
export const MESSAGE_FDS_MAX = 32;

function unixAddress(path: string): Uint8Array {
  checkUnixPath(path);
  const bytes = Buffer.alloc(110);
  bytes.writeUInt16LE(AF_UNIX, 0);
  bytes.write(path, 2);
  return bytes;
}

export interface ListenOptions {
  readonly backlog?: number;
  /** Permissions of the socket file, e.g. 0o600 (the default). */
  readonly mode?: number;
}

/**
 * Listens at `path`. A socket file that nobody listens on is replaced; one that answers, or anything that is
 * not a socket, is EADDRINUSE.
 */
export function listenUnix(path: string, options: ListenOptions = {}): number {
  const address = unixAddress(path);
  const fd = noteDescriptor(check(cSocket(AF_UNIX, SOCK_STREAM_FLAGS, 0), "socket"));
  try {
    removeStaleSocket(path);
    // The mode is set before the file exists, so there is no moment with a wider one; umask may narrow it.
    const mode = options.mode ?? 0o600;
    check(cFchmod(fd, mode), "fchmod", path);
    check(cBind(fd, addressOf(address), address.byteLength), "bind", path);
    changeSocketMode(path, mode);
    check(cListen(fd, options.backlog ?? 64), "listen", path);
  } catch (thrown) {
    closeFile(fd);
    if (thrown instanceof PlinthError) throw thrown;
    const code = (thrown as NodeJS.ErrnoException).code ?? "EIO";
    throw new PlinthError(code, `listening at ${path} failed: ${code}`, { cause: thrown, context: { path } });
  }
  return fd;
}

function removeStaleSocket(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw systemError("bind", EADDRINUSE, `${path} (not a socket)`);
  const probe = sysConnectUnix(path);
  if (probe >= 0) closeFile(probe);
  if (probe !== -ECONNREFUSED) throw systemError("bind", EADDRINUSE, `${path} (somebody listens there)`);
  unlinkSync(path);
}

/** Connects to `path`: a descriptor, or the negated errno (ENOENT, ECONNREFUSED, EAGAIN: ask again later). */
export function sysConnectUnix(path: string): number {
  const address = unixAddress(path);
  const fd = noteDescriptor(check(cSocket(AF_UNIX, SOCK_STREAM_FLAGS, 0), "socket"));
  const result = raw(cConnect(fd, addressOf(address), address.byteLength));
  if (result === 0 || result === -EINPROGRESS) return fd;
  closeFile(fd);
  return result;
}

/** The next waiting connection (non-blocking), or the negated errno; −EAGAIN when there is none. */
export function sysAccept(listenFd: number): number {
  return noteDescriptor(raw(cAccept(listenFd, 0, 0, ACCEPT_FLAGS)));
}

/** Two connected sockets. */
export function createSocketPair(): [number, number] {
  const fds = new Int32Array(2);
  check(cSocketpair(AF_UNIX, SOCK_STREAM_FLAGS, 0, addressOf(fds)), "socketpair");
  return [noteDescriptor(fds[0]!), noteDescriptor(fds[1]!)];
}

export const sysSend = (fd: number, address: number, length: number): number =>
  raw(cSend(fd, address, length, MSG_NOSIGNAL | MSG_DONTWAIT));
export const sysReceive = (fd: number, address: number, length: number): number =>
  raw(cRecv(fd, address, length, MSG_DONTWAIT));

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who is at the other end of a connected unix socket, as the kernel knows it. */
export function peerCredentials(fd: number): PeerCredentials {
  const value = new Int32Array(3);
  getOption(fd, SO_PEERCRED, value);
  return { pid: value[0]!, uid: value[1]! >>> 0, gid: value[2]! >>> 0 };
}

/** The pending error of a socket (0: none), cleared by asking. */
export function socketError(fd: number): number {
  const value = new Int32Array(1);
  getOption(fd, SO_ERROR, value);
  return value[0]!;
}

function getOption(fd: number, name: number, value: Int32Array): void {
  const length = new Int32Array([value.byteLength]);
  check(cGetsockopt(fd, SOL_SOCKET, name, addressOf(value), addressOf(length)), "getsockopt");
}

/** Asks for larger socket buffers; the kernel caps them at its own limit (net.core.wmem_max). */
export function setSocketBuffers(fd: number, sizeBytes: number): void {
  const value = new Int32Array([sizeBytes]);
  check(cSetsockopt(fd, SOL_SOCKET, SO_SNDBUF, addressOf(value), 4), "setsockopt");
  check(cSetsockopt(fd, SOL_SOCKET, SO_RCVBUF, addressOf(value), 4), "setsockopt");
}

/*  struct msghdr, 56 bytes, then one iovec and the control data:
    name@0 namelen@8 iov@16 iovlen@24 control@32 controllen@40 flags@48
    struct cmsghdr: len u64@0, level i32@8, type i32@12, then the descriptors                        */
const IOVEC_AT = 56;
const CONTROL_AT = IOVEC_AT + 16;
const CONTROL_SIZE = 16 + MESSAGE_FDS_MAX * 4 + 64;

/** recvmsg and sendmsg with SCM_RIGHTS over preallocated headers. One per thread is enough. */
export class MessageChannel {
  /** Descriptors that came with the last receive, `fdCount` of them; the receiver owns and closes them. */
  readonly fds = new Int32Array(MESSAGE_FDS_MAX);
  fdCount = 0;
  /** The last message carried more descriptors than fit; the kernel closed the rest. */
  truncated = false;
  readonly #view: DataView;
  readonly #address: number;

  constructor() {
    const memory = new Uint8Array(CONTROL_AT + CONTROL_SIZE);
    this.#view = new DataView(memory.buffer);
    this.#address = addressOf(memory);
  }

  /** Reads up to `length` bytes to `address`. Returns the count (0: the peer ended), or the negated errno. */
  receive(fd: number, address: number, length: number): number {
    this.fdCount = 0;
    this.truncated = false;
    this.#prepare(address, length, CONTROL_SIZE);
    const count = raw(cRecvmsg(fd, this.#address, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
    if (count >= 0) this.#takeFds();
    return count;
  }

  /** Sends `length` bytes from `address` with descriptors; may be short. The count or the negated errno. */
  send(fd: number, address: number, length: number, fds: readonly number[] = []): number {
    const view = this.#view;
    const controlSize = fds.length === 0 ? 0 : (16 + fds.length * 4 + 7) & ~7;
    this.#prepare(address, length, controlSize);
    if (fds.length > 0) {
      setUint64(view, CONTROL_AT, 16 + fds.length * 4, true);
      view.setInt32(CONTROL_AT + 8, SOL_SOCKET, true);
      view.setInt32(CONTROL_AT + 12, SCM_RIGHTS, true);
      for (let i = 0; i < fds.length; i++) view.setInt32(CONTROL_AT + 16 + i * 4, fds[i]!, true);
    }
    return raw(cSendmsg(fd, this.#address, MSG_NOSIGNAL | MSG_DONTWAIT));
  }

  #prepare(address: number, length: number, controlSize: number): void {
    const view = this.#view;
    setUint64(view, 16, this.#address + IOVEC_AT, true);
    setUint64(view, 24, 1, true);
    setUint64(view, 32, controlSize === 0 ? 0 : this.#address + CONTROL_AT, true);
    setUint64(view, 40, controlSize, true);
    view.setInt32(48, 0, true);
    setUint64(view, IOVEC_AT, address, true);
    setUint64(view, IOVEC_AT + 8, length, true);
  }

  #takeFds(): void {
    const view = this.#view;
    this.truncated = (view.getInt32(48, true) & MSG_CTRUNC) !== 0;
    const end = CONTROL_AT + view.getUint32(40, true);
    let at = CONTROL_AT;
    while (at + 16 <= end) {
      const length = view.getUint32(at, true);
      if (length < 16) break;
      const rights =
        view.getInt32(at + 8, true) === SOL_SOCKET && view.getInt32(at + 12, true) === SCM_RIGHTS;
      for (let fdAt = at + 16; rights && fdAt + 4 <= at + length; fdAt += 4) {
        const fd = noteDescriptor(view.getInt32(fdAt, true));
        if (this.fdCount < MESSAGE_FDS_MAX) this.fds[this.fdCount++] = fd;
        else closeFile(fd);
      }
      at += (length + 7) & ~7;
    }
  }
}
