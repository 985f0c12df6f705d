// A port around a port that writes every frame, in both directions, to a pcapng sink.
// Thread: one. Hot: no (a capture copies each frame).
import type { Clock } from "../time/index.js";
import type { Batch } from "./batch.js";
import type { PacketPool } from "./packet-pool.js";
import { encodeCapturedFrame, encodeCaptureHeader } from "./pcapng-wire.js";
import type { Port, PortCounters } from "./port.js";

export interface CapturePortOptions {
  readonly port: Port;
  readonly pool: PacketPool;
  readonly clock: Clock;
  /** Takes whole blocks, in order; must not block. */
  readonly write: (bytes: Uint8Array) => void;
}

export class CapturePort implements Port {
  readonly #port: Port;
  readonly #pool: PacketPool;
  readonly #clock: Clock;
  readonly #write: (bytes: Uint8Array) => void;

  constructor(options: CapturePortOptions) {
    this.#port = options.port;
    this.#pool = options.pool;
    this.#clock = options.clock;
    this.#write = options.write;
    this.#write(encodeCaptureHeader(options.port.name));
  }

  get name(): string {
    return this.#port.name;
  }
  get stats(): PortCounters {
    return this.#port.stats;
  }
  get linkUp(): boolean {
    return this.#port.linkUp;
  }
  get wakeFd(): number {
    return this.#port.wakeFd;
  }

  rx(batch: Batch): number {
    const before = batch.length;
    const count = this.#port.rx(batch);
    this.#record(batch, before, "inbound");
    return count;
  }

  tx(batch: Batch): void {
    this.#record(batch, 0, "outbound");
    this.#port.tx(batch);
  }

  tick(nowMs: number): void {
    this.#port.tick(nowMs);
  }
  beginSleep(): boolean {
    return this.#port.beginSleep();
  }
  endSleep(): void {
    this.#port.endSleep();
  }
  close(): void {
    this.#port.close();
  }

  #record(batch: Batch, start: number, direction: "inbound" | "outbound"): void {
    if (start === batch.length) return;
    const wallMs = this.#clock.wallMs();
    for (let i = start; i < batch.length; i++) {
      this.#write(encodeCapturedFrame(this.#pool.frame(batch.packets[i] as number), wallMs, direction));
    }
  }
}
