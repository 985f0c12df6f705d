// Reads on which processors the switch is to work, and which of them serves a port. Pure.
// Source: ovs-vswitchd.conf.db(5): Open_vSwitch other_config:pmd-cpu-mask, pmd-maxsleep (since 3.2 pmd-sleep-max),
// pmd-rxq-assign, pmd-rxq-isolate, Interface other_config:pmd-rxq-affinity.
import { type Affinity, ASSIGNMENTS, type AssignmentRules } from "../datapath/index.js";
import type { DatabaseRow } from "../db/index.js";

const SLEEP_MAX_US = 10_000;

/** Workers at most: their packets lie in one arena. */
export const WORKERS_MAX = 16;

/** Types of ports whose queues several workers may serve. */
export const SPREAD_TYPES: readonly string[] = ["afxdp", "dpdkvhostuser", "dpdkvhostuserclient", "tap"];

/** What takes effect at once. */
export type ThreadRules = Pick<ThreadConfig, "sleeps" | keyof AssignmentRules>;

export interface ThreadConfig extends AssignmentRules {
  /** By number, the first is the one that forwards; empty: one worker, on any. */
  readonly cores: readonly number[];
  /** Workers sleep when there is nothing to do; else they ask their ports all the time. */
  readonly sleeps: boolean;
  /** What is asked for and not done, for people. */
  readonly problems: readonly string[];
}

/** `coresMax`: how many processors there are. */
export function readThreads(otherConfig: ReadonlyMap<string, string>, coresMax: number): ThreadConfig {
  const problems: string[] = [];
  const mask = otherConfig.get("pmd-cpu-mask") ?? "";
  const all = coresOf(mask);
  if (all === undefined)
    problems.push(`other_config:pmd-cpu-mask is "${mask}", a hexadecimal mask of processors was expected`);
  const there = (all ?? []).filter((core) => core < coresMax);
  if (all !== undefined && there.length < all.length)
    problems.push(
      `other_config:pmd-cpu-mask names processors that are not there: ${all.filter((core) => core >= coresMax).join(", ")}`,
    );
  if (there.length > WORKERS_MAX)
    problems.push(`other_config:pmd-cpu-mask names more than ${WORKERS_MAX} processors: the first are used`);
  const assign = otherConfig.get("pmd-rxq-assign") ?? "cycles";
  const assignment = ASSIGNMENTS.find((one) => one === assign);
  if (assignment === undefined)
    problems.push(
      `other_config:pmd-rxq-assign is "${assign}", one of ${ASSIGNMENTS.join(", ")} was expected; "cycles" is used`,
    );
  if (otherConfig.get("pmd-auto-lb") === "true")
    problems.push(
      "other_config:pmd-auto-lb has no effect: ports stay where they are until dpif-netdev/pmd-rxq-rebalance",
    );
  const sleeps = readSleep(otherConfig, problems);
  return {
    cores: there.slice(0, WORKERS_MAX),
    sleeps,
    assignment: assignment ?? "cycles",
    isolates: otherConfig.get("pmd-rxq-isolate") !== "false",
    problems,
  };
}

/** Only 0 makes a difference: what ends a sleep is a frame, and not the time. */
function readSleep(otherConfig: ReadonlyMap<string, string>, problems: string[]): boolean {
  const name = otherConfig.has("pmd-sleep-max") ? "pmd-sleep-max" : "pmd-maxsleep";
  const text = otherConfig.get(name);
  if (text === undefined) return true;
  if (/^\d{1,5}$/.test(text) && Number(text) <= SLEEP_MAX_US) return Number(text) > 0;
  problems.push(`other_config:${name} is "${text}", 0 to ${SLEEP_MAX_US} microseconds were expected`);
  return true;
}

/** The processors of a mask; undefined when it is none. */
function coresOf(mask: string): number[] | undefined {
  const digits = /^(?:0[xX])?([0-9a-fA-F]{0,256})$/.exec(mask)?.[1];
  if (digits === undefined) return undefined;
  const cores: number[] = [];
  for (const [i, digit] of [...digits].reverse().entries())
    for (let bit = 0; bit < 4; bit++) if ((Number.parseInt(digit, 16) >> bit) & 1) cores.push(4 * i + bit);
  return cores;
}

/**
 * The processors whose workers are to serve the queues of the interface; undefined when that is not said. Not `isHeeded`:
 * what is said makes no sense, names a processor without a worker, or wants the first worker, which has the tables, to
 * serve some of the queues and not all; or several of them queues of a port that are not spread.
 */
export function readAffinity(
  row: DatabaseRow,
  cores: readonly number[],
  isSpread: boolean,
): { readonly affinity: Affinity | undefined; readonly isHeeded: boolean } {
  const text = row.map("other_config").get("pmd-rxq-affinity");
  if (text === undefined) return { affinity: undefined, isHeeded: true };
  const pairs = text.split(",").map((pair) => /^\s*(\d{1,4})\s*:\s*(\d{1,4})\s*$/.exec(pair));
  const affinity: Record<number, number> = {};
  let isSound = cores.length > 1;
  for (const [, queue, core] of pairs.map((pair) => pair?.map(Number) ?? [])) {
    if (queue === undefined || core === undefined || queue in affinity || !cores.includes(core))
      isSound = false;
    else affinity[queue] = core;
  }
  const wanted = new Set(Object.values(affinity));
  if (wanted.size > 1 && (!isSpread || (cores[0] !== undefined && wanted.has(cores[0])))) isSound = false;
  return isSound ? { affinity, isHeeded: true } : { affinity: undefined, isHeeded: false };
}
