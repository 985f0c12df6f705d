// Writes down what the pipeline does to a packet, so that the next one with the same key needs no lookup.
// Invariant: what is kept follows from the key alone. Whatever depends on anything else, or has an effect besides
// leaving by a port (connection tracking, meters, groups, learning, packet-ins …), gives the recording up.
// Thread: datapath worker. Hot: no (only packets that the cache does not know).
import { OFPP_CONTROLLER, OFPP_MAX, OFPP_NORMAL, OFPP_TABLE } from "../../base/openflow/index.js";
import type { Flow } from "./flow.js";
import { PATH_LENGTH_MAX, VERDICT_WORDS_MAX } from "./limits.js";
import { OP_OUTPUT } from "./program.js";
import { V_AT, V_DROP } from "./verdict.js";

export class VerdictRecorder {
  /** A recording goes on. */
  active = false;
  /** Nothing has given it up. */
  isWhole = false;
  readonly tables: number[] = [];
  readonly flows: (Flow | null)[] = [];
  readonly code: number[] = [];
  needsKey = false;
  #flow: Flow | null = null;
  #tableId = -1;

  begin(): void {
    this.active = true;
    this.isWhole = true;
    this.needsKey = false;
    this.tables.length = 0;
    this.flows.length = 0;
    this.code.length = 0;
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
    if (this.flows.length >= PATH_LENGTH_MAX) this.giveUp();
    this.tables.push(tableId);
    this.flows.push(flow);
  }

  output(port: number, inPort: number, maxLength: number, tableId: number, flow: Flow | null): void {
    if (port === OFPP_TABLE || port === OFPP_CONTROLLER) this.giveUp();
    if (port > OFPP_MAX || port === inPort) this.needsKey = true;
    this.#at(tableId, flow);
    this.code.push(OP_OUTPUT, port | 0, maxLength);
  }

  drop(reason: number, tableId: number, flow: Flow | null): void {
    this.#at(tableId, flow);
    this.code.push(V_DROP, reason);
  }

  /** An operation on the packet's headers whose operands say all: code[from] up to code[to]. */
  operation(code: Int32Array, from: number, to: number, tableId: number, flow: Flow | null): void {
    this.needsKey = true;
    this.#at(tableId, flow);
    for (let i = from; i < to; i++) this.code.push(code[i]!);
  }

  /** NORMAL is all that happens to the packet. */
  get isNormal(): boolean {
    const { code } = this;
    return code.length === 6 && code[3] === OP_OUTPUT && code[4]! >>> 0 === OFPP_NORMAL;
  }

  /** The port that the packet goes to, when nothing else happens to it; −1 otherwise. */
  get onlyPort(): number {
    const { code } = this;
    return !this.needsKey && code.length === 6 && code[3] === OP_OUTPUT ? code[4]! : -1;
  }

  /** Drops are counted for the flow that caused them: say which one it is from here on. */
  #at(tableId: number, flow: Flow | null): void {
    if (this.code.length > 0 && flow === this.#flow && tableId === this.#tableId) return;
    this.#flow = flow;
    this.#tableId = tableId;
    const index = flow === null ? -1 : this.flows.lastIndexOf(flow);
    if ((flow !== null && index < 0) || this.code.length > VERDICT_WORDS_MAX) this.giveUp();
    this.code.push(V_AT, tableId, index);
  }
}
