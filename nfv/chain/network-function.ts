// The network function: what the engine drives. One function owns one port of the switch; every frame that the switch
// sends it comes in through push(), and what it leaves in `output` goes back.
//
// Ownership: push() takes every packet of `input` and empties it; each is either freed (and counted under a reason) or
// moved to `output`. Packets given here are not shared: they may be changed in place.
// Never block, never throw, never allocate per packet. Thread: the engine's worker.
import type { Batch, PacketPool } from "../../base/packet/index.js";

export interface NetworkFunction {
  /** Handles a burst. `output` has room for at least as many packets as `input` holds. */
  push(input: Batch, output: Batch, nowMs: number): void;
  /** Called at least every TICK_MS: timers, probes. May add packets to `output` as long as it has room. */
  tick(output: Batch, nowMs: number): void;
  /** What it reports to its owner; plain data. */
  status(nowMs: number): FunctionStatus;
}

export interface EndpointStatus {
  readonly name: string;
  readonly address: string;
  readonly state: "Healthy" | "Unhealthy" | "Draining" | "Unknown";
  readonly reason: string;
  /** Connections that it serves and that were seen lately. */
  readonly connections: number;
}

export interface FunctionStatus {
  readonly endpoints: readonly EndpointStatus[];
  /** Frames by what became of them: forwarded, replied, and one counter per reason to drop. */
  readonly counters: Readonly<Record<string, number>>;
}

/** What a function is made with. */
export interface FunctionModules {
  readonly pool: PacketPool;
}
