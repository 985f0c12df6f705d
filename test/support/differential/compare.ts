// The core of the differential tests: one case is carried out on both switches, and the first difference is told.
// A case is plain data, so that it can be drawn at random, made smaller and printed.
import { setTimeout } from "node:timers/promises";
import { describeError } from "../../../base/errors/index.js";
import type { SwitchPair } from "./switch-pair.js";
import {
  BRIDGE,
  type Burst,
  bridgeOf,
  NORMAL_FLOW,
  type Outputs,
  type PortConfig,
  type WiredSwitch,
} from "./wired-switch.js";

export interface FrameIn {
  /** From 1. */
  readonly port: number;
  readonly frame: Uint8Array;
}

export interface DifferentialCase {
  /** Commands of ovs-vsctl, carried out as one transaction, on a bridge br0 whose ports p1 … pN are as new. */
  readonly configuration: readonly (readonly string[])[];
  /** As `openflow` and before it; what a smaller case keeps, for without it the case would be another one. */
  readonly always?: readonly (readonly string[])[];
  /**
   * Commands of ovs-ofctl: ["add-flow", "…"] or ["add-group", "…"], with a third word for another bridge than br0.
   * Without any, the tables are as a new bridge has them (NORMAL); with some, they begin empty. Priority 65535 and
   * EtherType 0x88b6 are not for them.
   */
  readonly openflow: readonly (readonly string[])[];
  /** Ports of br0 that are told something; all others are as new. */
  readonly portConfigs?: readonly PortConfig[];
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
const BURST_LENGTH_MAX = 64;

/** How often Open vSwitch is asked again, and after how long, before another answer counts. */
const AGAIN_MAX = 3;
const AGAIN_MS = 300;

/** Carries the case out on both switches; tells of the first difference, or undefined. */
export async function compareCase(pair: SwitchPair, one: DifferentialCase): Promise<Difference | undefined> {
  const setups = await pair.both((each) => setUp(each, one));
  if (setups.real !== setups.ours)
    return { frames: 0, text: tell("configuration", setups.real, setups.ours) };
  const volley = remembers(one) ? oneBurst : burstPerPort;
  for (let first = 0; first < one.frames.length; ) {
    const bursts = volley(one.frames, first);
    const end = bursts.reduce((sum, { frames }) => sum + frames.length, first);
    const outputs = await pair.both((each) => each.send(bursts));
    const what = compareOutputs(outputs.real, outputs.ours);
    const into = bursts.map(({ port }) => `p${port}`).join(", ");
    if (what !== undefined)
      return { frames: end, text: `frames #${first}–#${end - 1} into ${into}: ${what}` };
    first = end;
  }
  for (const question of one.questions ?? []) {
    const { real, ours } = await askBoth(pair, question);
    const text = tell(`${question.tool} ${question.args.join(" ")}`, real, ours);
    if (real !== ours) return { frames: one.frames.length, text };
  }
  return undefined;
}

function tablesOf({ always = [], openflow }: DifferentialCase): readonly (readonly string[])[] {
  return [...always, ...openflow];
}

/** Whether what becomes of a frame may depend on those before it, so that their order counts. */
export function remembers(one: DifferentialCase): boolean {
  const tables = tablesOf(one);
  return (
    tables.length === 0 || tables.some((words) => /\b(normal|learn|ct|fin_timeout)\b/i.test(words.join(" ")))
  );
}

/** Which of the case's commands this switch refused; ready for frames afterwards. */
async function setUp(one: WiredSwitch, whole: DifferentialCase): Promise<string> {
  const refused = [...(await configure(one, whole)), ...(await setUpTables(one, tablesOf(whole)))];
  await one.configurePorts(whole.portConfigs ?? []);
  if (remembers(whole)) {
    for (const bridge of one.bridges) await one.control.appctl("fdb/flush", bridge);
    await one.control.appctl("dpctl/flush-conntrack");
  }
  return `refused: ${refused.join("; ") || "nothing"}`;
}

async function configure(one: WiredSwitch, { configuration }: DifferentialCase): Promise<readonly string[]> {
  if (configuration.length === 0 && one.configurationIsNew) return [];
  const reset = resetCommands(one);
  one.configurationIsNew = configuration.length === 0;
  const isDone = await succeeds(one.control.vsctl(...joined([...reset, ...configuration])));
  if (!isDone) await one.control.vsctl(...joined(reset));
  await one.settle();
  return isDone ? [] : [configuration.flat().join(" ")];
}

/** Tables that are there already are left alone: a smaller case has mostly fewer frames. */
async function setUpTables(
  one: WiredSwitch,
  commands: readonly (readonly string[])[],
): Promise<readonly string[]> {
  const wanted = commands.length === 0 ? one.bridges.map((bridge) => [...NORMAL_FLOW, bridge]) : commands;
  const text = wanted.map((words) => words.join(" ")).join("\n");
  if (text !== one.tables.text || CHANGES_TABLES.test(text)) {
    one.tables = { text, refused: await fillTables(one, wanted) };
  }
  return one.tables.refused;
}

const CHANGES_TABLES = /learn|fin_timeout/;

async function fillTables(
  one: WiredSwitch,
  commands: readonly (readonly string[])[],
): Promise<readonly string[]> {
  if (await succeeds(one.fillTables(commands))) return [];
  const refused: string[] = [];
  await one.fillTables([]);
  for (const whole of commands) {
    const [command = "", text = ""] = whole;
    const isDone = await succeeds(one.control.ofctl(command, bridgeOf(whole), text));
    if (!isDone) refused.push(whole.join(" "));
  }
  return refused;
}

async function succeeds(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch {
    return false;
  }
}

/** Puts every column that a case may touch back to its default. */
function resetCommands({ bridges, configurable }: WiredSwitch): string[][] {
  const columns = ["tag", "trunks", "cvlans", "vlan_mode", "qos", "other_config"];
  return [
    ...bridges.flatMap((bridge) => [
      ["clear", "Bridge", bridge, "mirrors", "flood_vlans", "other_config"],
      ["set", "Bridge", bridge, "mcast_snooping_enable=false"],
    ]),
    ...configurable.flatMap((port) => [
      ["clear", "Port", port, ...columns],
      ["set", "Port", port, "protected=false"],
    ]),
  ];
}

/** Commands of ovs-vsctl as one transaction. */
function joined(commands: readonly (readonly string[])[]): string[] {
  return commands.flatMap((command, index) => (index === 0 ? command : ["--", ...command]));
}

/** The frames from `first` on that go into the same port. */
function oneBurst(frames: readonly FrameIn[], first: number): readonly Burst[] {
  const { port } = frames[first] as FrameIn;
  let end = first + 1;
  while (end - first < BURST_LENGTH_MAX && frames[end]?.port === port) end++;
  return [{ port, frames: frames.slice(first, end).map(({ frame }) => frame) }];
}

/** The frames from `first` on, by their ports, until one of them has a full burst. */
function burstPerPort(frames: readonly FrameIn[], first: number): readonly Burst[] {
  const bursts = new Map<number, Uint8Array[]>();
  for (const { port, frame } of frames.slice(first)) {
    const burst = bursts.get(port) ?? [];
    if (burst.length === BURST_LENGTH_MAX) break;
    bursts.set(port, [...burst, frame]);
  }
  return [...bursts].map(([port, inOrder]) => ({ port, frames: inOrder }));
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

/** What a trace of Open vSwitch says was looked at has once hung on what went before: it is asked again before it counts. */
async function askBoth(pair: SwitchPair, question: Question): Promise<{ real: string; ours: string }> {
  const answers = await pair.both((each) => ask(each, question));
  for (let n = 0; n < AGAIN_MAX && answers.real !== answers.ours; n++) {
    await setTimeout(AGAIN_MS);
    answers.real = await ask(pair.real, question);
  }
  return answers;
}

function tell(what: string, real: string, ours: string): string {
  return `${what}\n  Open vSwitch:\n      ${real}\n  Plinth:\n      ${ours}`;
}

/** The case as commands that somebody could type. */
export function describeCase(one: DifferentialCase): string {
  const lines = [
    ...one.configuration.map((words) => `ovs-vsctl ${words.join(" ")}`),
    ...tablesOf(one).map((command) => `ovs-ofctl ${command[0]} ${bridgeOf(command)} '${command[1]}'`),
    ...(one.portConfigs ?? []).map((words) => `ovs-ofctl mod-port ${BRIDGE} ${words.join(" ")}`),
    ...one.frames.map(({ port, frame }, n) => `#${n} p${port} ${Buffer.from(frame).toString("hex")}`),
  ];
  return lines.join("\n");
}
