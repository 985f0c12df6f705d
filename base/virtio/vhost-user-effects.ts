// What a vhost-user session is told about its device, and what it asks its owner to do.
// Source: QEMU docs/interop/vhost-user.rst. Pure: types only.
import type { VhostUserInflight, VhostUserMessage, VhostUserRegion } from "./vhost-user-wire.js";

export interface VhostUserDevice {
  /** Feature bits offered, without VHOST_USER_F_PROTOCOL_FEATURES, which the session adds. */
  readonly features: bigint;
  /** Protocol feature bits offered that this kind of device needs; the session adds those of every device. */
  readonly protocolFeatures: bigint;
  readonly ringCount: number;
  /** Answer to GET_QUEUE_NUM: queue pairs for a net device, queues for a block device. */
  readonly queueCount: number;
  /** The configuration space, where the device has one; read anew each time that the front-end asks for it. */
  readonly config?: Uint8Array;
  /** Requests with a u64 that only this kind of device has, and the protocol feature bit that each needs. */
  readonly requests?: ReadonlyMap<number, number>;
}

export interface RingAddresses {
  /** Addresses in the front-end's process. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** Guest address under which writes to the used ring are marked in the dirty log; −1: they are not. */
  readonly usedLog: number;
}

export type VhostUserEffect =
  | { readonly kind: "reply"; readonly message: VhostUserMessage }
  /** Answer 0, or 1 when what this message asked for failed; the last effect of a message that wants it. */
  | { readonly kind: "acknowledge"; readonly request: number }
  /** Answer GET_STATUS. */
  | { readonly kind: "replyStatus"; readonly status: number }
  /** The driver's choice; comes before any ring starts. */
  | { readonly kind: "features"; readonly features: bigint }
  /** Replaces all memory; running rings must be translated anew. `fds` in the order of `regions`. */
  | {
      readonly kind: "mapMemory";
      readonly regions: readonly VhostUserRegion[];
      readonly fds: readonly number[];
    }
  /** One region more. When it is refused all else stays, if the front-end hears of it (`acknowledged`). */
  | {
      readonly kind: "addRegion";
      readonly region: VhostUserRegion;
      readonly fd: number;
      readonly acknowledged: boolean;
    }
  /** One region less; running rings must be translated anew. */
  | { readonly kind: "removeRegion"; readonly region: VhostUserRegion; readonly acknowledged: boolean }
  /** Writes are marked from now on, if the features say so. */
  | { readonly kind: "openLog"; readonly fd: number; readonly fileOffset: number; readonly sizeBytes: number }
  /** Where to tell that something was marked; the previous one is closed. */
  | { readonly kind: "setLogFd"; readonly fd: number }
  /** Make memory for this many queues and answer with it. */
  | { readonly kind: "createInflight"; readonly queueCount: number; readonly queueSize: number }
  /** Track what is in flight here, from the next start of each ring on. */
  | { readonly kind: "openInflight"; readonly inflight: VhostUserInflight; readonly fd: number }
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
  /**
   * Stop using the ring, close its kick descriptor, then (`answer`) send vringBaseReply. `base`: what is answered for a
   * ring that did not run.
   */
  | { readonly kind: "stopRing"; readonly index: number; readonly answer: boolean; readonly base: number }
  /** fd −1: the driver wants no calls. The previous one is closed. */
  | { readonly kind: "setCall"; readonly index: number; readonly fd: number }
  /** Where to tell that the ring is broken; fd −1: nowhere. The previous one is closed. */
  | { readonly kind: "setError"; readonly index: number; readonly fd: number }
  | { readonly kind: "enableRing"; readonly index: number; readonly enabled: boolean }
  /** One of the device's own requests; when the device refuses, so does the acknowledgement. */
  | { readonly kind: "deviceRequest"; readonly request: number; readonly value: bigint }
  /** A write to the configuration space; when the device refuses, so does the acknowledgement. */
  | { readonly kind: "setConfig"; readonly offset: number; readonly bytes: Uint8Array }
  /** Where the back-end may speak by itself; the previous one is closed. */
  | { readonly kind: "setBackendChannel"; readonly fd: number }
  | { readonly kind: "closeFds"; readonly fds: readonly number[] }
  /** The peer broke the protocol. */
  | { readonly kind: "close"; readonly reason: string };

/** What the device must have nothing under way for. */
export const MOVING: ReadonlySet<VhostUserEffect["kind"]> = new Set<VhostUserEffect["kind"]>([
  "features",
  "mapMemory",
  "removeRegion",
  "openInflight",
  "startRing",
  "moveRing",
  "stopRing",
]);

/** What rings that another thread works on have nothing to do with. All else waits until they are back. */
export const LEAVES_LOANS: ReadonlySet<VhostUserEffect["kind"]> = new Set<VhostUserEffect["kind"]>([
  "reply",
  "acknowledge",
  "replyStatus",
  "createInflight",
  "setConfig",
  "closeFds",
]);
