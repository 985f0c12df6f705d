// The text format of Prometheus.
// Source: Prometheus exposition formats, version 0.0.4: HELP, TYPE, then samples, label values escaped; buckets of a
// histogram count everything up to their bound. Pure but for processMetrics(). Thread: any.
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** What is appended to the metric's name: "_bucket", "_sum", "_count" of a histogram. */
  readonly suffix?: string;
}

export interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface HistogramSample {
  readonly labels: Readonly<Record<string, string>>;
  /** Upper bounds, rising; one more count is of what is above the last. */
  readonly bounds: readonly number[];
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

export function gauge(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, type: "gauge", help, samples };
}

export function counter(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, type: "counter", help, samples };
}

export function histogram(name: string, help: string, given: readonly HistogramSample[]): Metric {
  return { name, type: "histogram", help, samples: given.flatMap(samplesOf) };
}

export function plain(value: number): Sample[] {
  return [{ labels: {}, value }];
}

/** By the names that client libraries of Prometheus use. */
export function processMetrics(): Metric[] {
  const { user, system } = process.cpuUsage();
  const startSeconds = (performance.timeOrigin / 1000).toFixed(3);
  return [
    counter("process_cpu_seconds_total", "Processor time.", plain((user + system) / 1e6)),
    gauge("process_resident_memory_bytes", "Resident memory.", plain(process.memoryUsage.rss())),
    gauge("process_start_time_seconds", "Start, since the epoch.", plain(Number(startSeconds))),
  ];
}

/** HELP, TYPE and the samples; nothing for a metric without samples. */
export function formatMetric({ name, type, help, samples }: Metric): string {
  if (samples.length === 0) return "";
  const lines = samples.map(({ labels, value, suffix = "" }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    return `${name}${suffix}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
  });
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function samplesOf({ labels, bounds, counts, sum }: HistogramSample): Sample[] {
  const samples: Sample[] = [];
  let total = 0;
  for (let i = 0; i <= bounds.length; i++) {
    total += counts[i] ?? 0;
    const le = i < bounds.length ? String(bounds[i]) : "+Inf";
    samples.push({ suffix: "_bucket", labels: { ...labels, le }, value: total });
  }
  return [...samples, { suffix: "_sum", labels, value: sum }, { suffix: "_count", labels, value: total }];
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
