// A virtio network card of a guest, over vhost-user: frames move between the guest's memory and the packet arena by
// one copyWithin each. QEMU may listen (dpdkvhostuserclient) or dial (dpdkvhostuser).
//
//   rx: ring 1 (guest transmit) ─► frames-from-guest.ts ─► publish once, call if wanted
//   tx: ring 0 (guest receive)  ◄─ frames-to-guest.ts, likewise
//
// Source: VIRTIO 1.2, 5.1.6. One queue pair, split rings, no offloads; the guest's virtio_net_hdr is read over.
// Invariants: nothing of a chain is kept across calls, so a guest may vanish between any two; indices are published
// only after the bytes. Thread: the datapath worker's. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { Epoll, UnixLink } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  TX_DROPPED,
} from "../../base/packet/index.js";
import {
  type GuestWindow,
  VHOST_USER_SEND_RARP,
  VhostUserBackend,
  type Virtqueue,
} from "../../base/virtio/index.js";
import { FramesFromGuest } from "./frames-from-guest.js";
import { FramesToGuest } from "./frames-to-guest.js";
import { rarpFrame } from "./rarp-frame.js";
import { MTU_MAX, MTU_MIN, NET_DEVICE, netFormat } from "./virtio-net-device.js";

export interface VhostUserPortOptions {
  readonly name: string;
  /** Its arena must be the window's: both sides of every copy lie in one array. */
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly path: string;
  /** "dial": QEMU listens (dpdkvhostuserclient). "listen": QEMU dials (dpdkvhostuser). */
  readonly role: "dial" | "listen";
  /** Permissions of the socket when listening; 0o600 when absent. */
  readonly mode?: number;
  /** Accept guest memory that could be truncated under us (hugetlbfs files, testpmd); only for trusted peers. */
  readonly allowUnsealed?: boolean;
}

const GUEST_RECEIVE = 0;
const GUEST_TRANSMIT = 1;
export class VhostUserPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  linkUp = false;
  readonly #options: VhostUserPortOptions;
  readonly #pool: PacketPool;
  readonly #fromGuest: FramesFromGuest;
  readonly #toGuest: FramesToGuest;
  readonly #epoll = new Epoll(8);
  readonly #link: UnixLink;
  #backend: VhostUserBackend | undefined = undefined;
  #receive: Virtqueue | undefined = undefined;
  #transmit: Virtqueue | undefined = undefined;
  #generation = -1;
  /** The MTU that the guest was told; 0: none. */
  #mtu = 0;
  /** A frame that the switch is to see as sent by the guest; undefined most of the time. */
  #announcement: Uint8Array | undefined = undefined;
  #closed = false;

  /** Throws SOCKET_PATH_TOO_LONG. */
  constructor(options: VhostUserPortOptions) {
    assert(options.pool.bytes.buffer === options.window.bytes.buffer, "packets and guests share one window");
    this.name = options.name;
    this.#options = options;
    this.#pool = options.pool;
    this.#fromGuest = new FramesFromGuest(options.pool, options.window, this.stats);
    this.#toGuest = new FramesToGuest(options.pool, options.window, this.stats);
    this.wakeFd = this.#epoll.fd;
    const { path, role, mode } = options;
    this.#link = new UnixLink({ path, role, epoll: this.#epoll, ...(mode === undefined ? {} : { mode }) });
  }

  /** Why the link is down, as far as known; empty when it is up. */
  get lastError(): string {
    return this.#link.lastError;
  }

  /** A sum of header words, of no meaning: it keeps the compiler from dropping the touching. */
  get touched(): number {
    return this.#fromGuest.touched;
  }

  rx(batch: Batch): number {
    if (this.#announcement !== undefined) return this.#announce(batch, this.#announcement);
    const queue = this.#transmit;
    if (queue === undefined) return 0;
    const waiting = queue.available();
    if (waiting === 0) return 0;
    const limit = Math.min(waiting, batch.capacity - batch.length, this.#pool.available);
    if (limit === 0) return 0;
    const count = this.#fromGuest.take(queue, batch, limit);
    if (queue.publish()) (this.#backend as VhostUserBackend).call(GUEST_TRANSMIT);
    return count;
  }

  tx(batch: Batch): void {
    const { stats } = this;
    const pool = this.#pool;
    const queue = this.#receive;
    if (queue === undefined || queue.available() === 0) {
      stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + batch.length;
      batch.freeAll(pool);
      return;
    }
    this.#toGuest.give(queue, batch);
    batch.freeAll(pool);
    if (queue.publish()) (this.#backend as VhostUserBackend).call(GUEST_RECEIVE);
  }

  tick(nowMs: number): void {
    if (this.#closed) return;
    if (this.#backend === undefined) {
      const fd = this.#link.poll(nowMs);
      if (fd < 0) return;
      const { window, allowUnsealed = false } = this.#options;
      const onRequest = (request: number, value: bigint): boolean => this.#request(request, value);
      const epoll = this.#epoll;
      this.#backend = new VhostUserBackend({
        fd,
        device: NET_DEVICE,
        window,
        epoll,
        allowUnsealed,
        onRequest,
      });
    }
    const backend = this.#backend;
    if (!backend.poll()) this.#disconnect(backend.closedReason ?? "closed");
    else if (backend.generation !== this.#generation) this.#refresh(backend);
    else if (this.linkUp) this.#lookForBroken(backend);
  }

  beginSleep(): boolean {
    if (this.#announcement !== undefined) return false;
    const queue = this.#transmit;
    if (queue === undefined) return true;
    if (!(this.#backend as VhostUserBackend).kicks(GUEST_TRANSMIT)) return false;
    queue.wantKicks(true);
    return queue.available() === 0;
  }

  endSleep(): void {
    this.#transmit?.wantKicks(false);
    // Kicks are edge-triggered: taking the events is what makes wakeFd quiet again.
    this.#epoll.wait(0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disconnect("closed");
    this.#link.close();
    this.#epoll.close();
  }

  #disconnect(reason: string): void {
    this.#backend?.close();
    this.#backend = undefined;
    this.#receive = undefined;
    this.#transmit = undefined;
    this.#generation = -1;
    this.#mtu = 0;
    this.#announcement = undefined;
    this.linkUp = false;
    this.#link.lost(reason);
  }

  /** Until the driver resets the device: only it can put its ring right. */
  #lookForBroken(backend: VhostUserBackend): void {
    for (let index = 0; index < backend.queues.length; index++) {
      if (backend.queues[index]?.broken !== true) continue;
      backend.reportBroken(index);
      this.linkUp = false;
      this.#link.lost("the driver broke its ring");
      return;
    }
  }

  /** What only network cards are asked. */
  #request(request: number, value: bigint): boolean {
    if (request === VHOST_USER_SEND_RARP) {
      // The first six bytes of a little-endian number.
      const mac = Uint8Array.from({ length: 6 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn)); // cold
      this.#announcement = rarpFrame(mac);
      return true;
    }
    if (value < MTU_MIN || value > MTU_MAX) return false;
    this.#mtu = Number(value);
    this.#generation = -1;
    return true;
  }

  /** Gives the switch a frame in the guest's name, so that it learns where the guest is now. */
  #announce(batch: Batch, frame: Uint8Array): number {
    if (batch.length === batch.capacity || this.#pool.available === 0) return 0;
    this.#announcement = undefined;
    batch.push(this.#pool.allocateFrom(frame));
    return 1;
  }

  /** The driver changed rings, memory or features. */
  #refresh(backend: VhostUserBackend): void {
    this.#generation = backend.generation;
    const format = netFormat(backend.features, this.#mtu);
    this.#fromGuest.use(format);
    this.#toGuest.use(format);
    const receive = backend.queues[GUEST_RECEIVE] as Virtqueue;
    const transmit = backend.queues[GUEST_TRANSMIT] as Virtqueue;
    this.#receive = receive.size > 0 && receive.enabled ? receive : undefined;
    this.#transmit = transmit.size > 0 && transmit.enabled ? transmit : undefined;
    this.linkUp = this.#receive !== undefined && this.#transmit !== undefined;
    if (this.linkUp) this.#link.settled();
  }
}
