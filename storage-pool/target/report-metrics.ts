// What the worker has counted, as the main thread asks for it. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import type { Latency } from "../metrics/latency.js";
import type { LatencyReport, VolumeReport, WorkerReport } from "../metrics/metrics.js";
import { packedUsageOf } from "../volume/compression.js";
import type { Target } from "./target.js";

export function reportMetrics(target: Target): WorkerReport {
  const { server, blk } = target;
  const volumes: VolumeReport[] = [];
  for (const pool of target.pools) {
    for (const volume of pool.volumes.values()) {
      const { counters, throttledCount: throttled } = target.shareOf(volume);
      volumes.push({
        id: volume.id,
        ops: [...counters.ops],
        bytes: [...counters.bytes],
        errors: [...counters.errors],
        latency: latencyReport(counters.latency),
        throttled,
        connections: server.connectionsOf(volume) + blk.connectionsOf(volume),
        locked: volume.locked,
        ...packedUsageOf(pool.table, volume.id),
        mappedBytes: volume.head.map.mappedBlocks * BLOCK_SIZE,
        tailRecords: volume.writer.sequence - volume.checkpointSequence,
      });
    }
  }
  return {
    hops: server.times.hops.map(latencyReport),
    volumes,
    acceptedConnections: server.acceptedCount,
    refusedConnections: server.refusedCount,
  };
}

function latencyReport({ counts, sumSeconds }: Latency): LatencyReport {
  return { counts: [...counts], sumSeconds };
}
