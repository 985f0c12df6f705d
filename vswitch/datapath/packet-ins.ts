// Packets of a bridge on their way to controllers: bounded by port and by meter, whole as they stand on the wire.
// Thread: datapath worker. Hot: no.
import { OFP_NO_BUFFER, OFPCML_NO_BUFFER, OFPM_CONTROLLER } from "../../base/openflow/index.js";
import { forEachWireFrame, type PacketPool } from "../../base/packet/index.js";
import {
  type ControllerRequest,
  DROP_METER,
  DROP_PACKET_IN_LIMIT,
  DROP_TOO_LONG,
  type FlowTables,
  METER_DROP,
  type Onlookers,
  pipelineMatch,
  REASONS,
} from "../flow/index.js";
import type { BridgeNews } from "./bridge-news.js";
import type { BridgeEvent } from "./events.js";
import type { PortSlot } from "./port-slot.js";

const [NO_COOKIE, MISS_COOKIE] = [0xffffffffffffffffn, 0n];

type PacketInEvent = BridgeEvent & { type: "packet_in" };
type PacketInDetails = Omit<PacketInEvent, "type" | "bufferId" | "totalLength" | "match" | "data">;

export interface PacketInModules {
  readonly pool: PacketPool;
  readonly tables: FlowTables;
  readonly news: BridgeNews;
  readonly onlookers: Onlookers;
  readonly find: (ofport: number) => PortSlot | null;
  /** Names the bridge in the continuations of paused packets. */
  readonly id: Uint8Array;
}

export class PacketIns {
  /** Those that were handed over. */
  count = 0;
  readonly #modules: PacketInModules;

  constructor(modules: PacketInModules) {
    this.#modules = modules;
  }

  /** A flow, group or meter sends the packet there. */
  controller(packet: number, key: Int32Array, request: ControllerRequest, nowMs: number): void {
    const { pool, tables, onlookers, id } = this.#modules;
    const { flow, reason, userdata, remainder, meterId: meter } = request;
    const meterId = meter === 0 ? OFPM_CONTROLLER : meter;
    if (tables.meters.measure(meterId, pool.length[packet]!, nowMs) === METER_DROP) {
      onlookers.dropOf(packet, DROP_METER);
      return;
    }
    const isMiss = flow !== null && flow.priority === 0 && flow.matchesAll && reason === 1;
    const event: PacketInDetails = {
      reason: REASONS[isMiss ? 0 : reason]!,
      tableId: request.tableId,
      cookie: flow === null ? NO_COOKIE : flow.cookie,
      maxLength: request.maxLength,
      controllerId: request.controllerId,
      ...(isMiss ? { miss: "flow" as const } : {}),
      ...(userdata === null ? {} : { userdata }),
      ...(remainder === null ? {} : { continuation: { ...remainder, bridge: id } }),
    };
    this.#send(packet, key, event, nowMs);
  }

  /** No flow of the table matched it. */
  miss(packet: number, key: Int32Array, tableId: number, nowMs: number): void {
    const rest = { maxLength: OFPCML_NO_BUFFER, controllerId: 0, miss: "table" } as const;
    this.#send(packet, key, { reason: "no_match", tableId, cookie: MISS_COOKIE, ...rest }, nowMs);
  }

  #send(packet: number, key: Int32Array, event: PacketInDetails, nowMs: number): void {
    const { pool, onlookers, find } = this.#modules;
    const input = find(key[0]! >>> 0);
    const isSilent = event.miss !== undefined && input?.tellsMisses === false;
    if (isSilent || (input !== null && !input.takePacketIn(nowMs))) {
      onlookers.drop(DROP_PACKET_IN_LIMIT);
      return;
    }
    if (pool.checksumStart[packet] === 0) this.#tell(packet, key, event);
    else if (!forEachWireFrame(pool, packet, (frame) => this.#tell(frame, key, event)))
      onlookers.drop(DROP_TOO_LONG);
  }

  #tell(packet: number, key: Int32Array, event: PacketInDetails): void {
    const { pool, tables, news, onlookers } = this.#modules;
    const data = pool.frame(packet);
    const match = pipelineMatch(key, tables.options);
    const whole = { bufferId: OFP_NO_BUFFER, totalLength: data.byteLength, data };
    if (news.tell({ type: "packet_in", ...whole, match, ...event })) this.count++;
    else onlookers.drop(DROP_PACKET_IN_LIMIT);
  }
}
