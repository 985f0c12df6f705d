// Traces a packet: the same pipeline as for traffic, with an observer that writes down every step and a sink that
// sends nothing. Counters, caches and connections stay as they are.
// Thread: datapath worker, between breaths.
import { formatIpv4Address } from "../../base/wire/index.js";
import type { DropReason } from "./drop-reasons.js";
import { readField } from "./fields.js";
import type { Flow } from "./flow.js";
import * as K from "./key.js";
import { Pipeline } from "./pipeline.js";
import type { PacketSink, PipelineObserver, PipelineOptions } from "./pipeline-modules.js";
import * as P from "./program.js";

export interface TraceStep {
  readonly kind: "table" | "action" | "output" | "drop" | "recirculate";
  readonly text: string;
  /** Of the flow that matched. */
  readonly cookie?: bigint;
}

export interface TraceOptions extends Omit<PipelineOptions, "observer" | "sink"> {
  /** Where NORMAL would send the packet, in words; it is not run. */
  readonly isLive: (port: number) => boolean;
}

/** What would happen to `frame` if it came in by `inPort` now. Throws nothing; a full pool is told as a drop. */
export function traceFrame(
  options: TraceOptions,
  frame: Uint8Array,
  inPort: number,
  nowMs: number,
): TraceStep[] {
  const steps: TraceStep[] = [];
  const packet = options.pool.allocateFrom(frame);
  if (packet < 0) return [{ kind: "drop", text: "no-buffer" }];
  const sink = new TraceSink(steps, options.isLive);
  const pipeline = new Pipeline({ ...options, sink, observer: new Recorder(steps) });
  pipeline.process(packet, inPort, nowMs);
  return steps;
}

/** Lines as a person reads them. */
export function formatTrace(steps: readonly TraceStep[]): string {
  const indent = {
    table: "",
    recirculate: "",
    action: "    ",
    output: "     -> ",
    drop: "     -> dropped: ",
  } as const;
  return steps.map(({ kind, text }) => `${indent[kind]}${text}\n`).join("");
}

class TraceSink implements PacketSink {
  readonly #steps: TraceStep[];
  readonly #isLive: (port: number) => boolean;

  constructor(steps: TraceStep[], live: (port: number) => boolean) {
    this.#steps = steps;
    this.#isLive = live;
  }
  output(_packet: number, port: number): void {
    this.#say(`port ${port}`);
  }
  flood(_packet: number, inPort: number): void {
    this.#say(`every port but ${inPort}`);
  }
  normal(): boolean {
    this.#say("NORMAL");
    return true;
  }
  controller(_packet: number, _key: Int32Array, _length: number, reason: number): void {
    this.#say(`controller (${P.REASONS[reason]})`);
  }
  isLive(port: number): boolean {
    return this.#isLive(port);
  }
  #say(text: string): void {
    this.#steps.push({ kind: "output", text });
  }
}

class Recorder implements PipelineObserver {
  readonly #steps: TraceStep[];

  constructor(steps: TraceStep[]) {
    this.#steps = steps;
  }
  table(tableId: number, flow: Flow | null, key: Int32Array): void {
    if (flow === null)
      this.#steps.push({ kind: "table", text: `table ${tableId}: no match for ${describeKey(key)}` });
    else {
      const cookie = `0x${flow.cookie.toString(16)}`;
      const fields = flow.match.map(({ field }) => describeField(key, field)).join(",");
      const text = `table ${tableId}: priority ${flow.priority}, cookie ${cookie}, matched ${fields || "any"}`;
      this.#steps.push({ kind: "table", text, cookie: flow.cookie });
    }
  }
  operation(program: P.Program, at: number): void {
    const name = OPERATIONS[program.code[at] as number] ?? "?";
    this.#steps.push({ kind: "action", text: name });
  }
  applied(): void {}
  actionSet(): void {}
  enter(): void {}
  leave(): void {}
  drop(reason: DropReason): void {
    this.#steps.push({ kind: "drop", text: reason });
  }
  recirculate(tableId: number, key: Int32Array): void {
    const state = describeField(key, "ct_state");
    this.#steps.push({ kind: "recirculate", text: `again from table ${tableId}: ${state}` });
  }
}

const OPERATIONS: Readonly<Record<number, string>> = {
  [P.OP_OUTPUT]: "output",
  [P.OP_CONTROLLER]: "controller",
  [P.OP_GROUP]: "group",
  [P.OP_SET]: "set",
  [P.OP_MOVE]: "move",
  [P.OP_PUSH_VLAN]: "push_vlan",
  [P.OP_POP_VLAN]: "pop_vlan",
  [P.OP_PUSH_MPLS]: "push_mpls",
  [P.OP_POP_MPLS]: "pop_mpls",
  [P.OP_PUSH_PBB]: "push_pbb",
  [P.OP_POP_PBB]: "pop_pbb",
  [P.OP_SET_NW_TTL]: "set_nw_ttl",
  [P.OP_DEC_NW_TTL]: "dec_nw_ttl",
  [P.OP_SET_MPLS_TTL]: "set_mpls_ttl",
  [P.OP_DEC_MPLS_TTL]: "dec_mpls_ttl",
  [P.OP_COPY_TTL_OUT]: "copy_ttl_out",
  [P.OP_COPY_TTL_IN]: "copy_ttl_in",
  [P.OP_RESUBMIT]: "resubmit",
  [P.OP_CT]: "ct",
  [P.OP_CT_CLEAR]: "ct_clear",
  [P.OP_OUTPUT_REG]: "output",
  [P.OP_PUSH]: "push",
  [P.OP_POP]: "pop",
  [P.OP_EXIT]: "exit",
  [P.OP_DEC_TTL_IDS]: "dec_nw_ttl",
  [P.OP_SET_QUEUE]: "set_queue",
  [P.OP_POP_QUEUE]: "pop_queue",
  [P.OP_MULTIPATH]: "multipath",
  [P.OP_BUNDLE]: "bundle",
  [P.OP_BUNDLE_LOAD]: "bundle_load",
  [P.OP_LEARN]: "learn",
  [P.OP_FIN_TIMEOUT]: "fin_timeout",
  [P.OP_CLONE]: "clone",
  [P.OP_CHECK_LARGER]: "check_pkt_larger",
  [P.OP_OUTPUT_TRUNC]: "output",
};

function describeField(key: Int32Array, name: Parameters<typeof readField>[1]): string {
  const value = readField(key, name)?.value ?? new Uint8Array(0);
  const hex = Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${name}=0x${hex.replace(/^0+(?=.)/, "")}`;
}

function describeKey(key: Int32Array): string {
  const type = (key[K.K_TYPE_TCI] as number) >>> 16;
  const words = [describeField(key, "in_port"), describeField(key, "eth_type")];
  if (type === 0x0800) {
    const [source, destination] = [key[K.K_SRC] as number, key[K.K_DST] as number].map(formatIpv4Address);
    words.push(`${source}>${destination}`, describeField(key, "ip_proto"));
  }
  return words.join(",");
}
