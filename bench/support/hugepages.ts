// Hugepages for a contender that needs them, given back afterwards.
import { readFileSync, writeFileSync } from "node:fs";
import { onAbort } from "./cleanup.js";

/** Open vSwitch with DPDK needs 512 MiB of them for itself. */
export const HUGEPAGES_OF_OVS = 300;
const HUGEPAGES = "/proc/sys/vm/nr_hugepages";

/** Runs `work` with at least `count` hugepages of 2 MiB on the machine. */
export async function withHugepages<Result>(count: number, work: () => Promise<Result>): Promise<Result> {
  const before = readFileSync(HUGEPAGES, "utf8").trim();
  const forget = onAbort(() => writeFileSync(HUGEPAGES, before));
  try {
    if (Number(before) < count) writeFileSync(HUGEPAGES, String(count));
    return await work();
  } finally {
    forget();
    writeFileSync(HUGEPAGES, before);
  }
}
