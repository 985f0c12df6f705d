// Times and durations as people type them. Pure. Thread: main.
import { InvalidArgumentError } from "commander";

const UNIT_SECONDS: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  min: 60,
  h: 3600,
  d: 86_400,
  w: 604_800,
};
const DURATION = /^(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)$/;

/** "90s", "5m", "2h", "7d" in whole seconds; "0" and "off" are 0. */
export function parseDuration(text: string): number {
  if (text === "0" || text === "off") return 0;
  const [, amount, unit] = DURATION.exec(text.trim()) ?? [];
  if (amount === undefined || unit === undefined)
    throw new InvalidArgumentError("expected e.g. 90s, 5m, 2h, 7d or off");
  return Math.round(Number(amount) * (UNIT_SECONDS[unit] as number));
}

/**
 * A moment as ISO 8601 in UTC: "2026-03-01T12:00:05Z", "2026-03-01 12:00:05" and "12:00:05" (today, or yesterday if that is
 * still to come) in local time, "5m ago" or "5m", "@1767225600". `nowMs`: milliseconds since 1970.
 */
export function parseMoment(text: string, nowMs: number): string {
  const ms = momentMs(text.trim(), nowMs);
  if (!Number.isFinite(ms) || ms < 0) {
    throw new InvalidArgumentError(
      'expected e.g. 2026-03-01T12:00:05Z, "2026-03-01 12:00:05", 12:00:05 or "5m ago"',
    );
  }
  return new Date(ms).toISOString();
}

function momentMs(text: string, nowMs: number): number {
  const ago = text.replace(/\s+ago$/, "").replace(/^-/, "");
  if (DURATION.test(ago)) return nowMs - parseDuration(ago) * 1000;
  if (/^@\d+(\.\d+)?$/.test(text)) return Math.round(Number(text.slice(1)) * 1000);
  if (/^\d{1,2}:\d{2}(:\d{2}(\.\d{1,3})?)?$/.test(text)) {
    const [hours, minutes, seconds = "0"] = text.split(":") as [string, string, string?];
    const at = new Date(nowMs);
    at.setHours(Number(hours), Number(minutes), 0, Math.round(Number(seconds) * 1000));
    if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) >= 60) return Number.NaN;
    if (at.getTime() > nowMs) at.setDate(at.getDate() - 1);
    return at.getTime();
  }
  return /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
}

/** "3 days", "5 hours", "40 seconds": one unit, rounded down, so that nobody hopes for more. */
export function describeDuration(seconds: number): string {
  const units: readonly [string, number][] = [
    ["year", 365 * 86_400],
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
    ["second", 1],
  ];
  const [unit, size] = units.find(([, each]) => seconds >= each) ?? (["second", 1] as const);
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
