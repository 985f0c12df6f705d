// What a controller wants done with a packet, checked and compiled: by packet-out, or on from where it was paused.
// Source: OpenFlow 1.3.5, 7.3.7; ovs-actions(7), controller, "pause". Thread: datapath worker.
import { createHash } from "node:crypto";
import {
  OFP_NO_BUFFER,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_LOCAL,
  OFPTT_MAX,
  type PacketOut,
  type Resume,
} from "../../base/openflow/index.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "../../base/packet/index.js";
import {
  type ActionContext,
  compileActions,
  type FlowTables,
  flowError,
  type Program,
  Resumption,
} from "../flow/index.js";
import { OFPORT_MAX } from "./limits.js";

/** Sources beside ports: OFPP_ANY is OFPP_NONE of OpenFlow 1.0, "no port" (1.0.0, 5.3.6). */
const WITHOUT_PORT: readonly number[] = [OFPP_CONTROLLER, OFPP_LOCAL, OFPP_ANY];

/** Throws PlinthError with the OpenFlow error's name as code. */
export function compilePacketOut(message: PacketOut, tables: FlowTables): Program {
  if (message.bufferId !== OFP_NO_BUFFER)
    throw flowError("OFPBRC_BUFFER_UNKNOWN", "this switch buffers no packets");
  requireFrame(message.data);
  requireSource(message.inPort);
  return compileActions(message.actions, contextOf(tables), undefined);
}

/** Throws as compilePacketOut() does; NXR_STALE for what was paused by another bridge than the one named `id`. */
export function checkResume(message: Resume, id: Uint8Array, tables: FlowTables): Resumption {
  const { continuation, match } = message;
  if (continuation.bridge.some((byte, i) => byte !== id[i]))
    throw flowError("NXR_STALE", "the packet was not paused by this bridge");
  requireFrame(message.data);
  const resumption = new Resumption(continuation, match, contextOf(tables), OFPTT_MAX);
  requireSource(resumption.inPort);
  return resumption;
}

function contextOf({ groups, options }: FlowTables): ActionContext {
  return { groupExists: (id) => groups.has(id), options };
}

function requireFrame({ byteLength }: Uint8Array): void {
  if (byteLength < FRAME_SIZE_MIN || byteLength > FRAME_SIZE_MAX)
    throw flowError("OFPBRC_BAD_PACKET", `a frame of ${byteLength} bytes`);
}

function requireSource(inPort: number): void {
  if (inPort === 0 || (inPort > OFPORT_MAX && !WITHOUT_PORT.includes(inPort)))
    throw flowError("OFPBRC_BAD_PORT", `in_port ${inPort}`);
}

/** Names the bridge in continuations: the same whenever a bridge has this name. */
export function bridgeId(name: string): Uint8Array {
  return Uint8Array.from(createHash("sha256").update(name).digest().subarray(0, 16));
}
