// Flows that track connections, for benches and long runs: whoever is behind port 1 may open connections to port 2.
import type { Action, Instruction, Match } from "../../base/openflow/index.js";
import { apply, field, goto, output } from "./rig.js";

export type FlowEntry = readonly [table: number, match: Match, instructions: readonly Instruction[]];

type NatAction = Extract<Action, { type: "nat" }>;

function track(zone: number, tableId: number, ...actions: Action[]): Action {
  return { type: "ct", commit: false, force: false, zone, tableId, alg: 0, actions };
}
function commit(zone: number, ...actions: Action[]): Action {
  return { type: "ct", commit: true, force: false, zone, alg: 0, actions };
}
function nat(more: Partial<NatAction> = {}): NatAction {
  return { type: "nat", direction: "existing", selection: "auto", persistent: false, ...more };
}
const IP = field("eth_type", 0x800);
const FROM_1 = field("in_port", 1);
const FROM_2 = field("in_port", 2);
const NEW = field("ct_state", 0x21, 0x21);
const EST = field("ct_state", 0x22, 0x22);
const BEHIND: readonly FlowEntry[] = [
  [1, [IP, EST], [goto(2)]],
  [2, [FROM_1], [apply(output(2))]],
  [2, [FROM_2], [apply(output(1))]],
];

export const FIREWALL: readonly FlowEntry[] = [
  [0, [IP], [apply(track(1, 1))]],
  [1, [IP, NEW, FROM_1], [apply(commit(1), output(2))]],
  ...BEHIND,
];

const source = nat({ direction: "source", addressMin: Uint8Array.of(10, 2, 0, 1) });

/** The same, and everybody behind port 1 has the address 10.2.0.1. */
export const MASQUERADE: readonly FlowEntry[] = [
  [0, [IP], [apply(track(1, 1, nat()))]],
  [1, [IP, NEW, FROM_1], [apply(commit(1, source), output(2))]],
  ...BEHIND,
];
