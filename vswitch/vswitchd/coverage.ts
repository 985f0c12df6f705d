// Counters with their rates, as coverage/show of Open vSwitch has them: a sample every five seconds, kept for an hour.
// Thread: main. Invariant: at most SAMPLES_MAX samples are kept.
import type { Clock, Timer } from "../../base/time/index.js";

type Counters = Readonly<Record<string, number>>;

const INTERVAL_MS = 5_000;
const PER_MINUTE = 12;
const PER_HOUR = 720;
const SAMPLES_MAX = PER_HOUR + 1;

export class Coverage {
  readonly #samples: Counters[] = [];
  readonly #clock: Clock;
  readonly #read: () => Promise<Counters>;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(clock: Clock, read: () => Promise<Counters>) {
    this.#clock = clock;
    this.#read = read;
  }

  /** Samples from now on. */
  start(): void {
    this.#timer = this.#clock.after(INTERVAL_MS, () => {
      void this.#read().then(
        (counters) => {
          this.sample(counters);
          if (!this.#stopped) this.start();
        },
        // The datapath has ended, and the daemon with it.
        () => {},
      );
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  sample(counters: Counters): void {
    this.#samples.push(counters);
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
  }

  /** Counters that have counted something, and how many have not. */
  format(counters: Counters): string {
    const names = Object.keys(counters).sort();
    const used = names.filter((name) => (counters[name] as number) !== 0);
    const lines = used.map((name) => {
      const rate = (samples: number): number => this.#rate(name, counters, samples);
      const rates = `${rate(1).toFixed(1).padStart(8)}/sec ${rate(PER_MINUTE).toFixed(3).padStart(9)}/sec ${rate(PER_HOUR).toFixed(4).padStart(13)}/sec`;
      return `${name.padEnd(22)} ${rates}   total: ${counters[name]}\n`;
    });
    const head = "Event coverage, avg rate over last: 5 seconds, last minute, last hour:\n";
    return `${head}${lines.join("")}${names.length - used.length} events never hit\n`;
  }

  /** Per second over the last `samples` intervals, or over the whole period where fewer are kept. */
  #rate(name: string, now: Counters, samples: number): number {
    const before = this.#samples.at(-samples) ?? this.#samples[0];
    if (before === undefined) return 0;
    return Math.max(0, ((now[name] as number) - (before[name] ?? 0)) / ((samples * INTERVAL_MS) / 1000));
  }
}
