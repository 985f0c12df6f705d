// Durations as ovs-ofctl prints them. Pure.

export interface Duration {
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
}

/** "5s", "5.250s" where milliseconds say it exactly, else nanoseconds. */
export function formatDuration({ durationSeconds, durationNanoseconds }: Duration): string {
  if (durationNanoseconds === 0) return `${durationSeconds}s`;
  const digits = String(durationNanoseconds).padStart(9, "0");
  return `${durationSeconds}.${digits.endsWith("000000") ? digits.slice(0, 3) : digits}s`;
}
