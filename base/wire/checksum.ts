// The Internet checksum, whole and incremental, and CRC32c for SCTP.
// Source: RFC 1071, RFC 1624 (eqn. 3), RFC 9260 appendix A. Thread: any. Hot: yes.

/** One's complement sum (not yet folded to 16 bits) of `length` bytes, big-endian, added to `sum`. */
export function addToSum(bytes: Uint8Array, offset: number, length: number, sum: number): number {
  const end = offset + (length & ~1);
  for (let i = offset; i < end; i += 2) sum += ((bytes[i] as number) << 8) | (bytes[i + 1] as number);
  if ((length & 1) !== 0) sum += (bytes[end] as number) << 8;
  return sum;
}

/** The 16-bit checksum for a sum made by addToSum (up to 2^32 or so). */
export function finishSum(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** The checksum of `length` bytes, their own checksum field being zero. */
export function checksum(bytes: Uint8Array, offset: number, length: number): number {
  return finishSum(addToSum(bytes, offset, length, 0));
}

/** Adds the IPv4 pseudo header (addresses as u32). */
export function addPseudoIpv4(
  sum: number,
  source: number,
  destination: number,
  protocol: number,
  length: number,
): number {
  return (
    sum +
    (source >>> 16) +
    (source & 0xffff) +
    (destination >>> 16) +
    (destination & 0xffff) +
    protocol +
    length
  );
}

/** The checksum after one 16-bit word it covers changed from `before` to `after` (RFC 1624: HC' = ~(~HC + ~m + m')). */
export function updateChecksum16(old: number, before: number, after: number): number {
  let sum = (~old & 0xffff) + (~before & 0xffff) + (after & 0xffff);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** The same for a 32-bit word. */
export function updateChecksum32(old: number, before: number, after: number): number {
  let sum =
    (~old & 0xffff) +
    (~before & 0xffff) +
    (~(before >>> 16) & 0xffff) +
    (after & 0xffff) +
    ((after >>> 16) & 0xffff);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const CRC32C_TABLE = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  CRC32C_TABLE[i] = crc;
}

/** CRC32c of `length` bytes (u32). Continue a former one by passing it as `previous`. */
export function crc32c(bytes: Uint8Array, offset: number, length: number, previous = 0): number {
  let crc = ~previous;
  for (let i = offset; i < offset + length; i++) {
    crc = (crc >>> 8) ^ (CRC32C_TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number);
  }
  return ~crc >>> 0;
}
