// A daemon of a test as its own process: started through the command line, known to be ready by its control socket,
// killed, started again.
import { type ChildProcess, spawn } from "node:child_process";
import { callControl } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH } from "./run.js";

const READY_DEADLINE_MS = 90_000;
const SAID_LENGTH_MAX = 20_000;

export interface DaemonOptions {
  /** The words after `plinth`: the daemon's name first. */
  readonly args: readonly string[];
  readonly controlSocket: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Words before the command, which end in running it as the same process: nsenter, taskset. */
  readonly launcher?: readonly string[];
}

export class DaemonProcess {
  readonly #options: DaemonOptions;
  #child: ChildProcess | undefined;
  #said = "";

  constructor(options: DaemonOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What it wrote to standard error since it was first started; the end of it, if it was much. */
  get said(): string {
    return this.#said;
  }

  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  /** Resolves once it has ended by itself. */
  async ended(deadlineMs = READY_DEADLINE_MS): Promise<void> {
    const [name] = this.#options.args;
    const hasEnded = (): boolean => this.#child?.exitCode !== null || this.#child?.signalCode !== null;
    await waitFor(hasEnded, () => `${name} does not end:\n${this.#said}`, deadlineMs, 20);
  }

  /** Resolves once it answers; rejects with its words when it ends before, or at a deadline. */
  async start(...moreArgs: readonly string[]): Promise<void> {
    const { args, env, launcher = [] } = this.#options;
    const [program = "", ...words] = [...launcher, process.execPath, PLINTH, ...args, ...moreArgs];
    const child = spawn(program, words, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    child.stderr.on("data", (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-SAID_LENGTH_MAX);
    });
    const answers = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`${args[0]} ended with ${child.exitCode}:\n${this.#said}`);
      const answer = await this.call("ping", {}, 1_000).catch(() => undefined);
      return (answer as { pid?: number } | undefined)?.pid === child.pid;
    };
    await waitFor(answers, () => `${args[0]} does not answer:\n${this.#said}`, READY_DEADLINE_MS, 20);
  }

  /** One call to its control socket. */
  call(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
    deadlineMs = 60_000,
  ): Promise<unknown> {
    return callControl(this.#options.controlSocket, method, params, deadlineMs);
  }

  /** Ends it, in order unless told otherwise, and resolves with its exit code; null when a signal ended it, or it never ran. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.#child === undefined) return null;
    await endChild(this.#child, signal);
    return this.#child.exitCode;
  }
}
