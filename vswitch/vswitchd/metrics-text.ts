// The switch's numbers in the text format of Prometheus.
// Source: Prometheus exposition formats, version 0.0.4: HELP, TYPE, then samples, label values escaped.
import type { DatabaseServer } from "../db/index.js";
import type { SwitchBackend } from "./model.js";
import type { AppliedSwitch } from "./plan.js";

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** Everything that the switch counts, ready to be scraped. */
export async function formatMetrics(
  backend: SwitchBackend,
  applied: AppliedSwitch,
  server: DatabaseServer,
): Promise<string> {
  const counters = await backend.counters();
  const plain = (name: string): Sample[] => [{ labels: {}, value: counters[name] ?? 0 }];
  const drops = Object.entries(counters)
    .filter(([name]) => name.startsWith("drop_"))
    .map(([name, value]) => ({ labels: { reason: name.slice("drop_".length) }, value }));
  const metrics: Metric[] = [
    { name: "plinth_drops_total", type: "counter", help: "Packets dropped, by reason.", samples: drops },
    {
      name: "plinth_path_cache_hits_total",
      type: "counter",
      help: "Packets whose way through the tables was cached.",
      samples: plain("path_hit"),
    },
    {
      name: "plinth_path_cache_misses_total",
      type: "counter",
      help: "Packets that were looked up in the tables.",
      samples: plain("path_miss"),
    },
    {
      name: "plinth_connections",
      type: "gauge",
      help: "Connections that are tracked.",
      samples: plain("connections"),
    },
    {
      name: "plinth_packet_buffers_free",
      type: "gauge",
      help: "Packet buffers that are free.",
      samples: plain("packets_free"),
    },
    {
      name: "plinth_ovsdb_sessions",
      type: "gauge",
      help: "Connections to the database.",
      samples: [{ labels: {}, value: server.clientCount }],
    },
    ...(await bridgeMetrics(backend, applied)),
  ];
  return metrics.map(formatMetric).join("");
}

async function bridgeMetrics(backend: SwitchBackend, applied: AppliedSwitch): Promise<Metric[]> {
  const byStatistic = new Map<string, Sample[]>();
  const links: Sample[] = [];
  const sessions: Sample[] = [];
  const stations: Sample[] = [];
  for (const bridge of applied.keys()) {
    const { ports, controllers } = await backend.status(bridge);
    for (const [port, { linkUp, statistics }] of ports) {
      const labels = { bridge, port };
      links.push({ labels, value: linkUp ? 1 : 0 });
      for (const [name, value] of Object.entries(statistics))
        byStatistic.set(name, [...(byStatistic.get(name) ?? []), { labels, value }]);
    }
    for (const { target, isConnected } of controllers)
      sessions.push({ labels: { bridge, target }, value: isConnected ? 1 : 0 });
    stations.push({ labels: { bridge }, value: (await backend.macTableStats(bridge)).current });
  }
  return [
    { name: "plinth_port_up", type: "gauge", help: "Whether frames can pass the port.", samples: links },
    {
      name: "plinth_openflow_connected",
      type: "gauge",
      help: "Whether the controller is connected.",
      samples: sessions,
    },
    {
      name: "plinth_mac_table_entries",
      type: "gauge",
      help: "Stations in the MAC table.",
      samples: stations,
    },
    ...[...byStatistic].map(([name, samples]): Metric => {
      const words = name.replaceAll("_", " ");
      return { name: `plinth_port_${name}_total`, type: "counter", help: `Of the port: ${words}.`, samples };
    }),
  ];
}

/** HELP, TYPE and the samples; nothing for a metric without samples. */
export function formatMetric({ name, type, help, samples }: Metric): string {
  if (samples.length === 0) return "";
  const lines = samples.map(({ labels, value }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
