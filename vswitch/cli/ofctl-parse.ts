// Verbs of `plinth ofctl` that need no switch: they show how a text is understood and what a switch would be sent.
import {
  type AnyDialect,
  encodeMessage,
  OFP10_VERSION,
  OFPTT_ALL,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { commandError } from "./errors.js";
import { readLines } from "./flow-file.js";
import { FLOW_PARTS, type FlowText, parseFlow } from "./flow-text.js";
import { parseGroup } from "./group-text.js";
import { printMessage } from "./message-print.js";
import { type OfctlFlags, tellNotes } from "./ofctl-context.js";
import { flowModOf } from "./ofctl-flows.js";
import {
  P_ANY,
  type ProtocolSet,
  preferredProtocol,
  protocolsOfVersions,
  protocolsText,
} from "./protocol-set.js";

const VERBOSITY = 0;

export async function parseFlowVerb(
  io: CommandIo,
  [text = ""]: readonly string[],
  flags: OfctlFlags,
): Promise<number> {
  const flow = parseFlow(text, { parts: FLOW_PARTS, isNew: true });
  flowModOf("add", flow);
  return tellFlows(io, flags, [flow], (version) => [
    additionOf(parseFlow(text, { parts: FLOW_PARTS, isNew: true, version }), version),
  ]);
}

export async function parseFlowsVerb(
  io: CommandIo,
  [path = "-"]: readonly string[],
  flags: OfctlFlags,
): Promise<number> {
  const lines = await readLines(io, path);
  const read = (version?: number) =>
    lines.map((line) =>
      line.parse((text) => {
        // Other than in a file of add-flows, nothing but flows: no commands in front of them.
        const flow = parseFlow(text, { parts: FLOW_PARTS, ...(version === undefined ? {} : { version }) });
        return { flow, mod: additionOf(flow, version) };
      }),
    );
  // Nothing is shown of a file that has a fault.
  const flows = read().map(({ flow }) => flow);
  return tellFlows(io, flags, flows, (version) => read(version).map(({ mod }) => mod));
}

/** Where 1.0 has a place for a table, a flow that names none leaves it to the switch. */
function additionOf(flow: FlowText, version: number | undefined): OpenFlowMessage {
  const tableId = flow.tableId ?? (version === OFP10_VERSION ? OFPTT_ALL : 0);
  return { ...flowModOf("add", flow), tableId } as OpenFlowMessage;
}

/** What can carry all of `flows`, what is chosen, and the messages that `modsIn` makes for its version. */
function tellFlows(
  io: CommandIo,
  flags: OfctlFlags,
  flows: readonly FlowText[],
  modsIn: (version: number) => readonly OpenFlowMessage[],
): number {
  // What was left out goes to standard error.
  tellNotes(io, flows);
  const usable = flows.reduce((set: ProtocolSet, { protocols }) => set & protocols, P_ANY);
  io.out(`usable protocols: ${protocolsText(usable)}\n`);
  const chosen = preferredProtocol(usable & allowedProtocols(flags));
  if (chosen === undefined) throw commandError("no usable protocol");
  io.out(`chosen protocol: ${chosen.name}\n`);
  const { version, isNxm, hasTableId } = chosen;
  const dialect = { version, isNxm, flowModTableId: hasTableId } as AnyDialect;
  for (const [i, mod] of modsIn(version).entries()) {
    const bytes = encodeMessage({ ...mod, xid: i + 1 }, dialect);
    io.out(printMessage(bytes, { verbosity: VERBOSITY + flags.more }));
  }
  return 0;
}

/** By -O and -F; 1.0 where nothing is asked for, as the original. */
function allowedProtocols({ versions, protocols }: OfctlFlags): ProtocolSet {
  return protocolsOfVersions(versions ?? [OFP10_VERSION]) & (protocols ?? P_ANY);
}

export async function parseGroupVerb(
  io: CommandIo,
  [text = ""]: readonly string[],
  flags: OfctlFlags,
): Promise<number> {
  const { protocols } = parseGroup(text, { needsId: true });
  io.out(`usable protocols: ${protocolsText(protocols)}\n`);
  const chosen = preferredProtocol(protocols & allowedProtocols(flags));
  if (chosen === undefined) throw commandError("no usable protocol");
  io.out(`chosen version: OpenFlow1${chosen.version - 1}\n`);
  const dialect = { version: chosen.version, flowModTableId: false } as AnyDialect;
  const { version } = chosen;
  const { groupId = 0, groupType = "all", buckets, selection } = parseGroup(text, { needsId: true, version });
  const mod = { type: "group_mod", xid: 1, command: "add", groupId, groupType, buckets } as const;
  io.out(
    printMessage(encodeMessage({ ...mod, ...(selection && { selection }) }, dialect), {
      verbosity: VERBOSITY + flags.more,
    }),
  );
  return 0;
}
