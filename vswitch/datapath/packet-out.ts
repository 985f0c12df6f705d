// What a packet-out asks for, checked and compiled. Source: OpenFlow 1.3.5, 7.3.7. Thread: datapath worker.
import {
  OFP_NO_BUFFER,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_LOCAL,
  type PacketOut,
} from "../../base/openflow/index.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "../../base/packet/index.js";
import { compileActions, flowError, type Program } from "../flow/index.js";
import { OFPORT_MAX } from "./limits.js";

/** Sources beside ports: OFPP_ANY is OFPP_NONE of OpenFlow 1.0, "no port" (1.0.0, 5.3.6). */
const WITHOUT_PORT: readonly number[] = [OFPP_CONTROLLER, OFPP_LOCAL, OFPP_ANY];

/** Throws PlinthError with the OpenFlow error's name as code. */
export function compilePacketOut(message: PacketOut, groupExists: (id: number) => boolean): Program {
  if (message.bufferId !== OFP_NO_BUFFER)
    throw flowError("OFPBRC_BUFFER_UNKNOWN", "this switch buffers no packets");
  const size = message.data.byteLength;
  if (size < FRAME_SIZE_MIN || size > FRAME_SIZE_MAX)
    throw flowError("OFPBRC_BAD_PACKET", `a frame of ${size} bytes`);
  if (message.inPort > OFPORT_MAX && !WITHOUT_PORT.includes(message.inPort))
    throw flowError("OFPBRC_BAD_PORT", `in_port ${message.inPort}`);
  const context = { groupExists, portExists: () => true };
  return compileActions(message.actions, context, undefined);
}
