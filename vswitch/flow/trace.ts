// Traces a packet: the same pipeline as for traffic, with an observer that writes down every step and a sink that
// sends nothing. Counters, caches and connections stay as they are. Thread: datapath worker, between breaths.
import type { Action, BitRange, Match } from "../../base/openflow/index.js";
import { effective } from "./action-set-order.js";
import { compileActions } from "./compile-actions.js";
import { execOf, sourcesOf } from "./ct-exec.js";
import { DatapathActions, queueOf } from "./datapath-actions.js";
import type { DropReason } from "./drop-reasons.js";
import { labelsOf, type PacketView, packetView, tagsOf } from "./exact-match.js";
import { compileMatch, getBits, keyField } from "./fields.js";
import type { Flow } from "./flow.js";
import { GROUP_FF, GROUP_SELECT, type Group, type GroupBucket, NOT_WATCHED } from "./groups.js";
import * as K from "./key.js";
import { type LearnProgram, learnedMod, learnFrom } from "./learn-program.js";
import { Megaflow } from "./megaflow.js";
import { Pipeline } from "./pipeline.js";
import type { ControllerRequest, PacketSink, PipelineObserver, PipelineOptions } from "./pipeline-modules.js";
import type { Program } from "./program.js";
import { type ForkedCopy, foresee, forkedCopy } from "./trace-ct.js";
import type { TraceNode, TraceRequest, TraceRun, TraceTranslation } from "./trace-nodes.js";
import { describeFlow, destinationOf, remarkOf } from "./trace-steps.js";
import { type TunnelOptions, widened } from "./tunnel-options.js";

export interface TraceOptions extends Omit<PipelineOptions, "observer" | "sink"> {
  /** Of the bridge. */
  readonly name: string;
  /** Where a patch port leads to; undefined for any other port. */
  readonly beyond: (port: number) => { readonly options: TraceOptions; readonly inPort: number } | undefined;
  /** OFPC_FRAG_*. */
  readonly fragmentHandling: number;
  /** Frames are read as these are. */
  readonly headers: K.Headers;
  /** Whether controllers are told of packets that no flow matches. */
  readonly wantsMisses: boolean;
  readonly isLive: (port: number) => boolean;
  /** Why nothing leaves by a port, "" where nobody says it; undefined when it does. */
  readonly closed: (port: number) => string | undefined;
  /** The number that the port has in the datapath. */
  readonly datapathPort: (port: number) => number;
  /** The packet as it leaves by that queue of the port, if that changes its DSCP, for the caller to free; else −1. */
  readonly marked: (packet: number, port: number, queueId: number) => number;
  /** Numbers of all ports that forward, for flooding. */
  readonly ports: () => readonly number[];
  /** Where NORMAL would send the packet: tells what it decides as it does, and calls `send` for each copy. */
  readonly normal: NormalTrace;
  /** Why nothing that comes in by the port is looked at, "" where nobody says it; undefined when it is. */
  readonly refusal: (inPort: number) => string | undefined;
  /** Why the packet may not leave by the port, though that forwards. */
  readonly bar: (inPort: number, port: number) => string | undefined;
  /** What mirrors send of what comes in by a port, and of what leaves by one; true if one of them looks at its VLAN. */
  readonly mirrors: {
    ingress(packet: number, inPort: number, send: TraceSend): boolean;
    egress(packet: number, port: number, send: TraceSend): boolean;
  };
}

/** `cut`: the copy has so many bytes at most. */
export type TraceSend = (packet: number, port: number, cut?: number) => void;

export type NormalTrace = (
  packet: number,
  key: Int32Array,
  inPort: number,
  teaches: boolean,
  send: TraceSend,
  tell: (node: TraceNode) => void,
) => void;

const DSCP: BitRange = { field: "ip_dscp", offset: 0, bits: 6 };
const STATE_NEW_TRACKED = 0x21;
/** Steps in one trace; a loop of resubmits ends in STEPS_MAX before. */
const NODES_MAX = 20_000;

/** What would happen to the frame if it came in now. Throws nothing; a full pool is told as a drop. */
export function traceFrame(options: TraceOptions, request: TraceRequest, nowMs: number): readonly TraceRun[] {
  const packet = options.pool.allocateFrom(request.frame);
  if (packet < 0) return [];
  const given = pipelineWords(request.given ?? [], options.tables.options);
  const recorder = new Recorder(options, request, given, nowMs);
  const pipeline = pipelineFor(options, recorder);
  recorder.begin(packet);
  pipeline.give(given);
  if (request.actions === undefined) pipeline.process(packet, request.inPort, nowMs);
  else {
    const { groups, options: map } = options.tables;
    const context = { groupExists: (id: number) => groups.has(id), options: map };
    const program = compileActions(request.actions, context, undefined);
    pipeline.execute(packet, request.inPort, program, nowMs);
  }
  return recorder.runs;
}

/** A key with those of the fields that are no bytes of the packet. */
function pipelineWords(match: Match, options: TunnelOptions): Int32Array {
  const isOwn = ({ field }: Match[number]): boolean =>
    field !== "conj_id" && (keyField(field, options)?.start ?? 0) >= 32 * K.K_PIPELINE;
  return compileMatch(match.filter(isOwn), options).value;
}

function pipelineFor(options: TraceOptions, recorder: Recorder): Pipeline {
  const pipeline = new Pipeline({ ...options, sink: recorder, observer: recorder });
  pipeline.fragments.set(options.fragmentHandling, null);
  pipeline.headers.readAs(options.headers);
  return pipeline;
}

/** Bridges behind bridges; patch ports may lead in a circle. */
const CROSSINGS_MAX = 32;

interface OpenRun {
  readonly bridge: string;
  readonly recirculation: number;
  readonly state: TraceRun["state"];
  readonly translation?: TraceTranslation;
  start: PacketView;
  end: PacketView;
  readonly nodes: TraceNode[];
  readonly output: DatapathActions;
  readonly megaflow: Megaflow;
}

class Recorder implements PipelineObserver, PacketSink {
  /** Of the bridge on which the packet is. */
  #options: TraceOptions;
  readonly #nowMs: number;
  readonly #request: TraceRequest;
  /** The key of the packet before it is looked at. */
  readonly #given: Int32Array;
  readonly #runs: OpenRun[] = [];
  /** Where the next step is written, and where to go back to. */
  #list: TraceNode[] = [];
  readonly #outer: TraceNode[][] = [];
  #firstTable: TraceNode[] | undefined;
  #set: Action[] = [];
  #count = 0;
  #recirculations = 0;
  #resumed = 0;
  /** Copies that wait, in order. */
  readonly #waiting: ForkedCopy[] = [];

  constructor(options: TraceOptions, request: TraceRequest, given: Int32Array, nowMs: number) {
    this.#given = given.slice();
    this.#options = options;
    this.#nowMs = nowMs;
    this.#request = request;
  }

  get teaches(): boolean {
    return this.#request.teaches === true && !this.#isRefused;
  }

  get runs(): readonly TraceRun[] {
    return this.#runs.map(({ output, megaflow, ...run }) => {
      megaflow.popped(output.popped);
      return { ...run, megaflow: megaflow.view(run.start), actions: output.actions };
    });
  }

  begin(packet: number): void {
    const key = this.#given;
    key[K.K_IN_PORT] = this.#request.inPort;
    this.#headers().parse(this.#options.pool, packet, key);
    this.#open({ recirculation: 0, state: "none" }, key, packet);
    if (this.#request.actions !== undefined) this.#admit(key, packet);
  }

  #headers(): K.Headers {
    const headers = new K.Headers();
    headers.readAs(this.#options.headers);
    return headers;
  }

  #open(
    how: Pick<OpenRun, "recirculation" | "state" | "translation">,
    key: Int32Array,
    packet: number,
  ): void {
    const { view, shown } = this.#viewOf(key, packet);
    const megaflow = new Megaflow(shown, view.tags, this.#options.tables.options);
    const output = new DatapathActions(this.#options.pool, this.#headers(), packet, key, (field) =>
      megaflow.consulted(field),
    );
    const bridge = this.#runs[0]?.bridge ?? this.#options.name;
    this.#run = { bridge, ...how, start: view, end: view, nodes: [], output, megaflow };
    this.#runs.push(this.#run);
    this.#isBeyond = false;
    this.#list = this.#run.nodes;
    this.#outer.length = 0;
    this.#firstTable = undefined;
    this.#set = [];
  }

  /** The packet as people are to see it: with the ports of a first fragment, which flows do not see. */
  #viewOf(key: Int32Array, packet: number): { readonly view: PacketView; readonly shown: Int32Array } {
    const { pool, tables } = this.#options;
    const tags = tagsOf(pool, packet);
    const shown = key.slice();
    const headers = this.#headers();
    headers.readsFirstFragments = true;
    this.#tagsAtFirst ??= tags.length;
    headers.tagsLimit = headers.tagsMax + Math.max(0, tags.length - this.#tagsAtFirst);
    headers.parse(pool, packet, shown);
    return { view: packetView(shown, tags, labelsOf(pool, headers, shown), tables.options), shown };
  }
  #tagsAtFirst: number | undefined;

  #run!: OpenRun;
  /** The packet came in where nothing is looked at: whatever happens to it is not told. */
  #isRefused = false;
  /** The run in hand began on another bridge than this. */
  #isBeyond = false;
  #crossings = 0;

  /** The packet leaves by a patch port and comes in on another bridge, with nothing but its bytes. */
  #cross(
    packet: number,
    { options, inPort }: { readonly options: TraceOptions; readonly inPort: number },
  ): void {
    if (this.#crossings >= CROSSINGS_MAX) {
      this.#add({ kind: "error", text: "over max translation depth 64" });
      return;
    }
    const copy = options.pool.copy(packet);
    if (copy < 0) return;
    const nodes: TraceNode[] = [];
    this.#add({ kind: "bridge", name: options.name, nodes });
    const before = [this.#options, this.#run, this.#list, this.#firstTable, this.#set, this.#key] as const;
    const [outer, isBeyond, waiting] = [[...this.#outer], this.#isBeyond, this.#waiting.splice(0)];
    this.#isRefused = false;
    this.#options = options;
    this.#list = nodes;
    this.#outer.length = 0;
    this.#firstTable = undefined;
    this.#set = [];
    this.#isBeyond = true;
    this.#crossings++;
    pipelineFor(options, this).process(copy, inPort, this.#nowMs);
    this.#crossings--;
    [this.#options, this.#run, this.#list, this.#firstTable, this.#set, this.#key] = before;
    this.#outer.splice(0, this.#outer.length, ...outer);
    this.#waiting.push(...waiting);
    this.#isBeyond = isBeyond;
    this.#isRefused = false;
  }

  #add(node: TraceNode): void {
    if (this.#isRefused) return;
    this.#tellAssigned();
    if (this.#count++ < NODES_MAX) this.#list.push(node);
  }

  // --- Steps

  table(tableId: number, flow: Flow | null, key: Int32Array, packet: number): void {
    if (this.#isRefused) return;
    this.#key = key;
    this.#run.megaflow.lookup(this.#options.tables, tableId, key, flow);
    const nodes: TraceNode[] = [];
    const shown = flow === null ? null : describeFlow(flow);
    this.#add({ kind: "table", tableId, flow: shown, nodes });
    const isFirst = this.#firstTable === undefined;
    this.#firstTable ??= nodes;
    this.#list = nodes;
    if (isFirst && this.#run.recirculation === 0 && !this.#admit(key, packet)) return;
    if (shown === null || shown.isEmpty) this.#add({ kind: "nothing" });
    const meter = flow?.instructions.find(({ type }) => type === "meter");
    if (meter !== undefined) this.#add({ kind: "instruction", instruction: meter });
  }

  /** Shows mirrors what comes in; whether it may. */
  #admit(key: Int32Array, packet: number): boolean {
    const inPort = (key[K.K_IN_PORT] as number) >>> 0;
    const text = this.#options.refusal(inPort);
    if (text === undefined) {
      if (this.#options.mirrors.ingress(packet, inPort, (copy, port, cut) => this.#sendCut(copy, port, cut)))
        this.#run.megaflow.mirrored();
      return true;
    }
    if (text !== "") this.#add({ kind: "error", text });
    this.#isRefused = true;
    return false;
  }

  operation(program: Program, at: number, key: Int32Array, packet: number, stacked: number): void {
    if (this.#isRefused) return;
    // Those that do nothing begin where the next one does.
    const here = program.actions.filter((_, n) => program.offsets[n] === at);
    for (const one of here)
      this.#add({
        kind: "action",
        action: widened(one, this.#options.tables.options),
        ...(one.type === "ct" ? { moved: execOf(one, key).moved } : {}),
      });
    const action = here.at(-1);
    if (action === undefined) return;
    this.#key = key;
    this.#assigned = destinationOf(action, stacked);
    this.#run.megaflow.action(action, key, tagsOf(this.#options.pool, packet).length);
    if (action.type === "learn")
      this.#learn(
        program.learns.find((one) => one.action === action),
        key,
      );
    if (action.type === "ct") this.#ct(action, key, packet);
    const remark = remarkOf(action, key, stacked, this.#options.tables.options);
    if (remark !== undefined) this.#add(remark);
  }

  #learn(program: LearnProgram | undefined, key: Int32Array): void {
    if (!this.teaches)
      this.#add({ kind: "warning", text: "suppressing side effects, so learn action ignored" });
    else if (program !== undefined) {
      learnFrom(program, key);
      this.#add({ kind: "learned", flow: learnedMod(program) });
    }
  }

  /** What the last action has written, once it has been done. */
  #tellAssigned(): void {
    const range = this.#assigned;
    this.#assigned = undefined;
    const { options } = this.#options.tables;
    const field = range === undefined ? undefined : keyField(range.field, options);
    if (range === undefined || field === undefined || this.#key === undefined) return;
    const start = field.start + field.bits - range.offset - range.bits;
    const value = getBits(this.#key, start, range.bits);
    if (this.#count++ < NODES_MAX)
      this.#list.push({ kind: "assigned", range: widened(range, options), value });
  }
  #assigned: BitRange | undefined;
  /** The pipeline's, as it is now. */
  #key: Int32Array | undefined;

  #ct(action: Extract<Action, { type: "ct" }>, key: Int32Array, packet: number): void {
    this.#run.output.commitKey(key, packet);
    const forked = action.tableId !== undefined;
    if (forked) this.#waiting.push(forkedCopy(action, key, ++this.#recirculations));
    for (const range of sourcesOf(action)) this.#run.megaflow.reads(range, key);
    this.#run.output.ct(action, execOf(action, key), key, forked ? this.#recirculations : 0);
  }

  applied(flow: Flow): void {
    // At the end of the list nothing comes behind what does nothing.
    const apply = flow.program.apply;
    for (const [n, action] of apply?.actions.entries() ?? [])
      if (apply?.offsets[n] === apply?.code.length) this.#add({ kind: "action", action });
    for (const instruction of flow.instructions) {
      if (instruction.type === "apply_actions" || instruction.type === "meter") continue;
      this.#add({ kind: "instruction", instruction });
      if (instruction.type === "clear_actions") {
        this.#add({ kind: "set-is", actions: effective(this.#set), was: true });
        this.#set = [];
      } else if (instruction.type === "write_actions") {
        this.#set = [...this.#set, ...instruction.actions];
        this.#add({ kind: "set-is", actions: effective(this.#set), was: false });
      }
    }
  }

  actionSet(): void {
    const nodes: TraceNode[] = [];
    this.#list = this.#firstTable ?? this.#run.nodes;
    this.#add({ kind: "set", nodes });
    this.#list = nodes;
  }

  chosen(group: Group, bucket: GroupBucket | null, key: Int32Array): void {
    if (group.kind === GROUP_SELECT) this.#run.megaflow.conversation(key);
    const inOrder = group.kind === GROUP_FF ? group.buckets : [];
    const passedOver = bucket === null ? inOrder : inOrder.slice(0, bucket.index);
    for (const { index, watchPort, watchGroup } of passedOver) {
      const port = watchPort === NOT_WATCHED ? watchGroup : watchPort;
      this.#add({ kind: "detail", text: `bucket ${index}: not live due to port ${port}` });
    }
    if (bucket !== null) this.#add({ kind: "detail", text: `using bucket ${bucket.index}` });
  }

  enter(bucket: GroupBucket | null): void {
    this.#outer.push(this.#list);
    if (bucket === null) return;
    const nodes: TraceNode[] = [];
    this.#add({ kind: "bucket", index: bucket.index, nodes });
    this.#list = nodes;
  }

  leave(): void {
    this.#list = this.#outer.pop() ?? this.#list;
  }

  drop(reason: DropReason): void {
    // A port out of range has been told of.
    if (reason === "bad-port" && this.#list.at(-1)?.kind === "warning") return;
    this.#add({ kind: "drop", reason });
  }

  cut(length: number): void {
    this.#cut = length;
  }
  #cut: number | undefined;

  /** The run is over; the packet is as it ended. */
  done(key: Int32Array, packet: number): void {
    this.#tellAssigned();
    if (!this.#isBeyond) this.#run.end = this.#viewOf(key, packet).view;
  }

  recirculate(tableId: number, key: Int32Array, packet: number): void {
    const isActual = this.#request.ctDefault === "actual";
    const copy = this.#waiting.shift();
    const foreseen =
      copy === undefined ? {} : foresee(copy, isActual, this.#options.pool, packet, key, this.#headers());
    const states = this.#request.ctStates ?? [];
    const chosen = states[this.#resumed++];
    let state: TraceRun["state"] = "actual";
    if (chosen !== undefined) [key[K.K_CT_STATE], state] = [chosen, "chosen"];
    else if (!isActual) [key[K.K_CT_STATE], state] = [STATE_NEW_TRACKED, "default"];
    this.#open({ recirculation: copy?.recirculation ?? 0, state, ...foreseen }, key, packet);
    this.#add({ kind: "thaw", tableId });
  }

  // --- Where it goes

  output(packet: number, port: number): void {
    const reason = this.#options.closed(port);
    if (reason === undefined) this.#send(packet, port);
    else if (reason !== "") this.#add({ kind: "warning", text: reason });
  }

  flood(packet: number, inPort: number): void {
    for (const port of this.#options.ports()) if (port !== inPort) this.#send(packet, port);
  }

  normal(packet: number, key: Int32Array): number {
    if (this.#isRefused) return -1;
    if (this.#request.keepsNormal === true) return this.#run.output.normal(packet);
    const inPort = (key[K.K_IN_PORT] as number) >>> 0;
    const send = (copy: number, port: number): void => this.#send(copy, port);
    this.#options.normal(packet, key, inPort, this.teaches, send, (node) => this.#add(node));
    return -1;
  }

  controller(packet: number, key: Int32Array, request: ControllerRequest): void {
    const [sends, waits] = [this.teaches, request.remainder !== null];
    // Who only asks makes no packet wait.
    if (this.#isRefused || (waits && !sends)) return;
    this.#run.output.commitKey(key, packet);
    this.#run.output.controller(request, { sends, waits, recirculation: ++this.#recirculations });
  }

  get wantsMisses(): boolean {
    return this.#options.wantsMisses;
  }

  miss(packet: number, key: Int32Array, tableId: number): void {
    const nothing = { flow: null, userdata: null, remainder: null } as const;
    const request = { maxLength: 0xffff, reason: 0, controllerId: 0, meterId: 0, tableId };
    this.controller(packet, key, { ...request, ...nothing });
  }

  isLive(port: number): boolean {
    return this.#options.isLive(port);
  }

  #send(packet: number, port: number): void {
    if (this.#isRefused) return;
    const barred =
      this.#key === undefined ? undefined : this.#options.bar((this.#key[K.K_IN_PORT] as number) >>> 0, port);
    if (barred !== undefined) {
      this.#add({ kind: "warning", text: barred });
      return;
    }
    this.#leave(packet, port);
    const { egress } = this.#options.mirrors;
    if (egress(packet, port, (copy, to, cut) => this.#sendCut(copy, to, cut))) this.#run.megaflow.mirrored();
  }

  #sendCut(packet: number, port: number, cut: number | undefined): void {
    this.#cut = cut;
    this.#send(packet, port);
  }

  #leave(packet: number, port: number): void {
    const cut = this.#cut;
    this.#cut = undefined;
    const beyond = this.#options.beyond(port);
    if (beyond !== undefined) {
      this.#cross(packet, beyond);
      return;
    }
    const { output, megaflow } = this.#run;
    if (this.#key === undefined) output.commit(packet);
    else {
      const marked = this.#options.marked(packet, port, queueOf(this.#key));
      if (marked >= 0) megaflow.reads(DSCP, this.#key);
      output.commitKey(this.#key, marked >= 0 ? marked : packet);
      if (marked >= 0) this.#options.pool.free(marked);
    }
    output.output(this.#options.datapathPort(port), cut);
  }
}
