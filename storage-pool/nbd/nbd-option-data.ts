// What the options of an NBD handshake carry: bytes in, values out; undefined where they make no sense.
// Source: NBD protocol, "Option types". Every length is checked before use; strings are UTF-8 without NUL, and at most
// NBD_STRING_BYTES_MAX bytes. Pure. Thread: any.
import { NBD_STRING_BYTES_MAX } from "../limits.js";

/** All of it is the name; one that is too long is no name. */
export function parseExportName(data: Uint8Array): string | undefined {
  return data.byteLength > NBD_STRING_BYTES_MAX ? undefined : textOf(data);
}

/** u32 name length, name, u16 count, u16 × count. */
export function parseInfoRequest(
  data: Uint8Array,
): { name: string; wanted: number[] } | "too big" | undefined {
  if (data.byteLength < 6) return undefined;
  const view = viewOf(data);
  const length = view.getUint32(0);
  if (length > data.byteLength - 6) return undefined;
  if (length > NBD_STRING_BYTES_MAX) return "too big";
  const count = view.getUint16(4 + length);
  const name = textOf(data.subarray(4, 4 + length));
  if (name === undefined || data.byteLength !== 6 + length + count * 2) return undefined;
  const wanted: number[] = [];
  for (let i = 0; i < count; i++) wanted.push(view.getUint16(6 + length + i * 2));
  return { name, wanted };
}

/** u32 name length, name, u32 count, then u32 length and text of each query. */
export function parseMetaRequest(
  data: Uint8Array,
): { name: string; queries: string[] } | "too big" | undefined {
  const view = viewOf(data);
  const texts: string[] = [];
  let at = 0;
  let count = 1;
  for (let i = 0; i < count; i++) {
    if (at + 4 > data.byteLength) return undefined;
    const length = view.getUint32(at);
    if (length > data.byteLength - at - 4) return undefined;
    if (length > NBD_STRING_BYTES_MAX) return "too big";
    const text = textOf(data.subarray(at + 4, at + 4 + length));
    if (text === undefined) return undefined;
    texts.push(text);
    at += 4 + length;
    if (i > 0) continue;
    if (at + 4 > data.byteLength) return undefined;
    // Each query takes at least its length: a larger count cannot be true.
    const queries = view.getUint32(at);
    at += 4;
    if (queries > (data.byteLength - at) / 4) return undefined;
    count += queries;
  }
  const [name, ...queries] = texts;
  return at === data.byteLength ? { name: name as string, queries } : undefined;
}

/** Undefined when the bytes are not UTF-8, or hold a NUL. A byte order mark is part of the text. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes("\0") ? undefined : text;
  } catch {
    return undefined;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
