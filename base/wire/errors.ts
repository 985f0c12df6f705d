// What a header parser says of bytes that are no such header. Thread: any.

/** Bad bytes from outside: which header, which field, and at which byte of the parsed buffer. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly header: string;
  readonly field: string;
  readonly offset: number;

  constructor(header: string, field: string, offset: number, message: string) {
    super(`${header}: ${field} at byte ${offset}: ${message}`);
    this.header = header;
    this.field = field;
    this.offset = offset;
  }
}

/** Throws WireError unless `bytes` has at least `size` bytes. */
export function needBytes(header: string, bytes: Uint8Array, size: number): void {
  if (bytes.byteLength < size)
    throw new WireError(
      header,
      "length",
      bytes.byteLength,
      `${size} bytes needed, ${bytes.byteLength} there`,
    );
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
