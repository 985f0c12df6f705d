// Processes that a run of the tests left behind. Every process of a run inherits one environment variable, so that
// they are found also when whatever started them is dead. Plain JavaScript without dependencies.
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 100;

/**
 * @param {string} mark NAME=VALUE as it stands in the environment that the processes inherited
 * @returns {{ pid: number, command: string }[]} those that run now and all below them, also what was given another
 *   environment (QEMU); this process is left out, and zombies, which have no environment
 */
export function processesOf(mark) {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => readProcess(name));
  const found = new Set(all.filter(({ environment }) => environment.includes(mark)));
  const pids = new Set([...found].map(({ pid }) => pid));
  for (let before = -1; before < found.size; ) {
    before = found.size;
    for (const each of all) {
      if (!pids.has(each.parent)) continue;
      found.add(each);
      pids.add(each.pid);
    }
  }
  return [...found].map(({ pid, command }) => ({ pid, command }));
}

/** One process as a list, empty when it has ended since it was listed or is not ours to look at. */
function readProcess(name) {
  try {
    const stat = readFileSync(`/proc/${name}/stat`, "utf8");
    // The name in parentheses may hold anything; behind it: state, parent (proc(5)).
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (state === "Z") return [];
    const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
    const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    return [{ pid: Number(name), parent: Number(parent), environment, command }];
  } catch {
    return [];
  }
}

/**
 * Waits until the processes of a run have ended, and ends with SIGKILL those that have not after `graceMs`.
 *
 * @param {string} mark as for processesOf
 * @param {number} graceMs milliseconds that they have to end by themselves
 * @returns {Promise<{ pid: number, command: string }[]>} those that had to be killed
 */
export async function endProcesses(mark, graceMs) {
  const deadline = performance.now() + graceMs;
  while (performance.now() < deadline && processesOf(mark).length > 0) await sleep(POLL_MS);
  const killed = new Map();
  // Again and again: one that is about to die may still start another.
  for (let left = processesOf(mark); left.length > 0; left = processesOf(mark)) {
    for (const each of left) {
      killed.set(each.pid, each);
      try {
        process.kill(each.pid, "SIGKILL");
      } catch {
        // Ended by itself just now.
      }
    }
    await sleep(POLL_MS);
  }
  return [...killed.values()];
}
