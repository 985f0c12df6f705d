// What the path cache holds, for people: the packets it knows and the flows that each met.
// Thread: datapath worker, between breaths.
import { type PacketView, packetView } from "./exact-match.js";
import type { Flow } from "./flow.js";
import * as K from "./key.js";
import { PATH_LENGTH_MAX } from "./limits.js";
import type { PathCache } from "./path-cache.js";

export interface CachedPath {
  readonly view: PacketView;
  /** The packet had been through connection tracking. */
  readonly recirculated: boolean;
  /** In the order in which they were met; null = no flow matched. */
  readonly flows: readonly ({
    readonly tableId: number;
    readonly priority: number;
    readonly cookie: bigint;
  } | null)[];
}

/** Entries that count at `version` of the tables. */
export function cachedPaths(cache: PathCache, version: number): readonly CachedPath[] {
  const found: CachedPath[] = [];
  cache.forEach(version, (key, entry) => {
    const tci = (key[K.K_TYPE_TCI] as number) & 0xffff;
    const flows = cache.flows.slice(
      entry * PATH_LENGTH_MAX,
      entry * PATH_LENGTH_MAX + (cache.lengths[entry] as number),
    );
    found.push({
      view: packetView(key, tci === 0 ? [] : [tci]),
      recirculated: key[K.K_CT_STATE] !== 0,
      flows: flows.map(describe),
    });
  });
  return found;
}

function describe(flow: Flow | null): CachedPath["flows"][number] {
  return flow === null ? null : { tableId: flow.tableId, priority: flow.priority, cookie: flow.cookie };
}
