// Verbs of `plinth ofctl` that need no switch: they show how a text or a recording is understood.
import type { OpenFlowMessage } from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { readLines } from "./flow-file.js";
import { FLOW_PARTS, parseFlow } from "./flow-text.js";
import { parseGroup } from "./group-text.js";
import { formatMessage } from "./message-print.js";
import { tellNotes } from "./ofctl-context.js";
import { flowModOf } from "./ofctl-flows.js";

/** The version that this client speaks. */
const CHOSEN = "usable protocols: any\nchosen protocol: OXM-OpenFlow13\n";
const CHOSEN_VERSION = "usable protocols: any\nchosen version: OpenFlow13\n";

export async function parseFlowVerb(io: CommandIo, [text = ""]: readonly string[]): Promise<number> {
  io.out(CHOSEN + formatFlowMod(io, text, 1));
  return 0;
}

export async function parseFlowsVerb(io: CommandIo, [path = "-"]: readonly string[]): Promise<number> {
  const lines = await readLines(io, path);
  let xid = 0;
  // Nothing is shown of a file that has a fault.
  const told = lines.map((line) => line.parse((text) => formatFlowMod(io, text, ++xid)));
  io.out(CHOSEN + told.join(""));
  return 0;
}

/** By its bytes: what is shown is what a switch would see. What was left out goes to standard error. */
function formatFlowMod(io: CommandIo, text: string, xid: number): string {
  const flow = parseFlow(text, { parts: FLOW_PARTS });
  tellNotes(io, [flow]);
  return formatMessage({ ...flowModOf("add", flow), xid } as OpenFlowMessage);
}

export async function parseGroupVerb(io: CommandIo, [text = ""]: readonly string[]): Promise<number> {
  const { groupId = 0, groupType = "all", buckets } = parseGroup(text, { needsId: true });
  io.out(CHOSEN_VERSION);
  io.out(formatMessage({ type: "group_mod", xid: 1, command: "add", groupId, groupType, buckets }));
  return 0;
}
