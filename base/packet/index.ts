// Packets and ports: the pool, the batch, the Port contract and the ports that need no operating system.
export { Batch } from "./batch.js";
export { completeChecksum, primeChecksum } from "./checksum-offload.js";
export { Coalescer } from "./coalescing.js";
export { type Faults, FaultyPort, type FaultyPortOptions } from "./faulty-port.js";
export { bytesOf, type HandedPort, HandedReader, handedInvalid, textOf } from "./handed-port.js";
export {
  ARENA_SIZE_MAX,
  BATCH_SIZE,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  HEADROOM,
  LARGE_FRAME_SIZE_MAX,
  LARGE_SLOT_SIZE,
  POOL_LARGE_SLOTS,
  POOL_SLOTS,
  SLOT_SIZE,
} from "./limits.js";
export { MemoryPort, type MemoryPortOptions } from "./memory-port.js";
export { arenaSizeOf, PacketPool, type PacketPoolOptions, sharedPoolSize } from "./packet-pool.js";
export { encodePcapHeader, encodePcapRecord, type PcapRecord, parsePcap } from "./pcap-wire.js";
export {
  encodeInterface,
  encodePacket,
  encodeSection,
  encodeStatistics,
  type FrameDirection,
  PCAPNG_BLOCK_SIZE_MAX,
  PCAPNG_INTERFACE,
  PCAPNG_INTERFACE_STATISTICS,
  PCAPNG_PACKET,
  PCAPNG_SECTION_HEADER,
  type PcapngBlock,
  type PcapngInterface,
  type PcapngPacket,
  type PcapngStatistics,
  parseBlock,
  parseStatistics,
} from "./pcapng-wire.js";
export {
  createPortCounters,
  PORT_STATS_LENGTH,
  type Port,
  type PortCounters,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "./port.js";
export { forEachWireFrame, Segmenter } from "./segmentation.js";
export { SlotRing } from "./slot-ring.js";
export { STREAM_FRAME_SIZE_MAX, StreamPort, type StreamPortOptions } from "./stream-port.js";
export {
  NET_HEADER_SIZE,
  OFFLOAD_ALL,
  OFFLOAD_CHECKSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_USO,
  offloadNeeded,
  readNetHeader,
  wireLength,
  writeNetHeader,
} from "./virtio-net-header.js";
export { createWindowPool, type WindowPool } from "./window-pool.js";
export { isSumRight, swapped, WordSum } from "./word-sum.js";
