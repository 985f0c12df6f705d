// Durations as ovs-ofctl prints them. Pure.

export interface Duration {
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
}

/** "5s", "5.250s" where milliseconds say it exactly, else nanoseconds without zeros at the end. */
export function formatDuration({ durationSeconds, durationNanoseconds }: Duration): string {
  if (durationNanoseconds === 0) return `${durationSeconds}s`;
  const fraction =
    durationNanoseconds % 1_000_000 === 0
      ? String(durationNanoseconds / 1_000_000).padStart(3, "0")
      : String(durationNanoseconds).padStart(9, "0").replace(/0+$/, "");
  return `${durationSeconds}.${fraction}s`;
}
