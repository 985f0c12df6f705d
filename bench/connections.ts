// Connection tracking of many: how many connections a second are begun, the first frame of each, and how fast frames of a
// million of them are forwarded. plinth vswitchd beside Open vSwitch with DPDK, whose connection tracking is its userspace
// one.
import { requirePrograms, runOk } from "../test/support/run.js";
import { publish, readBenchOptions, wantedOf } from "./support/bench-options.js";
import { type Contender, compare, type Outcome } from "./support/compare.js";
import { type Forwarder, OPEN_VSWITCH_DPDK, OVS_DPDK, PLINTH_VSWITCHD } from "./support/forwarders.js";
import type { GeneratorResult } from "./support/generator.js";
import { type RunningSwitch, runTraffic } from "./support/generator-run.js";
import { HUGEPAGES_OF_OVS, withHugepages } from "./support/hugepages.js";
import { requirePackages } from "./support/packages.js";
import { PIPELINES } from "./support/pipelines.js";

const options = readBenchOptions("connections", 3, {
  name: "seconds",
  text: "how long forwarding is measured",
  usual: 3,
});
const { runs, amount: seconds } = options;
const CARDS = 2;
const WARM_UP_S = 1;
/** Of the connections that were begun, as many must be there at the end. */
const LEAST_SHARE = 0.99;

interface Work {
  readonly title: string;
  readonly unit: string;
  readonly connections: number;
  readonly figureOf: (result: GeneratorResult) => number;
}

const WORKS: readonly Work[] = [100_000, 1_000_000].flatMap((connections) => {
  const many = connections.toLocaleString("en-US");
  return [
    {
      title: `connections begun until there are ${many}`,
      unit: "thousand connections/s",
      connections,
      figureOf: ({ newPerSecond = 0 }: GeneratorResult) => newPerSecond / 1000,
    },
    {
      title: `64-byte frames of ${many} established connections`,
      unit: "million frames/s",
      connections,
      figureOf: ({ framesPerSecond }: GeneratorResult) => framesPerSecond / 1e6,
    },
  ];
});
const known = new Map<string, Promise<GeneratorResult>>();

requirePrograms("ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "taskset");
requirePackages({ [OVS_DPDK]: "openvswitch-switch-dpdk" });
await withHugepages(HUGEPAGES_OF_OVS, runAll);

async function runAll(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const { title, unit, connections, figureOf } of wantedOf(WORKS, options)) {
    const contender = (forwarder: Forwarder): Contender => {
      let run = 0;
      return {
        name: forwarder.name,
        measure: async () => figureOf(await measure(forwarder, connections, run++)),
      };
    };
    const [ours, peer] = [contender(PLINTH_VSWITCHD), contender(OPEN_VSWITCH_DPDK)];
    outcomes.push(await compare({ title, unit, better: "higher", ours, peers: [peer], runs }));
  }
  publish(options, "Connections", outcomes, [
    "UDP over vhost-user, two cards; each frame of the first round begins a connection (`ct(commit)`), as fast as the switch takes them. Then both directions of all of them, in an order that is drawn at random. After each run the connections are counted with `dpctl/ct-get-nconns`.",
    "The switch on one processor, the generator on the other. Plinth keeps its connections in a file besides, so that they outlive it.",
  ]);
}

/** One run tells both figures: the later work reads what the first has measured. */
function measure(forwarder: Forwarder, connections: number, run: number): Promise<GeneratorResult> {
  const key = `${forwarder.name} ${connections} ${run}`;
  const result = known.get(key) ?? trackMany(forwarder, connections);
  known.set(key, result);
  return result;
}

async function trackMany(forwarder: Forwarder, connections: number): Promise<GeneratorResult> {
  const { addressing, flows, leads } = PIPELINES.tracked;
  const [result] = await runTraffic(
    forwarder,
    {
      ...{ flows: connections, distribution: "uniform", sizes: [64], addressing, leads, rate: 0 },
      ...{ warmUpSeconds: WARM_UP_S, seconds, phases: 1, cards: CARDS, rules: flows(CARDS) },
    },
    undefined,
    (running) => checkCount(forwarder, running, connections),
  );
  return result as GeneratorResult;
}

async function checkCount(
  { name, control }: Forwarder,
  { home }: RunningSwitch,
  wanted: number,
): Promise<void> {
  const text = await runOk("ovs-appctl", ["-t", `${home}/${control}`, "dpctl/ct-get-nconns"]);
  const count = Number(text.trim());
  if (!(count >= LEAST_SHARE * wanted)) throw new Error(`${name} has ${count} of ${wanted} connections`);
}
