// A unix stream connection that keeps coming back: dials a path with growing pauses, or listens there and takes
// one peer at a time. Driven by calls, never by timers, so that it runs inside a poll loop.
// Thread: one. Hot: no.
import { rmSync } from "node:fs";
import { PlinthError } from "../errors/index.js";
import { checkUnixPath } from "../unix-path/index.js";
import { EAGAIN, errnoName } from "./errno.js";
import { EPOLLIN, type Epoll } from "./event.js";
import { closeFile } from "./file.js";
import { sysDialUnix } from "./socket-dial.js";
import { listenUnix, sysAccept } from "./unix-socket.js";

export interface UnixLinkOptions {
  readonly path: string;
  /** "dial": the peer listens. "listen": we do, and the peer dials. */
  readonly role: "dial" | "listen";
  /** Permissions of the socket file when listening; 0o600 when absent. */
  readonly mode?: number;
  /** Where a listening socket is registered, so that its owner wakes for a new peer. */
  readonly epoll: Epoll;
  /** Role "listen": the socket that listens at `path` already, ours from now on. */
  readonly listenFd?: number;
}

const PAUSE_MIN_MS = 20;
const PAUSE_MAX_MS = 1000;

export class UnixLink {
  /** Why there is no connection; empty while there is one, or before the first attempt. */
  lastError = "";
  readonly #options: UnixLinkOptions;
  #listenFd = -1;
  #pauseMs = PAUSE_MIN_MS;
  #nextAttemptMs = 0;
  #isHandedOver = false;

  /** Throws SOCKET_PATH_TOO_LONG. */
  constructor(options: UnixLinkOptions) {
    checkUnixPath(options.path);
    this.#options = options;
    const { listenFd = -1, epoll } = options;
    if (listenFd < 0) return;
    this.#listenFd = listenFd;
    epoll.add(listenFd, EPOLLIN);
  }

  /** Call while not connected: a connected descriptor, owned by the caller, or −1 (not yet). Never throws. */
  poll(nowMs: number): number {
    if (this.#listenFd >= 0) return this.#accept();
    if (nowMs < this.#nextAttemptMs) return -1;
    this.#nextAttemptMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(PAUSE_MAX_MS, this.#pauseMs * 2);
    return this.#options.role === "dial" ? this.#dial() : this.#listen();
  }

  /** Role "listen": the socket file is there and peers may connect. */
  get listening(): boolean {
    return this.#listenFd >= 0;
  }

  /** The socket that listens, or −1, for somebody else: its file stays when this end is closed. */
  handOver(): number {
    this.#isHandedOver = true;
    return this.#listenFd;
  }

  /** Call when a connection given out by poll() has ended. */
  lost(reason: string): void {
    this.lastError = reason;
  }

  /** Call when the peer proved to be alive: the next loss is followed by quick attempts. */
  settled(): void {
    this.#pauseMs = PAUSE_MIN_MS;
    this.#nextAttemptMs = 0;
  }

  close(): void {
    if (this.#listenFd < 0) return;
    this.#options.epoll.remove(this.#listenFd);
    closeFile(this.#listenFd);
    this.#listenFd = -1;
    if (!this.#isHandedOver) rmSync(this.#options.path, { force: true });
  }

  #dial(): number {
    // In a machine's directory its user could have put a link to somebody else's socket there.
    const fd = sysDialUnix(this.#options.path);
    this.lastError = fd >= 0 ? "" : `cannot connect to ${this.#options.path}: ${errnoName(fd)}`;
    return fd >= 0 ? fd : -1;
  }

  #listen(): number {
    const { path, mode, epoll } = this.#options;
    try {
      this.#listenFd = listenUnix(path, mode === undefined ? {} : { mode });
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      this.lastError = thrown.message;
      return -1;
    }
    epoll.add(this.#listenFd, EPOLLIN);
    this.lastError = "nobody has connected yet";
    return this.#accept();
  }

  #accept(): number {
    const fd = sysAccept(this.#listenFd);
    if (fd >= 0) this.lastError = "";
    else if (fd !== -EAGAIN) this.lastError = `accept failed: ${errnoName(fd)}`;
    return fd >= 0 ? fd : -1;
  }
}
