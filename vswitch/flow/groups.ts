// The group table: groups with compiled buckets, checked against loops and missing references.
// Source: OpenFlow 1.3.5, 5.6 and 7.3.4.2. Thread: datapath worker.
import {
  type Action,
  type GroupDescription,
  type GroupMod,
  type GroupStats,
  type GroupType,
  OFPG_ALL,
  OFPG_ANY,
  OFPG_MAX,
  OFPP_ANY,
} from "../../base/openflow/index.js";
import { compileSelection, editBuckets, numbered, type SelectionHash } from "./bucket-edits.js";
import type { ActionContext } from "./compile-actions.js";
import { compileBucket } from "./compile-instructions.js";
import { flowError } from "./errors.js";
import { BUCKETS_MAX, GROUPS_MAX } from "./limits.js";
import type { Program } from "./program.js";
import type { TunnelOptions } from "./tunnel-options.js";

/** Number for anything that is not watched. */
export const NOT_WATCHED = -1;

export class GroupBucket {
  readonly index: number;
  readonly program: Program;
  readonly weight: number;
  /** NOT_WATCHED or a port number. */
  readonly watchPort: number;
  readonly watchGroup: number;
  packets = 0;
  bytes = 0;

  constructor(index: number, program: Program, weight: number, watchPort: number, watchGroup: number) {
    this.index = index;
    this.program = program;
    this.weight = weight;
    this.watchPort = watchPort;
    this.watchGroup = watchGroup;
  }
}

export const GROUP_ALL = 0;
export const GROUP_SELECT = 1;
export const GROUP_INDIRECT = 2;
export const GROUP_FF = 3;
const KINDS: Readonly<Record<GroupType, number>> = {
  all: GROUP_ALL,
  select: GROUP_SELECT,
  indirect: GROUP_INDIRECT,
  ff: GROUP_FF,
};

export class Group {
  readonly description: GroupDescription;
  readonly kind: number;
  readonly buckets: readonly GroupBucket[];
  readonly createdMs: number;
  /** Of a select group for which a controller chose the fields. */
  readonly selection: SelectionHash | null;
  packets = 0;
  bytes = 0;

  constructor(description: GroupDescription, buckets: readonly GroupBucket[], createdMs: number) {
    this.description = description;
    this.kind = KINDS[description.groupType];
    this.selection = compileSelection(description);
    this.buckets = buckets;
    this.createdMs = createdMs;
  }
}

export class GroupTable {
  #groups = new Map<number, Group>();
  readonly #options: TunnelOptions | undefined;

  constructor(options?: TunnelOptions) {
    this.#options = options;
  }

  get(groupId: number): Group | undefined {
    return this.#groups.get(groupId);
  }

  has(groupId: number): boolean {
    return this.#groups.has(groupId);
  }

  /** The group-mod that makes of the group what this one has made of it, where it named only a bucket. */
  whole(mod: GroupMod): GroupMod {
    const group = mod.bucketCommand === undefined ? undefined : this.#groups.get(mod.groupId);
    return group === undefined ? mod : { ...group.description, type: "group_mod", xid: 0, command: "modify" };
  }

  /** All groups as of now, for restore(). */
  snapshot(): ReadonlyMap<number, Group> {
    return new Map(this.#groups);
  }

  restore(groups: ReadonlyMap<number, Group>): void {
    this.#groups = new Map(groups);
  }

  /** Throws with an OFPGMFC_ (or OFPBAC_) code. Returns the ids of deleted groups, whose flows must go too. */
  apply(mod: GroupMod, nowMs: number): readonly number[] {
    if (mod.command === "delete") return this.#delete(mod.groupId);
    const existing = this.#groups.get(mod.groupId);
    if (mod.command === "add" && existing !== undefined)
      throw flowError("OFPGMFC_GROUP_EXISTS", `there is a group ${mod.groupId}`);
    if (mod.command === "modify" && existing === undefined)
      throw flowError("OFPGMFC_UNKNOWN_GROUP", `there is no group ${mod.groupId}`);
    if (mod.groupId > OFPG_MAX) throw flowError("OFPGMFC_INVALID_GROUP", `group number ${mod.groupId}`);
    if (existing === undefined && this.#groups.size >= GROUPS_MAX)
      throw flowError("OFPGMFC_OUT_OF_GROUPS", `at most ${GROUPS_MAX} groups`);
    if (existing === undefined) {
      this.#put(mod, nowMs);
      return [];
    }
    if (mod.bucketCommand === undefined) {
      // The group itself goes on; its buckets are others, and begin anew (1.5.1, 6.7).
      const modified = this.#put(mod, existing.createdMs);
      modified.packets = existing.packets;
      modified.bytes = existing.bytes;
      return [];
    }
    const { description } = existing;
    const edited = this.#put(
      { ...description, buckets: editBuckets(description.buckets, mod) },
      existing.createdMs,
    );
    keepCounters(existing, edited);
    return [];
  }

  #put(wanted: GroupDescription, nowMs: number): Group {
    const { groupType, groupId, buckets, selection } = wanted;
    this.#check(wanted);
    const context: ActionContext = {
      groupExists: (id) => this.#groups.has(id),
      ...(this.#options === undefined ? {} : { options: this.#options }),
      passesUnmapped: true,
    };
    const compiled = buckets.map(
      (bucket, index) =>
        new GroupBucket(
          index,
          compileBucket(bucket.actions, context),
          bucket.weight,
          bucket.watchPort === OFPP_ANY ? NOT_WATCHED : bucket.watchPort,
          bucket.watchGroup === OFPG_ANY ? NOT_WATCHED : bucket.watchGroup,
        ),
    );
    const description = { groupType, groupId, buckets, ...(selection === undefined ? {} : { selection }) };
    const group = new Group(description, compiled, nowMs);
    this.#groups.set(groupId, group);
    return group;
  }

  /** Compiles every group anew: the options of tunnels have changed. */
  renew(): void {
    for (const before of [...this.#groups.values()])
      keepCounters(before, this.#put(before.description, before.createdMs));
  }

  /** `flowReferences`: how many flows refer to each group. */
  stats(nowMs: number, flowReferences: ReadonlyMap<number, number>): GroupStats[] {
    const referring = new Map<number, number>();
    for (const other of this.#groups.values())
      for (const id of new Set(referencesOf(other))) referring.set(id, (referring.get(id) ?? 0) + 1); // cold
    return [...this.#groups.values()].map((group) => {
      const { groupId } = group.description;
      return {
        groupId,
        referenceCount: (flowReferences.get(groupId) ?? 0) + (referring.get(groupId) ?? 0),
        packetCount: BigInt(group.packets),
        byteCount: BigInt(group.bytes),
        durationSeconds: Math.floor((nowMs - group.createdMs) / 1000),
        durationNanoseconds: Math.floor(((nowMs - group.createdMs) % 1000) * 1e6),
        buckets: group.buckets.map((bucket) => ({
          packetCount: BigInt(bucket.packets),
          byteCount: BigInt(bucket.bytes),
        })),
      };
    });
  }

  descriptions(): GroupDescription[] {
    return [...this.#groups.values()].map((group) => group.description);
  }

  #check(mod: GroupDescription): void {
    if (mod.buckets.length > BUCKETS_MAX)
      throw flowError("OFPGMFC_OUT_OF_BUCKETS", `${mod.buckets.length} buckets; at most ${BUCKETS_MAX}`);
    if (mod.groupType === "indirect" && mod.buckets.length !== 1)
      throw flowError("OFPGMFC_INVALID_GROUP", "an indirect group has exactly one bucket");
    for (const bucket of mod.buckets) {
      if (mod.groupType !== "select" && bucket.weight !== 0)
        throw flowError("OFPGMFC_INVALID_GROUP", "only select groups have weights");
      const watches = bucket.watchPort !== OFPP_ANY || bucket.watchGroup !== OFPG_ANY;
      if (watches && (mod.groupType === "all" || mod.groupType === "indirect"))
        throw flowError("OFPGMFC_WATCH_UNSUPPORTED", `buckets of type ${mod.groupType} watch nothing`);
      if (bucket.watchGroup !== OFPG_ANY && bucket.watchGroup > OFPG_MAX)
        throw flowError("OFPGMFC_BAD_WATCH", `there can be no group ${bucket.watchGroup}`);
      if (mod.groupType === "ff" && !watches)
        throw flowError("OFPGMFC_INVALID_GROUP", "a fast-failover bucket watches a port or a group");
      for (const groupId of groupsIn(bucket.actions)) {
        if (this.#reaches(groupId, mod.groupId))
          throw flowError("OFPGMFC_LOOP", `group ${mod.groupId} would contain itself`);
      }
    }
  }

  #reaches(from: number, target: number): boolean {
    const seen = new Set<number>();
    const todo = [from];
    for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
      if (id === target) return true;
      if (seen.has(id)) continue;
      seen.add(id);
      const group = this.#groups.get(id);
      if (group !== undefined) todo.push(...referencesOf(group));
    }
    return false;
  }

  /** We check chains (OFPGFC_CHAINING_CHECKS), so a group that others forward to stays (6.5). */
  #delete(groupId: number): readonly number[] {
    if (groupId === OFPG_ALL) {
      const gone = [...this.#groups.keys()];
      this.#groups.clear();
      return gone;
    }
    if (!this.#groups.has(groupId)) return [];
    for (const [other, group] of this.#groups) {
      if (other !== groupId && referencesOf(group).includes(groupId))
        throw flowError("OFPGMFC_CHAINED_GROUP", `group ${other} forwards to group ${groupId}`);
    }
    this.#groups.delete(groupId);
    return [groupId];
  }
}

/** What has been counted for the group, and for the buckets that it still has, goes on. */
function keepCounters(before: Group, after: Group): void {
  const old = numbered(before.description.buckets);
  after.packets = before.packets;
  after.bytes = before.bytes;
  for (const [index, { bucketId }] of numbered(after.description.buckets).entries()) {
    const was = before.buckets[old.findIndex((one) => one.bucketId === bucketId)]; // cold
    if (was === undefined) continue;
    const bucket = after.buckets[index]!;
    bucket.packets = was.packets;
    bucket.bytes = was.bytes;
  }
}

function referencesOf(group: Group): number[] {
  return group.description.buckets.flatMap(({ actions }) => groupsIn(actions));
}

function groupsIn(actions: readonly Action[]): number[] {
  return actions.flatMap((action) => {
    if (action.type === "clone") return groupsIn(action.actions);
    return action.type === "group" ? [action.groupId] : [];
  });
}
