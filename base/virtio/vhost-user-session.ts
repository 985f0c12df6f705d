// The back-end's side of a vhost-user connection as a state machine: receive(message, descriptors) → effects.
//
//   ring:  stopped ── SET_VRING_KICK (size, addresses known) ──► started ── GET_VRING_BASE ──► stopped
//          enabled from the start without PROTOCOL_FEATURES, else by SET_VRING_ENABLE
//
// Source: QEMU docs/interop/vhost-user.rst. Device specifics (feature bits, configuration space) are given.
// Invariant: every descriptor that comes in is in exactly one effect (mapMemory, addRegion, startRing, setCall,
// setError, openLog, setLogFd, openInflight, setBackendChannel, closeFds); after a `close` effect the session takes no
// more messages. Pure: no I/O, no clock.
import { GUEST_REGIONS_MAX } from "./guest-memory.js";
import type { RingAddresses, VhostUserDevice, VhostUserEffect } from "./vhost-user-effects.js";
import * as wire from "./vhost-user-wire.js";

const RING_SIZE_MAX = 32768;
const NO_FDS: readonly number[] = [];

/** Protocol features that need nothing of the device. */
const COMMON_PROTOCOL_FEATURES = [
  wire.VHOST_USER_PROTOCOL_F_REPLY_ACK,
  wire.VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
  wire.VHOST_USER_PROTOCOL_F_RESET_DEVICE,
  wire.VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
  wire.VHOST_USER_PROTOCOL_F_STATUS,
].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

/** What a front-end has told of one ring. */
interface RingState {
  size: number;
  base: number;
  addresses: RingAddresses | undefined;
  started: boolean;
}

/** Everything that was agreed, but for memory and descriptors. */
export interface VhostUserAgreed {
  readonly features: bigint;
  readonly protocolFeatures: bigint;
  readonly status: number;
  readonly rings: readonly Readonly<RingState>[];
}

type Payload<Kind extends wire.VhostUserPayload["kind"]> = Extract<wire.VhostUserPayload, { kind: Kind }>;

export class VhostUserSession {
  readonly #device: VhostUserDevice;
  readonly #rings: RingState[] = [];
  #features = 0n;
  #protocolFeatures = 0n;
  #status = 0;
  #acknowledge = false;
  #closed = false;
  #effects: VhostUserEffect[] = [];
  #fds: readonly number[] = NO_FDS;

  constructor(device: VhostUserDevice) {
    this.#device = device;
    for (let i = 0; i < device.ringCount; i++) {
      this.#rings.push({ size: 0, base: 0, addresses: undefined, started: false });
    }
  }

  /** What was agreed so far. */
  get agreed(): VhostUserAgreed {
    const [features, protocolFeatures, status] = [this.#features, this.#protocolFeatures, this.#status];
    return { features, protocolFeatures, status, rings: this.#rings };
  }

  /** Ring `index` was stopped there: so a front-end that asks again is told, and so it starts if nobody says otherwise. */
  stoppedAt(index: number, base: number): void {
    this.#rings[index]!.base = base;
  }

  /** What the peer sent, and the descriptors that came with it, to be carried out in order. */
  receive(message: wire.VhostUserMessage, fds: readonly number[] = NO_FDS): VhostUserEffect[] {
    this.#effects = [];
    this.#fds = fds;
    this.#acknowledge = this.#wantsAck(message);
    if (this.#closed) this.#fail("message after the end");
    else this.#dispatch(message);
    if (this.#fds.length > 0) this.#emit({ kind: "closeFds", fds: this.#fds });
    // SET_PROTOCOL_FEATURES itself may be what brings acknowledgements.
    if (this.#wantsAck(message)) this.#emit({ kind: "acknowledge", request: message.request });
    return this.#effects;
  }

  #dispatch(message: wire.VhostUserMessage): undefined {
    const { request, payload } = message;
    if ((message.flags & wire.VHOST_USER_REPLY_FLAG) !== 0)
      return this.#fail(`reply ${request} to no question`);
    switch (payload.kind) {
      case "none":
        return this.#simple(request);
      case "u64":
        return this.#value(request, payload.value);
      case "vringState":
        return this.#vringState(request, payload);
      case "vringAddress":
        return this.#vringAddress(payload);
      case "memoryTable":
        return this.#memoryTable(payload.regions);
      case "memoryRegion":
        return this.#memoryRegion(request, payload.region);
      case "config":
        return this.#config(request, payload);
      case "log":
        return this.#log(payload);
      case "inflight":
        return this.#inflight(request, payload.inflight);
      case "opaque":
        return this.#fail(`unknown request ${request}`);
    }
  }

  #simple(request: number): undefined {
    switch (request) {
      case wire.VHOST_USER_GET_FEATURES:
        return this.#reply(request, u64(this.#offered));
      case wire.VHOST_USER_GET_PROTOCOL_FEATURES:
        return this.#reply(request, u64(this.#offeredProtocol));
      case wire.VHOST_USER_GET_QUEUE_NUM:
        return this.#reply(request, u64(BigInt(this.#device.queueCount)));
      case wire.VHOST_USER_RESET_OWNER:
        return this.#disableAll();
      case wire.VHOST_USER_RESET_DEVICE:
        return this.#reset();
      case wire.VHOST_USER_GET_MAX_MEM_SLOTS:
        return this.#reply(request, u64(BigInt(GUEST_REGIONS_MAX)));
      case wire.VHOST_USER_GET_STATUS:
        return this.#emit({ kind: "replyStatus", status: this.#status });
      case wire.VHOST_USER_SET_LOG_FD:
        if (this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
        return this.#emit({ kind: "setLogFd", fd: this.#takeFds()[0]! });
      case wire.VHOST_USER_SET_BACKEND_REQ_FD:
        if (!this.#negotiated(wire.VHOST_USER_PROTOCOL_F_BACKEND_REQ)) {
          return this.#fail("a back-end channel without BACKEND_REQ");
        }
        if (this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
        return this.#emit({ kind: "setBackendChannel", fd: this.#takeFds()[0]! });
      case wire.VHOST_USER_SET_OWNER:
        return;
      default:
        return this.#fail(`unknown request ${request}`);
    }
  }

  #value(request: number, value: bigint): undefined {
    switch (request) {
      case wire.VHOST_USER_SET_FEATURES:
        return this.#setFeatures(value);
      case wire.VHOST_USER_SET_PROTOCOL_FEATURES:
        if ((value & ~this.#offeredProtocol) !== 0n) {
          return this.#fail(`protocol features 0x${value.toString(16)} not offered`);
        }
        this.#protocolFeatures = value;
        return;
      case wire.VHOST_USER_SET_VRING_KICK:
      case wire.VHOST_USER_SET_VRING_CALL:
      case wire.VHOST_USER_SET_VRING_ERR:
        return this.#vringFd(request, Number(value & 0xffffn));
      case wire.VHOST_USER_SET_STATUS:
        if (value > 0xffn) return this.#fail(`device status 0x${value.toString(16)}`);
        this.#status = Number(value);
        return value === 0n ? this.#reset() : undefined;
      default:
        return this.#deviceRequest(request, value);
    }
  }

  #setFeatures(features: bigint): undefined {
    if ((features & ~this.#offered) !== 0n)
      return this.#fail(`features 0x${features.toString(16)} not offered`);
    const before = this.#packed;
    this.#features = features;
    if (this.#packed !== before && this.#rings.some((ring) => ring.started)) {
      return this.#fail("the layout of running rings changed");
    }
    this.#emit({ kind: "features", features });
  }

  #deviceRequest(request: number, value: bigint): undefined {
    const feature = this.#device.requests?.get(request);
    if (feature === undefined) return this.#fail(`unknown request ${request}`);
    if (!this.#negotiated(feature)) {
      return this.#fail(`request ${request} without protocol feature ${feature}`);
    }
    this.#emit({ kind: "deviceRequest", request, value });
  }

  #vringFd(request: number, value: number): undefined {
    const index = value & wire.VHOST_USER_VRING_INDEX_MASK;
    const ring = this.#rings[index];
    if (ring === undefined) return this.#fail(`ring ${index} does not exist`);
    const without = (value & wire.VHOST_USER_VRING_NO_FD) !== 0;
    if (!without && this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
    const fd = without ? -1 : this.#takeFds()[0]!;
    if (request === wire.VHOST_USER_SET_VRING_CALL) return this.#emit({ kind: "setCall", index, fd });
    if (request === wire.VHOST_USER_SET_VRING_ERR) return this.#emit({ kind: "setError", index, fd });
    this.#start(index, ring, fd);
  }

  #start(index: number, ring: RingState, kickFd: number): undefined {
    const addresses = ring.addresses;
    if (addresses === undefined || !isRingSize(ring.size, this.#packed)) {
      if (kickFd >= 0) this.#emit({ kind: "closeFds", fds: [kickFd] });
      return this.#fail(`ring ${index} of size ${ring.size} is kicked before size and addresses are right`);
    }
    ring.started = true;
    this.#emit({ kind: "startRing", index, size: ring.size, base: ring.base, addresses, kickFd });
    const negotiated = (this.#features >> BigInt(wire.VHOST_USER_F_PROTOCOL_FEATURES)) & 1n;
    if (negotiated === 0n) this.#emit({ kind: "enableRing", index, enabled: true });
  }

  #vringState(request: number, payload: Payload<"vringState">): undefined {
    const { index, num } = payload;
    const ring = this.#rings[index];
    if (ring === undefined) return this.#fail(`ring ${index} does not exist`);
    switch (request) {
      case wire.VHOST_USER_SET_VRING_NUM:
        if (!isRingSize(num, this.#packed)) return this.#fail(`ring size ${num}`);
        if (ring.started) return this.#fail(`size of running ring ${index} changed`);
        ring.size = num;
        return;
      case wire.VHOST_USER_SET_VRING_BASE:
        if (num > 0xffff && !this.#packed) return this.#fail(`ring base ${num}`);
        ring.base = num;
        return;
      case wire.VHOST_USER_GET_VRING_BASE:
        ring.started = false;
        return this.#emit({ kind: "stopRing", index, answer: true, base: ring.base });
      case wire.VHOST_USER_SET_VRING_ENABLE:
        if (num > 1) return this.#fail(`ring enable ${num}`);
        return this.#emit({ kind: "enableRing", index, enabled: num === 1 });
      default:
        return this.#fail(`unknown request ${request}`);
    }
  }

  #vringAddress(payload: Payload<"vringAddress">): undefined {
    const ring = this.#rings[payload.index];
    if (ring === undefined) return this.#fail(`ring ${payload.index} does not exist`);
    const { descriptors, available, used } = payload;
    const usedLog = (payload.flags & wire.VHOST_VRING_F_LOG) === 0 ? -1 : payload.log;
    if (descriptors % 16 !== 0 || available % (this.#packed ? 4 : 2) !== 0 || used % 4 !== 0) {
      return this.#fail(`ring ${payload.index} is not aligned`);
    }
    ring.addresses = { descriptors, available, used, usedLog };
    if (ring.started) {
      this.#emit({ kind: "moveRing", index: payload.index, addresses: ring.addresses });
    }
  }

  #memoryTable(regions: readonly wire.VhostUserRegion[]): undefined {
    if (this.#fds.length !== regions.length) {
      return this.#fail(`${this.#fds.length} descriptors for ${regions.length} regions`);
    }
    this.#emit({ kind: "mapMemory", regions, fds: this.#takeFds() });
  }

  #memoryRegion(request: number, region: wire.VhostUserRegion): undefined {
    const acknowledged = this.#acknowledge;
    // Some front-ends send the descriptor along with a removal; it is closed unused.
    if (request === wire.VHOST_USER_REM_MEM_REG) {
      return this.#emit({ kind: "removeRegion", region, acknowledged });
    }
    if (this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
    this.#emit({ kind: "addRegion", region, fd: this.#takeFds()[0]!, acknowledged });
  }

  #log({ sizeBytes, offset }: Payload<"log">): undefined {
    if (!this.#negotiated(wire.VHOST_USER_PROTOCOL_F_LOG_SHMFD)) {
      return this.#fail("a dirty log without LOG_SHMFD");
    }
    if (this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
    this.#emit({ kind: "openLog", fd: this.#takeFds()[0]!, fileOffset: offset, sizeBytes });
    this.#emit({ kind: "acknowledge", request: wire.VHOST_USER_SET_LOG_BASE });
  }

  #inflight(request: number, inflight: wire.VhostUserInflight): undefined {
    const { queueCount, queueSize } = inflight;
    if (!this.#negotiated(wire.VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)) {
      return this.#fail("inflight tracking without INFLIGHT_SHMFD");
    }
    if (queueCount === 0 || queueCount > this.#device.ringCount || !isRingSize(queueSize, this.#packed)) {
      return this.#fail(`inflight tracking of ${queueCount} queues of size ${queueSize}`);
    }
    if (request === wire.VHOST_USER_GET_INFLIGHT_FD) {
      return this.#emit({ kind: "createInflight", queueCount, queueSize });
    }
    if (this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
    this.#emit({ kind: "openInflight", inflight, fd: this.#takeFds()[0]! });
  }

  #config(request: number, payload: Payload<"config">): undefined {
    const config = this.#device.config;
    const { offset, bytes } = payload;
    if (request === wire.VHOST_USER_SET_CONFIG) {
      if (config === undefined || !this.#negotiated(wire.VHOST_USER_PROTOCOL_F_CONFIG)) return;
      return this.#emit({ kind: "setConfig", offset, bytes });
    }
    if (config === undefined || offset + bytes.byteLength > config.byteLength) {
      return this.#reply(wire.VHOST_USER_GET_CONFIG, { ...payload, bytes: new Uint8Array(0) });
    }
    const answer = config.slice(offset, offset + bytes.byteLength);
    this.#reply(wire.VHOST_USER_GET_CONFIG, { ...payload, bytes: answer });
  }

  /** RESET_OWNER is deprecated; all that it may do is this. */
  #disableAll(): undefined {
    for (let index = 0; index < this.#rings.length; index++) {
      this.#emit({ kind: "enableRing", index, enabled: false });
    }
  }

  /** Back to where a driver starts. Memory and protocol features belong to the front-end and stay. */
  #reset(): undefined {
    this.#disableAll();
    for (let index = 0; index < this.#rings.length; index++) {
      const ring = this.#rings[index]!;
      if (ring.started) this.#emit({ kind: "stopRing", index, answer: false, base: 0 });
      this.#rings[index] = { size: 0, base: 0, addresses: undefined, started: false };
    }
    this.#status = 0;
    this.#features = 0n;
    this.#emit({ kind: "features", features: 0n });
  }

  get #offered(): bigint {
    return this.#device.features | (1n << BigInt(wire.VHOST_USER_F_PROTOCOL_FEATURES));
  }

  get #offeredProtocol(): bigint {
    return this.#device.protocolFeatures | COMMON_PROTOCOL_FEATURES;
  }

  get #packed(): boolean {
    return ((this.#features >> BigInt(wire.VIRTIO_F_RING_PACKED)) & 1n) === 1n;
  }

  #negotiated(protocolFeature: number): boolean {
    return ((this.#protocolFeatures >> BigInt(protocolFeature)) & 1n) === 1n;
  }

  #wantsAck({ request, flags }: wire.VhostUserMessage): boolean {
    if ((flags & wire.VHOST_USER_NEED_REPLY_FLAG) === 0) return false;
    return this.#negotiated(wire.VHOST_USER_PROTOCOL_F_REPLY_ACK) && !wire.hasOwnReply(request);
  }

  #takeFds(): readonly number[] {
    const fds = this.#fds;
    this.#fds = NO_FDS;
    return fds;
  }

  #reply(request: number, payload: wire.VhostUserPayload): undefined {
    this.#emit({ kind: "reply", message: { request, flags: REPLY_FLAGS, payload } });
  }

  #fail(reason: string): undefined {
    this.#closed = true;
    this.#emit({ kind: "close", reason });
  }

  #emit(effect: VhostUserEffect): undefined {
    this.#effects.push(effect);
  }
}

function isRingSize(value: number, packed: boolean): boolean {
  return value > 0 && value <= RING_SIZE_MAX && (packed || (value & (value - 1)) === 0);
}

const REPLY_FLAGS = wire.VHOST_USER_VERSION | wire.VHOST_USER_REPLY_FLAG;

/** The answer to GET_VRING_BASE: `base` is where the next descriptor chain would have been taken; see Virtqueue. */
export function vringBaseReply(index: number, base: number): wire.VhostUserMessage {
  return {
    request: wire.VHOST_USER_GET_VRING_BASE,
    flags: REPLY_FLAGS,
    payload: { kind: "vringState", index, num: base },
  };
}

/** An answer of one u64. */
/** To the front-end: the configuration space is another one. */
export const CONFIG_CHANGE: wire.VhostUserMessage = {
  request: wire.VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
  flags: wire.VHOST_USER_VERSION,
  payload: { kind: "opaque", bytes: new Uint8Array() },
};

export function u64Reply(request: number, value: bigint): wire.VhostUserMessage {
  return { request, flags: REPLY_FLAGS, payload: u64(value) };
}

/** The answer to GET_INFLIGHT_FD; the descriptor goes along. */
export function inflightReply(inflight: wire.VhostUserInflight): wire.VhostUserMessage {
  return {
    request: wire.VHOST_USER_GET_INFLIGHT_FD,
    flags: REPLY_FLAGS,
    payload: { kind: "inflight", inflight },
  };
}

function u64(value: bigint): wire.VhostUserPayload {
  return { kind: "u64", value };
}
