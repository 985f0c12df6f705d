// A switch whose ports are all wired to the test: frames go in at one port, and what left by every port comes back.
//
// How the test knows that frames have been dealt with: behind those of a port it sends a sentinel into the same port,
// which a flow of the highest priority sends out of the last port, that nothing else is done with. When it is there, the
// frames have been judged. Then another one, into the last port, goes out of every port: ports keep order, so that what
// a port gives before it is all that there is. Sentinels touch no MAC table, since their flows never say NORMAL.
import { writeFileSync } from "node:fs";
import type { Wire, Wiring } from "./wires.js";

export const BRIDGE = "br0";
/** A second bridge, behind patch ports of the first. */
export const BEHIND = "br1";
/** Of the patch for nothing but sentinels: it is never configured, nothing is flooded to it. */
const SENTINEL_PATCH = 100;
/** OpenFlow numbers of the patch ports for cases, the same on both bridges; those of one number are each other's peers. */
export const PATCHES = [101, 102] as const;

/** Their EtherType (IEEE 802 local experimental 2) is not for others. */
const SENTINEL_TYPE = 0x88b6;
const SENTINEL_SIZE = 60;
const OFPP_IN_PORT = "in_port";
const SENTINEL_PRIORITY = 65_535;
/** A machine with much else to do must not look like a switch that has lost frames. */
const SENTINEL_DEADLINE_MS = 90_000;

/** How a switch is told what to do; what the arguments say is the same for every switch. */
export interface SwitchControl {
  vsctl(...args: string[]): Promise<string>;
  ofctl(command: string, bridge: string, ...args: string[]): Promise<string>;
  appctl(...args: string[]): Promise<string>;
  /** A file in its directory. */
  path(name: string): string;
}

/**
 * What a case may tell a port, in the words of ovs-ofctl mod-port. Frames still come in by it, so that a sentinel shows
 * when those before it have been judged.
 */
export type PortConfig = readonly [port: number, config: "no-flood" | "no-forward"];

/** Later ones cannot say no-flood: what says so is carried out and changes nothing. */
const NO_FLOOD_VERSION = ["-O", "OpenFlow10"];

/** Frames into one port, in order. */
export interface Burst {
  /** From 1. */
  readonly port: number;
  readonly frames: readonly Uint8Array[];
}

export interface Layout {
  /** Ports for the cases, on both bridges together. */
  readonly ports: number;
  /** The last so many of them stand on the second bridge; without any, there is none. */
  readonly behind?: number;
  /** How many patches join the bridges, 1 or 2; two under NORMAL would be a loop. 1 if not given. */
  readonly patches?: number;
}

/** By port, from 1; index 0 is empty. */
export type Outputs = readonly (readonly Uint8Array[])[];

export class WiredSwitch {
  readonly name: string;
  readonly control: SwitchControl;
  readonly #ports: WiredPort[] = [];
  readonly #layout: Layout;
  #sentinel = 0;
  readonly #portConfigs: PortConfig[] = [];
  /** How many frames have left because of what was sent. */
  framesOut = 0;
  /** What the last case filled the tables with, and which of its commands were refused. */
  tables: { readonly text: string; readonly refused: readonly string[] } = { text: "", refused: [] };
  /** Whether the database is as open() left it. */
  configurationIsNew = true;

  private constructor(name: string, control: SwitchControl, layout: Layout) {
    this.name = name;
    this.control = control;
    this.#layout = layout;
  }

  /** Makes the bridges with ports p1 … p`ports`, which have these OpenFlow numbers, and one more for sentinels. */
  static async open(
    name: string,
    control: SwitchControl,
    wiring: Wiring,
    layout: Layout,
  ): Promise<WiredSwitch> {
    const wired = new WiredSwitch(name, control, layout);
    try {
      for (const bridge of wired.bridges) await control.vsctl("add-br", bridge);
      if (wired.bridges.length > 1) await wired.#addPatches();
      for (let n = 1; n <= layout.ports + 1; n++) await wired.#addPort(n, wiring);
      await wired.fillTables([]);
      return wired;
    } catch (thrown) {
      await wired.close();
      throw thrown;
    }
  }

  /** Of ports that a case may configure: those for frames, then the patch ports of both bridges. */
  get configurable(): readonly string[] {
    const wired = Array.from({ length: this.#layout.ports }, (_, index) => `p${index + 1}`);
    return [...wired, ...this.#patches.flatMap(patchNames)];
  }

  get #patches(): readonly number[] {
    return this.bridges.length === 1 ? [] : PATCHES.slice(0, this.#layout.patches ?? 1);
  }

  get bridges(): readonly string[] {
    return (this.#layout.behind ?? 0) > 0 ? [BRIDGE, BEHIND] : [BRIDGE];
  }

  /** Tells these ports of the first bridge, and takes back what others were told. */
  async configurePorts(configs: readonly PortConfig[]): Promise<void> {
    const tell = (port: number, config: string): Promise<string> =>
      this.control.ofctl("mod-port", BRIDGE, String(port), config, ...NO_FLOOD_VERSION);
    const former = this.#portConfigs.splice(0);
    if (former.length + configs.length === 0) return;
    for (const [port, config] of former) await tell(port, config.slice("no-".length));
    for (const one of configs) {
      await tell(...one);
      this.#portConfigs.push(one);
    }
    // Open vSwitch answers in one turn of its main loop and obeys in the next; one command is answered in each.
    for (let turn = 0; turn < 2; turn++) await this.control.appctl("version");
  }

  /** Ports by which nothing leaves, sentinels neither. */
  get #silent(): readonly number[] {
    return this.#portConfigs.filter(([, config]) => config === "no-forward").map(([port]) => port);
  }

  /**
   * Empties the tables of flows and groups, and carries out the commands, which are add-group and add-flow. Rejects
   * when one of them is refused: then nothing has changed on its bridge.
   */
  async fillTables(commands: readonly (readonly string[])[]): Promise<void> {
    await Promise.all(this.bridges.map((bridge) => this.#fill(bridge, commands)));
  }

  async #fill(bridge: string, commands: readonly (readonly string[])[]): Promise<void> {
    const lines = commands
      .filter((command) => bridgeOf(command) === bridge)
      .map(([command, text]) => `${bundled(command)} ${text}`);
    const path = this.control.path(`tables-${bridge}`);
    const all = ["flow delete", "group delete group_id=all", ...lines, ...this.#sentinelFlows(bridge)];
    writeFileSync(path, `${all.join("\n")}\n`);
    await this.control.ofctl("bundle", bridge, path);
  }

  #sentinelFlows(bridge: string): string[] {
    const last = this.#layout.ports + 1;
    const own = this.#portsOf(bridge);
    if (this.bridges.length === 1)
      return [...own.map((n) => sentinelFlow(n, [last])), sentinelFlow(last, [OFPP_IN_PORT, ...own])];
    const others = `flow add priority=${SENTINEL_PRIORITY - 1},in_port=${SENTINEL_PATCH},actions=drop`;
    if (bridge !== BRIDGE)
      return [
        others,
        ...own.map((n) => sentinelFlow(n, [SENTINEL_PATCH])),
        sentinelFlow(SENTINEL_PATCH, own),
      ];
    return [
      others,
      ...[...own, SENTINEL_PATCH].map((n) => sentinelFlow(n, [last])),
      sentinelFlow(last, [OFPP_IN_PORT, ...own, SENTINEL_PATCH]),
    ];
  }

  /** OpenFlow numbers of the ports for cases. */
  #portsOf(bridge: string): number[] {
    const { ports, behind = 0 } = this.#layout;
    const numbers = Array.from({ length: ports }, (_, index) => index + 1);
    return bridge === BRIDGE ? numbers.slice(0, ports - behind) : numbers.slice(ports - behind);
  }

  /** Sends bursts, each into another port, at the same time; resolves with everything that left because of them. */
  async send(bursts: readonly Burst[]): Promise<Outputs> {
    await this.#pass(bursts, this.#ports.slice(-1));
    const speaking = this.#ports.filter((_, index) => !this.#silent.includes(index + 1));
    await this.#pass([{ port: this.#ports.length, frames: [] }], speaking);
    const outputs = [[], ...this.#ports.map((one) => one.take())];
    this.framesOut += outputs.reduce((sum, frames) => sum + frames.length, 0);
    return outputs;
  }

  /** Waits until every port's configuration is in force: a packet that comes afterwards is judged by it. */
  async settle(): Promise<void> {
    await this.send([{ port: this.#ports.length, frames: [] }]);
  }

  /** Every burst with a sentinel behind it, until each of these has left by every port of `by`. */
  async #pass(bursts: readonly Burst[], by: readonly WiredPort[]): Promise<void> {
    const sequences = bursts.map(() => ++this.#sentinel);
    const passed = by.map((one) => one.expect(sequences));
    for (const [index, { port, frames }] of bursts.entries())
      this.#port(port).wire.send([...frames, encodeSentinel(sequences[index] as number)]);
    await withDeadline(Promise.all(passed), () => this.#late(bursts, by));
  }

  async close(): Promise<void> {
    for (const port of this.#ports) await port.wire.close();
  }

  async #addPatches(): Promise<void> {
    for (const number of [SENTINEL_PATCH, ...this.#patches]) {
      const [here, there] = patchNames(number);
      await this.#addPatch(BRIDGE, number, here, there);
      await this.#addPatch(BEHIND, number, there, here);
    }
    for (const bridge of this.bridges)
      await this.control.ofctl(
        ...["mod-port", bridge, String(SENTINEL_PATCH), "no-flood"],
        ...NO_FLOOD_VERSION,
      );
  }

  async #addPatch(bridge: string, ofport: number, name: string, peer: string): Promise<void> {
    await this.control.vsctl(
      ...["add-port", bridge, name, "--", "set", "Interface", name, `ofport_request=${ofport}`],
      ...["type=patch", `options:peer=${peer}`],
    );
  }

  async #addPort(ofport: number, wiring: Wiring): Promise<void> {
    const name = `p${ofport}`;
    const bridge = this.#portsOf(BEHIND).includes(ofport) ? BEHIND : BRIDGE;
    const port = await WiredPort.open(name, this.control.path(`${name}.wire`), wiring);
    this.#ports.push(port);
    await this.control.vsctl(
      ...["add-port", bridge, name, "--", "set", "Interface", name, `ofport_request=${ofport}`],
      ...port.wire.columns,
    );
    await port.wire.connected();
  }

  #port(ofport: number): WiredPort {
    const port = this.#ports[ofport - 1];
    if (port === undefined) throw new Error(`${this.name} has no port ${ofport}`);
    return port;
  }

  #late(bursts: readonly Burst[], by: readonly WiredPort[]): Error {
    const silent = this.#ports.flatMap((one, index) =>
      by.includes(one) && one.isWaiting ? [`p${index + 1}`] : [],
    );
    const from = bursts.map(({ port }) => `p${port}`).join(", ");
    return new Error(`${this.name}: not every sentinel of ${from} has left by ${silent.join(", ")}`);
  }
}

/** The only flow of a new bridge. */
export const NORMAL_FLOW: readonly string[] = ["add-flow", "priority=0,actions=NORMAL"];

/** A command of a case is the verb, its argument and, when it is for another bridge than the first, that bridge. */
export function bridgeOf(command: readonly string[]): string {
  return command[2] ?? BRIDGE;
}

/** On the first bridge and on the second. */
export function patchNames(ofport: number): [string, string] {
  return [`a${ofport}`, `b${ofport}`];
}

function sentinelFlow(inPort: number, outputs: readonly (number | string)[]): string {
  const match = `priority=${SENTINEL_PRIORITY},in_port=${inPort},dl_type=0x${SENTINEL_TYPE.toString(16)}`;
  const actions = outputs.map((port) => (typeof port === "string" ? port : `output:${port}`));
  return `flow add ${match},actions=${actions.join(",")}`;
}

function bundled(command: string | undefined): string {
  if (command === "add-flow") return "flow add";
  if (command === "add-group") return "group add";
  throw new Error(`a case may add flows and groups, not ${command}`);
}

/** What has left by one port. */
class WiredPort {
  readonly wire: Wire;
  #frames: Uint8Array[] = [];
  readonly #missing = new Set<number>();
  #resolve: () => void = () => {};

  private constructor(wire: Wire) {
    this.wire = wire;
  }

  static async open(name: string, path: string, wiring: Wiring): Promise<WiredPort> {
    const port: WiredPort = new WiredPort(await wiring(name, path, (frame) => port.#receive(frame)));
    return port;
  }

  /** Resolves when all these sentinels have come out. */
  expect(sequences: readonly number[]): Promise<void> {
    this.#missing.clear();
    for (const sequence of sequences) this.#missing.add(sequence);
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get isWaiting(): boolean {
    return this.#missing.size > 0;
  }

  /** What has come out since the last time, without sentinels. */
  take(): Uint8Array[] {
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }

  #receive(frame: Uint8Array): void {
    const sequence = sentinelOf(frame);
    if (sequence < 0) this.#frames.push(frame);
    else if (this.#missing.delete(sequence) && this.#missing.size === 0) this.#resolve();
  }
}

/** The number stands in the destination address, so that it survives tags and truncation by mirrors. */
function encodeSentinel(sequence: number): Uint8Array {
  const frame = Buffer.alloc(SENTINEL_SIZE);
  frame.writeUInt16BE(0x02fd, 0);
  frame.writeUInt32BE(sequence, 2);
  frame.write("\x02sync\xfd", 6, "latin1");
  frame.writeUInt16BE(SENTINEL_TYPE, 12);
  return frame;
}

/** Its number, or −1 for any other frame. */
function sentinelOf(frame: Uint8Array): number {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  if (bytes.byteLength < 12 || bytes.readUInt16BE(0) !== 0x02fd) return -1;
  return bytes.toString("latin1", 6, 12) === "\x02sync\xfd" ? bytes.readUInt32BE(2) : -1;
}

async function withDeadline(work: Promise<unknown>, late: () => Error): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), SENTINEL_DEADLINE_MS);
  });
  try {
    await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
