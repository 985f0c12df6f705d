// A switch whose ports are all wired to the test: frames go in at one port, and what left by every port comes back.
//
// How the test knows that a frame has been dealt with: behind the frames it sends a sentinel into the same port, which a
// flow of the highest priority sends out of the last port, that nothing else is done with. When it is there, the frames
// have been judged. Then a second one, into the last port, goes out of every port: ports keep order, so that what a
// port gives before it is all that there is. Sentinels touch no MAC table, since their flows never say NORMAL.
import { writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { waitFor } from "../../../base/time/index.js";
import { encodeStreamFrame, type HeaderSize, StreamFrames } from "../stream-peer.js";

export const BRIDGE = "br0";

/** Their EtherType (IEEE 802 local experimental 2) is not for others. */
const SENTINEL_TYPE = 0x88b6;
const SENTINEL_SIZE = 60;
const SENTINEL_PRIORITY = 65_535;
const DIAL_DEADLINE_MS = 20_000;
const SENTINEL_DEADLINE_MS = 20_000;

/** How a switch is told what to do; what the arguments say is the same for every switch. */
export interface SwitchControl {
  vsctl(...args: string[]): Promise<string>;
  ofctl(command: string, bridge: string, ...args: string[]): Promise<string>;
  appctl(...args: string[]): Promise<string>;
  /** A file in its directory. */
  path(name: string): string;
}

/** How frames get into a switch of this kind. */
export interface Wiring {
  readonly headerSize: HeaderSize;
  /** Columns of the Interface row of a port that dials the socket at `path`. */
  readonly columns: (path: string) => readonly string[];
}

/** By port, from 1; index 0 is empty. */
export type Outputs = readonly (readonly Uint8Array[])[];

export class WiredSwitch {
  readonly name: string;
  readonly control: SwitchControl;
  readonly #wiring: Wiring;
  readonly #ports: WiredPort[] = [];
  #sentinel = 0;
  /** Whether the tables are as a new bridge has them, but for the sentinels. */
  tablesAreNew = true;

  private constructor(name: string, control: SwitchControl, wiring: Wiring) {
    this.name = name;
    this.control = control;
    this.#wiring = wiring;
  }

  /** Makes the bridge with ports p1 … p`ports`, which have these OpenFlow numbers, and one more for sentinels. */
  static async open(
    name: string,
    control: SwitchControl,
    wiring: Wiring,
    ports: number,
  ): Promise<WiredSwitch> {
    const wired = new WiredSwitch(name, control, wiring);
    await control.vsctl("add-br", BRIDGE);
    for (let n = 1; n <= ports + 1; n++) await wired.#addPort(n);
    for (const port of wired.#ports) await port.connected();
    await wired.installSentinels();
    return wired;
  }

  /** Ports for the cases. */
  get portCount(): number {
    return this.#ports.length - 1;
  }

  /** To be called again when flows were deleted. */
  async installSentinels(): Promise<void> {
    const numbers = this.#ports.map((_, index) => index + 1);
    const flows = numbers.map((n) => {
      const match = `priority=${SENTINEL_PRIORITY},in_port=${n},dl_type=0x${SENTINEL_TYPE.toString(16)}`;
      const last = numbers.length;
      const others = n === last ? numbers.slice(0, -1) : [last];
      const outputs = [...(n === last ? ["in_port"] : []), ...others.map((other) => `output:${other}`)];
      return `${match},actions=${outputs.join(",")}\n`;
    });
    await this.#addFlows(flows);
  }

  /** One program for many flows. False when the commands do something else too, or are refused: then nothing is there. */
  async addFlowsAtOnce(commands: readonly (readonly string[])[]): Promise<boolean> {
    if (commands.some(([command, ...args]) => command !== "add-flow" || args.length !== 1)) return false;
    try {
      await this.#addFlows(commands.map(([, flow]) => `${flow}\n`));
      return true;
    } catch {
      await this.control.ofctl("del-flows", BRIDGE);
      return false;
    }
  }

  async #addFlows(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const path = this.control.path("flows");
    writeFileSync(path, lines.join(""));
    await this.control.ofctl("add-flows", BRIDGE, path);
  }

  /** Sends the frames into the port, in order, and resolves with everything that left because of them. */
  async send(port: number, frames: readonly Uint8Array[]): Promise<Outputs> {
    await this.#pass(port, frames, this.#ports.slice(-1));
    await this.#pass(this.#ports.length, [], this.#ports);
    return [[], ...this.#ports.map((one) => one.take())];
  }

  /** Waits until every port's configuration is in force: a packet that comes afterwards is judged by it. */
  async settle(): Promise<void> {
    await this.send(this.#ports.length, []);
  }

  async #pass(port: number, frames: readonly Uint8Array[], by: readonly WiredPort[]): Promise<void> {
    const sequence = ++this.#sentinel;
    const passed = by.map((one) => one.sentinel(sequence));
    this.#port(port).send([...frames, encodeSentinel(sequence)]);
    await withDeadline(Promise.all(passed), () => this.#late(port, sequence, by));
  }

  async close(): Promise<void> {
    for (const port of this.#ports) await port.close();
  }

  async #addPort(ofport: number): Promise<void> {
    const name = `p${ofport}`;
    const path = this.control.path(`${name}.wire`);
    this.#ports.push(await WiredPort.listen(path, this.#wiring.headerSize));
    await this.control.vsctl(
      ...["add-port", BRIDGE, name, "--", "set", "Interface", name, `ofport_request=${ofport}`],
      ...this.#wiring.columns(path),
    );
  }

  #port(ofport: number): WiredPort {
    const port = this.#ports[ofport - 1];
    if (port === undefined) throw new Error(`${this.name} has no port ${ofport}`);
    return port;
  }

  #late(port: number, sequence: number, by: readonly WiredPort[]): Error {
    const silent = this.#ports.flatMap((one, index) =>
      by.includes(one) && !one.passed(sequence) ? [`p${index + 1}`] : [],
    );
    return new Error(`${this.name}: sentinel ${sequence} of p${port} has not left by ${silent.join(", ")}`);
  }
}

/** The far end of one port. */
class WiredPort {
  readonly #server: Server;
  readonly #headerSize: HeaderSize;
  #socket: Socket | undefined;
  #frames: Uint8Array[] = [];
  #last = 0;
  #waiting: { readonly sequence: number; readonly resolve: () => void } | undefined;

  private constructor(headerSize: HeaderSize) {
    this.#headerSize = headerSize;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async listen(path: string, headerSize: HeaderSize): Promise<WiredPort> {
    const port = new WiredPort(headerSize);
    await new Promise<void>((resolve) => port.#server.listen(path, resolve));
    return port;
  }

  async connected(): Promise<void> {
    await waitFor(() => this.#socket !== undefined, "the switch to dial a port", DIAL_DEADLINE_MS);
  }

  send(frames: readonly Uint8Array[]): void {
    this.#socket?.write(Buffer.concat(frames.map((frame) => encodeStreamFrame(frame, this.#headerSize))));
  }

  /** Resolves when this sentinel has come out. */
  sentinel(sequence: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting = { sequence, resolve };
    });
  }

  passed(sequence: number): boolean {
    return this.#last >= sequence;
  }

  /** What has come out since the last time, without sentinels. */
  take(): Uint8Array[] {
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#socket?.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    const stream = new StreamFrames(this.#headerSize);
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      for (const frame of stream.push(bytes)) this.#receive(frame);
    });
  }

  #receive(frame: Uint8Array): void {
    const sequence = sentinelOf(frame);
    if (sequence < 0) {
      this.#frames.push(frame);
      return;
    }
    this.#last = Math.max(this.#last, sequence);
    if (this.#waiting === undefined || this.#last < this.#waiting.sequence) return;
    this.#waiting.resolve();
    this.#waiting = undefined;
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
