import { expect, it } from "vitest";
import { encodeMessage, type FlowMod, type Instruction, parseMessage } from "../../base/openflow/index.js";
import { apply, field, flowMod, goto, output } from "../testing/rig.js";
import { FlowTables } from "./flow-tables.js";

const add = (port: number, instructions: readonly Instruction[], tableId = 0): FlowMod =>
  parseMessage(encodeMessage(flowMod({ tableId, match: [field("in_port", port)], instructions }))) as FlowMod;

it("flows that do the same share their list and its program; those of another table do not", () => {
  const tables = new FlowTables();
  const actions = [apply(output(7)), goto(9)];
  for (const mod of [add(1, actions), add(2, actions), add(3, actions, 4), add(4, [apply(output(8))])])
    tables.applyFlowMod(mod, 0);
  const [first, second] = tables.flowsOf(0).filter(({ program }) => program.gotoTable === 9);
  expect(second?.instructions).toBe(first?.instructions);
  expect(second?.program).toBe(first?.program);
  const [elsewhere] = tables.flowsOf(4);
  expect(elsewhere?.program).not.toBe(first?.program);
  expect(elsewhere?.program).toEqual(first?.program);
  const [other] = tables.flowsOf(0).filter(({ program }) => program.gotoTable < 0);
  expect(Array.from(other?.program.apply?.code ?? [])).toEqual([1, 8, 0xffff]);
});

it("what depends on more than the list is looked at for each flow", () => {
  const tables = new FlowTables();
  const toGroup = [apply({ type: "group", groupId: 1 })];
  tables.applyGroupMod(
    { type: "group_mod", xid: 1, command: "add", groupType: "all", groupId: 1, buckets: [] },
    0,
  );
  tables.applyFlowMod(add(1, toGroup), 0);
  tables.applyGroupMod(
    { type: "group_mod", xid: 2, command: "delete", groupType: "all", groupId: 1, buckets: [] },
    0,
  );
  expect(() => tables.applyFlowMod(add(2, toGroup), 0)).toThrow(/there is no group 1/);
  // The table that a flow goes on in must lie behind its own.
  tables.applyFlowMod(add(3, [goto(2)], 1), 0);
  expect(() => tables.applyFlowMod(add(3, [goto(2)], 3), 0)).toThrow(/cannot go to 2/);
});
