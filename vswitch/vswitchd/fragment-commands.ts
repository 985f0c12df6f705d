// What ovs-appctl can ask of the fragments that connection tracking holds.
// Source: ovs-dpctl(8), ipf-*; wording and bounds as Open vSwitch 3.1 has them. Thread: main.

import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { DatapathHandle } from "../datapath/index.js";
import { formatFragmentStatus } from "./connection-text.js";
import { readNumber, sortArguments } from "./dpctl-arguments.js";

const FRAGMENTS_MAX = 5000;
/** The smallest size that may be asked for. */
const SIZE_MIN = 400;

export function fragmentCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  const enable = (enabled: boolean): UnixctlCommand => ({
    usage: "[dp] v4|v6",
    argumentsMin: 1,
    argumentsMax: 2,
    run: async (args) => {
      const version = readVersion(args.at(-1), "'v4'", "'v6'");
      sortArguments(args, 2);
      await datapath.call("setConntrack", { fragments: { version, enabled } });
      return `${enabled ? "enabling" : "disabling"} fragmentation reassembly successful\n`;
    },
  });
  return {
    "dpctl/ipf-set-enabled": enable(true),
    "dpctl/ipf-set-disabled": enable(false),
    "dpctl/ipf-set-min-frag": {
      usage: "[dp] v4|v6 minfragment",
      argumentsMin: 2,
      argumentsMax: 3,
      run: async (args) => {
        const { words } = sortArguments(args, 3);
        const version = readVersion(words.at(-2), "v4", "v6");
        const sizeMin = readNumber(words.at(-1), 0xffff);
        if (sizeMin === undefined)
          throw new Error("parameter missing for minimum fragment size (Invalid argument)");
        if (sizeMin < SIZE_MIN)
          throw new Error(
            "requested minimum fragment size too small; see documentation (Operation not permitted)",
          );
        await datapath.call("setConntrack", { fragments: { version, sizeMin } });
        return "setting minimum fragment size successful\n";
      },
    },
    "dpctl/ipf-set-max-nfrags": {
      usage: "[dp] maxfrags",
      argumentsMin: 1,
      argumentsMax: 2,
      run: async (args) => {
        const max = readNumber(sortArguments(args, 2).words[0], 0xffffffff);
        if (max === undefined) throw new Error("parameter missing for maximum fragments (Invalid argument)");
        if (max > FRAGMENTS_MAX)
          throw new Error("setting maximum fragments failed (Operation not permitted)");
        await datapath.call("setConntrack", { fragments: { max } });
        return "setting maximum fragments successful\n";
      },
    },
    "dpctl/ipf-get-status": {
      usage: "[dp]",
      argumentsMin: 0,
      argumentsMax: 1,
      run: async (args) => {
        const { options } = sortArguments(args, 1);
        return formatFragmentStatus(await datapath.call("conntrackStatus", {}), options.has("m"));
      },
    },
  };
}

function readVersion(text: string | undefined, v4: string, v6: string): 4 | 6 {
  if (text === "v4") return 4;
  if (text === "v6") return 6;
  throw new Error(`parameter missing: ${v4} for IPv4 or ${v6} for IPv6 (Invalid argument)`);
}
