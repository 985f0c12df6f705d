// The ways in which OpenFlow can carry a flow: its versions, and in 1.0 the standard's match or Nicira's, with or
// without a table beside the command. Pure. Source: ovs-ofctl(8), --flow-format; the names are those of ovs-ofctl.

import {
  OFP10_VERSION,
  OFP11_VERSION,
  OFP12_VERSION,
  OFP13_VERSION,
  OFP14_VERSION,
  OFP15_VERSION,
} from "../../base/openflow/index.js";
import { commandError } from "./errors.js";

/** A bit for each way. */
export type ProtocolSet = number;

export interface Protocol {
  readonly name: string;
  readonly version: number;
  readonly isNxm: boolean;
  readonly hasTableId: boolean;
}

/** In the order in which they are preferred; bit n is protocol n. */
const PROTOCOLS: readonly Protocol[] = [
  { name: "OpenFlow10-table_id", version: OFP10_VERSION, isNxm: false, hasTableId: false },
  { name: "OpenFlow10+table_id", version: OFP10_VERSION, isNxm: false, hasTableId: true },
  { name: "NXM-table_id", version: OFP10_VERSION, isNxm: true, hasTableId: false },
  { name: "NXM+table_id", version: OFP10_VERSION, isNxm: true, hasTableId: true },
  { name: "OpenFlow11", version: OFP11_VERSION, isNxm: false, hasTableId: true },
  { name: "OXM-OpenFlow12", version: OFP12_VERSION, isNxm: false, hasTableId: true },
  { name: "OXM-OpenFlow13", version: OFP13_VERSION, isNxm: false, hasTableId: true },
  { name: "OXM-OpenFlow14", version: OFP14_VERSION, isNxm: false, hasTableId: true },
  { name: "OXM-OpenFlow15", version: OFP15_VERSION, isNxm: false, hasTableId: true },
];

export const P_ANY: ProtocolSet = 0x1ff;
const P_OF10_STD: ProtocolSet = 0x003;
export const P_OF10: ProtocolSet = 0x00f;
export const P_NXM: ProtocolSet = 0x00c;
const P_OF11: ProtocolSet = 0x010;
const P_OXM: ProtocolSet = 0x1e0;
export const P_NXM_OXM: ProtocolSet = P_NXM | P_OXM;
export const P_NXM_OF11_UP: ProtocolSet = P_NXM | P_OF11 | P_OXM;
export const P_OF11_UP: ProtocolSet = P_OF11 | P_OXM;
export const P_OF12_UP: ProtocolSet = P_OXM;
export const P_OF13_UP: ProtocolSet = 0x1c0;
export const P_TABLE_ID: ProtocolSet = 0x1fa;

/** Several ways under one name, looked for in this order. */
const GROUPS: readonly (readonly [string, ProtocolSet])[] = [
  ["any", P_ANY],
  ["OpenFlow10", P_OF10_STD],
  ["NXM", P_NXM],
  ["OXM", P_OXM],
];

/** "any", "NXM,OXM", "OpenFlow10-table_id" …; "none" for none. */
export function protocolsText(protocols: ProtocolSet): string {
  const names: string[] = [];
  let left = protocols;
  const take = (name: string, bits: ProtocolSet): void => {
    if ((left & bits) !== bits) return;
    names.push(name);
    left &= ~bits;
  };
  for (const [name, bits] of GROUPS) take(name, bits);
  for (const [bit, { name }] of PROTOCOLS.entries()) take(name, 1 << bit);
  return names.length === 0 ? "none" : names.join(",");
}

/** The way that is preferred among `protocols`; undefined for none. */
export function preferredProtocol(protocols: ProtocolSet): Protocol | undefined {
  return PROTOCOLS.find((_, bit) => (protocols & (1 << bit)) !== 0);
}

/** Those of `protocols`, the most widely spoken first. */
export function protocolsInOrder(protocols: ProtocolSet): Protocol[] {
  return PROTOCOLS.filter((_, bit) => (protocols & (1 << bit)) !== 0);
}

/** The ways of the versions, by their numbers on the wire. */
export function protocolsOfVersions(versions: readonly number[]): ProtocolSet {
  return PROTOCOLS.reduce(
    (set, { version }, bit) => (versions.includes(version) ? set | (1 << bit) : set),
    0,
  );
}

/** The ways that a list of names means, as --flow-format takes it. Throws COMMAND_FAILED for what is no name. */
export function protocolsNamed(text: string): ProtocolSet {
  let set = 0;
  for (const word of text.split(",").filter((one) => one !== "")) {
    const group = GROUPS.find(([name]) => name.toLowerCase() === word.toLowerCase());
    const at = PROTOCOLS.findIndex(({ name }) => name.toLowerCase() === word.toLowerCase());
    if (group === undefined && at < 0) throw commandError(`${word}: unknown flow protocol`);
    set |= group?.[1] ?? 1 << at;
  }
  if (set === 0) throw commandError(`${text}: no flow protocol specified`);
  return set;
}

/** What a flow that is being read can be carried by: at first anything. */
export class Carriers {
  #set: ProtocolSet = P_ANY;

  get set(): ProtocolSet {
    return this.#set;
  }

  restrict(to: ProtocolSet): void {
    this.#set &= to;
  }
}
