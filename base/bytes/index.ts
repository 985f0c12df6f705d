// Small, shared byte helpers. Hot code works on DataViews and typed arrays directly instead.

const HEX_BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
/** Longer arrays are faster by way of a Buffer. */
const HEX_SHORT_BYTES = 16;

/** Lower-case hex of `bytes`, without separators. */
export function toHex(bytes: Uint8Array): string {
  if (bytes.byteLength <= HEX_SHORT_BYTES) {
    let text = "";
    for (let i = 0; i < bytes.byteLength; i++) text += HEX_BYTES[bytes[i] as number];
    return text;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** Bytes of a hex string; white space and colons between bytes are ignored. Throws RangeError on anything else. */
export function fromHex(hex: string): Uint8Array {
  const digits = hex.replace(/[\s:]/g, "");
  if (digits.length % 2 !== 0 || /[^0-9a-fA-F]/.test(digits))
    throw new RangeError(`not a hex string: ${hex.slice(0, 40)}`);
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

/** The smallest multiple of `alignment` (any positive integer) that is at least `value`. */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** One array with the contents of all `parts`, in order. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.byteLength;
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.byteLength;
  }
  return out;
}

/** Writes an unsigned integer below 2⁵³ in 64 bits, big endian unless told otherwise, as DataView does. */
export function setUint64(view: DataView, at: number, value: number, littleEndian = false): void {
  view.setUint32(littleEndian ? at : at + 4, value >>> 0, littleEndian);
  view.setUint32(littleEndian ? at + 4 : at, (value / 0x1_0000_0000) >>> 0, littleEndian);
}
