// Drives one virtual machine: one queue of commands, one QEMU, one state. QEMU lives on without us; adopt() finds it
// again by its monitor's socket. Thread: main.
// Invariant: commands run one after the other; state only changes through moveState; the driver never waits for a
// guest or for QEMU without a deadline, and stop() always ends with no QEMU.
import { closeSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { describeError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import { type Clock, systemClock } from "../../base/time/index.js";
import { hypervisorError } from "../errors.js";
import { ExecClient } from "../guest/exec-client.js";
import type { ExecResult } from "../guest/exec-session.js";
import type { ExecRequest } from "../guest/exec-wire.js";
import { REBOOT_PROGRAM } from "../image/guest-files.js";
import type { GuestSeed } from "../image/guest-seed.js";
import { SERIAL_LOG_BYTES_MAX } from "../limits.js";
import { isNobodyThere, QmpClient } from "../qmp/qmp-client.js";
import type { QmpEvent } from "../qmp/qmp-session.js";
import { commandLine } from "./command-line.js";
import { diskSize, growDisk } from "./disk-growth.js";
import { type MachinePaths, type MachineSpec, machinePaths } from "./machine-spec.js";
import { type MachineState, moveState, stateOfRunState } from "./machine-states.js";
import { pressPowerButton } from "./power-button.js";
import { findProcesses, killProcesses, spawnQemu } from "./qemu-process.js";
import type { ControlGroups, LimitOutcome } from "./resource-limits.js";
import {
  clearRunDirectory,
  openBootDisk,
  prepareRunDirectory,
  readLogTail,
  stageBoot,
  trimLog,
  unstageBoot,
} from "./run-directory.js";
import { within } from "./within.js";

export interface MachineChange {
  readonly state: MachineState;
  /** One word in CamelCase, fit for a condition or an event. */
  readonly reason: string;
  readonly message: string;
}

export interface MachineDriverOptions {
  /** Names the machine's control group. */
  readonly id: string;
  readonly runDir: string;
  /** QEMU's own words, outside the run directory: not the machine's to change. */
  readonly logFile: string;
  readonly qemu: string;
  /** The machine's own user; ours when undefined. */
  readonly uid?: number | undefined;
  readonly limits: ControlGroups;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Told after every change of state and after every restart of the guest. May call the driver. */
  readonly onChange?: (change: MachineChange) => void;
}

/** QEMU loads, the switch dials its sockets, the disks are opened: then the monitor greets. */
export const START_DEADLINE_MS = 60_000;
const POLL_MS = 25;
const QUIT_DEADLINE_MS = 5_000;
const LOST_DEADLINE_MS = 5_000;
const REBOOT_DEADLINE_MS = 8_000;
const RESET_REPEAT_MS = 1_000;

export class MachineDriver {
  readonly paths: MachinePaths;
  readonly #options: MachineDriverOptions;
  readonly #clock: Clock;
  readonly #exec: ExecClient;
  #state: MachineState = "stopped";
  #reason = "New";
  #message = "";
  #queue: Promise<unknown> = Promise.resolve();
  #qmp: QmpClient | undefined;
  #qmpGone: Promise<void> = Promise.resolve();
  #shutdownReason: string | undefined;
  #onReset: (() => void) | undefined;
  #resetAtMs = Number.NEGATIVE_INFINITY;
  #stopWanted = false;
  #released = false;
  #limits: LimitOutcome = { enforced: false, message: "adopted without knowing its limits" };

  constructor(options: MachineDriverOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.paths = machinePaths(options.runDir);
    this.#exec = new ExecClient(this.paths.agent, this.#clock);
  }

  get state(): MachineState {
    return this.#state;
  }

  /** Why the state is what it is. */
  get change(): MachineChange {
    return { state: this.#state, reason: this.#reason, message: this.#message };
  }

  /** What start() achieved for processors and memory. */
  get limits(): LimitOutcome {
    return this.#limits;
  }

  /** Makes the run directory for the machine's user, so that others can put sockets into it before start(). */
  prepare(): void {
    prepareRunDirectory(this.paths, this.#options.uid);
  }

  /**
   * Takes over a QEMU that runs already. False when none does. A QEMU that still waits for the switch counts as
   * starting; the driver goes on waiting for it in the background.
   */
  adopt(deadlineMs = 2_000): Promise<boolean> {
    return this.#enqueue(async () => {
      if (this.#state !== "stopped") return this.#state !== "failed";
      try {
        await this.#connect(deadlineMs);
      } catch (thrown) {
        if (findProcesses(this.paths.qmp).length === 0) return false;
        this.#change("starting", "Adopted", `its monitor is silent: ${describeError(thrown)}`);
        this.#stopWanted = false;
        void this.#enqueue(() => this.#awaitAdopted());
        return true;
      }
      await this.#readRunState("Adopted", "found running after the host agent started");
      return true;
    });
  }

  /** Starts QEMU and waits for its monitor. Throws MACHINE_START_FAILED, MACHINE_SPEC_INVALID, PROGRAM_MISSING. */
  start(spec: MachineSpec, seed?: GuestSeed): Promise<void> {
    this.#stopWanted = false;
    return this.#enqueue(async () => {
      if (this.#state !== "stopped" && this.#state !== "failed") {
        throw hypervisorError("MACHINE_STATE", `the machine is ${this.#state}`);
      }
      const words = commandLine(spec, this.paths, process.arch === "arm64" ? "arm64" : "x64");
      const dialled = spec.interfaces.some((each) => each.backend === "vhost-user");
      const waits = dialled ? "; it runs as soon as the switch has connected its interfaces" : "";
      this.#change("starting", "Starting", `QEMU is being started${waits}`);
      try {
        const qemu = await this.#spawn(spec, seed, words);
        await this.#awaitMonitor(() => qemu.ended());
      } catch (thrown) {
        if (this.#released) throw thrown;
        await this.#removeQemu();
        this.#failStart(thrown);
        throw thrown;
      }
    });
  }

  /**
   * Ends the machine: the power button, then after `graceMs` QEMU's own end, then SIGKILL. Never fails for what the
   * guest or QEMU does. With `graceMs` 0 the guest is not asked.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopWanted = true;
    return this.#enqueue(async () => {
      if (this.#state === "stopped") return;
      if (this.#state !== "failed") {
        this.#change(
          "stopping",
          "Stopping",
          graceMs > 0 ? "the guest is asked to power off" : "QEMU is ended",
        );
        if (graceMs > 0 && this.#qmp !== undefined)
          await pressPowerButton(this.#qmp, this.#qmpGone, graceMs, this.#clock);
      }
      await this.#removeQemu();
      this.#change("stopped", "Stopped", "QEMU has ended");
    });
  }

  /** Ends the machine without asking and removes everything of it from this host. */
  async destroy(): Promise<void> {
    await this.stop(0);
    rmSync(this.paths.runDir, { recursive: true, force: true });
    rmSync(this.#options.logFile, { force: true });
  }

  /** Halts the processors; memory and connections stay. Throws MACHINE_STATE unless running or paused. */
  pause(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#monitor("pause").execute("stop");
      if (this.#state !== "paused") this.#change("paused", "Paused", "the processors are halted");
    });
  }

  resume(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#monitor("resume").execute("cont");
      // By now a full disk may have halted them again; what QEMU said before this answer is taken in already.
      const { status } = await this.#runState("resume");
      if (stateOfRunState(status) !== "running" || this.#state === "running") return;
      this.#change("running", "Resumed", "the processors run again");
    });
  }

  /** Restarts the guest: its own orderly way where our agent answers, else the reset line. */
  reboot(): Promise<void> {
    return this.#enqueue(async () => {
      const monitor = this.#monitor("reboot");
      if (this.#state !== "running")
        throw hypervisorError("MACHINE_STATE", `a ${this.#state} machine cannot reboot`);
      const reset = new Promise<void>((resolve) => {
        this.#onReset = resolve;
      });
      // In the background and a moment later, so that the agent can still answer.
      const script = `(usleep 300000; exec ${REBOOT_PROGRAM}) >/dev/null 2>&1 </dev/null & :`;
      const refused = this.#exec
        .run({ command: ["setsid", "sh", "-c", script], timeoutMs: 1_000 }, REBOOT_DEADLINE_MS)
        .then((result) => (result.exitCode === 0 ? new Promise<never>(() => {}) : undefined))
        .catch(() => undefined);
      const done =
        (await within(Promise.race([reset.then(() => true), refused]), REBOOT_DEADLINE_MS)) === true;
      this.#onReset = undefined;
      if (!done) await monitor.execute("system_reset");
      this.#resetAtMs = this.#clock.nowMs();
      this.#change("running", "Rebooted", done ? "the guest restarted itself" : "the guest was reset");
    });
  }

  /** Bytes of a disk as the guest sees it; undefined when there is no such disk. Throws MACHINE_STATE, QmpError. */
  diskSize(index: number): Promise<number | undefined> {
    return this.#enqueue(() => diskSize(this.#monitor("look at a disk"), index));
  }

  /** Shows the guest that a disk has grown, after its server has closed the connection. Throws as diskSize() does. */
  growDisk(index: number, sizeBytes: number): Promise<void> {
    return this.#enqueue(() => growDisk(this.#monitor("grow a disk"), index, sizeBytes, this.#clock));
  }

  /** Runs a command in the guest, beside whatever else goes on. Throws MACHINE_STATE, GUEST_AGENT_SILENT. */
  exec(request: ExecRequest, graceMs?: number): Promise<ExecResult> {
    if (this.#state !== "running") {
      return Promise.reject(hypervisorError("MACHINE_STATE", `the machine is ${this.#state}, not running`));
    }
    return this.#exec.run(request, graceMs);
  }

  /** Bounds what the guest can write here through its serial port. */
  trimLogs(): void {
    trimLog(this.paths.serialLog, SERIAL_LOG_BYTES_MAX);
    trimLog(this.#options.logFile, SERIAL_LOG_BYTES_MAX);
  }

  /** Lets go of a running machine: this process ends, QEMU does not. */
  async release(): Promise<void> {
    this.#stopWanted = true;
    this.#released = true;
    const qmp = this.#qmp;
    this.#qmp = undefined;
    qmp?.close();
    this.#exec.close();
    await this.#queue.catch(() => {});
  }

  async #spawn(spec: MachineSpec, seed: GuestSeed | undefined, words: readonly string[]) {
    const { uid, qemu, logFile, id } = this.#options;
    clearRunDirectory(this.paths);
    this.prepare();
    mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
    const { boot, memoryBytes, accelerator } = spec;
    if (boot.type === "kernel") stageBoot(boot, seed, this.paths, uid);
    const bootDisk = boot.type === "disk" ? openBootDisk(boot) : undefined;
    const started = await spawnQemu({
      program: qemu,
      arguments: words,
      log: logFile,
      uid,
      temporaryDir: this.paths.runDir,
      bootDisk,
      memoryBytes,
      accelerator,
    }).finally(() => bootDisk !== undefined && closeSync(bootDisk));
    this.#limits = this.#options.limits.apply(id, started.pid, spec);
    this.#options.log.info(
      { machine: id, pid: started.pid, uid, limits: this.#limits.message },
      "QEMU started",
    );
    return started;
  }

  /** Waits until the monitor greets and the machine has a state; `ended` tells that there is nothing to wait for. */
  async #awaitMonitor(ended: () => boolean): Promise<void> {
    const endMs = this.#clock.nowMs() + START_DEADLINE_MS;
    for (;;) {
      if (this.#stopWanted) throw hypervisorError("MACHINE_START_FAILED", "stopped while it was starting");
      const leftMs = endMs - this.#clock.nowMs();
      try {
        await this.#connect(Math.min(1_000, Math.max(1, leftMs)));
        break;
      } catch (thrown) {
        const words = (): string => readLogTail(this.#options.logFile) || "it said nothing";
        if (ended()) throw hypervisorError("MACHINE_START_FAILED", `QEMU ended while starting: ${words()}`);
        if (leftMs <= 0) {
          throw hypervisorError("MACHINE_START_FAILED", `QEMU's monitor stayed silent: ${words()}`, {
            cause: thrown,
          });
        }
      }
      await this.#sleep(POLL_MS);
    }
    unstageBoot(this.paths);
    await this.#readRunState("Started", "QEMU runs the machine");
  }

  /** A QEMU that was found while it waited for the switch: the same end as in start(), without a caller to tell. */
  async #awaitAdopted(): Promise<void> {
    if (this.#state !== "starting") return;
    try {
      await this.#awaitMonitor(() => findProcesses(this.paths.qmp).length === 0);
    } catch (thrown) {
      if (this.#released) return;
      await this.#removeQemu();
      this.#failStart(thrown);
    }
  }

  #failStart(thrown: unknown): void {
    if (this.#state === "starting") this.#change("failed", "StartFailed", describeError(thrown));
  }

  async #connect(deadlineMs: number): Promise<void> {
    let gone: () => void = () => {};
    const closed = new Promise<void>((resolve) => {
      gone = resolve;
    });
    const qmp = await QmpClient.open({
      path: this.paths.qmp,
      deadlineMs,
      clock: this.#clock,
      onEvent: (event) => this.#onEvent(event),
      onClose: () => {
        gone();
        if (this.#qmp === qmp) this.#onMonitorLost();
      },
    });
    this.#qmp = qmp;
    this.#qmpGone = closed;
    this.#shutdownReason = undefined;
  }

  async #readRunState(reason: string, message: string): Promise<void> {
    const endMs = this.#clock.nowMs() + START_DEADLINE_MS;
    for (;;) {
      const { status } = await this.#runState("query");
      const state = stateOfRunState(status);
      if (state !== undefined) {
        this.#change(state, reason, message);
        return;
      }
      if (this.#clock.nowMs() > endMs) {
        throw hypervisorError("MACHINE_START_FAILED", `QEMU stayed in run state ${String(status)}`);
      }
      await this.#sleep(POLL_MS);
    }
  }

  async #runState(verb: string): Promise<{ readonly status?: unknown }> {
    return ((await this.#monitor(verb).execute("query-status")) ?? {}) as { status?: unknown };
  }

  #onEvent(event: QmpEvent): void {
    switch (event.name) {
      case "SHUTDOWN":
        this.#shutdownReason = String(event.data["reason"] ?? "unknown");
        return;
      case "RESET":
        this.#onResetEvent();
        return;
      case "STOP":
        if (this.#state === "running") this.#change("paused", "Paused", "the processors are halted");
        return;
      case "RESUME":
        if (this.#state === "paused") this.#change("running", "Resumed", "the processors run again");
        return;
      case "BLOCK_IO_ERROR":
        this.#onDiskError(event);
        return;
    }
  }

  /** One restart of a guest is several resets of the board. */
  #onResetEvent(): void {
    const repeated = this.#clock.nowMs() - this.#resetAtMs < RESET_REPEAT_MS;
    this.#resetAtMs = this.#clock.nowMs();
    if (this.#onReset !== undefined) this.#onReset();
    else if (!repeated && this.#state === "running") {
      this.#change("running", "Rebooted", "the guest restarted itself");
    }
  }

  #onDiskError(event: QmpEvent): void {
    const stopped = event.data["action"] === "stop";
    const full = event.data["nospace"] === true;
    if (!stopped || (this.#state !== "running" && this.#state !== "paused")) return;
    const device = String(event.data["node-name"] ?? event.data["device"] ?? "a disk");
    this.#change(
      "paused",
      full ? "OutOfSpace" : "DiskError",
      `${device}: ${full ? "the pool is full" : "write failed"}`,
    );
  }

  #onMonitorLost(): void {
    this.#qmp = undefined;
    this.#exec.close();
    if (this.#state === "stopping") return;
    void this.#enqueue(() => this.#settleLost()).catch((thrown) =>
      this.#options.log.error({ err: thrown, machine: this.#options.id }, "lost machine"),
    );
  }

  /** The monitor closed without our asking: QEMU has ended, or (rarely) only dropped the connection. */
  async #settleLost(): Promise<void> {
    if (this.#qmp !== undefined || !["running", "paused"].includes(this.#state)) return;
    const why = this.#shutdownReason;
    const endMs = this.#clock.nowMs() + LOST_DEADLINE_MS;
    while (this.#clock.nowMs() < endMs) {
      try {
        await this.#connect(1_000);
        return;
      } catch (thrown) {
        if (isNobodyThere(thrown)) break;
      }
      await this.#sleep(POLL_MS);
    }
    await this.#removeQemu();
    if (why === "guest-shutdown") this.#change("stopped", "GuestShutdown", "the guest powered itself off");
    else {
      const cause = why === undefined ? "" : ` (${why})`;
      this.#change("failed", "Died", `QEMU ended${cause}: ${readLogTail(this.#options.logFile)}`);
    }
  }

  /** Makes sure that no QEMU of this machine is left, and nothing it held. */
  async #removeQemu(): Promise<void> {
    const qmp = this.#qmp;
    this.#qmp = undefined;
    if (qmp !== undefined && !qmp.closed) {
      void qmp.execute("quit", undefined, QUIT_DEADLINE_MS).catch(() => {});
      await within(this.#qmpGone, QUIT_DEADLINE_MS);
      qmp.close();
    }
    this.#exec.close();
    const endMs = this.#clock.nowMs() + QUIT_DEADLINE_MS;
    while (findProcesses(this.paths.qmp).length > 0 && this.#clock.nowMs() < endMs) {
      killProcesses(this.paths.qmp);
      await this.#sleep(POLL_MS);
    }
    this.#options.limits.release(this.#options.id);
    clearRunDirectory(this.paths);
  }

  #monitor(what: string): QmpClient {
    if (this.#qmp === undefined)
      throw hypervisorError("MACHINE_STATE", `cannot ${what}: the machine is ${this.#state}`);
    return this.#qmp;
  }

  #change(state: MachineState, reason: string, message: string): void {
    this.#state = moveState(this.#state, state);
    this.#reason = reason;
    this.#message = message;
    this.#options.log.info({ machine: this.#options.id, state, reason }, message);
    this.#options.onChange?.({ state, reason, message });
  }

  #enqueue<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(run, run);
    this.#queue = result.catch(() => {});
    return result;
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}
