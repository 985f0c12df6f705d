// One bridge: ports, flow tables and what it forwards by itself, around a pipeline; takes OpenFlow messages as values.
// Invariant: messages are applied between packets, so a packet sees either all of a change or nothing of it.
// Thread: datapath worker. Hot: yes (receive, output).
import { PlinthError } from "../../base/errors/index.js";
import {
  type FlowMod,
  type GroupMod,
  type MeterMod,
  OFPC_FRAG_REASM,
  OFPP_LOCAL,
  OFPPC_PORT_DOWN,
  type PacketOut,
  type PortMod,
  type PortStatusReason,
  type Resume,
} from "../../base/openflow/index.js";
import type { Batch, PacketPool } from "../../base/packet/index.js";
import { IpReassembler } from "../conntrack/index.js";
import {
  type BurstRunner,
  type ControllerRequest,
  DROP_BAD_PORT,
  DROP_MIRROR_OUTPUT,
  DROP_NO_BUFFER,
  DROP_NO_RECEIVE,
  DROP_POLICED,
  DROP_QUEUE_FULL,
  DROP_REASSEMBLY,
  FlowTables,
  flowChange,
  type PacketSink,
  Pipeline,
  type Program,
  type Resumption,
  type TraceRequest,
  type TraceRun,
  type Tracker,
} from "../flow/index.js";
import { BridgeNews } from "./bridge-news.js";
import { traceOnBridge } from "./bridge-trace.js";
import { Captures } from "./captures.js";
import { Delivery } from "./delivery.js";
import type { BridgeEvent } from "./events.js";
import { followFlows, keepFlows } from "./flow-keeper.js";
import { Forwarding } from "./forwarding.js";
import { OFPORT_MAX, TABLE_COUNT } from "./limits.js";
import { PacketIns } from "./packet-ins.js";
import { bridgeId, checkResume, compilePacketOut } from "./packet-out.js";
import { checkPortMod } from "./port-mod.js";
import { PortSlot, type PortSlotOptions } from "./port-slot.js";
import { Publishing } from "./publishing.js";
import type { RestoredFlows } from "./requests.js";
import { type BridgeSettings, isSame, type PortSettings } from "./settings.js";

const NOBODY = { origin: 0, xid: 0 } as const;

/** A change to the bridge, as OpenFlow says it. */
export type BridgeChange = FlowMod | GroupMod | MeterMod | PortMod | PacketOut | Resume;

export interface BridgeOptions {
  readonly name: string;
  readonly pool: PacketPool;
  readonly tracker: Tracker;
  /** Takes an event; false when there is no room and the event may be lost (packet-ins only). */
  readonly emit: (event: BridgeEvent) => boolean;
  /** See PipelineOptions. */
  readonly pathCacheEntries?: number | undefined;
}

export class Bridge implements PacketSink {
  /** See SwitchModel.tellMisses. */
  wantsMisses = false;
  readonly name: string;
  readonly tables: FlowTables;
  readonly pipeline: Pipeline;
  readonly slots: PortSlot[] = [];
  readonly forwarding: Forwarding;
  readonly captures: Captures;
  readonly news: BridgeNews;
  readonly bursts: BurstRunner;
  readonly delivery: Delivery;
  readonly publishing: Publishing;
  readonly #pool: PacketPool;
  readonly #tracker: Tracker;
  readonly #id: Uint8Array;
  readonly #packetIns: PacketIns;
  readonly #byNumber: (PortSlot | null)[] = [];
  #reassembler: IpReassembler | null = null;
  #local: PortSlot | null = null;
  #nowMs = 0;
  /** Who asked for the change in hand. */
  #cause: { readonly origin: number; readonly xid: number } = NOBODY;
  /** While a bundle is being applied: how ports were before. */
  #configsBefore: readonly number[] = [];

  constructor(options: BridgeOptions) {
    this.name = options.name;
    this.#id = bridgeId(options.name);
    this.#pool = options.pool;
    this.#tracker = options.tracker;
    this.news = new BridgeNews(options.emit);
    this.tables = new FlowTables({
      tables: TABLE_COUNT,
      onRemoved: (message) => void this.news.tell(message),
      onChange: (event, flow, details, encoded) => {
        if (encoded !== undefined && this.news.keepMessage(encoded)) return;
        this.news.tell({ ...flowChange(event, flow, details), ...this.#cause });
      },
      onChanging: () => this.publishing.withdraw(),
    });
    this.pipeline = new Pipeline({ ...options, tables: this.tables, sink: this });
    this.bursts = this.pipeline.burstRunner((packets, from, to, port) =>
      this.delivery.forward(packets, from, to, port),
    );
    const { pool } = options;
    const modules = {
      ...{ pool, slots: this.slots, pipeline: this.pipeline },
      find: (ofport: number) => this.slot(ofport),
    };
    this.forwarding = new Forwarding({
      ...modules,
      send: (packet, slot) => this.delivery.send(packet, slot),
      drop: (reason) => this.pipeline.onlookers.drop(reason),
    });
    this.delivery = new Delivery({ ...modules, forwarding: this.forwarding });
    this.publishing = new Publishing({
      ...modules,
      tables: this.tables,
      bursts: this.bursts,
      forwarding: this.forwarding,
    });
    this.forwarding.macs.onForgetting = () => this.publishing.withdraw();
    this.captures = new Captures(modules);
    this.#packetIns = new PacketIns({
      pool: options.pool,
      tables: this.tables,
      news: this.news,
      onlookers: this.pipeline.onlookers,
      find: (ofport) => this.slot(ofport),
      id: this.#id,
    });
  }

  /** Packets handed to controllers. */
  get packetIns(): number {
    return this.#packetIns.count;
  }

  /** Packets whose way through the tables, or what becomes of them, was known. */
  get cacheHits(): number {
    return this.bursts.cache.hits + this.pipeline.cache.hits;
  }

  /** The same, of all caches: exactly, by what the masks let through, and after connection tracking. */
  get lookupHits(): number {
    const { masked, fronts, trackedHits } = this.bursts;
    return this.cacheHits + trackedHits + masked.hits + fronts.hits;
  }

  // --- Packets

  /** What is forwarded next came in by `slot`. */
  turnTo(slot: PortSlot, nowMs: number): void {
    this.#nowMs = nowMs;
    this.delivery.fromProtected = slot.isProtected;
  }

  /** Takes every packet of the batch, all of which came in by `slot`, through the pipeline. */
  receive(slot: PortSlot, batch: Batch, nowMs: number): void {
    this.turnTo(slot, nowMs);
    if (slot.tapIn !== null) slot.tapIn.burst(batch, slot.ofport);
    if (!slot.receives) {
      for (let i = 0; i < batch.length; i++)
        this.pipeline.onlookers.refuse(batch.packets[i]!, slot.ofport, DROP_NO_RECEIVE);
      batch.freeAll(this.#pool);
      return;
    }
    if (this.forwarding.mirrors === null && slot.policer === undefined) {
      this.bursts.run(batch, slot.ofport, nowMs, this.publishing.of(slot, nowMs));
      return;
    }
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i]!;
      if (this.#admit(slot, packet, true)) this.pipeline.process(packet, slot.ofport, nowMs);
    }
    batch.length = 0;
  }

  /** Polices and mirrors what came in; false when it was dropped. */
  #admit(slot: PortSlot, packet: number, polices: boolean): boolean {
    const { mirrors } = this.forwarding;
    let reason = -1;
    if (slot.isMirrorOutput) reason = DROP_MIRROR_OUTPUT;
    else if (polices && slot.policer?.admits(this.#pool.length[packet]!, this.#nowMs) === false) {
      slot.policed++;
      reason = DROP_POLICED;
    }
    if (reason >= 0) {
      this.pipeline.onlookers.refuse(packet, slot.ofport, reason);
      this.#pool.free(packet);
      return false;
    }
    mirrors?.begin();
    if (slot.mirrorsIn !== 0) mirrors?.ingress(packet, slot);
    return true;
  }

  /** Lets what has waited in the port's queues leave when it is its time; returns how much. */
  release(slot: PortSlot, nowMs: number): number {
    const { queues } = slot;
    return queues === undefined || queues.held === 0 ? 0 : this.delivery.release(slot, queues, nowMs);
  }

  /** Hands what waits in every port's batch to the port. */
  flush(): void {
    this.delivery.flush();
  }

  output(packet: number, port: number): void {
    this.delivery.output(packet, port);
  }

  flood(packet: number, inPort: number, all: boolean): void {
    this.delivery.flood(packet, inPort, all);
  }

  normal(packet: number, key: Int32Array): number {
    return this.forwarding.normal.forward(packet, key, key[0]! >>> 0, this.#nowMs);
  }

  isLive(port: number): boolean {
    return this.slot(port)?.isLive === true;
  }

  controller(packet: number, key: Int32Array, request: ControllerRequest): void {
    this.#packetIns.controller(packet, key, request, this.#nowMs);
  }

  miss(packet: number, key: Int32Array, tableId: number): void {
    this.#packetIns.miss(packet, key, tableId, this.#nowMs);
  }

  /** The port with this OpenFlow number, or null. */
  slot(ofport: number): PortSlot | null {
    if (ofport === OFPP_LOCAL) return this.#local;
    return ofport < this.#byNumber.length ? (this.#byNumber[ofport] ?? null) : null;
  }

  // --- Changes

  /**
   * Throws PlinthError with the OpenFlow error's name as code; nothing has been changed then. `origin` is named in the
   * reports of what happens to flows. `encoded` is a flow-mod as an OpenFlow 1.3 message, where it is there.
   */
  change(change: BridgeChange, nowMs: number, origin = 0, encoded?: Uint8Array): void {
    this.#cause = { origin, xid: change.xid };
    try {
      this.#carryOut(change, nowMs, encoded);
    } finally {
      this.#cause = NOBODY;
    }
  }

  #carryOut(change: BridgeChange, nowMs: number, encoded: Uint8Array | undefined): void {
    this.#nowMs = nowMs;
    if (change.type === "flow_mod") this.tables.applyFlowMod(change, nowMs, encoded);
    else if (change.type === "packet_out") this.#packetOut(change, nowMs);
    else if (change.type === "resume") this.#resume(change, nowMs);
    else if (change.type === "port_mod") this.#portMod(change);
    else {
      if (change.type === "group_mod") this.tables.applyGroupMod(change, nowMs);
      else this.tables.applyMeterMod(change, nowMs);
      this.news.tell(change.type === "group_mod" ? this.tables.groups.whole(change) : change);
    }
  }

  /** From here on every change can be undone, and is told of only when it is committed. */
  begin(): void {
    this.#configsBefore = this.slots.map((slot) => slot.config);
    this.news.hold();
    this.tables.begin();
  }

  commit(): void {
    this.tables.commit();
    this.news.release();
  }

  /** Tables and ports are what they were at begin(). */
  rollBack(): void {
    this.tables.rollBack();
    this.news.forget();
    const configs = this.#configsBefore;
    for (let i = 0; i < configs.length; i++) {
      const slot = this.slots[i]!;
      slot.config = configs[i]!;
      slot.update();
    }
  }

  #resume(message: Resume, nowMs: number): void {
    const resumption = this.checkResume(message);
    const { inPort } = resumption;
    this.#inject(message.data, inPort, (packet) => this.pipeline.resume(packet, resumption, nowMs));
  }

  #packetOut(message: PacketOut, nowMs: number): void {
    const program = this.checkPacketOut(message);
    const { inPort } = message;
    const input = this.slot(inPort);
    this.#inject(message.data, inPort, (packet) => {
      if (input === null || this.#admit(input, packet, false))
        this.pipeline.execute(packet, inPort, program, nowMs);
    });
  }

  #inject(data: Uint8Array, inPort: number, run: (packet: number) => void): void {
    const packet = this.#pool.allocateFrom(data);
    this.forwarding.mirrors?.begin();
    this.delivery.fromProtected = this.slot(inPort)?.isProtected === true;
    if (packet < 0) this.pipeline.onlookers.dropOf(-1, DROP_NO_BUFFER);
    else run(packet);
    this.flush();
  }

  /** Its compiled actions; throws as change() does, and sends nothing. */
  checkPacketOut(message: PacketOut): Program {
    return compilePacketOut(message, this.tables);
  }

  /** How the packet goes on; throws as change() does, and sends nothing. */
  checkResume(message: Resume): Resumption {
    return checkResume(message, this.#id, this.tables);
  }

  #portMod(mod: PortMod): void {
    const slot = checkPortMod(this.slot(mod.port), mod);
    const config = (slot.config & ~mod.mask) | (mod.config & mod.mask);
    if (config === slot.config) return;
    slot.config = config;
    this.#changed(slot, "modify");
  }

  // --- Ports

  /** Throws PORT_EXISTS or PORT_NUMBER_INVALID; the port then still belongs to the caller. */
  addPort(options: PortSlotOptions): PortSlot {
    const { ofport, port } = options;
    if (ofport !== OFPP_LOCAL && !(ofport >= 1 && ofport <= OFPORT_MAX))
      throw new PlinthError("PORT_NUMBER_INVALID", `${ofport} is no port number; 1–${OFPORT_MAX} are`);
    const other = this.slots.find((slot) => slot.ofport === ofport || slot.port.name === port.name);
    if (other !== undefined)
      throw new PlinthError("PORT_EXISTS", `${other.port.name} of ${this.name} has number ${other.ofport}`);
    const slot = new PortSlot(options, this.#pool);
    this.slots.push(slot);
    this.captures.attach(slot);
    if (ofport === OFPP_LOCAL) this.#local = slot;
    else {
      while (this.#byNumber.length <= ofport) this.#byNumber.push(null);
      this.#byNumber[ofport] = slot;
    }
    this.#changed(slot, "add");
    return slot;
  }

  setPort(slot: PortSlot, settings: PortSettings, nowMs: number): void {
    this.publishing.withdraw();
    const { vlan, mac } = slot;
    this.pipeline.onlookers.lose(slot.configure(settings, nowMs), DROP_QUEUE_FULL);
    if (slot.vlan !== vlan) this.forwarding.macs.flush(slot.ofport);
    if (!isSame([...slot.mac], [...mac])) this.#changed(slot, "modify");
  }

  setAdminState(slot: PortSlot, up: boolean): void {
    if (slot.adminUp === up) return;
    slot.config = up ? slot.config & ~OFPPC_PORT_DOWN : slot.config | OFPPC_PORT_DOWN;
    this.#changed(slot, "modify");
  }

  /** Whether every change of a flow is told as an event. */
  watchFlows(isWatched: boolean): void {
    this.news.isWatched = isWatched;
    this.tables.isWatched = isWatched || this.news.keeper !== null;
  }

  /** See followFlows() and keepFlows() of flow-keeper.ts. */
  followFlows(path: string, nowMs: number): void {
    followFlows(this, path, nowMs);
  }
  keepFlows(path: string, nowMs: number): RestoredFlows | undefined {
    return keepFlows(this, path, nowMs);
  }

  tellMisses(isWanted: boolean): void {
    this.wantsMisses = isWanted;
    this.tables.invalidate();
  }

  /** `mode` is one of OFPC_FRAG_*. Fragments that wait for the rest of their datagram are dropped. */
  handleFragments(mode: number): void {
    const waiting = this.#reassembler?.held ?? 0;
    this.#reassembler?.purge();
    this.pipeline.onlookers.lose(waiting, DROP_REASSEMBLY);
    this.#reassembler = mode === OFPC_FRAG_REASM ? new IpReassembler(this.#pool) : null;
    this.pipeline.fragments.set(mode, this.#reassembler);
    this.tables.invalidate();
  }

  setBridge(settings: BridgeSettings): void {
    this.publishing.withdraw();
    const [{ headers }, { tagsRead }] = [this.pipeline, settings];
    if (tagsRead !== undefined && tagsRead !== headers.tagsMax) {
      headers.tagsMax = tagsRead;
      this.tables.invalidate();
    }
    this.forwarding.configure(settings);
    this.tables.limitFlows(settings.flowLimits ?? []);
  }

  /** The port is out of every table afterwards and still open. */
  removePort(slot: PortSlot): void {
    this.publishing.withdraw();
    this.slots.splice(this.slots.indexOf(slot), 1);
    if (slot.ofport === OFPP_LOCAL) this.#local = null;
    else this.#byNumber[slot.ofport] = null;
    this.pipeline.onlookers.lose(slot.freeAll(), DROP_BAD_PORT);
    this.forwarding.macs.removePort(slot.ofport);
    this.#changed(slot, "delete");
  }

  /** Calls every port's tick and tells what changed. */
  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let i = 0; i < this.slots.length; i++) {
      const slot = this.slots[i]!;
      slot.port.tick(nowMs);
      if (slot.port.linkUp === slot.linkUp) continue;
      slot.linkUp = slot.port.linkUp;
      if (!slot.linkUp) this.forwarding.macs.flush(slot.ofport);
      this.#changed(slot, "modify");
    }
  }

  /** Ends what has taken too long. Call about once a second. */
  sweep(nowMs: number): void {
    if (this.news.keeper?.follows === true) return;
    this.publishing.sweep();
    this.tables.expire(nowMs);
    this.news.keeper?.tend();
    this.forwarding.macs.expire(nowMs);
    this.pipeline.onlookers.lose(this.#reassembler?.sweep(nowMs) ?? 0, DROP_REASSEMBLY);
  }

  /** Frees what waits and closes every port. */
  close(): void {
    this.news.keeper?.close();
    this.#reassembler?.purge();
    for (let i = 0; i < this.slots.length; i++) {
      this.slots[i]!.freeAll();
      this.slots[i]!.port.close();
    }
    this.slots.length = 0;
  }

  /** What would happen to the frame now, on the other `bridges` too; nothing is changed. */
  trace(request: TraceRequest, nowMs: number, bridges: readonly Bridge[] = []): readonly TraceRun[] {
    return traceOnBridge(this, { pool: this.#pool, tracker: this.#tracker, bridges }, request, nowMs);
  }

  #changed(slot: PortSlot, reason: PortStatusReason): void {
    slot.update();
    if (reason !== "modify") this.forwarding.portsChanged();
    this.tables.invalidate();
    this.news.tell({ type: "port_status", reason, description: slot.description() });
  }
}
