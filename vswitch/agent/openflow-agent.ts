// The OpenFlow agent of one bridge: its management socket, its controllers, and who hears of what happens.
// Thread: main.

import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { Clock } from "../../base/time/index.js";
import { Connection, type ConnectionModules } from "./connection.js";
import {
  ControllerLink,
  type ControllerSpec,
  type ControllerStatus,
  DEFAULT_PROBE_INTERVAL_MS,
} from "./controller-link.js";
import { checkSocketPath } from "./controller-target.js";
import { type FailMode, FailModeKeeper } from "./fail-mode.js";
import { CONTROLLERS_MAX, MANAGEMENT_CONNECTIONS_MAX } from "./limits.js";
import { Roles } from "./roles.js";
import type { SwitchEvent, SwitchModel } from "./switch-model.js";

export interface AgentOptions {
  /** Path of the socket for ovs-ofctl, e.g. DIR/br0.mgmt. A stale file there is replaced. */
  readonly managementSocket: string;
  /** Called whenever the status of a controller changed. */
  readonly onControllers?: () => void;
}

export interface AgentModules {
  readonly model: SwitchModel;
  readonly clock: Clock;
  readonly log: Logger;
}

/** ovs-ofctl answers echoes, but nothing hangs on noticing quickly that it is gone. */
const MANAGEMENT_PROBE_INTERVAL_MS = 60_000;

export class OpenFlowAgent {
  readonly #options: AgentOptions;
  readonly #log: Logger;
  readonly #modules: ConnectionModules;
  readonly #failMode: FailModeKeeper;
  readonly #server: Server;
  readonly #management = new Set<Connection>();
  readonly #links = new Map<string, { readonly spec: ControllerSpec; readonly link: ControllerLink }>();
  readonly #stopEvents: () => void;
  #mode: FailMode = "standalone";
  #isClosed = false;

  private constructor(options: AgentOptions, modules: AgentModules) {
    this.#options = options;
    this.#log = modules.log;
    this.#modules = { ...modules, roles: new Roles() };
    this.#failMode = new FailModeKeeper(modules.model, modules.clock, modules.log);
    this.#server = createServer((socket) => this.#onManagement(socket));
    this.#stopEvents = modules.model.onEvent((event) => this.#onEvent(event));
  }

  /** Listens; resolves when ovs-ofctl can connect. PlinthError OPENFLOW_LISTEN_FAILED, SOCKET_PATH_TOO_LONG. */
  static async open(options: AgentOptions, modules: AgentModules): Promise<OpenFlowAgent> {
    checkSocketPath(options.managementSocket);
    const agent = new OpenFlowAgent(options, modules);
    rmSync(options.managementSocket, { force: true });
    await new Promise<void>((resolve, reject) => {
      agent.#server.once("error", (cause) => {
        agent.#stopEvents();
        reject(new PlinthError("OPENFLOW_LISTEN_FAILED", cause.message, { cause }));
      });
      agent.#server.listen(options.managementSocket, resolve);
    });
    chmodSync(options.managementSocket, 0o600);
    return agent;
  }

  /**
   * Makes the controllers exactly these; links that stay the same are not touched. A target that cannot be used is
   * logged and left out, and returned. Duplicates count once.
   */
  setControllers(specs: readonly ControllerSpec[], mode: FailMode): readonly PlinthError[] {
    const problems: PlinthError[] = [];
    const wanted = new Map(specs.slice(0, CONTROLLERS_MAX).map((spec) => [spec.target, spec]));
    for (const [target, { spec, link }] of this.#links) {
      if (isSame(wanted.get(target), spec)) continue;
      link.close();
      this.#links.delete(target);
    }
    for (const [target, spec] of wanted) {
      if (this.#links.has(target)) continue;
      try {
        const link = new ControllerLink(spec, this.#modules, () => this.#onLinkChange());
        this.#links.set(target, { spec, link });
      } catch (error) {
        if (!(error instanceof PlinthError)) throw error;
        this.#log.error({ target }, error.message);
        problems.push(error);
      }
    }
    this.#mode = mode;
    this.#onLinkChange();
    return problems;
  }

  get controllers(): readonly ControllerStatus[] {
    return [...this.#links.values()].map(({ link }) => link.status);
  }

  /** Ends all connections and removes the socket. The switch behind goes on. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopEvents();
    this.#failMode.close();
    for (const { link } of this.#links.values()) link.close();
    for (const connection of this.#management) connection.close("the switch is shutting down");
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #onLinkChange(): void {
    if (this.#isClosed) return;
    const links = [...this.#links.values()];
    const probes = links.map(({ spec }) => spec.probeIntervalMs ?? DEFAULT_PROBE_INTERVAL_MS);
    this.#failMode.update(this.#mode, {
      configured: links.length,
      connected: links.filter(({ link }) => link.connection !== undefined).length,
      probeIntervalMs: Math.max(0, ...probes),
    });
    this.#options.onControllers?.();
  }

  #onManagement(socket: Socket): void {
    if (this.#isClosed || this.#management.size >= MANAGEMENT_CONNECTIONS_MAX) {
      socket.destroy();
      return;
    }
    const connection: Connection = new Connection(
      socket,
      {
        name: "management",
        kind: "management",
        probeIntervalMs: MANAGEMENT_PROBE_INTERVAL_MS,
        onClosed: () => this.#management.delete(connection),
      },
      this.#modules,
    );
    this.#management.add(connection);
  }

  #onEvent(event: SwitchEvent): void {
    for (const { link } of this.#links.values()) link.connection?.offer(event);
    for (const connection of this.#management) connection.offer(event);
  }
}

function isSame(a: ControllerSpec | undefined, b: ControllerSpec): boolean {
  return a !== undefined && a.maxBackoffMs === b.maxBackoffMs && a.probeIntervalMs === b.probeIntervalMs;
}
