// Action lists as bytes. Nicira actions are in nicira-wire.ts.
// Source: OpenFlow Switch Specification 1.3.5, 7.2.5.

import { peekAction } from "./action-shapes.js";
import type { Action, MeterAction, NiciraAction, PlainAction, SetFieldAction } from "./actions.js";
import {
  NX_EXPERIMENTER,
  OFP11_VERSION,
  OFP12_VERSION,
  OFP15_VERSION,
  OFPG_MAX,
  OFPP_ANY,
  OFPP_IN_PORT,
  OFPP_MAX,
  ONF_EXPERIMENTER,
} from "./constants.js";
import { readSetField, writeOxm } from "./match-wire.js";
import { isNiciraAction, NESTING_MAX, readNiciraAction, writeNiciraAction } from "./nicira-wire.js";
import { isLoadable, loadsOf } from "./set-field-loads.js";
import { hasSet11, readSet11, writeSet11 } from "./v11/actions-wire.js";
import { readAction15, readOnfAction, writeAction15 } from "./v15/actions-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

/** Action types on the wire (7.2.5). */
export const OFPAT = {
  output: 0,
  copy_ttl_out: 11,
  copy_ttl_in: 12,
  set_mpls_ttl: 15,
  dec_mpls_ttl: 16,
  push_vlan: 17,
  pop_vlan: 18,
  push_mpls: 19,
  pop_mpls: 20,
  set_queue: 21,
  group: 22,
  set_nw_ttl: 23,
  dec_nw_ttl: 24,
  set_field: 25,
  push_pbb: 26,
  pop_pbb: 27,
  experimenter: 0xffff,
} as const;

/** Reads actions to the reader's end. `depth` counts the actions around this list. */
export function readActions(reader: Reader, depth = 0): readonly Action[] {
  const actions: Action[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const action = readAction(reader, depth);
    const fault = reader.checks?.actions([action], reader.version);
    if (fault !== undefined) throw reader.fail(fault, action.type, "is refused", at);
    actions.push(action);
  }
  return actions;
}

function readAction(reader: Reader, depth: number): Action {
  const at = reader.offset;
  const { length } = peekAction(reader);
  const type = reader.u16("action.type");
  reader.skip(2);
  const body = reader.within(length - 4, "action", "OFPBAC_BAD_LEN");
  const action = readOther(type, body) ?? readBody(nameOfType(type, reader, at), body, depth);
  body.finish("action");
  return action;
}

function nameOfType(type: number, reader: Reader, at: number): keyof typeof OFPAT {
  const name = nameOf(OFPAT, type);
  if (name === undefined) throw reader.fail("OFPBAC_BAD_TYPE", "action.type", `unknown type ${type}`, at);
  return name;
}

/** What 1.1 had and later versions keep beside set-field, and what 1.5 adds; undefined for everything else. */
function readOther(type: number, body: Reader): Action | undefined {
  return readSet11(type, body) ?? (body.version === OFP15_VERSION ? readAction15(type, body) : undefined);
}

function readBody(name: keyof typeof OFPAT, body: Reader, depth: number): Action {
  switch (name) {
    case "output":
      return readOutput(body);
    case "group": {
      const groupId = body.u32("group.group_id");
      if (groupId > OFPG_MAX)
        throw body.fail("OFPBAC_BAD_OUT_GROUP", "group.group_id", `0x${groupId.toString(16)}`);
      return { type: "group", groupId };
    }
    case "set_queue":
      return { type: "set_queue", queueId: body.u32("set_queue.queue_id") };
    case "set_field": {
      const value = readSetField(body);
      if (body.rest().some((byte) => byte !== 0))
        throw body.fail("OFPBAC_BAD_SET_LEN", "set_field", "more than one field");
      return { type: "set_field", ...value };
    }
    case "push_vlan":
    case "push_mpls":
    case "push_pbb":
      return readPush(name, body);
    case "pop_mpls": {
      const etherType = body.u16("pop_mpls.ethertype");
      body.skip(2);
      return { type: "pop_mpls", etherType };
    }
    case "set_mpls_ttl":
    case "set_nw_ttl": {
      const ttl = body.u8(`${name}.ttl`);
      body.skip(3);
      return { type: name, ttl };
    }
    case "experimenter":
      return readExperimenter(body, depth);
    default:
      body.skip(4);
      return { type: name };
  }
}

function readOutput(body: Reader): Action {
  if (body.left !== 12) throw body.fail("OFPBAC_BAD_LEN", "output.length", `${body.left + 4} bytes`);
  const port = body.port("output.port");
  const maxLength = body.u16("output.max_len");
  body.skip(6);
  if (port === OFPP_ANY || (port > OFPP_MAX && port < OFPP_IN_PORT)) {
    throw body.fail("OFPBAC_BAD_OUT_PORT", "output.port", `0x${port.toString(16)} is no output port`);
  }
  return { type: "output", port, maxLength };
}

const PUSH_TYPES = {
  push_vlan: [0x8100, 0x88a8],
  push_mpls: [0x8847, 0x8848],
  push_pbb: [0x88e7],
} as const satisfies Record<string, readonly number[]>;

function readPush(type: keyof typeof PUSH_TYPES, body: Reader): Action {
  const etherType = body.u16(`${type}.ethertype`);
  body.skip(2);
  if (!(PUSH_TYPES[type] as readonly number[]).includes(etherType)) {
    throw body.fail(
      "OFPBAC_BAD_ARGUMENT",
      `${type}.ethertype`,
      `0x${etherType.toString(16)} may not be pushed`,
    );
  }
  return { type, etherType };
}

function readExperimenter(body: Reader, depth: number): Action {
  const experimenter = body.u32("action.experimenter");
  if (experimenter === ONF_EXPERIMENTER) return readOnfAction(body);
  if (experimenter !== NX_EXPERIMENTER) {
    return { type: "experimenter", experimenter, data: body.rest() };
  }
  return readNiciraAction(body, (nested) => {
    if (depth + 1 >= NESTING_MAX) {
      throw body.fail("OFPBAC_BAD_ARGUMENT", "actions", "are nested too deeply");
    }
    return readActions(nested, depth + 1);
  });
}

export function writeActions(writer: Writer, actions: readonly Action[]): void {
  for (const action of actions) writeAction(writer, action);
}

function writeAction(writer: Writer, action: Action): void {
  if (action.type === "set_field" && mustLoad(writer.version, action)) {
    for (const load of loadsOf(action)) writeAction(writer, load);
    return;
  }
  const start = writer.size;
  if (writeOther(writer, action)) {
    // Said in the words of 1.1 or 1.5.
  } else if (isNicira(writer.version, action)) {
    writer.u16(OFPAT.experimenter).u16(0).u32(NX_EXPERIMENTER);
    writeNiciraAction(writer, action, writeActions);
  } else {
    if (action.type === "meter") throw new RangeError("meters are instructions before OpenFlow 1.5");
    writer.u16(OFPAT[action.type]).u16(0);
    writeBody(writer, action);
  }
  writer.align8(start);
  writer.setLength(start + 2, start);
}

function isNicira(version: number, action: Action): action is NiciraAction | SetFieldAction {
  return action.type === "set_field" ? !isPlainSet(version, action) : isNiciraAction(action);
}

/** Before 1.2 fields are set by loads, but those that 1.1 has an action for. */
function mustLoad(version: number, action: SetFieldAction): boolean {
  return (
    version === OFP11_VERSION && action.form === undefined && !hasSet11(action) && isLoadable(action.field)
  );
}

/** From 1.2 on the tunnel's id is a field as others are, from 1.5 on parts of fields can be set. */
function isPlainSet(version: number, { mask, form }: SetFieldAction): boolean {
  if (version === OFP11_VERSION) return false;
  return form === undefined ? mask === undefined || version === OFP15_VERSION : version >= OFP12_VERSION;
}

function writeOther(writer: Writer, action: Action): boolean {
  if (writer.version === OFP11_VERSION && action.type === "set_field" && action.form === undefined) {
    if (!hasSet11(action)) return false;
    writeSet11(writer, action);
    return true;
  }
  return writer.version === OFP15_VERSION && writeAction15(writer, action);
}

function writeBody(writer: Writer, action: Exclude<Action, NiciraAction | MeterAction>): void {
  switch (action.type) {
    case "output":
      writer.u32(action.port).u16(action.maxLength).zero(6);
      return;
    case "group":
      writer.u32(action.groupId);
      return;
    case "set_queue":
      writer.u32(action.queueId);
      return;
    case "set_field":
      writeOxm(writer, action);
      return;
    case "push_vlan":
    case "push_mpls":
    case "push_pbb":
    case "pop_mpls":
      writer.u16(action.etherType).zero(2);
      return;
    case "set_mpls_ttl":
    case "set_nw_ttl":
      writer.u8(action.ttl).zero(3);
      return;
    case "experimenter":
      writer.u32(action.experimenter).put(action.data);
      return;
    default:
      action satisfies PlainAction;
      writer.zero(4);
  }
}
