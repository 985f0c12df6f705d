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
import { hashMasked } from "./hash-fields.js";
import { LIVENESS_STEPS_MAX } from "./limits.js";
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
    left = LIVENESS_STEPS_MAX;
    for (let i = 0; i < buckets.length; i++) if (isLive(buckets[i]!, groups, sink)) return buckets[i]!;
    return null;
  }
  if (group.kind !== GROUP_SELECT) return buckets[0] ?? null;
  left = LIVENESS_STEPS_MAX;
  let total = 0;
  for (let i = 0; i < buckets.length; i++) {
    if (isLive(buckets[i]!, groups, sink)) total += buckets[i]!.weight;
  }
  if (total === 0) return null;
  const { selection } = group;
  const hash = selection === null ? hashConversation(key) : hashMasked(selection.mask, selection.basis, key);
  let point = hash % total;
  for (let i = 0; i < buckets.length; i++) {
    if (!isLive(buckets[i]!, groups, sink)) continue;
    point -= buckets[i]!.weight;
    if (point < 0) return buckets[i]!;
  }
  return null;
}

/** Buckets that may still be looked at for the choice in hand. */
let left = 0;

/** A bucket that watches nothing is live; else one of what it watches must be. Groups may watch each other in a circle. */
function isLive(bucket: GroupBucket, groups: GroupTable, sink: PacketSink): boolean {
  if (bucket.watchPort === NOT_WATCHED && bucket.watchGroup === NOT_WATCHED) return true;
  if (bucket.watchPort !== NOT_WATCHED && sink.isLive(bucket.watchPort)) return true;
  if (bucket.watchGroup === NOT_WATCHED || --left < 0) return false;
  const watched = groups.get(bucket.watchGroup);
  if (watched === undefined) return false;
  for (let i = 0; i < watched.buckets.length; i++) {
    if (isLive(watched.buckets[i]!, groups, sink)) return true;
  }
  return false;
}
