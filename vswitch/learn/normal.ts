// The NORMAL action: an ordinary VLAN-aware learning switch.
// Source: IEEE 802.1Q-2022 8.6; ovs-actions(7), normal. Thread: datapath worker. Hot: yes.
// Invariant: the packet it is given is left as it was; ports that need other tags get a copy that is changed once.
import { OFPP_ANY, OFPP_CONTROLLER } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import {
  DROP_BAD_PORT,
  DROP_MIRROR_OUTPUT,
  DROP_NO_BUFFER,
  DROP_NO_OUTPUT,
  DROP_OUTPUT_TO_INPUT,
  DROP_PROTECTED,
  DROP_RESERVED_ADDRESS,
  DROP_VLAN,
  FlowKey,
} from "../flow/index.js";
import { FrameVlans, TaggedCopies } from "./frame-vlans.js";
import type { MacTable } from "./mac-table.js";
import { isReservedAddress } from "./reserved-addresses.js";
import { TRUNK_ALL, VlanPort } from "./vlan-port.js";

/** A port as NORMAL sees it. */
export interface NormalPort {
  readonly ofport: number;
  readonly vlan: VlanPort;
  /** False when it is down or may not forward. */
  readonly forwards: boolean;
  /** False when it takes no part in flooding. */
  readonly floods: boolean;
  /** Gets nothing from other protected ports. */
  readonly isProtected: boolean;
  /** Set aside for what mirrors send. */
  readonly isMirrorOutput: boolean;
}

export interface NormalModules {
  readonly pool: PacketPool;
  readonly macs: Pick<MacTable, "find" | "learn">;
  /** All ports of the bridge; the array may change between packets. */
  readonly ports: readonly NormalPort[];
  readonly find: (ofport: number) => NormalPort | null;
  /** Takes one more reference if it keeps the packet. */
  readonly send: (packet: number, port: NormalPort) => void;
  readonly drop: (reason: number) => void;
  /** For traces: it is decided where the frame belongs, and it goes there next. */
  readonly onDecided?: () => void;
  /** For traces: the frame would leave by a port that is protected from the one that it came in by. */
  readonly onSpared?: () => void;
}

/** What the bridge as a whole is told. */
export interface NormalConfig {
  /** VLANs without learning: every frame is flooded. */
  readonly floodVlans: readonly number[];
  /** Frames to reserved addresses are forwarded like any other. */
  readonly forwardReserved: boolean;
  /** How many tags of a frame are looked at: 1 or 2. */
  readonly tagsRead: number;
}

/** Whether a packet-out names this port for a frame that has come in by none. */
export function comesFromNowhere(inPort: number): boolean {
  return inPort === OFPP_CONTROLLER || inPort === OFPP_ANY;
}

export const NORMAL_DEFAULTS: NormalConfig = { floodVlans: [], forwardReserved: false, tagsRead: 1 };

export class NormalForwarder {
  readonly #modules: NormalModules;
  readonly #frame = new FrameVlans();
  readonly #copies: TaggedCopies;
  foreseenVlan = 0;
  #onlyPort = -1;
  readonly #onDecided: (() => void) | null;
  readonly #onSpared: (() => void) | null;
  /** For frames that come from no port of the bridge. */
  readonly #anywhere = new VlanPort(TRUNK_ALL);
  readonly #tagsRead: number;
  readonly #forwardReserved: boolean;
  /** Index VLAN: 1 = no learning. */
  readonly #floodVlans = new Uint8Array(4096);

  constructor(modules: NormalModules, config: NormalConfig = NORMAL_DEFAULTS) {
    this.#modules = modules;
    this.#copies = new TaggedCopies(modules.pool);
    this.#onDecided = modules.onDecided ?? null;
    this.#onSpared = modules.onSpared ?? null;
    this.#tagsRead = config.tagsRead;
    this.#forwardReserved = config.forwardReserved;
    for (let i = 0; i < config.floodVlans.length; i++) this.#floodVlans[config.floodVlans[i]! & 0xfff] = 1;
  }

  /**
   * Learns the source and sends the frame where it belongs. Returns the port when it went unchanged to one whose station
   * is known; −1 when it was flooded, changed, or dropped (and counted).
   */
  forward(packet: number, key: Int32Array, inPort: number, nowMs: number): number {
    const { find } = this.#modules;
    this.#onlyPort = -1;
    const input = find(inPort);
    const reason = this.#admit(packet, key, input, inPort);
    if (reason >= 0) {
      this.#modules.drop(reason);
      return -1;
    }
    const frame = this.#frame;
    if (input !== null) this.#learn(key, frame.vlan, inPort, nowMs);
    this.#copies.begin(packet, frame);
    const known = this.#find(key, frame.vlan, nowMs);
    let reasonNow = -1;
    if (this.#onDecided !== null && known !== inPort) this.#onDecided();
    if (known < 0) reasonNow = this.#flood(input, inPort);
    else if (known === inPort) reasonNow = DROP_OUTPUT_TO_INPUT;
    else reasonNow = this.#forwardTo(find(known), input);
    this.#copies.end();
    if (reasonNow >= 0) this.#modules.drop(reasonNow);
    return this.#onlyPort;
  }

  /**
   * The port to which a frame without tags goes as it is, and nobody learns anything by it; −1: there is more to it.
   * `foreseenVlan` is its VLAN then. So it is until a station or port comes, goes or changes.
   */
  foresee(key: Int32Array, inPort: number, nowMs: number): number {
    const { find, macs } = this.#modules;
    const input = find(inPort);
    const frame = this.#frame;
    frame.first = frame.second = frame.consumed = 0;
    if (input === null || input.isMirrorOutput || !input.vlan.ingress(frame)) return -1;
    const { vlan } = frame;
    const low = key[FlowKey.K_ETH_DST + 1]! >>> 16;
    if (!this.#forwardReserved && isReservedAddress(key[FlowKey.K_ETH_DST]!, low)) return -1;
    const srcHigh = sourceHigh(key);
    if ((srcHigh & 0x01000000) !== 0 || this.#floodVlans[vlan]! === 1) return -1;
    if (macs.find(srcHigh, key[FlowKey.K_ETH_SRC_LOW]! & 0xffff, vlan, nowMs) !== inPort) return -1;
    const known = this.#find(key, vlan, nowMs);
    const port = known < 0 || known === inPort ? null : find(known);
    if (port === null || !port.forwards || !port.vlan.reaches(frame)) return -1;
    if (port.isProtected && input.isProtected) return -1;
    if (port.vlan.outer(frame) !== 0 || port.vlan.inner(frame) !== 0) return -1;
    this.foreseenVlan = vlan;
    return known;
  }

  /** Reads the frame's tags and puts it into its VLAN; −1, or why it may not come in. */
  #admit(packet: number, key: Int32Array, input: NormalPort | null, inPort: number): number {
    if (input?.isMirrorOutput === true) return DROP_MIRROR_OUTPUT;
    if (input === null && !comesFromNowhere(inPort)) return DROP_BAD_PORT;
    const frame = this.#frame;
    if (!frame.read(this.#modules.pool, packet, this.#tagsRead)) return DROP_VLAN;
    // A frame from nowhere (packet-out) is trusted as it is.
    if (!(input === null ? this.#anywhere : input.vlan).ingress(frame)) return DROP_VLAN;
    const low = key[FlowKey.K_ETH_DST + 1]! >>> 16;
    return !this.#forwardReserved && isReservedAddress(key[FlowKey.K_ETH_DST]!, low)
      ? DROP_RESERVED_ADDRESS
      : -1;
  }

  #learn(key: Int32Array, vlan: number, inPort: number, nowMs: number): void {
    const srcHigh = sourceHigh(key);
    if ((srcHigh & 0x01000000) !== 0 || this.#floodVlans[vlan]! === 1) return;
    this.#modules.macs.learn(srcHigh, key[FlowKey.K_ETH_SRC_LOW]! & 0xffff, vlan, inPort, nowMs);
  }

  /** Where the destination was seen, or −1. */
  #find(key: Int32Array, vlan: number, nowMs: number): number {
    const high = key[FlowKey.K_ETH_DST]!;
    if ((high & 0x01000000) !== 0) return -1;
    return this.#modules.macs.find(high, key[FlowKey.K_ETH_DST + 1]! >>> 16, vlan, nowMs);
  }

  /** −1; or why nobody gets the frame. */
  #flood(input: NormalPort | null, inPort: number): number {
    const { ports } = this.#modules;
    let reason = DROP_NO_OUTPUT;
    for (let i = 0; i < ports.length; i++) {
      const port = ports[i]!;
      if (port.ofport === inPort || !port.forwards || !port.floods || port.isMirrorOutput) continue;
      if (!port.vlan.carries(this.#frame)) continue;
      if (!port.isProtected || input?.isProtected !== true) {
        this.#send(port);
        reason = -1;
      } else if (this.#onSpared !== null) this.#onSpared();
      else if (reason === DROP_NO_OUTPUT) reason = DROP_PROTECTED;
    }
    return reason;
  }

  /** To the port where the destination was seen; −1, or why not. */
  #forwardTo(port: NormalPort | null, input: NormalPort | null): number {
    if (port === null || !port.forwards || !port.vlan.reaches(this.#frame)) return DROP_VLAN;
    if (port.isProtected && input?.isProtected === true) return DROP_PROTECTED;
    if (this.#send(port)) this.#onlyPort = port.ofport;
    return -1;
  }

  /** Whether the frame left as it is. */
  #send(port: NormalPort): boolean {
    const frame = this.#frame;
    const out = this.#copies.with(port.vlan.outer(frame), port.vlan.inner(frame));
    if (out < 0) this.#modules.drop(DROP_NO_BUFFER);
    else this.#modules.send(out, port);
    return out === this.#copies.original;
  }
}

/** The first 32 bits of the source address. */
export function sourceHigh(key: Int32Array): number {
  return ((key[FlowKey.K_ETH_DST + 1]! & 0xffff) << 16) | (key[FlowKey.K_ETH_SRC_LOW]! >>> 16);
}
