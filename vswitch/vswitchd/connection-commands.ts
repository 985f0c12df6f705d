// What ovs-appctl can ask of the connections that are tracked, and which of them it can flush.
// Source: ovs-dpctl(8), CONNECTION TRACKING TABLE COMMANDS; wording as Open vSwitch 3.1 has it. Thread: main.

import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { ConnectionFilter } from "../conntrack/index.js";
import type { DatapathHandle } from "../datapath/index.js";
import { boundsCommands } from "./connection-bounds-commands.js";
import { formatBuckets, formatConnection, formatStatistics } from "./connection-text.js";
import { parseTuple, tupleIsComplete } from "./connection-tuple.js";
import { readNumber, sortArguments, unknownDatapath } from "./dpctl-arguments.js";
import { fragmentCommands } from "./fragment-commands.js";

/** The same as `-m` for ct-stats-show, which has known this word for longer. */
const VERBOSE = "verbose";

export function connectionCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  return {
    "dpctl/dump-conntrack": {
      usage: "[-m] [-s] [dp] [zone=N]",
      argumentsMin: 0,
      argumentsMax: 4,
      run: async (args) => {
        const { options, words } = sortArguments(args, 2);
        const all = await datapath.call("connections", zoneFilter(words));
        const [verbose, times] = [options.has("m"), options.has("s")];
        const text = all.map((one) => `${formatConnection(one, verbose, times)}\n`).join("");
        return { text, data: all };
      },
    },
    "dpctl/flush-conntrack": {
      usage: "[dp] [zone=N] [ct-orig-tuple] [ct-reply-tuple]",
      argumentsMin: 0,
      argumentsMax: 4,
      run: async (args) => {
        const filter = flushFilter(sortArguments(args, Number.POSITIVE_INFINITY).words);
        const count = await datapath.call("flushConnections", filter);
        if (count === 0 && meansOne(filter))
          throw new Error("failed to flush conntrack (No such file or directory)");
        return "";
      },
    },
    "dpctl/ct-stats-show": {
      usage: "[dp] [zone=N]",
      argumentsMin: 0,
      argumentsMax: 3,
      run: async (args) => {
        const { options, words } = sortArguments(
          args.filter((word) => word !== VERBOSE),
          2,
        );
        const verbose = options.has("m") || args.includes(VERBOSE);
        return formatStatistics(await datapath.call("connections", zoneFilter(words)), verbose);
      },
    },
    "dpctl/ct-bkts": {
      usage: "[dp] [gt=N]",
      argumentsMin: 0,
      argumentsMax: 2,
      run: async (args) => {
        const threshold = thresholdIn(args.at(-1));
        // What is no threshold is meant as a name.
        const { words } = sortArguments(threshold === undefined ? args : args.slice(0, -1), 1);
        if (words.length > 0) throw unknownDatapath();
        const { connections } = await datapath.call("conntrackStatus", {});
        return formatBuckets(connections, threshold ?? 0);
      },
    },
    ...boundsCommands(datapath),
    ...fragmentCommands(datapath),
  };
}

function zoneFilter(words: readonly string[]): ConnectionFilter {
  const [first] = words;
  if (first === undefined) return {};
  // What is no zone is meant as a name.
  if (words.length > 1 || !/^zone=\+?\d/.test(first)) throw unknownDatapath();
  return { zone: parseZone(first) };
}

function parseZone(text: string): number {
  const zone = readNumber(text.slice(5), 0xffff);
  if (zone === undefined) throw new Error("failed to parse zone (Invalid argument)");
  return zone;
}

function thresholdIn(word: string | undefined): number | undefined {
  return word?.startsWith("gt=") === true ? readNumber(word.slice(3), 0xffff) : undefined;
}

/** "" stands for a tuple that may be anything. A whole tuple without a zone means that of zone 0. */
function flushFilter(words: readonly string[]): ConnectionFilter {
  const zoned = words[0]?.startsWith("zone=") === true;
  const zone = zoned ? parseZone(words[0] as string) : undefined;
  const tuples = zoned ? words.slice(1) : words;
  const [original, reply] = tuples.slice(0, 2).map(parseTuple);
  if (tuples.length > 2 && !zoned) throw new Error("invalid arguments (Invalid argument)");
  if (tuples.length > 2)
    throw new Error(`${unknownDatapath().message}\novs-vswitchd: Cannot open dpif (Invalid argument)`);
  const filter: ConnectionFilter = {
    ...(zone === undefined ? {} : { zone }),
    ...(original === undefined ? {} : { original }),
    ...(reply === undefined ? {} : { reply }),
  };
  return meansOne(filter) ? { zone: 0, ...filter } : filter;
}

function meansOne({ original, reply }: ConnectionFilter): boolean {
  return original !== undefined && reply === undefined && tupleIsComplete(original);
}
