// One port of one bridge: its number, OpenFlow state and VLANs, and the packets that wait to leave by it.
// Thread: datapath worker. Hot: yes (fields).
import {
  OFPPC_NO_FWD,
  OFPPC_NO_PACKET_IN,
  OFPPC_NO_RECV,
  OFPPC_PORT_DOWN,
  OFPPF_10GB_FD,
  OFPPS_LINK_DOWN,
  OFPPS_LIVE,
  type PortDescription,
  type PortStats,
} from "../../base/openflow/index.js";
import {
  Batch,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "../../base/packet/index.js";
import { type MirrorPort, type NormalPort, TRUNK_ALL, VlanPort } from "../learn/index.js";
import { PACKET_INS_BURST, PACKET_INS_PER_SECOND } from "./limits.js";
import type { PortSettings } from "./settings.js";

/** OpenFlow 1.0.2, 5.2.1: takes no part in flooding. Later versions have no name for the bit. */
export const OFPPC_NO_FLOOD = 1 << 4;

/** Configuration bits that a port-mod may change. */
export const PORT_CONFIG_MASK =
  OFPPC_PORT_DOWN | OFPPC_NO_RECV | OFPPC_NO_FLOOD | OFPPC_NO_FWD | OFPPC_NO_PACKET_IN;

export interface PortSlotOptions {
  readonly port: Port;
  /** OpenFlow number: 1–OFPORT_MAX or OFPP_LOCAL. */
  readonly ofport: number;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly settings?: PortSettings;
  readonly nowMs: number;
}

export class PortSlot implements NormalPort, MirrorPort {
  readonly port: Port;
  readonly ofport: number;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly createdMs: number;
  /** Packets for the port's next tx(). */
  readonly out = new Batch();
  vlan = new VlanPort(TRUNK_ALL);
  isProtected = false;
  mirrorsIn = 0;
  mirrorsOut = 0;
  isMirrorOutput = false;
  /** OFPPC_* bits. */
  config = 0;
  linkUp: boolean;
  /** Link up, and not told to be silent. */
  forwards = false;
  receives = true;
  floods = true;
  #packetInTokens = PACKET_INS_BURST;
  #packetInMs: number;

  constructor(options: PortSlotOptions) {
    this.port = options.port;
    this.ofport = options.ofport;
    this.mac = options.mac;
    this.mtu = options.mtu;
    this.createdMs = options.nowMs;
    this.linkUp = options.port.linkUp;
    this.#packetInMs = options.nowMs;
    if (options.settings !== undefined) this.configure(options.settings);
    this.update();
  }

  configure(settings: PortSettings): void {
    this.vlan = new VlanPort(settings.vlan);
    this.isProtected = settings.isProtected === true;
  }

  /** Works out what follows from link and configuration. */
  update(): void {
    this.forwards = this.linkUp && (this.config & (OFPPC_PORT_DOWN | OFPPC_NO_FWD)) === 0;
    this.floods = (this.config & OFPPC_NO_FLOOD) === 0;
    this.receives = (this.config & (OFPPC_PORT_DOWN | OFPPC_NO_RECV)) === 0;
  }

  /** Whether a frame from this port may still go to the controller now. */
  takePacketIn(nowMs: number): boolean {
    if ((this.config & OFPPC_NO_PACKET_IN) !== 0) return false;
    const earned = ((nowMs - this.#packetInMs) * PACKET_INS_PER_SECOND) / 1000;
    this.#packetInMs = nowMs;
    this.#packetInTokens = Math.min(PACKET_INS_BURST, this.#packetInTokens + earned);
    if (this.#packetInTokens < 1) return false;
    this.#packetInTokens -= 1;
    return true;
  }

  description(): PortDescription {
    const state = this.linkUp ? OFPPS_LIVE : OFPPS_LINK_DOWN;
    return {
      port: this.ofport,
      macAddress: this.mac,
      name: this.port.name.slice(0, 15),
      config: this.config,
      state,
      current: OFPPF_10GB_FD,
      advertised: 0,
      supported: OFPPF_10GB_FD,
      peer: 0,
      currentSpeedKbps: 10_000_000,
      maxSpeedKbps: 10_000_000,
    };
  }

  portStats(nowMs: number): PortStats {
    const at = (index: number): bigint => BigInt(this.port.stats[index]!); // cold
    const ms = nowMs - this.createdMs;
    return {
      port: this.ofport,
      rxPackets: at(RX_PACKETS),
      txPackets: at(TX_PACKETS),
      rxBytes: at(RX_BYTES),
      txBytes: at(TX_BYTES),
      rxDropped: at(RX_DROPPED),
      txDropped: at(TX_DROPPED),
      rxErrors: at(RX_ERRORS),
      txErrors: at(TX_ERRORS),
      rxFrameErrors: 0n, // cold
      rxOverErrors: 0n, // cold
      rxCrcErrors: 0n, // cold
      collisions: 0n, // cold
      durationSeconds: Math.floor(ms / 1000),
      durationNanoseconds: Math.floor((ms % 1000) * 1e6),
    };
  }
}
