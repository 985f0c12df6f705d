// Verbs of `plinth ofctl` about groups and meters. Source: ovs-ofctl(8).
import {
  type GroupMod,
  type GroupModCommand,
  type MeterModCommand,
  OFPG_ALL,
  OFPM_ALL,
  type Unsent,
} from "../../base/openflow/index.js";
import { commandError } from "./errors.js";
import { readLines } from "./flow-file.js";
import { parseGroup } from "./group-text.js";
import type { PortNumbers } from "./match-reader.js";
import { parseMeter } from "./meter-text.js";
import type { OfctlContext } from "./ofctl-context.js";

type Arguments = readonly string[];

function groupModOf(command: GroupModCommand, text: string, ports: PortNumbers): Unsent<GroupMod> {
  const isDelete = command === "delete";
  const { groupId, groupType, buckets } = parseGroup(text, { needsId: !isDelete, ports });
  return {
    type: "group_mod",
    command,
    groupType: groupType ?? "all",
    groupId: groupId ?? OFPG_ALL,
    buckets: isDelete ? [] : buckets,
  };
}

export function modifyGroup(command: "add" | "modify") {
  return async (context: OfctlContext, [text = ""]: Arguments): Promise<number> => {
    const mod = groupModOf(command, text, await context.numbers([text]));
    await context.change([
      command === "modify" && context.flags.mayCreate ? { ...mod, command: "add_or_mod" } : mod,
    ]);
    return 0;
  };
}

/** add-groups: each line may begin with "add", "modify" or "delete". */
export async function addGroups(context: OfctlContext, [path = "-"]: Arguments): Promise<number> {
  const lines = await readLines(context.io, path);
  const ports = await context.numbers(lines.map(({ text }) => text));
  const mods = lines.map((line) =>
    line.parse((text) => {
      const word = /^(add|modify|delete)(?=\s)/.exec(text)?.[1] as GroupModCommand | undefined;
      return groupModOf(word ?? "add", word === undefined ? text : text.slice(word.length), ports);
    }),
  );
  await context.change(mods);
  return 0;
}

export async function deleteGroups(context: OfctlContext, [text = ""]: Arguments): Promise<number> {
  await context.change([groupModOf("delete", text, await context.numbers([text]))]);
  return 0;
}

/** Changing single buckets came with OpenFlow 1.5. */
export function changeBuckets(verb: "insert-bucket" | "remove-bucket") {
  return async (): Promise<number> => {
    throw commandError(`${verb} needs OpenFlow 1.5 or later ('-O OpenFlow15')`);
  };
}

/** OpenFlow 1.3 tells all groups at once, whichever is asked for. */
export async function dumpGroups(context: OfctlContext): Promise<number> {
  await context.print(await context.client.request({ kind: "group_desc" }));
  return 0;
}

export async function dumpGroupStats(context: OfctlContext, [text = ""]: Arguments): Promise<number> {
  const { groupId } = parseGroup(text, { needsId: false });
  await context.print(await context.client.request({ kind: "group", groupId: groupId ?? OFPG_ALL }));
  return 0;
}

export function modifyMeter(command: "add" | "modify") {
  return async (context: OfctlContext, [text = ""]: Arguments): Promise<number> => {
    await context.client.send([meterModOf(command, text)]);
    return 0;
  };
}

export async function deleteMeters(context: OfctlContext, [text = ""]: Arguments): Promise<number> {
  await context.client.send([meterModOf("delete", text)]);
  return 0;
}

function meterModOf(command: MeterModCommand, text: string) {
  const { meterId, flags, bands } = parseMeter(text, command !== "delete");
  return { type: "meter_mod" as const, command, meterId: meterId ?? OFPM_ALL, flags, bands };
}

export function dumpMeters(kind: "meter" | "meter_config") {
  return async (context: OfctlContext, [text = ""]: Arguments): Promise<number> => {
    const meterId = parseMeter(text, false).meterId ?? OFPM_ALL;
    await context.print(await context.client.request({ kind, meterId }));
    return 0;
  };
}
