// A vhost-user connection goes to another process without its front-end noticing: the back-end that has it writes down,
// as the messages that a front-end would have to send, everything that was agreed; the other one receives them as any
// message, through the same checks, answers none of them, and goes on with the same socket.
//
//   SET_PROTOCOL_FEATURES · SET_FEATURES · SET_STATUS · SET_LOG_* · ADD_MEM_REG … · SET_INFLIGHT_FD
//   for each ring: NUM · BASE · ADDR · CALL · ERR · KICK · ENABLE
//
// Source: QEMU docs/interop/vhost-user.rst. Pure. Descriptors are named, not moved.
import type { VhostUserAgreed } from "./vhost-user-session.js";
import type { MessageWithFds } from "./vhost-user-socket.js";
import * as wire from "./vhost-user-wire.js";

/** A connection as it is handed over. */
export interface HandedVhostUser {
  /** The connected socket. */
  readonly fd: number;
  readonly messages: readonly MessageWithFds[];
  /** What has been read of the next message. */
  readonly begun: MessageWithFds;
}

/** What the back-end knows beside what the session does. */
export interface HeldDescriptors {
  readonly regions: readonly { readonly region: wire.VhostUserRegion; readonly fd: number }[];
  readonly inflight: { readonly inflight: wire.VhostUserInflight; readonly fd: number } | undefined;
  readonly log: { readonly fd: number; readonly fileOffset: number; readonly sizeBytes: number } | undefined;
  /** −1: none. */
  readonly logFd: number;
  /** By ring; −1: none. `base`: where it goes on, of a ring that runs. */
  readonly rings: readonly {
    readonly kickFd: number;
    readonly callFd: number;
    readonly errorFd: number;
    readonly base: number;
    readonly enabled: boolean;
    readonly discarding: boolean;
  }[];
}

/** The messages that bring another back-end to where this one is. */
export function describeConnection(agreed: VhostUserAgreed, held: HeldDescriptors): MessageWithFds[] {
  const { features, protocolFeatures, status } = agreed;
  const u64 = (value: bigint): wire.VhostUserPayload => ({ kind: "u64", value });
  const messages: MessageWithFds[] = [];
  const tell = (request: number, payload: wire.VhostUserPayload, fds: readonly number[] = []): void => {
    const bytes = wire.encodeVhostUserMessage({ request, flags: wire.VHOST_USER_VERSION, payload });
    messages.push({ bytes, fds });
  };
  if (protocolFeatures !== 0n) tell(wire.VHOST_USER_SET_PROTOCOL_FEATURES, u64(protocolFeatures));
  if (features !== 0n) tell(wire.VHOST_USER_SET_FEATURES, u64(features));
  if (status !== 0) tell(wire.VHOST_USER_SET_STATUS, u64(BigInt(status)));
  if (held.log !== undefined) {
    const { sizeBytes, fileOffset: offset, fd } = held.log;
    tell(wire.VHOST_USER_SET_LOG_BASE, { kind: "log", sizeBytes, offset }, [fd]);
  }
  if (held.logFd >= 0) tell(wire.VHOST_USER_SET_LOG_FD, { kind: "none" }, [held.logFd]);
  for (const { region, fd } of held.regions)
    tell(wire.VHOST_USER_ADD_MEM_REG, { kind: "memoryRegion", region }, [fd]);
  if (held.inflight !== undefined) {
    const { inflight, fd } = held.inflight;
    tell(wire.VHOST_USER_SET_INFLIGHT_FD, { kind: "inflight", inflight }, [fd]);
  }
  agreed.rings.forEach(({ size, base, addresses, started }, index) => {
    const { kickFd, callFd, errorFd, enabled, discarding, ...ring } = held.rings[index]!;
    const state = (num: number): wire.VhostUserPayload => ({ kind: "vringState", index, num });
    const tellFd = (request: number, fd: number): void =>
      fd >= 0
        ? tell(request, u64(BigInt(index)), [fd])
        : tell(request, u64(BigInt(index | wire.VHOST_USER_VRING_NO_FD)));
    if (size !== 0) tell(wire.VHOST_USER_SET_VRING_NUM, state(size));
    tell(wire.VHOST_USER_SET_VRING_BASE, state(started ? ring.base : base));
    if (addresses !== undefined) {
      const { usedLog, ...places } = addresses;
      const flags = usedLog < 0 ? 0 : wire.VHOST_VRING_F_LOG;
      const log = Math.max(0, usedLog);
      tell(wire.VHOST_USER_SET_VRING_ADDR, { kind: "vringAddress", index, flags, log, ...places });
    }
    if (callFd >= 0) tellFd(wire.VHOST_USER_SET_VRING_CALL, callFd);
    if (errorFd >= 0) tellFd(wire.VHOST_USER_SET_VRING_ERR, errorFd);
    if (started) tellFd(wire.VHOST_USER_SET_VRING_KICK, kickFd);
    if (enabled || discarding) tell(wire.VHOST_USER_SET_VRING_ENABLE, state(enabled ? 1 : 0));
  });
  return messages;
}
