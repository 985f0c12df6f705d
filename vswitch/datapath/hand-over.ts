// A switch that forwards gives its ports to another process: two workers, and a unix socket between them.
//
//   successor  listens at a path of its own ◄── dials ── the one that forwards, and goes on forwarding
//              "g"  ──────────────────────────────────►  stops between two bursts
//              ◄── "f" with descriptors, 32 at a time ──
//              ◄── "e" with a file: JSON ──────────────  touches nothing any more
//              opens the ports with them, forwards
//
// The file says whose the descriptors are, in their order. Whoever of the two dies: the other one sees the end of the
// connection. Thread: datapath worker, between breaths.
import { rmSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import {
  addressOf,
  closeFile,
  createMemfd,
  EAGAIN,
  EINTR,
  EPOLLIN,
  EPOLLOUT,
  Epoll,
  listenUnix,
  MESSAGE_FDS_MAX,
  MessageChannel,
  peerCredentials,
  preadFile,
  pwriteFile,
  sysAccept,
  sysConnectUnix,
  systemError,
} from "../../base/linux/index.js";
import { HAND_OVER_DEADLINE_MS, HANDED_SIZE_MAX } from "./limits.js";

const GO = 0x67;
const DESCRIPTORS = 0x66;
const END = 0x65;

/** What goes from one process to the other; descriptors in the order in which the bytes speak of them. */
export interface Parcel {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
}

/** One byte at a time, so that descriptors stay with the message that they came with. */
class Line {
  readonly #fd: number;
  readonly #epoll = new Epoll(1);
  readonly #channel = new MessageChannel();
  readonly #byte = new Uint8Array(1);
  readonly #address = addressOf(this.#byte);

  constructor(fd: number) {
    this.#fd = fd;
    this.#epoll.add(fd, EPOLLIN);
  }

  /** The next byte; undefined: there is none yet; −1: there will be none. Its descriptors are added to `fds`. */
  receive(fds: number[]): number | undefined {
    const count = this.#channel.receive(this.#fd, this.#address, 1);
    for (let i = 0; i < this.#channel.fdCount; i++) fds.push(this.#channel.fds[i]!);
    if (count === -EAGAIN || count === -EINTR) return undefined;
    return count === 1 ? this.#byte[0]! : -1;
  }

  /** Resolves the byte, waiting for it; −1 also when it takes too long. */
  await(fds: number[], untilMs: number): number {
    for (;;) {
      const byte = this.receive(fds);
      if (byte !== undefined) return byte;
      const leftMs = untilMs - performance.now(); // cold
      if (leftMs <= 0) return -1;
      this.#epoll.wait(Math.ceil(leftMs));
    }
  }

  /** False when the other end is gone, or takes nothing for too long. */
  send(byte: number, fds: readonly number[], untilMs: number): boolean {
    this.#byte[0] = byte;
    for (;;) {
      const count = this.#channel.send(this.#fd, this.#address, 1, fds);
      if (count === 1) return true;
      if (count !== -EAGAIN && count !== -EINTR) return false;
      const leftMs = untilMs - performance.now(); // cold
      if (leftMs <= 0) return false;
      this.#epoll.modify(this.#fd, EPOLLOUT);
      this.#epoll.wait(Math.ceil(leftMs));
      this.#epoll.modify(this.#fd, EPOLLIN);
    }
  }

  close(): void {
    this.#epoll.close();
    closeFile(this.#fd);
  }
}

/** The successor's end. */
export class HandOverListener {
  readonly #path: string;
  readonly #fd: number;
  #closed = false;

  /** Listens at `path`, for our own user alone. Throws with the errno's name, SOCKET_PATH_TOO_LONG. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = listenUnix(path);
  }

  /**
   * Asks whoever has dialled for what it has, and waits for it. undefined when nobody has, or it dies over it; one that
   * does not answer is killed, so that nobody but us uses what it had. The descriptors are the caller's.
   */
  take(): Parcel | undefined {
    const fd = sysAccept(this.#fd);
    if (fd < 0) return undefined;
    const { pid } = peerCredentials(fd);
    const line = new Line(fd);
    const fds: number[] = [];
    try {
      const untilMs = performance.now() + HAND_OVER_DEADLINE_MS; // cold
      line.send(GO, [], untilMs);
      let kind: number;
      do kind = line.await(fds, untilMs);
      while (kind === DESCRIPTORS);
      const file = kind === END ? fds.pop() : undefined;
      if (file === undefined) {
        for (const one of fds) closeFile(one);
        if (performance.now() >= untilMs && pid !== process.pid) kill(pid); // cold
        return undefined;
      }
      return { bytes: readAll(file), fds };
    } finally {
      line.close();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFile(this.#fd);
    rmSync(this.#path, { force: true });
  }
}

/** The end of the switch that leaves. */
export class HandOverGiver {
  /** Readable when there is something to ask(). */
  readonly fd: number;
  readonly #line: Line;

  /** Dials. Throws with the errno's name. */
  constructor(path: string) {
    this.fd = sysConnectUnix(path);
    if (this.fd < 0) throw systemError("connect", this.fd, path);
    this.#line = new Line(this.fd);
  }

  /** Whether the successor wants everything now; "gone": it will never do. */
  ask(): "waits" | "asks" | "gone" {
    const fds: number[] = [];
    const byte = this.#line.receive(fds);
    for (const fd of fds) closeFile(fd);
    if (byte === undefined) return "waits";
    return byte === GO ? "asks" : "gone";
  }

  /** The descriptors stay ours. False when the successor has not got everything. */
  give({ bytes, fds }: Parcel): boolean {
    const untilMs = performance.now() + HAND_OVER_DEADLINE_MS; // cold
    if (!this.sendDescriptors(fds, untilMs)) return false;
    const file = createMemfd("hand-over", bytes.byteLength);
    try {
      pwriteFile(file, bytes, 0);
      return this.#line.send(END, [file], untilMs);
    } finally {
      closeFile(file);
    }
  }

  /** The first part of give(). */
  sendDescriptors(fds: readonly number[], untilMs = performance.now() + HAND_OVER_DEADLINE_MS): boolean {
    for (let i = 0; i < fds.length; i += MESSAGE_FDS_MAX)
      if (!this.#line.send(DESCRIPTORS, fds.slice(i, i + MESSAGE_FDS_MAX), untilMs)) return false;
    return true;
  }

  close(): void {
    this.#line.close();
  }
}

function readAll(file: number): Uint8Array {
  try {
    const bytes = new Uint8Array(HANDED_SIZE_MAX);
    return bytes.subarray(0, preadFile(file, bytes, 0));
  } finally {
    closeFile(file);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH")
      throw new PlinthError("HAND_OVER_FAILED", `process ${pid} hangs and cannot be ended`, {
        cause: thrown,
      });
  }
}
