// Packets that flow without a pause while something else happens: each that goes in must come out.
import { setImmediate, setTimeout } from "node:timers/promises";
import { waitFor } from "../../base/time/index.js";

const DEADLINE_MS = 30_000;
/** Packets of a stream on their way above which the sender goes slower: queues on the way are finite. */
const UNDERWAY_MAX = 32;

export interface Stream {
  readonly name: string;
  send(): Promise<void>;
  /** How many of this stream's packets came out so far. */
  arrived(): number;
}

/**
 * Sends the streams' packets in turn while `work` goes on, and at least `packetsMin` of each. Returns the number of
 * packets of each stream once all have arrived, but for `lostMax` of each; throws with the counts when more are lost.
 */
export async function underTraffic(
  streams: readonly Stream[],
  packetsMin: number,
  work: () => Promise<void>,
  lostMax = 0,
): Promise<number> {
  const before = streams.map((stream) => stream.arrived());
  const counts = (): number[] => streams.map((stream, i) => stream.arrived() - (before[i] as number));
  let done = false;
  let failed: unknown;
  const working = work().then(
    () => {
      done = true;
    },
    (thrown: unknown) => {
      done = true;
      failed = thrown;
    },
  );
  let sent = 0;
  while (!done || sent < packetsMin) {
    for (const stream of streams) await stream.send();
    sent++;
    const slowest = Math.min(...counts());
    await (sent - slowest > UNDERWAY_MAX ? setTimeout(1) : setImmediate());
  }
  await working;
  if (failed !== undefined) throw failed;
  await waitFor(
    () => counts().every((count) => count >= sent - lostMax),
    () =>
      `${sent} packets of each stream: ${streams.map(({ name }, i) => `${name} ${counts()[i]}`).join(", ")}`,
    DEADLINE_MS,
  );
  return sent;
}
