// What ovs-appctl can ask of datapaths and the ports on them: dpif/show, dpctl/show and their names. Source: ovs-vswitchd(8).
import { PlinthError } from "../../base/errors/index.js";
import type { UnixctlAnswer, UnixctlCommand } from "../cli/unixctl-server.js";
import { type CommandModules, command, list } from "./commands.js";
import { datapathFeatures } from "./datapath-features.js";
import { sortOptions } from "./dpctl-arguments.js";
import { isNamed, shownType } from "./dummy.js";
import type { NumberedPort, PortStatus, SwitchBackend } from "./model.js";
import type { AppliedSwitch } from "./plan.js";

export function showCommands({ backend, applied }: CommandModules): Record<string, UnixctlCommand> {
  return {
    "dpif/show": command("", 0, 0, () => showPorts(backend, applied)),
    "dpif/dump-dps": command("", 0, 0, () =>
      list([...applied].map(([name, { config }]) => `${config.datapath.split("@")[0]}@${name}`)),
    ),
    "dpif/show-dp-features": command("bridge", 1, 1, ([bridge]) => {
      if (bridge === undefined || !applied.has(bridge))
        throw new PlinthError("BRIDGE_UNKNOWN", "no such bridge");
      return datapathFeatures();
    }),
    // There are no bonds to tell of.
    "dpif-netdev/bond-show": command("[dp]", 0, 1, ([name]) => {
      if (name !== undefined && !datapathsOf(applied).some((one) => one.split("@")[1] === name))
        throw new PlinthError("DATAPATH_UNKNOWN", "please specify an existing datapath");
      return "";
    }),
    "dpctl/dump-dps": command("", 0, 0, () => list(datapathsOf(applied))),
    "dpctl/show": command("[-s] [dp...]", 0, 8, async (args) => {
      const { options, words: wanted } = sortOptions(args);
      const all = datapathsOf(applied);
      const chosen = (wanted.length === 0 ? all : wanted).map((word) => {
        return { word, name: all.find((one) => isNamed(one, word)) };
      });
      const unknown = chosen.filter(({ name }) => name === undefined);
      if (unknown.length > 0) {
        const told = unknown.map(({ word }) => `opening datapath ${word} failed (No such device)`);
        throw new PlinthError("DATAPATH_UNKNOWN", told.join("\novs-vswitchd: "));
      }
      const parts = await Promise.all(
        chosen.map(({ name }) => showDatapath(name as string, backend, applied, options.has("s"))),
      );
      return parts.join("");
    }),
  };
}

function datapathsOf(applied: AppliedSwitch): string[] {
  return [...new Set([...applied.values()].map(({ config }) => config.datapath))].sort();
}

interface Lookups {
  readonly hit: number;
  readonly missed: number;
}

async function lookupsOf(bridges: readonly string[], backend: SwitchBackend): Promise<Lookups> {
  const counters = await Promise.all(bridges.map((bridge) => backend.bridgeCounters(bridge)));
  return {
    hit: counters.reduce((sum, { pathHits }) => sum + pathHits, 0),
    missed: counters.reduce((sum, { pathMisses }) => sum + pathMisses, 0),
  };
}

function bridgesOn(datapath: string, applied: AppliedSwitch): string[] {
  return [...applied].flatMap(([name, { config }]) => (config.datapath === datapath ? [name] : [])).sort();
}

async function showPorts(backend: SwitchBackend, applied: AppliedSwitch): Promise<UnixctlAnswer> {
  let text = "";
  const data: Record<string, unknown> = {};
  for (const datapath of datapathsOf(applied)) {
    const names = bridgesOn(datapath, applied);
    const lookups = await lookupsOf(names, backend);
    text += `${datapath}: hit:${lookups.hit} missed:${lookups.missed}\n`;
    const bridges: Record<string, unknown> = {};
    for (const bridge of names) {
      const ports = inOrder(applied.get(bridge)?.ports ?? new Map()).map((port) =>
        described(port, backend.datapathNumber(bridge, port.name)),
      );
      text += `  ${bridge}:\n`;
      for (const { name, ofport, number, type, options } of ports)
        text += `    ${name} ${ofport}/${number ?? "none"}: (${type}${options === "" ? "" : `: ${options}`})\n`;
      bridges[bridge] = { ports };
    }
    data[datapath] = { ...lookups, bridges };
  }
  return { text, data };
}

interface DescribedPort {
  readonly name: string;
  readonly ofport: number;
  /** In the datapath. */
  readonly number: number | undefined;
  readonly type: string;
  readonly options: string;
}

function described(port: NumberedPort, number: number | undefined): DescribedPort {
  const { name, ofport, type, isDummy } = port;
  return { name, ofport, number, type: shownType(type, isDummy), options: optionsOf(port) };
}

/** Those that tell who is at the other end. */
function optionsOf({ type, isDummy, options }: NumberedPort): string {
  const names = isDummy ? ["pstream", "stream"] : type === "patch" ? ["peer"] : [];
  return names
    .flatMap((name) => (options[name] === undefined ? [] : [`${name}=${options[name]}`]))
    .join(", ");
}

async function showDatapath(
  datapath: string,
  backend: SwitchBackend,
  applied: AppliedSwitch,
  withStatistics: boolean,
): Promise<string> {
  const bridges = bridgesOn(datapath, applied);
  const { hit, missed } = await lookupsOf(bridges, backend);
  const flows = await Promise.all(bridges.map((bridge) => backend.cachedFlowCount(bridge)));
  const statistics = withStatistics ? await statisticsOf(bridges, backend) : undefined;
  const ports = bridges.flatMap((bridge) =>
    [...(applied.get(bridge)?.ports.values() ?? [])].flatMap((port) => {
      const number = backend.datapathNumber(bridge, port.name);
      return number === undefined ? [] : [described(port, number)];
    }),
  );
  const lines = ports
    .sort((a, b) => (a.number ?? 0) - (b.number ?? 0))
    .map(({ name, number, type }) => {
      const counters = statistics === undefined ? "" : formatPortStatistics(statistics.get(name) ?? {});
      return `  port ${number}: ${name}${type === "system" ? "" : ` (${type})`}\n${counters}`;
    });
  const count = flows.reduce((sum, one) => sum + one, 0);
  return `${datapath}:\n  lookups: hit:${hit} missed:${missed} lost:0\n  flows: ${count}\n${lines.join("")}`;
}

type Statistics = PortStatus["statistics"];

/** By name of port. */
async function statisticsOf(
  bridges: readonly string[],
  backend: SwitchBackend,
): Promise<Map<string, Statistics>> {
  const statuses = await Promise.all(bridges.map((bridge) => backend.status(bridge)));
  return new Map(
    statuses.flatMap(({ ports }) => [...ports].map(([name, { statistics }]) => [name, statistics] as const)),
  );
}

/** What a port does not count is "?". */
function formatPortStatistics(statistics: Statistics): string {
  const of = (name: string): string => String(statistics[name] ?? "?");
  const bytes = (name: string): string => `${of(name)}${inLargerUnit(statistics[name] ?? 0)}`;
  return [
    `    RX packets:${of("rx_packets")} errors:${of("rx_errors")} dropped:${of("rx_dropped")}`,
    ` overruns:${of("rx_over_err")} frame:${of("rx_frame_err")}\n`,
    `    TX packets:${of("tx_packets")} errors:${of("tx_errors")} dropped:${of("tx_dropped")}`,
    ` aborted:${of("tx_aborted_errors")} carrier:${of("tx_carrier_errors")}\n`,
    `    collisions:${of("collisions")}\n`,
    `    RX bytes:${bytes("rx_bytes")}  TX bytes:${bytes("tx_bytes")}\n`,
  ].join("");
}

/** " (1.6 KiB)"; nothing below 1 KiB. */
function inLargerUnit(bytes: number): string {
  const unit = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return unit === 0
    ? ""
    : ` (${(bytes / 1024 ** unit).toFixed(1)} ${["", "KiB", "MiB", "GiB", "TiB"][unit]})`;
}

/** As Open vSwitch lists them: by name. */
function inOrder(ports: ReadonlyMap<string, NumberedPort>): NumberedPort[] {
  return [...ports.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
