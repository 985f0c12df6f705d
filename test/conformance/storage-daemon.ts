// A storaged of its own process for conformance tests, started through the command line, killed and started again.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { callControl } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";

const MAIN = new URL("../../dist/stack/cli/main.js", import.meta.url).pathname;
const run = promisify(execFile);

export class StorageProcess {
  readonly dir = mkdtempSync("/tmp/st-");
  readonly disks: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  #process: ChildProcess | undefined;
  #stderr = "";

  constructor(disks: readonly string[] = ["d0"], env: NodeJS.ProcessEnv = {}) {
    this.disks = disks.map((name) => join(this.dir, name));
    this.#env = { ...process.env, ...env };
  }

  /** The shared socket as a URI of one export. */
  uri(name: string): string {
    return `nbd+unix:///${name}?socket=${join(this.dir, "s", "nbd.sock")}`;
  }

  get stderr(): string {
    return this.#stderr;
  }

  async start(): Promise<void> {
    const args = [MAIN, "storaged", "--dir", join(this.dir, "s"), "--disk", this.disks.join(",")];
    const child = spawn(process.execPath, args, { env: this.#env, stdio: ["ignore", "ignore", "pipe"] });
    this.#process = child;
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    await waitFor(
      async () => {
        if (child.exitCode !== null) throw new Error(`storaged ended: ${this.#stderr.slice(-2000)}`);
        try {
          await this.control("ping");
          return true;
        } catch {
          return false;
        }
      },
      () => `storaged does not answer: ${this.#stderr.slice(-2000)}`,
      30_000,
      20,
    );
  }

  control(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    return callControl(join(this.dir, "s", "control.sock"), method, params, 20_000);
  }

  /** SIGKILL, or an orderly end with SIGTERM; resolves with the exit code once the process is gone. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null;
    const gone = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
    child.kill(signal);
    return gone;
  }

  async remove(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** The command line against this daemon. */
  async plinth(...args: string[]): Promise<string> {
    const { stdout } = await run(process.execPath, [MAIN, ...args, "--dir", join(this.dir, "s")]);
    return stdout;
  }
}

/** Runs a program and resolves with its standard output; a failure carries what it printed. */
export async function program(name: string, ...args: string[]): Promise<string> {
  try {
    const { stdout } = await run(name, args, { maxBuffer: 64 * 1024 * 1024, timeout: 110_000 });
    return stdout;
  } catch (thrown) {
    const { stdout, stderr, message } = thrown as { stdout?: string; stderr?: string; message: string };
    throw new Error(`${name} ${args.join(" ")}: ${message}\n${stdout ?? ""}\n${stderr ?? ""}`);
  }
}

/** Fails by name when a program is missing: nothing is left out silently. */
export function needPrograms(...names: string[]): void {
  const missing = names.filter(
    (name) => !(process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, name))),
  );
  if (missing.length > 0)
    throw new Error(`these programs are missing: ${missing.join(", ")} (npm test installs them)`);
}
