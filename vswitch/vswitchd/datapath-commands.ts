// What ovs-appctl can ask of the flows: those of the tables, and those that are cached. Source: ovs-vswitchd(8).
import { PlinthError } from "../../base/errors/index.js";
import { ALL_FLOWS, type FlowStats, type Match } from "../../base/openflow/index.js";
import { numberToBytes } from "../cli/field-text.js";
import { formatPriorityAndMatch } from "../cli/flow-text.js";
import { formatInstructions } from "../cli/instruction-text.js";
import { formatSeenFlow } from "../cli/seen-flow-text.js";
import type { UnixctlAnswer, UnixctlCommand } from "../cli/unixctl-server.js";
import type { DatapathHandle, KnownBridgeFlow } from "../datapath/index.js";
import { command } from "./commands.js";
import type { DatapathNumbers } from "./datapath-numbers.js";
import { unknownDatapath } from "./dpctl-arguments.js";
import { isNamed } from "./dummy.js";
import { isInFilter, parseFlowFilter, sortFlowWords } from "./flow-filters.js";
import { actionsOf, recirculationOf } from "./known-flow-actions.js";
import { type DatapathBridges, portNames } from "./trace-commands.js";

export function datapathCommands(
  datapath: DatapathHandle,
  bridges: () => DatapathBridges,
  numbers: DatapathNumbers,
  hasDummies: boolean,
): Record<string, UnixctlCommand> {
  /** As a datapath of Open vSwitch holds them: all that dummy ports have seen. */
  const seen = async (
    names: readonly string[],
    withNames: boolean,
    filter: Match,
  ): Promise<UnixctlAnswer> => {
    const data: unknown[] = [];
    const lines: string[] = [];
    for (const bridge of names) {
      const ports = withNames ? portNames(bridges(), numbers) : undefined;
      for (const flow of await datapath.call("seenFlows", { bridge })) {
        const { start, megaflow, inPort } = flow;
        const port = { field: "in_port", value: numberToBytes(BigInt(inPort), 4) } as const;
        if (!isInFilter(filter, [port, ...start.match], megaflow.match)) continue;
        data.push({ bridge, ...flow });
        lines.push(`${formatSeenFlow(flow, ports)}\n`);
      }
    }
    return { text: lines.join(""), data };
  };
  /** What the caches hold, in the same form. */
  const cached = async (
    names: readonly string[],
    { withNames, withFlows }: { readonly withNames: boolean; readonly withFlows: boolean },
    filter: Match = [],
  ): Promise<UnixctlAnswer> => {
    if (hasDummies) return seen(names, withNames, filter);
    const lines: string[] = [];
    const data: unknown[] = [];
    const ports = withNames ? portNames(bridges(), numbers) : undefined;
    for (const bridge of names) {
      for (const flow of await datapath.call("knownFlows", { bridge })) {
        const { start, megaflow, datapathPort, table } = flow;
        const port = { field: "in_port", value: numberToBytes(BigInt(datapathPort), 4) } as const;
        if (!isInFilter(filter, [port, ...start.match], megaflow.match)) continue;
        const actions = await actionsOf(datapath, bridge, flow);
        data.push({ bridge, ...flow, actions });
        const shown = {
          ...{ ...flow, actions, recirculation: recirculationOf(table) },
          ...{ inPort: datapathPort, tcpFlags: 0 },
        };
        lines.push(`${formatSeenFlow(shown, ports)}${withFlows ? `, flows:${metBy(flow)}` : ""}\n`);
      }
    }
    return { text: lines.join(""), data };
  };
  return {
    "bridge/dump-flows": command("[--offload-stats] bridge", 1, 2, async (args) => {
      const offload = args.length === 2 && args[0] === "--offload-stats";
      const name = args.at(-1) as string;
      if (!bridges().has(name) || (args.length === 2 && !offload))
        throw new PlinthError("BRIDGE_UNKNOWN", "Unknown bridge");
      const flows = await datapath.call("flowStats", { bridge: name, filter: ALL_FLOWS });
      return { text: flows.map((flow) => describe(flow, offload)).join(""), data: flows };
    }),
    "dpif/dump-flows": command(
      "[-m] [--names | --no-names] bridge",
      1,
      Number.POSITIVE_INFINITY,
      async (args) => {
        const name = args.at(-1) as string;
        if (!bridges().has(name)) throw new PlinthError("BRIDGE_UNKNOWN", "no such bridge");
        return cached([name], {
          withNames: args.includes("--names"),
          withFlows: args.includes("-m") || args.includes("--more"),
        });
      },
    ),
    "dpctl/dump-flows": command("[-m] [--names] [dp] [filter=..] [type=..] [pmd=..]", 0, 6, async (args) => {
      const { options, name, filter, showsAny, namesThread } = sortFlowWords(args);
      const chosen = [...bridges()].filter(
        ([, { config }]) => name === undefined || isNamed(config.datapath, name),
      );
      if (name !== undefined && chosen.length === 0) throw unknownDatapath();
      // Without dummy ports flows are not told apart by threads.
      if (namesThread && !hasDummies)
        throw new PlinthError("THREAD_UNKNOWN", "pmd: one thread caches for all; leave this out");
      const ports = new Map([...portNames(bridges(), numbers)].map(([number, port]) => [port, number]));
      const wanted =
        filter === undefined || filter === "" ? [] : parseFlowFilter(filter, (port) => ports.get(port));
      if (!showsAny) return "";
      const found = await cached(
        chosen.map(([bridge]) => bridge),
        { withNames: options.has("names"), withFlows: options.has("m") },
        wanted,
      );
      if (!hasDummies || namesThread || typeof found === "string" || found.text === "") return found;
      return { ...found, text: `flow-dump from the main thread:\n${found.text}` };
    }),
  };
}

function describe(flow: FlowStats, offload: boolean): string {
  const counters = `n_packets=${flow.packetCount}, n_bytes=${flow.byteCount}, `;
  const offloaded = offload ? "n_offload_packets=0, n_offload_bytes=0, " : "";
  const table = flow.tableId === 0 ? "" : `table_id=${flow.tableId}, `;
  const match = formatPriorityAndMatch(flow.priority, flow.match);
  return `${table}duration=${flow.durationSeconds}s, ${counters}${offloaded}${match},actions=${formatInstructions(flow.instructions)}\n`;
}

/** The OpenFlow flows that such packets met, in order. */
function metBy({ flows }: KnownBridgeFlow): string {
  const each = flows.map((flow) =>
    flow === null
      ? "miss"
      : `table=${flow.tableId} cookie=0x${flow.cookie.toString(16)} priority=${flow.priority}`,
  );
  return `[${each.join("; ")}]`;
}
