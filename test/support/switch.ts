// A vswitchd of our own as a process, the ovs tools pointed at it, and peers on its stream ports.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { callControl } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH, type RunResult, run, runOk } from "./run.js";

const READY_DEADLINE_MS = 30_000;

/** One `plinth vswitchd` with a directory of its own. */
export class SwitchProcess {
  readonly dir = mkdtempSync("/tmp/vsw-");
  #child: ChildProcess | undefined;
  #said = "";

  path(name: string): string {
    return join(this.dir, name);
  }

  /** Starts the daemon and waits until it is ready. */
  async start(...args: string[]): Promise<void> {
    const child = spawn(process.execPath, [PLINTH, "vswitchd", "--dir", this.dir, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        this.#said = (this.#said + chunk.toString()).slice(-4000);
      });
    }
    await waitFor(
      async () => {
        if (child.exitCode !== null) throw new Error(`vswitchd ended with ${child.exitCode}:\n${this.#said}`);
        return callControl(this.path("vswitchd.ctl"), "ping", {}, 1000).then(
          (answer) => (answer as { pid: number }).pid === child.pid,
          () => false,
        );
      },
      () => `vswitchd to be ready; it said:\n${this.#said}`,
      READY_DEADLINE_MS,
    );
  }

  /** Ends the daemon with `signal`; resolves with its exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    await endChild(child, signal);
    return child.exitCode;
  }

  /** Ends the daemon and removes its directory. */
  async destroy(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Runs ovs-vsctl; rejects when it fails. Resolves with its trimmed output. */
  async vsctl(...args: string[]): Promise<string> {
    return (await runOk("ovs-vsctl", this.#vsctlArgs(args), { deadlineMs: 20_000 })).trim();
  }

  /** Runs ovs-vsctl, which may fail. */
  tryVsctl(...args: string[]): Promise<RunResult> {
    return run("ovs-vsctl", this.#vsctlArgs(args), { deadlineMs: 20_000 });
  }

  #vsctlArgs(args: readonly string[]): string[] {
    return [`--db=unix:${this.path("db.sock")}`, "--timeout=15", ...args];
  }

  ofctl(verb: string, bridge: string, ...args: string[]): Promise<string> {
    return runOk("ovs-ofctl", ["-O", "OpenFlow13", verb, `unix:${this.path(`${bridge}.mgmt`)}`, ...args], {
      deadlineMs: 20_000,
    });
  }

  async appctl(...args: string[]): Promise<string> {
    return runOk("ovs-appctl", ["-t", this.path("vswitchd.ctl"), ...args], { deadlineMs: 20_000 });
  }
}

/** A peer that the switch's stream port dials, as QEMU would listen: u32 length, then the frame. */
export class StreamPeer {
  readonly path: string;
  readonly received: Buffer[] = [];
  readonly #server: Server;
  #socket: Socket | undefined;
  #buffer = Buffer.alloc(0);

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async listen(path: string): Promise<StreamPeer> {
    const peer = new StreamPeer(path);
    await new Promise<void>((resolve) => peer.#server.listen(path, resolve));
    return peer;
  }

  async connected(): Promise<void> {
    await waitFor(() => this.#socket !== undefined, `the switch to dial ${this.path}`, 15_000);
  }

  send(frame: Uint8Array): void {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    this.#socket?.write(Buffer.concat([length, frame]));
  }

  async close(): Promise<void> {
    this.#socket?.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    this.#socket = socket;
    this.#buffer = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    socket.on("data", (chunk) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      while (this.#buffer.length >= 4) {
        const end = 4 + this.#buffer.readUInt32BE(0);
        if (this.#buffer.length < end) return;
        this.received.push(this.#buffer.subarray(4, end));
        this.#buffer = this.#buffer.subarray(end);
      }
    });
  }
}

/** An Ethernet frame of 60 bytes (64 with a tag), with `text` as its payload. */
export function ethernetFrame(options: {
  readonly to: number;
  readonly from: number;
  readonly vlan?: number;
  readonly text: string;
}): Buffer {
  const header = Buffer.alloc(options.vlan === undefined ? 14 : 18);
  header.set(options.to === 0xff ? [255, 255, 255, 255, 255, 255] : [2, 0, 0, 0, 0, options.to], 0);
  header.set([2, 0, 0, 0, 0, options.from], 6);
  if (options.vlan !== undefined) {
    header.writeUInt16BE(0x8100, 12);
    header.writeUInt16BE(options.vlan, 14);
  }
  header.writeUInt16BE(0x88b5, header.length - 2); // IEEE 802 local experimental
  const payload = Buffer.alloc(46);
  payload.write(options.text);
  return Buffer.concat([header, payload]);
}
