// Processes that a run of the tests left behind. Every process of a run inherits one environment variable, so that
// they are found also when whatever started them is dead. Plain JavaScript without dependencies.
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 100;

/**
 * @param {string} mark NAME=VALUE as it stands in the environment that the processes inherited
 * @returns {{ pid: number, command: string }[]} those that run now, this process left out; zombies have no environment
 */
export function processesOf(mark) {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const marked = readFileSync(`/proc/${name}/environ`, "utf8").split("\0").includes(mark);
        if (!marked) return [];
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        return [{ pid: Number(name), command }];
      } catch {
        return []; // Ended since it was listed, or not ours to look at.
      }
    });
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
