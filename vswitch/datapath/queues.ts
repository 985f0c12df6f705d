// The queues of a port, and what was sent by them. Frames are counted by queue; they leave in the order in which they
// came, for nothing is shaped yet. Source: OpenFlow 1.3.5, 7.2.2 and 7.3.5.8; ovs-vswitchd.conf.db(5), QoS and Queue.
// Thread: datapath worker. Hot: yes (count).
import type { PacketQueue, QueueProperty, QueueStats } from "../../base/openflow/index.js";

export interface QueueConfig {
  readonly queueId: number;
  /** Bits per second; absent when nobody asked for one. */
  readonly minRateBps?: number;
  readonly maxRateBps?: number;
}

interface Queue {
  config: QueueConfig;
  readonly createdMs: number;
  packets: number;
  bytes: number;
}

/** Frames of no queue, and of one that the port does not have, leave by this one. */
const QUEUE_DEFAULT = 0;
/** In 1/10 of a percent of the port's speed; what is larger would mean "none". */
const RATE_MAX = 1000;

export class PortQueues {
  readonly #queues: readonly Queue[];

  /** Queues that `before` had too go on counting. */
  constructor(configs: readonly QueueConfig[], before: PortQueues | undefined, nowMs: number) {
    this.#queues = configs.map((config) => {
      const old = before?.find(config.queueId);
      return old === undefined ? { config, createdMs: nowMs, packets: 0, bytes: 0 } : { ...old, config };
    });
  }

  count(queueId: number, sizeBytes: number): void {
    const queues = this.#queues;
    let at = -1;
    for (let i = 0; i < queues.length; i++) {
      const id = queues[i]!.config.queueId;
      if (id === queueId) {
        at = i;
        break;
      }
      if (id === QUEUE_DEFAULT) at = i;
    }
    if (at < 0) return;
    const queue = queues[at]!;
    queue.packets++;
    queue.bytes += sizeBytes;
  }

  find(queueId: number): Queue | undefined {
    return this.#queues.find(({ config }) => config.queueId === queueId);
  }

  stats(port: number, nowMs: number): QueueStats[] {
    return this.#queues.map(({ config, createdMs, packets, bytes }) => {
      const ms = nowMs - createdMs;
      return {
        port,
        queueId: config.queueId,
        txPackets: BigInt(packets), // cold
        txBytes: BigInt(bytes), // cold
        txErrors: 0n, // cold
        durationSeconds: Math.floor(ms / 1000),
        durationNanoseconds: Math.floor((ms % 1000) * 1e6),
      };
    });
  }

  descriptions(port: number, speedKbps: number): PacketQueue[] {
    return this.#queues.map(({ config }) => ({
      port,
      queueId: config.queueId,
      properties: [
        ...rate("min_rate", config.minRateBps, speedKbps), // cold
        ...rate("max_rate", config.maxRateBps, speedKbps), // cold
      ],
    }));
  }
}

function rate(type: "min_rate" | "max_rate", bps: number | undefined, speedKbps: number): QueueProperty[] {
  return bps === undefined ? [] : [{ type, rate: Math.min(RATE_MAX, Math.round(bps / speedKbps)) }];
}
