// Table classify: which segment and identity a frame starts with. Access ports are untagged, so a tag is a lie. Pure.
import { OFPVID_PRESENT } from "../../../base/openflow/index.js";
import { load } from "../../pipeline/actions.js";
import { buildFlow, type Flow } from "../../pipeline/flow.js";

const TABLE = "classify";

export function classifyBaseFlows(): Flow[] {
  return [
    buildFlow({
      table: TABLE,
      priority: 200,
      match: { vlan_vid: { value: OFPVID_PRESENT, mask: OFPVID_PRESENT } },
      origin: { resource: "Pipeline", reason: "tagged-frame" },
    }),
    buildFlow({
      table: TABLE,
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "unknown-port" },
    }),
  ];
}

/** `resource` is the Port or NetworkFunction behind the switch port. */
export function classifyPortFlows(
  resource: string,
  ofport: number,
  segmentId: number,
  identity: number,
): Flow[] {
  return [
    // Ahead of what is said of all ports, so that who sends such frames is named.
    buildFlow({
      table: TABLE,
      priority: 210,
      match: { in_port: ofport, vlan_vid: { value: OFPVID_PRESENT, mask: OFPVID_PRESENT } },
      origin: { resource, reason: "tagged-frame" },
    }),
    buildFlow({
      table: TABLE,
      priority: 100,
      match: { in_port: ofport },
      actions: [load("reg0", segmentId), load("reg2", identity)],
      next: "guard",
      origin: { resource },
    }),
  ];
}
