// A vswitchd of our own as a process, the ovs tools pointed at it, and frames to send through it.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { concatBytes } from "../../base/bytes/index.js";
import { DaemonProcess } from "./daemon-process.js";
import { type RunResult, run, runOk } from "./run.js";

const TOOL_DEADLINE_MS = 20_000;
const PAYLOAD_SIZE = 46;

/** One `plinth vswitchd` with a directory of its own. */
export class SwitchProcess extends DaemonProcess {
  readonly dir: string;

  constructor(launcher: readonly string[] = []) {
    const dir = mkdtempSync("/tmp/vsw-");
    super({ args: ["vswitchd", "--dir", dir], controlSocket: join(dir, "vswitchd.ctl"), launcher });
    this.dir = dir;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** Where its database answers. */
  get endpoint(): string {
    return `unix:${this.path("db.sock")}`;
  }

  /** Ends the daemon and removes its directory. */
  async destroy(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Runs ovs-vsctl; rejects when it fails. Resolves with its trimmed output. */
  async vsctl(...args: string[]): Promise<string> {
    return (await runOk("ovs-vsctl", this.#vsctlArgs(args), { deadlineMs: TOOL_DEADLINE_MS })).trim();
  }

  /** Runs ovs-vsctl, which may fail. */
  tryVsctl(...args: string[]): Promise<RunResult> {
    return run("ovs-vsctl", this.#vsctlArgs(args), { deadlineMs: TOOL_DEADLINE_MS });
  }

  #vsctlArgs(args: readonly string[]): string[] {
    return [`--db=${this.endpoint}`, "--timeout=15", ...args];
  }

  ofctl(verb: string, bridge: string, ...args: string[]): Promise<string> {
    const management = `unix:${this.path(`${bridge}.mgmt`)}`;
    return runOk("ovs-ofctl", ["-O", "OpenFlow13", verb, management, ...args], {
      deadlineMs: TOOL_DEADLINE_MS,
    });
  }

  appctl(...args: string[]): Promise<string> {
    return runOk("ovs-appctl", ["-t", this.path("vswitchd.ctl"), ...args], { deadlineMs: TOOL_DEADLINE_MS });
  }
}

/** An Ethernet frame of 60 bytes (64 with a tag), with `text` as its payload. */
export function ethernetFrame(options: {
  readonly to: number;
  readonly from: number;
  readonly vlan?: number;
  readonly text: string;
}): Uint8Array {
  const header = Buffer.alloc(options.vlan === undefined ? 14 : 18);
  header.set(options.to === 0xff ? [255, 255, 255, 255, 255, 255] : [2, 0, 0, 0, 0, options.to], 0);
  header.set([2, 0, 0, 0, 0, options.from], 6);
  if (options.vlan !== undefined) {
    header.writeUInt16BE(0x8100, 12);
    header.writeUInt16BE(options.vlan, 14);
  }
  header.writeUInt16BE(0x88b5, header.length - 2); // IEEE 802 local experimental
  const payload = Buffer.alloc(PAYLOAD_SIZE);
  payload.write(options.text);
  return concatBytes([header, payload]);
}

/** The text in a frame of ethernetFrame(). */
export function textOf(frame: Uint8Array): string {
  return Buffer.from(frame.subarray(-PAYLOAD_SIZE)).toString("latin1").replaceAll("\0", "");
}
