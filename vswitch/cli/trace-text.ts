// A trace as ofproto/trace of Open vSwitch prints it. Pure.
// Source: ovs-vswitchd(8), ofproto/trace. Steps without further siblings stand where their parent stood, so that a
// chain of tables does not wander to the right; everything else is indented below what it belongs to.
import { type Action, type FlowMod, OFP13_VERSION, OXM_FIELDS } from "../../base/openflow/index.js";
import { formatIpv6Address } from "../../base/wire/index.js";
import type { DropReason, PacketView, TraceEnds, TraceNode, TraceRun } from "../flow/index.js";
import { formatAction } from "./action-text.js";
import { formatFieldValue, numberToBytes } from "./field-text.js";
import { formatPriorityAndMatch } from "./flow-text.js";
import { formatMegaflow, formatPacket } from "./frame-text.js";
import { formatInstructions } from "./instruction-text.js";
import { formatMatch, formatStateBits, type PortNames } from "./match-text.js";
import { formatRange } from "./range-text.js";
import { actionsText, instructionsText } from "./version-text.js";

const RULER = "=".repeat(79);
/** How the original words what ended a packet; "" is told by the step itself. */
const DROPS: Readonly<Partial<Record<DropReason, string>>> = {
  "table-miss": "",
  "no-output": "",
  "ttl-exceeded": "TTL",
  "no-live-bucket": "     -> no live bucket",
  "output-to-input": "     >> skipping output to input port",
  "bad-port": "     >> Nonexistent output port",
  nesting: "     >>>> over max translation depth 64 <<<<",
  "vlan-not-allowed": "     >> disallowed VLAN VID for this input port, dropping",
  "reserved-address": "     -> packet has reserved destination MAC, dropping",
};

/** Names of ports, where they are to be told: of each bridge by OpenFlow number, and of the datapath by its numbers. */
export interface TraceNames {
  readonly ofBridge: (bridge: string) => PortNames;
  readonly ofDatapath: ReadonlyMap<number, string>;
}

/** What is told, and with which names: those of the bridge that the packet is on. */
interface Telling {
  readonly run: TraceRun;
  readonly all: TraceNames | undefined;
  readonly names: PortNames | undefined;
}

export function formatTrace(runs: readonly TraceRun[], names?: TraceNames): string {
  return runs.map((run) => formatRun({ run, all: names, names: names?.ofBridge(run.bridge) })).join("");
}

function formatRun(telling: Telling): string {
  const { run, all, names } = telling;
  const prefix = run.recirculation === 0 ? [] : [`recirc_id=0x${run.recirculation.toString(16)}`];
  const recirculated = run.recirculation !== 0;
  const flow = (view: PacketView): string => formatPacket(view, { prefix, withLayer: recirculated, names });
  const [start, end] = [flow(run.start), flow(run.end)];
  // Options that no tunnel brought are not told, but count.
  const isSame = start === end && tunnelOf(run.start) === tunnelOf(run.end);
  const title = `bridge("${run.bridge}")`;
  const recirculation = recirculated ? `0x${run.recirculation.toString(16)}` : "0";
  const megaflow = formatMegaflow(run.megaflow, recirculation, names);
  const actions = run.actions.map((one) =>
    /^\d+$/.test(one) ? (all?.ofDatapath.get(Number(one)) ?? one) : one,
  );
  return [
    ...(recirculated ? [`\n${RULER}\n${resumption(run)}\n${RULER}\n\n`] : []),
    `Flow: ${start}\n\n`,
    `${title}\n${"-".repeat(title.length)}\n`,
    formatNodes(run.nodes, 0, telling),
    `\nFinal flow: ${isSame ? "unchanged" : end}\n`,
    `Megaflow: ${megaflow}\n`,
    `Datapath actions: ${actions.length === 0 ? "drop" : actions.join(",")}\n`,
  ].join("");
}

function tunnelOf({ match }: PacketView): string {
  return formatMatch(match.filter(({ field }) => field.startsWith("tun_")));
}

function resumption(run: TraceRun): string {
  const id = `recirc(0x${run.recirculation.toString(16)})`;
  const entry = run.start.match.find(({ field }) => field === "ct_state");
  let bits = 0n;
  for (const byte of entry?.value ?? []) bits = (bits << 8n) | BigInt(byte);
  // "default" is spelled in this order by the original; a chosen state in the order of its bits.
  const state =
    run.state === "default"
      ? "default ct_state=trk|new (use --ct-next to customize)"
      : `ct_state=${formatStateBits(bits, undefined)}`;
  return [`${id} - resume conntrack with ${state}`, ...translationLines(run)].join("\n");
}

function translationLines({ translation }: TraceRun): string[] {
  if (translation === undefined) return [];
  const { ends } = translation;
  return [
    "Replacing src/dst IP/ports to simulate NAT:",
    ` Initial flow: ${formatEnds(ends?.before)}`,
    ` Modified flow: ${formatEnds(ends?.after)}`,
  ];
}

function formatEnds(ends: TraceEnds | undefined): string {
  if (ends === undefined) return "";
  const { source, sourcePort, destination, destinationPort } = ends;
  const isIpv4 = source.byteLength === 4;
  const address = (bytes: Uint8Array): string => (isIpv4 ? bytes.join(".") : `[${formatIpv6Address(bytes)}]`);
  const prefix = isIpv4 ? "nw" : "ipv6";
  const [from, to] = [address(source), address(destination)];
  return `${prefix}_src=${from},tp_src=${sourcePort},${prefix}_dst=${to},tp_dst=${destinationPort}`;
}

function formatNodes(all: readonly TraceNode[], level: number, telling: Telling): string {
  // What is not told is no sibling.
  const nodes = all.filter((node) => "nodes" in node || linesOf(node, telling).length > 0);
  return nodes
    .map((node, i) => {
      const inner = "nodes" in node;
      const more =
        !inner && node.kind !== "thaw"
          ? 1
          : i < nodes.length - 1 || node.kind === "bucket" || node.kind === "thaw"
            ? 1
            : 0;
      const indent = " ".repeat((level + more) * 4);
      const own = linesOf(node, telling)
        .map((line) => (line === "" ? "\n" : `${indent}${line}\n`))
        .join("");
      return inner ? own + formatNodes(node.nodes, level + more + more, within(node, telling)) : own;
    })
    .join("");
}

/** On another bridge, its names count. */
function within(node: TraceNode, telling: Telling): Telling {
  return node.kind === "bridge" ? { ...telling, names: telling.all?.ofBridge(node.name) } : telling;
}

/** Lines of the step itself. Remarks are set off by five more columns, as " -> " and " >> " below the step. */
function linesOf(node: TraceNode, { run, names }: Telling): string[] {
  switch (node.kind) {
    case "table":
      return tableLines(node, names);
    case "bucket":
      return [`bucket ${node.index}`];
    case "set":
      return ["--. Executing action set:"];
    case "bridge": {
      const title = `bridge("${node.name}")`;
      return ["", title, "-".repeat(title.length)];
    }
    case "thaw":
      return ["thaw", `    Resuming from table ${node.tableId}`];
    case "action":
      return actionLines(node, names);
    case "nothing":
      return ["drop"];
    case "instruction":
      return [instructionsText([node.instruction], OFP13_VERSION, names)];
    case "set-is":
      return [setText(node.actions, node.was)];
    case "detail":
      return [` -> ${node.text}`];
    case "learned":
      return [` -> ${learnedText(node.flow)}`];
    case "assigned":
      return [` -> ${assignedText(node)}`];
    case "warning":
      return [` >> ${node.text}`];
    case "error":
      return [` >>>> ${node.text} <<<<`];
    case "drop":
      return dropLines(node.reason, run);
  }
}

function tableLines(
  { tableId, flow }: Extract<TraceNode, { kind: "table" }>,
  names: PortNames | undefined,
): string[] {
  const number = String(tableId).padStart(2);
  if (flow === null) return [`${number}. No match.`];
  const match = formatMatch(flow.match, names);
  const parts = [
    ...(match === "" ? [] : [match]),
    `priority ${flow.priority}`,
    ...(flow.cookie === 0n ? [] : [`cookie 0x${flow.cookie.toString(16)}`]),
  ];
  return [`${number}. ${parts.join(", ")}`];
}

function actionLines(
  { action, moved }: Extract<TraceNode, { kind: "action" }>,
  names: PortNames | undefined,
): string[] {
  const text = actionsText([action], OFP13_VERSION, names);
  if (action.type !== "ct") return [text];
  const nested = action.actions.flatMap((inner, i) => {
    const value = moved?.[i];
    const isMove = inner.type === "move" && value !== undefined;
    return [
      actionsText([inner], OFP13_VERSION, names),
      ...(isMove ? [` -> ${assignedText({ range: inner.destination, value })}`] : []),
    ];
  });
  return [
    text,
    ...(nested.length === 0 ? ["drop"] : nested),
    ...(action.tableId === undefined
      ? []
      : [
          ` -> A clone of the packet is forked to recirculate. The forked pipeline will be resumed at table ${action.tableId}.`,
        ]),
    " -> Sets the packet to an untracked state, and clears all the conntrack fields.",
  ];
}

/** A flow as it is added: its priority behind its match. */
function learnedText(flow: FlowMod): string {
  const { tableId, cookie, idleTimeoutSeconds: idle, hardTimeoutSeconds: hard, flags, priority } = flow;
  const times = [
    ...(cookie === 0n ? [] : [`cookie=0x${cookie.toString(16)}`]),
    ...(idle === 0 ? [] : [`idle=${idle}`]),
    ...(hard === 0 ? [] : [`hard=${hard}`]),
    ...(flags === 0 ? [] : ["send_flow_rem"]),
  ];
  return [
    `table=${tableId} ${formatMatch(flow.match)}${flow.match.length === 0 ? "" : " "}priority=${priority}`,
    ...times,
    `actions=${formatInstructions(flow.instructions) || "drop"}`,
  ].join(" ");
}

/** "NXM_NX_REG0[] is now 0x5". */
function assignedText({
  range,
  value,
}: Pick<Extract<TraceNode, { kind: "assigned" }>, "range" | "value">): string {
  const field = OXM_FIELDS[range.field];
  const isWhole = range.offset === 0 && range.bits >= field.bits;
  const text = isWhole
    ? formatFieldValue(field, { value: numberToBytes(value, field.size) })
    : value === 0n
      ? "0"
      : `0x${value.toString(16)}`;
  return `${formatRange(range)} is now ${text}`;
}

function setText(actions: readonly Action[], was: boolean): string {
  if (actions.length === 0) return ` -> action set ${was ? "was" : "is"} empty`;
  return ` -> action set ${was ? "was" : "is"}: ${actions.map(formatAction).join(",")}`;
}

function dropLines(reason: DropReason, run: TraceRun): string[] {
  const text = DROPS[reason];
  if (text === "") return [];
  if (text === "TTL") {
    const type = run.start.match.find(({ field }) => field === "eth_type")?.value;
    const name = type?.[0] === 0x86 ? "IPv6" : type?.[0] === 0x88 ? "MPLS" : "IPv4";
    return [` >> ${name} decrement TTL exception`];
  }
  return [text === undefined ? ` >> dropped: ${reason}` : text.slice(4)];
}

// --- For people

/**
 * The same told as a story: each table with the flow that matched and what it did, and where the packet ended. `names`
 * are those of ports by their numbers in the datapath.
 */
export function formatStory(
  port: string,
  runs: readonly TraceRun[],
  names: ReadonlyMap<number, string> = new Map(),
): string {
  const lines: string[] = [];
  for (const run of runs) {
    if (run.recirculation === 0)
      lines.push(`A packet comes in by port ${port}:`, `  ${formatPacket(run.start)}`);
    else {
      lines.push(
        `Connection tracking gives it back (${formatMatch(run.start.match.filter(({ field }) => field.startsWith("ct_")))}):`,
      );
    }
    if (run.translation?.ends !== undefined)
      lines.push(`  translated, for example to ${formatEnds(run.translation.ends.after)}`);
    lines.push(...tell(run.nodes, run));
    const ends = endsOf(run.actions, names);
    if (run.actions.some((action) => action.startsWith("userspace("))) ends.push("the controller");
    const goesOn = run.actions.some((action) => action.startsWith("recirc("));
    if (ends.length > 0) lines.push(`It leaves by ${ends.join(", ")}.`);
    else if (!goesOn) lines.push(`It is dropped${reasonOf(run.nodes)}.`);
  }
  return `${lines.join("\n")}\n`;
}

/** Actions that make another frame of it. */
const CHANGES = /^(?:push_|pop_|set\(|trunc\()/;

/** The ports that the packet leaves by, each with what the frame is changed by since the one before. */
function endsOf(actions: readonly string[], names: ReadonlyMap<number, string>): string[] {
  const ends: string[] = [];
  let changes: string[] = [];
  for (const action of actions) {
    if (/^\d+$/.test(action)) {
      const how = changes.length === 0 ? "" : ` (${changes.join(", ")})`;
      ends.push(`port ${names.get(Number(action)) ?? action}${how}`);
      changes = [];
    } else if (CHANGES.test(action)) changes.push(action);
  }
  return ends;
}

function tell(nodes: readonly TraceNode[], run: TraceRun): string[] {
  return nodes.flatMap((node): string[] => {
    switch (node.kind) {
      case "table": {
        const { flow, tableId } = node;
        const found =
          flow === null
            ? "no flow matches"
            : `flow "${formatPriorityAndMatch(flow.priority, flow.match) || "any"}" (cookie 0x${flow.cookie.toString(16)})${flow.isEmpty ? " says drop" : ""}`;
        return [`  table ${tableId}: ${found}`, ...tell(node.nodes, run)];
      }
      case "bucket":
        return [`    bucket ${node.index}:`, ...tell(node.nodes, run)];
      case "set":
        return ["  at the end, its action set:", ...tell(node.nodes, run)];
      case "bridge":
        return [`  on bridge ${node.name}:`, ...tell(node.nodes, run)];
      case "thaw":
      case "set-is":
      case "nothing":
        return [];
      case "action":
        return [`    ${formatAction(node.action)}`];
      case "instruction":
        return [`    ${formatInstructions([node.instruction])}`];
      case "drop":
        return node.reason === "no-output" || node.reason === "table-miss" ? [] : [`    (${node.reason})`];
      case "assigned":
        return [`    (${assignedText(node)})`];
      case "learned":
        return [`    (${learnedText(node.flow)})`];
      default:
        return [`    (${node.text})`];
    }
  });
}

/** ": no flow matches in table 3 (table-miss)", where the trace knows. */
function reasonOf(nodes: readonly TraceNode[]): string {
  let last = "";
  const visit = (list: readonly TraceNode[], table: string): void => {
    let here = table;
    for (const node of list) {
      if (node.kind === "table") {
        here = ` by table ${node.tableId}${node.flow === null ? "" : `, flow "${formatPriorityAndMatch(node.flow.priority, node.flow.match) || "any"}", cookie 0x${node.flow.cookie.toString(16)}`}`;
        visit(node.nodes, here);
      } else if ("nodes" in node) visit(node.nodes, here);
      else if (node.kind === "drop" && node.reason !== "no-output") last = `${here} (${node.reason})`;
      if (node.kind === "table") last ||= `${here}`;
    }
  };
  visit(nodes, "");
  return last === "" ? "" : last;
}
