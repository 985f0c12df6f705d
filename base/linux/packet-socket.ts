// Packet sockets: the frames of a network device of the host, by a ring that the kernel writes into and by sendmmsg.
// Needs CAP_NET_RAW.
//
//   device ─► ring slot (frames that fit) ─► whoever reads, in order
//        └──► ring slot that says COPY, and the whole frame in the socket's queue (longer ones)
//
// A slot holds a virtio-net header, then the frame; the device's VLAN tag stands beside it, not in it. Version 2 of the
// ring, since version 3 gives frames out by blocks, the last of which waits for its time-out: a millisecond and more.
// Source: packet(7), linux/if_packet.h. Thread: its creator. Hot: yes.
import { check, raw, systemError } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile } from "./file.js";
import { FileMapping, MemoryBlock } from "./memory.js";
import { cBind, cGetsockopt, cSetsockopt, cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";

const cSendmmsg = define<(fd: number, messages: number, count: number, flags: number) => number>(
  "int sendmmsg(int fd, intptr_t messages, unsigned int count, int flags)",
);

const AF_PACKET = 17;
const SOCK_RAW_FLAGS = 3 | 0o4000 | 0o2000000;
const ETH_P_ALL = 3;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_COPY_THRESH = 7;
const PACKET_VERSION = 10;
const PACKET_VNET_HDR = 15;
const PACKET_QDISC_BYPASS = 20;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_PROMISC = 1;
const TPACKET_V2 = 1;
const MSG_DONTWAIT = 0x40;
const TP_STATUS_KERNEL = 0;
const TP_STATUS_USER = 1;
/** The frame did not fit; it stands whole in the socket's queue. */
export const TP_STATUS_COPY = 2;
export const TP_STATUS_VLAN_VALID = 0x10;
export const TP_STATUS_VLAN_TPID_VALID = 0x40;
const SLOT_SIZE = 2048;
const BLOCK_SIZE = 64 * 1024;
const SOCKET_BUFFER_SIZE = 16 << 20;
const MESSAGE_SIZE = 64;
const IOVEC_SIZE = 16;
const SOCKADDR_LL_SIZE = 20;

export interface PacketSocketOptions {
  /** For error messages. */
  readonly name: string;
  /** Of the device. */
  readonly index: number;
  /** Frames that the ring holds, a multiple of 32. */
  readonly slots: number;
  /** Frames per send(). */
  readonly burst: number;
  /** Frames go to the device directly, past its queueing discipline; the kernel then cuts no segments. */
  readonly qdiscBypass?: boolean;
  /** A socket that another process has set up for the same device, with as many slots; ours from now on. */
  readonly handed?: { readonly fd: number; readonly next: number };
  /** Maps the whole ring, shared, where the caller wants it; anywhere when absent. */
  readonly mapRing?: (fd: number, sizeBytes: number) => RingMapping;
}

export interface RingMapping {
  readonly buffer: ArrayBufferLike;
  /** Where in `buffer` the ring begins. */
  readonly byteOffset: number;
  unmap(): void;
}

export class PacketSocket {
  readonly fd: number;
  /** Of the slot at hand, filled by next(): TP_STATUS_* bits, where the frame starts in the ring, bytes there and bytes
   *  on the wire, and the tag beside it (0 when none). */
  status = 0;
  frameAt = 0;
  captured = 0;
  length = 0;
  vlanTci = 0;
  vlanTpid = 0;
  readonly #ring: RingMapping;
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #slots: number;
  #next = 0;
  readonly #messages: Uint32Array;
  /** Where a call takes their addresses without garbage. */
  readonly #messageBlock: MemoryBlock;
  readonly #vectors: Uint32Array;
  readonly #option = new Int32Array(2);
  readonly #optionAddress = addressOf(this.#option);
  readonly #lengthAddress: number;
  readonly #lengthOption = Int32Array.of(8);
  #closed = false;

  /** Throws with the errno's name: EPERM without CAP_NET_RAW, ENODEV for an index that is gone. */
  constructor(options: PacketSocketOptions) {
    const { name, index, slots, burst, handed, mapRing = mapAnywhere } = options;
    this.#slots = slots;
    this.#lengthAddress = addressOf(this.#lengthOption);
    this.fd =
      handed?.fd ?? noteDescriptor(check(cSocket(AF_PACKET, SOCK_RAW_FLAGS, 0), "socket(AF_PACKET)", name));
    this.#next = handed?.next ?? 0;
    const size = slots * SLOT_SIZE;
    try {
      if (handed === undefined) this.#setUp(size, options);
      this.#ring = mapRing(this.fd, size);
    } catch (thrown) {
      closeFile(this.fd);
      throw thrown;
    }
    const { buffer, byteOffset } = this.#ring;
    this.#words = new Int32Array(buffer, byteOffset, size >>> 2);
    this.#view = new DataView(buffer, byteOffset, size);
    this.#vectors = new Uint32Array(burst * (IOVEC_SIZE / 4));
    this.#messageBlock = new MemoryBlock(burst * MESSAGE_SIZE, { isLow: true });
    this.#messages = new Uint32Array(this.#messageBlock.buffer, 0, burst * (MESSAGE_SIZE / 4));
    this.#linkMessages(burst);
    if (handed !== undefined) return;
    try {
      this.#bind(index, name);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  /** The slot that is looked at next: what another process needs beside the socket. */
  get position(): number {
    return this.#next;
  }

  #setUp(size: number, { slots, qdiscBypass = false }: PacketSocketOptions): void {
    this.#set(PACKET_VERSION, Int32Array.of(TPACKET_V2), "PACKET_VERSION");
    this.#set(PACKET_VNET_HDR, Int32Array.of(1), "PACKET_VNET_HDR");
    this.#set(PACKET_COPY_THRESH, Int32Array.of(1), "PACKET_COPY_THRESH");
    if (qdiscBypass) this.#set(PACKET_QDISC_BYPASS, Int32Array.of(1), "PACKET_QDISC_BYPASS");
    // Larger than the host's limits where we may.
    this.#enlarge(SO_SNDBUFFORCE);
    this.#enlarge(SO_RCVBUFFORCE);
    // What leaves by the device is no frame that comes in: without this we would hear ourselves.
    this.#set(PACKET_IGNORE_OUTGOING, Int32Array.of(1), "PACKET_IGNORE_OUTGOING");
    const ring = Int32Array.of(BLOCK_SIZE, size / BLOCK_SIZE, SLOT_SIZE, slots);
    this.#set(PACKET_RX_RING, ring, "PACKET_RX_RING");
  }

  #bind(index: number, name: string): void {
    const promiscuous = new Uint8Array(16);
    new DataView(promiscuous.buffer).setInt32(0, index, true);
    promiscuous[4] = PACKET_MR_PROMISC;
    this.#set(PACKET_ADD_MEMBERSHIP, promiscuous, "PACKET_ADD_MEMBERSHIP");
    const address = new Uint8Array(SOCKADDR_LL_SIZE);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, ETH_P_ALL);
    view.setInt32(4, index, true);
    check(cBind(this.fd, addressOf(address), SOCKADDR_LL_SIZE), "bind(AF_PACKET)", name);
  }

  /** Whether a frame waits; then the fields above tell of it until release(). */
  next(): boolean {
    const at = this.#next * SLOT_SIZE;
    const word = at >>> 2;
    const words = this.#words;
    const status = Atomics.load(words, word);
    if ((status & TP_STATUS_USER) === 0) return false;
    this.status = status;
    this.length = words[word + 1] as number;
    this.captured = words[word + 2] as number;
    this.frameAt = at + ((words[word + 3] as number) & 0xffff);
    if ((status & TP_STATUS_VLAN_VALID) !== 0) {
      this.vlanTci = this.#view.getUint16(at + 24, true);
      this.vlanTpid =
        (status & TP_STATUS_VLAN_TPID_VALID) !== 0 ? this.#view.getUint16(at + 26, true) : 0x8100;
    }
    return true;
  }

  /** The slot at hand is the kernel's again. */
  release(): void {
    Atomics.store(this.#words, (this.#next * SLOT_SIZE) >>> 2, TP_STATUS_KERNEL);
    this.#next = this.#next + 1 === this.#slots ? 0 : this.#next + 1;
  }

  /** Message `i` of the next send() is `length` bytes at `address`, virtio-net header first. */
  setMessage(i: number, address: number, length: number): void {
    const at = i * (IOVEC_SIZE / 4);
    const vectors = this.#vectors;
    vectors[at] = address >>> 0;
    vectors[at + 1] = (address / 0x1_0000_0000) >>> 0;
    vectors[at + 2] = length;
  }

  /** Sends messages[from] up to messages[to]: how many it took, or the negated errno for the first. */
  send(from: number, to: number): number {
    return raw(cSendmmsg(this.fd, this.#messageBlock.address + from * MESSAGE_SIZE, to - from, MSG_DONTWAIT));
  }

  /** The pending error of the socket, 0 when there is none; asking clears it, and the socket is no longer readable for it. */
  takeError(): number {
    this.#lengthOption[0] = 4;
    cGetsockopt(this.fd, SOL_SOCKET, SO_ERROR, this.#optionAddress, this.#lengthAddress);
    return this.#option[0] as number;
  }

  /** Frames that the ring had no room for since the last call. */
  takeDrops(): number {
    this.#lengthOption[0] = 8;
    const result = cGetsockopt(
      this.fd,
      SOL_PACKET,
      PACKET_STATISTICS,
      this.#optionAddress,
      this.#lengthAddress,
    );
    return result < 0 ? 0 : (this.#option[1] as number) >>> 0;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ring.unmap();
    this.#messageBlock.free();
    closeFile(this.fd);
  }

  #linkMessages(burst: number): void {
    const vectorsAddress = addressOf(this.#vectors);
    for (let i = 0; i < burst; i++) {
      const at = i * (MESSAGE_SIZE / 4);
      const address = vectorsAddress + i * IOVEC_SIZE;
      this.#messages[at + 4] = address >>> 0;
      this.#messages[at + 5] = (address / 0x1_0000_0000) >>> 0;
      this.#messages[at + 6] = 1;
    }
  }

  #set(option: number, value: Int32Array | Uint8Array, what: string): void {
    const result = raw(cSetsockopt(this.fd, SOL_PACKET, option, addressOf(value), value.byteLength));
    if (result < 0) throw systemError(`setsockopt(${what})`, result);
  }

  #enlarge(option: number): void {
    const size = Int32Array.of(SOCKET_BUFFER_SIZE);
    cSetsockopt(this.fd, SOL_SOCKET, option, addressOf(size), 4);
  }
}

function mapAnywhere(fd: number, sizeBytes: number): RingMapping {
  const mapping = new FileMapping(fd, sizeBytes);
  return { buffer: mapping.buffer, byteOffset: 0, unmap: () => mapping.unmap() };
}
