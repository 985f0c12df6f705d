// A real Open vSwitch in a private directory: userspace datapath, dummy ports that take frames from the test and write
// what they send into pcap files. Needs no privileges, no kernel module and no service.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, requirePrograms, run, runOk } from "./run.js";

const DEADLINE_MS = 30_000;
const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

export class RealOvs {
  readonly dir: string;
  #database: ChildProcess | undefined;
  #switch: ChildProcess | undefined;
  /** To its unixctl socket: a program for each command and frame would take longer than all else. */
  #control: Promise<JsonRpcConnection> | undefined;

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async start(): Promise<RealOvs> {
    requirePrograms("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl");
    const ovs = new RealOvs(mkdtempSync("/tmp/ovs-"));
    try {
      await runOk("ovsdb-tool", ["create", ovs.path("conf.db"), SCHEMA]);
      ovs.#database = ovs.#spawn("ovsdb-server", [
        ovs.path("conf.db"),
        `--remote=p${ovs.endpoint}`,
        `--unixctl=${ovs.path("db.ctl")}`,
      ]);
      await waitFor(
        async () => (await ovs.#tryVsctl("--no-wait", "init")) === 0,
        "ovsdb-server",
        DEADLINE_MS,
      );
      await ovs.startSwitch();
    } catch (thrown) {
      await ovs.stop();
      throw thrown;
    }
    return ovs;
  }

  /** For OVSDB clients. */
  get endpoint(): string {
    return `unix:${this.path("db.sock")}`;
  }

  async startSwitch(): Promise<void> {
    this.#switch = this.#spawn("ovs-vswitchd", [
      this.endpoint,
      "--enable-dummy=override",
      "--disable-system",
      `--unixctl=${this.path("vs.ctl")}`,
    ]);
    await waitFor(async () => (await this.#tryVsctl("show")) === 0, "ovs-vswitchd", DEADLINE_MS);
  }

  async killSwitch(): Promise<void> {
    await this.#hangUp();
    if (this.#switch !== undefined) await endChild(this.#switch);
  }

  vsctl(...args: string[]): Promise<string> {
    return runOk("ovs-vsctl", [`--db=${this.endpoint}`, "--timeout=10", ...args]);
  }

  ofctl(command: string, bridge: string, ...args: string[]): Promise<string> {
    return runOk("ovs-ofctl", ["-O", "OpenFlow13", command, `unix:${this.path(`${bridge}.mgmt`)}`, ...args]);
  }

  /** What ovs-appctl would print. */
  async appctl(command: string, ...args: string[]): Promise<string> {
    const endpoint = { kind: "unix", path: this.path("vs.ctl") } as const;
    this.#control ??= connectJsonRpc(endpoint, { timeoutMs: DEADLINE_MS });
    const answer = String(await (await this.#control).call(command, args, DEADLINE_MS));
    return answer === "" || answer.endsWith("\n") ? answer : `${answer}\n`;
  }

  /** A dummy port of `bridge` with the OpenFlow number and iface-id given. */
  async addPort(bridge: string, name: string, ofport: number, interfaceId: string): Promise<void> {
    await this.vsctl(
      ...["add-port", bridge, name, "--", "set", "interface", name, "type=dummy"],
      `ofport_request=${ofport}`,
      `external_ids:iface-id="${interfaceId}"`,
      `options:tx_pcap=${this.path(`${name}.pcap`)}`,
    );
  }

  /** Puts a frame into a dummy port, as if it came from outside. */
  async inject(name: string, frame: Uint8Array): Promise<void> {
    await this.appctl("netdev-dummy/receive", name, Buffer.from(frame).toString("hex"));
  }

  /** Every frame that the port has sent so far. */
  sentBy(name: string): Uint8Array[] {
    const bytes = readFileSync(this.path(`${name}.pcap`));
    const frames: Uint8Array[] = [];
    for (let at = 24; at + 16 <= bytes.byteLength; ) {
      const length = bytes.readUInt32LE(at + 8);
      if (at + 16 + length > bytes.byteLength) break;
      frames.push(Uint8Array.from(bytes.subarray(at + 16, at + 16 + length)));
      at += 16 + length;
    }
    return frames;
  }

  async #hangUp(): Promise<void> {
    const control = this.#control;
    this.#control = undefined;
    (await control?.catch(() => undefined))?.close();
  }

  async stop(): Promise<void> {
    await this.#hangUp();
    if (this.#switch !== undefined) await endChild(this.#switch, "SIGTERM");
    if (this.#database !== undefined) await endChild(this.#database, "SIGTERM");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A file in its directory. */
  path(name: string): string {
    return join(this.dir, name);
  }

  async #tryVsctl(...args: string[]): Promise<number | null> {
    return (await run("ovs-vsctl", [`--db=${this.endpoint}`, "--timeout=2", ...args])).code;
  }

  #spawn(program: string, args: readonly string[]): ChildProcess {
    const env = { ...process.env, OVS_RUNDIR: this.dir, OVS_LOGDIR: this.dir, OVS_DBDIR: this.dir };
    const options = ["--no-chdir", `--pidfile=${this.path(`${program}.pid`)}`, "-vconsole:off"];
    return spawn(program, [...args, ...options], { env, stdio: "ignore" });
  }
}
