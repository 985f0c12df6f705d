// The beginning of a list of which something later cannot be read: ovs-ofctl prints what it has read by then. Pure.
import type { MessageKind } from "../../base/openflow/index.js";

/** How a list of one kind is cut into elements. */
interface Shape {
  /** Bytes before the size of an element, which has 16 bits; or the size of every element. */
  readonly size: { readonly at: number; readonly of: (field: number) => number } | number;
  /** Something is told when nothing could be read, too. */
  readonly tellsNone?: boolean;
  /** What follows the elements that could be read. */
  readonly ending?: string;
}

const WHOLE = (field: number): number => field;
/** A flow monitor names only the size of its match. */
const MONITOR = (field: number): number => 16 + Math.ceil(field / 8) * 8;

const framed = (at: number, rest: Partial<Shape> = {}): Shape => ({ size: { at, of: WHOLE }, ...rest });

const SHAPES: Readonly<Record<string, Shape>> = {
  "OFPST_FLOW reply": framed(0),
  "NXST_FLOW nx-reply": framed(0),
  "OFPST_GROUP_DESC reply": framed(0),
  "NXST_GROUP_DESC nx-reply": framed(0),
  "OFPST_METER_CONFIG reply": framed(0),
  "NXST_FLOW_MONITOR nx-reply": framed(0),
  "ONFST_FLOW_MONITOR onf-reply": framed(0),
  "OFPST_FLOW_MONITOR reply": framed(0),
  "OFPST_TABLE_FEATURES request": framed(0),
  "OFPST_TABLE_FEATURES reply": framed(0),
  "OFPST_GROUP reply": framed(0, { tellsNone: true, ending: " ***parse error***" }),
  "NXST_GROUP nx-reply": framed(0, { tellsNone: true, ending: " ***parse error***" }),
  "NXST_FLOW_MONITOR nx-request": { size: { at: 8, of: MONITOR } },
  "ONFST_FLOW_MONITOR onf-request": { size: { at: 6, of: MONITOR } },
  "OFPST_FLOW_MONITOR request": { size: { at: 18, of: MONITOR } },
};

/** Lists whose elements have another form in some versions: the last version of each. */
const SHAPES_BY_VERSION: Readonly<Record<string, readonly (readonly [until: number, shape: Shape])[]>> = {
  "OFPST_PORT reply": [
    [3, { size: 104, tellsNone: true }],
    [4, { size: 112, tellsNone: true }],
    [6, framed(0, { tellsNone: true })],
  ],
  "OFPST_QUEUE reply": [
    [3, { size: 32, tellsNone: true }],
    [4, { size: 40, tellsNone: true }],
    [6, framed(0, { tellsNone: true })],
  ],
  "OFPST_PORT_DESC reply": [
    [1, { size: 48, tellsNone: true }],
    [4, { size: 64, tellsNone: true }],
    [6, framed(4, { tellsNone: true })],
  ],
  "OFPT_QUEUE_GET_CONFIG_REPLY type": [
    [2, framed(4)],
    [4, framed(8)],
  ],
};

export interface Beginning {
  /** A message that ends before the element which cannot be read; undefined when nothing is left to be told. */
  readonly bytes: Uint8Array | undefined;
  /** The name of the error in that element; undefined when it has no end. */
  readonly error: string | undefined;
  readonly ending: string;
}

/**
 * `bytes` without the element that cannot be read and all behind it; undefined when such messages are told as a whole.
 * `faultOf` names the error in a message of the kind that cannot be read.
 */
export function readableBeginning(
  kind: MessageKind,
  bytes: Uint8Array,
  faultOf: (message: Uint8Array) => string | undefined,
): Beginning | undefined {
  const name = `${kind.name} ${kind.place}`;
  const version = bytes[0] as number;
  const shape = SHAPES[name] ?? SHAPES_BY_VERSION[name]?.find(([until]) => version <= until)?.[1];
  if (shape === undefined) return undefined;
  const { size: sizes, tellsNone = false, ending = "" } = shape;
  const start = headSize(kind, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sizeAt = typeof sizes === "number" ? 0 : sizes.at;
  let at = start;
  let error: string | undefined;
  while (at + sizeAt + 2 <= bytes.byteLength) {
    const size = typeof sizes === "number" ? sizes : sizes.of(view.getUint16(at + sizeAt));
    if (size < 8 || at + size > bytes.byteLength) break;
    error = faultOf(withBody(bytes, start, bytes.subarray(at, at + size)));
    if (error !== undefined) break;
    at += size;
  }
  const isNone = at === start && !tellsNone;
  return { bytes: isNone ? undefined : withBody(bytes, start, bytes.subarray(start, at)), error, ending };
}

function headSize({ place }: MessageKind, bytes: Uint8Array): number {
  if (place === "type") return 16;
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
