// Who can reach whom, computed from the compiled tables: the packets of each pair of ports are sent through the policy
// tables as a set, flow by flow, so the answer is exact for every protocol and port. Ports that the tables cannot tell
// apart are computed once. Ports of different networks do not reach each other. Pure.
import { assert } from "../../base/assert/index.js";
import { CT_STATE_NEW, CT_STATE_TRK, type OxmFieldName } from "../../base/openflow/index.js";
import type { Compiler } from "../compiler.js";
import { ADDRESS_BITS, type IpAddress, type IpFamily } from "../network/ip-address.js";
import { addressesOf, type PortView } from "../network/views.js";
import type { Flow } from "../pipeline/flow.js";
import { TABLES, type TableName } from "../pipeline/tables.js";
import { connections, NO_CONNECTIONS, type Protocol } from "../policy/analysis/connection-set.js";
import {
  ALL_PACKETS,
  differenceOf,
  intersectionOf,
  isNothing,
  NO_PACKETS,
  type PacketSpace,
  unionOf,
} from "./packet-space.js";

const POLICY_TABLES: readonly TableName[] = ["admin-egress", "egress", "admin-ingress", "ingress"];
const POLICY_TABLE_IDS = new Set(POLICY_TABLES.map((name) => TABLES[name].id));
/** Fields that are the same for all packets of a pair. */
const CONCRETE: readonly OxmFieldName[] = [
  "reg2",
  "reg3",
  "reg6",
  "eth_type",
  "ipv4_src",
  "ipv4_dst",
  "ipv6_src",
  "ipv6_dst",
  "ct_state",
  "ct_mark",
];
const PORT_PROTOCOL: Partial<Record<OxmFieldName, Protocol>> = {
  tcp_dst: "TCP",
  udp_dst: "UDP",
  sctp_dst: "SCTP",
};
const IP_PROTOCOL = new Map<bigint, Protocol>([
  [6n, "TCP"],
  [17n, "UDP"],
  [132n, "SCTP"],
]);
const ETHERTYPE: Readonly<Record<IpFamily, bigint>> = { 4: 0x0800n, 6: 0x86ddn };
/** Of the fields that hold an address. */
const FAMILY: Partial<Record<OxmFieldName, IpFamily>> = {
  ipv4_src: 4,
  ipv4_dst: 4,
  ipv6_src: 6,
  ipv6_dst: 6,
};

/** What a flow matches: fields that a pair's packets share, and which of its packets. */
interface TableMatch {
  readonly concrete: readonly {
    readonly field: OxmFieldName;
    readonly value: bigint;
    readonly mask: bigint | undefined;
  }[];
  readonly space: PacketSpace;
}

interface TableFlow extends TableMatch {
  readonly priority: number;
  /** The number of the conjunction that must hold, if any. */
  readonly conjunction: bigint | undefined;
  /** Undefined where the packet is dropped. */
  readonly next: TableName | undefined;
}

/** Addresses that two ports may use towards each other, and what then arrives. */
export interface AddressPair {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly space: PacketSpace;
}

type Packet = ReadonlyMap<OxmFieldName, bigint>;

export class Reachability {
  /** By table, subject and peer. */
  readonly #tables = new Map<TableName, Map<bigint, ByPeer<TableFlow>>>();
  readonly #prefixes: readonly { readonly family: IpFamily; readonly value: bigint; readonly mask: bigint }[];
  readonly #known = new Map<string, PacketSpace>();
  readonly #spaces = new Map<string, PacketSpace>();
  readonly #classes = new Map<string, string>();
  /** Of each conjunction: for each clause the flows of which one must match. */
  readonly #clauses = new Map<string, ByPeer<TableMatch>[]>();
  /** By port. */
  readonly #identities = new Map<string, number>();

  /** Of the flows as they are now: it does not follow later changes. */
  constructor(compiler: Compiler) {
    for (const { key } of compiler.inventory.ports()) {
      const identity = compiler.policies.identityOf(key);
      if (identity !== undefined) this.#identities.set(key, identity.number);
    }
    const prefixes = new Map<string, { family: IpFamily; value: bigint; mask: bigint }>();
    for (const flow of compiler.flows.inTables(POLICY_TABLE_IDS)) {
      const compact = compactFlow(flow);
      for (const { field, value, mask } of compact.concrete) {
        const family = FAMILY[field];
        if (family === undefined) continue;
        const whole = (1n << BigInt(ADDRESS_BITS[family])) - 1n;
        prefixes.set(`${family} ${value}/${mask}`, { family, value, mask: mask ?? whole });
      }
      if (flow.clauses === undefined) this.#add(flow.table, compact);
      for (const { id, clause, clauseCount } of flow.clauses ?? []) {
        const key = `${flow.table} ${id}`;
        const clauses =
          this.#clauses.get(key) ?? Array.from({ length: clauseCount }, (): ByPeer<TableMatch> => new Map());
        addByPeer(clauses[clause] as ByPeer<TableMatch>, flow.table, compact);
        this.#clauses.set(key, clauses);
      }
    }
    this.#prefixes = [...prefixes.values()];
  }

  /** What a first packet from one port to the other may be, so that it arrives, with some of their addresses. */
  between(source: PortView, destination: PortView, family?: IpFamily): PacketSpace {
    const key = `${family ?? ""} ${this.classOf(source)} ${this.classOf(destination)}`;
    let space = source.key === destination.key ? NO_PACKETS : this.#known.get(key);
    if (space === undefined) {
      space = this.pairsBetween(source, destination, family).reduce(
        (sum, pair) => unionOf(sum, pair.space),
        NO_PACKETS,
      );
      this.#known.set(key, space);
    }
    return space;
  }

  /** The same with whichever of their addresses. */
  betweenAll(source: PortView, destination: PortView): PacketSpace {
    const key = `all ${this.classOf(source)} ${this.classOf(destination)}`;
    let space = source.key === destination.key ? NO_PACKETS : this.#known.get(key);
    if (space === undefined) {
      const [first, ...others] = this.pairsBetween(source, destination);
      space = others.reduce((sum, pair) => intersectionOf(sum, pair.space), first?.space ?? NO_PACKETS);
      this.#known.set(key, space);
    }
    return space;
  }

  /** The same for each pair of addresses of one family (of `only`, or IPv4 first); empty when nothing ever passes. */
  pairsBetween(source: PortView, destination: PortView, only?: IpFamily): AddressPair[] {
    if (source.network.key !== destination.network.key || source.key === destination.key) return [];
    const [from, to] = [source, destination].map(addressesOf) as [IpAddress[], IpAddress[]];
    const some = only === undefined ? from : from.filter(({ family }) => family === only);
    return some.flatMap((one) =>
      to
        .filter((other) => other.family === one.family)
        .map((other) => {
          const ids = { reg2: this.#identity(source), reg3: this.#identity(destination) };
          return { source: one, destination: other, space: this.#spaceOf(ids, one, other) };
        }),
    );
  }

  #spaceOf(ids: { reg2: number; reg3: number }, source: IpAddress, destination: IpAddress): PacketSpace {
    const key = `${ids.reg2} ${ids.reg3} ${this.#inside(source)} ${this.#inside(destination)}`;
    let space = this.#spaces.get(key);
    if (space === undefined) {
      const packet = new Map<OxmFieldName, bigint>([
        ["reg2", BigInt(ids.reg2)],
        ["reg3", BigInt(ids.reg3)],
        // A first packet, of no connection that there is.
        ["ct_state", BigInt(CT_STATE_TRK | CT_STATE_NEW)],
        ["eth_type", ETHERTYPE[source.family]],
        [`ipv${source.family}_src`, source.value],
        [`ipv${source.family}_dst`, destination.value],
      ]);
      space = this.#walk("admin-egress", ALL_PACKETS, packet);
      this.#spaces.set(key, space);
    }
    return space;
  }

  /** The family, and which of the tables' prefixes hold the address. */
  #inside({ family, value }: IpAddress): string {
    const bits = this.#prefixes.map((prefix) =>
      prefix.family === family && (value & prefix.mask) === prefix.value ? "1" : "0",
    );
    return `${family}:${bits.join("")}`;
  }

  #identity(port: PortView): number {
    return this.#identities.get(port.key) ?? 0;
  }

  /** The same for ports that the tables cannot tell apart: network, identity, and the prefixes that hold the addresses. */
  classOf(port: PortView): string {
    let name = this.#classes.get(port.key);
    if (name === undefined) {
      const inside = new Set(addressesOf(port).map((address) => this.#inside(address)));
      name = `${port.network.key} ${this.#identity(port)} ${[...inside].sort().join(",")}`;
      this.#classes.set(port.key, name);
    }
    return name;
  }

  #add(table: TableName, flow: TableFlow): void {
    const subjects = this.#tables.get(table) ?? new Map<bigint, ByPeer<TableFlow>>();
    this.#tables.set(table, subjects);
    const subject = exactly(flow, subjectOf(table));
    const peers = subjects.get(subject) ?? new Map();
    addByPeer(peers, table, flow);
    subjects.set(subject, peers);
  }

  #walk(table: TableName, packets: PacketSpace, packet: Packet): PacketSpace {
    let left = packets;
    let arrived = NO_PACKETS;
    for (const flow of this.#candidates(table, packet)) {
      if (!fits(flow, packet)) continue;
      const hit = intersectionOf(left, this.#spaceOfFlow(table, flow, packet));
      if (isNothing(hit)) continue;
      left = differenceOf(left, hit);
      if (flow.next === "commit" || flow.next === "output") arrived = unionOf(arrived, hit);
      else if (flow.next !== undefined && flow.next !== "denied")
        arrived = unionOf(arrived, this.#walk(flow.next, hit, packet));
      if (isNothing(left)) break;
    }
    return arrived;
  }

  /** Of a conjunction what all of its clauses have, of a clause what any of its flows has. */
  #spaceOfFlow(table: TableName, { space, conjunction }: TableFlow, packet: Packet): PacketSpace {
    if (conjunction === undefined) return space;
    const clauses = this.#clauses.get(`${table} ${conjunction}`) ?? [new Map() as ByPeer<TableMatch>];
    return clauses.reduce((whole, flows) => {
      const any = ofPeer(flows, table, packet)
        .filter((flow) => fits(flow, packet))
        .reduce((sum, flow) => unionOf(sum, flow.space), NO_PACKETS);
      return intersectionOf(whole, any);
    }, space);
  }

  /** Flows about the packet's subject or any, and its peer or any: highest priority first. */
  #candidates(table: TableName, packet: Packet): readonly TableFlow[] {
    const subjects = this.#tables.get(table);
    const own = subjects?.get(packet.get(subjectOf(table)) ?? 0n);
    const all = [own, subjects?.get(ANY)].flatMap((peers) =>
      peers === undefined ? [] : ofPeer(peers, table, packet),
    );
    return all.sort((a, b) => b.priority - a.priority);
  }
}

/** Flows by the one peer that they are about, or under ANY. */
type ByPeer<T> = Map<bigint, T[]>;

const ANY = -1n;

function addByPeer<T extends TableMatch>(flows: ByPeer<T>, table: TableName, flow: T): void {
  const peer = exactly(flow, peerOf(table));
  const own = flows.get(peer);
  if (own === undefined) flows.set(peer, [flow]);
  else own.push(flow);
}

function ofPeer<T>(flows: ByPeer<T>, table: TableName, packet: Packet): T[] {
  return [...(flows.get(packet.get(peerOf(table)) ?? 0n) ?? []), ...(flows.get(ANY) ?? [])];
}

/** The one value of the field that a flow matches; ANY where it matches several. */
function exactly({ concrete }: TableMatch, field: OxmFieldName): bigint {
  return concrete.find((one) => one.field === field && one.mask === undefined)?.value ?? ANY;
}

function subjectOf(table: TableName): OxmFieldName {
  return table === "egress" || table === "admin-egress" ? "reg2" : "reg3";
}

function peerOf(table: TableName): OxmFieldName {
  return table === "egress" || table === "admin-egress" ? "reg3" : "reg2";
}

function fits({ concrete }: TableMatch, packet: Packet): boolean {
  return concrete.every(({ field, value, mask }) => matches(packet.get(field) ?? 0n, value, mask));
}

function matches(actual: bigint, value: bigint, mask: bigint | undefined): boolean {
  return (mask === undefined ? actual : actual & mask) === value;
}

function compactFlow(flow: Flow): TableFlow {
  const concrete: { field: OxmFieldName; value: bigint; mask: bigint | undefined }[] = [];
  let space = ALL_PACKETS;
  let conjunction: bigint | undefined;
  for (const { field, value, mask } of flow.match) {
    const number = bigOf(value);
    const bits = mask === undefined ? undefined : bigOf(mask);
    const protocol = PORT_PROTOCOL[field];
    if (CONCRETE.includes(field)) concrete.push({ field, value: number, mask: bits });
    else if (field === "conj_id") conjunction = number;
    else if (field === "ip_proto") space = intersectionOf(space, protocolSpace(number));
    else {
      assert(protocol !== undefined, `policy tables do not match ${field}`);
      space = intersectionOf(space, portSpace(protocol, Number(number), Number(bits ?? 0xffffn)));
    }
  }
  const goto = flow.instructions.find((instruction) => instruction.type === "goto_table");
  const to = (Object.keys(TABLES) as TableName[]).find((name) => TABLES[name].id === goto?.tableId);
  // Staged policies only count; what was denied before is so marked, in the flow that sent it there.
  const denied = flow.instructions.some(({ type }) => type === "apply_actions");
  const next = to === "staged-egress" || to === "staged-ingress" ? (denied ? "denied" : ONWARD[to]) : to;
  return { priority: flow.priority, concrete, space, conjunction, next };
}

const ONWARD = { "staged-egress": "admin-ingress", "staged-ingress": "commit" } as const;

function protocolSpace(number: bigint): PacketSpace {
  const protocol = IP_PROTOCOL.get(number);
  assert(protocol !== undefined, `policy tables do not match IP protocol ${number}`);
  return { connections: connections(protocol), others: false };
}

/** Masks of ports cover the low bits only, so they are ranges. */
function portSpace(protocol: Protocol, value: number, mask: number): PacketSpace {
  const size = (~mask & 0xffff) + 1;
  assert((size & (size - 1)) === 0, `port mask ${mask} is no range`);
  const range = { first: value, last: value + size - 1 };
  return { connections: range.last === 0 ? NO_CONNECTIONS : connections(protocol, range), others: false };
}

function bigOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = value * 256n + BigInt(byte);
  return value;
}
