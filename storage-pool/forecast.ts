// How long a pool will last: the trend of what it holds, by least squares over what was seen. Pure. Thread: any.

export interface Forecast {
  /** Bytes per second that it fills at; 0 or less: it does not. */
  readonly bytesPerSecond: number;
  /** Until it is full at this rate; absent when it does not fill. */
  readonly fullInSeconds?: number;
  /** Seconds that were looked at. */
  readonly overSeconds: number;
}

interface Sample {
  readonly atMs: number;
  readonly usedBytes: number;
}

/** Samples that are kept, and the shortest time that tells a trend. */
const SAMPLES_MAX = 512;
const SPAN_MIN_MS = 60_000;
/** Nobody wants to hear of what is further away. */
const HORIZON_SECONDS = 10 * 365 * 86_400;

export class Trend {
  #samples: Sample[] = [];

  /** Older samples grow sparse, so that a day is remembered as well as an hour. */
  add(atMs: number, usedBytes: number): void {
    this.#samples.push({ atMs, usedBytes });
    if (this.#samples.length <= SAMPLES_MAX) return;
    const half = this.#samples.length >>> 1;
    this.#samples = this.#samples.filter((_, i) => i >= half || i % 2 === 0);
  }

  /** Undefined while too little was seen. `leftBytes`: room until it is full. */
  forecast(leftBytes: number): Forecast | undefined {
    const samples = this.#samples;
    const first = samples[0];
    const last = samples.at(-1);
    if (first === undefined || last === undefined || last.atMs - first.atMs < SPAN_MIN_MS) return undefined;
    let meanT = 0;
    let meanU = 0;
    for (const { atMs, usedBytes } of samples) {
      meanT += (atMs - first.atMs) / 1000 / samples.length;
      meanU += usedBytes / samples.length;
    }
    let above = 0;
    let below = 0;
    for (const { atMs, usedBytes } of samples) {
      const t = (atMs - first.atMs) / 1000 - meanT;
      above += t * (usedBytes - meanU);
      below += t * t;
    }
    const bytesPerSecond = below === 0 ? 0 : above / below;
    const overSeconds = Math.round((last.atMs - first.atMs) / 1000);
    const seconds = leftBytes / bytesPerSecond;
    if (bytesPerSecond < 1 || seconds > HORIZON_SECONDS) return { bytesPerSecond, overSeconds };
    return { bytesPerSecond, overSeconds, fullInSeconds: Math.round(seconds) };
  }
}
