// The words of dpctl/dump-flows that choose among flows: the datapath's name, filter=, type=, pmd=. Pure.
// Source: ovs-dpctl(8), dump-flows; errors as Open vSwitch 3.1 has them.
import { PlinthError } from "../../base/errors/index.js";
import type { Match } from "../../base/openflow/index.js";
import { parseExactFlow } from "../cli/exact-flow-text.js";
import type { PortNumbers } from "../cli/match-reader.js";
import { sortOptions, unknownDatapath } from "./dpctl-arguments.js";

/** What `type=` can ask for; nothing is offloaded here. */
const FLOW_TYPES = ["ovs", "tc", "dpdk", "offloaded", "non-offloaded", "partially-offloaded", "all"];
const OWN_TYPES = ["ovs", "non-offloaded", "all"];
/** How `pmd=` names the main thread. */
const MAIN_THREAD = /^(-1|4294967295)$/;

export interface FlowChoice {
  readonly options: ReadonlySet<string>;
  /** Of the datapath. */
  readonly name: string | undefined;
  /** Of `filter=`. */
  readonly filter: string | undefined;
  /** False when `type=` or `pmd=` leave nothing over. */
  readonly showsAny: boolean;
  readonly namesThread: boolean;
}

/** Throws an Error for a word that is none of these, or is there twice. */
export function sortFlowWords(args: readonly string[]): FlowChoice {
  const { options, words } = sortOptions(args);
  const values = new Map<string, string>();
  const names: string[] = [];
  for (const word of words) {
    const key = /^(filter|type|pmd)=/.exec(word)?.[1];
    if (key === undefined || values.has(key)) names.push(word);
    else values.set(key, word.slice(key.length + 1));
  }
  if (names.length > 1) throw unknownDatapath();
  const thread = values.get("pmd");
  if (thread !== undefined && !/^-?\d+$/.test(thread))
    throw new Error(`pmd=${thread.slice(0, 60)}: the number of a core was expected`);
  return {
    ...{ options, name: names[0], filter: values.get("filter") },
    showsAny: takesOwnFlows(values.get("type")) && (thread === undefined || MAIN_THREAD.test(thread)),
    namesThread: thread !== undefined,
  };
}

function takesOwnFlows(text: string | undefined): boolean {
  if (text === undefined) return true;
  const types = text === "" ? [] : text.split(",");
  const wrong = types.find((type) => !FLOW_TYPES.includes(type));
  if (wrong !== undefined) throw new Error(`Failed to parse type (${wrong}) (Invalid argument)`);
  return types.some((type) => OWN_TYPES.includes(type));
}

/** The exact values that `filter=` names; `ports`: numbers in the datapath by name. Throws FILTER_INVALID. */
export function parseFlowFilter(text: string, ports: PortNumbers): Match {
  try {
    const match = parseExactFlow(text, ports);
    // What is not named is no input port either.
    return /\bin_port\b/.test(text) ? match : match.filter(({ field }) => field !== "in_port");
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    throw new PlinthError("FILTER_INVALID", `Failed to parse filter (${text}: ${thrown.message})`);
  }
}

/**
 * Whether a packet with the values of `filter` could be one of the flow: what counts of the flow is `counted`, with the
 * values of `exact`.
 */
export function isInFilter(filter: Match, exact: Match, counted: Match): boolean {
  return filter.every(({ field, value }) => {
    const entry = counted.find((one) => one.field === field);
    if (entry === undefined) return true;
    const own = exact.find((one) => one.field === field)?.value ?? entry.value;
    return value.every((byte, i) => ((byte ^ (own[i] as number)) & (entry.mask?.[i] ?? 0xff)) === 0);
  });
}
