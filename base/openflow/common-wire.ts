// The messages whose bytes are the same in OpenFlow 1.0 and 1.3, but for the version in their header.
// Source: OpenFlow Switch Specification 1.0.0, 5.1, and 1.3.5, 7.1.

import type { OpenFlowMessage } from "./messages.js";
import * as sw from "./switch-wire.js";
import type { Reader, Writer } from "./wire.js";

export type CommonType =
  | "hello"
  | "error"
  | "echo_request"
  | "echo_reply"
  | "features_request"
  | "get_config_request"
  | "get_config_reply"
  | "set_config"
  | "barrier_request"
  | "barrier_reply";

/** Undefined when the type is none of these. `version` is the header's. */
export function readCommon(
  type: OpenFlowMessage["type"],
  reader: Reader,
  xid: number,
  version: number,
): OpenFlowMessage | undefined {
  switch (type) {
    case "hello":
      return sw.readHello(reader, xid, version);
    case "error":
      return sw.readError(reader, xid);
    case "echo_request":
    case "echo_reply":
      return { type, xid, data: reader.rest() };
    case "features_request":
    case "get_config_request":
    case "barrier_request":
    case "barrier_reply":
      return { type, xid };
    case "get_config_reply":
    case "set_config":
      return sw.readConfig(reader, xid, type);
    default:
      return undefined;
  }
}

/** False when the message is none of these, or has no body: nothing is written then. */
export function writeCommon(writer: Writer, message: OpenFlowMessage): boolean {
  switch (message.type) {
    case "hello":
      sw.writeHello(writer, message);
      return true;
    case "error":
      sw.writeError(writer, message);
      return true;
    case "experimenter_error":
      sw.writeExperimenterError(writer, message);
      return true;
    case "echo_request":
    case "echo_reply":
      writer.put(message.data);
      return true;
    case "get_config_reply":
    case "set_config":
      sw.writeConfig(writer, message);
      return true;
    default:
      return false;
  }
}
