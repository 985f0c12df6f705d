// The OpenFlow agent of one bridge: its sockets for ovs-ofctl, its controllers, and who hears of what happens.
// Thread: main.

import { PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import { type Dialect, OFP10_VERSION, OFP13_VERSION } from "../../base/openflow/index.js";
import type { Clock } from "../../base/time/index.js";
import type { ConnectionModules } from "./connection.js";
import {
  ControllerLink,
  type ControllerSpec,
  type ControllerStatus,
  DEFAULT_PROBE_INTERVAL_MS,
} from "./controller-link.js";
import { ControllerListener } from "./controller-listener.js";
import { parseControllerTarget } from "./controller-target.js";
import { CLEAR_FLOWS, type FailMode, FailModeKeeper, type StandingNote } from "./fail-mode.js";
import { CONTROLLERS_MAX } from "./limits.js";
import { Listener } from "./listener.js";
import { Roles } from "./roles.js";
import { Snoopers } from "./snoopers.js";
import type { SwitchEvent, SwitchModel } from "./switch-model.js";
import { Watches } from "./watches.js";

export interface AgentOptions {
  /** Path of the socket for ovs-ofctl, e.g. DIR/br0.mgmt. A stale file there is replaced. */
  readonly managementSocket: string;
  /** Path of the socket for `ovs-ofctl snoop`, e.g. DIR/br0.snoop; absent: there is none. */
  readonly snoopSocket?: string;
  /** Called whenever the status of a controller changed. */
  readonly onControllers?: () => void;
  /** Absent: what the tables hold is this agent's first. */
  readonly standing?: StandingNote;
}

export interface AgentModules {
  readonly model: SwitchModel;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What is spoken, and its name in the protocols column. */
const VERSIONS = [OFP10_VERSION, OFP13_VERSION] as const;
const PROTOCOLS: Readonly<Record<Dialect["version"], string>> = { 1: "OpenFlow10", 4: "OpenFlow13" };

interface Controller {
  readonly spec: ControllerSpec;
  readonly link: ControllerLink | ControllerListener;
}

export class OpenFlowAgent {
  readonly #options: AgentOptions;
  readonly #log: Logger;
  readonly #modules: ConnectionModules;
  readonly #failMode: FailModeKeeper;
  readonly #links = new Map<string, Controller>();
  #management: Listener | undefined;
  #snoopers: Snoopers | undefined;
  readonly #stopEvents: () => void;
  #versions: readonly Dialect["version"][] = VERSIONS;
  #mode: FailMode = "standalone";
  #isClosed = false;

  private constructor(options: AgentOptions, modules: AgentModules) {
    this.#options = options;
    this.#log = modules.log;
    this.#modules = {
      ...modules,
      roles: new Roles(),
      watches: new Watches(modules.model),
      versions: () => this.#versions,
    };
    this.#failMode = new FailModeKeeper(modules.model, modules.clock, modules.log, options.standing);
    this.#stopEvents = modules.model.onEvent((event) => this.#onEvent(event));
  }

  /** Listens; resolves when ovs-ofctl can connect. PlinthError OPENFLOW_LISTEN_FAILED, SOCKET_PATH_TOO_LONG. */
  static async open(options: AgentOptions, modules: AgentModules): Promise<OpenFlowAgent> {
    const agent = new OpenFlowAgent(options, modules);
    try {
      const where = { type: "punix", path: options.managementSocket } as const;
      agent.#management = await Listener.open("management", where, agent.#modules);
      if (options.snoopSocket !== undefined)
        agent.#snoopers = await Snoopers.open(options.snoopSocket, {
          ...modules,
          choose: () => agent.#snooped(),
        });
    } catch (error) {
      agent.#stopEvents();
      await agent.#management?.close();
      throw error;
    }
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
      void link.close();
      this.#links.delete(target);
    }
    for (const [target, spec] of wanted) {
      if (this.#links.has(target)) continue;
      try {
        this.#links.set(target, { spec, link: this.#open(spec) });
      } catch (error) {
        if (!(error instanceof PlinthError)) throw error;
        this.#log.error({ target }, error.message);
        problems.push(error);
      }
    }
    this.#snoopers?.keep((target) => this.#links.has(target));
    this.#mode = mode;
    this.#onLinkChange();
    return problems;
  }

  /** Ends the connection to each controller that is dialled, and dials it anew. */
  reconnect(): void {
    for (const [target, { spec, link }] of this.#links) {
      if (!(link instanceof ControllerLink)) continue;
      void link.close();
      this.#links.set(target, { spec, link: this.#open(spec) });
    }
    this.#onLinkChange();
  }

  /** OpenFlow versions of the connections that begin from now on: those of `names` that are known; none = all. */
  setProtocols(names: readonly string[]): void {
    this.#versions = names.length === 0 ? VERSIONS : VERSIONS.filter((one) => names.includes(PROTOCOLS[one]));
  }

  #open(spec: ControllerSpec): ControllerLink | ControllerListener {
    const target = parseControllerTarget(spec.target);
    const onChange = (): void => this.#onLinkChange();
    return target.type === "unix" || target.type === "tcp" || target.type === "ssl"
      ? new ControllerLink(spec, target, this.#modules, onChange, (message) => {
          this.#snoopers?.tell(spec.target, message);
        })
      : new ControllerListener(spec, target, this.#modules, onChange);
  }

  /** The dialled controller with the highest role. */
  #snooped(): string | undefined {
    const ranks = { master: 2, other: 1, slave: 0 } as const;
    let [best, highest]: [string | undefined, number] = [undefined, -1];
    for (const { link } of this.#links.values()) {
      if (!(link instanceof ControllerLink)) continue;
      const { target, role = "other" } = link.status;
      if (ranks[role] > highest) [best, highest] = [target, ranks[role]];
    }
    return best;
  }

  get controllers(): readonly ControllerStatus[] {
    return [...this.#links.values()].map(({ link }) => link.status);
  }

  /** The bridge is about to go: as if all its flows were deleted, who wants to know is told; then as close(). */
  async retire(): Promise<void> {
    try {
      await this.#modules.model.change([CLEAR_FLOWS]);
    } finally {
      await this.close();
    }
  }

  /** Ends all connections and removes the sockets. The switch behind goes on. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopEvents();
    this.#failMode.close();
    await Promise.all([...this.#links.values()].map(({ link }) => link.close()));
    await Promise.all([this.#management?.close(), this.#snoopers?.close()]);
  }

  #onLinkChange(): void {
    if (this.#isClosed) return;
    // Those that connect to us by themselves are not what a bridge waits for.
    const links = [...this.#links.values()].filter(({ link }) => link instanceof ControllerLink);
    const probes = links.map(({ spec }) => spec.probeIntervalMs ?? DEFAULT_PROBE_INTERVAL_MS);
    this.#failMode.update(this.#mode, {
      configured: links.length,
      connected: links.filter(({ link }) => link.status.isConnected).length,
      probeIntervalMs: Math.max(0, ...probes),
    });
    this.#options.onControllers?.();
  }

  #onEvent(event: SwitchEvent): void {
    for (const { link } of this.#links.values()) link.offer(event);
    this.#management?.offer(event);
  }
}

function isSame(a: ControllerSpec | undefined, b: ControllerSpec): boolean {
  const settings = ({ maxBackoffMs, probeIntervalMs, tls }: ControllerSpec): string =>
    JSON.stringify([maxBackoffMs, probeIntervalMs, tls]);
  return a !== undefined && settings(a) === settings(b);
}
