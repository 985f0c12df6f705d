// The beginning of a list of which something later cannot be read: ovs-ofctl prints what it has read by then. Pure.
import type { MessageKind } from "../../base/openflow/index.js";

/** How a list of one kind is cut into elements. */
interface Shape {
  /** Bytes before the size of an element, which has 16 bits. */
  readonly sizeAt: number;
  /** Of the element by its size field. */
  readonly sizeOf: (field: number) => number;
}

const WHOLE = (field: number): number => field;
/** A flow monitor names only the size of its match. */
const MONITOR = (field: number): number => 16 + Math.ceil(field / 8) * 8;

const SHAPES: Readonly<Record<string, Shape>> = {
  "OFPST_FLOW reply": { sizeAt: 0, sizeOf: WHOLE },
  "NXST_FLOW nx-reply": { sizeAt: 0, sizeOf: WHOLE },
  "OFPST_GROUP_DESC reply": { sizeAt: 0, sizeOf: WHOLE },
  "OFPST_METER_CONFIG reply": { sizeAt: 0, sizeOf: WHOLE },
  "NXST_FLOW_MONITOR nx-reply": { sizeAt: 0, sizeOf: WHOLE },
  "ONFST_FLOW_MONITOR onf-reply": { sizeAt: 0, sizeOf: WHOLE },
  "NXST_FLOW_MONITOR nx-request": { sizeAt: 8, sizeOf: MONITOR },
  "ONFST_FLOW_MONITOR onf-request": { sizeAt: 6, sizeOf: MONITOR },
};

/**
 * `bytes` without the element that cannot be read and all behind it; undefined when nothing is left, or when such
 * messages are told as a whole. `reads` says whether a message of the kind can be read.
 */
export function readableBeginning(
  kind: MessageKind,
  bytes: Uint8Array,
  reads: (message: Uint8Array) => boolean,
): Uint8Array | undefined {
  const shape = SHAPES[`${kind.name} ${kind.place}`];
  if (shape === undefined) return undefined;
  const start = headSize(kind, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = start;
  while (at + shape.sizeAt + 2 <= bytes.byteLength) {
    const size = shape.sizeOf(view.getUint16(at + shape.sizeAt));
    if (size < 8 || at + size > bytes.byteLength) break;
    const element = bytes.subarray(at, at + size);
    if (!reads(withBody(bytes, start, element))) break;
    at += size;
  }
  return at === start ? undefined : withBody(bytes, start, bytes.subarray(start, at));
}

function headSize({ place }: MessageKind, bytes: Uint8Array): number {
  const isFirst = bytes[0] === 1;
  return place === "request" || place === "reply" ? (isFirst ? 12 : 16) : 24;
}

/** The message with another list behind its head. */
function withBody(message: Uint8Array, start: number, body: Uint8Array): Uint8Array {
  const changed = new Uint8Array(start + body.byteLength);
  changed.set(message.subarray(0, start));
  changed.set(body, start);
  changed[2] = changed.byteLength >> 8;
  changed[3] = changed.byteLength & 0xff;
  return changed;
}
