// The keys of a burst, compact: what tells plain IPv4 frames apart, one row of ten words each, with its hash.
//
//   row: in_port | eth_dst, eth_src (3) | eth_type, TCI | IP | ports | source | destination | TCP flags      (words of the key)
//
// Invariant: a frame that gets a row has, in the whole key, the row's words and zeros elsewhere. Whatever is not as
// plain (IPv6, ARP, fragments, two tags, broken lengths) gets none and is left to the pipeline.
// Thread: datapath worker. Hot: yes.
import { BATCH_SIZE, type Batch, type PacketPool } from "../../base/packet/index.js";
import { secretMultiplier } from "../../base/random/index.js";
import {
  K_DST,
  K_ETH_DST,
  K_ETH_SRC_LOW,
  K_IN_PORT,
  K_IP,
  K_SRC,
  K_TCP_FLAGS,
  K_TP,
  K_TYPE_TCI,
} from "./key.js";

/** Words of a row in use, and their places in the whole key. */
export const ROW_WORDS: readonly number[] = [
  K_IN_PORT,
  K_ETH_DST,
  K_ETH_DST + 1,
  K_ETH_SRC_LOW,
  K_TYPE_TCI,
  K_IP,
  K_TP,
  K_SRC,
  K_DST,
  K_TCP_FLAGS,
];
/** Rows lie 16 words apart: a cache line each. */
export const ROW_SHIFT = 4;

const ETHERNET_SIZE = 14;
const IPV4_SIZE = 20;
const TCP = 6;
const UDP = 17;
const ICMP = 1;

export class BurstKeys {
  readonly rows = new Int32Array(BATCH_SIZE << ROW_SHIFT);
  readonly hashes = new Int32Array(BATCH_SIZE);
  /** 1: the packet has a row. */
  readonly plain = new Uint8Array(BATCH_SIZE);
  readonly #factors = Int32Array.from(ROW_WORDS, secretMultiplier);

  /** Reads every frame of the batch. */
  read(pool: PacketPool, batch: Batch, inPort: number): void {
    const { view, offset, length } = pool;
    const { packets } = batch;
    const factors = this.#factors;
    const rows = this.rows;
    for (let i = 0; i < batch.length; i++) {
      const packet = packets[i]!;
      const row = i << ROW_SHIFT;
      if (!this.#readFrame(view, offset[packet]!, length[packet]!, row)) {
        this.plain[i] = 0;
        continue;
      }
      this.plain[i] = 1;
      rows[row] = inPort;
      let hash = Math.imul(inPort, factors[0]!);
      hash = (hash + Math.imul(rows[row + 1]!, factors[1]!)) | 0;
      hash = (hash + Math.imul(rows[row + 2]!, factors[2]!)) | 0;
      hash = (hash + Math.imul(rows[row + 3]!, factors[3]!)) | 0;
      hash = (hash + Math.imul(rows[row + 4]!, factors[4]!)) | 0;
      hash = (hash + Math.imul(rows[row + 5]!, factors[5]!)) | 0;
      hash = (hash + Math.imul(rows[row + 6]!, factors[6]!)) | 0;
      hash = (hash + Math.imul(rows[row + 7]!, factors[7]!)) | 0;
      hash = (hash + Math.imul(rows[row + 8]!, factors[8]!)) | 0;
      hash = (hash + Math.imul(rows[row + 9]!, factors[9]!)) | 0;
      // The sum mixes upwards only: bring the upper bits down.
      hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
      this.hashes[i] = hash ^ (hash >>> 13);
    }
  }

  /** Whether the frame is plain; then the words from eth_dst on are in the row. */
  #readFrame(view: DataView, start: number, length: number, row: number): boolean {
    const rows = this.rows;
    if (length < ETHERNET_SIZE + IPV4_SIZE) return false;
    let at = start + 12;
    let type = view.getUint16(at);
    let tci = 0;
    if (type === 0x8100 || type === 0x88a8) {
      tci = view.getUint16(at + 2) | 0x1000;
      at += 4;
      type = view.getUint16(at);
    }
    if (type !== 0x0800) return false;
    const end = start + length;
    const ip = at + 2;
    if (ip + IPV4_SIZE > end) return false;
    const first = view.getInt32(ip);
    const size = (first >>> 22) & 0x3c;
    const total = first & 0xffff;
    if (first >>> 28 !== 4 || size < IPV4_SIZE || total < size || ip + total > end) return false;
    if ((view.getUint16(ip + 6) & 0x3fff) !== 0) return false;
    const protocol = view.getUint8(ip + 9);
    const room = total - size;
    let ports = 0;
    let flags = 0;
    if (protocol === TCP) {
      if (room < 20) return false;
      ports = view.getInt32(ip + size);
      flags = view.getUint16(ip + size + 12) & 0xfff;
    } else if (protocol === UDP) {
      if (room < 8) return false;
      ports = view.getInt32(ip + size);
    } else if (protocol === ICMP) {
      if (room < 4) return false;
      ports = (view.getUint8(ip + size) << 16) | view.getUint8(ip + size + 1);
    } else return false;
    rows[row + 1] = view.getInt32(start);
    rows[row + 2] = view.getInt32(start + 4);
    rows[row + 3] = view.getInt32(start + 8);
    rows[row + 4] = (type << 16) | tci;
    rows[row + 5] = (protocol << 24) | (first & 0x00ff0000) | (view.getUint8(ip + 8) << 8);
    rows[row + 6] = ports;
    rows[row + 7] = view.getInt32(ip + 12);
    rows[row + 8] = view.getInt32(ip + 16);
    rows[row + 9] = flags;
    return true;
  }
}
