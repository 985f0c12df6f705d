// The real flow tables against the readable statement of what they must do: any sequence of flow-mods leaves both
// with the same flows, and both refuse the same ones with the same error.
import fc from "fast-check";
import { expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import {
  ALL_FLOWS,
  type FlowMod,
  type FlowRemoved,
  type FlowStats,
  type Match,
  OFP_NO_BUFFER,
  OFPFF_CHECK_OVERLAP,
  OFPFF_SEND_FLOW_REM,
  OFPG_ANY,
  OFPP_ANY,
  OFPTT_ALL,
  type OxmEntry,
  type Unsent,
} from "../../base/openflow/index.js";
import { FlowTables } from "../flow/index.js";
import { MemorySwitch } from "./memory-switch.js";

const IPV4: OxmEntry = { field: "eth_type", value: Uint8Array.of(8, 0) };
const inPort = (port: number): OxmEntry => ({ field: "in_port", value: Uint8Array.of(0, 0, 0, port) });
const source = (last: number, mask?: number): OxmEntry => ({
  field: "ipv4_src",
  value: Uint8Array.of(10, 0, 0, mask === undefined ? last : last & mask),
  ...(mask === undefined ? {} : { mask: Uint8Array.of(255, 255, 255, mask) }),
});

/** Few values, so that matches often agree, cover and overlap. */
const match: fc.Arbitrary<Match> = fc
  .tuple(
    fc.constantFrom<OxmEntry[]>([], [inPort(1)], [inPort(2)]),
    fc.constantFrom<OxmEntry[]>(
      [],
      [IPV4],
      [IPV4, source(1)],
      [IPV4, source(2)],
      [IPV4, source(0, 0xfc)],
      [IPV4, source(1, 1)],
    ),
  )
  .map(([first, second]) => [...first, ...second]);

const flowMod: fc.Arbitrary<FlowMod> = fc.record({
  type: fc.constant("flow_mod" as const),
  xid: fc.constant(1),
  command: fc.constantFrom("add", "add", "add", "modify", "modify_strict", "delete", "delete_strict"),
  tableId: fc.constantFrom(0, 0, 1, OFPTT_ALL),
  cookie: fc.constantFrom(1n, 2n, 3n),
  cookieMask: fc.constantFrom(0n, 0n, 1n, 0xffffffffffffffffn),
  idleTimeoutSeconds: fc.constant(0),
  hardTimeoutSeconds: fc.constant(0),
  priority: fc.constantFrom(1, 2),
  bufferId: fc.constant(OFP_NO_BUFFER),
  outPort: fc.constantFrom(OFPP_ANY, OFPP_ANY, 5),
  outGroup: fc.constant(OFPG_ANY),
  flags: fc.constantFrom(0, OFPFF_CHECK_OVERLAP, OFPFF_SEND_FLOW_REM),
  match,
  instructions: fc.constantFrom<FlowMod["instructions"][]>(
    [],
    [{ type: "apply_actions", actions: [{ type: "output", port: 5, maxLength: 0 }] }],
    [{ type: "write_actions", actions: [{ type: "output", port: 6, maxLength: 0 }] }],
    [{ type: "goto_table", tableId: 1 }],
  ),
});

const OF_TIME = new Set(["durationSeconds", "durationNanoseconds", "idleAgeSeconds", "hardAgeSeconds"]);

/** What does not depend on time, in an order of its own. */
function canonical(flows: readonly (FlowStats | Unsent<FlowRemoved>)[]): string[] {
  const text = (_key: string, value: unknown): unknown =>
    typeof value === "bigint" ? value.toString() : value instanceof Uint8Array ? [...value] : value;
  return flows
    .map((flow) =>
      JSON.stringify(
        Object.entries(flow)
          .filter(([name]) => !OF_TIME.has(name))
          .sort(([a], [b]) => (a < b ? -1 : 1)),
        text,
      ),
    )
    .sort();
}

it("FlowTables agree with the linear model after any flow-mods, for any filter", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(flowMod, { maxLength: 25 }), flowMod, async (mods, probe) => {
      const removed: Unsent<FlowRemoved>[] = [];
      const expectedRemoved: Unsent<FlowRemoved>[] = [];
      const tables = new FlowTables({ onRemoved: (message) => removed.push(message) });
      const model = new MemorySwitch();
      model.onEvent((event) => event.type === "flow_removed" && expectedRemoved.push(event));
      for (const mod of mods) {
        const [refusal] = await model.change([mod]);
        expect(apply(tables, mod)).toBe(refusal?.error);
      }
      expect(canonical(removed)).toEqual(canonical(expectedRemoved));
      for (const filter of [ALL_FLOWS, { ...probe, tableId: OFPTT_ALL }, probe]) {
        expect(canonical(tables.flowStats(filter, 0))).toEqual(canonical(await model.flowStats(filter)));
      }
    }),
    { numRuns: 500 },
  );
});

function apply(tables: FlowTables, mod: FlowMod): string | undefined {
  try {
    tables.applyFlowMod(mod, 0);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof PlinthError) return thrown.code;
    throw thrown;
  }
}
