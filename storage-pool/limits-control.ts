// The control side of limits: reading them from parameters, keeping them, telling the worker. Thread: main.
import type { VolumeEntry } from "./catalogue/catalogue.js";
import { BURST_SECONDS_MAX, BYTES_PER_SECOND_MAX, IOPS_MAX } from "./limits.js";
import { type Params, whole } from "./parameters.js";
import { NO_LIMITS, type VolumeLimits } from "./qos/volume-share.js";
import type { StorageDaemon } from "./storaged.js";

export interface LimitsView {
  /** Requests each second; 0: no limit. */
  readonly iops: number;
  /** Bytes read and written each second; 0: no limit. */
  readonly bytesPerSecond: number;
  /** How many seconds' worth is saved up while less is used. */
  readonly burstSeconds: number;
}

/** `iops`, `bytesPerSecond` and `burstSeconds`; what is not given is as in `before`. */
export function volumeLimits(params: Params, before: VolumeLimits = NO_LIMITS): VolumeLimits {
  return {
    iops: whole(params, "iops", 0, IOPS_MAX, before.iops),
    bytesPerSecond: whole(params, "bytesPerSecond", 0, BYTES_PER_SECOND_MAX, before.bytesPerSecond),
    burstMs: whole(params, "burstSeconds", 1, BURST_SECONDS_MAX, before.burstMs / 1000) * 1000,
  };
}

export function limitsOf({ iopsLimit, bytesLimit, burstMs }: VolumeEntry): VolumeLimits {
  return { iops: iopsLimit, bytesPerSecond: bytesLimit, burstMs: burstMs || NO_LIMITS.burstMs };
}

/** As the catalogue keeps them. */
export function limitFields({ iops, bytesPerSecond, burstMs }: VolumeLimits) {
  return { iopsLimit: iops, bytesLimit: bytesPerSecond, burstMs };
}

/** Nothing where there are none. */
export function limitsView(entry: VolumeEntry): { readonly limits?: LimitsView } {
  const { iops, bytesPerSecond, burstMs } = limitsOf(entry);
  if (iops === 0 && bytesPerSecond === 0) return {};
  return { limits: { iops, bytesPerSecond, burstSeconds: burstMs / 1000 } };
}

/** The worker holds volumes of a pool, or one of them, to their limits. */
export async function sendLimits(daemon: StorageDaemon, entries: readonly VolumeEntry[]): Promise<void> {
  for (const entry of entries) {
    if (daemon.damaged.has(entry.id)) continue;
    const { pool, id } = entry;
    await daemon.target.ask("setLimits", { pool, id, limits: limitsOf(entry) });
  }
}
