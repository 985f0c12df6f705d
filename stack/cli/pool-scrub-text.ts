// The options of `plinth pool set`, and what is said of a pool's scrubs. Pure. Thread: main.
import type { ScrubView } from "../../storage-pool/index.js";
import { formatBytes } from "../resources/quantity.js";
import { describeDuration } from "./moment.js";
import { counted, type Params } from "./storage-call.js";

export interface SetFlags {
  readonly warning?: number;
  readonly critical?: number;
  readonly scrub?: string;
  readonly scrubRate?: number;
}

export function setParams({ warning, critical, scrub, scrubRate }: SetFlags): Params {
  return {
    ...(warning === undefined ? {} : { warningPercent: warning }),
    ...(critical === undefined ? {} : { criticalPercent: critical }),
    ...(scrub === undefined ? {} : { scrub }),
    ...(scrubRate === undefined ? {} : { scrubBytesPerSecond: scrubRate }),
  };
}

/** When it is scrubbed, and how fast. */
export function scheduleText({ cron, nextAt, bytesPerSecond }: ScrubView): string {
  if (cron === "off") return "not scrubbed by schedule";
  const next = nextAt === undefined ? "" : `, next ${minute(nextAt)}`;
  const rate = bytesPerSecond === 0 ? "" : `, at most ${formatBytes(bytesPerSecond)}/s`;
  return `scrubbed by schedule "${cron}" (UTC)${next}${rate}`;
}

/** What goes on and what the last one found. `nowMs`: since 1970. */
export function scrubText(scrub: ScrubView, nowMs: number): string {
  const lines: string[] = [];
  const { running, runs } = scrub;
  if (running !== undefined) {
    const { startedAt, doneBytes, totalBytes } = running;
    const percent = totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes);
    lines.push(`being scrubbed since ${minute(startedAt)}: ${percent} % of ${formatBytes(totalBytes)}`);
  }
  const last = runs.at(-1);
  if (last === undefined) lines.push("never scrubbed to its end");
  else {
    const { endedAt, outcome, checkedBytes, repairedBlocks, lostBlocks, findings } = last;
    const age = describeDuration(Math.max(1, (nowMs - Date.parse(endedAt)) / 1000));
    const how = outcome === "cancelled" ? " cancelled after" : "";
    const lost = lostBlocks === 0 ? "" : `, ${lostBlocks} without a good copy: ${findings.join("; ")}`;
    lines.push(
      `last scrub ${age} ago (${minute(endedAt)}):${how} ${formatBytes(checkedBytes)} read, ${counted(repairedBlocks, "block")} repaired${lost}`,
    );
  }
  lines.push(scheduleText(scrub));
  return lines.join("\n");
}

/** "2026-03-01 01:00 UTC". */
function minute(iso: string): string {
  return `${iso.slice(0, 16).replace("T", " ")} UTC`;
}
