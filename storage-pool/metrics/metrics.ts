// Everything that storaged counts, ready to be scraped. Thread: main. Hot: no.
import {
  counter,
  formatMetric,
  gauge,
  type HistogramSample,
  histogram,
  type Metric,
  plain,
  processMetrics,
  type Sample,
} from "../../base/metrics/index.js";
import { type PoolView, poolView } from "../pool-control.js";
import type { ScrubRunView } from "../scrub-control.js";
import type { StorageDaemon } from "../storaged.js";
import { unservedOf } from "../unserved.js";
import type { PackedUsage } from "../volume/compression.js";
import { HOP_NAMES } from "./hop-times.js";
import { LATENCY_BOUNDS } from "./latency.js";
import { OP_NAMES } from "./volume-counters.js";

/** Counts by duration, as the worker tells them. */
export interface LatencyReport {
  readonly counts: readonly number[];
  readonly sumSeconds: number;
}

export interface VolumeReport extends PackedUsage {
  readonly id: number;
  readonly ops: readonly number[];
  readonly bytes: readonly number[];
  readonly errors: readonly number[];
  readonly latency: LatencyReport;
  /** Times that a request waited for the limits. */
  readonly throttled: number;
  readonly connections: number;
  readonly locked: boolean;
  /** Blocks that the volume maps, one copy counted. */
  readonly mappedBytes: number;
  /** Records of the log that a start would have to replay. */
  readonly tailRecords: number;
}

export interface WorkerReport {
  /** By hop. */
  readonly hops: readonly LatencyReport[];
  readonly volumes: readonly VolumeReport[];
  readonly acceptedConnections: number;
  readonly refusedConnections: number;
}

type Labels = Readonly<Record<string, string>>;

export async function formatMetrics(daemon: StorageDaemon): Promise<string> {
  const report = await daemon.target.ask("metrics", undefined);
  const pools = await Promise.all(
    [...daemon.catalogue.pools.keys()].sort().map((name) => poolView(daemon, name)),
  );
  const metrics: Metric[] = [
    ...processMetrics(),
    ...workerMetrics(report),
    ...volumeMetrics(daemon, report),
    ...(pools.length === 0 ? [] : poolMetrics(pools)),
  ];
  return metrics.map(formatMetric).join("");
}

function workerMetrics({ hops, acceptedConnections, refusedConnections }: WorkerReport): Metric[] {
  const samples = hops.map((hop, i) => latencySample({ hop: HOP_NAMES[i] ?? "" }, hop));
  return [
    histogram("plinth_storage_hop_seconds", "Time of requests in each hop of the worker.", samples),
    counter(
      "plinth_storage_nbd_connections_total",
      "NBD clients that connected.",
      plain(acceptedConnections),
    ),
    counter("plinth_storage_nbd_refused_total", "NBD clients beyond the limits.", plain(refusedConnections)),
  ];
}

function volumeMetrics(daemon: StorageDaemon, { volumes }: WorkerReport): Metric[] {
  const named = volumes.flatMap((report) => {
    const entry = daemon.catalogue.volumeById(report.id);
    if (entry === undefined || entry.deletedAtMs > 0) return [];
    const labels: Labels = { pool: entry.pool, volume: entry.name };
    return [{ ...report, labels, entry }];
  });
  const each = (value: (volume: (typeof named)[number]) => number): Sample[] =>
    named.map((volume) => ({ labels: volume.labels, value: value(volume) }));
  const byOp = (of: "ops" | "bytes" | "errors", ops: readonly string[]): Sample[] =>
    named.flatMap((volume) =>
      ops.map((op) => ({ labels: { ...volume.labels, op }, value: volume[of][OP_NAMES.indexOf(op)] ?? 0 })),
    );
  const all = [...daemon.catalogue.volumes.values()].filter((entry) => entry.deletedAtMs === 0);
  return [
    counter("plinth_volume_requests_total", "Requests of clients.", byOp("ops", OP_NAMES)),
    counter(
      "plinth_volume_bytes_total",
      "Bytes that clients read and wrote.",
      byOp("bytes", ["read", "write"]),
    ),
    counter("plinth_volume_errors_total", "Requests that ended in an error.", byOp("errors", OP_NAMES)),
    histogram(
      "plinth_volume_request_seconds",
      "From when a request was seen until it was answered; those that wait for a sync are not in it.",
      named.map(({ labels, latency }) => latencySample(labels, latency)),
    ),
    counter(
      "plinth_volume_throttled_total",
      "Times that a request waited for the limits.",
      each((v) => v.throttled),
    ),
    gauge(
      "plinth_volume_connections",
      "Clients that are connected.",
      each((v) => v.connections),
    ),
    gauge(
      "plinth_volume_size_bytes",
      "Size that clients see.",
      each((v) => v.entry.sizeBytes),
    ),
    gauge(
      "plinth_volume_mapped_bytes",
      "What the volume stores, one copy counted.",
      each((v) => v.mappedBytes),
    ),
    gauge(
      "plinth_volume_packed_bytes",
      "What was packed for the volume and its clones, one copy counted.",
      each((v) => v.packedBytes),
    ),
    gauge(
      "plinth_volume_packing_saved_bytes",
      "Room on the disks that packing has won, one copy counted.",
      each((v) => v.savedBytes),
    ),
    gauge(
      "plinth_volume_locked",
      "Encrypted, and the key is not known.",
      each((v) => (v.locked ? 1 : 0)),
    ),
    gauge(
      "plinth_volume_damaged",
      "Not served, because it is damaged, or its pool or a disk that it needs is not there.",
      all.map((entry) => ({
        labels: { pool: entry.pool, volume: entry.name },
        value: unservedOf(daemon, entry) === undefined ? 0 : 1,
      })),
    ),
    gauge(
      "plinth_volume_log_tail_records",
      "Records behind the last checkpoint.",
      each((v) => v.tailRecords),
    ),
    gauge(
      "plinth_volume_checkpoint_age_seconds",
      "Since the last checkpoint, or since storaged started; 0 where nothing was written since.",
      each((v) => (v.tailRecords === 0 ? 0 : daemon.checkpointAgeSeconds(v.id))),
    ),
  ];
}

function poolMetrics(pools: readonly PoolView[]): Metric[] {
  const open = pools.filter((pool) => pool.unavailable === undefined);
  const each = (value: (pool: PoolView) => number): Sample[] =>
    open.map((pool) => ({ labels: { pool: pool.name }, value: value(pool) }));
  const disks = open.flatMap((pool) =>
    pool.disks.map((disk) => ({ labels: { pool: pool.name, disk: disk.path }, disk })),
  );
  const jobs = (state: string) => each((pool) => pool.jobs.filter((job) => job.state === state).length);
  const up = pools.map(({ name, unavailable }) => ({
    labels: { pool: name },
    value: unavailable === undefined ? 1 : 0,
  }));
  return [
    gauge("plinth_pool_up", "Whether the pool is served.", up),
    gauge(
      "plinth_pool_size_bytes",
      "Space on all disks.",
      each((pool) => pool.sizeBytes),
    ),
    gauge(
      "plinth_pool_allocated_bytes",
      "Whole segments in use, all copies.",
      each((pool) => pool.allocatedBytes),
    ),
    gauge(
      "plinth_pool_usable_bytes",
      "What can be stored and promised.",
      each((pool) => pool.usableBytes),
    ),
    gauge(
      "plinth_pool_left_bytes",
      "What volumes can still grow by.",
      each((pool) => pool.growthBytes),
    ),
    gauge(
      "plinth_pool_promised_bytes",
      "Room kept for overwriting what is shared.",
      each((pool) => pool.promisedBytes),
    ),
    gauge(
      "plinth_pool_spare_bytes",
      "Held by deleted volumes and history.",
      each((pool) => pool.spareBytes),
    ),
    gauge(
      "plinth_pool_space_amplification",
      "Bytes in use for each byte stored.",
      each((pool) => pool.spaceAmplification),
    ),
    gauge(
      "plinth_pool_packed_bytes",
      "What lies packed, all copies.",
      each((pool) => pool.packedBytes),
    ),
    gauge(
      "plinth_pool_packing_saved_bytes",
      "Room on the disks that packing has won, all copies.",
      each((pool) => pool.savedBytes),
    ),
    gauge(
      "plinth_pool_clean_backlog_bytes",
      "Dead bytes in segments that are in use, all copies: what the cleaner can win.",
      each((pool) => pool.allocatedBytes * (1 - 1 / Math.max(1, pool.spaceAmplification))),
    ),
    counter(
      "plinth_pool_written_bytes_total",
      "Bytes that clients wrote.",
      each((pool) => pool.writtenBytes),
    ),
    counter(
      "plinth_pool_moved_bytes_total",
      "Bytes that were given another place, by the cleaner or to lie in order.",
      each((pool) => pool.movedBytes),
    ),
    counter(
      "plinth_pool_repaired_blocks_total",
      "Blocks put right from another copy.",
      each((pool) => pool.repairedBlocks),
    ),
    counter(
      "plinth_pool_lost_blocks_total",
      "Reads that found no good copy.",
      each((pool) => pool.lostBlocks),
    ),
    gauge(
      "plinth_pool_degraded_segments",
      "Segments that lack a copy.",
      each((pool) => pool.degradedSegments),
    ),
    gauge("plinth_pool_jobs_running", "Background jobs under way.", jobs("running")),
    ...scrubMetrics(pools),
    gauge(
      "plinth_pool_disk_size_bytes",
      "Space on the disk.",
      disks.map(({ labels, disk }) => ({ labels, value: disk.sizeBytes })),
    ),
    gauge(
      "plinth_pool_disk_free_bytes",
      "Free segments of the disk.",
      disks.map(({ labels, disk }) => ({ labels, value: disk.freeBytes })),
    ),
    gauge(
      "plinth_pool_disk_up",
      "Whether the disk is used, or being emptied.",
      disks.map(({ labels, disk }) => ({
        labels,
        value: disk.state === "online" || disk.state === "draining" || disk.state === "damaged" ? 1 : 0,
      })),
    ),
    gauge(
      "plinth_pool_disk_damaged",
      "Whether something on a disk in use is known not to be as it was.",
      disks.map(({ labels, disk }) => ({ labels, value: disk.state === "damaged" ? 1 : 0 })),
    ),
    counter(
      "plinth_pool_disk_bad_blocks_total",
      "Blocks found bad on the disk, put right or not.",
      disks.map(({ labels, disk }) => ({ labels, value: disk.badBlocks })),
    ),
  ];
}

/** Of pools that were scrubbed, of the last one that went to its end. */
function scrubMetrics(pools: readonly PoolView[]): Metric[] {
  const running = pools.map(({ name, scrub }) => ({
    labels: { pool: name },
    value: scrub.running === undefined ? 0 : 1,
  }));
  const whole = pools.flatMap(({ name, scrub }) => {
    const last = scrub.runs.findLast(({ outcome }) => outcome !== "cancelled");
    return last === undefined ? [] : [{ labels: { pool: name }, last }];
  });
  const each = (value: (run: ScrubRunView) => number): Sample[] =>
    whole.map(({ labels, last }) => ({ labels, value: value(last) }));
  return [
    gauge("plinth_pool_scrub_running", "Whether a scrub goes on.", running),
    gauge(
      "plinth_pool_scrub_end_timestamp_seconds",
      "When the last scrub ended.",
      each(({ endedAt }) => Date.parse(endedAt) / 1000),
    ),
    gauge(
      "plinth_pool_scrub_repaired_blocks",
      "Blocks that the last scrub put right.",
      each(({ repairedBlocks }) => repairedBlocks),
    ),
    gauge(
      "plinth_pool_scrub_lost_blocks",
      "Blocks of which the last scrub found no good copy.",
      each(({ lostBlocks }) => lostBlocks),
    ),
  ];
}

function latencySample(labels: Labels, { counts, sumSeconds }: LatencyReport): HistogramSample {
  return { labels, bounds: LATENCY_BOUNDS, counts, sum: sumSeconds };
}
