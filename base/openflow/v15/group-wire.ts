// Groups of OpenFlow 1.5, whose buckets have numbers and can be added and removed one by one, and which may say how a
// bucket is selected; Nicira has the same for 1.0. Source: OpenFlow Switch Specification 1.5.1, 7.3.4.3; Netronome's
// extension for selection methods as ovs-ofctl(8) documents it.

import type { Action, Bucket, GroupSelection, OxmEntry } from "../actions.js";
import { readActions, writeActions } from "../actions-wire.js";
import { OFPG_ANY, OFPG_BUCKET_ALL, OFPP_ANY } from "../constants.js";
import { OFPGT, readGroupType } from "../group-wire.js";
import { readSelectedField, writeOxm } from "../match-wire.js";
import type { GroupMod, GroupModCommand } from "../messages.js";
import type { GroupDescription } from "../multipart.js";
import { readActions10, writeActions10 } from "../v10/actions-wire.js";
import { OFP10_VERSION } from "../v10/numbers.js";
import { readProperties } from "../v14/port-wire.js";
import { nameOf, type Reader, type Writer } from "../wire.js";

const OFPGC: Readonly<Record<GroupModCommand, number>> = { add: 0, modify: 1, delete: 2, add_or_mod: 0x8000 };
const OFPGC_INSERT_BUCKET = 3;
const OFPGC_REMOVE_BUCKET = 5;
const OFPGBPT_WEIGHT = 0;
const OFPGBPT_WATCH_PORT = 1;
const OFPGBPT_WATCH_GROUP = 2;
const EXPERIMENTER = 0xffff;
const NTR_EXPERIMENTER = 0x0000154d;
const NTRT_SELECTION_METHOD = 1;
const METHOD_SIZE = 16;
const BUCKET_SIZE = 8;

export function readGroupMod15(reader: Reader, xid: number): GroupMod {
  const at = reader.offset;
  const code = reader.u16("group_mod.command");
  const bucketCommand =
    code === OFPGC_INSERT_BUCKET
      ? "insert_bucket"
      : code === OFPGC_REMOVE_BUCKET
        ? "remove_bucket"
        : undefined;
  const command = bucketCommand === undefined ? nameOf(OFPGC, code) : "modify";
  if (command === undefined) throw reader.fail("OFPGMFC_BAD_COMMAND", "group_mod.command", `${code}`, at);
  const groupType = readGroupType(reader, "group_mod.type");
  reader.skip(1);
  const groupId = reader.u32("group_mod.group_id");
  const size = reader.u16("group_mod.bucket_array_len");
  reader.skip(2);
  const commandBucketId = reader.u32("group_mod.command_bucket_id");
  const buckets = readBuckets15(
    reader.within(size, "group_mod.buckets", "OFPBRC_BAD_LEN"),
    groupType === "select",
  );
  const selection = readSelection(reader);
  return {
    ...{ type: "group_mod", xid, command, groupType, groupId, buckets, commandBucketId },
    ...(bucketCommand === undefined ? {} : { bucketCommand }),
    ...(selection === undefined ? {} : { selection }),
  };
}

export function readGroupDescription15(reader: Reader): GroupDescription {
  const at = reader.offset;
  const length = reader.u16("group_desc.length");
  if (length < 16 || length - 2 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "group_desc.length", `${length}`, at);
  const body = reader.within(length - 2, "group_desc");
  const groupType = readGroupType(body, "group_desc.type");
  body.skip(1);
  const groupId = body.u32("group_desc.group_id");
  const size = body.u16("group_desc.bucket_array_len");
  body.skip(6);
  const buckets = readBuckets15(
    body.within(size, "group_desc.buckets", "OFPBRC_BAD_LEN"),
    groupType === "select",
  );
  const selection = readSelection(body);
  return { groupType, groupId, buckets, ...(selection === undefined ? {} : { selection }) };
}

export function writeGroupDescription15(writer: Writer, group: GroupDescription): void {
  const start = writer.size;
  writer.u16(0).u8(OFPGT[group.groupType]).zero(1).u32(group.groupId);
  const lengthAt = writer.size;
  writer.u16(0).zero(6);
  const first = writer.size;
  let next = 0;
  for (const bucket of group.buckets)
    writeBucket15(writer, bucket, bucket.bucketId ?? next++, group.groupType === "select");
  writer.setLength(lengthAt, first);
  if (group.selection !== undefined) writeSelection(writer, group.selection);
  writer.setLength(start, start);
}

function readBuckets15(reader: Reader, isSelect: boolean): readonly Bucket[] {
  const buckets: Bucket[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const fail = (detail: string) => reader.fail("OFPGMFC_BAD_BUCKET", "bucket", detail, at);
    if (reader.left < BUCKET_SIZE) throw fail(`${reader.left} bytes`);
    const [length, actionsSize] = [reader.u16("bucket.len"), reader.u16("bucket.action_array_len")];
    const bucketId = reader.u32("bucket.bucket_id");
    if (length < BUCKET_SIZE || length - BUCKET_SIZE > reader.left || actionsSize > length - BUCKET_SIZE)
      throw fail(`${length} bytes`);
    const body = reader.within(length - BUCKET_SIZE, "bucket", "OFPBAC_BAD_LEN");
    const list = body.within(actionsSize, "bucket.actions", "OFPBAC_BAD_LEN");
    const actions = reader.version === OFP10_VERSION ? readActions10(list) : readActions(list);
    let [weight, watchPort, watchGroup] = [isSelect ? 1 : 0, OFPP_ANY, OFPG_ANY];
    for (const { type, body: property } of readProperties(body, "bucket.property")) {
      if (type === OFPGBPT_WEIGHT) weight = property.u16("bucket.weight");
      else if (type === OFPGBPT_WATCH_PORT) watchPort = property.port("bucket.watch_port");
      else if (type === OFPGBPT_WATCH_GROUP) watchGroup = property.u32("bucket.watch_group");
      else throw property.fail("OFPTFFC_BAD_TYPE", "bucket.property", `${type}`);
    }
    if (buckets.some((other) => other.bucketId === bucketId)) throw fail(`two have the number ${bucketId}`);
    buckets.push({ weight, watchPort, watchGroup, actions, bucketId });
  }
  return buckets;
}

function readSelection(reader: Reader): GroupSelection | undefined {
  let selection: GroupSelection | undefined;
  for (const { type, body } of readProperties(reader, "group.property")) {
    if (type !== EXPERIMENTER) throw body.fail("OFPTFFC_BAD_TYPE", "group.property", `${type}`);
    const [experimenter, expType] = [body.u32("property.experimenter"), body.u32("property.exp_type")];
    if (experimenter !== NTR_EXPERIMENTER || expType !== NTRT_SELECTION_METHOD)
      throw body.fail("OFPTFFC_BAD_TYPE", "group.property", `${experimenter} ${expType}`);
    body.skip(4);
    const method = body.text(METHOD_SIZE, "selection_method");
    const parameter = body.u64("selection_method_param");
    const fields: OxmEntry[] = [];
    while (body.left > 0) fields.push(readSelectedField(body));
    selection = { method, parameter, fields };
  }
  return selection;
}

export function writeGroupMod15(writer: Writer, mod: GroupMod): void {
  const { bucketCommand } = mod;
  const command =
    bucketCommand === "insert_bucket"
      ? OFPGC_INSERT_BUCKET
      : bucketCommand === "remove_bucket"
        ? OFPGC_REMOVE_BUCKET
        : OFPGC[mod.command];
  writer.u16(command).u8(OFPGT[mod.groupType]).zero(1).u32(mod.groupId);
  const lengthAt = writer.size;
  writer
    .u16(0)
    .zero(2)
    .u32(mod.commandBucketId ?? OFPG_BUCKET_ALL);
  const start = writer.size;
  // Buckets without a number of their own are counted from 0.
  let next = 0;
  for (const bucket of mod.buckets)
    writeBucket15(writer, bucket, bucket.bucketId ?? next++, mod.groupType === "select");
  writer.setLength(lengthAt, start);
  if (mod.selection !== undefined) writeSelection(writer, mod.selection);
}

function writeBucket15(writer: Writer, bucket: Bucket, bucketId: number, isSelect: boolean): void {
  const start = writer.size;
  writer.u16(0).u16(0).u32(bucketId);
  writeList(writer, bucket.actions);
  writer.setLength(start + 2, start + BUCKET_SIZE);
  if (isSelect) writer.u16(OFPGBPT_WEIGHT).u16(8).u16(bucket.weight).zero(2);
  if (bucket.watchPort !== OFPP_ANY) writer.u16(OFPGBPT_WATCH_PORT).u16(8).u32(bucket.watchPort);
  if (bucket.watchGroup !== OFPG_ANY) writer.u16(OFPGBPT_WATCH_GROUP).u16(8).u32(bucket.watchGroup);
  writer.setLength(start, start);
}

function writeList(writer: Writer, actions: readonly Action[]): void {
  if (writer.version === OFP10_VERSION) writeActions10(writer, actions);
  else writeActions(writer, actions);
}

/** A field whose mask is all ones is written without its value's meaning: the value is the mask. */
function writeSelection(writer: Writer, { method, parameter, fields }: GroupSelection): void {
  const start = writer.size;
  writer.u16(EXPERIMENTER).u16(0).u32(NTR_EXPERIMENTER).u32(NTRT_SELECTION_METHOD).zero(4);
  writer.text(method, METHOD_SIZE).u64(parameter);
  for (const { field, value } of fields) writeOxm(writer, { field, value });
  writer.setLength(start + 2, start);
  writer.align8(start);
}
