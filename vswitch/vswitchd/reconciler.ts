// Makes the switch as the database asks, one run at a time, and keeps what was carried out and what failed.
// Thread: main. Invariants: runs never overlap; a failed port or bridge never stops the others; what failed is
// tried again with the next change and every RETRY_MS.
import { describeError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { BridgeConfig, NumberedPort, SwitchBackend, SwitchConfig } from "./model.js";
import { type Action, plan } from "./plan.js";

const RETRY_MS = 5_000;

interface Bridge {
  config: BridgeConfig;
  readonly ports: Map<string, NumberedPort>;
}

export interface ReconcilerModules {
  readonly backend: SwitchBackend;
  readonly clock: Clock;
  readonly log: Logger;
  /** The configuration as of now. */
  readonly read: () => SwitchConfig;
  /** Called after each run, with the model that was carried out; the next run waits for it. */
  readonly report: (model: SwitchConfig) => Promise<void>;
}

export class Reconciler {
  readonly applied = new Map<string, Bridge>();
  /** Why a bridge or port ("bridge/port") is not there. */
  readonly errors = new Map<string, string>();
  readonly #modules: ReconcilerModules;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #retry: Timer | undefined;

  constructor(modules: ReconcilerModules) {
    this.#modules = modules;
  }

  /** Asks for a run; it begins at once or when the one at hand is over. Resolves when that run is over. */
  async trigger(): Promise<void> {
    this.#again = true;
    this.#running ??= this.#loop();
    await this.#running;
  }

  /** A port that was made is not there after all; the next run makes it anew. */
  lose(bridge: string, port: string, reason: string): void {
    this.#modules.log.warn({ target: portKey(bridge, port), reason }, "lost a port");
    this.applied.get(bridge)?.ports.delete(port);
  }

  /** Waits for the run at hand; no further one begins. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.cancel();
    await this.#running;
  }

  async #loop(): Promise<void> {
    // Let the commit that asked for this run be seen whole by everybody first.
    await Promise.resolve();
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        await this.#run();
      }
    } finally {
      this.#running = undefined;
    }
  }

  async #run(): Promise<void> {
    this.#retry?.cancel();
    this.#toldBefore = this.#told;
    this.#told = new Map();
    const model = this.#modules.read();
    this.errors.clear();
    for (const { config, ports, error } of model.bridges) {
      if (error !== undefined) this.errors.set(config.name, error);
      for (const port of ports) {
        const reason = port.error ?? error;
        if (reason !== undefined) this.errors.set(portKey(config.name, port.name), reason);
      }
    }
    for (const action of plan(this.applied, model)) await this.#carryOut(action);
    await this.#setZoneTimeouts(model);
    await this.#modules.report(model);
    if (this.#failures > 0 && !this.#stopped) {
      this.#retry = this.#modules.clock.after(RETRY_MS, () => void this.trigger());
    }
    this.#failures = 0;
  }

  #failures = 0;
  /** By what was tried in the run at hand, why it failed; and in the run before. */
  #told = new Map<string, string>();
  #toldBefore: ReadonlyMap<string, string> = this.#told;

  /** What fails again as before is in the log already; a warning each RETRY_MS would bury the others. */
  #tell(what: string, thrown: unknown, about: object, message: string): void {
    const reason = describeError(thrown);
    this.#told.set(what, reason);
    const level = this.#toldBefore.get(what) === reason ? "debug" : "warn";
    this.#modules.log[level]({ err: thrown, ...about }, message);
  }

  async #setZoneTimeouts({ zoneTimeouts }: SwitchConfig): Promise<void> {
    const text = JSON.stringify(zoneTimeouts);
    if (text === this.#zoneTimeouts) return;
    try {
      await this.#modules.backend.setZoneTimeouts(zoneTimeouts);
      this.#zoneTimeouts = text;
    } catch (thrown) {
      this.#failures++;
      this.#tell("zones", thrown, {}, "could not set the time-outs of connection tracking zones");
    }
  }
  #zoneTimeouts = "[]";

  async #carryOut(action: Action): Promise<void> {
    const { backend } = this.#modules;
    switch (action.kind) {
      case "retireBridge":
        await this.#attempt(action, undefined, () => backend.retireBridge(action.name));
        return;
      case "removePort":
        await this.#attempt(action, undefined, () => backend.removePort(action.bridge, action.name));
        this.applied.get(action.bridge)?.ports.delete(action.name);
        return;
      case "removeBridge":
        await this.#attempt(action, undefined, () => backend.removeBridge(action.name));
        this.applied.delete(action.name);
        return;
      case "addBridge":
        if (await this.#attempt(action, action.config.name, () => backend.addBridge(action.config)))
          this.applied.set(action.config.name, { config: action.config, ports: new Map() });
        return;
      case "setBridge": {
        const bridge = this.applied.get(action.config.name);
        if (
          bridge &&
          (await this.#attempt(action, action.config.name, () => backend.setBridge(action.config)))
        )
          bridge.config = action.config;
        return;
      }
      case "addPort":
      case "setPort":
        await this.#carryOutPort(action);
    }
  }

  async #carryOutPort(action: Extract<Action, { kind: "addPort" | "setPort" }>): Promise<void> {
    const { backend } = this.#modules;
    const key = portKey(action.bridge, action.port.name);
    const bridge = this.applied.get(action.bridge);
    if (bridge === undefined) {
      this.errors.set(
        key,
        `bridge ${action.bridge} is not there: ${this.errors.get(action.bridge) ?? "it failed"}`,
      );
      return;
    }
    const done = await this.#attempt(action, key, () =>
      action.kind === "addPort"
        ? backend.addPort(action.bridge, action.port)
        : backend.setPort(action.bridge, action.port),
    );
    if (done) bridge.ports.set(action.port.name, action.port);
  }

  async #attempt(action: Action, key: string | undefined, work: () => Promise<void>): Promise<boolean> {
    const about = { action: action.kind, target: targetOf(action) };
    const what = `${about.action} ${about.target}`;
    try {
      await work();
      this.#modules.log[this.#toldBefore.has(what) ? "info" : "debug"](about, "carried out");
      return true;
    } catch (thrown) {
      this.#failures++;
      this.#tell(what, thrown, about, "could not carry out");
      if (key !== undefined) this.errors.set(key, describeError(thrown));
      return false;
    }
  }
}

function targetOf(action: Action): string {
  if ("port" in action) return portKey(action.bridge, action.port.name);
  if ("bridge" in action) return portKey(action.bridge, action.name);
  return "config" in action ? action.config.name : action.name;
}

export function portKey(bridge: string, port: string): string {
  return `${bridge}/${port}`;
}
