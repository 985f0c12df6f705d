// From which shares on a StoragePool warns: sets what its spec names, says why when storaged refuses. Thread: main.
import { describeError, PlinthError } from "../../../base/errors/index.js";
import type { StoragePool } from "../../resources/index.js";
import type { Verdict } from "./api-writer.js";
import { isStorageAway, type StorageClient, type ThresholdFacts } from "./storage-client.js";
import { reasonOf } from "./storage-reasons.js";

const TYPE = "ThresholdsAsWanted";

/**
 * Makes the thresholds those of the spec; what it does not name is left alone. No verdict where it never named any. A pool
 * with thresholds that storaged refuses is served all the same.
 */
export async function keepThresholds(
  pool: StoragePool,
  facts: ThresholdFacts | undefined,
  storage: Pick<StorageClient, "setThresholds">,
): Promise<Verdict[]> {
  const wasTold = pool.status?.conditions?.some(({ type }) => type === TYPE) === true;
  const wanted = pool.spec.thresholds ?? (wasTold ? {} : undefined);
  if (wanted === undefined || facts === undefined) return [];
  const { warningPercent = facts.warningPercent, criticalPercent = facts.criticalPercent } = wanted;
  const asWanted: Verdict = { type: TYPE, status: "True", reason: "AsWanted", message: "" };
  if (warningPercent === facts.warningPercent && criticalPercent === facts.criticalPercent) return [asWanted];
  try {
    await storage.setThresholds(pool.metadata.name, { warningPercent, criticalPercent });
    return [asWanted];
  } catch (thrown) {
    if (!(thrown instanceof PlinthError) || isStorageAway(thrown)) throw thrown;
    return [{ type: TYPE, status: "False", reason: reasonOf(thrown.code), message: describeError(thrown) }];
  }
}
