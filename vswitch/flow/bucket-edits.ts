// Buckets put into a group and taken out one by one, and what chooses among them: what OpenFlow 1.5 can ask of a group
// beyond 1.3, which Nicira gave to peers of 1.0.
// Source: OpenFlow Switch Specification 1.5.1, 6.7 and 7.3.4.3; ovs-ofctl(8), insert-buckets and selection_method.
import {
  type Bucket,
  type GroupMod,
  type GroupSelection,
  OFPG_BUCKET_ALL,
  OFPG_BUCKET_FIRST,
  OFPG_BUCKET_LAST,
} from "../../base/openflow/index.js";
import { flowError } from "./errors.js";
import { compileMatch } from "./fields.js";
import { KEY_WORDS } from "./key.js";

type NumberedBucket = Bucket & { readonly bucketId: number };

/** The buckets with a number each: those without one are counted from 0. */
export function numbered(buckets: readonly Bucket[]): NumberedBucket[] {
  return buckets.map((bucket, index) => ({ ...bucket, bucketId: bucket.bucketId ?? index }));
}

/** The buckets of a group after the group-mod with a bucketCommand. Throws with an OFPGMFC_ code. */
export function editBuckets(existing: readonly Bucket[], mod: GroupMod): readonly Bucket[] {
  const buckets = numbered(existing);
  const id = mod.commandBucketId ?? OFPG_BUCKET_ALL;
  return mod.bucketCommand === "insert_bucket" ? insert(buckets, mod, id) : remove(buckets, mod, id);
}

function insert(buckets: readonly NumberedBucket[], mod: GroupMod, id: number): readonly Bucket[] {
  if (id === OFPG_BUCKET_ALL) throw flowError("OFPGMFC_BAD_BUCKET", "buckets are put in at one place");
  const added = numbered(mod.buckets);
  const known = new Set(buckets.map(({ bucketId }) => bucketId));
  const twice = added.find(({ bucketId }) => known.has(bucketId));
  if (twice !== undefined)
    throw flowError("OFPGMFC_BUCKET_EXISTS", `group ${mod.groupId} has a bucket ${twice.bucketId}`);
  const at =
    id === OFPG_BUCKET_FIRST ? 0 : id === OFPG_BUCKET_LAST ? buckets.length : 1 + placeOf(buckets, mod, id);
  return [...buckets.slice(0, at), ...added, ...buckets.slice(at)];
}

function remove(buckets: readonly NumberedBucket[], mod: GroupMod, id: number): readonly Bucket[] {
  if (mod.buckets.length > 0) throw flowError("OFPGMFC_BAD_BUCKET", "a bucket is removed by its number");
  if (id === OFPG_BUCKET_ALL) return [];
  if (id === OFPG_BUCKET_FIRST) return buckets.slice(1);
  if (id === OFPG_BUCKET_LAST) return buckets.slice(0, -1);
  const at = placeOf(buckets, mod, id);
  return [...buckets.slice(0, at), ...buckets.slice(at + 1)];
}

function placeOf(buckets: readonly NumberedBucket[], { groupId }: GroupMod, id: number): number {
  const at = buckets.findIndex(({ bucketId }) => bucketId === id);
  if (at < 0) throw flowError("OFPGMFC_UNKNOWN_BUCKET", `group ${groupId} has no bucket ${id}`);
  return at;
}

/** What of a packet's key counts for the choice. */
export interface SelectionHash {
  readonly mask: Int32Array;
  readonly basis: number;
}

/**
 * Null: what tells conversations apart counts, as where nobody asked. The choice by "dp_hash" is left to the switch.
 * Throws OFPTFFC_BAD_ARGUMENT, which has the number of OFPBPC_BAD_VALUE.
 */
export function compileSelection(mod: Pick<GroupMod, "groupType" | "selection">): SelectionHash | null {
  const { selection, groupType } = mod;
  if (selection === undefined) return null;
  const { method, parameter, fields } = selection;
  if (groupType !== "select") throw badSelection("only groups of type select have a selection method");
  if (method !== "" && method !== "hash" && method !== "dp_hash")
    throw badSelection(`there is no selection method "${method}"`);
  if (method !== "hash" && fields.length > 0) throw badSelection(`${method} takes no fields`);
  return method === "hash" && fields.length > 0
    ? { mask: maskOf(fields), basis: Number(BigInt.asIntN(32, parameter ^ (parameter >> 32n))) }
    : null;
}

function badSelection(message: string): Error {
  return flowError("OFPTFFC_BAD_ARGUMENT", message);
}

/** Each value has the bits that count. */
function maskOf(fields: GroupSelection["fields"]): Int32Array {
  const mask = new Int32Array(KEY_WORDS);
  for (const { field, value } of fields) {
    const one = compileMatch([{ field, value, mask: value }]).mask;
    for (let word = 0; word < KEY_WORDS; word++) mask[word] = mask[word]! | one[word]!;
  }
  return mask;
}
