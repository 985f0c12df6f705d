// What the caches hold, for people: kinds of packets of which it is known what becomes of them, the flows that each met,
// and how many there were of each. Those with a verdict, and those that only the path cache knows, because what becomes
// of each packet has effects besides (packet-ins, learning) or they are of protocols that verdicts are not kept for.
// Thread: datapath worker, between breaths.
import { type PacketView, packetView } from "./exact-match.js";
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import * as K from "./key.js";
import { PATH_LENGTH_MAX } from "./limits.js";
import { Megaflow, type MegaflowView } from "./megaflow.js";
import type { PathCache } from "./path-cache.js";
import { K_TABLE } from "./recordings.js";
import type { VerdictCache } from "./verdict-cache.js";
import type { Counts } from "./verdict-origins.js";

export interface KnownFlow {
  /** The table in which such packets begin when they come back from connection tracking; undefined: they come in. */
  readonly table: number | undefined;
  /** The first packet of the kind, and what of it counts. */
  readonly start: PacketView;
  readonly megaflow: MegaflowView;
  /** Without the first. */
  readonly packets: number;
  readonly bytes: number;
  /** Since the last of them; undefined when there was none. */
  readonly idleMs: number | undefined;
  /** How many other kinds of packets are counted here, too, as they fare alike. */
  readonly others: number;
  /** In the order in which they were met; null = no flow matched. */
  readonly flows: readonly ({
    readonly tableId: number;
    readonly priority: number;
    readonly cookie: bigint;
  } | null)[];
}

export interface KnownFlowsModules {
  readonly verdicts: VerdictCache;
  readonly paths: PathCache;
  readonly tables: FlowTables;
}

/** What is known and still true. */
export function knownFlows({ verdicts, paths, tables }: KnownFlowsModules, nowMs: number): KnownFlow[] {
  const known: KnownFlow[] = [];
  const { version } = tables;
  const { origins } = verdicts;
  verdicts.sync(version);
  const add = (
    key: Int32Array,
    bits: Int32Array | null,
    table: number | undefined,
    flows: readonly (Flow | null)[],
    { packets, bytes, usedMs }: Counts,
    others: number,
  ): void => {
    const start = viewOf(key);
    const megaflow = new Megaflow(wholeOf(key), start.tags, tables.options);
    megaflow.add(bits ?? everyBitOf(key));
    known.push({
      ...{ table, start, megaflow: megaflow.view(start), packets, bytes, others },
      idleMs: packets === 0 ? undefined : Math.max(0, nowMs - usedMs),
      flows: flows.map(describe),
    });
  };
  for (const { id, flows } of verdicts.verdicts) {
    const origin = origins.of(id);
    if (origin === undefined) continue;
    const { key, bits, others } = origin;
    // Only the keys of packets that come back are so long.
    const table = key.length > K.K_PIPELINE ? key[K_TABLE] : undefined;
    add(key, bits, table, flows, origins.countsOf(id), others);
  }
  paths.forEach(version, (key, entry) => {
    if (paths.known[entry] === 1) return;
    const from = entry * PATH_LENGTH_MAX;
    const flows = paths.flows.slice(from, from + paths.lengths[entry]!);
    const table = key[K.K_CT_STATE] === 0 ? undefined : paths.tableOf(entry);
    const counts = {
      packets: paths.packets[entry]!,
      bytes: paths.bytes[entry]!,
      usedMs: paths.usedMs[entry]!,
    };
    add(key, null, table, flows, counts, 0);
  });
  return known;
}

/** How many of them there are. */
export function countKnownFlows({ verdicts, paths, tables }: KnownFlowsModules): number {
  const { version } = tables;
  verdicts.sync(version);
  let count = verdicts.verdicts.filter(({ id }) => verdicts.origins.of(id) !== undefined).length;
  paths.forEach(version, (_, entry) => {
    if (paths.known[entry] !== 1) count++;
  });
  return count;
}

/** All of the packet, and what was put onto it. */
function everyBitOf(key: Int32Array): Int32Array {
  return key.map((word, i) => (i < K.K_PIPELINE || word !== 0 ? -1 : 0));
}

function wholeOf(key: Int32Array): Int32Array {
  const whole = new Int32Array(K.KEY_WORDS);
  whole.set(key);
  return whole;
}

function viewOf(key: Int32Array): PacketView {
  const tci = key[K.K_TYPE_TCI]! & 0xffff;
  return packetView(wholeOf(key), tci === 0 ? [] : [tci]);
}

function describe(flow: Flow | null): KnownFlow["flows"][number] {
  return flow === null ? null : { tableId: flow.tableId, priority: flow.priority, cookie: flow.cookie };
}
