// DNS names and the message header with its question. Source: RFC 1035 3.1, 4.1.1, 4.1.2, 4.1.4.
import { concatBytes } from "../bytes/index.js";
import { needBytes, viewOf, WireError } from "./errors.js";

export const DNS_HEADER_SIZE = 12;
const NAME_SIZE_MAX = 255;
const LABEL_SIZE_MAX = 63;

/** A name as labels joined by dots, without the final one; "" is the root. `next` is where the name ends in place. */
export interface DnsName {
  readonly name: string;
  readonly next: number;
}

/** Reads a possibly compressed name at `offset` of `message`. Throws WireError; loops and long names are refused. */
export function parseDnsName(message: Uint8Array, offset: number): DnsName {
  const labels: string[] = [];
  let size = 1;
  let at = offset;
  let next = -1;
  for (;;) {
    const length = message[at];
    if (length === undefined) throw new WireError("dns", "name", at, "runs past the message");
    if (length === 0) return { name: labels.join("."), next: next < 0 ? at + 1 : next };
    if (length >= 0xc0) {
      const low = message[at + 1];
      const target = ((length & 0x3f) << 8) | (low ?? 0xffff);
      if (low === undefined || target >= at) throw new WireError("dns", "pointer", at, "does not point back");
      if (next < 0) next = at + 2;
      at = target;
      continue;
    }
    if (length > LABEL_SIZE_MAX || at + 1 + length > message.byteLength)
      throw new WireError("dns", "label", at, `${length} bytes`);
    size += length + 1;
    if (size > NAME_SIZE_MAX) throw new WireError("dns", "name", offset, "longer than 255 bytes");
    const label = String.fromCharCode(...message.subarray(at + 1, at + 1 + length));
    if (label.includes(".")) throw new WireError("dns", "label", at, "contains a dot");
    labels.push(label);
    at += 1 + length;
  }
}

/** Uncompressed. Throws WireError when a label or the name is too long, empty or not Latin-1. */
function encodeDnsName(name: string): Uint8Array {
  if (name === "" || name === ".") return new Uint8Array(1);
  const labels = name.replace(/\.$/, "").split(".");
  const parts = labels.map((label) => {
    const bytes = Uint8Array.from(label, (character) => character.charCodeAt(0));
    if (bytes.byteLength === 0 || bytes.byteLength > LABEL_SIZE_MAX || /[^\x00-\xff]/.test(label))
      throw new WireError("dns", "label", 0, `"${label.slice(0, 20)}" has ${bytes.byteLength} bytes`);
    return concatBytes([Uint8Array.of(bytes.byteLength), bytes]);
  });
  const encoded = concatBytes([...parts, new Uint8Array(1)]);
  if (encoded.byteLength > NAME_SIZE_MAX) throw new WireError("dns", "name", 0, "longer than 255 bytes");
  return encoded;
}

export interface DnsQuery {
  readonly id: number;
  /** The 16 bits after the id. */
  readonly flags: number;
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

/** A message with exactly one question; records after it are ignored. Throws WireError. */
export function parseDnsQuery(message: Uint8Array): DnsQuery {
  needBytes("dns", message, DNS_HEADER_SIZE);
  const view = viewOf(message);
  if (view.getUint16(4) !== 1)
    throw new WireError("dns", "question count", 4, `${view.getUint16(4)} is not 1`);
  const { name, next } = parseDnsName(message, DNS_HEADER_SIZE);
  needBytes("dns", message, next + 4);
  return {
    id: view.getUint16(0),
    flags: view.getUint16(2),
    name,
    type: view.getUint16(next),
    class: view.getUint16(next + 2),
  };
}

export function encodeDnsQuery(query: DnsQuery): Uint8Array {
  const head = new Uint8Array(DNS_HEADER_SIZE);
  const view = viewOf(head);
  view.setUint16(0, query.id);
  view.setUint16(2, query.flags);
  view.setUint16(4, 1);
  const tail = new Uint8Array(4);
  viewOf(tail).setUint16(0, query.type);
  viewOf(tail).setUint16(2, query.class);
  return concatBytes([head, encodeDnsName(query.name), tail]);
}
