// Of the frames that came in by dummy ports: the flows that a datapath of Open vSwitch would hold for them, each with the
// fields that decided, what was done, and how many frames came after the first. For dpctl/dump-flows.
// Each frame is traced before it goes through the switch: dummy ports are for tests, and slow.
// Source: ovs-dpctl(8), dump-flows; a flow that is not used for ten seconds goes, as `max-idle` of Open vSwitch has it.
// Thread: datapath worker.
import type { MegaflowView, PacketView, TraceRun } from "../flow/index.js";
import type { Bridge } from "./bridge.js";

const IDLE_MS_MAX = 10_000;
const FLOWS_MAX = 10_000;

export interface SeenFlow {
  /** 0 for packets as they come in. */
  readonly recirculation: number;
  /** Number of the input port in the datapath. */
  readonly inPort: number;
  /** The first packet of the flow, and what of it counted. */
  readonly start: PacketView;
  readonly megaflow: MegaflowView;
  readonly actions: readonly string[];
  /** Without the first, which made the flow. */
  readonly packets: number;
  readonly bytes: number;
  /** TCP flags that any of them had. */
  readonly tcpFlags: number;
  /** Since the last of them; undefined when there was none. */
  readonly idleMs: number | undefined;
}

interface Entry {
  readonly key: string;
  readonly bridge: string;
  readonly recirculation: number;
  run: TraceRun;
  actions: readonly string[];
  packets: number;
  bytes: number;
  tcpFlags: number;
  usedMs: number | undefined;
  readonly createdMs: number;
  /** How the first packet came in, and what connection tracking said of it on the way here. */
  readonly frame: Uint8Array;
  readonly ofport: number;
  readonly states: readonly number[];
}

export class SeenFlows {
  readonly #bridges: readonly Bridge[];
  readonly #entries = new Map<string, Entry>();
  /** Numbers of the places where packets go on after connection tracking. */
  readonly #recirculations = new Map<string, number>();

  /** `bridges`: all of the datapath; the array changes. */
  constructor(bridges: readonly Bridge[]) {
    this.#bridges = bridges;
  }

  /** The frame is about to come in by the port with this OpenFlow number. */
  admit(bridge: Bridge, ofport: number, frame: Uint8Array, nowMs: number): void {
    const runs = bridge.trace({ frame, inPort: ofport, ctDefault: "actual" }, nowMs, this.#bridges);
    const states = runs.slice(1).map((run) => numberIn(run, "ct_state"));
    for (const [index, run] of runs.entries()) {
      const key = this.#keyOf(bridge.name, run);
      const entry = this.#entries.get(key);
      if (entry !== undefined) {
        entry.packets++;
        entry.bytes += frame.byteLength;
        entry.tcpFlags |= numberIn(run, "tcp_flags");
        entry.usedMs = nowMs;
        continue;
      }
      if (this.#entries.size >= FLOWS_MAX) return;
      this.#entries.set(key, {
        ...{ key, bridge: bridge.name, run, frame, ofport, states: states.slice(0, index), createdMs: nowMs },
        recirculation: this.#recirculationOf(bridge.name, run),
        actions: this.#actionsOf(bridge.name, run, runs),
        ...{ packets: 0, bytes: 0, tcpFlags: 0, usedMs: undefined },
      });
    }
  }

  /** Those of the bridge that are true now. */
  of(bridge: Bridge, nowMs: number): SeenFlow[] {
    const flows: SeenFlow[] = [];
    for (const entry of [...this.#entries.values()]) {
      if (entry.bridge !== bridge.name) continue;
      if (!this.#isStillTrue(entry, bridge, nowMs)) {
        this.#entries.delete(entry.key);
        continue;
      }
      const { recirculation, run, actions, packets, bytes, tcpFlags, usedMs, ofport } = entry;
      flows.push({
        ...{ recirculation, start: run.start, megaflow: run.megaflow, actions, packets, bytes, tcpFlags },
        inPort: bridge.slot(ofport)?.datapathPort ?? ofport,
        idleMs: usedMs === undefined ? undefined : nowMs - usedMs,
      });
    }
    return flows;
  }

  clear(): void {
    this.#entries.clear();
  }

  /** Looks what would become of its first packet by now. */
  #isStillTrue(entry: Entry, bridge: Bridge, nowMs: number): boolean {
    const { frame, ofport, states } = entry;
    if (nowMs - (entry.usedMs ?? entry.createdMs) > IDLE_MS_MAX || bridge.slot(ofport) === null) return false;
    const request = { frame, inPort: ofport, ctStates: states, ctDefault: "actual" } as const;
    const runs = bridge.trace(request, nowMs, this.#bridges);
    const run = runs[states.length];
    if (run === undefined || this.#keyOf(bridge.name, run) !== entry.key) return false;
    entry.run = run;
    entry.actions = this.#actionsOf(bridge.name, run, runs);
    return true;
  }

  #keyOf(bridge: string, run: TraceRun): string {
    const match = run.megaflow.match.map(
      ({ field, value, mask }) => `${field}=${hex(value)}${mask === undefined ? "" : `/${hex(mask)}`}`,
    );
    return [bridge, this.#recirculationOf(bridge, run), ...match, run.megaflow.innerTag?.tci].join(" ");
  }

  /** Packets that go on in the same table with the same metadata go on as one. */
  #recirculationOf(bridge: string, run: TraceRun): number {
    const [first] = run.nodes;
    if (first?.kind !== "thaw") return 0;
    const metadata = run.start.match.filter(({ field }) => /^(in_port|metadata|tun_.*|reg\d+)$/.test(field));
    const place = [
      bridge,
      first.tableId,
      ...metadata.map(({ field, value }) => `${field}=${hex(value)}`),
    ].join();
    const number = this.#recirculations.get(place) ?? this.#recirculations.size + 1;
    this.#recirculations.set(place, number);
    return number;
  }

  /** The trace numbers by itself where packets go on. */
  #actionsOf(bridge: string, run: TraceRun, runs: readonly TraceRun[]): string[] {
    return run.actions.map((action) => {
      const local = /^recirc\(0x([0-9a-f]+)\)$/.exec(action)?.[1];
      const next = runs.find(({ recirculation }) => recirculation === Number.parseInt(local ?? "", 16));
      return next === undefined ? action : `recirc(0x${this.#recirculationOf(bridge, next).toString(16)})`;
    });
  }
}

/** A field of the packet that the run began with; 0 when it does not have it. */
function numberIn({ start }: TraceRun, name: "ct_state" | "tcp_flags"): number {
  const bytes = start.match.find(({ field }) => field === name)?.value ?? [];
  let number = 0;
  for (const byte of bytes) number = number * 256 + byte;
  return number;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
