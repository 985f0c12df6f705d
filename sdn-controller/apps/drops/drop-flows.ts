// Table dropped: where what policy denied ends. The first packet of a pair is told to the controller, which then asks for
// a flow that counts the pair; so each pair is counted exactly and none is told for long. What is to be logged is always
// told. Pure.
import { toController } from "../../pipeline/actions.js";
import { buildFlow, type Flow, type MaskedValue } from "../../pipeline/flow.js";
import { type DropReason, FLAG_LOGGED } from "../../pipeline/tables.js";

const TABLE = "dropped";
const LOGGED: MaskedValue = { value: FLAG_LOGGED, mask: FLAG_LOGGED };

/** Who was denied what by whom, in the switch's numbers. */
export interface DroppedPair {
  readonly inPort: number;
  readonly source: number;
  readonly outPort: number;
  /** Hash of the resource that denied it. */
  readonly cause: number;
  readonly reason: DropReason;
}

export function dropBaseFlows(): Flow[] {
  const origin = { resource: "Pipeline" };
  return [
    buildFlow({
      table: TABLE,
      priority: 200,
      match: { reg6: LOGGED },
      actions: [toController()],
      origin,
    }),
  ];
}

/** What becomes of pairs that nobody counts yet; `tell` is false while there are too many. */
export function newPairFlow(tell: boolean): Flow {
  return buildFlow({
    table: TABLE,
    priority: 0,
    match: {},
    actions: tell ? [toController()] : [],
    origin: tell ? { resource: "Pipeline" } : { resource: "Pipeline/dropped", reason: "egress-policy" },
  });
}

export function pairResource(pair: Omit<DroppedPair, "reason">): string {
  return `Pair/${pair.inPort}/${pair.source}/${pair.outPort}/${pair.cause}`;
}

export function pairFlow(pair: DroppedPair): Flow {
  return buildFlow({
    table: TABLE,
    priority: 100,
    match: { in_port: pair.inPort, reg2: pair.source, reg4: pair.outPort, reg7: pair.cause },
    origin: { resource: pairResource(pair), reason: pair.reason },
  });
}
