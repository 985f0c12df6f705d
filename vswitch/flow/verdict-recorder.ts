// Writes down what the pipeline does to a packet, so that the next one with the same key needs no lookup.
// Invariant: what is kept follows from the key alone. Whatever depends on anything else, or has an effect besides
// leaving by a port (learning, packet-ins …), gives the recording up. A meter is kept as one to be asked, a ct() as what
// is to be done again; one that sends the packet into a table is the last that is kept, for what follows depends on more.
// Thread: datapath worker. Hot: yes (begin, met), as long as packets come that the cache does not know.
import { OFPP_CONTROLLER, OFPP_MAX, OFPP_NORMAL, OFPP_TABLE } from "../../base/openflow/index.js";
import type { CtProgram } from "./ct-program.js";
import type { Flow } from "./flow.js";
import type { Group, GroupBucket } from "./groups.js";
import { K_ACTSET_OUTPUT, K_IN_PORT, K_IP, K_PIPELINE, K_TYPE_TCI, KEY_WORDS, OFPP_UNSET } from "./key.js";
import { PATH_LENGTH_MAX, VERDICT_WORDS_MAX } from "./limits.js";
import {
  OP_DEC_NW_TTL,
  OP_DEC_TTL_IDS,
  OP_OUTPUT,
  OP_POP_VLAN,
  OP_PUSH_VLAN,
  OP_SET,
  OP_SET_NW_TTL,
  OP_SET_QUEUE,
  W_OPTION,
} from "./program.js";
import { hasOptions } from "./saved-options.js";
import {
  PIPELINE_WORDS,
  V_AT,
  V_BUCKET,
  V_CT,
  V_CT_LIVE,
  V_DROP,
  V_GROUP,
  V_LEAVE,
  V_METER,
} from "./verdict.js";

/** EtherType, and whether there is a tag. */
const TYPE_AND_TAG = 0xffff1000 | 0;
const PROTOCOL = 0xff000000 | 0;
const TTL = 0xff00;

/** Operations that bring no words into the key that a plain frame does not have. */
const KEEPS_PLAIN = Int32Array.of(OP_SET, OP_PUSH_VLAN, OP_POP_VLAN, OP_SET_NW_TTL);

/** V_AT and its operands. */
const V_AT_WORDS = 3;

export class VerdictRecorder {
  /** A recording goes on. */
  active = false;
  /** Bits of the key that what was recorded follows from; no others matter, while isMaskable. */
  readonly consulted = new Int32Array(KEY_WORDS);
  isMaskable = false;
  /** The pipeline words that the run began with: where a ct() finds the same, it is kept as V_CT_LIVE. */
  startKey: Int32Array | null = null;
  /** There is a V_CT_LIVE. */
  isLive = false;
  /** onRunEnd is to be called when the run through the tables is over. */
  armed = false;
  onRunEnd: () => void = () => undefined;
  /** Of the packet that was tracked last: what it was found to be (Tracker.found, epochOf), and its ct_state. */
  found = -1;
  epoch = 0;
  state = 0;
  /** Nothing has given it up. */
  isWhole = false;
  /** Lookups so far: the table of each, and what was found in it. */
  lookups = 0;
  readonly tables = new Int32Array(PATH_LENGTH_MAX);
  readonly flows: (Flow | null)[] = new Array<Flow | null>(PATH_LENGTH_MAX).fill(null);
  /** Words of the code so far. */
  length = 0;
  readonly code = new Int32Array(VERDICT_WORDS_MAX);
  readonly cts: CtProgram[] = [];
  readonly groups: Group[] = [];
  readonly buckets: GroupBucket[] = [];
  isMetered = false;
  /** Where the V_CT stands that the packet leaves for a table by; −1: there is none. */
  tail = -1;
  needsKey = false;
  /** in_port and the pipeline words before the ct() in hand. */
  readonly #before = new Int32Array(1 + PIPELINE_WORDS);
  /** The same words are what they were when the run began. */
  #isAsBegun = false;
  #flow: Flow | null = null;
  #tableId = -1;
  #depth = 0;

  /** `masked`: it is a packet that has just come in, and what it is known by may be less than its whole key. */
  begin(masked: boolean): void {
    this.active = true;
    this.startKey = null;
    this.isLive = false;
    this.isMaskable = masked;
    if (masked) {
      this.consulted.fill(0);
      // What the frames are is always part of it: what is done to them asks for no more.
      this.consulted[K_IN_PORT] = -1;
      this.consulted[K_TYPE_TCI] = TYPE_AND_TAG;
      this.consulted[K_IP] = PROTOCOL;
    }
    this.isWhole = true;
    this.needsKey = false;
    this.lookups = 0;
    this.length = 0;
    this.cts.length = 0;
    this.groups.length = 0;
    this.buckets.length = 0;
    this.isMetered = false;
    this.#depth = 0;
    this.tail = -1;
    this.#flow = null;
    this.#tableId = -1;
  }

  /** What follows does not follow from the key. */
  giveUp(): void {
    this.active = false;
    this.isWhole = false;
  }

  /** A lookup in the table found the flow, or none. */
  met(tableId: number, flow: Flow | null): void {
    if (this.lookups >= PATH_LENGTH_MAX || this.tail >= 0) {
      this.giveUp();
      return;
    }
    this.tables[this.lookups] = tableId;
    this.flows[this.lookups++] = flow;
  }

  output(port: number, inPort: number, maxLength: number, tableId: number, flow: Flow | null): void {
    if (port === OFPP_TABLE || port === OFPP_CONTROLLER) this.giveUp();
    if (port > OFPP_MAX || port === inPort) this.needsKey = true;
    this.#at(tableId, flow);
    this.#add(OP_OUTPUT);
    this.#add(port | 0);
    this.#add(maxLength);
  }

  drop(reason: number, tableId: number, flow: Flow | null): void {
    this.#at(tableId, flow);
    this.#add(V_DROP);
    this.#add(reason);
  }

  /** An operation on the packet's headers whose operands say all: code[from] up to code[to]. */
  operation(code: Int32Array, from: number, to: number, tableId: number, flow: Flow | null): void {
    this.needsKey = true;
    const op = code[from]!;
    // What is kept has no room for the options of tunnels.
    if (op === OP_SET && code[from + 1]! >= W_OPTION) this.giveUp();
    if (op === OP_DEC_NW_TTL || op === OP_DEC_TTL_IDS) this.consulted[K_IP] = this.consulted[K_IP]! | TTL;
    else if (op < OP_SET_QUEUE && KEEPS_PLAIN.indexOf(op) < 0) this.isMaskable = false;
    this.#at(tableId, flow);
    for (let i = from; i < to; i++) this.#add(code[i]!);
  }

  /** What happened is no example of what happens to others: nothing of it is kept. */
  abandon(): void {
    this.active = false;
    this.armed = false;
  }

  group(group: Group, tableId: number, flow: Flow | null): void {
    this.#at(tableId, flow);
    this.#add(V_GROUP);
    this.#add(this.groups.length);
    this.groups.push(group);
  }

  /** Returns what leaveBucket() is to be given. */
  enterBucket(bucket: GroupBucket): number {
    this.#depth++;
    const at = this.length;
    this.#add(V_BUCKET);
    this.#add(this.buckets.length);
    this.#add(0);
    this.buckets.push(bucket);
    return at;
  }

  leaveBucket(at: number): void {
    if (!this.active) return;
    this.#depth--;
    this.code[at + 2] = this.length;
    this.#add(V_LEAVE);
  }

  /** The meter lets the packet pass, or drops it: that is for the meter to say each time. */
  meter(meterId: number, tableId: number, flow: Flow | null): void {
    // A packet that a meter drops inside a bucket goes on behind it.
    if (this.#depth > 0 || this.isLive) this.giveUp();
    this.isMetered = true;
    this.#at(tableId, flow);
    this.#add(V_METER);
    this.#add(meterId);
    this.#add(this.lookups);
  }

  /** What follows depends on bits that nobody has noted. */
  needsWholeKey(): void {
    this.isMaskable = false;
  }

  /** A ct() is about to be done. */
  beforeCt(key: Int32Array): void {
    if (hasOptions(key)) this.giveUp();
    this.#isAsBegun = this.startKey !== null && hasWordsOf(this.startKey, key);
    this.#before[0] = key[K_IN_PORT]!;
    for (let i = 0; i < PIPELINE_WORDS; i++) this.#before[1 + i] = key[K_PIPELINE + i]!;
  }

  /** It has been done, and the packet may go on. */
  ct(ct: CtProgram, zone: number, tableId: number, flow: Flow | null): void {
    this.#at(tableId, flow);
    if (this.#isAsBegun && ct.tableId < 0 && !this.isMetered) {
      this.#live(ct);
      return;
    }
    // The words are those of this packet.
    if (this.startKey !== null) this.isMaskable = false;
    const at = this.length;
    // Packets are counted before they are tracked.
    if (this.isMetered && ct.tableId >= 0) this.giveUp();
    if (ct.tableId < 0 || at > V_AT_WORDS) this.needsKey = true;
    this.#add(V_CT);
    this.#add(this.cts.length);
    this.#add(zone);
    for (let i = 0; i <= PIPELINE_WORDS; i++) this.#add(this.#before[i]!);
    this.#add(this.lookups);
    this.cts.push(ct);
    if (ct.tableId < 0) return;
    this.tail = at;
    // A zone that the packet's own bytes say is in none of the bits that the tables looked at.
    if (ct.zone < 0 && ct.zoneWord < K_PIPELINE) this.isMaskable = false;
  }

  #live(ct: CtProgram): void {
    this.isLive = true;
    this.needsKey = true;
    this.#add(V_CT_LIVE);
    this.#add(this.cts.length);
    this.#add(this.lookups);
    this.cts.push(ct);
  }

  /** A packet was tracked, and is of this connection. */
  tracked(found: number, epoch: number, state: number): void {
    this.found = found;
    this.epoch = epoch;
    this.state = state;
  }

  /** More is done to the packet than to let it leave for a table. */
  get acts(): boolean {
    return this.tail < 0 ? this.length > 0 : this.tail > V_AT_WORDS;
  }

  /** NORMAL is all that happens to the packet. */
  get isNormal(): boolean {
    return this.#isOneOutput && this.code[4]! >>> 0 === OFPP_NORMAL;
  }

  /** The port that the packet goes to, when nothing else happens to it; −1 otherwise. */
  get onlyPort(): number {
    return !this.needsKey && this.#isOneOutput ? this.code[4]! : -1;
  }

  /** V_AT and OP_OUTPUT, each with its operands, and nothing else. */
  get #isOneOutput(): boolean {
    return this.length === 6 && this.code[3] === OP_OUTPUT;
  }

  #add(word: number): void {
    if (this.length < VERDICT_WORDS_MAX && this.tail < 0) this.code[this.length++] = word;
    else this.giveUp();
  }

  /** Drops are counted for the flow that caused them: say which one it is from here on. */
  #at(tableId: number, flow: Flow | null): void {
    if (this.length > 0 && flow === this.#flow && tableId === this.#tableId) return;
    this.#flow = flow;
    this.#tableId = tableId;
    let index = flow === null ? -1 : this.lookups - 1;
    while (index >= 0 && this.flows[index] !== flow) index--;
    if (flow !== null && index < 0) this.giveUp();
    this.#add(V_AT);
    this.#add(tableId);
    this.#add(index);
  }
}

/** Whether the pipeline words are the same; what the action set puts out is written anew by every run. */
function hasWordsOf(start: Int32Array, key: Int32Array): boolean {
  for (let i = K_PIPELINE; i < KEY_WORDS; i++)
    if (start[i]! !== key[i]! && i !== K_ACTSET_OUTPUT) return false;
  return key[K_ACTSET_OUTPUT] === OFPP_UNSET;
}
