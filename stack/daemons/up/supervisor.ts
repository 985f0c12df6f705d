// Keeps the daemons of one machine running: adopts those that live, starts those that do not, starts again those that die.
// A daemon is known by its control socket and its lock, never by a process number that may have been given to another.
// Daemons run in their own sessions: they outlive this process, and a terminal's Ctrl-C does not reach them.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { describeError, PlinthError } from "../../../base/errors/index.js";
import { callControl, connectJsonRpc } from "../../../base/jsonrpc/index.js";
import { lockHolder } from "../../../base/linux/index.js";
import type { Logger } from "../../../base/log/index.js";
import { waitFor } from "../../../base/time/index.js";
import type { DaemonName, DaemonSpec } from "./daemon-set.js";

const READY_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 40_000;
const PING_DEADLINE_MS = 3_000;
/** How often the supervisor looks. A child's death is seen at once; that of an adopted daemon within this time. */
const WATCH_INTERVAL_MS = 500;
/** A daemon that dies again within this time is started again ever more slowly. */
const CALM_MS = 30_000;
const BACKOFF_MS_MAX = 10_000;

export type SupervisorEvent =
  | { readonly kind: "adopted" | "started" | "ready"; readonly daemon: DaemonName }
  | { readonly kind: "died"; readonly daemon: DaemonName; readonly detail: string };

interface Watched {
  readonly spec: DaemonSpec;
  child: ChildProcess | undefined;
  /** How the child ended, in words; undefined while it runs or when the daemon is not our child. */
  ended: string | undefined;
  failures: number;
  startedAtMs: number;
  nextStartAtMs: number;
  busy: boolean;
}

export class Supervisor {
  readonly #daemons: readonly Watched[];
  readonly #logDir: string;
  readonly #log: Logger;
  readonly #report: (event: SupervisorEvent) => void;
  #timer: NodeJS.Timeout | undefined;
  #starting: Promise<unknown> = Promise.resolve();
  #stopping = false;

  constructor(
    specs: readonly DaemonSpec[],
    modules: {
      readonly logDir: string;
      readonly log: Logger;
      readonly report: (event: SupervisorEvent) => void;
    },
  ) {
    this.#daemons = specs.map((spec) => ({
      spec,
      child: undefined,
      ended: undefined,
      failures: 0,
      startedAtMs: 0,
      nextStartAtMs: 0,
      busy: false,
    }));
    this.#logDir = modules.logDir;
    this.#log = modules.log;
    this.#report = modules.report;
  }

  /** Resolves when every daemon is ready; rejects with DAEMON_NOT_READY naming the one that is not. */
  async start(): Promise<void> {
    const ready = new Map<DaemonName, Promise<void>>();
    for (const daemon of this.#daemons) {
      const before = Promise.all(daemon.spec.after.map((name) => ready.get(name)));
      ready.set(
        daemon.spec.name,
        before.then(() => this.#bringUp(daemon)),
      );
    }
    this.#starting = Promise.allSettled(ready.values());
    await Promise.all(ready.values());
    if (!this.#stopping) this.#timer = setInterval(() => this.#watch(), WATCH_INTERVAL_MS);
  }

  /** Starts no more daemons, waits for those that are being started, and then runs `stop`. */
  async stop(stop: () => Promise<void>): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#starting;
    await waitFor(
      () => this.#daemons.every(({ busy }) => !busy),
      "a daemon is still being started",
      READY_DEADLINE_MS,
    );
    await stop();
  }

  async #bringUp(daemon: Watched): Promise<void> {
    const { spec } = daemon;
    if (this.#stopping) return;
    if (lockHolder(spec.lockFile) !== undefined) {
      await this.#untilReady(daemon);
      this.#report({ kind: "adopted", daemon: spec.name });
      return;
    }
    this.#spawn(daemon);
    this.#report({ kind: "started", daemon: spec.name });
    await this.#untilReady(daemon);
    this.#report({ kind: "ready", daemon: spec.name });
  }

  #spawn(daemon: Watched): void {
    const { spec } = daemon;
    mkdirSync(this.#logDir, { recursive: true, mode: 0o700 });
    const stderr = openErrorLog(errorLog(this.#logDir, spec.name));
    try {
      daemon.child = spawn(process.execPath, [mainScript(), ...spec.args], {
        detached: true,
        stdio: ["ignore", stderr, stderr],
        cwd: "/",
      });
    } finally {
      closeSync(stderr);
    }
    daemon.ended = undefined;
    daemon.startedAtMs = performance.now();
    const child = daemon.child;
    child.on("error", (error) => this.#log.error({ daemon: spec.name, err: error }, "could not start"));
    child.on("exit", (code, signal) => {
      if (daemon.child !== child) return;
      daemon.child = undefined;
      daemon.ended = signal === null ? `it ended with ${code}` : `it was ended by ${signal}`;
      if (this.#timer !== undefined) this.#look(daemon);
    });
  }

  async #untilReady(daemon: Watched): Promise<void> {
    const { spec } = daemon;
    try {
      await waitFor(
        async () => {
          if (await isReady(spec)) return true;
          if (daemon.ended !== undefined) throw new Error(this.#lastWord(daemon));
          return false;
        },
        "its control socket does not answer",
        READY_DEADLINE_MS,
        50,
      );
    } catch (cause) {
      throw new PlinthError(
        "DAEMON_NOT_READY",
        `${spec.name} did not become ready: ${describeError(cause)}`,
        {
          cause,
          remedy: `see ${join(this.#logDir, `${spec.name}.log`)}`,
        },
      );
    }
  }

  #watch(): void {
    for (const daemon of this.#daemons) this.#look(daemon);
  }

  /** Brings `daemon` back when nobody holds its lock. */
  #look(daemon: Watched): void {
    if (daemon.busy || lockHolder(daemon.spec.lockFile) !== undefined) return;
    daemon.busy = true;
    this.#revive(daemon)
      .catch((thrown: unknown) => this.#log.error({ daemon: daemon.spec.name, err: thrown }, "not revived"))
      .finally(() => {
        daemon.busy = false;
      });
  }

  async #revive(daemon: Watched): Promise<void> {
    const nowMs = performance.now();
    if (nowMs < daemon.nextStartAtMs) return;
    const detail = this.#lastWord(daemon);
    this.#log.warn({ daemon: daemon.spec.name, detail }, "died; starting it again");
    this.#report({ kind: "died", daemon: daemon.spec.name, detail });
    daemon.failures = nowMs - daemon.startedAtMs > CALM_MS ? 0 : daemon.failures + 1;
    daemon.nextStartAtMs = nowMs + Math.min(BACKOFF_MS_MAX, daemon.failures * daemon.failures * 250);
    await this.#bringUp(daemon);
  }

  #lastWord(daemon: Watched): string {
    return lastWord(errorLog(this.#logDir, daemon.spec.name)) ?? daemon.ended ?? "it left no word";
  }
}

/** True when the daemon answers on its control socket. */
export async function isReady(spec: DaemonSpec): Promise<boolean> {
  try {
    await callDaemon(spec, spec.protocol === "unixctl" ? "version" : "ping", PING_DEADLINE_MS);
    return true;
  } catch {
    return false;
  }
}

/** Asks the daemon to end and waits until its lock is free; false when it was not running. Throws DAEMON_NOT_STOPPED. */
export async function stopDaemon(spec: DaemonSpec): Promise<boolean> {
  const holder = lockHolder(spec.lockFile);
  if (holder === undefined) return false;
  try {
    await callDaemon(spec, spec.protocol === "unixctl" ? "exit" : "shutdown", STOP_DEADLINE_MS);
  } catch {
    // It closed the connection before it answered, or is not far enough in its start to be asked, or is stuck. The
    // kernel says who holds the lock right now, so a signal cannot hit another process.
    signalHolder(spec, "SIGTERM");
  }
  const free = () => lockHolder(spec.lockFile) === undefined;
  try {
    await waitFor(free, "still running", STOP_DEADLINE_MS);
  } catch {
    const stuck = signalHolder(spec, "SIGKILL");
    try {
      await waitFor(free, "still running", 5_000);
    } catch (cause) {
      throw new PlinthError("DAEMON_NOT_STOPPED", `${spec.name} (process ${stuck}) does not end`, { cause });
    }
  }
  return true;
}

/** Kills a daemon without notice, as a crash would; false when it was not running. For drills and proofs. */
export function killDaemon(spec: DaemonSpec): boolean {
  return signalHolder(spec, "SIGKILL") !== undefined;
}

/** Signals the process that holds the daemon's lock and returns its number; undefined when nobody does. */
function signalHolder(spec: DaemonSpec, signal: NodeJS.Signals): number | undefined {
  const holder = lockHolder(spec.lockFile);
  if (holder === undefined) return undefined;
  try {
    process.kill(holder, signal);
  } catch {
    // It has ended since.
  }
  return holder;
}

async function callDaemon(spec: DaemonSpec, method: string, timeoutMs: number): Promise<void> {
  if (spec.protocol === "control") {
    await callControl(spec.controlSocket, method, {}, timeoutMs);
    return;
  }
  const connection = await connectJsonRpc({ kind: "unix", path: spec.controlSocket }, { timeoutMs });
  try {
    await connection.call(method, [], timeoutMs);
  } finally {
    connection.close();
  }
}

/** The program that runs: `plinth up` has its daemons run what it is itself. */
function mainScript(): string {
  const script = process.argv[1];
  if (script === undefined) throw new Error("plinth was started without a file");
  return script;
}

function errorLog(logDir: string, name: string): string {
  return join(logDir, `${name}.err`);
}

/** A new file; what an earlier process said last is kept beside it. */
function openErrorLog(path: string): number {
  if (statSync(path, { throwIfNoEntry: false })?.size) renameSync(path, `${path}.1`);
  return openSync(path, "w", 0o600);
}

/** What a daemon said as it ended: its own line, else that of an error which Node printed, else whatever came first. */
function lastWord(path: string): string | undefined {
  let lines: string[];
  try {
    lines = readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line.trim() !== "");
  } catch {
    return undefined;
  }
  return (
    lines.find((line) => line.startsWith("plinth ")) ??
    lines.find((line) => /^\w*Error\b/.test(line)) ??
    lines[0]
  );
}
