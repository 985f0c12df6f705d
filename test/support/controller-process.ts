// A `plinth controller` of a test: its own directory, a free port, and the end of it.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { callControl } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH } from "./run.js";

const START_DEADLINE_MS = 30_000;

export class ControllerProcess {
  readonly dir: string;
  readonly port: number;
  #child: ChildProcess | undefined;
  #said = "";

  private constructor(dir: string, port: number) {
    this.dir = dir;
    this.port = port;
  }

  static async create(): Promise<ControllerProcess> {
    return new ControllerProcess(await mkdtemp("/tmp/pctl-"), await freePort());
  }

  get kubeconfig(): string {
    return join(this.dir, "kubeconfig");
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves once it answers. */
  async start(): Promise<void> {
    const args = [PLINTH, "controller", "--dir", this.dir, "--port", String(this.port)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    this.#said = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-4000);
    });
    const socket = join(this.dir, "run", "controller.sock");
    const answers = async (): Promise<boolean> => {
      if (child.exitCode !== null)
        throw new Error(`the controller ended with ${child.exitCode}:\n${this.#said}`);
      const answer = await callControl(socket, "ping", {}, 1000).catch(() => undefined);
      return (answer as { pid?: number } | undefined)?.pid === child.pid;
    };
    await waitFor(answers, () => `the controller does not answer:\n${this.#said}`, START_DEADLINE_MS);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.#child !== undefined) await endChild(this.#child, signal);
  }

  async destroy(): Promise<void> {
    await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
