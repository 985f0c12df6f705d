// A virtio block device on the wire: requests, features, configuration space. Little-endian.
//
//   request:  readable: u32 type │ u32 reserved │ u64 sector │ data …      writable: data … │ u8 status
//   DISCARD and WRITE_ZEROES data:  n × { u64 sector │ u32 sectors │ u32 flags }
//
// Source: VIRTIO 1.2, 5.2 (block device); virtio_blk_config in 5.2.4. Pure. Thread: any.
import { setUint64 } from "../../base/bytes/index.js";
import { BLOCK_SIZE } from "../limits.js";

export const SECTOR_SIZE = 512;
export const REQUEST_HEAD_SIZE = 16;
export const RANGE_SIZE = 16;
export const DEVICE_ID_SIZE = 20;

export const VIRTIO_BLK_T_IN = 0;
export const VIRTIO_BLK_T_OUT = 1;
export const VIRTIO_BLK_T_FLUSH = 4;
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;

export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

export const VIRTIO_BLK_RANGE_UNMAP = 1;

export const VIRTIO_BLK_F_SEG_MAX = 2;
export const VIRTIO_BLK_F_RO = 5;
export const VIRTIO_BLK_F_BLK_SIZE = 6;
export const VIRTIO_BLK_F_FLUSH = 9;
export const VIRTIO_BLK_F_TOPOLOGY = 10;
export const VIRTIO_BLK_F_CONFIG_WCE = 11;
export const VIRTIO_BLK_F_MQ = 12;
export const VIRTIO_BLK_F_DISCARD = 13;
export const VIRTIO_BLK_F_WRITE_ZEROES = 14;

export const BLK_QUEUES_MAX = 16;
/** Buffers of data in one request: front-ends make queues of 128, and head and status take two. */
export const BLK_SEGMENTS_MAX = 126;
export const BLK_RANGES_MAX = 32;
/** Giving space back changes the map alone; writing zeroes that keep their space writes them. */
export const BLK_DISCARD_SECTORS_MAX = (2 * 1024 ** 3) / SECTOR_SIZE;
export const BLK_ZEROES_SECTORS_MAX = (4 * 1024 ** 2) / SECTOR_SIZE;

/** Larger than the structure, so that front-ends that know more fields read zeros. */
export const BLK_CONFIG_SIZE = 256;
export const BLK_CONFIG_WRITEBACK = 32;

/** The configuration space of a device of `sizeBytes`. */
export function encodeBlkConfig(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(BLK_CONFIG_SIZE);
  const view = new DataView(bytes.buffer);
  writeCapacity(bytes, sizeBytes);
  view.setUint32(12, BLK_SEGMENTS_MAX, true);
  view.setUint32(20, SECTOR_SIZE, true);
  // Topology: 2^3 sectors are a physical block; the smallest and the best size of I/O, in logical blocks.
  view.setUint8(24, Math.log2(BLOCK_SIZE / SECTOR_SIZE));
  view.setUint16(26, BLOCK_SIZE / SECTOR_SIZE, true);
  view.setUint32(28, (64 * 1024) / SECTOR_SIZE, true);
  view.setUint8(BLK_CONFIG_WRITEBACK, 1);
  view.setUint16(34, BLK_QUEUES_MAX, true);
  view.setUint32(36, BLK_DISCARD_SECTORS_MAX, true);
  view.setUint32(40, BLK_RANGES_MAX, true);
  view.setUint32(44, BLOCK_SIZE / SECTOR_SIZE, true);
  view.setUint32(48, BLK_ZEROES_SECTORS_MAX, true);
  view.setUint32(52, BLK_RANGES_MAX, true);
  view.setUint8(56, 1);
  return bytes;
}

export function writeCapacity(config: Uint8Array, sizeBytes: number): void {
  const view = new DataView(config.buffer, config.byteOffset, config.byteLength);
  setUint64(view, 0, sizeBytes / SECTOR_SIZE, true);
}
