// Groups as people write them: "group_id=1,type=select,bucket=weight:50,actions=output:1". Pure.
// Source: ovs-ofctl(8), Group Syntax.
import {
  type Action,
  type Bucket,
  type GroupDescription,
  type GroupStats,
  type GroupType,
  OFPG_ALL,
  OFPG_ANY,
  OFPG_MAX,
  OFPP_ANY,
} from "../../base/openflow/index.js";
import { formatAction } from "./action-text.js";
import { formatDuration } from "./duration-text.js";
import { flowTextError } from "./errors.js";
import { parsePort } from "./field-text.js";
import { parseInstructions } from "./instruction-text.js";
import { splitKeyValues } from "./key-values.js";
import type { PortNumbers } from "./match-reader.js";
import { formatNamedPort, type PortNames } from "./match-text.js";
import { P_ANY, type ProtocolSet } from "./protocol-set.js";

const UNKNOWN_TIME = 0xffffffff;
const UNCOUNTED = 0xffffffffffffffffn;

export interface GroupText {
  readonly groupId: number | undefined;
  readonly groupType: GroupType | undefined;
  readonly buckets: readonly Bucket[];
  /** What can carry the group. */
  readonly protocols: ProtocolSet;
}

const TYPES: Readonly<Record<string, GroupType>> = {
  all: "all",
  select: "select",
  indirect: "indirect",
  ff: "ff",
  fast_failover: "ff",
};

/** Parses a group; `needsId` as for add-group and mod-group. Throws FLOW_TEXT_INVALID. */
export function parseGroup(
  text: string,
  options: { readonly needsId: boolean; readonly ports?: PortNumbers },
): GroupText {
  const at = text.search(/(^|[,\s])bucket\s*=/);
  const head = at < 0 ? text : text.slice(0, at);
  let groupId: number | undefined;
  let groupType: GroupType | undefined;
  for (const { key, value } of splitKeyValues(head)) {
    if (key === "group_id") groupId = parseGroupId(value);
    else if (key === "type") {
      groupType = Object.hasOwn(TYPES, value) ? TYPES[value] : undefined;
      if (groupType === undefined) throw flowTextError(`invalid group type ${value}`);
    } else if (key !== "command_bucket_id") throw flowTextError(`unknown keyword ${key}`);
  }
  if (options.needsId && groupId === undefined) throw flowTextError("must specify a group_id");
  if (options.needsId && groupType === undefined) throw flowTextError("must specify a type");
  const buckets =
    at < 0 ? [] : splitBuckets(text.slice(at)).map((one) => parseBucket(one, groupType, options.ports));
  if (groupType === "indirect" && buckets.length !== 1)
    throw flowTextError("Indirect groups can have at most one bucket.");
  return { groupId, groupType, buckets, protocols: P_ANY };
}

function parseGroupId(text: string): number {
  if (text === "all") return OFPG_ALL;
  if (text === "any") return OFPG_ANY;
  const id = /^(\d{1,10}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN;
  if (!(id <= OFPG_MAX)) throw flowTextError(`invalid group id ${text}`);
  return id;
}

function splitBuckets(text: string): string[] {
  return text
    .split(/(?:^|[,\s])bucket\s*=/)
    .slice(1)
    .map((part) => part.trim());
}

function parseBucket(text: string, type: GroupType | undefined, ports: PortNumbers | undefined): Bucket {
  let weight = type === "select" ? 1 : 0;
  let watchPort = OFPP_ANY;
  let watchGroup = OFPG_ANY;
  const actions: string[] = [];
  const explicit = /(^|[,\s])actions?=/.exec(text);
  const head = explicit === null ? text : text.slice(0, explicit.index);
  for (const { key, value, delimiter } of splitKeyValues(head)) {
    if (key === "weight") weight = numberOf(value, 0xffff, `invalid weight ${value}`);
    else if (key === "watch_port") watchPort = ports?.(value) ?? portOf(value);
    else if (key === "watch_group") watchGroup = parseGroupId(value);
    else if (key === "bucket_id") numberOf(value, 0xffffff00, `invalid bucket_id ${value}`);
    else actions.push(delimiter === "(" ? `${key}(${value})` : `${key}${delimiter}${value}`);
  }
  if (explicit !== null) actions.push(text.slice(explicit.index + explicit[0].length));
  if (actions.length === 0) throw flowTextError("bucket must specify actions");
  if (type === "ff" && watchPort === OFPP_ANY && watchGroup === OFPG_ANY)
    throw flowTextError(`fast_failover bucket must specify "watch_port" or "watch_group"`);
  return { weight, watchPort, watchGroup, actions: actionsOf(actions.join(",")) };
}

function actionsOf(text: string): readonly Action[] {
  const instructions = parseInstructions(text);
  const other = instructions.find(({ type }) => type !== "apply_actions");
  if (other !== undefined) throw flowTextError(`${other.type}: instructions are not allowed in buckets`);
  return instructions.flatMap((one) => (one.type === "apply_actions" ? one.actions : []));
}

function portOf(text: string): number {
  try {
    return parsePort(text);
  } catch {
    throw flowTextError(`invalid watch_port ${text}`);
  }
}

function numberOf(text: string, max: number, refusal: string): number {
  const number = /^(\d{1,10}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= max)) throw flowTextError(refusal);
  return number;
}

/** Without the leading space and newline. */
export function formatGroup(group: GroupDescription, names?: PortNames): string {
  const buckets = group.buckets.map((bucket) => {
    const parts = [
      ...(bucket.weight === (group.groupType === "select" ? 1 : 0) ? [] : [`weight:${bucket.weight}`]),
      ...(bucket.watchPort === OFPP_ANY ? [] : [`watch_port:${formatNamedPort(bucket.watchPort, names)}`]),
      ...(bucket.watchGroup === OFPG_ANY ? [] : [`watch_group:${bucket.watchGroup}`]),
      `actions=${bucket.actions.length === 0 ? "drop" : bucket.actions.map(formatAction).join(",")}`,
    ];
    return `bucket=${parts.join(",")}`;
  });
  return [`group_id=${group.groupId}`, `type=${group.groupType}`, ...buckets].join(",");
}

export function formatGroupStats(group: GroupStats): string {
  // A bucket that is not counted is not told.
  const buckets = group.buckets.flatMap(({ packetCount, byteCount }, i) =>
    packetCount === UNCOUNTED ? [] : [`bucket${i}:packet_count=${packetCount},byte_count=${byteCount}`],
  );
  return [
    `group_id=${group.groupId}`,
    ...(group.durationSeconds === UNKNOWN_TIME ? [] : [`duration=${formatDuration(group)}`]),
    `ref_count=${group.referenceCount}`,
    `packet_count=${group.packetCount}`,
    `byte_count=${group.byteCount}`,
    ...buckets,
  ].join(",");
}
