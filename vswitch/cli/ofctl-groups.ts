// Verbs of `plinth ofctl` about groups and meters. Source: ovs-ofctl(8).
import {
  type GroupMod,
  type GroupModCommand,
  type MeterModCommand,
  OFP10_VERSION,
  OFP15_VERSION,
  OFPG_ALL,
  OFPM_ALL,
  type Unsent,
} from "../../base/openflow/index.js";
import { askGroupDescription15, askGroups10 } from "./client-requests.js";
import { commandError } from "./errors.js";
import { type FileLine, readLines } from "./flow-file.js";
import { type GroupPart, parseGroup } from "./group-text.js";
import type { PortNumbers } from "./match-reader.js";
import { parseMeter } from "./meter-text.js";
import type { OfctlContext } from "./ofctl-context.js";
import { P_ANY, P_OF13_UP } from "./protocol-set.js";

type Arguments = readonly string[];
/** As the lines of a file begin. */
export type GroupCommand = "add" | "modify" | "add_or_mod" | "delete" | "insert_bucket" | "remove_bucket";
export const GROUP_COMMANDS: readonly GroupCommand[] = [
  ...(["add", "modify", "add_or_mod", "delete", "insert_bucket", "remove_bucket"] as const),
];
const OFPG15_BUCKET_ALL = 0xffffffff;

function partsOf(command: GroupCommand): ReadonlySet<GroupPart> {
  switch (command) {
    case "delete":
      return new Set();
    case "insert_bucket":
      return new Set(["bucket", "command_bucket"]);
    case "remove_bucket":
      return new Set(["command_bucket"]);
    default:
      return new Set(["type", "bucket"]);
  }
}

export function groupModOf(
  command: GroupCommand,
  text: string,
  ports: PortNumbers,
  version: number,
): Unsent<GroupMod> {
  const isDelete = command === "delete";
  const given = parseGroup(text, { needsId: !isDelete, ports, version, parts: partsOf(command) });
  const { groupId, groupType, buckets, selection, commandBucketId } = given;
  if (command === "insert_bucket" && commandBucketId === undefined)
    throw commandError("must specify a command bucket id");
  const isBucket = command === "insert_bucket" || command === "remove_bucket";
  if (isBucket && version !== OFP15_VERSION && version !== OFP10_VERSION) {
    const name = command.replace("_", "-");
    throw commandError(`${name} needs OpenFlow 1.5 or later ('-O OpenFlow15')`);
  }
  return {
    type: "group_mod",
    command: isBucket ? "add" : (command satisfies GroupModCommand),
    groupType: groupType ?? "all",
    groupId: groupId ?? OFPG_ALL,
    buckets,
    ...(selection && { selection }),
    ...(isBucket ? { bucketCommand: command, commandBucketId: commandBucketId ?? OFPG15_BUCKET_ALL } : {}),
  };
}

/** One group, or with "-" those of standard input. */
export function modifyGroup(command: GroupCommand) {
  return async (context: OfctlContext, [text = ""]: Arguments): Promise<number> => {
    if (text === "-") return modifyGroupsOfFile(command)(context, [text]);
    const usual = command === "modify" && context.flags.mayCreate ? "add_or_mod" : command;
    const ports = await context.numbers([text]);
    const version = await context.settleForChange(P_ANY);
    await context.change([groupModOf(usual, text, ports, version)]);
    return 0;
  };
}

/** Each line may begin with what is to be done with it. */
export function modifyGroupsOfFile(command: GroupCommand) {
  return async (context: OfctlContext, [path = "-"]: Arguments): Promise<number> => {
    const lines = await readLines(context.io, path, "-");
    const ports = await context.numbers(lines.map(({ text }) => text));
    const version = await context.settleForChange(P_ANY);
    await context.change(lines.map((line) => groupLine(line, command, ports, version)));
    return 0;
  };
}

function groupLine(
  line: FileLine,
  usual: GroupCommand,
  ports: PortNumbers,
  version: number,
): Unsent<GroupMod> {
  return line.parse((text) => {
    const word = /^\w+(?=\s|$)/.exec(text)?.[0] ?? "";
    const given = GROUP_COMMANDS.find((one) => one === word);
    const rest = given === undefined ? text : text.slice(word.length).trim();
    return groupModOf(given ?? usual, rest, ports, version);
  });
}

/** Versions before 1.5 tell all groups at once, whichever is asked for. */
export async function dumpGroups(context: OfctlContext, [text]: Arguments): Promise<number> {
  const { client } = context;
  const groupId = groupNamed(context, text);
  if (client.version === OFP10_VERSION) await context.dump(askGroups10("group_desc", groupId));
  else if (client.version === OFP15_VERSION) await context.dump(askGroupDescription15(groupId));
  else await context.dumpStatistics({ kind: "group_desc" });
  return 0;
}

/** What is no number is told of, and all groups are meant. */
function groupNamed({ warn }: OfctlContext, text: string | undefined): number {
  if (text === undefined || /^all$/i.test(text)) return OFPG_ALL;
  if (/^any$/i.test(text)) return 0xffffffff;
  if (/^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(text) && Number(text) <= 0xffffffff) return Number(text);
  const valid = "(Valid group IDs are 32-bit nonnegative integers or the keywords ANY or ALL.)";
  warn("ofp_group", `${text} is not a valid group ID.  ${valid}`);
  return OFPG_ALL;
}

export async function dumpGroupStats(context: OfctlContext, [text = ""]: Arguments): Promise<number> {
  const { client } = context;
  await context.numbers([text]);
  const parsed = parseGroup(text, { needsId: false, parts: new Set() });
  const groupId = parsed.groupId ?? OFPG_ALL;
  if (client.version === OFP10_VERSION) await context.dump(askGroups10("group", groupId));
  else await context.dumpStatistics({ kind: "group", groupId });
  return 0;
}

export function modifyMeter(command: "add" | "modify") {
  return async (context: OfctlContext, [text = ""]: Arguments): Promise<number> => {
    const mod = meterModOf(command, text);
    await context.settleForChange(P_OF13_UP);
    await context.client.send([mod]);
    return 0;
  };
}

export async function deleteMeters(context: OfctlContext, [text = ""]: Arguments): Promise<number> {
  const mod = meterModOf("delete", text);
  await context.settleForChange(P_OF13_UP);
  await context.client.send([mod]);
  return 0;
}

function meterModOf(command: MeterModCommand, text: string) {
  const { meterId, flags, bands } = parseMeter(text, command !== "delete");
  return { type: "meter_mod" as const, command, meterId: meterId ?? OFPM_ALL, flags, bands };
}

export function dumpMeters(kind: "meter" | "meter_config") {
  return async (context: OfctlContext, [text = ""]: Arguments): Promise<number> => {
    const meterId = parseMeter(text, false).meterId ?? OFPM_ALL;
    await context.settleForChange(P_OF13_UP);
    await context.dumpStatistics({ kind, meterId });
    return 0;
  };
}
