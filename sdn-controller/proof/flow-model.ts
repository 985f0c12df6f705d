// An interpreter of compiled flows on packets given as field values: slow, obvious, and independent of any switch. It
// says where a packet comes out and through which flows, so it serves tests and "policy explain". It knows exactly the
// actions that the pipeline uses. Connection tracking is a map of tuples. Pure apart from that map.
import { assert } from "../../base/assert/index.js";
import {
  type Action,
  CT_STATE_EST,
  CT_STATE_NEW,
  CT_STATE_RPL,
  CT_STATE_TRK,
  type CtAction,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OXM_FIELDS,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import type { Flow } from "../pipeline/flow.js";

/** Field values of one packet; an absent field is 0. */
export type Fields = { [Field in OxmFieldName]?: number | bigint };

export interface ModelResult {
  /** Ports the packet left through, with the fields it had. */
  readonly outputs: readonly { readonly port: number; readonly fields: Fields }[];
  readonly toController: boolean;
  /** Every flow that the packet hit, in order. */
  readonly path: readonly Flow[];
}

interface Connection {
  readonly tuple: string;
  mark: number;
}

export class FlowModel {
  readonly #tables = new Map<number, Flow[]>();
  readonly #connections = new Map<string, Connection>();

  constructor(flows: Iterable<Flow>) {
    this.replace(flows);
  }

  /** Other flows, same connections. */
  replace(flows: Iterable<Flow>): void {
    this.#tables.clear();
    for (const flow of flows) {
      const table = this.#tables.get(flow.tableId) ?? [];
      table.push(flow);
      this.#tables.set(flow.tableId, table);
    }
    for (const table of this.#tables.values()) table.sort((a, b) => b.priority - a.priority);
  }

  run(packet: Fields): ModelResult {
    const outputs: { port: number; fields: Fields }[] = [];
    const path: Flow[] = [];
    const state = { fields: { ...packet }, outputs, path, toController: false };
    this.#table(0, state);
    return { outputs, path, toController: state.toController };
  }

  #table(id: number, state: RunState): void {
    const flow = bestOf(this.#tables.get(id) ?? [], state.fields);
    if (flow === undefined) return;
    state.path.push(flow);
    for (const instruction of flow.instructions) {
      if (instruction.type === "apply_actions")
        for (const action of instruction.actions) this.#act(action, state);
      else if (instruction.type === "goto_table") this.#table(instruction.tableId, state);
      else assert(false, `the model does not know ${instruction.type}`);
    }
  }

  #act(action: Action, state: RunState): void {
    const { fields } = state;
    switch (action.type) {
      case "load":
        loadInto(
          fields,
          action.destination.field,
          action.destination.offset,
          action.destination.bits,
          Number(action.value),
        );
        break;
      case "move":
        fields[action.destination.field] = fields[action.source.field] ?? 0;
        break;
      case "set_field":
        fields[action.field] =
          action.value.byteLength > 6 ? bigOf(action.value) : Number(bigOf(action.value));
        break;
      case "output":
        if (action.port === OFPP_CONTROLLER) state.toController = true;
        else if (action.port === OFPP_IN_PORT)
          state.outputs.push({ port: Number(fields.in_port ?? 0), fields: { ...fields } });
        else if (action.port !== fields.in_port)
          state.outputs.push({ port: action.port, fields: { ...fields } });
        break;
      case "ct":
        this.#track(action, state);
        break;
      default:
        assert(false, `the model does not know ${action.type}`);
    }
  }

  #track(action: CtAction, state: RunState): void {
    const { fields } = state;
    assert(typeof action.zone === "number", "zones are numbers here");
    const forward = tupleOf(action.zone, fields, false);
    const backward = tupleOf(action.zone, fields, true);
    let connection = this.#connections.get(forward) ?? this.#connections.get(backward);
    if (action.commit) {
      if (connection === undefined) {
        connection = { tuple: forward, mark: 0 };
        this.#connections.set(forward, connection);
      }
      for (const inner of action.actions) {
        assert(inner.type === "load" && inner.destination.field === "ct_mark", "only ct_mark is loaded");
        const marked: Fields = { ct_mark: connection.mark };
        loadInto(marked, "ct_mark", inner.destination.offset, inner.destination.bits, Number(inner.value));
        connection.mark = Number(marked.ct_mark ?? 0);
      }
      return;
    }
    if (action.tableId === undefined) return;
    const reply = connection !== undefined && connection.tuple !== forward;
    const bits = connection === undefined ? CT_STATE_NEW : CT_STATE_EST | (reply ? CT_STATE_RPL : 0);
    const copy = {
      ...fields,
      ct_state: bits | CT_STATE_TRK,
      ct_zone: action.zone,
      ct_mark: connection?.mark ?? 0,
    };
    const fork: RunState = { ...state, fields: copy };
    this.#table(action.tableId, fork);
    state.toController ||= fork.toController;
  }
}

interface RunState {
  fields: Fields;
  readonly outputs: { port: number; fields: Fields }[];
  readonly path: Flow[];
  toController: boolean;
}

/**
 * The flow that a packet hits, of those of one table in order of priority. Clauses are looked at after the ordinary flows
 * of their priority; when all of a conjunction hold, the flow that matches its number is hit.
 */
function bestOf(flows: readonly Flow[], fields: Fields): Flow | undefined {
  for (let start = 0, end = 0; start < flows.length; start = end) {
    const priority = flows[start]?.priority;
    while (flows[end]?.priority === priority && end < flows.length) end++;
    const hit = flows.slice(start, end).filter((flow) => hits(flow, fields));
    const ordinary = hit.find(({ clauses }) => clauses === undefined);
    if (ordinary !== undefined) return ordinary;
    const held = new Map<number, Set<number>>();
    for (const { id, clause, clauseCount } of hit.flatMap((flow) => flow.clauses ?? [])) {
      const own = held.get(id) ?? new Set();
      held.set(id, own.add(clause));
      if (own.size < clauseCount) continue;
      const whole = flows.find((one) => one.clauses === undefined && hits(one, { ...fields, conj_id: id }));
      if (whole !== undefined) return whole;
    }
  }
  return undefined;
}

function hits(flow: Flow, fields: Fields): boolean {
  return flow.match.every((entry) => {
    const value = BigInt(fields[entry.field] ?? 0);
    const mask =
      entry.mask === undefined ? (1n << BigInt(OXM_FIELDS[entry.field].bits)) - 1n : bigOf(entry.mask);
    return (value & mask) === bigOf(entry.value);
  });
}

function tupleOf(zone: number, fields: Fields, reversed: boolean): string {
  const source = `${fields.ipv6_src ?? fields.ipv4_src ?? 0}:${fields.tcp_src ?? fields.udp_src ?? 0}`;
  const destination = `${fields.ipv6_dst ?? fields.ipv4_dst ?? 0}:${fields.tcp_dst ?? fields.udp_dst ?? 0}`;
  const ends = reversed ? `${destination} ${source}` : `${source} ${destination}`;
  return `${zone} ${fields.ip_proto ?? 0} ${ends}`;
}

function loadInto(fields: Fields, field: OxmFieldName, offset: number, bits: number, value: number): void {
  const mask = ((1n << BigInt(bits)) - 1n) << BigInt(offset);
  const before = BigInt(fields[field] ?? 0);
  fields[field] = Number((before & ~mask) | ((BigInt(value) << BigInt(offset)) & mask));
}

function bigOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = value * 256n + BigInt(byte);
  return value;
}
