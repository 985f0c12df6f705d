// Bytes in hexadecimal as people paste them. Pure.

export interface HexInput {
  readonly bytes: Uint8Array;
  /** What follows the last pair of digits; "" when nothing does. */
  readonly rest: string;
}

/** Pairs of digits, with white space or dots between them. */
export function readHex(text: string): HexInput {
  const found = /^(?:[\s.]*[0-9a-fA-F]{2})*/.exec(text)?.[0] ?? "";
  const digits = found.replaceAll(/[\s.]/g, "");
  return {
    bytes: Uint8Array.from(Buffer.from(digits, "hex")),
    rest: text.slice(found.length).replaceAll(/[\s.]/g, ""),
  };
}
