// The core of the differential tests: one case is carried out on both switches, and the first difference is told.
// A case is plain data, so that it can be drawn at random, made smaller and printed.
import { describeError } from "../../../base/errors/index.js";
import type { SwitchPair } from "./switch-pair.js";
import { BRIDGE, type Outputs, type WiredSwitch } from "./wired-switch.js";

export interface FrameIn {
  /** From 1. */
  readonly port: number;
  readonly frame: Uint8Array;
}

export interface DifferentialCase {
  /** Commands of ovs-vsctl, carried out as one transaction, on a bridge br0 whose ports p1 … pN are as new. */
  readonly configuration: readonly (readonly string[])[];
  /**
   * Commands of ovs-ofctl, each without the bridge: ["add-flow", "…"]. Without any, the tables are as a new bridge
   * has them (NORMAL); with some, they begin empty. Priority 65535 and EtherType 0x88b6 are not for them.
   */
  readonly openflow: readonly (readonly string[])[];
  readonly frames: readonly FrameIn[];
  /** Questions that both must answer alike when all frames have passed. */
  readonly questions?: readonly Question[];
}

export interface Question {
  readonly tool: "vsctl" | "ofctl" | "appctl";
  readonly args: readonly string[];
  /** Takes out what may differ: times, numbers of rows, order. */
  readonly normalise: (answer: string) => string;
}

export interface Difference {
  /** How many frames had been sent when it showed. */
  readonly frames: number;
  readonly text: string;
}

/** Frames into one port that are sent without waiting for their outputs: a dummy port of Open vSwitch holds a hundred. */
const RUN_LENGTH_MAX = 8;

/** Carries the case out on both switches; tells of the first difference, or undefined. */
export async function compareCase(pair: SwitchPair, one: DifferentialCase): Promise<Difference | undefined> {
  const setups = await pair.both((each) => setUp(each, one));
  if (setups.real !== setups.ours)
    return { frames: 0, text: tell("configuration", setups.real, setups.ours) };
  for (let first = 0; first < one.frames.length; ) {
    const length = runLength(one.frames, first);
    const { port } = one.frames[first] as FrameIn;
    const frames = one.frames.slice(first, first + length).map(({ frame }) => frame);
    const outputs = await pair.both((each) => each.send(port, frames));
    const what = compareOutputs(outputs.real, outputs.ours);
    const last = first + length - 1;
    if (what !== undefined)
      return { frames: last + 1, text: `frames #${first}–#${last} into p${port}: ${what}` };
    first += length;
  }
  for (const question of one.questions ?? []) {
    const { real, ours } = await pair.both((each) => ask(each, question));
    const text = tell(`${question.tool} ${question.args.join(" ")}`, real, ours);
    if (real !== ours) return { frames: one.frames.length, text };
  }
  return undefined;
}

/** Which of the case's commands this switch refused; ready for frames afterwards. */
async function setUp(one: WiredSwitch, { configuration, openflow }: DifferentialCase): Promise<string> {
  const { control } = one;
  const refused: string[] = [];
  const attempt = async (words: readonly string[], work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch {
      refused.push(words.join(" "));
    }
  };
  const reset = resetCommands(one.portCount);
  await attempt(configuration.flat(), () => control.vsctl(...joined([...reset, ...configuration])));
  if (refused.length > 0) await control.vsctl(...joined(reset));
  if (openflow.length > 0 || !one.tablesAreNew) await setUpTables(one, openflow, attempt);
  await one.settle();
  await control.appctl("fdb/flush", BRIDGE);
  return `refused: ${refused.join("; ") || "nothing"}`;
}

async function setUpTables(
  one: WiredSwitch,
  openflow: DifferentialCase["openflow"],
  attempt: (words: readonly string[], work: () => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const { control } = one;
  for (const command of ["del-flows", "del-groups", "del-meters"]) await control.ofctl(command, BRIDGE);
  if (openflow.length === 0) await control.ofctl("add-flow", BRIDGE, "priority=0,actions=NORMAL");
  if (!(await one.addFlowsAtOnce(openflow))) {
    for (const [command, ...args] of openflow)
      await attempt([command as string, ...args], () => control.ofctl(command as string, BRIDGE, ...args));
  }
  await one.installSentinels();
  one.tablesAreNew = openflow.length === 0;
}

/** Puts every column that a case may touch back to its default. */
function resetCommands(ports: number): string[][] {
  const commands = [["clear", "Bridge", BRIDGE, "mirrors", "flood_vlans", "other_config"]];
  commands.push(["set", "Bridge", BRIDGE, "mcast_snooping_enable=false"]);
  for (let n = 1; n <= ports; n++) {
    const columns = ["tag", "trunks", "cvlans", "vlan_mode", "qos", "other_config"];
    commands.push(["clear", "Port", `p${n}`, ...columns]);
    commands.push(["set", "Port", `p${n}`, "protected=false"]);
  }
  return commands;
}

/** Commands of ovs-vsctl as one transaction. */
function joined(commands: readonly (readonly string[])[]): string[] {
  return commands.flatMap((command, index) => (index === 0 ? command : ["--", ...command]));
}

/** How many frames from `first` on go into the same port. */
function runLength(frames: readonly FrameIn[], first: number): number {
  const port = frames[first]?.port;
  let length = 1;
  while (length < RUN_LENGTH_MAX && frames[first + length]?.port === port) length++;
  return length;
}

function compareOutputs(real: Outputs, ours: Outputs): string | undefined {
  for (let port = 1; port < real.length; port++) {
    const [theirs, our] = [real, ours].map((outputs) => sortedHex(outputs[port] ?? []));
    if (theirs !== our) return tell(`out of p${port}`, theirs as string, our as string);
  }
  return undefined;
}

/** Copies of one frame may leave a port in any order: mirrors do not promise one. */
function sortedHex(frames: readonly Uint8Array[]): string {
  const lines = frames.map((frame) => Buffer.from(frame).toString("hex")).sort();
  return lines.length === 0 ? "nothing" : lines.join("\n      ");
}

async function ask(one: WiredSwitch, { tool, args, normalise }: Question): Promise<string> {
  const { control } = one;
  const [first = "", ...rest] = args;
  try {
    return normalise(
      tool === "ofctl" ? await control.ofctl(first, BRIDGE, ...rest) : await control[tool](...args),
    );
  } catch (thrown) {
    return `refused: ${normalise(describeError(thrown))}`;
  }
}

function tell(what: string, real: string, ours: string): string {
  return `${what}\n  Open vSwitch:\n      ${real}\n  Plinth:\n      ${ours}`;
}

/** The case as commands that somebody could type. */
export function describeCase({ configuration, openflow, frames }: DifferentialCase): string {
  const lines = [
    ...configuration.map((words) => `ovs-vsctl ${words.join(" ")}`),
    ...openflow.map(([command, ...args]) => `ovs-ofctl ${command} ${BRIDGE} ${args.join(" ")}`),
    ...frames.map(({ port, frame }, n) => `#${n} p${port} ${Buffer.from(frame).toString("hex")}`),
  ];
  return lines.join("\n");
}
