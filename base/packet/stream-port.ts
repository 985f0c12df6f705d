// A port over a unix stream socket, framed as QEMU does it (`-netdev stream`): u32 length, big-endian, then the frame.
// Needs no shared memory and no privileges. Either side may listen; a lost peer is dialled or awaited again.
//
//   rx: recv into one buffer ─► whole frames are copied into packets     (pool empty: they wait in the buffer)
//   tx: frames are appended to one buffer ─► one send for the batch      (buffer full: dropped and counted)
//
// Both buffers lie in the window that the packets are in, so that a frame moves inside one array and leaves no garbage.
// Source: QEMU net/stream.c, net/net.c (net_fill_rstate). A length that no frame has ends the connection.
// Thread: the datapath worker's. Hot: yes (rx, tx).
import { assert } from "../assert/index.js";
import { PlinthError } from "../errors/index.js";
import {
  closeFile,
  EAGAIN,
  EINTR,
  EPOLLIN,
  EPOLLOUT,
  Epoll,
  errnoName,
  SocketMessage,
  setSocketBuffers,
  UnixLink,
} from "../linux/index.js";
import { checkUnixPath } from "../unix-path/index.js";
import type { GuestWindow } from "../virtio/index.js";
import type { Batch } from "./batch.js";
import { type HandedPort, HandedReader, textOf } from "./handed-port.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";
import {
  createPortCounters,
  type Port,
  RX_BYTES,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
} from "./port.js";

export interface StreamPortOptions {
  readonly name: string;
  /** Its arena must be the window's: both sides of every copy lie in one array. */
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly path: string;
  /** "dial": the peer listens at `path` (the default). "listen": we do. */
  readonly role?: "dial" | "listen";
  /** Permissions of the socket when listening; 0o600 when absent. */
  readonly mode?: number;
  /** The port was another process's; its descriptors are ours from now on, unless the constructor throws. */
  readonly handed?: HandedPort;
}

const LENGTH_SIZE = 4;
/** QEMU's own limit for a frame (NET_BUFSIZE); a longer one means that we lost the framing. */
export const STREAM_FRAME_SIZE_MAX = 4096 + 65536;
const RECEIVE_SIZE = 256 * 1024;
const SEND_SIZE = 512 * 1024;
const SOCKET_BUFFER_SIZE = 4 << 20;

export class StreamPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  linkUp = false;
  readonly #pool: PacketPool;
  readonly #window: GuestWindow;
  readonly #epoll: Epoll;
  readonly #link: UnixLink;
  readonly #message: SocketMessage;
  /** Where in the window what is received begins, and what is to be sent. */
  readonly #inAt: number;
  readonly #outAt: number;
  #fd = -1;
  /** Received and not handed over: [inStart, inEnd) behind inAt. */
  #inStart = 0;
  #inEnd = 0;
  /** To be sent: [outStart, outEnd) behind outAt. */
  #outStart = 0;
  #outEnd = 0;
  #watchesOut = false;
  #closed = false;

  /** Throws SOCKET_PATH_TOO_LONG, HANDED_PORT_INVALID, NO_WINDOW_ROOM. */
  constructor(options: StreamPortOptions) {
    const { name, pool, window, path, role = "dial", mode, handed } = options;
    assert(pool.bytes.buffer === window.bytes.buffer, "packets and the port's buffers share one window");
    const known = handed === undefined ? undefined : decode(handed);
    checkUnixPath(path);
    this.name = name;
    this.#pool = pool;
    this.#window = window;
    this.#inAt = takeMemory(window, name);
    this.#outAt = this.#inAt + RECEIVE_SIZE;
    this.#message = new SocketMessage(window.memory.address);
    this.#epoll = new Epoll(4);
    this.wakeFd = this.#epoll.fd;
    const listenFd = known?.listenFd ?? -1;
    const more = mode === undefined ? {} : { mode };
    this.#link = new UnixLink({ path, role, epoll: this.#epoll, listenFd, ...more });
    if (known === undefined || known.fd < 0) return;
    this.#connected(known.fd);
    pool.bytes.set(known.received, this.#inAt);
    this.#inEnd = known.received.byteLength;
    pool.bytes.set(known.unsent, this.#outAt);
    this.#outEnd = known.unsent.byteLength;
  }

  /** Everything that another process needs to go on with the connection, and with the frames that are in the buffers. */
  handOver(): HandedPort {
    const { bytes } = this.#pool;
    const listenFd = this.#link.handOver();
    return {
      state: {
        listens: listenFd >= 0,
        isConnected: this.#fd >= 0,
        received: textOf(bytes, this.#inAt + this.#inStart, this.#inAt + this.#inEnd),
        unsent: textOf(bytes, this.#outAt + this.#outStart, this.#outAt + this.#outEnd),
      },
      fds: [listenFd, this.#fd].filter((fd) => fd >= 0),
    };
  }

  /** Why the link is down; empty when it is up. */
  get lastError(): string {
    return this.#link.lastError;
  }

  /** Role "listen", after a tick(): the socket is there; if not, lastError says why. */
  get listening(): boolean {
    return this.#link.listening;
  }

  rx(batch: Batch): number {
    if (this.#fd < 0) return 0;
    let count = this.#takeFrames(batch);
    if (batch.length < batch.capacity && this.#pool.available > 0 && this.#receive()) {
      count += this.#takeFrames(batch);
    }
    return count;
  }

  tx(batch: Batch): void {
    const pool = this.#pool;
    for (let i = 0; i < batch.length; i++) this.#append(batch.packets[i] as number);
    batch.freeAll(pool);
    this.#flush();
  }

  tick(nowMs: number): void {
    if (this.#closed) return;
    if (this.#fd < 0) {
      const fd = this.#link.poll(nowMs);
      if (fd >= 0) this.#connected(fd);
      return;
    }
    this.#flush();
    // A peer that has gone while nothing is read or written shows here.
    if (this.#fd >= 0 && this.#inEnd < RECEIVE_SIZE) this.#receive();
  }

  beginSleep(): boolean {
    this.#watchOut(this.#outEnd > this.#outStart);
    return this.#fd < 0 || !this.#hasFrame();
  }

  endSleep(): void {
    this.#watchOut(false);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disconnect("closed");
    this.#link.close();
    this.#epoll.close();
    this.#message.close();
    this.#window.giveBack(this.#inAt);
  }

  #connected(fd: number): void {
    this.#fd = fd;
    setSocketBuffers(fd, SOCKET_BUFFER_SIZE);
    this.#epoll.add(fd, EPOLLIN);
    this.#inStart = 0;
    this.#inEnd = 0;
    this.#outStart = 0;
    this.#outEnd = 0;
    this.#watchesOut = false;
    this.linkUp = true;
  }

  #disconnect(reason: string): void {
    if (this.#fd < 0) return;
    this.#epoll.remove(this.#fd);
    closeFile(this.#fd);
    this.#fd = -1;
    this.linkUp = false;
    this.#link.lost(reason);
  }

  /** Reads what is there into the buffer; false when nothing came or the peer is gone. */
  #receive(): boolean {
    if (this.#inStart > 0) {
      const at = this.#inAt;
      this.#pool.bytes.copyWithin(at, at + this.#inStart, at + this.#inEnd);
      this.#inEnd -= this.#inStart;
      this.#inStart = 0;
    }
    const count = this.#message.receive(this.#fd, this.#inAt + this.#inEnd, RECEIVE_SIZE - this.#inEnd);
    if (count > 0) {
      if (this.#inEnd === 0) this.#link.settled();
      this.#inEnd += count;
      return true;
    }
    if (count === -EAGAIN || count === -EINTR) return false;
    this.#disconnect(count === 0 ? "the peer has gone" : errnoName(count));
    return false;
  }

  #hasFrame(): boolean {
    const have = this.#inEnd - this.#inStart;
    return have >= LENGTH_SIZE && have >= LENGTH_SIZE + this.#pool.view.getUint32(this.#inAt + this.#inStart);
  }

  #takeFrames(batch: Batch): number {
    const { stats } = this;
    const { copy } = this.#window;
    const pool = this.#pool;
    let count = 0;
    while (this.#inEnd - this.#inStart >= LENGTH_SIZE && batch.length < batch.capacity) {
      const at = this.#inAt + this.#inStart;
      const length = pool.view.getUint32(at);
      if (length > STREAM_FRAME_SIZE_MAX) {
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
        this.#disconnect(`the peer announced a frame of ${length} bytes`);
        return count;
      }
      if (this.#inEnd - this.#inStart < LENGTH_SIZE + length) return count;
      if (length < FRAME_SIZE_MIN || length > FRAME_SIZE_MAX) {
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
      } else {
        const packet = pool.allocate();
        if (packet < 0) return count;
        copy(pool.offset[packet] as number, at + LENGTH_SIZE, length);
        pool.length[packet] = length;
        batch.push(packet);
        stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + 1;
        stats[RX_BYTES] = (stats[RX_BYTES] as number) + length;
        count++;
      }
      this.#inStart += LENGTH_SIZE + length;
    }
    return count;
  }

  #append(packet: number): void {
    const { stats } = this;
    const { copy } = this.#window;
    const pool = this.#pool;
    const length = pool.length[packet] as number;
    if (this.#fd < 0 || !this.#makeRoom(LENGTH_SIZE + length)) {
      stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
      return;
    }
    const at = this.#outAt + this.#outEnd;
    pool.view.setUint32(at, length);
    copy(at + LENGTH_SIZE, pool.offset[packet] as number, length);
    this.#outEnd += LENGTH_SIZE + length;
    stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
    stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
  }

  #makeRoom(length: number): boolean {
    if (this.#outEnd + length <= SEND_SIZE) return true;
    this.#flush();
    if (this.#fd < 0) return false;
    if (this.#outStart > 0) {
      const at = this.#outAt;
      this.#pool.bytes.copyWithin(at, at + this.#outStart, at + this.#outEnd);
      this.#outEnd -= this.#outStart;
      this.#outStart = 0;
    }
    return this.#outEnd + length <= SEND_SIZE;
  }

  #flush(): void {
    while (this.#fd >= 0 && this.#outEnd > this.#outStart) {
      const count = this.#message.send(this.#fd, this.#outAt + this.#outStart, this.#outEnd - this.#outStart);
      if (count === -EAGAIN) return;
      if (count === -EINTR) continue;
      if (count < 0) {
        this.#disconnect(errnoName(count));
        return;
      }
      this.#outStart += count;
    }
    this.#outStart = 0;
    this.#outEnd = 0;
  }

  #watchOut(wanted: boolean): void {
    if (this.#fd < 0 || wanted === this.#watchesOut) return;
    this.#watchesOut = wanted;
    this.#epoll.modify(this.#fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
}

/** Room for both buffers in the window. Throws NO_WINDOW_ROOM. */
function takeMemory(window: GuestWindow, name: string): number {
  const at = window.reserveAnonymous(RECEIVE_SIZE + SEND_SIZE);
  if (at >= 0) return at;
  throw new PlinthError("NO_WINDOW_ROOM", `no room for the buffers of ${name} beside the memory of guests`);
}

/** What another process's handOver() says. Throws HANDED_PORT_INVALID. */
function decode(handed: HandedPort): {
  readonly listenFd: number;
  readonly fd: number;
  readonly received: Uint8Array;
  readonly unsent: Uint8Array;
} {
  const reader = new HandedReader(handed);
  const listenFd = reader.boolean("listens") ? reader.fd() : -1;
  const fd = reader.boolean("isConnected") ? reader.fd() : -1;
  const received = reader.bytes("received", RECEIVE_SIZE);
  const unsent = reader.bytes("unsent", SEND_SIZE);
  reader.end();
  return { listenFd, fd, received, unsent };
}
