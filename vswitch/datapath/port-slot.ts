// One port of one bridge: its number, OpenFlow state and VLANs, and the packets that wait to leave by it.
// Thread: datapath worker. Hot: yes (fields).
import {
  OFPPC_NO_FLOOD,
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
  offloadNeeded,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
  wireLength,
} from "../../base/packet/index.js";
import { type MirrorPort, type NormalPort, TRUNK_ALL, VlanPort } from "../learn/index.js";
import { PatchPort, RemotePort } from "../port/index.js";
import type { PortTaps } from "./captures.js";
import { FairTurn } from "./fair-turns.js";
import { PACKET_INS_BURST, PACKET_INS_PER_SECOND } from "./limits.js";
import { createPolicer, type Policer, type PolicingConfig } from "./policer.js";
import { UsageWindow } from "./port-usage.js";
import { PublishedTables } from "./published-tables.js";
import { PortQueues, type QosConfig } from "./queues.js";
import { isSame, type PortSettings } from "./settings.js";

/** Configuration bits that a port-mod may change. */
export const PORT_CONFIG_MASK =
  OFPPC_PORT_DOWN | OFPPC_NO_RECV | OFPPC_NO_FLOOD | OFPPC_NO_FWD | OFPPC_NO_PACKET_IN;

/** Every OFPPF_* bit (OpenFlow 1.3.5, 7.2.1). */
export const PORT_FEATURES_MASK = 0xffff;

/** What every port says of itself. */
export const SPEED_KBPS = 10_000_000;
const ETHERNET_HEADER_SIZE = 14;
const TAG_SIZE = 4;
/** OpenFlow 1.3.5, 5.8: of a counter that is not available. */
const NOT_COUNTED = 0xffffffffffffffffn; // cold

export interface PortSlotOptions {
  readonly port: Port;
  /** OpenFlow number: 1–OFPORT_MAX or OFPP_LOCAL. */
  readonly ofport: number;
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** What traces call the port; its OpenFlow number when absent. */
  readonly datapathPort?: number;
  /** Has no speed, and counts nothing but frames and bytes. */
  readonly isBare?: boolean;
  readonly settings?: PortSettings;
  readonly nowMs: number;
}

export class PortSlot implements NormalPort, MirrorPort {
  port: Port;
  readonly ofport: number;
  mac: Uint8Array;
  mtu: number;
  readonly datapathPort: number;
  readonly isBare: boolean;
  readonly createdMs: number;
  /** Packets for the port's next tx(). */
  readonly out = new Batch();
  vlan = new VlanPort(TRUNK_ALL);
  #vlanConfig = TRUNK_ALL;
  isProtected = false;
  mirrorsIn = 0;
  mirrorsOut = 0;
  isMirrorOutput = false;
  queues: PortQueues | undefined;
  /** For the worker that serves the port; null when none beside ours does. */
  published: PublishedTables | null = null;
  /** The port, if it is the end of a patch. */
  patch: PatchPort | null = null;
  /** Who captures what comes in, and what leaves; null when nobody does. */
  tapIn: PortTaps | null = null;
  tapOut: PortTaps | null = null;
  policer: Policer | undefined;
  #policing: PolicingConfig | undefined;
  /** Frames that policing dropped, and that were longer than the MTU allows. */
  policed = 0;
  tooLong = 0;
  /** Bytes of a frame without a tag that the MTU allows. */
  sizeMax = Number.POSITIVE_INFINITY;
  /** Bursts for which the express lane stays closed, and for how many it was closed last. */
  expressPause = 0;
  expressMisses = 0;
  readonly window = new UsageWindow();
  readonly turn = new FairTurn();
  /** Batches that the port was handed. */
  batches = 0;
  /** OFPPC_* bits. */
  config = 0;
  linkUp: boolean;
  /** Link up, and not told to be silent. */
  forwards = false;
  receives = true;
  floods = true;
  #packetInTokens = PACKET_INS_BURST;
  #packetInMs: number;

  readonly #pool: PacketPool;

  constructor(options: PortSlotOptions, pool: PacketPool) {
    this.#pool = pool;
    this.port = options.port;
    this.place(options.port);
    this.ofport = options.ofport;
    this.mac = options.mac;
    this.mtu = options.mtu;
    this.datapathPort = options.datapathPort ?? options.ofport;
    this.isBare = options.isBare === true;
    this.createdMs = options.nowMs;
    this.linkUp = options.port.linkUp;
    this.#packetInMs = options.nowMs;
    if (options.settings !== undefined) this.configure(options.settings, options.nowMs);
    this.update();
  }

  /** The port is to be this one from now on. */
  place(port: Port): void {
    this.port = port;
    this.patch = port instanceof PatchPort ? port : null;
    this.published = port instanceof RemotePort ? new PublishedTables(port) : null;
  }

  /** Returns how many frames waited in queues that are no more. */
  configure(settings: PortSettings, nowMs: number): number {
    const heldBefore = this.queues?.held ?? 0;
    if (!isSame(settings.vlan, this.#vlanConfig)) {
      this.#vlanConfig = settings.vlan;
      this.vlan = new VlanPort(settings.vlan);
    }
    this.isProtected = settings.isProtected === true;
    if (settings.shown !== undefined) ({ mac: this.mac, mtu: this.mtu } = settings.shown);
    this.sizeMax =
      settings.mtu === undefined ? Number.POSITIVE_INFINITY : settings.mtu + ETHERNET_HEADER_SIZE;
    this.#setQueues(settings.qos, nowMs);
    // A bucket is filled again only by another limit.
    if (!isSame(settings.policing, this.#policing)) {
      this.#policing = settings.policing;
      this.policer = createPolicer(settings.policing, nowMs);
    }
    return heldBefore - (this.queues?.held ?? 0);
  }

  /** Frees what waits to leave; returns how much. */
  freeAll(): number {
    const held = this.out.length + (this.queues?.held ?? 0);
    this.out.freeAll(this.#pool);
    this.queues?.freeAll();
    return held;
  }

  #setQueues(qos: QosConfig | undefined, nowMs: number): void {
    const before = this.queues;
    if (before !== undefined && isSame(qos, before.qos)) return;
    if (qos === undefined) before?.freeAll();
    this.queues = qos === undefined ? undefined : new PortQueues(this.#pool, qos, SPEED_KBPS, before, nowMs);
  }

  /** Nothing but the MTU is to be looked at for each frame that leaves. */
  get takesRuns(): boolean {
    return !this.isProtected && this.mirrorsOut === 0 && this.queues === undefined;
  }

  /** Whether the frame is no longer than the MTU allows; one tag more is always allowed. */
  fits(pool: PacketPool, packet: number): boolean {
    if (pool.length[packet]! <= this.sizeMax) return true;
    const excess = wireLength(pool, packet) - this.sizeMax;
    if (excess <= 0) return true;
    const type = pool.view.getUint16(pool.offset[packet]! + 12);
    if (excess <= TAG_SIZE && (type === 0x8100 || type === 0x88a8)) return true;
    this.tooLong++;
    return false;
  }

  /** Whether the port sends the packet, which has a checksumStart, as it is. */
  takesUndone(pool: PacketPool, packet: number): boolean {
    const { offloads } = this.port;
    return offloads !== undefined && (offloads & offloadNeeded(pool, packet)) !== 0;
  }

  /** Frames from the peer that were lost, with those that policing dropped. */
  get rxDropped(): number {
    return this.port.stats[RX_DROPPED]! + this.policed;
  }

  /** Frames for the peer that were lost, with those that were too long, or too many for their queue. */
  get txDropped(): number {
    return this.port.stats[TX_DROPPED]! + this.tooLong + (this.queues?.dropped ?? 0);
  }

  /** False when a port-mod has put it down. */
  get adminUp(): boolean {
    return (this.config & OFPPC_PORT_DOWN) === 0;
  }

  /** A port that was put down has no link either. */
  get isLive(): boolean {
    return this.linkUp && this.adminUp;
  }

  /** Works out what follows from link and configuration. */
  update(): void {
    this.forwards = this.linkUp && (this.config & (OFPPC_PORT_DOWN | OFPPC_NO_FWD)) === 0;
    this.floods = (this.config & OFPPC_NO_FLOOD) === 0;
    this.receives = (this.config & (OFPPC_PORT_DOWN | OFPPC_NO_RECV)) === 0;
  }

  /** Whether frames from this port that miss a table go to the controller (OpenFlow 1.3.5, 7.2.1). */
  get tellsMisses(): boolean {
    return (this.config & OFPPC_NO_PACKET_IN) === 0;
  }

  /** Whether a frame from this port may still go to the controller now. */
  takePacketIn(nowMs: number): boolean {
    const earned = ((nowMs - this.#packetInMs) * PACKET_INS_PER_SECOND) / 1000;
    this.#packetInMs = nowMs;
    this.#packetInTokens = Math.min(PACKET_INS_BURST, this.#packetInTokens + earned);
    if (this.#packetInTokens < 1) return false;
    this.#packetInTokens -= 1;
    return true;
  }

  description(): PortDescription {
    const state = this.isLive ? OFPPS_LIVE : OFPPS_LINK_DOWN;
    const features = this.isBare ? 0 : OFPPF_10GB_FD;
    const speedKbps = this.isBare ? 0 : SPEED_KBPS;
    return {
      port: this.ofport,
      macAddress: this.mac,
      name: this.port.name.slice(0, 15),
      config: this.config,
      state,
      current: features,
      advertised: 0,
      supported: features,
      peer: 0,
      currentSpeedKbps: speedKbps,
      maxSpeedKbps: speedKbps,
    };
  }

  portStats(nowMs: number): PortStats {
    const at = (index: number): bigint => BigInt(this.port.stats[index]!); // cold
    const counted = (count: bigint): bigint => (this.isBare ? NOT_COUNTED : count);
    const ms = nowMs - this.createdMs;
    return {
      port: this.ofport,
      rxPackets: at(RX_PACKETS),
      txPackets: at(TX_PACKETS),
      rxBytes: at(RX_BYTES),
      txBytes: at(TX_BYTES),
      rxDropped: counted(BigInt(this.rxDropped)), // cold
      txDropped: counted(BigInt(this.txDropped)), // cold
      rxErrors: counted(at(RX_ERRORS)),
      txErrors: counted(at(TX_ERRORS)),
      rxFrameErrors: counted(0n), // cold
      rxOverErrors: counted(0n), // cold
      rxCrcErrors: counted(0n), // cold
      collisions: counted(0n), // cold
      durationSeconds: Math.floor(ms / 1000),
      durationNanoseconds: Math.floor((ms % 1000) * 1e6),
    };
  }
}
