// Ingress policing: drops what a port receives beyond a rate of bits, of packets, or of both.
// Source: ovs-vswitchd.conf.db(5), Interface, Ingress Policing. Thread: datapath worker. Hot: yes (admits).
// Invariants: buckets begin full; a frame that is dropped costs nothing; over any time t at most burst + rate · t pass.

/** Rates of 0 do not limit; a burst of 0 stands for the default of its kind. */
export interface PolicingConfig {
  readonly rateKbps: number;
  readonly burstKb: number;
  readonly rateKpkts: number;
  readonly burstKpkts: number;
}

const BURST_KB = 8000;
const BURST_KPKTS = 16;

export class Policer {
  /** A second's worth is 1000 · rateKbps bits, which is rateKbps bits a millisecond; the same with packets. */
  readonly #bitsPerMs: number;
  readonly #bitsMax: number;
  readonly #packetsPerMs: number;
  readonly #packetsMax: number;
  #bits: number;
  #packets: number;
  #refilledMs: number;

  constructor(config: PolicingConfig, nowMs: number) {
    this.#bitsPerMs = config.rateKbps;
    this.#bitsMax = config.rateKbps === 0 ? Number.POSITIVE_INFINITY : 1000 * (config.burstKb || BURST_KB);
    this.#packetsPerMs = config.rateKpkts;
    this.#packetsMax =
      config.rateKpkts === 0 ? Number.POSITIVE_INFINITY : 1000 * (config.burstKpkts || BURST_KPKTS);
    this.#bits = this.#bitsMax;
    this.#packets = this.#packetsMax;
    this.#refilledMs = nowMs;
  }

  /** Whether a frame of this size may come in now; takes its tokens if so. */
  admits(sizeBytes: number, nowMs: number): boolean {
    if (nowMs > this.#refilledMs) {
      const elapsedMs = nowMs - this.#refilledMs;
      this.#refilledMs = nowMs;
      this.#bits = Math.min(this.#bitsMax, this.#bits + elapsedMs * this.#bitsPerMs);
      this.#packets = Math.min(this.#packetsMax, this.#packets + elapsedMs * this.#packetsPerMs);
    }
    const bits = 8 * sizeBytes;
    if (this.#bits < bits || this.#packets < 1) return false;
    this.#bits -= bits;
    this.#packets -= 1;
    return true;
  }
}

/** Undefined when nothing is limited. */
export function createPolicer(config: PolicingConfig | undefined, nowMs: number): Policer | undefined {
  if (config === undefined || (config.rateKbps === 0 && config.rateKpkts === 0)) return undefined;
  return new Policer(config, nowMs);
}
