// Meters: token buckets that drop packets or lower their DSCP precedence above a rate.
// Source: OpenFlow 1.3.5, 5.7 and 7.3.4.4. Rates are kilobits or packets per second.
// Thread: datapath worker. Hot: yes (apply).
import {
  type MeterBand,
  type MeterConfig,
  type MeterMod,
  type MeterStats,
  OFPM_ALL,
  OFPM_CONTROLLER,
  OFPM_MAX,
  OFPM_SLOWPATH,
  OFPMF_BURST,
  OFPMF_KBPS,
  OFPMF_PKTPS,
  OFPMF_STATS,
} from "../../base/openflow/index.js";
import { FRAME_SIZE_MAX } from "../../base/packet/index.js";
import { flowError } from "./errors.js";
import { BANDS_MAX, METERS_MAX } from "./limits.js";

export const METER_PASS = 0;
export const METER_DROP = -1;

/** One rate of one meter. */
class Band {
  readonly drop: boolean;
  readonly precedenceLevel: number;
  /** Tokens (bits or packets) per millisecond. */
  readonly perMs: number;
  readonly tokensMax: number;
  tokens: number;
  packets = 0;
  bytes = 0;

  constructor(band: MeterBand, packetsPerSecond: boolean, burst: boolean, drop: boolean) {
    this.drop = drop;
    this.precedenceLevel = band.type === "dscp_remark" ? band.precedenceLevel : 0;
    this.perMs = packetsPerSecond ? band.rate / 1000 : band.rate;
    const scale = packetsPerSecond ? 1 : 1000;
    // Without a burst size: what the rate allows in a tenth of a second, and at least one packet of any size.
    const tokens = burst && band.burstSize > 0 ? band.burstSize * scale : (band.rate * scale) / 10;
    this.tokensMax = Math.max(tokens, packetsPerSecond ? 1 : FRAME_SIZE_MAX * 8);
    this.tokens = this.tokensMax;
  }
}

export class Meter {
  readonly config: MeterConfig;
  readonly bands: readonly Band[];
  readonly packetsPerSecond: boolean;
  readonly createdMs: number;
  lastMs: number;
  packets = 0;
  bytes = 0;

  /** `before` is what it was until it was modified: its own counts go on, those of its bands do not (1.5.1, 6.8). */
  constructor(config: MeterConfig, nowMs: number, before?: Meter) {
    this.config = config;
    this.packetsPerSecond = (config.flags & OFPMF_PKTPS) !== 0;
    const burst = (config.flags & OFPMF_BURST) !== 0;
    this.bands = config.bands.map(
      (band) => new Band(band, this.packetsPerSecond, burst, band.type === "drop"),
    );
    this.createdMs = before?.createdMs ?? nowMs;
    this.lastMs = nowMs;
    this.packets = before?.packets ?? 0;
    this.bytes = before?.bytes ?? 0;
  }
}

export class MeterTable {
  #meters = new Map<number, Meter>();

  has(meterId: number): boolean {
    return this.#meters.has(meterId);
  }

  /** All meters as of now, for restore(). */
  snapshot(): ReadonlyMap<number, Meter> {
    return new Map(this.#meters);
  }

  restore(meters: ReadonlyMap<number, Meter>): void {
    this.#meters = new Map(meters);
  }

  /** Throws with an OFPMMFC_ code. Returns the ids of deleted meters, whose flows must go too. */
  apply(mod: MeterMod, nowMs: number): readonly number[] {
    if (mod.command === "delete") return this.#delete(mod.meterId);
    check(mod);
    const existing = this.#meters.get(mod.meterId);
    if (mod.command === "add" && existing !== undefined)
      throw flowError("OFPMMFC_METER_EXISTS", `there is a meter ${mod.meterId}`);
    if (mod.command === "modify" && existing === undefined)
      throw flowError("OFPMMFC_UNKNOWN_METER", `there is no meter ${mod.meterId}`);
    if (this.#meters.size >= METERS_MAX && existing === undefined)
      throw flowError("OFPMMFC_OUT_OF_METERS", `at most ${METERS_MAX} meters`);
    const { flags, meterId, bands } = mod;
    this.#meters.set(meterId, new Meter({ flags, meterId, bands }, nowMs, existing));
    return [];
  }

  /** Whether packets that pass the meter are as they were. */
  onlyDrops(meterId: number): boolean {
    const meter = this.#meters.get(meterId);
    if (meter === undefined) return true;
    for (let i = 0; i < meter.bands.length; i++) if (!meter.bands[i]!.drop) return false;
    return true;
  }

  /** What the meter says of a packet: METER_PASS, METER_DROP, or by how many levels to lower its precedence. */
  measure(meterId: number, sizeBytes: number, nowMs: number): number {
    const meter = this.#meters.get(meterId);
    if (meter === undefined) return METER_PASS;
    const elapsedMs = nowMs - meter.lastMs;
    meter.lastMs = nowMs;
    meter.packets++;
    meter.bytes += sizeBytes;
    const cost = meter.packetsPerSecond ? 1 : sizeBytes * 8;
    let hit: Band | null = null;
    for (let i = 0; i < meter.bands.length; i++) {
      const band = meter.bands[i]!;
      band.tokens = Math.min(band.tokensMax, band.tokens + elapsedMs * band.perMs);
      if (band.tokens >= cost) band.tokens -= cost;
      else if (hit === null || band.perMs > hit.perMs) hit = band;
    }
    if (hit === null) return METER_PASS;
    hit.packets++;
    hit.bytes += sizeBytes;
    return hit.drop ? METER_DROP : hit.precedenceLevel;
  }

  /** `flowCounts`: how many flows use each meter. */
  stats(nowMs: number, flowCounts: ReadonlyMap<number, number>): MeterStats[] {
    return [...this.#meters.values()].map((meter) => ({
      meterId: meter.config.meterId,
      flowCount: flowCounts.get(meter.config.meterId) ?? 0,
      packetInCount: BigInt(meter.packets), // cold
      byteInCount: BigInt(meter.bytes), // cold
      durationSeconds: Math.floor((nowMs - meter.createdMs) / 1000),
      durationNanoseconds: Math.floor(((nowMs - meter.createdMs) % 1000) * 1e6),
      bands: meter.bands.map((band) => ({
        packetCount: BigInt(band.packets), // cold
        byteCount: BigInt(band.bytes), // cold
      })),
    }));
  }

  configs(): MeterConfig[] {
    return [...this.#meters.values()].map((meter) => meter.config);
  }

  #delete(meterId: number): readonly number[] {
    const ids = meterId === OFPM_ALL ? [...this.#meters.keys()] : this.#meters.has(meterId) ? [meterId] : [];
    for (const id of ids) this.#meters.delete(id); // cold
    return ids;
  }
}

function check(mod: MeterMod): void {
  const isVirtual = mod.meterId === OFPM_CONTROLLER || mod.meterId === OFPM_SLOWPATH;
  if (mod.meterId === 0 || (mod.meterId > OFPM_MAX && !isVirtual))
    throw flowError("OFPMMFC_INVALID_METER", `meter 0x${mod.meterId.toString(16)} cannot be made`); // cold
  const unit = mod.flags & (OFPMF_KBPS | OFPMF_PKTPS);
  if (
    unit === (OFPMF_KBPS | OFPMF_PKTPS) ||
    (mod.flags & ~(OFPMF_KBPS | OFPMF_PKTPS | OFPMF_BURST | OFPMF_STATS)) !== 0
  )
    throw flowError("OFPMMFC_BAD_FLAGS", `meter flags 0x${mod.flags.toString(16)}`); // cold
  if (mod.bands.length > BANDS_MAX) throw flowError("OFPMMFC_OUT_OF_BANDS", `${mod.bands.length} bands`);
  const bands = mod.bands;
  for (let i = 0; i < bands.length; i++) {
    const band = bands[i]!;
    if (band.type === "experimenter")
      throw flowError("OFPMMFC_BAD_BAND", "experimenter bands are not supported");
    if (band.rate === 0) throw flowError("OFPMMFC_BAD_RATE", "a band's rate is more than 0");
  }
}
