// A port over a unix stream socket, framed as QEMU does it (`-netdev stream`): u32 length, big-endian, then the frame.
// Needs no shared memory and no privileges. Either side may listen; a lost peer is dialled or awaited again.
//
//   rx: recv into one buffer ─► whole frames are copied into packets     (pool empty: they wait in the buffer)
//   tx: frames are appended to one buffer ─► one send for the batch      (buffer full: dropped and counted)
//
// Source: QEMU net/stream.c, net/net.c (net_fill_rstate). A length that no frame has ends the connection.
// Thread: the datapath worker's. Hot: yes (rx, tx).
import {
  addressOf,
  closeFile,
  copyMemory,
  EAGAIN,
  EINTR,
  EPOLLIN,
  EPOLLOUT,
  Epoll,
  errnoName,
  setSocketBuffers,
  sysReceive,
  sysSend,
  UnixLink,
} from "../linux/index.js";
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
  readonly pool: PacketPool;
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
  readonly #arena: number;
  readonly #epoll = new Epoll(4);
  readonly #link: UnixLink;
  readonly #in = new Uint8Array(RECEIVE_SIZE);
  readonly #inView = new DataView(this.#in.buffer);
  readonly #inAddress = addressOf(this.#in);
  readonly #out = new Uint8Array(SEND_SIZE);
  readonly #outView = new DataView(this.#out.buffer);
  readonly #outAddress = addressOf(this.#out);
  #fd = -1;
  /** Received and not handed over: [inStart, inEnd). */
  #inStart = 0;
  #inEnd = 0;
  /** To be sent: [outStart, outEnd). */
  #outStart = 0;
  #outEnd = 0;
  #watchesOut = false;
  #closed = false;

  /** Throws SOCKET_PATH_TOO_LONG, HANDED_PORT_INVALID. */
  constructor(options: StreamPortOptions) {
    this.name = options.name;
    this.#pool = options.pool;
    this.#arena = addressOf(options.pool.bytes);
    this.wakeFd = this.#epoll.fd;
    const { path, role = "dial", mode, handed } = options;
    const known = handed === undefined ? undefined : decode(handed);
    const listenFd = known?.listenFd ?? -1;
    const more = mode === undefined ? {} : { mode };
    this.#link = new UnixLink({ path, role, epoll: this.#epoll, listenFd, ...more });
    if (known === undefined || known.fd < 0) return;
    this.#connected(known.fd);
    this.#in.set(known.received);
    this.#inEnd = known.received.byteLength;
    this.#out.set(known.unsent);
    this.#outEnd = known.unsent.byteLength;
  }

  /** Everything that another process needs to go on with the connection, and with the frames that are in the buffers. */
  handOver(): HandedPort {
    const listenFd = this.#link.handOver();
    return {
      state: {
        listens: listenFd >= 0,
        isConnected: this.#fd >= 0,
        received: textOf(this.#in, this.#inStart, this.#inEnd),
        unsent: textOf(this.#out, this.#outStart, this.#outEnd),
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
      this.#in.copyWithin(0, this.#inStart, this.#inEnd);
      this.#inEnd -= this.#inStart;
      this.#inStart = 0;
    }
    const count = sysReceive(this.#fd, this.#inAddress + this.#inEnd, RECEIVE_SIZE - this.#inEnd);
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
    return have >= LENGTH_SIZE && have >= LENGTH_SIZE + this.#inView.getUint32(this.#inStart);
  }

  #takeFrames(batch: Batch): number {
    const { stats } = this;
    let count = 0;
    while (this.#inEnd - this.#inStart >= LENGTH_SIZE && batch.length < batch.capacity) {
      const length = this.#inView.getUint32(this.#inStart);
      if (length > STREAM_FRAME_SIZE_MAX) {
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
        this.#disconnect(`the peer announced a frame of ${length} bytes`);
        return count;
      }
      if (this.#inEnd - this.#inStart < LENGTH_SIZE + length) return count;
      if (length < FRAME_SIZE_MIN || length > FRAME_SIZE_MAX) {
        stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
      } else {
        const packet = this.#pool.allocate();
        if (packet < 0) return count;
        const from = this.#inAddress + this.#inStart + LENGTH_SIZE;
        copyMemory(this.#arena + (this.#pool.offset[packet] as number), from, length);
        this.#pool.length[packet] = length;
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
    const length = this.#pool.length[packet] as number;
    if (this.#fd < 0 || !this.#makeRoom(LENGTH_SIZE + length)) {
      stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
      return;
    }
    this.#outView.setUint32(this.#outEnd, length);
    const to = this.#outAddress + this.#outEnd + LENGTH_SIZE;
    copyMemory(to, this.#arena + (this.#pool.offset[packet] as number), length);
    this.#outEnd += LENGTH_SIZE + length;
    stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
    stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
  }

  #makeRoom(length: number): boolean {
    if (this.#outEnd + length <= SEND_SIZE) return true;
    this.#flush();
    if (this.#fd < 0) return false;
    if (this.#outStart > 0) {
      this.#out.copyWithin(0, this.#outStart, this.#outEnd);
      this.#outEnd -= this.#outStart;
      this.#outStart = 0;
    }
    return this.#outEnd + length <= SEND_SIZE;
  }

  #flush(): void {
    while (this.#fd >= 0 && this.#outEnd > this.#outStart) {
      const count = sysSend(this.#fd, this.#outAddress + this.#outStart, this.#outEnd - this.#outStart);
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
