// The back-end's side of a vhost-user connection as a state machine: receive(message, descriptors) → effects.
//
//   ring:  stopped ── SET_VRING_KICK (size, addresses known) ──► started ── GET_VRING_BASE ──► stopped
//          enabled from the start without PROTOCOL_FEATURES, else by SET_VRING_ENABLE
//
// Source: QEMU docs/interop/vhost-user.rst. Device specifics (feature bits, configuration space) are given.
// Invariant: every descriptor that comes in is in exactly one effect (mapMemory, startRing, setCall, closeFds);
// after a `close` effect the session takes no more messages. Pure: no I/O, no clock.
import {
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_GET_CONFIG,
  VHOST_USER_GET_FEATURES,
  VHOST_USER_GET_PROTOCOL_FEATURES,
  VHOST_USER_GET_QUEUE_NUM,
  VHOST_USER_GET_VRING_BASE,
  VHOST_USER_NEED_REPLY_FLAG,
  VHOST_USER_PROTOCOL_F_REPLY_ACK,
  VHOST_USER_REPLY_FLAG,
  VHOST_USER_RESET_OWNER,
  VHOST_USER_SEND_RARP,
  VHOST_USER_SET_CONFIG,
  VHOST_USER_SET_FEATURES,
  VHOST_USER_SET_LOG_BASE,
  VHOST_USER_SET_LOG_FD,
  VHOST_USER_SET_OWNER,
  VHOST_USER_SET_PROTOCOL_FEATURES,
  VHOST_USER_SET_VRING_BASE,
  VHOST_USER_SET_VRING_CALL,
  VHOST_USER_SET_VRING_ENABLE,
  VHOST_USER_SET_VRING_ERR,
  VHOST_USER_SET_VRING_KICK,
  VHOST_USER_SET_VRING_NUM,
  VHOST_USER_VERSION,
  VHOST_USER_VRING_INDEX_MASK,
  VHOST_USER_VRING_NO_FD,
  type VhostUserMessage,
  type VhostUserPayload,
  type VhostUserRegion,
} from "./vhost-user-wire.js";

export interface VhostUserDevice {
  /** Feature bits offered, without VHOST_USER_F_PROTOCOL_FEATURES, which the session adds. */
  readonly features: bigint;
  /** Protocol feature bits offered, without REPLY_ACK, which the session adds. */
  readonly protocolFeatures: bigint;
  readonly ringCount: number;
  /** Answer to GET_QUEUE_NUM: queue pairs for a net device, queues for a block device. */
  readonly queueCount: number;
  /** The configuration space, where the device has one. */
  readonly config?: Uint8Array;
}

export interface RingAddresses {
  /** Addresses in the front-end's process. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

export type VhostUserEffect =
  | { readonly kind: "reply"; readonly message: VhostUserMessage }
  /** The driver's choice; comes before any ring starts. */
  | { readonly kind: "features"; readonly features: bigint }
  /** Replaces all memory; running rings must be translated anew. `fds` in the order of `regions`. */
  | {
      readonly kind: "mapMemory";
      readonly regions: readonly VhostUserRegion[];
      readonly fds: readonly number[];
    }
  /** kickFd −1: the driver never kicks, poll. */
  | {
      readonly kind: "startRing";
      readonly index: number;
      readonly size: number;
      readonly base: number;
      readonly addresses: RingAddresses;
      readonly kickFd: number;
    }
  /** A running ring has moved; its indices stay. */
  | { readonly kind: "moveRing"; readonly index: number; readonly addresses: RingAddresses }
  /** Stop using the ring, close its kick descriptor, then (`answer`) send vringBaseReply. */
  | { readonly kind: "stopRing"; readonly index: number; readonly answer: boolean }
  /** fd −1: the driver wants no calls. The previous one is closed. */
  | { readonly kind: "setCall"; readonly index: number; readonly fd: number }
  | { readonly kind: "enableRing"; readonly index: number; readonly enabled: boolean }
  | { readonly kind: "closeFds"; readonly fds: readonly number[] }
  /** The peer broke the protocol. */
  | { readonly kind: "close"; readonly reason: string };

const RING_SIZE_MAX = 32768;
const NO_FDS: readonly number[] = [];

interface RingState {
  size: number;
  base: number;
  addresses: RingAddresses | undefined;
  started: boolean;
}

type Payload<Kind extends VhostUserPayload["kind"]> = Extract<VhostUserPayload, { kind: Kind }>;

export class VhostUserSession {
  readonly #device: VhostUserDevice;
  readonly #rings: RingState[] = [];
  #features = 0n;
  #protocolFeatures = 0n;
  #closed = false;
  #effects: VhostUserEffect[] = [];
  #fds: readonly number[] = NO_FDS;

  constructor(device: VhostUserDevice) {
    this.#device = device;
    for (let i = 0; i < device.ringCount; i++) {
      this.#rings.push({ size: 0, base: 0, addresses: undefined, started: false });
    }
  }

  /** What the peer sent, and the descriptors that came with it, to be carried out in order. */
  receive(message: VhostUserMessage, fds: readonly number[] = NO_FDS): VhostUserEffect[] {
    this.#effects = [];
    this.#fds = fds;
    if (this.#closed) this.#fail("message after the end");
    else this.#dispatch(message);
    if (this.#fds.length > 0) this.#emit({ kind: "closeFds", fds: this.#fds });
    if (!this.#closed && this.#wantsAck(message)) this.#reply(message.request, u64(0n));
    return this.#effects;
  }

  #dispatch(message: VhostUserMessage): undefined {
    const { request, payload } = message;
    if ((message.flags & VHOST_USER_REPLY_FLAG) !== 0) return this.#fail(`reply ${request} to no question`);
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
      case "config":
        return this.#config(request, payload);
      case "log":
        // Dirty logging is not offered; a front-end that asks all the same must not wait for ever.
        return this.#reply(VHOST_USER_SET_LOG_BASE, u64(0n));
      case "opaque":
        return this.#fail(`unknown request ${request}`);
    }
  }

  #simple(request: number): undefined {
    switch (request) {
      case VHOST_USER_GET_FEATURES:
        return this.#reply(request, u64(this.#offered));
      case VHOST_USER_GET_PROTOCOL_FEATURES:
        return this.#reply(request, u64(this.#offeredProtocol));
      case VHOST_USER_GET_QUEUE_NUM:
        return this.#reply(request, u64(BigInt(this.#device.queueCount)));
      case VHOST_USER_RESET_OWNER:
        return this.#stopAll();
      case VHOST_USER_SET_OWNER:
      case VHOST_USER_SET_LOG_FD:
        return;
      default:
        return this.#fail(`unknown request ${request}`);
    }
  }

  #value(request: number, value: bigint): undefined {
    switch (request) {
      case VHOST_USER_SET_FEATURES:
        if ((value & ~this.#offered) !== 0n)
          return this.#fail(`features 0x${value.toString(16)} not offered`);
        this.#features = value;
        return this.#emit({ kind: "features", features: value });
      case VHOST_USER_SET_PROTOCOL_FEATURES:
        if ((value & ~this.#offeredProtocol) !== 0n) {
          return this.#fail(`protocol features 0x${value.toString(16)} not offered`);
        }
        this.#protocolFeatures = value;
        return;
      case VHOST_USER_SET_VRING_KICK:
      case VHOST_USER_SET_VRING_CALL:
      case VHOST_USER_SET_VRING_ERR:
        return this.#vringFd(request, Number(value & 0xffffn));
      case VHOST_USER_SEND_RARP:
        return;
      default:
        return this.#fail(`unknown request ${request}`);
    }
  }

  #vringFd(request: number, value: number): undefined {
    const index = value & VHOST_USER_VRING_INDEX_MASK;
    const ring = this.#rings[index];
    if (ring === undefined) return this.#fail(`ring ${index} does not exist`);
    const without = (value & VHOST_USER_VRING_NO_FD) !== 0;
    if (!without && this.#fds.length !== 1) return this.#fail(`${this.#fds.length} descriptors, not 1`);
    if (request === VHOST_USER_SET_VRING_ERR) return;
    const fd = without ? -1 : this.#takeFds()[0]!;
    if (request === VHOST_USER_SET_VRING_CALL) return this.#emit({ kind: "setCall", index, fd });
    this.#start(index, ring, fd);
  }

  #start(index: number, ring: RingState, kickFd: number): undefined {
    const addresses = ring.addresses;
    if (ring.size === 0 || addresses === undefined) {
      if (kickFd >= 0) this.#emit({ kind: "closeFds", fds: [kickFd] });
      return this.#fail(`ring ${index} is kicked before its size and addresses are known`);
    }
    ring.started = true;
    this.#emit({ kind: "startRing", index, size: ring.size, base: ring.base, addresses, kickFd });
    const negotiated = (this.#features >> BigInt(VHOST_USER_F_PROTOCOL_FEATURES)) & 1n;
    if (negotiated === 0n) this.#emit({ kind: "enableRing", index, enabled: true });
  }

  #vringState(request: number, payload: Payload<"vringState">): undefined {
    const { index, num } = payload;
    const ring = this.#rings[index];
    if (ring === undefined) return this.#fail(`ring ${index} does not exist`);
    switch (request) {
      case VHOST_USER_SET_VRING_NUM:
        if (num === 0 || num > RING_SIZE_MAX || (num & (num - 1)) !== 0) {
          return this.#fail(`ring size ${num}`);
        }
        if (ring.started) return this.#fail(`size of running ring ${index} changed`);
        ring.size = num;
        return;
      case VHOST_USER_SET_VRING_BASE:
        if (num > 0xffff) return this.#fail(`ring base ${num}`);
        ring.base = num;
        return;
      case VHOST_USER_GET_VRING_BASE:
        ring.started = false;
        return this.#emit({ kind: "stopRing", index, answer: true });
      case VHOST_USER_SET_VRING_ENABLE:
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
    if (descriptors % 16 !== 0 || available % 2 !== 0 || used % 4 !== 0) {
      return this.#fail(`ring ${payload.index} is not aligned`);
    }
    ring.addresses = { descriptors, available, used };
    if (ring.started) {
      this.#emit({ kind: "moveRing", index: payload.index, addresses: ring.addresses });
    }
  }

  #memoryTable(regions: readonly VhostUserRegion[]): undefined {
    if (this.#fds.length !== regions.length) {
      return this.#fail(`${this.#fds.length} descriptors for ${regions.length} regions`);
    }
    this.#emit({ kind: "mapMemory", regions, fds: this.#takeFds() });
  }

  #config(request: number, payload: Payload<"config">): undefined {
    const config = this.#device.config;
    const { offset, bytes } = payload;
    if (request === VHOST_USER_SET_CONFIG) return;
    if (config === undefined || offset + bytes.byteLength > config.byteLength) {
      return this.#reply(VHOST_USER_GET_CONFIG, { ...payload, bytes: new Uint8Array(0) });
    }
    const answer = config.slice(offset, offset + bytes.byteLength);
    this.#reply(VHOST_USER_GET_CONFIG, { ...payload, bytes: answer });
  }

  #stopAll(): undefined {
    for (let index = 0; index < this.#rings.length; index++) {
      const ring = this.#rings[index]!;
      if (ring.started) this.#emit({ kind: "stopRing", index, answer: false });
      ring.started = false;
    }
  }

  get #offered(): bigint {
    return this.#device.features | (1n << BigInt(VHOST_USER_F_PROTOCOL_FEATURES));
  }

  get #offeredProtocol(): bigint {
    return this.#device.protocolFeatures | (1n << BigInt(VHOST_USER_PROTOCOL_F_REPLY_ACK));
  }

  #wantsAck(message: VhostUserMessage): boolean {
    if ((message.flags & VHOST_USER_NEED_REPLY_FLAG) === 0) return false;
    if (((this.#protocolFeatures >> BigInt(VHOST_USER_PROTOCOL_F_REPLY_ACK)) & 1n) === 0n) return false;
    // A request with an answer of its own gets only that one.
    return (
      message.request !== VHOST_USER_GET_VRING_BASE &&
      !this.#effects.some((effect) => effect.kind === "reply" && effect.message.request === message.request)
    );
  }

  #takeFds(): readonly number[] {
    const fds = this.#fds;
    this.#fds = NO_FDS;
    return fds;
  }

  #reply(request: number, payload: VhostUserPayload): undefined {
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

const REPLY_FLAGS = VHOST_USER_VERSION | VHOST_USER_REPLY_FLAG;

/** The answer to GET_VRING_BASE: `base` is the index of the next descriptor chain that would have been taken. */
export function vringBaseReply(index: number, base: number): VhostUserMessage {
  return {
    request: VHOST_USER_GET_VRING_BASE,
    flags: REPLY_FLAGS,
    payload: { kind: "vringState", index, num: base },
  };
}

function u64(value: bigint): VhostUserPayload {
  return { kind: "u64", value };
}
