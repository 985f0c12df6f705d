// Flow tables: keys, classifier, tables, groups, meters, and the pipeline that runs packets through them.

export { burstKeysOf, KEY_BYTES, ROW_FRONT, ROW_SHIFT, ROW_WHOLE } from "./burst-keys.js";
export type { BurstRunner, Forward, VerdictListener } from "./burst-runner.js";
export { Classifier } from "./classifier.js";
export { type ActionContext, compileActions } from "./compile-actions.js";
export {
  ALG_FTP,
  ALG_NONE,
  ALG_TFTP,
  type CtProgram,
  clearConnection,
  type NatProgram,
} from "./ct-program.js";
export { DropCounters, type DropReport } from "./drop-counters.js";
export * from "./drop-reasons.js";
export { flowError, openFlowErrorOf } from "./errors.js";
export { type FrameView, frameView, type PacketView, packetView } from "./exact-match.js";
export {
  compileMatch,
  keyField,
  MATCHABLE_FIELDS,
  type MaskedKey,
  pipelineMatch,
  readField,
} from "./fields.js";
export { Flow, FlowCounters } from "./flow.js";
export { type FlowChange, flowChange } from "./flow-change.js";
export type { FlowLimit } from "./flow-limits.js";
export { FlowTables, type FlowTablesOptions } from "./flow-tables.js";
export { REASSEMBLY_REFUSED, REASSEMBLY_WAITS, type Reassembler } from "./fragment-gate.js";
export * as FlowKey from "./key.js";
export { Headers, KEY_WORDS } from "./key.js";
export { countKnownFlows, type KnownFlow, type KnownFlowsModules, knownFlows } from "./known-flows.js";
export { BANDS_MAX, BUCKETS_MAX, FLOWS_MAX, GROUPS_MAX, METERS_MAX, TABLES } from "./limits.js";
export { covers, overlaps } from "./masked-key.js";
export type { InnerTag, MegaflowView } from "./megaflow.js";
export { METER_DROP } from "./meters.js";
export type { Onlookers } from "./onlookers.js";
export { changeOptions } from "./option-changes.js";
export { PathCache } from "./path-cache.js";
export { Pipeline } from "./pipeline.js";
export type {
  ControllerRequest,
  PacketSink,
  PacketWatch,
  PipelineObserver,
  PipelineOptions,
  Tracker,
} from "./pipeline-modules.js";
export { Prerequisites } from "./prerequisites.js";
export {
  type Program,
  REASONS,
  W_DESTINATION,
  W_PORTS,
  W_SOURCE,
} from "./program.js";
export { FATE_DROP, FATE_REWRITE, publishedSize } from "./published-verdicts.js";
export { isSentTo, refersToPort } from "./references.js";
export { Resumption } from "./resumption.js";
export { Rewriter } from "./rewrite.js";
export { isRowKey, isTagged } from "./row-match.js";
export { runOnKey } from "./run-on-key.js";
export { SavedOptions } from "./saved-options.js";
export { retaggingOf, type ShortRewrite, type ShortRewriter, shortRewriterOf } from "./short-rewrite.js";
export type { TableSettings } from "./table-settings.js";
export { changeTag, TAG_COMES } from "./tag-change.js";
export { type NormalTrace, type TraceOptions, type TraceSend, traceFrame } from "./trace.js";
export type { TraceEnds, TraceFlow, TraceNode, TraceRequest, TraceRun } from "./trace-nodes.js";
export { EVERY_OPTION, NXT_TLV_TABLE_MOD, TunnelOptions } from "./tunnel-options.js";
export { V_AT, V_DROP, type Verdict } from "./verdict.js";
export { NOT_FOUND } from "./verdict-cache.js";
export { UNPUBLISHED, VerdictReader } from "./verdict-reader.js";
export { type Counted, type Fate, type Station, VerdictWriter } from "./verdict-writer.js";
