// The door to Linux: everything that needs a system call Node does not offer.

export { AesXts, hasAesXts, XTS_KEY_SIZE } from "./aes-xts.js";
export { bootId } from "./boot-id.js";
export { cachedPages } from "./cache-stat.js";
export { type Crc32c, loadCrc32c } from "./crc32c.js";
export {
  check,
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EINTR,
  EINVAL,
  EIO,
  ENETDOWN,
  ENOBUFS,
  ENODEV,
  ENOENT,
  ENOSPC,
  EOPNOTSUPP,
  EPIPE,
  errnoName,
  systemError,
} from "./errno.js";
export * from "./event.js";
export { exitNow } from "./exit.js";
export { addressOf } from "./ffi.js";
export * from "./file.js";
export * from "./huge-pages.js";
export * from "./io-uring.js";
export * from "./lock-file.js";
export * from "./memory.js";
export { createMonotonicClock, type PolledClock } from "./monotonic-clock.js";
export {
  IFF_RUNNING,
  IFF_UP,
  isInterfaceName,
  type NetDeviceState,
  NetDevices,
  withNetDevices,
} from "./net-device.js";
export * from "./owner.js";
export * from "./packet-socket.js";
export { beforeOthers } from "./precedence.js";
export * from "./probe.js";
export { avoidProcessors, pinThread, processorsOf, yieldProcessor } from "./processor.js";
export * from "./provided-buffers.js";
export * from "./raw-ip.js";
export * from "./socket-dial.js";
export { changeSocketMode, giveSocketFile } from "./socket-file.js";
export { SocketMessage } from "./socket-message.js";
export * from "./tap.js";
export * from "./tcp-socket.js";
export {
  createThreadLedger,
  keepThreadLedger,
  noteDescriptor,
  strikeDescriptor,
} from "./thread-ledger.js";
export { releaseRemains } from "./thread-remains.js";
export * from "./unix-link.js";
export * from "./unix-socket.js";
export * from "./xdp-program.js";
export { receiverOf, XDP_MEMORY_SIZE, XdpReceiver, type XdpShare } from "./xdp-receiver.js";
export * from "./xdp-socket.js";
