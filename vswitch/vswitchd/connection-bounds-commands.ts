// What ovs-appctl can set and ask of the bounds of connection tracking: connections, limits per zone, TCP's sequence
// numbers.
// Source: ovs-dpctl(8), ct-*; wording as Open vSwitch 3.1 has it. Thread: main.

import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { ZoneLimit } from "../conntrack/index.js";
import type { DatapathHandle } from "../datapath/index.js";
import { readNumber, sortArguments } from "./dpctl-arguments.js";

const U32 = 0xffffffff;
/** Words that set limits at once. */
const WORDS_MAX = 64;

export function boundsCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  const sequence = (checkSequence: boolean): UnixctlCommand =>
    command("[dp]", 0, 1, async (args) => {
      sortArguments(args, 1);
      await datapath.call("setConntrack", { checkSequence });
      return `${checkSequence ? "enabling" : "disabling"} TCP sequence checking successful\n`;
    });
  return {
    "dpctl/ct-set-maxconns": command("[dp] maxconns", 1, 2, async (args) => {
      const connectionsMax = readNumber(sortArguments(args, 2).words[0], U32);
      if (connectionsMax === undefined) throw new Error("maxconns missing or malformed (Invalid argument)");
      await datapath.call("setConntrack", { connectionsMax });
      return "setting maxconns successful\n";
    }),
    "dpctl/ct-get-maxconns": command("[dp]", 0, 1, async (args) => {
      sortArguments(args, 1);
      const data = (await datapath.call("conntrackStatus", {})).connectionsMax;
      return { text: `${data}\n`, data };
    }),
    "dpctl/ct-get-nconns": command("[dp]", 0, 1, async (args) => {
      sortArguments(args, 1);
      const data = (await datapath.call("conntrackStatus", {})).connections;
      return { text: `${data}\n`, data };
    }),
    "dpctl/ct-enable-tcp-seq-chk": sequence(true),
    "dpctl/ct-disable-tcp-seq-chk": sequence(false),
    "dpctl/ct-get-tcp-seq-chk": command("[dp]", 0, 1, async (args) => {
      sortArguments(args, 1);
      const { checkSequence } = await datapath.call("conntrackStatus", {});
      return `TCP sequence checking: ${checkSequence ? "enabled" : "disabled"}\n`;
    }),
    ...limitCommands(datapath),
  };
}

function limitCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  return {
    "dpctl/ct-set-limits": command("[dp] [default=L] [zone=N,limit=L]...", 1, WORDS_MAX, async (args) => {
      // As many as there are: none of them is a name that is not known.
      const { words } = sortArguments(args, WORDS_MAX + 1);
      const [first] = words;
      const standard = first?.startsWith("default=") === true ? first.slice(8) : undefined;
      const defaultLimit = readNumber(standard, U32);
      if (standard !== undefined && defaultLimit === undefined)
        throw new Error("invalid default limit (Invalid argument)");
      const limits = (standard === undefined ? words : words.slice(1)).map(parseLimit);
      await datapath.call("setConntrack", {
        limits,
        ...(defaultLimit === undefined ? {} : { defaultLimit }),
      });
      return "";
    }),
    "dpctl/ct-del-limits": command("[dp] zone=N1[,N2]...", 1, 2, async (args) => {
      await datapath.call("setConntrack", {
        deleteLimits: parseZones(sortArguments(args, 2).words[0]) ?? [],
      });
      return "";
    }),
    "dpctl/ct-get-limits": command("[dp] [zone=N1[,N2]...]", 0, 2, async (args) => {
      const zones = parseZones(sortArguments(args, 2).words[0]);
      const status = await datapath.call("conntrackStatus", zones === undefined ? {} : { zones });
      const lines = [`default limit=${status.defaultLimit}`];
      for (const { zone, limit, count } of status.limits)
        lines.push(`zone=${zone},limit=${limit},count=${count}`);
      const data = { default: status.defaultLimit, zones: status.limits };
      return { text: lines.map((line) => `${line}\n`).join(""), data };
    }),
  };
}

function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  run: UnixctlCommand["run"],
): UnixctlCommand {
  return { usage, argumentsMin, argumentsMax, run };
}

function parseLimit(text: string): ZoneLimit {
  const values = new Map<string, number>();
  for (const part of text.split(",")) {
    const [name = "", value] = part.split("=");
    if (value === undefined || value === "")
      throw new Error(`field ${name} missing value (Invalid argument)`);
    if (name !== "zone" && name !== "limit")
      throw new Error(`invalid zone limit field: ${name} (Invalid argument)`);
    const number = readNumber(value, name === "zone" ? 0xffff : U32);
    if (number === undefined) throw new Error(`failed to parse field ${name} (Invalid argument)`);
    values.set(name, number);
  }
  const zone = values.get("zone");
  const limit = values.get("limit");
  if (zone === undefined || limit === undefined)
    throw new Error("failed to parse zone limit (Invalid argument)");
  return { zone, limit };
}

function parseZones(text: string | undefined): number[] | undefined {
  if (text === undefined) return undefined;
  if (!text.startsWith("zone=")) throw new Error(`invalid argument ${text} (Invalid argument)`);
  return text
    .slice(5)
    .split(",")
    .map((part) => {
      const zone = readNumber(part, 0xffff);
      if (zone === undefined) throw new Error("invalid zone (Invalid argument)");
      return zone;
    });
}
