// Flow-mods: how many a second a switch acknowledges by barriers, at rest and while it forwards between two guests' cards
// as fast as it can; and which share of the forwarding they cost. plinth vswitchd beside Open vSwitch with DPDK
// (datapath "netdev").
import { setTimeout as sleep } from "node:timers/promises";
import { avoidProcessors } from "../base/linux/index.js";
import { requirePrograms } from "../test/support/run.js";
import { publish, readBenchOptions, wantedOf } from "./support/bench-options.js";
import { type Contender, compare, type Outcome } from "./support/compare.js";
import { FlowModClient } from "./support/flow-mod-client.js";
import { type Forwarder, OPEN_VSWITCH_DPDK, OVS_DPDK, PLINTH_VSWITCHD } from "./support/forwarders.js";
import { runTraffic, withSwitch } from "./support/generator-run.js";
import { HUGEPAGES_OF_OVS, withHugepages } from "./support/hugepages.js";
import { requirePackages } from "./support/packages.js";
import { PIPELINES } from "./support/pipelines.js";

const options = readBenchOptions("flow-mods", 3, {
  name: "seconds",
  text: "how long each is measured",
  usual: 3,
});
const { runs, amount: seconds } = options;
const CARDS = 2;
const FLOWS = 10_000;
const WARM_UP_S = 1;
/** Shares below this, in percent, are noise: a ratio of them would say nothing. */
const LEAST_LOSS = 0.1;

/** Of one run. */
interface Busy {
  readonly modsPerSecond: number;
  readonly framesBefore: number;
  readonly framesDuring: number;
}
interface Work {
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly measure: (forwarder: Forwarder, run: number) => Promise<number>;
}

const WORKS: readonly Work[] = [
  { title: "flow-mods at rest", unit: "flow-mods/s", better: "higher", measure: (one) => atRest(one) },
  {
    title: "flow-mods while forwarding",
    unit: "flow-mods/s",
    better: "higher",
    measure: async (one, run) => (await whileForwarding(one, run)).modsPerSecond,
  },
  {
    title: "forwarding while flow-mods come",
    unit: "million frames/s",
    better: "higher",
    measure: async (one, run) => (await whileForwarding(one, run)).framesDuring / 1e6,
  },
  {
    title: "what forwarding loses to flow-mods",
    unit: "% of the frames before",
    better: "lower",
    measure: async (one, run) => {
      const { framesBefore, framesDuring } = await whileForwarding(one, run);
      return Math.max(LEAST_LOSS, 100 * (1 - framesDuring / framesBefore));
    },
  },
];
const known = new Map<string, Promise<Busy>>();

requirePrograms("ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "taskset");
requirePackages({ [OVS_DPDK]: "openvswitch-switch-dpdk" });
// The polling thread pins itself to the first processor; what else a switch has inherits this from here.
avoidProcessors([0]);
await withHugepages(HUGEPAGES_OF_OVS, runAll);

async function runAll(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const { title, unit, better, measure } of wantedOf(WORKS, options)) {
    const contender = (forwarder: Forwarder): Contender => {
      let run = 0;
      return { name: forwarder.name, measure: () => measure(forwarder, run++) };
    };
    const [ours, peer] = [contender(PLINTH_VSWITCHD), contender(OPEN_VSWITCH_DPDK)];
    outcomes.push(await compare({ title, unit, better, ours, peers: [peer], runs }));
  }
  publish(options, "Flow-mods", outcomes, [
    "One OpenFlow 1.3 client: blocks of 200 flow-mods with a barrier each, eight under way, adds and strict deletions in turn, 10,000 flows in the table; what a barrier has answered counts. They match no frame that is sent.",
    "Forwarding: 64-byte frames, 10,000 conversations, port to port over vhost-user, all rings full. The switch's polling thread has the first processor; the generator, the client and what else the switch does share the second, so both contenders take time from their own generator.",
    "Barriers of Plinth are answered when the datapath judges by the new flows and they are stored in a file; Open vSwitch 3.1 goes on judging by cached entries for a while, and stores nothing.",
  ]);
}

/** Without any traffic. */
function atRest(forwarder: Forwarder): Promise<number> {
  return withSwitch(async (home, started) => {
    started.push(...(await forwarder.start(home, CARDS, PIPELINES.port.flows(CARDS))));
    const client = await FlowModClient.open(`${home}/br0.mgmt`);
    await sleep(1000 * WARM_UP_S);
    const rate = await rateOf(client, sleep(1000 * seconds));
    client.end();
    return rate;
  });
}

/** One run tells all: later works read what the first has measured. */
function whileForwarding(forwarder: Forwarder, run: number): Promise<Busy> {
  const key = `${forwarder.name} ${run}`;
  const result = known.get(key) ?? forwardAndChange(forwarder);
  known.set(key, result);
  return result;
}

async function forwardAndChange(forwarder: Forwarder): Promise<Busy> {
  let opening: Promise<void> | undefined;
  let finish = (): void => {};
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let modsPerSecond = 0;
  const change = async (home: string): Promise<void> => {
    const client = await FlowModClient.open(`${home}/br0.mgmt`);
    modsPerSecond = await rateOf(client, ended);
    client.end();
  };
  const { addressing, flows } = PIPELINES.port;
  const [before, , during] = await runTraffic(
    forwarder,
    {
      ...{ flows: FLOWS, distribution: "uniform", sizes: [64], addressing, leads: false, rate: 0 },
      // Before, while the table fills, and when it is full.
      ...{ warmUpSeconds: WARM_UP_S, seconds, phases: 3, cards: CARDS, rules: flows(CARDS) },
    },
    (index, { home }) => {
      if (index === 0) {
        opening = change(home);
        opening.catch(() => undefined);
      } else if (index === 2) finish();
    },
    // Before the switch is stopped.
    async () => opening,
  );
  if (before === undefined || during === undefined || modsPerSecond === 0)
    throw new Error(`${forwarder.name} acknowledged no flow-mods`);
  return { modsPerSecond, framesBefore: before.framesPerSecond, framesDuring: during.framesPerSecond };
}

/** Flow-mods a second that are acknowledged until `until` resolves. */
async function rateOf(client: FlowModClient, until: Promise<void>): Promise<number> {
  const [first, startMs] = [client.acknowledged, performance.now()];
  await until;
  return (1000 * (client.acknowledged - first)) / (performance.now() - startMs);
}
