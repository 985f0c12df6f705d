// Continuations as bytes: properties inside the property of a packet-in or of NXT_RESUME.
// Source: layouts as Open vSwitch sends and takes them; instructions that are no actions are in a property of our own,
// which others pass over.

import type { Action, Instruction } from "./actions.js";
import { readActions, writeActions } from "./actions-wire.js";
import { OFP13_VERSION, OFPTT_ALL } from "./constants.js";
import type { Continuation, ContinuationFrame } from "./continuation.js";
import { readInstructions, writeInstructions } from "./instructions-wire.js";
import { Reader, Writer } from "./wire.js";

const NXCPT_BRIDGE = 0x8000;
const NXCPT_STACK = 0x8001;
const NXCPT_TABLE_ID = 0x8004;
const NXCPT_COOKIE = 0x8005;
const NXCPT_ACTIONS = 0x8006;
const NXCPT_ACTION_SET = 0x8007;
/** Ours: write-actions, clear-actions, write-metadata and goto-table, as instructions of 1.3. */
const INSTRUCTIONS = 0x80f0;
/** Ours, in messages of other versions, which do not have a word for every action: actions of 1.3. */
const ACTIONS_13 = 0x80f1;
const ACTION_SET_13 = 0x80f2;

const BRIDGE_SIZE = 16;
const STACK_VALUE_SIZE_MAX = 16;
const NO_COOKIE = 0xffffffffffffffffn;

/** Calls `read` for every property up to the reader's end. Each is padded to a multiple of 8 bytes. */
export function readProperties(
  reader: Reader,
  field: string,
  read: (type: number, body: Reader) => void,
): void {
  while (reader.left > 0) {
    const at = reader.offset;
    const type = reader.u16(`${field}.property`);
    const length = reader.u16(`${field}.property.length`);
    // The number of what is now the general error for a property of a wrong size.
    if (length < 4 || length - 4 > reader.left)
      throw reader.fail("OFPTFFC_BAD_LEN", `${field}.property.length`, `${length}`, at);
    const body = reader.within(length - 4, `${field}.property`);
    reader.skip(Math.min(reader.left, (8 - (length % 8)) % 8));
    read(type, body);
  }
}

export function writeProperty(writer: Writer, type: number, write: () => void): void {
  const start = writer.size;
  writer.u16(type).u16(0);
  write();
  writer.setLength(start + 2, start);
  writer.align8(start);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Throws WireError. A continuation without frames has nothing left to do. */
export function readContinuation(reader: Reader): Continuation {
  let bridge = new Uint8Array(BRIDGE_SIZE);
  const stack: Uint8Array[] = [];
  const frames: Mutable<ContinuationFrame>[] = [];
  let actionSet: readonly Action[] = [];
  /** The frame that what follows belongs to; a table begins another. */
  const frame = (): Mutable<ContinuationFrame> => {
    if (frames.length === 0) begin(OFPTT_ALL);
    return frames.at(-1) as Mutable<ContinuationFrame>;
  };
  const begin = (tableId: number): void => {
    frames.push({ tableId, cookie: NO_COOKIE, actions: [], instructions: [] });
  };
  readProperties(reader, "continuation", (type, body) => {
    switch (type) {
      case NXCPT_BRIDGE:
        bridge = Uint8Array.from(body.copy(BRIDGE_SIZE, "continuation.bridge"));
        return;
      case NXCPT_STACK:
        if (body.left > STACK_VALUE_SIZE_MAX)
          throw body.fail("OFPBRC_BAD_LEN", "continuation.stack", `${body.left} bytes`);
        stack.unshift(body.rest());
        return;
      case NXCPT_TABLE_ID:
        begin(body.u8("continuation.table_id"));
        return;
      case NXCPT_COOKIE:
        body.skip(4);
        frame().cookie = body.u64("continuation.cookie");
        return;
      case NXCPT_ACTIONS:
      case ACTIONS_13:
        frame().actions = [...frame().actions, ...readNested(body)];
        return;
      case INSTRUCTIONS:
        frame().instructions = readRest(body);
        return;
      case NXCPT_ACTION_SET:
      case ACTION_SET_13:
        actionSet = readNested(body);
        return;
      default: // Other ends may know more.
    }
  });
  return { bridge, stack, frames, actionSet };
}

function readNested(body: Reader): readonly Action[] {
  return readActions(in13(body));
}

function readRest(body: Reader): readonly Instruction[] {
  const instructions = readInstructions(in13(body));
  if (instructions.some(({ type }) => type === "apply_actions" || type === "meter"))
    throw body.fail("OFPBIC_UNSUP_INST", "continuation.instructions", "belong in front of a pause");
  return instructions;
}

/** What is inside, as 1.3 writes it. */
function in13(body: Reader): Reader {
  body.skip(4);
  return new Reader(body.bytes, body.offset, body.end, body.lengthError, OFP13_VERSION);
}

export function writeContinuation(writer: Writer, continuation: Continuation): void {
  const { bridge, stack, frames, actionSet } = continuation;
  const nested = (type: number, write: (inner: Writer) => void): void => {
    const inner = new Writer(OFP13_VERSION);
    write(inner);
    writeProperty(writer, type, () => writer.zero(4).put(inner.take()));
  };
  const is13 = writer.version === OFP13_VERSION;
  writeProperty(writer, NXCPT_BRIDGE, () => writer.put(bridge));
  for (const value of [...stack].reverse()) writeProperty(writer, NXCPT_STACK, () => writer.put(value));
  for (const { tableId, cookie, actions, instructions } of frames) {
    writeProperty(writer, NXCPT_TABLE_ID, () => writer.u8(tableId));
    writeProperty(writer, NXCPT_COOKIE, () => writer.zero(4).u64(cookie));
    if (actions.length > 0)
      nested(is13 ? NXCPT_ACTIONS : ACTIONS_13, (inner) => writeActions(inner, actions));
    if (instructions.length > 0) nested(INSTRUCTIONS, (inner) => writeInstructions(inner, instructions));
  }
  if (actionSet.length > 0)
    nested(is13 ? NXCPT_ACTION_SET : ACTION_SET_13, (inner) => writeActions(inner, actionSet));
}
