// What a bridge does by itself, without flows: the MAC table, the NORMAL action and mirrors, and how they are told.
// Thread: datapath worker. Hot: yes (fields).
import type { PacketPool } from "../../base/packet/index.js";
import {
  FrameVlans,
  MacTable,
  type MirrorModules,
  Mirrors,
  NORMAL_DEFAULTS,
  NormalForwarder,
  type NormalModules,
  VID_BITS,
} from "../learn/index.js";
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
    this.normal = createNormal({ ...modules, macs: this.macs }, {});
  }

  /** Learned stations stay, but for those of VLANs that are to be flooded. */
  configure(settings: BridgeSettings): void {
    const { floodVlans = [] } = settings;
    this.macs.ageingMs = settings.macAgeingMs;
    this.macs.resize(settings.macTableEntries);
    this.macs.flush(undefined, (vlan) => floodVlans.includes(vlan));
    this.#settings = settings;
    this.normal = createNormal({ ...this.#modules, macs: this.macs }, settings);
    const made = this.#createMirrors(
      settings,
      { send: this.#modules.send, drop: this.#modules.drop },
      this.mirrors ?? undefined,
    );
    this.mirrors = made.isEmpty ? null : made;
  }

  /** Forwards as NORMAL would now, but with these modules. */
  dryNormal(
    modules: Pick<NormalModules, "macs" | "drop" | "onDecided" | "onSpared"> &
      Pick<ForwardingModules, "send">,
  ): NormalForwarder {
    return createNormal({ ...this.#modules, ...modules }, this.#settings);
  }

  /** Copies what the mirrors would now, to `send`, with the length that is left; undefined when there are none. */
  dryMirrors(send: (packet: number, slot: PortSlot, length?: number) => void): Mirrors | undefined {
    if (this.mirrors === null) return undefined;
    const made = this.#createMirrors(this.#settings, { send, sendCut: send, drop: () => {} });
    return made.isEmpty ? undefined : made;
  }

  /** The VLAN that the packet's outermost tag names, 0 without one; undefined when that is cut off. */
  vlanOf(packet: number): number | undefined {
    const frame = new FrameVlans();
    const { tagsRead = NORMAL_DEFAULTS.tagsRead } = this.#settings;
    return frame.read(this.#modules.pool, packet, tagsRead) ? frame.first & VID_BITS : undefined;
  }

  #createMirrors(
    { mirrors = [], tagsRead = NORMAL_DEFAULTS.tagsRead }: Partial<BridgeSettings>,
    outputs: Pick<ForwardingModules, "send" | "drop"> & {
      readonly sendCut?: (packet: number, slot: PortSlot, length: number) => void;
    },
    before?: Mirrors,
  ): Mirrors {
    const { pool, slots } = this.#modules;
    // Its ports are these slots.
    const modules = { pool, ports: slots, tagsRead, ...outputs } as unknown as MirrorModules;
    return new Mirrors(modules, mirrors, before);
  }

  /** Ports have come or gone. */
  portsChanged(): void {
    this.mirrors?.resolve();
  }
}

function createNormal(
  { slots, send, ...modules }: ForwardingModules & Pick<NormalModules, "macs" | "onDecided" | "onSpared">,
  settings: Partial<BridgeSettings>,
): NormalForwarder {
  return new NormalForwarder(
    { ...modules, ports: slots, send: send as (packet: number, port: unknown) => void },
    {
      floodVlans: settings.floodVlans ?? NORMAL_DEFAULTS.floodVlans,
      forwardReserved: settings.forwardReserved ?? NORMAL_DEFAULTS.forwardReserved,
      tagsRead: settings.tagsRead ?? NORMAL_DEFAULTS.tagsRead,
    },
  );
}
