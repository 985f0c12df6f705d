// What is known of a frame by bits of its key (masked-cache.ts), as mask and value of the words of its row (burst-keys.ts).
// Only for plain IPv4 frames with one tag or none. Thread: datapath worker.
import * as K from "./key.js";

const ICMP = 1;
const IPV4 = 0x0800;
const UNTAGGED_IPV4 = IPV4 << 16;
/** In a key, and in word 4 of a row, where the DEI was: there is a tag. */
const TAGGED = 0x1000;
const WORDS = 10;

/** Whether the key is that of frames with tags; those with one have rows, in another form. */
export function isTagged(key: Int32Array): boolean {
  return (key[K.K_TYPE_TCI]! & TAGGED) !== 0;
}

/** Whether frames with such keys have rows, if they are plain. */
export function mayHaveRow(key: Int32Array): boolean {
  return key[K.K_TYPE_TCI]! >>> 16 === IPV4;
}

/** As writeRowMatch(), for frames with one tag, of whichever type. */
export function writeTaggedRowMatch(
  key: Int32Array,
  bits: Int32Array,
  mask: Int32Array,
  value: Int32Array,
): void {
  const isIcmp = key[K.K_IP]! >>> 24 === ICMP;
  writeTaggedRow(bits, isIcmp, mask);
  writeTaggedRow(key, isIcmp, value);
  mask[4] = mask[4]! | TAGGED;
  for (let i = 1; i < WORDS; i++) value[i] = value[i]! & mask[i]!;
}

/** Bits of a key at their places in the row of a tagged frame. */
function writeTaggedRow(bits: Int32Array, isIcmp: boolean, row: Int32Array): void {
  for (let i = K.K_ETH_DST; i <= K.K_ETH_SRC_LOW; i++) row[i] = bits[i]!;
  row[4] = bits[K.K_TYPE_TCI]! & 0xffff;
  const ip = bits[K.K_IP]!;
  row[5] = (ip & 0xffff0000) | byte(ip, 8);
  const ports = bits[K.K_TP]!;
  row[6] = isIcmp ? (byte(ports, 16) << 8) | byte(ports, 0) : ports;
  row[7] = bits[K.K_SRC]!;
  row[8] = bits[K.K_DST]!;
  row[9] = bits[K.K_TCP_FLAGS]! & 0xfff;
}

/** Whether writeRowMatch() is for such keys. */
export function isRowKey(key: Int32Array): boolean {
  return key[K.K_TYPE_TCI] === UNTAGGED_IPV4;
}

/**
 * Two plain frames without a tag agree with `mask` and `value` exactly when their keys agree with `key` in `bits`, the
 * protocol among them. Word 0, the port, is left out.
 */
export function writeRowMatch(key: Int32Array, bits: Int32Array, mask: Int32Array, value: Int32Array): void {
  const isIcmp = key[K.K_IP]! >>> 24 === ICMP;
  writeRow(bits, isIcmp, mask);
  writeRow(key, isIcmp, value);
  for (let i = 1; i < WORDS; i++) value[i] = value[i]! & mask[i]!;
}

/** Bits of a key at their places in the row of an untagged frame: the little-endian words that readWords() keeps. */
function writeRow(key: Int32Array, isIcmp: boolean, row: Int32Array): void {
  const ip = key[K.K_IP]!;
  const source = key[K.K_SRC]!;
  const destination = key[K.K_DST]!;
  const ports = key[K.K_TP]!;
  const flags = key[K.K_TCP_FLAGS]!;
  for (let i = K.K_ETH_DST; i <= K.K_ETH_SRC_LOW; i++) {
    const word = key[i]!;
    row[i] = (byte(word, 0) << 24) | (byte(word, 8) << 16) | (byte(word, 16) << 8) | byte(word, 24);
  }
  row[4] = byte(ip, 16) << 24;
  row[5] = (byte(ip, 8) << 16) | (byte(ip, 24) << 24);
  row[6] = (byte(source, 24) << 16) | (byte(source, 16) << 24);
  row[7] =
    byte(source, 8) | (byte(source, 0) << 8) | (byte(destination, 24) << 16) | (byte(destination, 16) << 24);
  row[8] = byte(destination, 8) | (byte(destination, 0) << 8);
  // ICMP has its type and code where others have the source port.
  row[9] = 0;
  if (isIcmp) row[8] |= (byte(ports, 16) << 16) | (byte(ports, 0) << 24);
  else {
    row[8] |= (byte(ports, 24) << 16) | (byte(ports, 16) << 24);
    row[9] =
      byte(ports, 8) | (byte(ports, 0) << 8) | ((byte(flags, 8) & 0x0f) << 16) | (byte(flags, 0) << 24);
  }
}

function byte(word: number, shift: number): number {
  return (word >>> shift) & 0xff;
}
