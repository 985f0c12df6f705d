// Small, shared byte helpers. Hot code works on DataViews and typed arrays directly instead.

/** Lower-case hex of `bytes`, without separators. */
export function toHex(bytes: Uint8Array): string {
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
