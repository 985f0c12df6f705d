// The ports in a features reply of OpenFlow before 1.3, which has no room for more than so many.
// Source: ovs-ofctl(8), show; OpenFlow 1.0.0, 5.3.1. Pure.
import { featuresPortsMax, OFP13_VERSION, type PortDescription } from "../../base/openflow/index.js";
import type { Reply } from "./openflow-client.js";

/** Of a message with its header, up to the ports. */
const FEATURES_SIZE = 32;

/** All ports; undefined where they are to be asked for by themselves. */
export function portsOfFeatures(
  reply: Reply | undefined,
  version: number,
): readonly PortDescription[] | undefined {
  if (version >= OFP13_VERSION || reply?.message?.type !== "features_reply") return undefined;
  const { ports = [] } = reply.message.openflow10 ?? {};
  return ports.length < featuresPortsMax(version) ? ports : undefined;
}

/** The reply without what of the ports it has. */
export function withoutPorts(reply: Reply): Reply {
  const { message } = reply;
  if (message?.type !== "features_reply" || message.openflow10 === undefined) return reply;
  const bytes = reply.bytes.slice(0, FEATURES_SIZE);
  new DataView(bytes.buffer).setUint16(2, FEATURES_SIZE);
  return { bytes, message: { ...message, openflow10: { ...message.openflow10, ports: [] } } };
}
