// Statistics, descriptions and features of groups for OpenFlow 1.0, which has no groups: Nicira's, whose bodies are those
// of later versions. Source: what ovs-ofctl says of them; OpenFlow Switch Specification 1.3.5, 7.3.5.9 and 7.3.5.11, and
// 1.5.1, 7.3.5.10. Readers and writers here begin behind Nicira's header.

import { OFP13_VERSION } from "../constants.js";
import type { GroupDescription, GroupStats, MultipartReplyBody, PerGroupType } from "../multipart.js";
import { readGroupStats, writeGroupStats } from "../stats-wire.js";
import { readGroupDescription15, writeGroupDescription15 } from "../v15/group-wire.js";
import { Reader, type Writer } from "../wire.js";

const NXST_GROUP = 7;
const NXST_GROUP_DESC = 8;
const NXST_GROUP_FEATURES = 9;
/** A bit for each action type of 1.0. */
const ACTIONS_10 = 0xfff;

const SUBTYPES = {
  group: NXST_GROUP,
  group_desc: NXST_GROUP_DESC,
  group_features: NXST_GROUP_FEATURES,
} as const;
export type GroupKind = keyof typeof SUBTYPES;

export function groupKindOf(subtype: number): GroupKind | undefined {
  return (Object.keys(SUBTYPES) as GroupKind[]).find((kind) => SUBTYPES[kind] === subtype);
}

export function groupSubtype(kind: string): number | undefined {
  return Object.hasOwn(SUBTYPES, kind) ? SUBTYPES[kind as GroupKind] : undefined;
}

export function readGroupReply(kind: GroupKind, reader: Reader): MultipartReplyBody {
  if (kind === "group_features") return readFeatures(reader);
  if (kind === "group_desc") {
    const groups: GroupDescription[] = [];
    while (reader.left > 0) groups.push(readGroupDescription15(reader));
    return { kind, groups };
  }
  // As 1.3 has it, with a duration.
  const body = new Reader(reader.bytes, reader.offset, reader.end, reader.lengthError, OFP13_VERSION);
  const groups: GroupStats[] = [];
  while (body.left > 0) groups.push(readGroupStats(body));
  reader.skip(reader.left);
  return { kind, groups };
}

function readFeatures(reader: Reader): MultipartReplyBody {
  const four = (field: string): PerGroupType => [
    ...([reader.u32(field), reader.u32(field), reader.u32(field), reader.u32(field)] as const),
  ];
  return {
    kind: "group_features",
    types: reader.u32("group_features.types"),
    capabilities: reader.u32("group_features.capabilities"),
    maxGroups: four("group_features.max_groups"),
    actions: four("group_features.actions"),
  };
}

/** One writer per group; of features, one. */
export function groupElements(body: MultipartReplyBody): ((writer: Writer) => void)[] | undefined {
  switch (body.kind) {
    case "group":
      return body.groups.map((group) => (writer) => writeGroupStats(writer, group));
    case "group_desc":
      return body.groups.map((group) => (writer) => writeGroupDescription15(writer, group));
    case "group_features":
      return [
        (writer) => {
          writer.u32(body.types).u32(body.capabilities);
          for (const most of body.maxGroups) writer.u32(most);
          for (const actions of body.actions) writer.u32(actions === 0 ? 0 : ACTIONS_10);
        },
      ];
    default:
      return undefined;
  }
}
