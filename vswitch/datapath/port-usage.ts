// How much of a thread's time each port and each of its queues takes, by the frames that came in since a window began.
// Thread: the one that serves the ports, between breaths.
import { type Port, RX_PACKETS } from "../../base/packet/index.js";

/** What a port with several receive queues says beside its contract. */
export interface QueuedPort extends Port {
  /** Frames that have come in, by queue. */
  readonly queueFrames?: Float64Array;
  /** The queues that are served by it now, and whether each is in use. */
  readonly queuesInUse?: ReadonlyMap<number, boolean>;
}

export interface QueueUsage {
  readonly queue: number;
  /** Frames may come in by it now. */
  readonly isEnabled: boolean;
  /** Share of the thread's time, by packets, 0 to 1. */
  readonly usage: number;
}

export interface PortUsage {
  readonly name: string;
  /** Of all queues together. */
  readonly usage: number;
  readonly queues: readonly QueueUsage[];
}

/** What a port had taken in when the window began. */
export class UsageWindow {
  #packets = 0;
  #queues: Float64Array | undefined;

  /** The window begins now. */
  turn(port: QueuedPort): void {
    this.#packets = port.stats[RX_PACKETS] as number;
    this.#queues = port.queueFrames?.slice();
  }

  /** Frames since then. */
  came({ stats }: Port): number {
    return Math.max(0, (stats[RX_PACKETS] as number) - this.#packets);
  }

  /** `each`: the share that one frame stands for. */
  usageOf(port: QueuedPort, each: number): PortUsage {
    const { name, linkUp, queueFrames, queuesInUse = new Map([[0, linkUp]]) } = port;
    const usage = this.came(port) * each;
    const queues = [...queuesInUse].map(([queue, isEnabled]) => {
      if (queueFrames === undefined) return { queue, isEnabled, usage };
      const came = Math.max(0, (queueFrames[queue] ?? 0) - (this.#queues?.[queue] ?? 0));
      return { queue, isEnabled, usage: came * each };
    });
    return { name, usage, queues };
  }
}
