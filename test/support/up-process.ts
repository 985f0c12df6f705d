// A `plinth up` of a test, in a directory of its own on a free port.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { callControl } from "../../base/jsonrpc/index.js";
import { lockHolder } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { directoryLayout } from "../../stack/daemons/directory.js";
import { type DaemonName, daemonSet } from "../../stack/daemons/up/daemon-set.js";
import { isReady } from "../../stack/daemons/up/supervisor.js";
import { endChild, PLINTH, type RunResult, run } from "./run.js";

const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 60_000;

export class UpProcess {
  readonly dir: string;
  #child: ChildProcess | undefined;
  #said = "";

  constructor(dir: string) {
    this.dir = dir;
  }

  /** What it has printed since its last start. */
  get said(): string {
    return this.#said;
  }

  /** Starts it, without waiting for anything. */
  launch(): ChildProcess {
    const args = [PLINTH, "up", "--no-example", "--dir", this.dir, "--port", "0"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.#said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.#said += chunk.toString();
      });
    }
    return child;
  }

  /** Resolves once it says how to look around. */
  async start(): Promise<void> {
    const child = this.launch();
    await this.untilSaid("Ctrl-C stops everything", () => child.exitCode !== null);
  }

  async untilSaid(text: string, ended = () => false): Promise<void> {
    const heard = () => {
      if (ended()) throw new Error(`plinth up ended:\n${this.#said}`);
      return this.#said.includes(text);
    };
    await waitFor(heard, () => `plinth up has not said "${text}":\n${this.#said}`, START_DEADLINE_MS);
  }

  /** As Ctrl-C does; resolves with the exit code. */
  async interrupt(): Promise<number | null> {
    const child = this.#child as ChildProcess;
    child.kill("SIGINT");
    const ended = () => child.exitCode !== null || child.signalCode !== null;
    await waitFor(ended, () => `plinth up does not end:\n${this.#said}`, STOP_DEADLINE_MS);
    return child.exitCode;
  }

  async kill(): Promise<void> {
    if (this.#child !== undefined) await endChild(this.#child, "SIGKILL");
  }

  /** Process number of a daemon, as its lock says. */
  daemon(name: DaemonName): number | undefined {
    return lockHolder(this.#spec(name).lockFile);
  }

  /** Resolves once `name` answers, as another process than `before`. */
  async untilBack(name: DaemonName, before: number | undefined): Promise<void> {
    const back = async () => {
      const now = this.daemon(name);
      return now !== undefined && now !== before && (await isReady(this.#spec(name)));
    };
    await waitFor(back, () => `${name} is not back:\n${this.#said}`, START_DEADLINE_MS);
  }

  daemons(): Record<string, number | undefined> {
    const specs = daemonSet(directoryLayout(this.dir), { apiPort: 0 });
    return Object.fromEntries(specs.map(({ name, lockFile }) => [name, lockHolder(lockFile)]));
  }

  /** Runs `script` in a guest and returns what it printed. */
  async exec(namespace: string, name: string, script: string): Promise<string> {
    const params = { namespace, name, command: ["sh", "-c", script], timeoutMs: 30_000 };
    const answer = (await callControl(join(this.dir, "run", "host.sock"), "vm.exec", params, 60_000)) as {
      exitCode: number;
      stdout: string;
      stderr: string;
    };
    if (answer.exitCode !== 0) throw new Error(`${script}: exit ${answer.exitCode}: ${answer.stderr}`);
    return answer.stdout.trim();
  }

  /** `plinth down` from another process. */
  down(...flags: readonly string[]): Promise<RunResult> {
    return run(process.execPath, [PLINTH, "down", "--dir", this.dir, ...flags], { deadlineMs: 120_000 });
  }

  #spec(name: DaemonName) {
    const found = daemonSet(directoryLayout(this.dir), { apiPort: 0 }).find((spec) => spec.name === name);
    if (found === undefined) throw new Error(`there is no daemon ${name}`);
    return found;
  }
}
