// The keys of a burst, compact: what tells plain IPv4 frames apart, one row of ten words each, with its hash.
//
//   word      0        1–3      4           5         6      7       8            9
//   untagged  in_port  the frame's own words, of which only bits that a flow can match are kept: see readWords
//   tagged    in_port  MACs     tag         IP        ports  source  destination  TCP flags     (words of the whole key)
//
// Invariant: frames with equal rows have equal whole keys, and their tags are of one type. Whatever is not as plain
// (ARP, fragments, IP options, two tags, broken lengths) gets none and is left to the pipeline; so does IPv6, whose keys
// are too wide for a row, but where it is as plain, that is said (masked-cache.ts may know it). A frame that agrees with
// the front match (front-match.ts) is known by that, and needs none.
// A closure, one for each pool, and not a class: see window-copy.ts.
// Thread: datapath worker. Hot: yes.
import { BATCH_SIZE, type PacketPool } from "../../base/packet/index.js";
import { secretMultiplier } from "../../base/random/index.js";

/** Words of a row in use. */
export const ROW_WORDS = 10;
/** Rows lie 16 words apart: a cache line each. */
export const ROW_SHIFT = 4;

const ETHERNET_SIZE = 14;
const IPV4_SIZE = 20;
const IPV6_SIZE = 40;
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;
const ECHO_REQUEST = 128;
const ECHO_REPLY = 129;
/** In word 4 of a tagged frame's row, where the DEI was; never in that of an untagged one. */
const TAGGED = 0x1000;

/** Bytes at the start of a frame by which it is told: a frame may be read here before more of it is in place. */
export const KEY_BYTES = 64;

/**
 * What there is of a frame: nothing, its row, or its Ethernet addresses and tag alone: since it agreed with the front match,
 * or is IPv6 with TCP, UDP or an echo behind no extension header and one tag or none.
 */
export const ROW_NONE = 0;
export const ROW_WHOLE = 1;
export const ROW_FRONT = 2;
export const ROW_WIDE = 3;

/** Mask and value of words 1–9 of the row of an untagged frame: see front-match.ts. */
export interface RowMatch {
  /** Frames that agree get a row all the same, but no hash. */
  readonly needsRows?: boolean;
  readonly mask: Int32Array;
  readonly value: Int32Array;
}

export interface BurstKeys {
  readonly rows: Int32Array;
  readonly hashes: Int32Array;
  /** ROW_*. */
  readonly plain: Uint8Array;
  /**
   * Reads the first `count` frames, which start at `starts` in the pool's arena and are so long. Those that agree with
   * `front`, a match for frames of this port, get no rows; returns how many.
   */
  read(
    starts: Int32Array,
    lengths: Int32Array,
    count: number,
    inPort: number,
    front: RowMatch | null,
  ): number;
  /** The hash of the row of a frame that has none. */
  hashOf(i: number): number;
  /** Whether two frames of the burst that are not ROW_NONE have the same addresses and tag. */
  isSameLink(a: number, b: number): boolean;
}

type Ten = [number, number, number, number, number, number, number, number, number, number];

const known = new WeakMap<PacketPool, BurstKeys>();

/** The one reader of the pool: what it read is good until the next burst. */
export function burstKeysOf(pool: PacketPool): BurstKeys {
  let keys = known.get(pool);
  if (keys === undefined) {
    keys = createBurstKeys(pool);
    known.set(pool, keys);
  }
  return keys;
}

function createBurstKeys(pool: PacketPool): BurstKeys {
  const { buffer, byteOffset, byteLength } = pool.bytes;
  const words = new Int32Array(buffer, byteOffset, byteLength >>> 2);
  const { view } = pool;
  const rows = new Int32Array(BATCH_SIZE << ROW_SHIFT);
  const hashes = new Int32Array(BATCH_SIZE);
  const plain = new Uint8Array(BATCH_SIZE);
  // Constants for the compiler, as the function that uses them exists once.
  const factors = Int32Array.from({ length: ROW_WORDS }, secretMultiplier);
  const [f0, f1, f2, f3, f4, f5, f6, f7, f8, f9] = Array.from(factors) as Ten;

  /** Mask and value of the front match. */
  const mask = new Int32Array(ROW_WORDS);
  const value = new Int32Array(ROW_WORDS);

  const read = (
    starts: Int32Array,
    lengths: Int32Array,
    count: number,
    inPort: number,
    front: RowMatch | null,
  ): number => {
    const port = inPort | 0;
    const hasFront = front !== null;
    const needsRows = front?.needsRows === true;
    if (hasFront) {
      for (let i = 1; i < ROW_WORDS; i++) {
        mask[i] = front.mask[i]!;
        value[i] = front.value[i]!;
      }
    }
    let hits = 0;
    for (let i = 0; i < count; i = (i + 1) | 0) {
      const start = starts[i]!;
      const size = lengths[i]!;
      let kind = (start & 3) === 0 ? readWords(start, size, i, port, hasFront, needsRows) : ROW_NONE;
      if (kind === ROW_FRONT) hits = (hits + 1) | 0;
      else if (kind === ROW_NONE)
        kind = readTagged(start, size, i, port) ? ROW_WHOLE : readWide(start, size, i) ? ROW_WIDE : ROW_NONE;
      plain[i] = kind;
    }
    return hits;
  };

  /** Writes the row of frame `i`, and its hash. */
  const write = (
    i: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    w4: number,
    w5: number,
    w6: number,
    w7: number,
    w8: number,
    w9: number,
  ): void => {
    const row = i << ROW_SHIFT;
    rows[row] = w0;
    rows[(row + 1) | 0] = w1;
    rows[(row + 2) | 0] = w2;
    rows[(row + 3) | 0] = w3;
    rows[(row + 4) | 0] = w4;
    rows[(row + 5) | 0] = w5;
    rows[(row + 6) | 0] = w6;
    rows[(row + 7) | 0] = w7;
    rows[(row + 8) | 0] = w8;
    rows[(row + 9) | 0] = w9;
    const even =
      Math.imul(w0, f0) + Math.imul(w2, f2) + Math.imul(w4, f4) + Math.imul(w6, f6) + Math.imul(w8, f8);
    const odd =
      Math.imul(w1, f1) + Math.imul(w3, f3) + Math.imul(w5, f5) + Math.imul(w7, f7) + Math.imul(w9, f9);
    hashes[i] = mix((even + odd) | 0);
  };

  const hashOf = (i: number): number => {
    const row = i << ROW_SHIFT;
    let sum = 0;
    for (let n = 0; n < ROW_WORDS; n++) sum = (sum + Math.imul(rows[row + n]!, factors[n]!)) | 0;
    return mix(sum);
  };

  const isSameLink = (a: number, b: number): boolean => {
    const x = a << ROW_SHIFT;
    const y = b << ROW_SHIFT;
    return (
      rows[x + 1]! === rows[y + 1]! &&
      rows[x + 2]! === rows[y + 2]! &&
      rows[x + 3]! === rows[y + 3]! &&
      (rows[x + 4]! === rows[y + 4]! || ((rows[x + 4]! | rows[y + 4]!) & TAGGED) === 0)
    );
  };

  /**
   * An untagged frame without IP options, by its own little-endian words. Kept are: word 3 the type, IP version, header
   * length and TOS; word 5 TTL and protocol (all bits of the fragment field are zero); words 6 to 8 addresses and the
   * source port; word 9 the destination port, and in its upper half the TCP flags.
   */
  const readWords = (
    start: number,
    size: number,
    i: number,
    inPort: number,
    hasFront: boolean,
    needsRows: boolean,
  ): number => {
    const at = start >>> 2;
    if (size < ETHERNET_SIZE + IPV4_SIZE + 4) return ROW_NONE;
    const w3 = words[(at + 3) | 0]!;
    if ((w3 & 0x00ffffff) !== 0x00450008) return ROW_NONE;
    const w5 = words[(at + 5) | 0]!;
    // More fragments, or an offset; "don't fragment" is no part of the key.
    if ((w5 & 0xffbf) !== 0) return ROW_NONE;
    const w4 = words[(at + 4) | 0]!;
    const total = ((w4 & 0xff) << 8) | ((w4 >>> 8) & 0xff);
    if (total > size - ETHERNET_SIZE) return ROW_NONE;
    const protocol = w5 >>> 24;
    let last = words[(at + 9) | 0]! & 0xffff;
    if (protocol === TCP) {
      if (total < IPV4_SIZE + 20) return ROW_NONE;
      const w11 = words[(at + 11) | 0]!;
      last |= w11 & 0xff0f0000;
    } else if (protocol === UDP) {
      if (total < IPV4_SIZE + 8) return ROW_NONE;
    } else if (protocol === ICMP) {
      if (total < IPV4_SIZE + 4) return ROW_NONE;
      last = 0;
    } else return ROW_NONE;
    const w0 = words[at]!;
    const w1 = words[(at + 1) | 0]!;
    const w2 = words[(at + 2) | 0]!;
    const w6 = words[(at + 6) | 0]!;
    const w7 = words[(at + 7) | 0]!;
    const w8 = words[(at + 8) | 0]!;
    if (hasFront) {
      const differs =
        ((w0 & mask[1]!) ^ value[1]!) |
        ((w1 & mask[2]!) ^ value[2]!) |
        ((w2 & mask[3]!) ^ value[3]!) |
        ((w3 & mask[4]!) ^ value[4]!) |
        ((w5 & mask[5]!) ^ value[5]!) |
        ((w6 & mask[6]!) ^ value[6]!) |
        ((w7 & mask[7]!) ^ value[7]!) |
        ((w8 & mask[8]!) ^ value[8]!) |
        ((last & mask[9]!) ^ value[9]!);
      if (differs === 0) {
        const row = i << ROW_SHIFT;
        rows[(row + 1) | 0] = w0;
        rows[(row + 2) | 0] = w1;
        rows[(row + 3) | 0] = w2;
        rows[(row + 4) | 0] = w3;
        if (needsRows) {
          rows[row] = inPort;
          rows[(row + 5) | 0] = w5 & 0xffff0000;
          rows[(row + 6) | 0] = w6 & 0xffff0000;
          rows[(row + 7) | 0] = w7;
          rows[(row + 8) | 0] = w8;
          rows[(row + 9) | 0] = last;
        }
        return ROW_FRONT;
      }
    }
    write(i, inPort, w0, w1, w2, w3, w5 & 0xffff0000, w6 & 0xffff0000, w7, w8, last);
    return ROW_WHOLE;
  };

  /** A frame with one tag. */
  const readTagged = (start: number, size: number, i: number, inPort: number): boolean => {
    if (size < ETHERNET_SIZE + 4 + IPV4_SIZE) return false;
    const tag = view.getUint16(start + 12);
    if ((tag !== 0x8100 && tag !== 0x88a8) || view.getUint16(start + 16) !== 0x0800) return false;
    const ip = start + 18;
    const first = view.getInt32(ip);
    const total = first & 0xffff;
    if (first >>> 24 !== 0x45 || total > size - ETHERNET_SIZE - 4) return false;
    if ((view.getUint16(ip + 6) & 0x3fff) !== 0) return false;
    const protocol = view.getUint8(ip + 9);
    const l4 = ip + IPV4_SIZE;
    let ports = 0;
    let flags = 0;
    if (protocol === TCP) {
      if (total < IPV4_SIZE + 20) return false;
      ports = view.getInt32(l4);
      flags = view.getUint16(l4 + 12) & 0xfff;
    } else if (protocol === UDP) {
      if (total < IPV4_SIZE + 8) return false;
      ports = view.getInt32(l4);
    } else if (protocol === ICMP) {
      if (total < IPV4_SIZE + 4) return false;
      ports = view.getUint16(l4);
    } else return false;
    write(
      i,
      inPort,
      view.getInt32(start),
      view.getInt32(start + 4),
      view.getInt32(start + 8),
      (tag << 16) | view.getUint16(start + 14) | TAGGED,
      (protocol << 24) | (first & 0x00ff0000) | view.getUint8(ip + 8),
      ports,
      view.getInt32(ip + 12),
      view.getInt32(ip + 16),
      flags,
    );
    return true;
  };

  /** Plain IPv6; its link as in the row of an IPv4 frame. */
  const readWide = (start: number, size: number, i: number): boolean => {
    if (size < ETHERNET_SIZE + IPV6_SIZE + 4) return false;
    const type = view.getUint16(start + 12);
    const isTagged = type === 0x8100 || type === 0x88a8;
    const ip = (start + (isTagged ? ETHERNET_SIZE + 4 : ETHERNET_SIZE)) | 0;
    if (view.getUint16(ip - 2) !== 0x86dd || view.getUint8(ip) >>> 4 !== 6) return false;
    const payload = view.getUint16(ip + 4);
    if (ip + IPV6_SIZE + payload > start + size) return false;
    const protocol = view.getUint8(ip + 6);
    if (protocol === TCP) {
      if (payload < 20) return false;
    } else if (protocol === UDP) {
      if (payload < 8) return false;
    } else if (protocol === ICMPV6) {
      // Neighbour discovery and group membership are for those who read more of it.
      const kind = payload < 4 ? 0 : view.getUint8(ip + IPV6_SIZE);
      if (kind !== ECHO_REQUEST && kind !== ECHO_REPLY) return false;
    } else return false;
    const row = i << ROW_SHIFT;
    rows[(row + 1) | 0] = view.getInt32(start, !isTagged);
    rows[(row + 2) | 0] = view.getInt32(start + 4, !isTagged);
    rows[(row + 3) | 0] = view.getInt32(start + 8, !isTagged);
    rows[(row + 4) | 0] = isTagged ? (type << 16) | view.getUint16(start + 14) | TAGGED : 0;
    return true;
  };

  return { rows, hashes, plain, read, hashOf, isSameLink };
}

/** A sum of products mixes upwards only: bring the upper bits down. */
function mix(sum: number): number {
  const hash = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  return hash ^ (hash >>> 13);
}
