// How long things take: counts by duration, without an object for each. Thread: its creator. Hot: yes.

/** Upper bounds of the buckets, in seconds. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1,
];

export class Latency {
  /** One for each bound, and one for what took longer. */
  readonly counts = new Float64Array(LATENCY_BOUNDS.length + 1);
  sumSeconds = 0;

  /** `times` things took so long. */
  observe(ms: number, times: number): void {
    const seconds = Math.max(0, ms) / 1000;
    let i = 0;
    while (i < LATENCY_BOUNDS.length && seconds > (LATENCY_BOUNDS[i] as number)) i++;
    this.counts[i] = (this.counts[i] as number) + times;
    this.sumSeconds += seconds * times;
  }
}
