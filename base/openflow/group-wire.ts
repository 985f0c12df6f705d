// Group-mod and buckets as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.4.2.

import type { Bucket, GroupType } from "./actions.js";
import { readActions, writeActions } from "./actions-wire.js";
import { OFP15_VERSION } from "./constants.js";
import type { GroupMod, GroupModCommand } from "./messages.js";
import { readGroupMod15, writeGroupMod15 } from "./v15/group-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

/** add_or_mod is Open vSwitch's: adds the group, or replaces the one there is. */
const OFPGC: Readonly<Record<GroupModCommand, number>> = { add: 0, modify: 1, delete: 2, add_or_mod: 0x8000 };
/** Group types on the wire, also the bit numbers of the group features. */
export const OFPGT: Readonly<Record<GroupType, number>> = { all: 0, select: 1, indirect: 2, ff: 3 };

const BUCKET_SIZE = 16;

export function readGroupMod(reader: Reader, xid: number): GroupMod {
  if (reader.version === OFP15_VERSION) return readGroupMod15(reader, xid);
  const at = reader.offset;
  const command = nameOf(OFPGC, reader.u16("group_mod.command"));
  const typeAt = reader.offset;
  reader.skip(2);
  const groupId = reader.u32("group_mod.group_id");
  const buckets = readBuckets(reader);
  // What is said of the buckets comes first, as in Open vSwitch.
  reader.offset = typeAt;
  const groupType = readGroupType(reader, "group_mod.type");
  reader.offset = reader.end;
  if (command === undefined) {
    const isMisfit = groupType === "indirect" && buckets.length !== 1;
    const error = isMisfit ? "OFPGMFC_INVALID_GROUP" : "OFPGMFC_BAD_COMMAND";
    throw reader.fail(error, "group_mod.command", "unknown command", at);
  }
  return { type: "group_mod", xid, command, groupType, groupId, buckets };
}

export function readGroupType(reader: Reader, field: string): GroupType {
  const at = reader.offset;
  const code = reader.u8(field);
  const groupType = nameOf(OFPGT, code);
  if (groupType === undefined) throw reader.fail("OFPGMFC_BAD_TYPE", field, `unknown type ${code}`, at);
  return groupType;
}

/** Reads buckets to the reader's end. */
export function readBuckets(reader: Reader): readonly Bucket[] {
  const buckets: Bucket[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    const length = reader.u16("bucket.len");
    if (length < BUCKET_SIZE || length - 2 > reader.left) {
      throw reader.fail("OFPGMFC_BAD_BUCKET", "bucket.len", `${length} of ${reader.left + 2} bytes`, at);
    }
    const body = reader.within(length - 2, "bucket", "OFPBAC_BAD_LEN");
    const weight = body.u16("bucket.weight");
    const watchPort = body.port("bucket.watch_port");
    const watchGroup = body.u32("bucket.watch_group");
    body.skip(4);
    buckets.push({ weight, watchPort, watchGroup, actions: readActions(body) });
  }
  return buckets;
}

export function writeGroupMod(writer: Writer, mod: GroupMod): void {
  if (writer.version === OFP15_VERSION) {
    writeGroupMod15(writer, mod);
    return;
  }
  writer.u16(OFPGC[mod.command]).u8(OFPGT[mod.groupType]).zero(1).u32(mod.groupId);
  writeBuckets(writer, mod.buckets);
}

export function writeBuckets(writer: Writer, buckets: readonly Bucket[]): void {
  for (const bucket of buckets) {
    const start = writer.size;
    writer.u16(0).u16(bucket.weight).u32(bucket.watchPort).u32(bucket.watchGroup).zero(4);
    writeActions(writer, bucket.actions);
    writer.setLength(start, start);
  }
}
