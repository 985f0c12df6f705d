// Actions of connection tracking for tests of what becomes of tracked packets.
import type { Action } from "../../base/openflow/index.js";
import { field } from "./rig.js";

type NatAction = Extract<Action, { type: "nat" }>;
export const nat = (more: Partial<NatAction> = {}): NatAction => ({
  type: "nat",
  direction: "existing",
  selection: "auto",
  persistent: false,
  ...more,
});
export const masquerade = nat({ direction: "source", addressMin: Uint8Array.of(10, 2, 0, 1) });
export const mark = (value: number): Action => ({ type: "set_field", ...field("ct_mark", value) });
export const ct = (
  commit: boolean,
  zone: number,
  tableId: number | undefined,
  ...actions: Action[]
): Action => ({
  type: "ct",
  commit,
  force: false,
  zone,
  alg: 0,
  actions,
  ...(tableId === undefined ? {} : { tableId }),
});
