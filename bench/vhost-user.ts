// vhost-user: frames per second and latency between guests' cards, plinth vswitchd against Open vSwitch with DPDK, and
// against testpmd, which looks at nothing. One generator for all; a switch has the first processor, it the second.
import { describeError } from "../base/errors/index.js";
import { requirePrograms } from "../test/support/run.js";
import {
  type Contender,
  compare,
  format,
  type Outcome,
  renderOutcomes,
  writeResults,
} from "./support/compare.js";
import { type Forwarder, OPEN_VSWITCH_DPDK, PLINTH_VSWITCHD, TESTPMD } from "./support/forwarders.js";
import type { GeneratorResult } from "./support/generator.js";
import { runTraffic } from "./support/generator-run.js";
import { HUGEPAGES_OF_OVS, withHugepages } from "./support/hugepages.js";
import { benchOptions, numberOption } from "./support/options.js";
import { PIPELINES, type PipelineName } from "./support/pipelines.js";
import { type Distribution, IMIX } from "./support/traffic.js";

const USAGE = `usage: node dist/bench/vhost-user.js [options]
  --runs N        runs of each contender, in turn; the median counts (5)
  --seconds N     how long each is measured (4)
  --warm-up N     and how long it runs before that (2)
  --only TEXT     only works whose title has TEXT in it; may be given several times.
                  The results are then printed, and bench/RESULTS.md stays as it is
  --without TEXT  leave out peers whose name has TEXT in it; may be given several times
  --list          print the titles of all works
  --help          this
`;
const values = benchOptions(USAGE, {
  runs: { type: "string", default: "5" },
  seconds: { type: "string", default: "4" },
  "warm-up": { type: "string", default: "2" },
  only: { type: "string", multiple: true, default: [] },
  without: { type: "string", multiple: true, default: [] },
  list: { type: "boolean", default: false },
});

interface Work {
  readonly flows: number;
  readonly distribution: Distribution;
  readonly sizes: readonly number[];
  readonly pipeline: PipelineName;
  readonly cards: number;
  /** What is looked at. */
  readonly figure: "rate" | "p50" | "p99" | "p999";
  /** While latency is measured: which share is sent of what the slower switch can forward. */
  readonly load: number;
}

const USUAL: Work = {
  flows: 10_000,
  distribution: "uniform",
  sizes: [64],
  pipeline: "port",
  cards: 2,
  figure: "rate",
  load: 1,
};
const QUANTILES = { p50: "median", p99: "99 %", p999: "99.9 %" } as const;
const WORKS: readonly Work[] = [
  ...[1, 1000, 10_000, 100_000, 1_000_000].map((flows): Work => ({ ...USUAL, flows })),
  ...[1000, 10_000, 100_000, 1_000_000].map((flows): Work => ({ ...USUAL, flows, distribution: "zipf" })),
  ...[[256], [1500], IMIX].map((sizes): Work => ({ ...USUAL, sizes })),
  ...(["normal", "acl", "routed", "translated", "tracked"] as const).map(
    (pipeline): Work => ({ ...USUAL, pipeline }),
  ),
  { ...USUAL, pipeline: "acl", flows: 100_000 },
  { ...USUAL, pipeline: "tracked", flows: 100_000 },
  { ...USUAL, pipeline: "tracked", sizes: [1500] },
  ...[10, 100].flatMap((cards) => [[64], [1500]].map((sizes): Work => ({ ...USUAL, sizes, cards }))),
  ...(["port", "tracked"] as const).flatMap((pipeline) =>
    [0.1, 0.8].flatMap((load) =>
      (["p50", "p99", "p999"] as const).map((figure): Work => ({ ...USUAL, pipeline, figure, load })),
    ),
  ),
];

/** More cards than dpdk-testpmd of Debian takes (RTE_MAX_ETHPORTS). */
const TESTPMD_CARDS_MAX = 32;
/** Below this share of the rate that it was to send, the generator was the limit. */
const RATE_REACHED = 0.95;

const measured = new Map<string, GeneratorResult[]>();
const capacities = new Map<PipelineName, Promise<number>>();
const shortfalls = new Set<string>();
/** Works without a result, and why. */
const gaps: string[] = [];
const runs = numberOption("--runs", values["runs"]);
const seconds = numberOption("--seconds", values["seconds"]);
const warmUpSeconds = numberOption("--warm-up", values["warm-up"]);
const works = WORKS.filter(
  (work) => values.only.length === 0 || values.only.some((part) => titleOf(work).includes(part)),
);
if (values.list) process.stdout.write(WORKS.map((work) => `${titleOf(work)}\n`).join(""));
else if (works.length === 0) {
  process.stderr.write(`no work has ${values.only.join(" or ")} in its title; see --list\n`);
  process.exitCode = 2;
} else {
  requirePrograms("dpdk-testpmd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "taskset");
  await withHugepages(HUGEPAGES_OF_OVS, runAll);
}

async function runAll(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const work of works) {
    try {
      outcomes.push(await runWork(work));
    } catch (thrown) {
      // The others have taken an hour, and are none the worse for it.
      const gap = `Not measured: ${titleOf(work)} (${describeError(thrown)}).`;
      process.stderr.write(`${gap}\n`);
      gaps.push(gap);
      process.exitCode = 1;
    }
  }
  if (values.only.length > 0) {
    process.stdout.write(`${renderOutcomes(outcomes).join("\n")}\n`);
    return;
  }
  const command = `node dist/bench/vhost-user.js --runs ${runs} --seconds ${seconds} --warm-up ${warmUpSeconds}`;
  writeResults("vhost-user", command, outcomes, [
    "Frames that arrived, all cards together; the switch on one processor, the generator on the other. Each frame belongs to a conversation drawn anew, and its header is written into the ring's buffer as a driver does.",
    "Latency from the card that sends to the one that receives, at a share of what the slower of the two switches forwards when all rings are full: the same frames a second for all.",
    ...shortfalls,
    ...gaps,
    "The cards' memory is no hugetlbfs, the same for all; Open vSwitch itself uses hugepages, which the bench provides and takes back.",
  ]);
}

function runWork(work: Work): Promise<Outcome> {
  const contender = (forwarder: Forwarder): Contender => {
    let run = 0;
    return { name: forwarder.name, measure: () => figureOf(forwarder, work, run++) };
  };
  const peers = [OPEN_VSWITCH_DPDK, ...(hasLimit(work) ? [TESTPMD] : [])].filter(
    ({ name }) => !values.without.some((part) => name.includes(part)),
  );
  return compare({
    title: titleOf(work),
    unit: work.figure === "rate" ? "million frames/s" : "µs",
    better: work.figure === "rate" ? "higher" : "lower",
    ours: contender(PLINTH_VSWITCHD),
    peers: peers.map(contender),
    runs,
  });
}

function hasLimit({ pipeline, cards }: Work): boolean {
  return pipeline === "port" && cards <= TESTPMD_CARDS_MAX;
}

/** One run tells all of a contender's latencies: later works read what the first has measured. */
async function figureOf(forwarder: Forwarder, work: Work, run: number): Promise<number> {
  if (work.figure === "rate") return (await measure(forwarder, work)).framesPerSecond / 1e6;
  const { pipeline, load } = work;
  const key = `${pipeline} ${load} ${forwarder.name}`;
  const known = measured.get(key) ?? [];
  measured.set(key, known);
  if (known[run] === undefined) {
    const rate = load * (await capacityOf(pipeline));
    const result = await measure(forwarder, work, rate);
    if (result.framesPerSecond < RATE_REACHED * rate)
      shortfalls.add(
        `At ${100 * load} % load, ${PIPELINES[pipeline].title}, through ${forwarder.name}: ${format(result.framesPerSecond)} instead of ${format(rate)} frames a second went through.`,
      );
    known.push(result);
  }
  const latency = known[run]?.latencyUs?.[work.figure];
  if (latency === undefined) throw new Error("the generator measured no latency");
  return latency;
}

/** Frames a second that the slower switch forwards, by one run of each. */
function capacityOf(pipeline: PipelineName): Promise<number> {
  const known = capacities.get(pipeline);
  if (known !== undefined) return known;
  const look = async (): Promise<number> => {
    const work = { ...USUAL, pipeline };
    const rates: number[] = [];
    for (const forwarder of [PLINTH_VSWITCHD, OPEN_VSWITCH_DPDK])
      rates.push((await measure(forwarder, work)).framesPerSecond);
    return Math.min(...rates);
  };
  const looking = look();
  capacities.set(pipeline, looking);
  return looking;
}

/** `rate`: frames a second while latency is looked at. */
async function measure(forwarder: Forwarder, work: Work, rate = 0): Promise<GeneratorResult> {
  const { pipeline, cards, flows, distribution, sizes } = work;
  const { addressing, leads, flows: rules } = PIPELINES[pipeline];
  const traffic = { flows, distribution, sizes, addressing, leads, warmUpSeconds, seconds, rate, phases: 1 };
  const [result] = await runTraffic(forwarder, { ...traffic, cards, rules: rules(cards) });
  return result as GeneratorResult;
}

function titleOf({ flows, distribution, sizes, pipeline, cards, figure, load }: Work): string {
  const size = sizes.length > 1 ? "IMIX" : `${sizes[0]} B`;
  const many = `${flows.toLocaleString("en-US")} ${distribution === "zipf" ? "Zipf " : ""}flow${flows === 1 ? "" : "s"}`;
  const where = cards === 2 ? "" : `, ${cards} cards`;
  const what = figure === "rate" ? "" : `, latency at ${100 * load} % load, ${QUANTILES[figure]}`;
  return `${size}, ${many}, ${PIPELINES[pipeline].title}${where}${what}`;
}
