// The health of one endpoint as a small state machine: so many good probes in a row make it Healthy, so many bad ones
// Unhealthy. Pure: probes report, this decides.

export type HealthState = "Unknown" | "Healthy" | "Unhealthy";

export interface HealthThresholds {
  /** Good probes in a row before an endpoint counts as Healthy. At least 1. */
  readonly healthyThreshold: number;
  /** Bad probes in a row before an endpoint counts as Unhealthy. At least 1. */
  readonly unhealthyThreshold: number;
}

export class Health {
  #thresholds: HealthThresholds;
  #state: HealthState = "Unknown";
  #reason = "not probed yet";
  #run = 0;
  #lastGood: boolean | undefined;

  constructor(thresholds: HealthThresholds) {
    this.#thresholds = thresholds;
  }

  /** Takes other thresholds; they count from the next probe. */
  configure(thresholds: HealthThresholds): void {
    this.#thresholds = thresholds;
  }

  get state(): HealthState {
    return this.#state;
  }

  /** Why it is in this state, for people. */
  get reason(): string {
    return this.#reason;
  }

  /** Takes the outcome of one probe; true when the state changed. */
  report(good: boolean, reason: string): boolean {
    this.#run = this.#lastGood === good ? this.#run + 1 : 1;
    this.#lastGood = good;
    const needed = good ? this.#thresholds.healthyThreshold : this.#thresholds.unhealthyThreshold;
    const next = good ? "Healthy" : "Unhealthy";
    if (this.#state === next) {
      this.#reason = reason;
      return false;
    }
    // An endpoint never seen healthy takes no traffic, so its first bad probe tells all there is to tell.
    if (this.#run < needed && !(this.#state === "Unknown" && !good)) return false;
    this.#state = next;
    this.#reason = reason;
    return true;
  }
}
