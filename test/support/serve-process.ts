// A `plinth volume serve` of a test: started in the foreground, known to be ready by its own words.
import { type ChildProcess, spawn } from "node:child_process";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH } from "./run.js";

export class ServeProcess {
  /** Of those that are started from now on. */
  static env: NodeJS.ProcessEnv = process.env;
  readonly #child: ChildProcess;
  #said = "";
  #errors = "";

  constructor(...args: readonly string[]) {
    this.#child = spawn(process.execPath, [PLINTH, "volume", "serve", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: ServeProcess.env,
    });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.#said += chunk.toString();
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it wrote to standard error so far. */
  get errors(): string {
    return this.#errors;
  }

  /** Resolves with its URIs; rejects with its words when it ends before. */
  async ready(): Promise<string[]> {
    const isReady = (): boolean => {
      if (this.#child.exitCode !== null)
        throw new Error(`ended with ${this.#child.exitCode}: ${this.#errors}`);
      return this.#said.endsWith("ready\n");
    };
    await waitFor(isReady, () => `not ready: ${this.#said}${this.#errors}`, 60_000, 20);
    return this.#said.split("\n").slice(0, -2);
  }

  /** Ends it in order and resolves with its exit code. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    await endChild(this.#child, signal);
    return this.#child.exitCode;
  }
}
