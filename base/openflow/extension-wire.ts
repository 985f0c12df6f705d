// Experimenter messages whose meaning we know, by experimenter and type; the others stay bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.5.4; ONF extension 230.

import {
  ONFT_BUNDLE_ADD_MESSAGE,
  ONFT_BUNDLE_CONTROL,
  readBundleAdd,
  readBundleControl,
  writeBundleAdd,
  writeBundleControl,
} from "./bundle-wire.js";
import { ONF_EXPERIMENTER } from "./constants.js";
import type { ExtensionMessage } from "./extension-messages.js";
import type { Experimenter } from "./messages.js";
import type { Reader, Writer } from "./wire.js";

export function readExperimenter(reader: Reader, xid: number): Experimenter | ExtensionMessage {
  const experimenter = reader.u32("experimenter.experimenter");
  const expType = reader.u32("experimenter.exp_type");
  if (experimenter === ONF_EXPERIMENTER) {
    if (expType === ONFT_BUNDLE_CONTROL) return readBundleControl(reader, xid);
    if (expType === ONFT_BUNDLE_ADD_MESSAGE) return readBundleAdd(reader, xid);
  }
  return { type: "experimenter", xid, experimenter, expType, data: reader.rest() };
}

export function writeExperimenter(writer: Writer, message: Experimenter | ExtensionMessage): void {
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
  }
}
