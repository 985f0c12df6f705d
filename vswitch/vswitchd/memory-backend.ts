// A switch without a datapath: remembers what it was told. For tests.

import { PlinthError } from "../../base/errors/index.js";
import type { QueueStats } from "../../base/openflow/index.js";
import type { ZoneTimeouts } from "../conntrack/index.js";
import type { BridgeCounters, TrackingCounters } from "../datapath/index.js";
import type { DropReport } from "../flow/index.js";
import type { MacTableStats } from "../learn/index.js";
import type {
  BridgeConfig,
  BridgeStatus,
  ControllerStatus,
  MacEntry,
  NumberedPort,
  SwitchBackend,
} from "./model.js";
import type { ThreadRules } from "./read-threads.js";

export class MemoryBackend implements SwitchBackend {
  readonly bridges = new Map<string, { config: BridgeConfig; ports: Map<string, NumberedPort> }>();
  readonly calls: string[] = [];
  /** Names of bridges and ports that cannot be made. */
  readonly broken = new Set<string>();
  macs: MacEntry[] = [];
  controllers: ControllerStatus[] = [];
  /** Of every port. */
  linkUp = true;
  rxPackets = 7;
  closed = false;

  async addBridge(config: BridgeConfig): Promise<void> {
    this.#call("addBridge", config.name);
    if (this.bridges.has(config.name))
      throw new PlinthError("BRIDGE_EXISTS", `bridge ${config.name} is there`);
    this.bridges.set(config.name, { config, ports: new Map() });
  }

  zoneTimeouts: readonly ZoneTimeouts[] = [];

  async setZoneTimeouts(zones: readonly ZoneTimeouts[]): Promise<void> {
    this.#call("setZoneTimeouts", zones.map(({ zone }) => zone).join(","));
    this.zoneTimeouts = zones;
  }

  sleeps = true;

  async setThreads({ sleeps }: ThreadRules): Promise<void> {
    this.sleeps = sleeps;
  }

  async setBridge(config: BridgeConfig): Promise<void> {
    this.#call("setBridge", config.name);
    this.#bridge(config.name).config = config;
  }

  async retireBridge(name: string): Promise<void> {
    this.#call("retireBridge", name);
  }

  async removeBridge(name: string): Promise<void> {
    this.#call("removeBridge", name);
    if (this.#bridge(name).ports.size > 0) throw new PlinthError("BRIDGE_BUSY", `bridge ${name} has ports`);
    this.bridges.delete(name);
  }

  async addPort(bridge: string, port: NumberedPort): Promise<void> {
    this.#call("addPort", port.name);
    const { ports } = this.#bridge(bridge);
    for (const other of ports.values()) {
      if (other.ofport === port.ofport || other.name === port.name) {
        throw new PlinthError("PORT_EXISTS", `${other.name} has number ${other.ofport}`);
      }
    }
    ports.set(port.name, port);
  }

  async setPort(bridge: string, port: NumberedPort): Promise<void> {
    this.#call("setPort", port.name);
    this.#bridge(bridge).ports.set(port.name, port);
  }

  async removePort(bridge: string, name: string): Promise<void> {
    this.#call("removePort", name);
    if (!this.#bridge(bridge).ports.delete(name)) throw new PlinthError("PORT_UNKNOWN", `no port ${name}`);
  }

  datapathNumber(bridge: string, port: string): number | undefined {
    return this.#bridge(bridge).ports.get(port)?.ofport;
  }

  async status(bridge: string): Promise<BridgeStatus> {
    const ports = [...this.#bridge(bridge).ports.keys()].map((name) => {
      const status = {
        linkUp: this.linkUp,
        mtu: 1500,
        statistics: { rx_packets: this.rxPackets },
        facts: { driver_name: "memory" },
      };
      return [name, status] as const;
    });
    return { ports: new Map(ports), controllers: this.controllers, mirrors: [] };
  }

  async macTable(): Promise<readonly MacEntry[]> {
    return this.macs;
  }

  async macTableStats(): Promise<MacTableStats> {
    const current = this.macs.length;
    return { current, maximum: 8192, statics: 0, learned: current, expired: 0, evicted: 0, moved: 0 };
  }

  async addStaticMac(
    bridge: string,
    port: string,
    vlan: number,
    macAddress: string,
  ): Promise<MacEntry | undefined> {
    const ofport = this.#bridge(bridge).ports.get(port)?.ofport;
    if (ofport === undefined) throw new PlinthError("PORT_UNKNOWN", `no port ${port}`);
    const before = this.macs.find((one) => one.vlan === vlan && one.macAddress === macAddress);
    this.macs = this.macs.filter((one) => one !== before);
    this.macs.push({ ofport, vlan, macAddress, ageMs: 0, isStatic: true });
    return before;
  }

  async removeStaticMac(_bridge: string, vlan: number, macAddress: string): Promise<boolean> {
    const before = this.macs.length;
    this.macs = this.macs.filter(
      (one) => !one.isStatic || one.vlan !== vlan || one.macAddress !== macAddress,
    );
    return this.macs.length < before;
  }

  async flushMacTable(): Promise<void> {
    this.macs = [];
  }

  async drops(): Promise<readonly DropReport[]> {
    return [{ reason: "meter", packets: 4, tableId: 2, cookie: 0xabn, priority: 7 }];
  }

  async queueStats(): Promise<readonly QueueStats[]> {
    return [];
  }

  async bridgeCounters(): Promise<BridgeCounters> {
    const tables = [{ tableId: 2, activeCount: 1, lookupCount: 9n, matchedCount: 8n }];
    return { pathHits: 3, pathMisses: 1, packetIns: 2, tables };
  }

  async cachedFlowCount(): Promise<number> {
    return 2;
  }

  async trackingCounters(): Promise<TrackingCounters> {
    return { connections: 5, connectionsMax: 64, evictions: 1, fragmentsHeld: 0 };
  }

  async counters(): Promise<Readonly<Record<string, number>>> {
    return { path_hit: 3 };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #bridge(name: string) {
    const bridge = this.bridges.get(name);
    if (bridge === undefined) throw new PlinthError("BRIDGE_UNKNOWN", `no bridge ${name}`);
    return bridge;
  }

  #call(method: string, name: string): void {
    this.calls.push(`${method} ${name}`);
    if (this.broken.has(name)) throw new PlinthError("BROKEN", `${name} cannot be made`);
  }
}
