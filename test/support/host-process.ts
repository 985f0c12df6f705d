// A `plinth host` of a test, in the directory of a controller of the same test.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { callControl } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH } from "./run.js";

const START_DEADLINE_MS = 30_000;

export class HostProcess {
  readonly dir: string;
  #child: ChildProcess | undefined;
  #said = "";

  constructor(dir: string) {
    this.dir = dir;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What it wrote to standard error last. */
  get said(): string {
    return this.#said;
  }

  /** Resolves once it answers on its control socket. */
  async start(): Promise<void> {
    const args = [PLINTH, "host", "--dir", this.dir, "--name", "test"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    this.#said = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-20_000);
    });
    const answers = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode}:\n${this.#said}`);
      const answer = await this.call("ping", {}, 1_000).catch(() => undefined);
      return (answer as { pid?: number } | undefined)?.pid === child.pid;
    };
    await waitFor(answers, () => `the agent does not answer:\n${this.#said}`, START_DEADLINE_MS, 50);
  }

  call(method: string, params: Readonly<Record<string, unknown>>, deadlineMs = 60_000): Promise<unknown> {
    return callControl(join(this.dir, "run", "host.sock"), method, params, deadlineMs);
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#child !== undefined) await endChild(this.#child, signal);
  }
}
