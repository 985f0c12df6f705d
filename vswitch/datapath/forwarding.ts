// What a bridge does by itself, without flows: the MAC table, the NORMAL action and mirrors, and how they are told.
// Thread: datapath worker. Hot: yes (fields).
import type { PacketPool } from "../../base/packet/index.js";
import { MacTable, Mirrors, NORMAL_DEFAULTS, NormalForwarder } from "../learn/index.js";
import type { PortSlot } from "./port-slot.js";
import type { BridgeSettings } from "./settings.js";

export interface ForwardingModules {
  readonly pool: PacketPool;
  /** The bridge's ports; the array changes between packets. */
  readonly slots: readonly PortSlot[];
  readonly find: (ofport: number) => PortSlot | null;
  /** Takes one more reference if it keeps the packet. */
  readonly send: (packet: number, slot: PortSlot) => void;
  readonly drop: (reason: number) => void;
}

export class Forwarding {
  readonly macs = new MacTable();
  normal: NormalForwarder;
  /** Null when there are none. */
  mirrors: Mirrors | null = null;
  readonly #modules: ForwardingModules;
  #settings: Partial<BridgeSettings> = {};

  constructor(modules: ForwardingModules) {
    this.#modules = modules;
    this.normal = createNormal(modules, this.macs, {});
  }

  /** Learned stations stay, but for those of VLANs that are to be flooded. */
  configure(settings: BridgeSettings): void {
    const { pool, slots, send } = this.#modules;
    const { floodVlans = [], mirrors = [], tagsRead = NORMAL_DEFAULTS.tagsRead } = settings;
    this.macs.ageingMs = settings.macAgeingMs;
    this.macs.resize(settings.macTableEntries);
    this.macs.flush(undefined, (vlan) => floodVlans.includes(vlan));
    this.#settings = settings;
    this.normal = createNormal(this.#modules, this.macs, settings);
    const modules = { pool, ports: slots, send: send as (packet: number, port: unknown) => void, tagsRead };
    const made = new Mirrors(modules, mirrors, this.mirrors ?? undefined);
    this.mirrors = made.isEmpty ? null : made;
  }

  /** Forwards as NORMAL would now, learning nothing and giving every copy to `send`. */
  dryNormal(send: (packet: number, slot: PortSlot) => void, drop: (reason: number) => void): NormalForwarder {
    const find: MacTable["find"] = (high, low, vlan, nowMs) => this.macs.find(high, low, vlan, nowMs);
    // By number, which reads better than in the order in which they came.
    const slots = [...this.#modules.slots].sort((a, b) => a.ofport - b.ofport);
    return createNormal({ ...this.#modules, slots, send, drop }, { find, learn: () => {} }, this.#settings);
  }

  /** Ports have come or gone. */
  portsChanged(): void {
    this.mirrors?.resolve();
  }
}

function createNormal(
  { pool, slots, find, send, drop }: ForwardingModules,
  macs: Pick<MacTable, "find" | "learn">,
  settings: Partial<BridgeSettings>,
): NormalForwarder {
  return new NormalForwarder(
    { pool, macs, ports: slots, find, send: send as (packet: number, port: unknown) => void, drop },
    {
      floodVlans: settings.floodVlans ?? NORMAL_DEFAULTS.floodVlans,
      forwardReserved: settings.forwardReserved ?? NORMAL_DEFAULTS.forwardReserved,
      tagsRead: settings.tagsRead ?? NORMAL_DEFAULTS.tagsRead,
    },
  );
}
