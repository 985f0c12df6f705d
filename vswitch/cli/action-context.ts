// What the words of a list of actions, and the match of their flow, make of a packet as the list is read. Pure.
import { type Action, type Match, OFP13_VERSION, type OxmFieldName } from "../../base/openflow/index.js";
import type { PortNumbers } from "./field-reader.js";
import { bytesToNumber } from "./field-text.js";
import { Carriers } from "./protocol-set.js";

/** What the words before in a list of actions, and the flow's match, make of the packet. */
export interface ActionContext {
  readonly depth: number;
  hasVlan: boolean;
  readonly protocol: number | undefined;
  /** Of OpenFlow, whose actions are wanted where there are several ways to say a thing. */
  readonly version: number;
  readonly carriers: Carriers;
  /** By which word an action was asked for, where that is not its type's. */
  readonly words: Map<Action, string>;
  /** Actions that OpenFlow 1.0 lets do nothing where a packet lacks the field. */
  readonly lenient: Set<Action>;
  readonly ports: PortNumbers | undefined;
  /** Errors that are told when all actions have been read. */
  readonly faults: string[];
}

/** For the actions of a flow that matches `match`. */
export function actionContext(match: Match, options: ActionOptions = {}): ActionContext {
  const entry = (name: OxmFieldName) => match.find(({ field }) => field === name);
  const vlan = entry("vlan_vid") ?? entry("vlan_tci");
  const protocol = entry("ip_proto");
  return {
    depth: 0,
    hasVlan: vlan !== undefined && ((vlan.value[0] as number) & 0x10) !== 0,
    protocol: protocol && Number(bytesToNumber(protocol.value)),
    version: options.version ?? OFP13_VERSION,
    carriers: options.carriers ?? new Carriers(),
    words: new Map(),
    lenient: new Set(),
    ports: options.ports,
    faults: [],
  };
}

export interface ActionOptions {
  /** Default: OpenFlow 1.3. */
  readonly version?: number;
  /** Learns what can carry the actions. */
  readonly carriers?: Carriers;
  readonly ports?: PortNumbers | undefined;
}
