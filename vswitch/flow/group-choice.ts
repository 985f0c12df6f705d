// Which bucket of a select or fast-failover group a packet goes to. Source: OpenFlow 1.3.5, 5.6.1.
// Thread: datapath worker. Hot: yes.
import {
  GROUP_FF,
  GROUP_SELECT,
  type Group,
  type GroupBucket,
  type GroupTable,
  NOT_WATCHED,
} from "./groups.js";
import { NESTING_MAX } from "./limits.js";
import { hashConversation } from "./path-cache.js";
import type { PacketSink } from "./pipeline-modules.js";

/** The one bucket to run, or null when none is live. Not for groups of type all. */
export function chooseBucket(
  group: Group,
  groups: GroupTable,
  sink: PacketSink,
  key: Int32Array,
): GroupBucket | null {
  const buckets = group.buckets;
  if (group.kind === GROUP_FF) {
    for (let i = 0; i < buckets.length; i++) if (isLive(buckets[i]!, groups, sink, 0)) return buckets[i]!;
    return null;
  }
  if (group.kind !== GROUP_SELECT) return buckets[0] ?? null;
  let total = 0;
  for (let i = 0; i < buckets.length; i++) {
    if (isLive(buckets[i]!, groups, sink, 0)) total += buckets[i]!.weight;
  }
  if (total === 0) return null;
  let point = hashConversation(key) % total;
  for (let i = 0; i < buckets.length; i++) {
    if (!isLive(buckets[i]!, groups, sink, 0)) continue;
    point -= buckets[i]!.weight;
    if (point < 0) return buckets[i]!;
  }
  return null;
}

/** A bucket that watches nothing is live; else one of what it watches must be. */
function isLive(bucket: GroupBucket, groups: GroupTable, sink: PacketSink, depth: number): boolean {
  if (bucket.watchPort === NOT_WATCHED && bucket.watchGroup === NOT_WATCHED) return true;
  if (bucket.watchPort !== NOT_WATCHED && sink.isLive(bucket.watchPort)) return true;
  if (bucket.watchGroup === NOT_WATCHED || depth >= NESTING_MAX) return false;
  const watched = groups.get(bucket.watchGroup);
  if (watched === undefined) return false;
  for (let i = 0; i < watched.buckets.length; i++) {
    if (isLive(watched.buckets[i]!, groups, sink, depth + 1)) return true;
  }
  return false;
}
