// `plinth vswitchd` as its own process with one stream port per iface-id; the test is the machine at the other end of
// each. Configured with the real ovs-vsctl.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH, requirePrograms, run, runOk } from "./run.js";

const DEADLINE_MS = 20_000;

export class PlinthSwitch {
  readonly dir = mkdtempSync("/tmp/psw-");
  readonly #wires = new Map<number, Wire>();
  #child: ChildProcess | undefined;
  #said = "";

  static async start(): Promise<PlinthSwitch> {
    requirePrograms("ovs-vsctl", "ovs-ofctl");
    const one = new PlinthSwitch();
    await one.startDaemon();
    return one;
  }

  get endpoint(): string {
    return `unix:${join(this.dir, "db.sock")}`;
  }

  async startDaemon(): Promise<void> {
    const child = spawn(process.execPath, [PLINTH, "vswitchd", "--dir", this.dir], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr?.on("data", (text: Buffer) => {
      this.#said = `${this.#said}${text.toString()}`.slice(-4000);
    });
    this.#child = child;
    const ready = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`vswitchd exited with ${child.exitCode}:\n${this.#said}`);
      return (await run("ovs-vsctl", [`--db=${this.endpoint}`, "--timeout=2", "show"])).code === 0;
    };
    await waitFor(ready, () => `vswitchd to be ready; it said:\n${this.#said}`, DEADLINE_MS);
  }

  async kill(): Promise<void> {
    if (this.#child !== undefined) await endChild(this.#child);
  }

  vsctl(...args: string[]): Promise<string> {
    return runOk("ovs-vsctl", [`--db=${this.endpoint}`, "--timeout=10", ...args]);
  }

  ofctl(command: string, bridge: string, ...args: string[]): Promise<string> {
    const management = `unix:${join(this.dir, `${bridge}.mgmt`)}`;
    return runOk("ovs-ofctl", ["-O", "OpenFlow13", command, management, ...args]);
  }

  /** A stream port of `bridge`; resolves when the switch has dialled it. */
  async addPort(bridge: string, name: string, ofport: number, interfaceId: string): Promise<void> {
    const path = join(this.dir, `${name}.sock`);
    const wire = await Wire.listen(path);
    this.#wires.set(ofport, wire);
    await this.vsctl(
      ...["add-port", bridge, name, "--", "set", "interface", name, "type=stream", `options:path=${path}`],
      `ofport_request=${ofport}`,
      `external_ids:iface-id="${interfaceId}"`,
    );
    await this.plugged();
  }

  /** Every port that was added is connected. */
  async plugged(): Promise<void> {
    const all = (): boolean => [...this.#wires.values()].every((wire) => wire.isConnected);
    await waitFor(all, () => `the switch to dial its ports; it said:\n${this.#said}`, DEADLINE_MS);
  }

  inject(ofport: number, frame: Uint8Array): void {
    this.#wires.get(ofport)?.send(frame);
  }

  sentBy(ofport: number): Uint8Array[] {
    return this.#wires.get(ofport)?.received ?? [];
  }

  async stop(): Promise<void> {
    if (this.#child !== undefined) await endChild(this.#child, "SIGTERM");
    for (const wire of this.#wires.values()) await wire.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The machine's end of a stream port: u32 length, then the frame. */
class Wire {
  readonly received: Uint8Array[] = [];
  readonly #server: Server;
  #socket: Socket | undefined;
  #pending = Buffer.alloc(0);

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(path: string): Promise<Wire> {
    const server = createServer();
    const wire = new Wire(server);
    server.on("connection", (socket) => wire.#connected(socket));
    await new Promise<void>((resolve) => server.listen(path, () => resolve()));
    return wire;
  }

  get isConnected(): boolean {
    return this.#socket !== undefined;
  }

  send(frame: Uint8Array): void {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.byteLength);
    this.#socket?.write(Buffer.concat([length, frame]));
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#socket?.destroy();
    await closed;
  }

  #connected(socket: Socket): void {
    this.#socket = socket;
    this.#pending = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
  }

  #receive(bytes: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#pending.byteLength >= 4) {
      const size = this.#pending.readUInt32BE(0);
      if (this.#pending.byteLength < 4 + size) return;
      this.received.push(Uint8Array.from(this.#pending.subarray(4, 4 + size)));
      this.#pending = this.#pending.subarray(4 + size);
    }
  }
}
