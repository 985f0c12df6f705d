// The scrubs of a StoragePool: sets when they are due, shows when the last one was and what it found. Thread: main.
import { describeError, PlinthError } from "../../../base/errors/index.js";
import type { ResourceClient } from "../../api/index.js";
import { formatBytes, quantityBytes, type StoragePool } from "../../resources/index.js";
import type { Verdict } from "./api-writer.js";
import { isStorageAway, type PoolFacts, type ScrubFacts, type StorageClient } from "./storage-client.js";
import { reasonOf } from "./storage-reasons.js";

/**
 * Makes schedule and rate those of the spec; what it does not name is left alone. The verdict is about what storaged
 * refuses: a pool with a wrong schedule is served all the same.
 */
export async function keepScrub(
  pool: StoragePool,
  facts: ScrubFacts | undefined,
  storage: Pick<StorageClient, "setScrub">,
): Promise<Verdict | undefined> {
  const { schedule, bandwidth } = pool.spec.scrub ?? {};
  if (facts === undefined) return undefined;
  const rate = bandwidth === undefined ? facts.bytesPerSecond : quantityBytes(bandwidth);
  const isSet = schedule === undefined || schedule === facts.cron || schedule === facts.schedule;
  if (isSet && rate === facts.bytesPerSecond) return undefined;
  try {
    await storage.setScrub(pool.metadata.name, schedule, bandwidth === undefined ? undefined : rate);
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof PlinthError) || isStorageAway(thrown)) throw thrown;
    return {
      type: "Scrubbed",
      status: "False",
      reason: reasonOf(thrown.code),
      message: describeError(thrown),
    };
  }
}

/** The field of the status. */
export function scrubStatus(facts: ScrubFacts): NonNullable<StoragePool["status"]>["scrub"] {
  const { nextAt, running, last } = facts;
  return {
    ...(nextAt === undefined ? {} : { nextTime: nextAt }),
    ...(running === undefined ? {} : { progressPercent: percentOf(running) }),
    ...(last === undefined
      ? {}
      : {
          lastTime: last.endedAt,
          lastResult: last.outcome,
          checkedBytes: last.checkedBytes,
          repairedBlocks: last.repairedBlocks,
          lostBlocks: last.lostBlocks,
        }),
  };
}

/** What the last scrub that ended says of the pool; nothing when there was none. */
export function scrubCondition({ scrub }: Pick<PoolFacts, "scrub">): Verdict[] {
  const type = "Scrubbed";
  const last = scrub?.last;
  if (last === undefined) return [];
  const { outcome, endedAt, lostBlocks, repairedBlocks, checkedBytes, findings } = last;
  if (outcome === "failed") {
    const message = `${lostBlocks} blocks without a good copy: ${findings.slice(0, 3).join("; ")}`;
    return [{ type, status: "False", reason: "BlocksLost", message }];
  }
  const when = `${formatBytes(checkedBytes)} read until ${endedAt}`;
  if (outcome === "cancelled") return [{ type, status: "Unknown", reason: "Cancelled", message: when }];
  const reason = repairedBlocks === 0 ? "Clean" : "Repaired";
  const repaired = repairedBlocks === 0 ? "" : `, ${repairedBlocks} blocks put right from another copy`;
  return [{ type, status: "True", reason, message: `${when}${repaired}` }];
}

/** An event for each scrub that found something, once. */
export async function tellScrub(
  pool: StoragePool,
  facts: Pick<PoolFacts, "scrub">,
  client: ResourceClient,
): Promise<void> {
  const last = facts.scrub?.last;
  if (last === undefined || last.endedAt === pool.status?.scrub?.lastTime) return;
  const [verdict] = scrubCondition(facts);
  if (verdict === undefined || last.lostBlocks + last.repairedBlocks === 0) return;
  const { message = "" } = verdict;
  if (last.lostBlocks > 0) await client.recordEvent(pool, { type: "Warning", reason: "BlocksLost", message });
  else await client.recordEvent(pool, { reason: "BlocksRepaired", message });
}

function percentOf({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }): number {
  return totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes);
}
