// A learn action, checked and made ready: from the key of a packet to the key and actions of the flow to learn.
// Source: ovs-actions(7), learn. Thread: datapath worker.
import {
  type Action,
  type BitRange,
  type FlowMod,
  type Instruction,
  type LearnAction,
  type LearnSpec,
  type Match,
  OFP_NO_BUFFER,
  OFPFF_SEND_FLOW_REM,
  OFPG_ANY,
  OFPP_ANY,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
  prerequisiteHolds,
} from "../../base/openflow/index.js";
import { pieces, rangeStart, requireNarrow, requireWritable, wholeOf } from "./compile-fields.js";
import { flowError } from "./errors.js";
import { entryOf, getBits, type MaskedKey, type OptionMap, ones, putBits, thereBit } from "./fields.js";
import type { Flow } from "./flow.js";
import * as K from "./key.js";
import { SCRATCH_BITS } from "./program.js";
import { moveBits } from "./run-on-key.js";

const WHOLE_PACKET = 0xffff;
const VALUE_WORDS = SCRATCH_BITS / 32;

/** A load or output of the learned flow; its value lies in the values at `index` × VALUE_WORDS. */
interface LearnedAction {
  readonly destination: BitRange | null;
  readonly bits: number;
}

/** What a flow was taught: by what action, and with which values. */
export interface Lesson {
  readonly signature: string;
  readonly values: Int32Array;
}

/** The parts of a learn action that do not change from packet to packet. */
interface LearnPlan {
  readonly action: LearnAction;
  /** Of the learned flow's key. */
  readonly mask: Int32Array;
  /** What of its value does not depend on the packet. */
  readonly fixed: Int32Array;
  /** Pieces from the packet's key to the flow's. */
  readonly copies: Int32Array;
  /** A 16-bit port is among what is matched. */
  readonly widensPort: boolean;
  readonly fields: readonly OxmFieldName[];
  readonly options: OptionMap | undefined;
  readonly actions: readonly LearnedAction[];
  readonly fixedValues: Int32Array;
  /** Pieces from the packet's key to the values of the actions. */
  readonly valueCopies: Int32Array;
}

export class LearnProgram {
  readonly action: LearnAction;
  readonly plan: LearnPlan;
  /** The key of the flow that the packet in hand teaches; overwritten by the next. */
  readonly key: MaskedKey;
  /** What that flow loads and where it outputs to; overwritten likewise. */
  readonly values: Int32Array;
  /** Equal for actions that teach the same. */
  readonly #signature: string;

  constructor(plan: LearnPlan) {
    this.action = plan.action;
    this.plan = plan;
    this.key = { value: new Int32Array(plan.mask.length), mask: plan.mask };
    this.values = new Int32Array(plan.fixedValues.length);
    this.#signature = JSON.stringify(plan.action, (_, value: unknown) =>
      typeof value === "bigint" ? `${value}` : value,
    );
  }

  /** Whether the flow is what would be learned now. */
  taught(flow: Flow): boolean {
    const { learned } = flow;
    if (learned === null || learned.signature !== this.#signature) return false;
    for (let i = 0; i < this.values.length; i++) if (learned.values[i] !== this.values[i]) return false;
    return true;
  }

  /** Copies, for a flow to keep. */
  keyNow(): MaskedKey {
    return { value: this.key.value.slice(), mask: this.plan.mask };
  }

  lessonNow(): Lesson {
    return { signature: this.#signature, values: this.values.slice() };
  }
}

/** Throws OFPBAC_MATCH_INCONSISTENT or OFPBAC_BAD_SET_TYPE. */
export function compileLearn(action: LearnAction, options?: OptionMap): LearnProgram {
  const words = wordsOf(action, options);
  const mask = new Int32Array(words);
  const fixed = new Int32Array(words);
  const copies: number[] = [];
  const fields = new Set<OxmFieldName>();
  const outputs = action.specs.filter((spec) => spec.kind !== "match");
  const fixedValues = new Int32Array(outputs.length * VALUE_WORDS);
  const valueCopies: number[] = [];
  const match: OxmEntry[] = [];
  for (const spec of action.specs) {
    if (spec.kind !== "match") continue;
    checkMatch(spec, match);
    const { destination, source } = spec;
    const start = rangeStart(destination, options);
    fields.add(destination.field);
    if (start >= 32 * K.K_OPTIONS) {
      putBits(mask, thereBit(destination.field), 1, 1n);
      putBits(fixed, thereBit(destination.field), 1, 1n);
    }
    putBits(mask, start, destination.bits, ones(destination.bits));
    if (typeof source === "bigint") putBits(fixed, start, destination.bits, source);
    else copies.push(...pieces(rangeStart(source, options), start, source.bits));
  }
  outputs.forEach((spec, index) => {
    const bits = spec.kind === "output" ? spec.source.bits : spec.destination.bits;
    if (spec.kind === "load") checkLoad(spec.destination, match);
    const start = (index + 1) * SCRATCH_BITS - bits;
    if (spec.kind === "load") requireNarrow(spec.destination);
    if (typeof spec.source === "bigint") putBits(fixedValues, start, bits, spec.source);
    else valueCopies.push(...pieces(rangeStart(spec.source, options), start, bits));
  });
  const widensPort = fields.delete("nxm_in_port");
  if (widensPort) {
    fields.add("in_port");
    mask[K.K_IN_PORT] = -1;
  }
  return new LearnProgram({
    action,
    mask,
    fixed,
    copies: Int32Array.from(copies),
    widensPort,
    fields: [...fields],
    options,
    actions: outputs.map((spec) =>
      spec.kind === "output"
        ? { destination: null, bits: spec.source.bits }
        : { destination: spec.destination, bits: spec.destination.bits },
    ),
    fixedValues,
    valueCopies: Int32Array.from(valueCopies),
  });
}

/** How many words the key of the learned flow needs. */
function wordsOf({ specs }: LearnAction, options: OptionMap | undefined): number {
  const ends = specs.map((spec) => {
    const place = spec.kind === "match" ? options?.find(spec.destination.field) : undefined;
    return place === undefined ? 0 : (place.start + place.bits) >>> 5;
  });
  return Math.max(K.KEY_WORDS, ...ends);
}

/** The learned match must ask for what its fields need, by fixed values that stand before them. */
function checkMatch(spec: Extract<LearnSpec, { kind: "match" | "load" }>, match: OxmEntry[]): void {
  const { field, bits } = spec.destination;
  if (!prerequisiteHolds(OXM_FIELDS[field].prerequisite, match))
    throw flowError("OFPBAC_MATCH_INCONSISTENT", `learn does not match what ${field} needs`);
  if (typeof spec.source === "bigint" && bits === OXM_FIELDS[field].bits)
    match.push(entryOf(field, spec.source & ones(bits)));
}

function checkLoad({ field }: BitRange, match: Match): void {
  requireWritable(field);
  if (!prerequisiteHolds(OXM_FIELDS[field].prerequisite, match))
    throw flowError("OFPBAC_MATCH_INCONSISTENT", `learn does not match what ${field} needs`);
}

/** Puts key and values of the flow to learn from a packet with `key` into the program's own. */
export function learnFrom(program: LearnProgram, key: Int32Array): void {
  const { plan, values } = program;
  const { value } = program.key;
  value.set(plan.fixed);
  moveBits(plan.copies, 0, plan.copies.length / 5, key, value);
  if (plan.widensPort) K.widenPort(value);
  values.set(plan.fixedValues);
  moveBits(plan.valueCopies, 0, plan.valueCopies.length / 5, key, values);
}

/** The flow-mod for what was learned last. */
export function learnedMod(program: LearnProgram): FlowMod {
  const { action, plan } = program;
  return {
    type: "flow_mod",
    xid: 0,
    command: "add",
    tableId: action.tableId,
    cookie: action.cookie,
    cookieMask: 0n,
    idleTimeoutSeconds: action.idleTimeoutSeconds,
    hardTimeoutSeconds: action.hardTimeoutSeconds,
    priority: action.priority,
    bufferId: OFP_NO_BUFFER,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    flags: action.sendFlowRemoved ? OFPFF_SEND_FLOW_REM : 0,
    match: plan.fields.map((name) => entryOfKey(name, program.key, plan.options)),
    instructions: learnedInstructions(plan, program.values),
  };
}

function entryOfKey(name: OxmFieldName, { value, mask }: MaskedKey, options?: OptionMap): OxmEntry {
  const range = wholeOf(name, options);
  const { bits } = range;
  const size = OXM_FIELDS[name].isVariable ? bits >>> 3 : OXM_FIELDS[name].size;
  const start = rangeStart(range, options);
  const entry = entryOf(name, getBits(value, start, bits), size);
  const maskBits = getBits(mask, start, bits);
  return maskBits === ones(bits) ? entry : { ...entry, mask: entryOf(name, maskBits, size).value };
}

/** The instructions of a learned flow with these `values`. */
function learnedInstructions(program: LearnPlan, values: Int32Array): readonly Instruction[] {
  const { finIdleTimeoutSeconds, finHardTimeoutSeconds } = program.action;
  const actions: Action[] = [];
  program.actions.forEach(({ destination, bits }, index) => {
    const value = getBits(values, (index + 1) * SCRATCH_BITS - bits, bits);
    if (destination === null) {
      const port = Number(value);
      // What is no 16-bit port number is not output to.
      if (port !== 0 && port < 0xffff)
        actions.push({
          type: "output",
          port: K.widenNumber(port),
          maxLength: WHOLE_PACKET,
        });
      return;
    }
    // A load sets at most 64 bits.
    for (let offset = 0; offset < bits; offset += 64) {
      const width = Math.min(64, bits - offset);
      actions.push({
        type: "load",
        destination: { field: destination.field, offset: destination.offset + offset, bits: width },
        value: (value >> BigInt(offset)) & ones(width), // cold
      });
    }
  });
  if (finIdleTimeoutSeconds !== 0 || finHardTimeoutSeconds !== 0)
    actions.push({
      type: "fin_timeout",
      idleTimeoutSeconds: finIdleTimeoutSeconds,
      hardTimeoutSeconds: finHardTimeoutSeconds,
    });
  return actions.length === 0 ? [] : [{ type: "apply_actions", actions }];
}
