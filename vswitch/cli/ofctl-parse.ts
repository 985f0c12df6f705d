// Verbs of `plinth ofctl` that need no switch: they show how a text or a recording is understood.
import { encodeMessage, type OpenFlowMessage, parseMessage } from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { readLines } from "./flow-file.js";
import { FLOW_PARTS, parseFlow } from "./flow-text.js";
import { parseGroup } from "./group-text.js";
import { formatMessage } from "./message-print.js";
import { flowModOf } from "./ofctl-flows.js";

/** The version that this client speaks. */
const CHOSEN = "usable protocols: any\nchosen protocol: OXM-OpenFlow13\n";

export async function parseFlowVerb(io: CommandIo, [text = ""]: readonly string[]): Promise<number> {
  io.out(CHOSEN);
  io.out(formatFlowMod(text, 1));
  return 0;
}

export async function parseFlowsVerb(io: CommandIo, [path = "-"]: readonly string[]): Promise<number> {
  const lines = await readLines(io, path);
  io.out(CHOSEN);
  let xid = 0;
  for (const line of lines) io.out(line.parse((text) => formatFlowMod(text, ++xid)));
  return 0;
}

function formatFlowMod(text: string, xid: number): string {
  const mod = { ...flowModOf("add", parseFlow(text, { parts: FLOW_PARTS })), xid } as OpenFlowMessage;
  // Once over the wire: what is shown is what a switch would see.
  return formatMessage(parseMessage(encodeMessage(mod)));
}

export async function parseGroupVerb(io: CommandIo, [text = ""]: readonly string[]): Promise<number> {
  const { groupId = 0, groupType = "all", buckets } = parseGroup(text, { needsId: true });
  io.out(CHOSEN);
  io.out(formatMessage({ type: "group_mod", xid: 1, command: "add", groupId, groupType, buckets }));
  return 0;
}
