// Groups as people write them: "group_id=1,type=select,bucket=weight:50,actions=output:1". Pure.
// Source: ovs-ofctl(8), Group Syntax.
import {
  type Action,
  type Bucket,
  type GroupDescription,
  type GroupMod,
  type GroupSelection,
  type GroupStats,
  type GroupType,
  OFP13_VERSION,
  OFPG_ALL,
  OFPG_ANY,
  OFPG_MAX,
  OFPP_ANY,
  OXM_FIELDS,
  OXM_NAMES,
  type OxmEntry,
} from "../../base/openflow/index.js";
import { formatDuration } from "./duration-text.js";
import { flowTextError } from "./errors.js";
import {
  bytesToNumber,
  fieldNamed,
  formatFieldValue,
  numberToBytes,
  parseFieldValue,
  parsePort,
} from "./field-text.js";
import { parseInstructions } from "./instruction-text.js";
import { splitKeyValues } from "./key-values.js";
import type { PortNumbers } from "./match-reader.js";
import { formatNamedPort, type PortNames } from "./match-text.js";
import { P_ANY, type ProtocolSet } from "./protocol-set.js";
import { splitList, splitPair } from "./range-text.js";
import { actionsText } from "./version-text.js";

const UNKNOWN_TIME = 0xffffffff;
const UNCOUNTED = 0xffffffffffffffffn;

export interface GroupText {
  readonly groupId: number | undefined;
  readonly groupType: GroupType | undefined;
  readonly buckets: readonly Bucket[];
  /** Where buckets are to go, or which are. */
  readonly commandBucketId: number | undefined;
  /** How a bucket is chosen, where it is said. */
  readonly selection: GroupSelection | undefined;
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

export interface GroupOptions {
  readonly needsId: boolean;
  readonly ports?: PortNumbers;
  /** Whose actions are wanted; default: 1.3. */
  readonly version?: number;
  /** What else may be said; default: all of a group, and nothing of single buckets. */
  readonly parts?: ReadonlySet<GroupPart>;
}

/** A type, buckets, a bucket that the command is about. */
export type GroupPart = "type" | "bucket" | "command_bucket";
const WHOLE_GROUP: ReadonlySet<GroupPart> = new Set(["type", "bucket"]);

/** Parses a group; `needsId` as for add-group and mod-group. Throws FLOW_TEXT_INVALID. */
export function parseGroup(text: string, options: GroupOptions): GroupText {
  const at = text.search(/(^|[,\s])bucket\s*=/);
  const head = at < 0 ? text : text.slice(0, at);
  let groupId: number | undefined;
  let groupType: GroupType | undefined;
  let commandBucketId: number | undefined;
  const parts = options.parts ?? WHOLE_GROUP;
  let [method, parameter] = ["", 0n];
  const fields: OxmEntry[] = [];
  for (const { key, value } of splitKeyValues(head)) {
    if (key === "group_id") groupId = parseGroupId(value);
    else if (key === "type") {
      if (!parts.has("type")) throw flowTextError("type is not needed");
      groupType = Object.hasOwn(TYPES, value) ? TYPES[value] : undefined;
      if (groupType === undefined) throw flowTextError(`invalid group type ${value}`);
    } else if (key === "selection_method") method = value;
    else if (key === "selection_method_param")
      parameter = BigInt(numberOf(value, Number.MAX_SAFE_INTEGER, `invalid selection_method_param ${value}`));
    else if (key === "fields") fields.push(...splitList(value).map(parseSelected));
    else if (key === "command_bucket_id") {
      if (!parts.has("command_bucket")) throw flowTextError("command bucket id is not needed");
      commandBucketId = bucketIdOf(value);
    } else throw flowTextError(`unknown keyword ${key}`);
  }
  if (at >= 0 && !parts.has("bucket")) throw flowTextError("bucket is not needed");
  if (options.needsId && groupId === undefined) throw flowTextError("must specify a group_id");
  if (options.needsId && parts.has("type") && groupType === undefined)
    throw flowTextError("must specify a type");
  const buckets =
    at < 0 ? [] : splitBuckets(text.slice(at)).map((one) => parseBucket(one, groupType, options));
  if (groupType === "indirect" && buckets.length !== 1)
    throw flowTextError("Indirect groups can have at most one bucket.");
  if (groupType !== "select" && (method !== "" || fields.length > 0))
    throw flowTextError("selection method is only allowed for select groups");
  if (fields.length > 0 && method !== "hash")
    throw flowTextError('fields may only be specified with "selection_method=hash"');
  const selection = method === "" ? undefined : { method, parameter, fields };
  return { groupId, groupType, buckets, commandBucketId, selection, protocols: P_ANY };
}

/** FIELD, of which all bits count, or FIELD=MASK. */
function parseSelected(text: string): OxmEntry {
  const [name, mask] = splitPair(text);
  const field = fieldNamed(name.trim());
  const ones = numberToBytes((1n << BigInt(field.bits)) - 1n, field.size);
  return { field: field.name, value: mask === undefined ? ones : parseFieldValue(field, mask).value };
}

function parseGroupId(text: string): number {
  if (text === "all") return OFPG_ALL;
  if (text === "any") return OFPG_ANY;
  const id = /^(\d{1,10}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN;
  if (!(id <= OFPG_MAX)) throw flowTextError(`invalid group id ${text}`);
  return id;
}

/** A bucket's number, or a word for some. */
function bucketIdOf(text: string): number {
  const word = Object.entries(BUCKET_WORDS).find(([, name]) => name === text)?.[0];
  if (word !== undefined) return Number(word);
  return numberOf(text, 0xffffff00, `invalid numeric format ${text}`);
}

function splitBuckets(text: string): string[] {
  return text
    .split(/(?:^|[,\s])bucket\s*=/)
    .slice(1)
    .map((part) => part.trim());
}

function parseBucket(
  text: string,
  type: GroupType | undefined,
  { ports, version = OFP13_VERSION }: GroupOptions,
): Bucket {
  let weight = type === "select" ? 1 : 0;
  let watchPort = OFPP_ANY;
  let watchGroup = OFPG_ANY;
  let bucketId: number | undefined;
  const actions: string[] = [];
  const explicit = /(^|[,\s])actions?=/.exec(text);
  const head = explicit === null ? text : text.slice(0, explicit.index);
  for (const { key, value, delimiter } of splitKeyValues(head)) {
    if (key === "weight") weight = numberOf(value, 0xffff, `invalid weight ${value}`);
    else if (key === "watch_port") watchPort = ports?.(value) ?? portOf(value);
    else if (key === "watch_group") watchGroup = parseGroupId(value);
    else if (key === "bucket_id") bucketId = numberOf(value, 0xffffff00, `invalid bucket_id ${value}`);
    else actions.push(delimiter === "(" ? `${key}(${value})` : `${key}${delimiter}${value}`);
  }
  if (explicit !== null) actions.push(text.slice(explicit.index + explicit[0].length));
  if (type !== "select" && weight !== 0) throw flowTextError("Only select groups can have bucket weights.");
  if (actions.length === 0) throw flowTextError("bucket must specify actions");
  if (type === "ff" && watchPort === OFPP_ANY && watchGroup === OFPG_ANY)
    throw flowTextError(`fast_failover bucket must specify "watch_port" or "watch_group"`);
  return {
    ...{ weight, watchPort, watchGroup, actions: actionsOf(actions.join(","), version, ports) },
    ...(bucketId === undefined ? {} : { bucketId }),
  };
}

function actionsOf(text: string, version: number, ports: PortNumbers | undefined): readonly Action[] {
  const instructions = parseInstructions(text, { version, ports });
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
export function formatGroup(
  group: GroupDescription,
  names?: PortNames,
  version: number = OFP13_VERSION,
): string {
  const buckets = bucketsText(group.buckets, group.groupType, version, names);
  return [
    `group_id=${group.groupId}`,
    `type=${group.groupType}`,
    ...selectionParts(group.selection),
    ...buckets,
  ].join(",");
}

/** In 1.5, what is to be done with the buckets themselves. */
export function formatBucketCommand(mod: GroupMod, names: PortNames | undefined, version: number): string {
  const id = mod.commandBucketId ?? 0;
  const buckets = bucketsText(mod.buckets, mod.groupType, version, names);
  const head = `command_bucket_id:${BUCKET_WORDS[id] ?? id},group_id=${mod.groupId}`;
  return [head, ...selectionParts(mod.selection), ...buckets].join(",");
}

const BUCKET_WORDS: Readonly<Record<number, string>> = {
  4294967293: "first",
  4294967294: "last",
  4294967295: "all",
};

function bucketsText(
  buckets: readonly Bucket[],
  type: GroupType,
  version: number,
  names: PortNames | undefined,
): string[] {
  return buckets.map((bucket) => {
    const parts = [
      ...(bucket.bucketId === undefined ? [] : [`bucket_id:${bucket.bucketId}`]),
      ...(bucket.weight === (type === "select" ? 1 : 0) ? [] : [`weight:${bucket.weight}`]),
      ...(bucket.watchPort === OFPP_ANY ? [] : [`watch_port:${formatNamedPort(bucket.watchPort, names)}`]),
      ...(bucket.watchGroup === OFPG_ANY ? [] : [`watch_group:${bucket.watchGroup}`]),
      `actions=${actionsText(bucket.actions, version, names)}`,
    ];
    return `bucket=${parts.join(",")}`;
  });
}

function selectionParts(selection: GroupSelection | undefined): string[] {
  if (selection === undefined || selection.method === "") return [];
  const { method, parameter, fields } = selection;
  const told = fields.map(selectedField);
  const text = told.length === 1 ? `fields=${told[0]}` : `fields(${told.join(",")})`;
  return [
    `selection_method=${method}`,
    ...(parameter === 0n ? [] : [`selection_method_param=${parameter}`]),
    ...(told.length === 0 ? [] : [text]),
  ];
}

/** The bits that count are told where not all do. */
function selectedField({ field, value }: OxmEntry): string {
  const known = OXM_FIELDS[field];
  const isWhole = bytesToNumber(value) === (1n << BigInt(known.bits)) - 1n;
  const { manual } = OXM_NAMES[field];
  return isWhole ? manual : `${manual}=${formatFieldValue(known, { value })}`;
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
