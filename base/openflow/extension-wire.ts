// Experimenter messages whose meaning we know, by experimenter and type; the others stay bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.5.4; ONF extension 230; Nicira numbers as Open vSwitch documents them.

import {
  ONFT_BUNDLE_ADD_MESSAGE,
  ONFT_BUNDLE_CONTROL,
  readBundleAdd,
  readBundleControl,
  writeBundleAdd,
  writeBundleControl,
} from "./bundle-wire.js";
import { NX_EXPERIMENTER, OFP13_VERSION, ONF_EXPERIMENTER } from "./constants.js";
import type { OpenFlowMessage } from "./messages.js";
import { NXT, readNiciraMessage, writeNiciraMessage } from "./nicira-messages-wire.js";
import {
  readNiciraPacketIn,
  readNiciraPacketIn2,
  readResume,
  writeNiciraPacketIn,
  writeNiciraPacketIn2,
  writeResume,
} from "./nicira-packet-in-wire.js";
import * as flow10 from "./v10/flow-wire.js";
import { OFP10_VERSION } from "./v10/numbers.js";
import { readGroupMod15, writeGroupMod15 } from "./v15/group-wire.js";
import type { Reader, Writer } from "./wire.js";

const NXT_GROUP_MOD = 31;
const ONFT_FLOW_MONITOR_CANCEL = 1870;
/** In the order of the ONF's types, whose bodies are Nicira's. */
const MONITOR_TYPES = ["flow_monitor_cancel", "flow_monitor_paused", "flow_monitor_resumed"] as const;

/** The version of the message around, and what was arranged about flow-mods (see v10/message-wire.ts). */
export interface ExtensionDialect {
  readonly version: number;
  readonly flowModTableId: boolean;
}

export const DIALECT_13: ExtensionDialect = { version: OFP13_VERSION, flowModTableId: false };

export function readExtension(reader: Reader, xid: number, dialect: ExtensionDialect): OpenFlowMessage {
  const experimenter = reader.u32("experimenter.experimenter");
  // A vendor of 1.0 need not have a type.
  const expType =
    reader.left < 4 && dialect.version === OFP10_VERSION ? 0 : reader.u32("experimenter.exp_type");
  const known = readKnown(reader, xid, experimenter, expType, dialect);
  return known ?? { type: "experimenter", xid, experimenter, expType, data: reader.rest() };
}

function readKnown(
  reader: Reader,
  xid: number,
  experimenter: number,
  expType: number,
  dialect: ExtensionDialect,
): OpenFlowMessage | undefined {
  if (experimenter === ONF_EXPERIMENTER && dialect.version === OFP13_VERSION) {
    if (expType === ONFT_BUNDLE_CONTROL) return readBundleControl(reader, xid);
    if (expType === ONFT_BUNDLE_ADD_MESSAGE) return readBundleAdd(reader, xid);
    const monitorType = MONITOR_TYPES[expType - ONFT_FLOW_MONITOR_CANCEL];
    if (monitorType !== undefined) return readNiciraMessage(reader, xid, NXT[monitorType]);
  }
  if (experimenter !== NX_EXPERIMENTER) return undefined;
  switch (expType) {
    case NXT.flow_mod:
      return dialect.version === OFP10_VERSION
        ? flow10.readNiciraFlowMod(reader, xid, dialect.flowModTableId)
        : undefined;
    case NXT_GROUP_MOD:
      return dialect.version === OFP10_VERSION ? readGroupMod15(reader, xid) : undefined;
    case NXT.flow_removed:
      return flow10.readNiciraFlowRemoved(reader, xid);
    case NXT.packet_in:
      return readNiciraPacketIn(reader, xid);
    case NXT.packet_in2:
      return readNiciraPacketIn2(reader, xid);
    case NXT.resume:
      return readResume(reader, xid);
    default:
      return readNiciraMessage(reader, xid, expType);
  }
}

/** Throws RangeError for a message that is no extension. */
export function writeExtension(writer: Writer, message: OpenFlowMessage, dialect: ExtensionDialect): void {
  switch (message.type) {
    case "experimenter":
      writer.u32(message.experimenter).u32(message.expType).put(message.data);
      return;
    case "bundle_control":
      writer.u32(ONF_EXPERIMENTER).u32(ONFT_BUNDLE_CONTROL);
      writeBundleControl(writer, message);
      return;
    case "bundle_add":
      writer.u32(ONF_EXPERIMENTER).u32(ONFT_BUNDLE_ADD_MESSAGE);
      writeBundleAdd(writer, message);
      return;
    case "flow_mod":
      writer.u32(NX_EXPERIMENTER).u32(NXT.flow_mod);
      flow10.writeNiciraFlowMod(writer, message, dialect.flowModTableId);
      return;
    case "group_mod":
      writer.u32(NX_EXPERIMENTER).u32(NXT_GROUP_MOD);
      writeGroupMod15(writer, message);
      return;
    case "flow_removed":
      writer.u32(NX_EXPERIMENTER).u32(NXT.flow_removed);
      flow10.writeNiciraFlowRemoved(writer, message);
      return;
    case "packet_in":
      writer.u32(NX_EXPERIMENTER).u32(message.encoding === "nxm2" ? NXT.packet_in2 : NXT.packet_in);
      if (message.encoding === "nxm2") writeNiciraPacketIn2(writer, message);
      else writeNiciraPacketIn(writer, message);
      return;
    case "resume":
      writer.u32(NX_EXPERIMENTER).u32(NXT.resume);
      writeResume(writer, message);
      return;
    case "flow_monitor_cancel":
    case "flow_monitor_paused":
    case "flow_monitor_resumed": {
      const expType = ONFT_FLOW_MONITOR_CANCEL + MONITOR_TYPES.indexOf(message.type);
      if (dialect.version === OFP10_VERSION) writer.u32(NX_EXPERIMENTER).u32(NXT[message.type]);
      else writer.u32(ONF_EXPERIMENTER).u32(expType);
      if (message.type === "flow_monitor_cancel") writer.u32(message.monitorId);
      return;
    }
    default:
      writeNiciraMessage(writer, message);
  }
}
