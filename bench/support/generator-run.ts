// One run of the generator of vhost-user cards against a switch that is started for it, the generator on the second
// processor.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { endChild, ROOT } from "../../test/support/run.js";
import { guardChild, guardDirectory } from "./cleanup.js";
import type { Forwarder } from "./forwarders.js";
import type { GeneratorResult, GeneratorWork } from "./generator.js";

const GENERATOR = join(ROOT, "dist", "bench", "support", "generator.js");
const COMPLAINT_SIZE = 1500;

export interface TrafficRun extends Omit<GeneratorWork, "sockets"> {
  readonly cards: number;
  /** Flows of the switch, as `ovs-ofctl add-flows` reads them. */
  readonly rules: readonly string[];
}

/** Where the switch is, while one runs. */
export interface RunningSwitch {
  /** Its directory: `br0.mgmt`, `db.sock`, … */
  readonly home: string;
}

/**
 * Resolves with the result of each phase. `onPhase` is called when the phase of that index has ended, the next of which
 * begins at once; `onEnd` after the last, while the switch still runs. Rejects with what the generator said.
 */
export async function runTraffic(
  forwarder: Forwarder,
  { cards, rules, ...rest }: TrafficRun,
  onPhase: (index: number, running: RunningSwitch) => void = () => {},
  onEnd: (running: RunningSwitch) => Promise<void> = async () => {},
): Promise<GeneratorResult[]> {
  const sockets = (home: string) => Array.from({ length: cards }, (_, i) => join(home, `${i}.sock`));
  return withSwitch(async (home, started) => {
    const running = { home };
    const generating = generate({ ...rest, sockets: sockets(home) }, started, (index) =>
      onPhase(index, running),
    );
    // It may fail while the switch is being started.
    generating.catch(() => undefined);
    started.push(...(await forwarder.start(home, cards, rules)));
    const results = await generating;
    await onEnd(running);
    return results;
  });
}

/** Runs `work` in a directory of its own, and ends what it has put into `started` afterwards. */
export async function withSwitch<Result>(
  work: (home: string, started: ChildProcess[]) => Promise<Result>,
): Promise<Result> {
  const home = mkdtempSync("/tmp/plv-");
  const started: ChildProcess[] = [];
  const forget = guardDirectory(home);
  try {
    return await work(home, started);
  } finally {
    for (const child of started) await endChild(child);
    forget();
    rmSync(home, { recursive: true, force: true });
  }
}

async function generate(
  task: GeneratorWork,
  started: ChildProcess[],
  onPhase: (index: number) => void,
): Promise<GeneratorResult[]> {
  const child = guardChild(
    spawn("taskset", ["-c", "1", process.execPath, GENERATOR, JSON.stringify(task)], {
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
  started.push(child);
  const results: GeneratorResult[] = [];
  let complained = "";
  createInterface({ input: child.stdout }).on("line", (line) => {
    results.push(JSON.parse(line) as GeneratorResult);
    onPhase(results.length - 1);
  });
  child.stderr.on("data", (chunk: Buffer) => {
    complained += chunk.toString();
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`the generator failed:\n${complained.slice(-COMPLAINT_SIZE)}`);
  return results;
}
