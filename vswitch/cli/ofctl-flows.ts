// Verbs of `plinth ofctl` about flows. Source: ovs-ofctl(8).
import {
  type FlowMod,
  type FlowModCommand,
  type FlowStats,
  OFP_NO_BUFFER,
  OFP10_VERSION,
  OFPG_ANY,
  OFPP_ANY,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { readLines } from "./flow-file.js";
import { sortFlows } from "./flow-order.js";
import {
  FILTER_PARTS,
  FLOW_PARTS,
  type FlowPart,
  type FlowText,
  formatFlow,
  formatPriorityAndMatch,
  parseFlow,
} from "./flow-text.js";
import { formatInstructions } from "./instruction-text.js";
import type { OfctlContext } from "./ofctl-context.js";
import { bodiesOf, type Reply } from "./openflow-client.js";
import { P_ANY, type ProtocolSet } from "./protocol-set.js";

const STRICT_PARTS: ReadonlySet<FlowPart> = new Set(["out", "priority"]);
/** Words that may begin a line of add-flows. */
const LINE_COMMANDS: readonly FlowModCommand[] = [
  "add",
  "modify_strict",
  "modify",
  "delete_strict",
  "delete",
];

/** What a flow may say beside its match, by what is to be done with it. */
export function partsOf(command: FlowModCommand): ReadonlySet<FlowPart> {
  switch (command) {
    case "add":
    case "modify_strict":
    case "modify":
      return FLOW_PARTS;
    case "delete":
      return FILTER_PARTS;
    case "delete_strict":
      return STRICT_PARTS;
  }
}

/** The flow-mod for a flow as text. */
export function flowModOf(command: FlowModCommand, flow: FlowText): Omit<FlowMod, "xid"> {
  const isDelete = command === "delete" || command === "delete_strict";
  if (!isDelete && flow.instructions === undefined) throw flowTextError("must specify an action");
  if (command === "add" && flow.cookieMask !== 0n)
    throw flowTextError("flow additions cannot use a cookie mask");
  return {
    type: "flow_mod",
    command,
    tableId: flow.tableId ?? (isDelete ? OFPTT_ALL : 0),
    cookie: flow.cookie,
    cookieMask: flow.cookieMask,
    idleTimeoutSeconds: flow.idleTimeoutSeconds,
    hardTimeoutSeconds: flow.hardTimeoutSeconds,
    priority: flow.priority ?? 0x8000,
    bufferId: OFP_NO_BUFFER,
    outPort: flow.outPort ?? OFPP_ANY,
    outGroup: flow.outGroup ?? OFPG_ANY,
    flags: flow.flags,
    ...(flow.importance === 0 ? {} : { importance: flow.importance }),
    match: flow.match,
    instructions: isDelete ? [] : (flow.instructions ?? []),
  };
}

type Mods = readonly Omit<FlowMod, "xid">[];
interface ReadFlows {
  readonly flows: readonly FlowText[];
  readonly mods: Mods;
}

/** `read` is told in whose words; what it reads is sent in a protocol that can say it. */
async function sendFlows(context: OfctlContext, read: (version?: number) => ReadFlows): Promise<number> {
  const { flows } = read();
  context.note(flows);
  const usable = flows.reduce((set: ProtocolSet, { protocols }) => set & protocols, P_ANY);
  await context.change(read(await context.settleForChange(usable)).mods);
  return 0;
}

export function modifyFlows(command: "add" | "modify" | "delete") {
  return async (context: OfctlContext, [text = ""]: readonly string[]): Promise<number> => {
    if (command === "add" && text === "-") return modifyFlowsOfFile(command)(context, [text]);
    const strict = context.flags.strict && command !== "add";
    const exact = (strict ? `${command}_strict` : command) as FlowModCommand;
    const ports = await context.numbers([text]);
    return sendFlows(context, (version) => {
      const flow = parseFlow(text, {
        ...{ parts: partsOf(exact), ports },
        ...(version === undefined ? {} : { version }),
      });
      return { flows: [flow], mods: [flowModOf(exact, flow)] };
    });
  };
}

/** add-flows, mod-flows and del-flows of a file: each line may say what is to be done with it. */
export function modifyFlowsOfFile(command: "add" | "modify" | "delete") {
  return async (context: OfctlContext, [path = "-"]: readonly string[]): Promise<number> => {
    const lines = await readLines(context.io, path);
    const ports = await context.numbers(lines.map(({ text }) => text));
    const usual = (
      context.flags.strict && command !== "add" ? `${command}_strict` : command
    ) as FlowModCommand;
    return sendFlows(context, (version) => {
      const read = lines.map((line) =>
        line.parse((text) => {
          const { rest, given = usual } = lineCommand(text);
          const flow = parseFlow(rest, {
            ...{ parts: partsOf(given), ports },
            ...(version === undefined ? {} : { version }),
          });
          return { flow, mod: flowModOf(given, flow) };
        }),
      );
      return { flows: read.map(({ flow }) => flow), mods: read.map(({ mod }) => mod) };
    });
  };
}

export function lineCommand(text: string): {
  readonly rest: string;
  readonly given: FlowModCommand | undefined;
} {
  const word = /^(\w+)(?=[\s]|$)/.exec(text)?.[1];
  const given = LINE_COMMANDS.find((one) => one === word);
  return { given, rest: given === undefined ? text : text.slice(given.length).trim() };
}

/** The flows that `text` selects. */
async function statsOf(
  context: OfctlContext,
  kind: "flow" | "aggregate",
  text: string,
): Promise<readonly Reply[]> {
  const ports = text === "" ? undefined : await context.numbers([text]);
  const flow = parseFlow(text, { parts: FILTER_PARTS, ports });
  context.note([flow]);
  const isNxm = await context.settleForDump(flow.protocols);
  const body = {
    kind,
    tableId: flow.tableId ?? OFPTT_ALL,
    outPort: flow.outPort ?? OFPP_ANY,
    outGroup: flow.outGroup ?? OFPG_ANY,
    cookie: flow.cookie,
    cookieMask: flow.cookieMask,
    match: flow.match,
    ...(isNxm ? { encoding: "nxm" as const } : {}),
  };
  return context.answers({ type: "multipart_request", flags: 0, body });
}

export async function dumpFlows(context: OfctlContext, [text = ""]: readonly string[]): Promise<number> {
  const { flags, io } = context;
  const replies = await statsOf(context, "flow", text);
  const flows = bodiesOf(replies).flatMap((body) => (body.kind === "flow" ? body.flows : []));
  const sorted = sortFlows(flows, flags.sort);
  if (flags.json) context.printJson(sorted);
  else if (flags.sort.length === 0 && flags.names !== true && flags.stats) await context.print(replies);
  else {
    const names = await context.names();
    const { version } = context.client;
    // In 1.0 the original learns no ages on this way.
    const told = ({ idleAgeSeconds, hardAgeSeconds, ...flow }: FlowStats): FlowStats =>
      version === OFP10_VERSION
        ? flow
        : {
            ...flow,
            ...(idleAgeSeconds === undefined ? {} : { idleAgeSeconds }),
            ...(hardAgeSeconds === undefined ? {} : { hardAgeSeconds }),
          };
    for (const flow of sorted) io.out(`${formatFlow(told(flow), { stats: flags.stats, names, version })}\n`);
  }
  return 0;
}

export async function dumpAggregate(context: OfctlContext, [text = ""]: readonly string[]): Promise<number> {
  await context.print(await statsOf(context, "aggregate", text));
  return 0;
}

// --- Whole tables

/** Flows by what makes two of them the same: table, priority and match. */
export type FlowSet = ReadonlyMap<string, FlowText & { readonly tableId: number }>;

export async function flowsOfSwitch(context: OfctlContext): Promise<FlowSet> {
  const replies = await statsOf(context, "flow", "");
  const flows = bodiesOf(replies).flatMap((body) => (body.kind === "flow" ? body.flows : []));
  return collect(flows.map((flow: FlowStats) => ({ ...BLANK, ...flow, flags: flow.flags })));
}

export async function flowsOfFile(
  io: OfctlContext["io"],
  path: string,
  numbers: (texts: readonly string[]) => ReturnType<OfctlContext["numbers"]>,
): Promise<FlowSet> {
  const lines = await readLines(io, path);
  const ports = await numbers(lines.map(({ text }) => text));
  return collect(lines.map((line) => line.parse((text) => parseFlow(text, { parts: FLOW_PARTS, ports }))));
}

const BLANK = {
  ...({ cookieMask: 0n, outPort: undefined, outGroup: undefined, notes: [] } as const),
  ...{ importance: 0, protocols: P_ANY },
};

function collect(flows: readonly FlowText[]): FlowSet {
  const found = new Map<string, FlowText & { readonly tableId: number }>();
  for (const flow of flows) {
    const tableId = flow.tableId ?? 0;
    found.set(textOf({ ...flow, tableId }, "identity"), {
      ...flow,
      tableId,
      priority: flow.priority ?? 0x8000,
    });
  }
  return found;
}

/** A line of diff-flows. "identity" leaves out what may differ between two versions of a flow. */
function textOf(flow: FlowText & { readonly tableId: number }, what: "identity" | "whole"): string {
  const whole = what === "whole";
  const parts = [
    ...(flow.tableId === 0 ? [] : [`table=${flow.tableId} `]),
    `${identityOf(flow)} `,
    ...(whole && flow.cookie !== 0n ? [`cookie=0x${flow.cookie.toString(16)} `] : []),
    ...(whole && flow.idleTimeoutSeconds !== 0 ? [`idle_timeout=${flow.idleTimeoutSeconds} `] : []),
    ...(whole && flow.hardTimeoutSeconds !== 0 ? [`hard_timeout=${flow.hardTimeoutSeconds} `] : []),
    ...(whole && flow.importance !== 0 ? [`importance=${flow.importance} `] : []),
    ...(whole ? [formatActionsOf(flow)] : []),
  ];
  return parts.join("");
}

function identityOf(flow: FlowText): string {
  return formatPriorityAndMatch(flow.priority ?? 0x8000, flow.match);
}

function formatActionsOf({ instructions }: FlowText): string {
  return `actions=${formatInstructions(instructions ?? [])}`;
}

/** Makes the switch's flows those of the file, touching only what differs. */
export async function replaceFlows(context: OfctlContext, [path = "-"]: readonly string[]): Promise<number> {
  const wanted = await flowsOfFile(context.io, path, (texts) => context.numbers(texts));
  const actual = await flowsOfSwitch(context);
  const mods: Omit<FlowMod, "xid">[] = [];
  for (const [key, flow] of actual) {
    if (!wanted.has(key))
      mods.push({ ...flowModOf("delete_strict", { ...flow, cookieMask: 0n, cookie: 0n }) });
  }
  for (const [key, flow] of wanted) {
    const there = actual.get(key);
    if (there !== undefined && !context.flags.readd && textOf(there, "whole") === textOf(flow, "whole"))
      continue;
    mods.push(flowModOf("add", flow));
  }
  await context.change(mods);
  return 0;
}

/** Lines that tell how to come from `before` to `after`; none when they are the same. */
export function diffFlows(before: FlowSet, after: FlowSet): string[] {
  const lines: string[] = [];
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  for (const key of keys) {
    const [a, b] = [before.get(key), after.get(key)];
    const [left, right] = [a && textOf(a, "whole"), b && textOf(b, "whole")];
    if (left === right) continue;
    if (left !== undefined) lines.push(`-${left}\n`);
    if (right !== undefined) lines.push(`+${right}\n`);
  }
  return lines;
}
