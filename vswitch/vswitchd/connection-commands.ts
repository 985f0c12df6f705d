// What ovs-appctl can ask of connection tracking.
// Source: ovs-dpctl(8), CONNECTION TRACKING TABLE COMMANDS; errors worded as Open vSwitch 3.1 words them. Thread: main.
import type { ConnectionFilter, ZoneLimit } from "../conntrack/index.js";
import type { DatapathHandle } from "../datapath/index.js";
import { formatConnection, formatFragmentStatus, formatStatistics, parseTuple } from "./connection-text.js";
import type { UnixctlCommand } from "./unixctl.js";

const DATAPATHS = /^(netdev@ovs-netdev|ovs-netdev|system@ovs-system|ovs-system)$/;

export function connectionCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  return {
    "dpctl/dump-conntrack": command("[-m] [-s] [dp] [zone=N]", 0, 4, async (args) => {
      const { options, rest } = sort(args);
      const filter = zoneFilter(rest);
      const all = await datapath.call("connections", filter);
      return all.map((one) => `${formatConnection(one, options.has("m"), options.has("s"))}\n`).join("");
    }),
    "dpctl/flush-conntrack": command("[dp] [zone=N] [ct-orig-tuple] [ct-reply-tuple]", 0, 4, async (args) => {
      const { rest } = sort(args);
      await datapath.call("flushConnections", flushFilter(rest));
      return "";
    }),
    "dpctl/ct-stats-show": command("[dp] [zone=N]", 0, 3, async (args) => {
      const { options, rest } = sort(args);
      return formatStatistics(await datapath.call("connections", zoneFilter(rest)), options.has("m"));
    }),
    ...boundCommands(datapath),
    ...limitCommands(datapath),
    ...fragmentCommands(datapath),
  };
}

function boundCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  const sequence = (checkSequence: boolean): UnixctlCommand =>
    command("[dp]", 0, 1, async (args) => {
      sort(args);
      await datapath.call("setConntrack", { checkSequence });
      return `${checkSequence ? "enabling" : "disabling"} TCP sequence checking successful\n`;
    });
  return {
    "dpctl/ct-set-maxconns": command("[dp] maxconns", 1, 2, async (args) => {
      const text = sort(args).rest[0] ?? "";
      if (!/^\d{1,9}$/.test(text)) throw new Error("maxconns missing or malformed (Invalid argument)");
      await datapath.call("setConntrack", { connectionsMax: Number(text) });
      return "setting maxconns successful\n";
    }),
    "dpctl/ct-get-maxconns": command("[dp]", 0, 1, async (args) => {
      sort(args);
      return `${(await datapath.call("conntrackStatus", {})).connectionsMax}\n`;
    }),
    "dpctl/ct-get-nconns": command("[dp]", 0, 1, async (args) => {
      sort(args);
      return `${(await datapath.call("conntrackStatus", {})).connections}\n`;
    }),
    "dpctl/ct-enable-tcp-seq-chk": sequence(true),
    "dpctl/ct-disable-tcp-seq-chk": sequence(false),
    "dpctl/ct-get-tcp-seq-chk": command("[dp]", 0, 1, async (args) => {
      sort(args);
      const { checkSequence } = await datapath.call("conntrackStatus", {});
      return `TCP sequence checking: ${checkSequence ? "enabled" : "disabled"}\n`;
    }),
  };
}

function limitCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  return {
    "dpctl/ct-set-limits": command("[dp] [default=L] [zone=N,limit=L]...", 1, 64, async (args) => {
      const { rest } = sort(args);
      const standard = rest.filter((one) => one.startsWith("default="));
      const limits = rest.filter((one) => !one.startsWith("default=")).map(parseLimit);
      const [first] = standard;
      await datapath.call("setConntrack", {
        limits,
        ...(first === undefined
          ? {}
          : { defaultLimit: readNumber(first.slice(8), 0x7fffffff, "default limit") }),
      });
      return "";
    }),
    "dpctl/ct-del-limits": command("[dp] zone=N1[,N2]...", 1, 2, async (args) => {
      await datapath.call("setConntrack", { deleteLimits: parseZones(sort(args).rest[0]) ?? [] });
      return "";
    }),
    "dpctl/ct-get-limits": command("[dp] [zone=N1[,N2]...]", 0, 2, async (args) => {
      const zones = parseZones(sort(args).rest[0]);
      const status = await datapath.call("conntrackStatus", zones === undefined ? {} : { zones });
      const lines = [`default limit=${status.defaultLimit}`];
      for (const { zone, limit, count } of status.limits)
        lines.push(`zone=${zone},limit=${limit},count=${count}`);
      return lines.map((line) => `${line}\n`).join("");
    }),
  };
}

const FRAGMENTS_MAX = 5000;
/** Smallest fragments that may be asked for (RFC 791, RFC 8200 5). */
const FRAGMENT_SIZE_MIN = { 4: 400, 6: 400 } as const;

function fragmentCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  const enable = (enabled: boolean): UnixctlCommand =>
    command("[dp] v4|v6", 1, 2, async (args) => {
      const version = readVersion(sort(args).rest[0]);
      await datapath.call("setConntrack", { fragments: { version, enabled } });
      return `${enabled ? "enabling" : "disabling"} fragmentation reassembly successful\n`;
    });
  return {
    "dpctl/ipf-set-enabled": enable(true),
    "dpctl/ipf-set-disabled": enable(false),
    "dpctl/ipf-set-min-frag": command("[dp] v4|v6 minfragment", 2, 3, async (args) => {
      const { rest } = sort(args);
      const version = readVersion(rest[0]);
      const sizeMin = Number(rest[1]);
      if (!/^\d{1,5}$/.test(rest[1] ?? ""))
        throw new Error("minimum fragment size missing or malformed (Invalid argument)");
      if (sizeMin < FRAGMENT_SIZE_MIN[version])
        throw new Error(
          "requested minimum fragment size too small; see documentation (Operation not permitted)",
        );
      await datapath.call("setConntrack", { fragments: { version, sizeMin } });
      return "setting minimum fragment size successful\n";
    }),
    "dpctl/ipf-set-max-nfrags": command("[dp] maxfrags", 1, 2, async (args) => {
      const text = sort(args).rest[0] ?? "";
      if (!/^\d{1,5}$/.test(text) || Number(text) > FRAGMENTS_MAX)
        throw new Error("maximum fragments missing or malformed (Invalid argument)");
      await datapath.call("setConntrack", { fragments: { max: Number(text) } });
      return "setting maximum fragments successful\n";
    }),
    "dpctl/ipf-get-status": command("[-m] [dp]", 0, 2, async (args) => {
      sort(args);
      return formatFragmentStatus(await datapath.call("conntrackStatus", {}));
    }),
  };
}

function readVersion(text: string | undefined): 4 | 6 {
  if (text === "v4") return 4;
  if (text === "v6") return 6;
  throw new Error("parameter missing: 'v4' for IPv4 or 'v6' for IPv6 (Invalid argument)");
}

function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  run: UnixctlCommand["run"],
): UnixctlCommand {
  return { usage, argumentsMin, argumentsMax, run };
}

/** Options, and the rest without the datapath's name: there is one datapath. */
function sort(args: readonly string[]): { options: Set<string>; rest: string[] } {
  const options = new Set(args.filter((one) => /^-[a-z]+$/.test(one)).flatMap((one) => [...one.slice(1)]));
  const words = args.filter((one) => !/^-[a-z]+$/.test(one));
  const [first] = words;
  if (first === undefined) return { options, rest: [] };
  if (DATAPATHS.test(first)) return { options, rest: words.slice(1) };
  if (!first.includes("=") && !/^(\d|v[46]?)/.test(first))
    throw new Error("datapath not found (Invalid argument)");
  return { options, rest: words };
}

function zoneFilter(words: readonly string[]): ConnectionFilter {
  const [first] = words;
  if (first === undefined) return {};
  if (!first.startsWith("zone=")) throw new Error("datapath not found (Invalid argument)");
  return { zone: readNumber(first.slice(5), 0xffff, "zone") };
}

function flushFilter(words: readonly string[]): ConnectionFilter {
  const zoned = words[0]?.startsWith("zone=") === true;
  const tuples = (zoned ? words.slice(1) : words).map(parseTuple);
  const [original, reply] = tuples;
  return {
    ...(zoned ? zoneFilter(words) : {}),
    ...(original === undefined ? {} : { original }),
    ...(reply === undefined ? {} : { reply }),
  };
}

function parseLimit(text: string): ZoneLimit {
  const values = new Map<string, number>();
  for (const part of text.split(",")) {
    const [name = "", value] = part.split("=");
    if (value === undefined || value === "")
      throw new Error(`field ${name} missing value (Invalid argument)`);
    if (name !== "zone" && name !== "limit")
      throw new Error(`invalid zone limit field: ${name} (Invalid argument)`);
    values.set(name, readNumber(value, name === "zone" ? 0xffff : 0x7fffffff, `field ${name}`));
  }
  const zone = values.get("zone");
  const limit = values.get("limit");
  if (zone === undefined || limit === undefined)
    throw new Error("failed to parse zone limit (Invalid argument)");
  return { zone, limit };
}

function parseZones(text: string | undefined): number[] | undefined {
  if (text === undefined) return undefined;
  if (!text.startsWith("zone=")) throw new Error("invalid argument (Invalid argument)");
  return text
    .slice(5)
    .split(",")
    .map((zone) => {
      if (!/^\d{1,5}$/.test(zone) || Number(zone) > 0xffff)
        throw new Error("invalid zone (Invalid argument)");
      return Number(zone);
    });
}

function readNumber(text: string, max: number, what: string): number {
  if (!/^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(text) || Number(text) > max)
    throw new Error(`failed to parse ${what} (Invalid argument)`);
  return Number(text);
}
