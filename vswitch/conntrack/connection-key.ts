// A connection in the flow key: its mark, its label, the tuple of its first packet, and what was done to the packet.
// Source: ovs-fields(7), Conntrack fields. Thread: datapath worker. Hot: yes.
import { CT_STATE_DNAT, CT_STATE_SNAT } from "../../base/openflow/index.js";
import { type CtProgram, FlowKey, runOnKey } from "../flow/index.js";
import { tupleAt } from "./connection-memory.js";
import { type ConnectionTable, ORIGINAL } from "./connection-table.js";
import type { Expectations } from "./expectations.js";
import { isIcmp, protocolOf, T_KIND, T_PORTS } from "./tuple.js";

/** Mark, label and first packet's tuple of the connection into the key. */
export function tellConnection(table: ConnectionTable, connection: number, key: Int32Array): void {
  writeTuple(key, table.tuples, tupleAt(connection * 2));
  key[FlowKey.K_CT_MARK] = table.marks[connection]!;
  for (let i = 0; i < 4; i++) key[FlowKey.K_CT_LABEL + i] = table.labels[connection * 4 + i]!;
}

/** The same of a connection that is expected: all of it from its parent. */
export function tellExpected(expectations: Expectations, expected: number, key: Int32Array): void {
  const words = expectations.words();
  writeTuple(key, words, expectations.parentAt(expected));
  key[FlowKey.K_CT_MARK] = expectations.mark(expected);
  for (let i = 0; i < 4; i++) key[FlowKey.K_CT_LABEL + i] = words[expectations.labelAt(expected) + i]!;
}

/** Does what exec() says to mark and label. */
export function markConnection(
  table: ConnectionTable,
  connection: number,
  key: Int32Array,
  ct: CtProgram,
  dry: boolean,
): void {
  if (ct.program === null) return;
  runOnKey(ct.program, key);
  if (dry) return;
  let changed = table.marks[connection]! ^ key[FlowKey.K_CT_MARK]!;
  table.marks[connection] = key[FlowKey.K_CT_MARK]!;
  for (let i = 0; i < 4; i++) {
    changed |= table.labels[connection * 4 + i]! ^ key[FlowKey.K_CT_LABEL + i]!;
    table.labels[connection * 4 + i] = key[FlowKey.K_CT_LABEL + i]!;
  }
  if (changed !== 0) table.changed(connection);
}

/** What has been done to a packet of that direction: the answers to what has a new source get a new destination. */
export function translationBit(sourceTranslated: boolean, direction: number): number {
  return sourceTranslated === (direction === ORIGINAL) ? CT_STATE_SNAT : CT_STATE_DNAT;
}

/** The tuple at `at` into the ct words of the key; ICMP shows its type and code as ports. */
export function writeTuple(key: Int32Array, tuples: Int32Array, at: number): void {
  const protocol = protocolOf(tuples[at + T_KIND]!);
  const ports = tuples[at + T_PORTS]!;
  key[FlowKey.K_CT_ZONE] = (protocol << 24) | (tuples[at + T_KIND]! & 0xffff);
  for (let i = 0; i < 8; i++) key[FlowKey.K_CT_SRC + i] = tuples[at + i]!;
  key[FlowKey.K_CT_TP] = isIcmp(protocol) ? ((ports & 0xff00) << 8) | (ports & 0xff) : ports;
}
