// Meters as people write them: "meter=1,kbps,burst,band=type=drop,rate=1000,burst_size=100". Pure.
// Source: ovs-ofctl(8), Meter Syntax.
import {
  type MeterBand,
  type MeterConfig,
  type MeterStats,
  OFPM_ALL,
  OFPM_MAX,
  OFPMF_BURST,
  OFPMF_KBPS,
  OFPMF_PKTPS,
  OFPMF_STATS,
} from "../../base/openflow/index.js";
import { formatDuration } from "./duration-text.js";
import { flowTextError } from "./errors.js";
import { splitKeyValues } from "./key-values.js";

export const METER_FLAGS: readonly string[] = ["kbps", "pktps", "burst", "stats"];
const FLAG_BITS: Readonly<Record<string, number>> = {
  kbps: OFPMF_KBPS,
  pktps: OFPMF_PKTPS,
  burst: OFPMF_BURST,
  stats: OFPMF_STATS,
};

const METER_FLAGS_ALL = OFPMF_KBPS | OFPMF_PKTPS | OFPMF_BURST | OFPMF_STATS;

export interface MeterText {
  readonly meterId: number | undefined;
  readonly flags: number;
  readonly bands: readonly MeterBand[];
}

/** Parses a meter; `full` as for add-meter and mod-meter, else a selection. Throws FLOW_TEXT_INVALID. */
export function parseMeter(text: string, full: boolean): MeterText {
  const at = full ? text.search(/(^|[,\s])bands?\s*=/) : -1;
  if (full && at < 0) throw flowTextError("must specify bands");
  let meterId: number | undefined;
  let flags = 0;
  for (const { key, value } of splitKeyValues(at < 0 ? text : text.slice(0, at))) {
    const flag = Object.hasOwn(FLAG_BITS, key) ? FLAG_BITS[key] : undefined;
    if (full && flag !== undefined) flags |= flag;
    else if (value === "")
      throw flowTextError(full ? `field ${key} missing value` : `unknown keyword ${key}`);
    else if (key === "meter") meterId = parseMeterId(value);
    else throw flowTextError(`unknown keyword ${key}`);
  }
  if (full && meterId === undefined) throw flowTextError("must specify 'meter'");
  if (full && (flags & (OFPMF_KBPS | OFPMF_PKTPS)) === 0) flags |= OFPMF_KBPS;
  const bands =
    at < 0
      ? []
      : text
          .slice(at)
          .split(/(?:^|[,\s])bands?\s*=/)
          .slice(1)
          .map(parseBand);
  if (bands.some(({ burstSize }) => burstSize > 0)) flags |= OFPMF_BURST;
  return { meterId, flags, bands };
}

function parseMeterId(text: string): number {
  if (text === "all") return OFPM_ALL;
  const id = /^(\d{1,10}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN;
  if (!(id >= 1 && id <= OFPM_MAX)) throw flowTextError(`invalid meter "${text}"`);
  return id;
}

function parseBand(text: string): MeterBand {
  let type: string | undefined;
  let rate = 0;
  let burstSize = 0;
  let precedenceLevel = 0;
  const u32 = (key: string, value: string): number => {
    const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number <= 0xffffffff)) throw flowTextError(`invalid ${key} "${value}"`);
    return number;
  };
  for (const { key, value } of splitKeyValues(text)) {
    if (key === "type") type = value;
    else if (key === "rate") rate = u32(key, value);
    else if (key === "burst_size") burstSize = u32(key, value);
    else if (key === "prec_level") precedenceLevel = u32(key, value);
    else throw flowTextError(`unknown keyword ${key}`);
  }
  if (type === undefined) throw flowTextError("must specify 'type'");
  if (type !== "drop" && type !== "dscp_remark") throw flowTextError(`field unknown value ${type}`);
  if (rate === 0) throw flowTextError("must specify 'rate'");
  return type === "drop" ? { type, rate, burstSize } : { type, rate, burstSize, precedenceLevel };
}

const METER_NAMES: Readonly<Record<number, string>> = {
  4294967293: "slowpath",
  4294967294: "controller",
  4294967295: "all",
};

export function formatMeterId(meterId: number): string {
  return METER_NAMES[meterId] ?? (meterId > OFPM_MAX ? "unknown" : String(meterId));
}

/** "meter=1 kbps burst stats bands=" and a line per band. */
export function formatMeter(meter: MeterConfig): string {
  const bands = meter.bands.map((band) => {
    const level = band.type === "dscp_remark" ? ` prec_level=${band.precedenceLevel}` : "";
    const burst = (meter.flags & OFPMF_BURST) === 0 ? "" : ` burst_size=${band.burstSize}`;
    return `type=${band.type} rate=${band.rate}${burst}${level}\n`;
  });
  const known = METER_FLAGS.filter((_, bit) => ((meter.flags >>> bit) & 1) === 1);
  const rest = meter.flags & ~METER_FLAGS_ALL;
  const words = [...known, ...(rest === 0 ? [] : [`flags:0x${rest.toString(16)}`]), "bands="];
  return `meter=${formatMeterId(meter.meterId)} ${words.join(" ")}\n${bands.join("")}`;
}

export function formatMeterStats(meter: MeterStats): string {
  const counters = `flow_count:${meter.flowCount} packet_in_count:${meter.packetInCount} byte_in_count:${meter.byteInCount}`;
  const bands = meter.bands.map(
    ({ packetCount, byteCount }, i) => `${i}: packet_count:${packetCount} byte_count:${byteCount}\n`,
  );
  return `meter:${formatMeterId(meter.meterId)} ${counters} duration:${formatDuration(meter)} bands:\n${bands.join("")}`;
}
