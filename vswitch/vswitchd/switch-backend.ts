// The real backend: bridges and ports in the datapath worker, one OpenFlow agent per bridge.
// Thread: main. Invariant: a bridge is either in the datapath with its agent listening, or in neither.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "../../base/log/index.js";
import { OFPP_LOCAL, type QueueStats } from "../../base/openflow/index.js";
import { type Clock, WarpableClock } from "../../base/time/index.js";
import { parseMac } from "../../base/wire/index.js";
import { OpenFlowAgent } from "../agent/index.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { ZoneTimeouts } from "../conntrack/index.js";
import {
  type BridgeCounters,
  BridgeModel,
  DatapathHandle,
  type FailedPort,
  type Followed,
  type TrackingCounters,
} from "../datapath/index.js";
import type { DropReport } from "../flow/index.js";
import type { MacTableStats } from "../learn/index.js";
import {
  changeDevice,
  databaseNumber,
  descriptionOf,
  hostDevice,
  isForeign,
  MTU_DEFAULT,
  portSettingsOf,
  setControllers,
  settingsOf,
  shownBy,
} from "./backend-settings.js";
import { CaptureServer } from "./capture-server.js";
import { connectionCommands } from "./connection-commands.js";
import { datapathCommands } from "./datapath-commands.js";
import { DatapathNumbers } from "./datapath-numbers.js";
import type { DummyMode } from "./dummy.js";
import { dummyCommands } from "./dummy-commands.js";
import { GatedDatapath } from "./gated-datapath.js";
import {
  type BridgeConfig,
  type BridgeStatus,
  type ControllerStatus,
  type MacEntry,
  type NumberedPort,
  OFPORT_LOCAL,
} from "./model.js";
import type { ThreadRules } from "./read-threads.js";
import { StatusReader } from "./status-reader.js";
import type { Succession } from "./take-over.js";
import { threadCommands } from "./thread-commands.js";
import { traceCommands } from "./trace-commands.js";
import { upkeepCommands } from "./upkeep-commands.js";
import type { Backend } from "./vswitchd.js";

export interface SwitchBackendOptions {
  readonly dir: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly version: string;
  /** Internal ports get a TAP device. */
  readonly hostDevices: boolean;
  readonly dummy: DummyMode;
  /** The switch in `dir` that still forwards. */
  readonly predecessor?: Followed | undefined;
  /** See DatapathHandleOptions. */
  readonly cores?: readonly number[];
  readonly connectionsMax?: number;
}

interface Bridge {
  config: BridgeConfig;
  model: BridgeModel;
  agent: OpenFlowAgent;
  readonly ports: Map<string, NumberedPort>;
  /** Controllers whose target cannot be used, with the reason. */
  refused: readonly ControllerStatus[];
}

export class DatapathBackend implements Backend {
  readonly #options: SwitchBackendOptions;
  readonly #datapath: DatapathHandle;
  readonly #gated: GatedDatapath;
  readonly #bridges = new Map<string, Bridge>();
  /** By bridge, what its agents have noted beside its flows. */
  readonly #standings = new Map<string, number>();
  readonly #numbers = new DatapathNumbers();
  readonly #statuses: StatusReader;
  readonly commands: Readonly<Record<string, UnixctlCommand>>;
  #captures: CaptureServer | undefined;

  /** Throws CONNECTIONS_DIFFER when the predecessor's connections cannot be taken over. */
  static async open(options: SwitchBackendOptions): Promise<DatapathBackend> {
    const backend = new DatapathBackend(options);
    const { predecessor } = options;
    if (predecessor === undefined) return backend;
    try {
      await backend.#datapath.call("follow", predecessor);
      return backend;
    } catch (thrown) {
      await backend.close();
      throw thrown;
    }
  }

  /** Throws what CaptureServer.open does. */
  async start(): Promise<void> {
    if (this.#options.predecessor === undefined) await this.#restoreConnections();
    await this.#openCaptures();
  }

  /** Takes over from the predecessor, if there is one; returns the ports that could not be opened then. */
  async settled(): Promise<readonly FailedPort[]> {
    if (this.#options.predecessor === undefined) return [];
    const taken = await this.#datapath.takeOver();
    const { log } = this.#options;
    const { problems, failed, gapMs, stagesMs, ...numbers } = taken;
    const { asking, flowsAndConnections, ports } = stagesMs;
    const times = {
      gapMs: rounded(gapMs ?? 0),
      stagesMs: [rounded(asking), rounded(flowsAndConnections), rounded(ports)],
    };
    for (const problem of problems) log.warn(problem);
    if (gapMs === undefined) log.error(numbers, "the other process died; its ports were opened anew");
    else log.info({ ...numbers, ...times }, "took over");
    for (const { bridge, name } of failed) this.#forgetPort(bridge, name);
    this.#gated.open();
    return failed;
  }

  #forgetPort(bridge: string, name: string): void {
    const { config, ports } = this.#bridge(bridge);
    ports.delete(name);
    this.#numbers.release(config.datapath, { bridge, name });
  }

  #hasLeft = (_isTakenOver: boolean): void => {};
  readonly succession: Succession = {
    left: new Promise<boolean>((resolve) => {
      this.#hasLeft = resolve;
    }),
    describe: async () => {
      const configs = [...this.#bridges.values()].map(({ config }) => config);
      return { bridges: configs.map((config) => ({ name: config.name, flowFile: this.#flowFile(config) })) };
    },
    dial: (socket) => this.#datapath.leave(socket),
    release: async () => {
      await this.#closeAgents();
      await this.#captures?.close();
    },
  };

  #isTap({ type, isDummy }: NumberedPort): boolean {
    return !isDummy && (type === "tap" || (type === "internal" && this.#options.hostDevices));
  }

  #flowFile({ uuid }: BridgeConfig): string {
    return join(this.#stateDir(), `${uuid}.flows`);
  }

  private constructor(options: SwitchBackendOptions) {
    this.#options = options;
    this.#datapath = new DatapathHandle({
      connectionFile: join(this.#stateDir(), "connections"),
      hostDevices: options.hostDevices,
      follows: options.predecessor !== undefined,
      cores: options.cores ?? [],
      ...(options.connectionsMax === undefined ? {} : { connectionsMax: options.connectionsMax }),
      onLeft: (isTakenOver) => this.#hasLeft(isTakenOver),
      onLost: (loss) => options.log.error({ ...loss }, "a port worker has died; starting another one"),
      // No conversation is older than a switch of dummy ports.
      ...(options.dummy === "off" ? {} : { pickupGraceMs: 0 }),
      // Nothing is forwarded any more and flows are lost: end, so that whoever supervises us starts afresh.
      onDied: (error) =>
        setImmediate(() => {
          throw error;
        }),
    });
    this.#gated = new GatedDatapath(this.#datapath, options.predecessor === undefined);
    this.#statuses = new StatusReader({
      datapath: this.#datapath,
      hasDevice: (port) => !port.isDummy && (this.#isTap(port) || isForeign(port.type)),
    });
    const bridges = () => this.#bridges;
    const { clock } = options;
    this.commands = {
      ...connectionCommands(this.#datapath),
      ...traceCommands(this.#datapath, bridges, this.#numbers),
      ...datapathCommands(this.#datapath, bridges, this.#numbers, options.dummy !== "off"),
      ...upkeepCommands({
        bridges,
        forgetPaths: () => this.#datapath.call("forgetPaths", {}),
        settle: async () => void (await this.#datapath.call("counters", {})),
        reconnect: (name) => this.#bridge(name).agent.reconnect(),
      }),
      ...(clock instanceof WarpableClock ? dummyCommands(this.#datapath, bridges, clock) : {}),
      ...threadCommands(this.#datapath),
    };
  }

  /** What outlives the switch: flows by bridge, and connections. */
  #stateDir(): string {
    const dir = join(this.#options.dir, "state");
    try {
      mkdirSync(dir, { recursive: true, mode: 0o700 });
    } catch {
      // Whoever opens a file there says why it cannot be; the switch does without.
    }
    return dir;
  }

  async #restoreConnections(): Promise<void> {
    const { log } = this.#options;
    const { connections, problem } = await this.#datapath.call("restoreConnections", {});
    if (problem !== undefined) log.warn({ problem }, "connections will not outlive the switch");
    else if (connections > 0) log.info({ connections }, "connections are back");
  }

  async #openCaptures(): Promise<void> {
    const { dir, clock, log, version } = this.#options;
    this.#captures = await CaptureServer.open(join(dir, "capture.sock"), {
      datapath: this.#datapath,
      bridges: () => this.#bridges,
      clock,
      log,
      application: `plinth vswitchd ${version}`,
    });
  }

  async addBridge(config: BridgeConfig): Promise<void> {
    const { name } = config;
    const flowFile = this.#flowFile(config);
    const { flows, note, problem } = await this.#datapath.addBridge({
      name,
      flowFile,
      ...settingsOf(config),
    });
    const { log } = this.#options;
    if (problem !== undefined) log.warn({ bridge: name, problem }, "flows will not outlive the switch");
    else if (flows > 0) log.info({ bridge: name, flows }, "flows are back");
    try {
      this.#standings.set(name, note);
      const opened = await this.#openAgent(config);
      this.#bridges.set(name, {
        config,
        ...opened,
        ports: new Map(),
        refused: setControllers(opened.agent, config),
      });
    } catch (thrown) {
      await this.#datapath.removeBridge(name);
      throw thrown;
    }
  }

  async setZoneTimeouts(timeouts: readonly ZoneTimeouts[]): Promise<void> {
    await this.#datapath.call("setConntrack", { timeouts });
  }

  async setThreads({ sleeps, assignment, isolates }: ThreadRules): Promise<void> {
    await this.#datapath.letSleep(sleeps);
    await this.#datapath.assignPorts({ assignment, isolates });
  }

  async setBridge(config: BridgeConfig): Promise<void> {
    const bridge = this.#bridge(config.name);
    const before = bridge.config;
    if (JSON.stringify(settingsOf(before)) !== JSON.stringify(settingsOf(config)))
      await this.#datapath.call("setBridge", { name: config.name, ...settingsOf(config) });
    if (before.datapathId !== config.datapathId) {
      await bridge.agent.close();
      Object.assign(bridge, await this.#openAgent(config));
    }
    bridge.model.description = descriptionOf(config, this.#options.version);
    bridge.model.describeTables(config.flowTables);
    bridge.refused = setControllers(bridge.agent, config);
    bridge.config = config;
  }

  async retireBridge(name: string): Promise<void> {
    await this.#bridge(name).agent.retire();
  }

  async removeBridge(name: string): Promise<void> {
    await this.#bridge(name).agent.close();
    this.#bridges.delete(name);
    this.#statuses.forget(name);
    this.#standings.delete(name);
    await this.#datapath.removeBridge(name);
  }

  async addPort(bridge: string, port: NumberedPort): Promise<void> {
    const { config, ports } = this.#bridge(bridge);
    const { name, options } = port;
    const type = port.isDummy ? "dummy" : port.type;
    // What the switch does not make itself is there already, with an address and an MTU.
    const device = isForeign(type) ? hostDevice(name) : undefined;
    const mac = device?.mac ?? parseMac(port.macAddress);
    const place = { bridge, name };
    const datapathPort = type === "patch" ? undefined : this.#numbers.assign(config.datapath, place);
    try {
      const spec = { name, type, options, mac, mtu: port.mtu ?? device?.mtu ?? MTU_DEFAULT };
      const ofport = port.ofport === OFPORT_LOCAL ? OFPP_LOCAL : port.ofport;
      await this.#datapath.addPort(
        { bridge, spec, ofport, datapathPort, ...portSettingsOf(port) },
        port.affinity,
      );
    } catch (thrown) {
      this.#numbers.release(config.datapath, place);
      throw thrown;
    }
    ports.set(name, port);
  }

  async setPort(bridge: string, port: NumberedPort): Promise<void> {
    const { ports } = this.#bridge(bridge);
    const { name, affinity = {}, macAddress, mtu } = port;
    const before = ports.get(name);
    const isPinned =
      isDeepStrictEqual(before?.affinity ?? {}, affinity) || (await this.#datapath.pinPort(name, affinity));
    // Pinned from or to the worker that forwards it is remade, and where remaking it has failed before.
    if (before === undefined || !isPinned) {
      await this.removePort(bridge, name);
      await this.addPort(bridge, port);
      return;
    }
    const isOurs = this.#isTap(port);
    const isOnDevice = isOurs || (!port.isDummy && isForeign(port.type));
    const settings = portSettingsOf(port);
    const shown = isOnDevice ? {} : { shown: shownBy(port) };
    await this.#datapath.setPort(bridge, name, { ...settings, ...shown });
    if (isOnDevice && (before.macAddress !== macAddress || before.mtu !== mtu))
      await this.#datapath.setPort(bridge, name, { ...settings, shown: changeDevice(before, port, isOurs) });
    ports.set(name, port);
  }

  /** Does nothing where a change of the port has failed half-way. */
  async removePort(bridge: string, name: string): Promise<void> {
    if (!this.#bridge(bridge).ports.has(name)) return;
    await this.#datapath.removePort(bridge, name);
    this.#forgetPort(bridge, name);
  }

  datapathNumber(bridge: string, port: string): number | undefined {
    return this.#numbers.of(bridge, port);
  }

  async status(bridge: string, counters = true): Promise<BridgeStatus> {
    const { agent, ports, refused } = this.#bridge(bridge);
    const all = [...agent.controllers, ...refused];
    return this.#statuses.read(bridge, { ports, controllers: all }, counters);
  }

  async macTable(bridge: string): Promise<readonly MacEntry[]> {
    const entries = await this.#datapath.call("macTable", { bridge });
    return entries.map(({ vlan, mac, port, ageMs, isStatic }) => ({
      ofport: databaseNumber(port),
      vlan,
      macAddress: [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
      ageMs,
      isStatic,
    }));
  }

  macTableStats(bridge: string): Promise<MacTableStats> {
    return this.#datapath.call("macTableStats", { bridge });
  }

  async addStaticMac(
    bridge: string,
    port: string,
    vlan: number,
    macAddress: string,
  ): Promise<Pick<MacEntry, "ofport" | "isStatic"> | undefined> {
    const mac = parseMac(macAddress);
    const before = await this.#datapath.call("addStaticMac", { bridge, name: port, vlan, mac });
    return before === undefined
      ? undefined
      : { ofport: databaseNumber(before.port), isStatic: before.isStatic };
  }

  removeStaticMac(bridge: string, vlan: number, macAddress: string): Promise<boolean> {
    return this.#datapath.call("removeStaticMac", { bridge, vlan, mac: parseMac(macAddress) });
  }

  async flushMacTable(bridge: string): Promise<void> {
    await this.#datapath.call("flushMacTable", { bridge });
  }

  drops(bridge: string): Promise<readonly DropReport[]> {
    return this.#datapath.call("drops", { bridge });
  }

  queueStats(bridge: string): Promise<readonly QueueStats[]> {
    return this.#datapath.call("queueStats", { bridge });
  }

  bridgeCounters(bridge: string): Promise<BridgeCounters> {
    return this.#datapath.call("bridgeCounters", { bridge });
  }

  async cachedFlowCount(bridge: string): Promise<number> {
    if (this.#options.dummy === "off") return this.#datapath.call("knownFlowCount", { bridge });
    return (await this.#datapath.call("seenFlows", { bridge })).length;
  }

  trackingCounters(): Promise<TrackingCounters> {
    return this.#datapath.call("trackingCounters", {});
  }

  counters(): Promise<Readonly<Record<string, number>>> {
    return this.#datapath.call("counters", {});
  }

  async close(): Promise<void> {
    await this.#closeAgents();
    this.#bridges.clear();
    await this.#captures?.close();
    await this.#datapath.close();
  }

  async #closeAgents(): Promise<void> {
    for (const { agent } of this.#bridges.values()) await agent.close();
  }

  async #openAgent(config: BridgeConfig): Promise<Pick<Bridge, "model" | "agent">> {
    const { dir, log, clock, version, dummy } = this.#options;
    const id = BigInt(`0x${config.datapathId}`);
    const about = descriptionOf(config, version);
    const model = new BridgeModel(this.#gated, config.name, id, about, dummy !== "off");
    model.describeTables(config.flowTables);
    const standing = {
      last: this.#standings.get(config.name) ?? 0,
      keep: (note: number): void => this.#keepStanding(config.name, note),
    };
    const agent = await OpenFlowAgent.open(
      {
        managementSocket: join(dir, `${config.name}.mgmt`),
        snoopSocket: join(dir, `${config.name}.snoop`),
        standing,
      },
      { model, clock, log: log.child({ bridge: config.name }) },
    );
    return { model, agent };
  }

  #keepStanding(bridge: string, note: number): void {
    this.#standings.set(bridge, note);
    this.#gated.call("noteBeside", { bridge, note }).catch((error: Error) => {
      this.#options.log.warn({ bridge, error: error.message }, "the bridge's standing was not noted");
    });
  }

  #bridge(name: string): Bridge {
    const bridge = this.#bridges.get(name);
    if (bridge === undefined) throw new Error(`bridge ${name} is not there`);
    return bridge;
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
