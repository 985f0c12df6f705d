// Messages of one vhost-user connection, whole, with the descriptors that came along.
// Invariant: whatever the peer sends or however it vanishes, the worst that happens is `failure`; descriptors not
// yet taken are closed by close(). Thread: the one that owns the epoll set. Hot: no.
import { PlinthError } from "../errors/index.js";
import {
  addressOf,
  closeFile,
  EAGAIN,
  EINTR,
  EPOLLIN,
  type Epoll,
  errnoName,
  MessageChannel,
} from "../linux/index.js";
import {
  encodeVhostUserMessage,
  parseVhostUserHeader,
  parseVhostUserMessage,
  VHOST_USER_HEADER_SIZE,
  VHOST_USER_PAYLOAD_SIZE_MAX,
  VHOST_USER_REGIONS_MAX,
  type VhostUserMessage,
} from "./vhost-user-wire.js";

/** A message, or its beginning, and the descriptors that came along. */
export interface MessageWithFds {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
}

const NOTHING: MessageWithFds = { bytes: new Uint8Array(), fds: [] };

export class VhostUserSocket {
  /** Why nothing more can be read or written; undefined while it can. */
  failure: string | undefined = undefined;
  /** send() does nothing. */
  isMute = false;
  readonly #fd: number;
  readonly #epoll: Epoll;
  readonly #channel = new MessageChannel();
  readonly #buffer = new Uint8Array(VHOST_USER_HEADER_SIZE + VHOST_USER_PAYLOAD_SIZE_MAX);
  readonly #bufferAddress: number;
  #have = 0;
  #need = VHOST_USER_HEADER_SIZE;
  #fds: number[] = [];

  /**
   * `fd`: a connected, non-blocking unix socket; owned from now on, as the descriptors of `begun` are: the beginning of
   * a message that somebody else has read.
   */
  constructor(fd: number, epoll: Epoll, begun: MessageWithFds = NOTHING) {
    this.#fd = fd;
    this.#epoll = epoll;
    this.#have = Math.min(begun.bytes.byteLength, this.#buffer.byteLength);
    this.#buffer.set(begun.bytes.subarray(0, this.#have));
    this.#fds = [...begun.fds];
    this.#bufferAddress = addressOf(this.#buffer);
    epoll.add(fd, EPOLLIN);
  }

  /** The next whole message, or undefined when there is none (yet, or ever: failure). */
  read(): VhostUserMessage | undefined {
    if (this.failure !== undefined) return undefined;
    for (;;) {
      const missing = this.#need - this.#have;
      if (missing > 0) {
        const count = this.#channel.receive(this.#fd, this.#bufferAddress + this.#have, missing);
        for (let i = 0; i < this.#channel.fdCount; i++) this.#fds.push(this.#channel.fds[i]!);
        if (count === -EAGAIN || count === -EINTR) return undefined;
        if (count <= 0) return this.#fail(count === 0 ? "the peer has gone" : errnoName(count));
        if (this.#fds.length > VHOST_USER_REGIONS_MAX) return this.#fail("too many descriptors");
        this.#have += count;
        continue;
      }
      try {
        if (this.#need === VHOST_USER_HEADER_SIZE) {
          this.#need += parseVhostUserHeader(this.#buffer).sizeBytes;
          if (this.#need > this.#have) continue;
        }
        const message = parseVhostUserMessage(this.#buffer.subarray(0, this.#need));
        this.#have = 0;
        this.#need = VHOST_USER_HEADER_SIZE;
        return message;
      } catch (thrown) {
        if (!(thrown instanceof PlinthError)) throw thrown;
        return this.#fail(thrown.message);
      }
    }
  }

  /** What was read and is no whole message yet; the descriptors stay ours. */
  get begun(): MessageWithFds {
    return { bytes: this.#buffer.slice(0, this.#have), fds: this.#fds };
  }

  get fd(): number {
    return this.#fd;
  }

  /** The descriptors of the message just read; the caller's from now on. */
  takeFds(): number[] {
    const fds = this.#fds;
    this.#fds = [];
    return fds;
  }

  /** Answers are a few bytes: a peer whose socket has no room for them does not read its answers. `fds` stay ours. */
  send(message: VhostUserMessage, fds: readonly number[] = []): void {
    if (this.isMute) return;
    const bytes = encodeVhostUserMessage(message);
    const count = this.#channel.send(this.#fd, addressOf(bytes), bytes.byteLength, fds);
    if (count !== bytes.byteLength) this.#fail("the peer does not take its answers");
  }

  close(): void {
    for (const fd of this.takeFds()) closeFile(fd);
    this.#epoll.remove(this.#fd);
    closeFile(this.#fd);
  }

  #fail(reason: string): undefined {
    this.failure ??= reason;
    return undefined;
  }
}
