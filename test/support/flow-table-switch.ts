// Our own flow tables and pipeline as a switch: no daemon, no threads, no ports. Frames go in by a call, and what comes
// out is kept per port. It speaks OpenFlow with the controller over its unix socket, through the real codec.
import {
  ALL_FLOWS,
  type FlowMod,
  type FlowStats,
  type Match,
  type PacketOut,
} from "../../base/openflow/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { FakeSwitch, type FakeSwitchTables } from "../../sdn-controller/testing/fake-switch.js";
import { pipelineMatch } from "../../vswitch/flow/fields.js";
import {
  compileActions,
  type Flow,
  FlowTables,
  type PacketSink,
  Pipeline,
  type Tracker,
} from "../../vswitch/flow/index.js";

export class FlowTableSwitch implements FakeSwitchTables {
  readonly device: FakeSwitch;
  readonly #pool = new PacketPool();
  readonly #tables = new FlowTables({ onRemoved: (message) => this.device.flowRemoved(message) });
  readonly #pipeline: Pipeline;
  readonly #sent = new Map<number, Uint8Array[]>();
  #inPort = 0;

  constructor(createTracker: (pool: PacketPool) => Tracker) {
    this.device = new FakeSwitch(this);
    const sink: PacketSink = {
      output: (packet, port) => this.sentBy(port).push(this.#pool.frame(packet).slice()),
      flood: () => {
        throw new Error("the pipeline never floods");
      },
      normal: () => -1,
      controller: (packet, key, { tableId, flow }) =>
        this.#packetIn(packet, pipelineMatch(key), tableId, flow),
      wantsMisses: false,
      miss: () => undefined,
      isLive: () => true,
    };
    this.#pipeline = new Pipeline({
      pool: this.#pool,
      tables: this.#tables,
      tracker: createTracker(this.#pool),
      sink,
    });
  }

  inject(inPort: number, frame: Uint8Array): void {
    this.#inPort = inPort;
    this.#pipeline.process(this.#pool.allocateFrom(frame), inPort, performance.now());
  }

  sentBy(port: number): Uint8Array[] {
    const frames = this.#sent.get(port) ?? [];
    this.#sent.set(port, frames);
    return frames;
  }

  applyFlowMod(message: FlowMod): void {
    this.#tables.applyFlowMod(message, performance.now());
  }

  flowStats(): readonly FlowStats[] {
    return this.#tables.flowStats(ALL_FLOWS, performance.now());
  }

  packetOut(message: PacketOut): void {
    const context = { groupExists: () => false, portExists: () => true };
    const program = compileActions(message.actions, context, undefined);
    this.#pipeline.execute(this.#pool.allocateFrom(message.data), message.inPort, program, performance.now());
  }

  #packetIn(packet: number, match: Match, tableId: number, flow: Flow | null): void {
    const frame = this.#pool.frame(packet).slice();
    const more = match.filter(({ field }) => field !== "in_port");
    this.device.packetIn(flow?.cookie ?? 0n, tableId, this.#inPort, frame, more);
  }
}
