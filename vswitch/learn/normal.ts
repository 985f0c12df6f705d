// The NORMAL action: an ordinary VLAN-aware learning switch.
// Source: IEEE 802.1Q-2022 8.6; ovs-actions(7), normal. Thread: datapath worker. Hot: yes.
// Invariant: the packet it is given is left as it was; ports that need another tag get a copy that is changed once.
import type { PacketPool } from "../../base/packet/index.js";
import {
  DROP_NO_BUFFER,
  DROP_OUTPUT_TO_INPUT,
  DROP_RESERVED_ADDRESS,
  DROP_VLAN,
  FlowKey,
  type Headers,
} from "../flow/index.js";
import type { MacTable } from "./mac-table.js";
import type { VlanPort } from "./vlan-port.js";

/** A port as NORMAL sees it. */
export interface NormalPort {
  readonly ofport: number;
  readonly vlan: VlanPort;
  /** False when it is down or may not forward. */
  readonly forwards: boolean;
}

export interface NormalModules {
  readonly pool: PacketPool;
  readonly macs: MacTable;
  /** All ports of the bridge; the array may change between packets. */
  readonly ports: readonly NormalPort[];
  readonly find: (ofport: number) => NormalPort | null;
  /** Takes one more reference if it keeps the packet. */
  readonly send: (packet: number, port: NormalPort) => void;
  readonly drop: (reason: number) => void;
}

export class NormalForwarder {
  readonly #modules: NormalModules;
  /** Copies of the packet in hand with and without a tag of the VLAN; −1 = not made. */
  #tagged = -1;
  #untagged = -1;

  constructor(modules: NormalModules) {
    this.#modules = modules;
  }

  /** Learns the source and sends the frame where it belongs; false when it was dropped. */
  forward(packet: number, key: Int32Array, headers: Headers, inPort: number, nowMs: number): boolean {
    const { macs, ports, find, drop } = this.#modules;
    const tci = key[FlowKey.K_TYPE_TCI]! & 0xffff;
    const input = find(inPort);
    const vid = headers.tags > 0 ? tci & 0xfff : 0;
    // A frame from nowhere (packet-out) is trusted as it is.
    const vlan = input === null ? vid : input.vlan.ingress(vid);
    if (vlan < 0) {
      drop(DROP_VLAN);
      return false;
    }
    const dstHigh = key[FlowKey.K_ETH_DST]!;
    const dstLow = key[FlowKey.K_ETH_DST + 1]! >>> 16;
    if (dstHigh === (0x0180c200 | 0) && dstLow <= 0x0f) {
      drop(DROP_RESERVED_ADDRESS);
      return false;
    }
    if (input !== null) this.#learn(key, vlan, inPort, nowMs);
    this.#tagged = headers.tags > 0 && vid !== 0 ? packet : -1;
    this.#untagged = headers.tags === 0 ? packet : -1;
    const known = (dstHigh & 0x01000000) !== 0 ? -1 : macs.find(dstHigh, dstLow, vlan, nowMs);
    if (known >= 0) {
      const port = find(known);
      if (known === inPort) drop(DROP_OUTPUT_TO_INPUT);
      else if (port?.forwards === true && port.vlan.carries(vlan)) this.#send(packet, port, vlan, tci);
    } else {
      for (let i = 0; i < ports.length; i++) {
        const port = ports[i]!;
        if (port.ofport !== inPort && port.forwards && port.vlan.carries(vlan))
          this.#send(packet, port, vlan, tci);
      }
    }
    this.#release(packet);
    return true;
  }

  #learn(key: Int32Array, vlan: number, inPort: number, nowMs: number): void {
    const srcHigh = ((key[FlowKey.K_ETH_DST + 1]! & 0xffff) << 16) | (key[FlowKey.K_ETH_SRC_LOW]! >>> 16);
    if ((srcHigh & 0x01000000) !== 0) return;
    this.#modules.macs.learn(srcHigh, key[FlowKey.K_ETH_SRC_LOW]! & 0xffff, vlan, inPort, nowMs);
  }

  #send(packet: number, port: NormalPort, vlan: number, tci: number): void {
    const wantsTag = port.vlan.egressTagged(vlan);
    let out = wantsTag ? this.#tagged : this.#untagged;
    if (out < 0) {
      out = wantsTag ? this.#makeTagged(packet, vlan, tci) : this.#makeUntagged(packet);
      if (out < 0) {
        this.#modules.drop(DROP_NO_BUFFER);
        return;
      }
    }
    this.#modules.send(out, port);
  }

  /** From an untagged frame, or from one with a priority tag, whose priority is kept. */
  #makeTagged(packet: number, vlan: number, tci: number): number {
    const { pool } = this.#modules;
    const twin = pool.copy(packet);
    if (twin < 0) return -1;
    const old = pool.offset[twin]!;
    const hasTag = this.#untagged !== packet;
    if (!hasTag) {
      pool.bytes.copyWithin(old - 4, old, old + 12);
      pool.offset[twin] = old - 4;
      pool.length[twin] = pool.length[twin]! + 4;
      pool.view.setUint16(old + 8, 0x8100);
    }
    pool.view.setUint16(pool.offset[twin]! + 14, (tci & 0xe000) | vlan);
    this.#tagged = twin;
    return twin;
  }

  #makeUntagged(packet: number): number {
    const { pool } = this.#modules;
    const twin = pool.copy(packet);
    if (twin < 0) return -1;
    const old = pool.offset[twin]!;
    pool.bytes.copyWithin(old + 4, old, old + 12);
    pool.offset[twin] = old + 4;
    pool.length[twin] = pool.length[twin]! - 4;
    this.#untagged = twin;
    return twin;
  }

  #release(packet: number): void {
    const { pool } = this.#modules;
    if (this.#tagged >= 0 && this.#tagged !== packet) pool.free(this.#tagged);
    if (this.#untagged >= 0 && this.#untagged !== packet) pool.free(this.#untagged);
  }
}
