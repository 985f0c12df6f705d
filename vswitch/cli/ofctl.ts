// `plinth ofctl`: the everyday verbs of ovs-ofctl over OpenFlow 1.3, against any switch.
import {
  type FlowMod,
  type FlowModCommand,
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPP_ANY,
  OFPTT_ALL,
  type PortDescription,
  type PortStats,
} from "../../base/openflow/index.js";
import { formatAction } from "./action-text.js";
import { flowTextError, usageError } from "./errors.js";
import { formatPort, parsePort } from "./field-text.js";
import { type FlowText, formatFlow, parseFlow } from "./flow-text.js";
import { OpenFlowClient } from "./openflow-client.js";

export interface OfctlOptions {
  /** "unix:PATH" or "tcp:HOST:PORT" of the switch. */
  readonly target: string;
  readonly timeoutMs?: number;
  readonly print: (line: string) => void;
}

type Run = (client: OpenFlowClient, args: readonly string[], print: (line: string) => void) => Promise<void>;

interface OfctlVerb {
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  readonly run: Run;
}

const FLOWS_MAX = 100_000;

export const OFCTL_VERBS: ReadonlyMap<string, OfctlVerb> = new Map([
  ["show", verb("", 0, 0, show)],
  ["dump-flows", verb("[FLOW]", 0, 1, dumpFlows)],
  ["dump-tables", verb("", 0, 0, dumpTables)],
  ["dump-groups", verb("", 0, 0, dumpGroups)],
  ["dump-ports", verb("[PORT]", 0, 1, dumpPorts)],
  ["dump-ports-desc", verb("", 0, 0, dumpPortDescriptions)],
  ["add-flow", verb("FLOW...", 1, FLOWS_MAX, (client, flows) => modify(client, "add", flows))],
  ["mod-flows", verb("FLOW...", 1, FLOWS_MAX, (client, flows) => modify(client, "modify", flows))],
  [
    "del-flows",
    verb("[FLOW]", 0, 1, (client, flows) => modify(client, "delete", flows.length === 0 ? [""] : flows)),
  ],
]);

function verb(usage: string, argumentsMin: number, argumentsMax: number, run: Run): OfctlVerb {
  return { usage, argumentsMin, argumentsMax, run };
}

/** Runs one verb. Rejects with USAGE, FLOW_TEXT_INVALID, OPENFLOW_REFUSED, OPENFLOW_UNREACHABLE or OPENFLOW_TIMEOUT. */
export async function runOfctl(name: string, args: readonly string[], options: OfctlOptions): Promise<void> {
  const found = OFCTL_VERBS.get(name);
  if (found === undefined || args.length < found.argumentsMin || args.length > found.argumentsMax) {
    const form =
      found === undefined
        ? `verbs: ${[...OFCTL_VERBS.keys()].join(", ")}`
        : `usage: ${name} SWITCH ${found.usage}`;
    throw usageError("ofctl", form);
  }
  const client = await OpenFlowClient.connect(options.target, options.timeoutMs ?? 10_000);
  try {
    await found.run(client, args, options.print);
  } finally {
    client.close();
  }
}

/** The flow-mod for a flow as text. */
export function flowModOf(command: FlowModCommand, flow: FlowText): Omit<FlowMod, "xid"> {
  const isDelete = command === "delete" || command === "delete_strict";
  if (!isDelete && flow.instructions === undefined) {
    throw flowTextError("the flow lacks its actions: end it with actions=…");
  }
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
    outGroup: OFPG_ANY,
    flags: 0,
    match: flow.match,
    instructions: isDelete ? [] : (flow.instructions ?? []),
  };
}

async function modify(
  client: OpenFlowClient,
  command: FlowModCommand,
  flows: readonly string[],
): Promise<void> {
  await client.send(flows.map((text) => flowModOf(command, parseFlow(text))));
}

async function show(
  client: OpenFlowClient,
  _args: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  const features = await client.features();
  print(
    `dpid:${features.datapathId.toString(16).padStart(16, "0")} n_tables:${features.tableCount} n_buffers:${features.bufferCount}`,
  );
  await dumpPortDescriptions(client, [], print);
}

async function dumpFlows(
  client: OpenFlowClient,
  [text]: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  const flow = parseFlow(text ?? "");
  const replies = await client.request({
    kind: "flow",
    tableId: flow.tableId ?? OFPTT_ALL,
    outPort: flow.outPort ?? OFPP_ANY,
    outGroup: OFPG_ANY,
    cookie: flow.cookie,
    cookieMask: flow.cookieMask,
    match: flow.match,
  });
  for (const reply of replies)
    if (reply.kind === "flow") for (const one of reply.flows) print(formatFlow(one));
}

async function dumpTables(
  client: OpenFlowClient,
  _args: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  for (const reply of await client.request({ kind: "table" })) {
    if (reply.kind !== "table") continue;
    for (const { tableId, activeCount, lookupCount, matchedCount } of reply.tables) {
      if (activeCount > 0 || lookupCount > 0n)
        print(` table ${tableId}: active=${activeCount}, lookup=${lookupCount}, matched=${matchedCount}`);
    }
  }
}

async function dumpGroups(
  client: OpenFlowClient,
  _args: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  for (const reply of await client.request({ kind: "group_desc" })) {
    if (reply.kind !== "group_desc") continue;
    for (const { groupId, groupType, buckets } of reply.groups) {
      const parts = buckets.map(({ actions }) => `bucket=actions=${actions.map(formatAction).join(",")}`);
      print([` group_id=${groupId}`, `type=${groupType}`, ...parts].join(","));
    }
  }
}

async function dumpPorts(
  client: OpenFlowClient,
  [port]: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  const replies = await client.request({
    kind: "port_stats",
    port: port === undefined ? OFPP_ANY : parsePort(port),
  });
  for (const reply of replies)
    if (reply.kind === "port_stats") for (const one of reply.ports) print(formatPortStats(one));
}

function formatPortStats(stats: PortStats): string {
  const rx = `rx pkts=${stats.rxPackets}, bytes=${stats.rxBytes}, drop=${stats.rxDropped}, errs=${stats.rxErrors}`;
  const tx = `tx pkts=${stats.txPackets}, bytes=${stats.txBytes}, drop=${stats.txDropped}, errs=${stats.txErrors}`;
  return `  port ${formatPort(stats.port)}: ${rx}\n           ${tx}`;
}

async function dumpPortDescriptions(
  client: OpenFlowClient,
  _args: readonly string[],
  print: (line: string) => void,
): Promise<void> {
  for (const reply of await client.request({ kind: "port_desc" })) {
    if (reply.kind === "port_desc") for (const port of reply.ports) print(formatPortDescription(port));
  }
}

function formatPortDescription({ port, name, macAddress, config, state }: PortDescription): string {
  const mac = [...macAddress].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  return ` ${formatPort(port)}(${name}): addr:${mac} config:${config} state:${(state & 1) !== 0 ? "LINK_DOWN" : "LIVE"}`;
}
