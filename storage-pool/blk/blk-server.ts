// The vhost-user-blk front of a pool: sockets of one volume each, and the guest that is connected to each.
// Invariants: one guest at a time at a socket; of the guests that may write to a volume one is served, the others when no
// ring of its runs any more: two QEMUs between which a guest moves. While a pool is opened anew its guests wait, and those
// that connect are accepted afterwards. Thread: the pool's worker. Hot: yes (breath).
import { unlinkSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import {
  closeFile,
  EPOLLIN,
  type Epoll,
  giveSocketFile,
  listenUnix,
  sysAccept,
} from "../../base/linux/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import type { FlushQueue } from "../nbd/flush-rounds.js";
import type { NbdExport } from "../nbd/nbd-export.js";
import type { BlockDevice } from "../volume/block-device.js";
import { BlkConnection } from "./blk-connection.js";

interface BlkListener {
  readonly path: string;
  readonly fd: number;
  readonly find: () => NbdExport | undefined;
  readonly unsealedMemory: boolean;
  /** Its volume's pool is being opened anew: who connects waits in the backlog. */
  parked: boolean;
  /** One for all that connect: addresses of a closed window come back late, and a guest may connect without end. */
  window: GuestWindow | undefined;
  connection: BlkConnection | undefined;
  /** Of the connection; −1 without one. */
  connectionFd: number;
}

export interface BlkSocketOptions {
  /** As root the socket is given to this user. */
  readonly uid?: number | undefined;
  /** Takes guest memory that its front-end could truncate under us: for front-ends that are trusted. */
  readonly unsealedMemory?: boolean;
}

export class BlkServer {
  readonly #epoll: Epoll;
  readonly #flushes: FlushQueue;
  readonly #listeners: BlkListener[] = [];
  /** Guests are kicking us: they are asked not to. */
  #awake = false;
  refusedCount = 0;
  connectionCount = 0;

  constructor(epoll: Epoll, flushes: FlushQueue) {
    this.#epoll = epoll;
    this.#flushes = flushes;
  }

  /** Serves what `find` finds at `path`. Throws EADDRINUSE and SOCKET_PATH_…. */
  listen(path: string, find: () => NbdExport | undefined, options: BlkSocketOptions = {}): void {
    const { uid, unsealedMemory = false } = options;
    const fd = listenUnix(path, { mode: 0o600 });
    try {
      if (uid !== undefined && process.getuid?.() === 0) giveSocketFile(path, uid);
    } catch (cause) {
      closeFile(fd);
      throw new PlinthError("EPERM", `the socket ${path} cannot be given to user ${uid}`, { cause });
    }
    const nobody = { parked: false, window: undefined, connection: undefined, connectionFd: -1 };
    this.#listeners.push({ path, fd, find, unsealedMemory, ...nobody });
    this.#epoll.add(fd, EPOLLIN);
  }

  isListening(path: string): boolean {
    return this.#listeners.some((listener) => listener.path === path); // cold
  }

  /** Ends the connection and removes the socket. */
  unlisten(path: string): void {
    const index = this.#listeners.findIndex((listener) => listener.path === path); // cold
    const listener = this.#listeners[index];
    if (listener === undefined) return;
    this.#listeners.splice(index, 1);
    this.#end(listener);
    listener.window?.close();
    this.#epoll.remove(listener.fd);
    closeFile(listener.fd);
    try {
      unlinkSync(path);
    } catch {
      // Whoever owns the directory may have removed it already.
    }
  }

  connectionsOf(device: BlockDevice): number {
    return this.#listeners.filter(({ connection }) => connection?.target.device === device).length; // cold
  }

  disconnect(device: BlockDevice): void {
    for (let i = 0; i < this.#listeners.length; i++) {
      const listener = this.#listeners[i] as BlkListener;
      if (listener.connection?.target.device === device) this.#end(listener);
    }
  }

  /** Guests that use `device`, or come for it, wait from now on; what was taken from their rings is answered. */
  park(device: BlockDevice): void {
    for (let i = 0; i < this.#listeners.length; i++) {
      const listener = this.#listeners[i] as BlkListener;
      const { connection } = listener;
      if ((connection?.target ?? listener.find())?.device !== device) continue;
      listener.parked = true;
      connection?.park();
      this.#epoll.modify(listener.fd, 0);
    }
  }

  /** Guests that wait go on with what their socket's volume is now; without one their connections end. */
  unpark(): void {
    for (let i = 0; i < this.#listeners.length; i++) {
      const listener = this.#listeners[i] as BlkListener;
      if (!listener.parked) continue;
      listener.parked = false;
      this.#epoll.modify(listener.fd, EPOLLIN);
      const target = listener.find();
      // Who has connected to a listener that waits was there before, or it would not be accepted yet.
      if (target === undefined || listener.connection?.rebind(target) === false) this.#end(listener);
    }
    this.#holdBack();
  }

  resized(device: BlockDevice): void {
    for (let i = 0; i < this.#listeners.length; i++) {
      const { connection } = this.#listeners[i] as BlkListener;
      if (connection?.target.device === device) connection.resized();
    }
  }

  /** Handles a descriptor that epoll reported; one that is nobody's else is a guest's kick. */
  onReady(fd: number): void {
    for (let i = 0; i < this.#listeners.length; i++) {
      const listener = this.#listeners[i] as BlkListener;
      if (listener.fd === fd) this.#accept(listener);
      else if (listener.connectionFd === fd) this.#control(listener);
    }
  }

  /** Serves every guest once. True when there is more to do. */
  breath(): boolean {
    let more = false;
    for (let i = 0; i < this.#listeners.length; i++) {
      const { connection } = this.#listeners[i] as BlkListener;
      if (connection === undefined) continue;
      const { target } = connection;
      const mixed = target.staged;
      if (!connection.take()) continue;
      more = true;
      connection.finish(target.commitGuest(mixed));
    }
    if (more && !this.#awake) this.#setAwake(true);
    return more;
  }

  /** Before a sleep: guests kick from now on. False when one of them has something already. */
  beginSleep(): boolean {
    if (!this.#awake) return true;
    this.#awake = false;
    let quiet = true;
    for (let i = 0; i < this.#listeners.length; i++) {
      const { connection } = this.#listeners[i] as BlkListener;
      if (connection?.beginSleep() === false) quiet = false;
    }
    if (!quiet) this.#setAwake(true);
    return quiet;
  }

  get hasStalled(): boolean {
    return this.#listeners.some(({ connection }) => connection?.stalled === true); // cold
  }

  /** The cleaner made room, or gave up. */
  retryStalled(): void {
    for (let i = 0; i < this.#listeners.length; i++) {
      const { connection } = this.#listeners[i] as BlkListener;
      if (connection !== undefined) connection.stalled = false;
    }
  }

  /** As NbdServer.retryThrottled. */
  retryThrottled(nowMs: number): number {
    let waitMs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#listeners.length; i++) {
      const { connection } = this.#listeners[i] as BlkListener;
      if (connection?.throttled !== true) continue;
      const leftMs = connection.target.share.readyMs - nowMs;
      if (leftMs > 0) waitMs = Math.min(waitMs, leftMs);
      else {
        connection.throttled = false;
        waitMs = 0;
      }
    }
    return waitMs;
  }

  close(): void {
    while (this.#listeners.length > 0) this.unlisten((this.#listeners[0] as BlkListener).path);
  }

  #setAwake(awake: boolean): void {
    this.#awake = awake;
    for (let i = 0; i < this.#listeners.length; i++) {
      (this.#listeners[i] as BlkListener).connection?.endSleep();
    }
  }

  #control(listener: BlkListener): void {
    if (listener.connection?.backend.poll() === false) this.#end(listener);
    this.#holdBack();
  }

  /** Whoever is at work and may write goes on; who has begun meanwhile waits. */
  #holdBack(): void {
    const all = this.#listeners.flatMap(({ connection }) => connection ?? []); // cold
    const writers = all.filter(({ target, isRunning }) => isRunning && !target.readOnly);
    for (let i = 0; i < all.length; i++) {
      const connection = all[i] as BlkConnection;
      const { device } = connection.target;
      const atWork = writers.find((each) => each.target.device === device && each.isServed);
      if (!connection.isRunning) connection.isServed = false;
      else if (!connection.isServed) connection.isServed = connection.target.readOnly || atWork === undefined;
    }
    // A ring that has just begun does not kick until it is asked to.
    this.#awake = true;
  }

  #accept(listener: BlkListener): void {
    if (listener.parked) return;
    const fd = sysAccept(listener.fd);
    if (fd < 0) return;
    const target = listener.find();
    if (target === undefined || listener.connection !== undefined) {
      this.refusedCount++;
      closeFile(fd);
      return;
    }
    listener.connectionFd = fd;
    this.connectionCount++;
    listener.window ??= new GuestWindow();
    const { window, unsealedMemory } = listener;
    const modules = { window, epoll: this.#epoll, flushes: this.#flushes };
    listener.connection = new BlkConnection({ fd, target, unsealedMemory }, modules);
  }

  #end(listener: BlkListener): void {
    if (listener.connection === undefined) return;
    this.connectionCount--;
    listener.connection.close();
    listener.connection = undefined;
    listener.connectionFd = -1;
    this.#holdBack();
  }
}
