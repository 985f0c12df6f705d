// Instruction lists as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.2.4. Invariant: at most one instruction of each type.

import type { Instruction } from "./actions.js";
import { readActions, writeActions } from "./actions-wire.js";
import { OFP13_VERSION, OFP15_VERSION, OFPM_MAX } from "./constants.js";
import { NO_INSTRUCTIONS, RememberedInstructions } from "./remembered-instructions.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

/** Instruction types on the wire. */
export const OFPIT = {
  goto_table: 1,
  write_metadata: 2,
  write_actions: 3,
  apply_actions: 4,
  clear_actions: 5,
  meter: 6,
  experimenter: 0xffff,
} as const;

const remembered = new RememberedInstructions();

/** Reads instructions to the reader's end. The same bytes may give the same list again. */
export function readInstructions(reader: Reader): readonly Instruction[] {
  const { bytes, offset, end, version } = reader;
  if (offset === end) return NO_INSTRUCTIONS;
  // Whoever checks what is read wants to see each.
  if (reader.checks !== undefined) return readList(reader);
  const known = remembered.find(version, bytes, offset, end);
  if (known !== undefined) {
    reader.skip(end - offset, "instructions");
    return known;
  }
  const instructions = readList(reader);
  remembered.keep(version, bytes, offset, end, instructions);
  return instructions;
}

function readList(reader: Reader): readonly Instruction[] {
  // All of the list is looked at before what is in the instructions, and there first what is applied at once: so Open
  // vSwitch finds which of several faults to tell.
  const frames: Frame[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const frame = readFrame(reader);
    if (frame.name !== "experimenter" && frames.some(({ name }) => name === frame.name))
      throw reader.fail("OFPBIC_DUP_INST", frame.name, "occurs twice", at);
    frames.push(frame);
  }
  const read = new Map<Frame, Instruction>();
  for (const frame of [...frames].sort((a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name))) {
    read.set(frame, readBody(frame.name, frame.body));
    frame.body.finish(`${frame.name} instruction`);
  }
  return frames.map((frame) => read.get(frame) as Instruction);
}

type Name = keyof typeof OFPIT;
const ORDER: readonly Name[] = [
  ...(["meter", "apply_actions", "clear_actions", "write_actions", "write_metadata"] as const),
  ...(["goto_table", "experimenter"] as const),
];
/** Bytes of those that have one size. */
const SIZES: Partial<Record<Name, number>> = {
  goto_table: 8,
  write_metadata: 24,
  clear_actions: 8,
  meter: 8,
};

interface Frame {
  readonly name: Name;
  /** Behind the header. */
  readonly body: Reader;
}

function readFrame(reader: Reader): Frame {
  const at = reader.offset;
  const type = reader.u16("instruction.type");
  const length = reader.u16("instruction.length");
  if (length < 8 || length % 8 !== 0 || length - 4 > reader.left) {
    throw reader.fail("OFPBIC_BAD_LEN", "instruction.length", `${length} of ${reader.left + 4} bytes`, at);
  }
  const name = nameOf(OFPIT, type);
  if (name === undefined || (name === "meter" && reader.version === OFP15_VERSION))
    throw reader.fail("OFPBIC_UNKNOWN_INST", "instruction.type", `unknown type ${type}`, at);
  if (length !== (SIZES[name] ?? length))
    throw reader.fail("OFPBIC_BAD_LEN", "instruction.length", `${length}, not ${SIZES[name]}`, at);
  return { name, body: reader.within(length - 4, "instruction", "OFPBIC_BAD_LEN") };
}

function readBody(name: Name, body: Reader): Instruction {
  switch (name) {
    case "goto_table": {
      const tableId = body.u8("goto_table.table_id");
      body.skip(3);
      return { type: name, tableId };
    }
    case "write_metadata": {
      body.skip(4);
      return {
        type: name,
        metadata: body.u64("write_metadata.value"),
        mask: body.u64("write_metadata.mask"),
      };
    }
    case "write_actions":
    case "apply_actions":
      body.skip(4);
      return { type: name, actions: readActions(body.within(body.left, name, "OFPBAC_BAD_LEN")) };
    case "clear_actions":
      body.skip(4);
      return { type: name };
    case "meter": {
      const meterId = body.u32("meter.meter_id");
      if (meterId === 0 || meterId > OFPM_MAX) {
        throw body.fail("OFPMMFC_INVALID_METER", "meter.meter_id", `0x${meterId.toString(16)}`);
      }
      return { type: name, meterId };
    }
    case "experimenter":
      return { type: name, experimenter: body.u32("instruction.experimenter"), data: body.rest() };
  }
}

export function writeInstructions(writer: Writer, given: readonly Instruction[]): void {
  const instructions =
    writer.version === OFP15_VERSION
      ? withMeterActions(given)
      : given.filter(({ type }) => type !== "meter" || writer.version >= OFP13_VERSION);
  for (const instruction of instructions) {
    const start = writer.size;
    writer.u16(OFPIT[instruction.type]).u16(0);
    writeBody(writer, instruction);
    writer.setLength(start + 2, start);
  }
}

/** From 1.5 on a meter is an action, the first of those applied. */
function withMeterActions(instructions: readonly Instruction[]): readonly Instruction[] {
  const meters = instructions.filter((one) => one.type === "meter");
  if (meters.length === 0) return instructions;
  const applied = instructions.flatMap((one) => (one.type === "apply_actions" ? one.actions : []));
  const others = instructions.filter(({ type }) => type !== "meter" && type !== "apply_actions");
  return [{ type: "apply_actions", actions: [...meters, ...applied] }, ...others];
}

function writeBody(writer: Writer, instruction: Instruction): void {
  switch (instruction.type) {
    case "goto_table":
      writer.u8(instruction.tableId).zero(3);
      return;
    case "write_metadata":
      writer.zero(4).u64(instruction.metadata).u64(instruction.mask);
      return;
    case "write_actions":
    case "apply_actions":
      writer.zero(4);
      writeActions(writer, instruction.actions);
      return;
    case "clear_actions":
      writer.zero(4);
      return;
    case "meter":
      writer.u32(instruction.meterId);
      return;
    case "experimenter":
      writer.u32(instruction.experimenter).put(instruction.data);
  }
}
