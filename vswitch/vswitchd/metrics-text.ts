// The switch's numbers in the text format of Prometheus.
import {
  counter,
  formatMetric,
  gauge,
  type Metric,
  plain,
  processMetrics,
  type Sample,
} from "../../base/metrics/index.js";
import { OFPTT_ALL } from "../../base/openflow/index.js";
import type { DatabaseServer } from "../db/index.js";
import type { DropReport } from "../flow/index.js";
import type { BridgeStatus, SwitchBackend } from "./model.js";
import type { AppliedSwitch } from "./plan.js";

export interface MetricsModules {
  readonly backend: SwitchBackend;
  readonly applied: AppliedSwitch;
  readonly server: DatabaseServer;
  readonly version: string;
}

/** Everything that the switch counts, ready to be scraped. */
export async function formatMetrics(modules: MetricsModules): Promise<string> {
  const { backend, applied, server, version } = modules;
  const counters = await backend.counters();
  const tracking = await backend.trackingCounters();
  const metrics: Metric[] = [
    gauge("plinth_build_info", "The version that runs.", [{ labels: { version }, value: 1 }]),
    ...processMetrics(),
    gauge("plinth_connections", "Connections that are tracked.", plain(tracking.connections)),
    gauge("plinth_connections_max", "Connections that can be tracked.", plain(tracking.connectionsMax)),
    counter(
      "plinth_connections_evicted_total",
      "Connections that gave way to others because the table was full.",
      plain(tracking.evictions),
    ),
    gauge(
      "plinth_fragments_held",
      "IP fragments that wait in connection tracking for the rest of their datagram.",
      plain(tracking.fragmentsHeld),
    ),
    gauge(
      "plinth_packet_buffers_free",
      "Packet buffers that are free.",
      plain(counters["packets_free"] ?? 0),
    ),
    gauge("plinth_ovsdb_sessions", "Connections to the database.", plain(server.clientCount)),
    ...(await bridgeMetrics(backend, applied)),
  ];
  return metrics.map(formatMetric).join("");
}

/** Samples by metric, gathered bridge by bridge. */
class Gathered {
  readonly #samples = new Map<string, Sample[]>();

  add(name: string, labels: Sample["labels"], value: number | bigint): void {
    const sample = { labels, value: Number(value) };
    const samples = this.#samples.get(name);
    if (samples === undefined) this.#samples.set(name, [sample]);
    else samples.push(sample);
  }

  of(name: string): readonly Sample[] {
    return this.#samples.get(name) ?? [];
  }

  namesWith(prefix: string): string[] {
    return [...this.#samples.keys()].filter((name) => name.startsWith(prefix));
  }
}

const PORT = "port ";

async function bridgeMetrics(backend: SwitchBackend, applied: AppliedSwitch): Promise<Metric[]> {
  const all = new Gathered();
  for (const bridge of [...applied.keys()]) {
    let told: readonly [BridgeStatus, readonly DropReport[], Counters, number];
    try {
      const stations = await backend.macTableStats(bridge);
      const counters = await backend.bridgeCounters(bridge);
      told = [await backend.status(bridge), await backend.drops(bridge), counters, stations.current];
    } catch (thrown) {
      // A bridge may go while it is asked.
      if (applied.has(bridge)) throw thrown;
      continue;
    }
    const [status, drops, counters, stations] = told;
    gatherStatus(all, bridge, status);
    gatherDrops(all, bridge, drops);
    gatherCounters(all, bridge, counters);
    all.add("stations", { bridge }, stations);
  }
  return described(all);
}

type Counters = Awaited<ReturnType<SwitchBackend["bridgeCounters"]>>;

function gatherStatus(all: Gathered, bridge: string, { ports, controllers }: BridgeStatus): void {
  for (const [port, { linkUp, statistics }] of ports) {
    all.add("links", { bridge, port }, linkUp ? 1 : 0);
    for (const [name, value] of Object.entries(statistics)) all.add(PORT + name, { bridge, port }, value);
  }
  for (const { target, isConnected } of controllers)
    all.add("sessions", { bridge, target }, isConnected ? 1 : 0);
}

function gatherDrops(all: Gathered, bridge: string, drops: readonly DropReport[]): void {
  for (const { reason, packets, tableId, cookie, priority } of drops) {
    all.add("drops", { bridge, reason }, packets);
    const table = tableId < 0 || tableId === OFPTT_ALL ? "" : String(tableId);
    const flow =
      cookie === null
        ? { cookie: "", priority: "" }
        : { cookie: `0x${cookie.toString(16)}`, priority: String(priority) };
    all.add("last", { bridge, reason, table, ...flow }, 1);
  }
}

function gatherCounters(all: Gathered, bridge: string, counters: Counters): void {
  all.add("hits", { bridge }, counters.pathHits);
  all.add("misses", { bridge }, counters.pathMisses);
  all.add("packet-ins", { bridge }, counters.packetIns);
  for (const { tableId, activeCount, lookupCount, matchedCount } of counters.tables) {
    const labels = { bridge, table: String(tableId) };
    all.add("flows", labels, activeCount);
    all.add("lookups", labels, lookupCount);
    all.add("matches", labels, matchedCount);
  }
}

function described(all: Gathered): Metric[] {
  return [
    counter("plinth_drops_total", "Packets dropped, by reason.", all.of("drops")),
    gauge(
      "plinth_drop_last_flow_info",
      "Of each reason for drops: table and flow that the last such packet had met.",
      all.of("last"),
    ),
    counter(
      "plinth_path_cache_hits_total",
      "Packets whose way through the tables was cached.",
      all.of("hits"),
    ),
    counter("plinth_path_cache_misses_total", "Packets that were looked up in the tables.", all.of("misses")),
    counter("plinth_packet_ins_total", "Packets handed to controllers.", all.of("packet-ins")),
    gauge("plinth_flows", "Flows in the table.", all.of("flows")),
    counter("plinth_table_lookups_total", "Packets looked up in the table.", all.of("lookups")),
    counter("plinth_table_matches_total", "Packets that met a flow in the table.", all.of("matches")),
    gauge("plinth_mac_table_entries", "Stations in the MAC table.", all.of("stations")),
    gauge("plinth_openflow_connected", "Whether the controller is connected.", all.of("sessions")),
    gauge("plinth_port_up", "Whether frames can pass the port.", all.of("links")),
    ...all
      .namesWith(PORT)
      .map((key) =>
        counter(
          `plinth_port_${key.slice(PORT.length)}_total`,
          `Of the port: ${key.slice(PORT.length).replaceAll("_", " ")}.`,
          all.of(key),
        ),
      ),
  ];
}
