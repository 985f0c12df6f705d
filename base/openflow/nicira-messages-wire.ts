// Nicira's small messages as bytes: roles, formats, controller ids, asynchronous configuration.
// Source: layouts as ovs-ofctl sends and prints them. A reader here starts behind the subtype.

import { NX_EXPERIMENTER } from "./constants.js";
import type { NiciraRole, PacketInFormat, SetAsyncProperties, SetFlowFormat } from "./extension-messages.js";
import type { OpenFlowMessage } from "./messages.js";
import { readAsync, writeAsync } from "./switch-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

/** Subtypes by the type of the message value. */
export const NXT = {
  nicira_role_request: 10,
  nicira_role_reply: 11,
  set_flow_format: 12,
  flow_mod: 13,
  flow_removed: 14,
  flow_mod_table_id: 15,
  set_packet_in_format: 16,
  packet_in: 17,
  flow_age: 18,
  set_async: 19,
  set_controller_id: 20,
  flow_monitor_cancel: 21,
  flow_monitor_paused: 22,
  flow_monitor_resumed: 23,
  set_async_properties: 27,
  resume: 28,
  packet_in2: 30,
} as const;

const NX_ROLE: Readonly<Record<NiciraRole["role"], number>> = { equal: 0, master: 1, slave: 2 };
const NXFF: Readonly<Record<SetFlowFormat["format"], number>> = { openflow10: 0, nxm: 2 };
const NXPIF: Readonly<Record<PacketInFormat, number>> = { standard: 0, nxm: 1, nxm2: 2 };

/** In the order of the property types: for a slave and for the others. */
const ASYNC_MESSAGES = ["packetIn", "portStatus", "flowRemoved"] as const;
const PROPERTY_SIZE = 8;

/** Undefined when the subtype is not one of these; nothing has been read then. */
export function readNiciraMessage(reader: Reader, xid: number, subtype: number): OpenFlowMessage | undefined {
  switch (subtype) {
    case NXT.nicira_role_request:
      return { type: "nicira_role_request", xid, role: readRole(reader) };
    case NXT.nicira_role_reply:
      return { type: "nicira_role_reply", xid, role: readRole(reader) };
    case NXT.set_flow_format: {
      const format = nameOf(NXFF, reader.u32("set_flow_format.format"));
      if (format === undefined) throw reader.fail("OFPBRC_EPERM", "set_flow_format.format", "unknown format");
      return { type: "set_flow_format", xid, format };
    }
    case NXT.flow_mod_table_id: {
      const isEnabled = reader.u8("flow_mod_table_id.set") !== 0;
      reader.skip(7);
      return { type: "flow_mod_table_id", xid, isEnabled };
    }
    case NXT.set_packet_in_format: {
      const format = nameOf(NXPIF, reader.u32("set_packet_in_format.format"));
      if (format === undefined)
        throw reader.fail("OFPBRC_EPERM", "set_packet_in_format.format", "unknown format");
      return { type: "set_packet_in_format", xid, format };
    }
    case NXT.flow_age:
      return { type: "flow_age", xid };
    case NXT.set_async:
      return readAsync(reader, xid, "set_async");
    case NXT.set_controller_id:
      reader.skip(6);
      return { type: "set_controller_id", xid, controllerId: reader.u16("set_controller_id.controller_id") };
    case NXT.set_async_properties:
      return readAsyncProperties(reader, xid);
    case NXT.flow_monitor_cancel:
      return { type: "flow_monitor_cancel", xid, monitorId: reader.u32("flow_monitor_cancel.id") };
    case NXT.flow_monitor_paused:
      return { type: "flow_monitor_paused", xid };
    case NXT.flow_monitor_resumed:
      return { type: "flow_monitor_resumed", xid };
    default:
      return undefined;
  }
}

function readRole(reader: Reader): NiciraRole["role"] {
  const code = reader.u32("role.role");
  const role = nameOf(NX_ROLE, code);
  if (role === undefined) throw reader.fail("OFPRRFC_BAD_ROLE", "role.role", `unknown role ${code}`);
  return role;
}

function readAsyncProperties(reader: Reader, xid: number): SetAsyncProperties {
  const changes: SetAsyncProperties["changes"][number][] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const type = reader.u16("async.property.type");
    const length = reader.u16("async.property.length");
    const message = ASYNC_MESSAGES[type >> 1];
    if (length !== PROPERTY_SIZE || message === undefined)
      throw reader.fail("OFPBRC_BAD_LEN", "async.property", `type ${type} of ${length} bytes`, at);
    changes.push({ message, asSlave: type % 2 === 0, mask: reader.u32("async.property.mask") });
  }
  return { type: "set_async_properties", xid, changes };
}

/** Throws RangeError for a message that is none of Nicira's. */
export function writeNiciraMessage(writer: Writer, message: OpenFlowMessage): void {
  if (!(message.type in NXT)) throw new RangeError(`${message.type} cannot be said in this version`);
  writer.u32(NX_EXPERIMENTER).u32(NXT[message.type as keyof typeof NXT]);
  switch (message.type) {
    case "nicira_role_request":
    case "nicira_role_reply":
      writer.u32(NX_ROLE[message.role]);
      return;
    case "set_flow_format":
      writer.u32(NXFF[message.format]);
      return;
    case "flow_mod_table_id":
      writer.u8(message.isEnabled ? 1 : 0).zero(7);
      return;
    case "set_packet_in_format":
      writer.u32(NXPIF[message.format]);
      return;
    case "set_async":
      writeAsync(writer, message);
      return;
    case "set_controller_id":
      writer.zero(6).u16(message.controllerId);
      return;
    case "set_async_properties":
      for (const { message: which, asSlave, mask } of message.changes) {
        const type = ASYNC_MESSAGES.indexOf(which) * 2 + (asSlave ? 0 : 1);
        writer.u16(type).u16(PROPERTY_SIZE).u32(mask);
      }
      return;
    default:
  }
}
