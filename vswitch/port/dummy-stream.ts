// The wire of a dummy port: a unix stream socket that carries frames, each after its length as u16, big-endian.
// Source: packet streams of netdev-dummy as ovs-vswitchd speaks them. Thread: the datapath worker's. Hot: no.
import { PlinthError } from "../../base/errors/index.js";
import {
  addressOf,
  closeFile,
  EAGAIN,
  EINTR,
  EPOLLIN,
  Epoll,
  errnoName,
  sysReceive,
  sysSend,
  UnixLink,
} from "../../base/linux/index.js";

const LENGTH_SIZE = 2;
const BUFFER_SIZE = 256 * 1024;

export class DummyStream {
  readonly #role: "dial" | "listen";
  readonly #onFrame: (frame: Uint8Array) => void;
  readonly #epoll = new Epoll(4);
  readonly #link: UnixLink;
  readonly #in = Buffer.alloc(BUFFER_SIZE);
  readonly #inAddress = addressOf(this.#in);
  #inEnd = 0;
  readonly #out = Buffer.alloc(BUFFER_SIZE);
  readonly #outAddress = addressOf(this.#out);
  #outEnd = 0;
  #fd = -1;

  /** What `options` ask for, if they do. Throws PORT_OPTION_INVALID. */
  static create(
    options: Readonly<Record<string, string>>,
    onFrame: (frame: Uint8Array) => void,
  ): DummyStream | undefined {
    const { stream, pstream } = options;
    if (stream !== undefined && pstream !== undefined)
      throw new PlinthError("PORT_OPTION_INVALID", "a port has options:stream or options:pstream, not both");
    if (stream !== undefined) return new DummyStream("dial", pathOf("stream", "unix:", stream), onFrame);
    if (pstream !== undefined)
      return new DummyStream("listen", pathOf("pstream", "punix:", pstream), onFrame);
    return undefined;
  }

  /** Throws SOCKET_PATH_TOO_LONG. */
  private constructor(role: "dial" | "listen", path: string, onFrame: (frame: Uint8Array) => void) {
    this.#role = role;
    this.#onFrame = onFrame;
    this.#link = new UnixLink({ path, role, epoll: this.#epoll });
  }

  get wakeFd(): number {
    return this.#epoll.fd;
  }

  get state(): string {
    if (this.#role === "listen") return "unknown";
    return this.#fd >= 0 ? "connected" : "disconnected";
  }

  /** Dials or accepts, and finds out whether the peer is still there. */
  tick(nowMs: number): void {
    if (this.#fd < 0) {
      this.#fd = this.#link.poll(nowMs);
      if (this.#fd < 0) return;
      this.#inEnd = this.#outEnd = 0;
      this.#epoll.add(this.#fd, EPOLLIN);
      this.#link.settled();
    }
    this.poll();
  }

  /** Takes what has arrived. */
  poll(): void {
    while (this.#fd >= 0) {
      const count = sysReceive(this.#fd, this.#inAddress + this.#inEnd, BUFFER_SIZE - this.#inEnd);
      if (count === -EINTR) continue;
      if (count === -EAGAIN) break;
      if (count <= 0) this.#disconnect(count === 0 ? "the peer has gone" : errnoName(count));
      else {
        this.#inEnd += count;
        this.#takeFrames();
      }
    }
    this.#flush();
  }

  /** Puts the frame on its way; without a peer, or when that is too far behind, it is lost. */
  send(frame: Uint8Array): void {
    if (this.#fd < 0 || frame.byteLength > 0xffff) return;
    if (this.#outEnd + LENGTH_SIZE + frame.byteLength > BUFFER_SIZE) return;
    this.#out.writeUInt16BE(frame.byteLength, this.#outEnd);
    this.#out.set(frame, this.#outEnd + LENGTH_SIZE);
    this.#outEnd += LENGTH_SIZE + frame.byteLength;
    this.#flush();
  }

  close(): void {
    this.#disconnect("closed");
    this.#link.close();
    this.#epoll.close();
  }

  #takeFrames(): void {
    let at = 0;
    while (at + LENGTH_SIZE <= this.#inEnd) {
      const end = at + LENGTH_SIZE + this.#in.readUInt16BE(at);
      if (end > this.#inEnd) break;
      this.#onFrame(this.#in.subarray(at + LENGTH_SIZE, end));
      at = end;
    }
    this.#in.copyWithin(0, at, this.#inEnd);
    this.#inEnd -= at;
  }

  #flush(): void {
    while (this.#fd >= 0 && this.#outEnd > 0) {
      const count = sysSend(this.#fd, this.#outAddress, this.#outEnd);
      if (count === -EINTR) continue;
      if (count === -EAGAIN) return;
      if (count < 0) this.#disconnect(errnoName(count));
      else {
        this.#out.copyWithin(0, count, this.#outEnd);
        this.#outEnd -= count;
      }
    }
  }

  #disconnect(reason: string): void {
    if (this.#fd < 0) return;
    this.#epoll.remove(this.#fd);
    closeFile(this.#fd);
    this.#fd = -1;
    this.#link.lost(reason);
  }
}

function pathOf(option: string, prefix: string, target: string): string {
  if (target.startsWith(prefix) && target.length > prefix.length) return target.slice(prefix.length);
  throw new PlinthError("PORT_OPTION_INVALID", `options:${option} is "${target}", not ${prefix}PATH`);
}
