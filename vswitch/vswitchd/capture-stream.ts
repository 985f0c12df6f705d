// Turns the records of a capture's ring into pcapng: an interface block for each port when it first appears, a packet
// block for each frame, and at the end how many frames each port had and how many were lost. Pure but for the ring.
import { OFPP_CONTROLLER, OFPP_LOCAL, OFPTT_ALL } from "../../base/openflow/index.js";
import { encodeInterface, encodePacket, encodeSection, encodeStatistics } from "../../base/packet/index.js";
import {
  CAPTURED_DROP,
  CAPTURED_HIT,
  CAPTURED_OUT,
  type CaptureCount,
  type CapturedRecord,
  CaptureRingReader,
} from "../datapath/index.js";
import { DROP_REASONS } from "../flow/index.js";
import type { CaptureOrder } from "./capture-request.js";

export interface CaptureStreamOptions {
  readonly order: Pick<CaptureOrder, "bridge" | "count" | "snapLength">;
  readonly ring: SharedArrayBuffer;
  readonly application: string;
  /** The name of the bridge's port now, or undefined. */
  readonly portName: (ofport: number) => string | undefined;
}

interface Interface {
  readonly id: number;
  readonly name: string;
}

export class CaptureStream {
  readonly #options: CaptureStreamOptions;
  readonly #reader: CaptureRingReader;
  readonly #interfaces = new Map<number, Interface>();
  #interfaceCount = 0;
  #frames = 0;

  constructor(options: CaptureStreamOptions) {
    this.#options = options;
    this.#reader = new CaptureRingReader(options.ring);
  }

  /** What the stream begins with. */
  start(): Uint8Array {
    return encodeSection(this.#options.application);
  }

  /** As many frames as asked for have been read. */
  get isComplete(): boolean {
    return this.#frames >= this.#options.order.count;
  }

  /** The blocks of what is in the ring, about `sizeMax` bytes at most. */
  read(sizeMax: number): Uint8Array[] {
    const blocks: Uint8Array[] = [];
    for (let size = 0; size < sizeMax && !this.isComplete; ) {
      const record = this.#reader.next();
      if (record === undefined) break;
      const { id } = this.#interfaceOf(record.port, blocks);
      const block = packetBlock(id, record);
      this.#reader.release();
      this.#frames++;
      size += block.byteLength;
      blocks.push(block);
    }
    return blocks;
  }

  /** What the stream ends with: `counts` are those of the datapath. */
  end(counts: readonly CaptureCount[], wallMs: number): Uint8Array[] {
    const blocks: Uint8Array[] = [];
    for (const { port, matched, lost, limited } of counts) {
      const { id } = this.#interfaceOf(port, blocks);
      blocks.push(
        encodeStatistics({
          interfaceId: id,
          wallMs,
          received: matched,
          dropped: lost + limited,
          ...(lost + limited === 0
            ? {}
            : { comment: `${lost} for want of room in the ring, ${limited} over the rate` }),
        }),
      );
    }
    return blocks;
  }

  /** A number that now belongs to another port is another interface. */
  #interfaceOf(ofport: number, blocks: Uint8Array[]): Interface {
    const { order, portName } = this.#options;
    const known = this.#interfaces.get(ofport);
    const name = portName(ofport) ?? known?.name ?? placeholder(ofport);
    if (known?.name === name) return known;
    const made = { id: this.#interfaceCount++, name };
    this.#interfaces.set(ofport, made);
    const description = `bridge ${order.bridge}, port ${portNumber(ofport)}`;
    blocks.push(encodeInterface({ name, description, snapLength: order.snapLength }));
    return made;
  }
}

function packetBlock(interfaceId: number, record: CapturedRecord): Uint8Array {
  const { wallMs, data, originalLength } = record;
  const comment = commentOf(record);
  return encodePacket({
    interfaceId,
    wallMs,
    data,
    originalLength,
    direction: record.what === CAPTURED_OUT ? "outbound" : "inbound",
    ...(comment === undefined ? {} : { comment }),
  });
}

function commentOf({ what, reason, tableId, flow }: CapturedRecord): string | undefined {
  const met = flow === undefined ? "" : `cookie 0x${flow.cookie.toString(16)}, priority ${flow.priority}`;
  if (what === CAPTURED_HIT) return `table ${tableId}, ${met}`;
  if (what !== CAPTURED_DROP) return undefined;
  // A packet that a controller sent past the tables is in none.
  const place = tableId < 0 || tableId === OFPTT_ALL ? "" : ` in table ${tableId}`;
  return `dropped${place}: ${DROP_REASONS[reason]}${met === "" ? "" : `; last flow: ${met}`}`;
}

function placeholder(ofport: number): string {
  return ofport === OFPP_CONTROLLER ? "CONTROLLER" : `port-${portNumber(ofport)}`;
}

function portNumber(ofport: number): string {
  if (ofport === OFPP_LOCAL) return "LOCAL";
  return ofport === OFPP_CONTROLLER ? "CONTROLLER" : String(ofport);
}
