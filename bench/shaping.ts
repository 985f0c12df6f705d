// How exactly rates are kept that a switch is told to keep: what leaves by a port and by each of its queues (linux-htb),
// and what a port takes in (ingress policing). plinth vswitchd beside the kernel's `tc htb` under a Linux bridge and the
// policers of Open vSwitch with DPDK. Devices, generator and meter are the same for all: frames by a packet socket into a
// veth pair, bytes counted by the device at the other end.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { NetworkLab } from "../test/support/network-lab.js";
import { ROOT, requirePrograms, runOk } from "../test/support/run.js";
import { publish, readBenchOptions, wantedOf } from "./support/bench-options.js";
import { type Contender, compare, format, type Outcome } from "./support/compare.js";
import { OVS_DPDK } from "./support/forwarders.js";
import {
  bridge,
  type HostSwitch,
  inLab,
  ovsPackets,
  plinth,
  SERVER_ADDRESS,
} from "./support/host-switches.js";
import { HUGEPAGES_OF_OVS, withHugepages } from "./support/hugepages.js";
import type { PacedStream } from "./support/paced-load.js";
import { requirePackages } from "./support/packages.js";

const options = readBenchOptions("shaping", 3, {
  name: "seconds",
  text: "how long each is measured",
  usual: 3,
});
const { runs, amount: seconds } = options;
const LOAD = join(ROOT, "dist", "bench", "support", "paced-load.js");
const MBIT = 1e6;
/** Buckets are empty and queues full by then. */
const WARM_UP_MS = 1500;
/** Deviations below this, in percent, are noise: a ratio of them would say nothing. */
const LEAST_DEVIATION = 0.1;
const TARGET = 2;
/** The stations behind port pb, by queue: the usual device, and one on top of it. */
const STATIONS = [
  { device: "net0", address: SERVER_ADDRESS },
  { device: "net1", address: "10.9.0.3" },
] as const;

/** Mbit/s. */
interface QueueRates {
  readonly own: number;
  readonly most: number;
  readonly priority: number;
}
interface Work {
  readonly title: string;
  readonly kind: "egress" | "ingress";
  readonly portMbit: number;
  readonly sizeBytes: number;
  readonly queues: readonly QueueRates[];
  /** What comes for each station, and what is to arrive there, in Mbit/s. */
  readonly offered: readonly number[];
  readonly wanted: readonly number[];
}

const port = (kind: Work["kind"], portMbit: number, sizeBytes: number): Work => ({
  title: `${kind === "egress" ? "port shaped" : "port policed"} to ${portMbit} Mbit/s, frames of ${sizeBytes} bytes`,
  ...{ kind, portMbit, sizeBytes, queues: [], offered: [2 * portMbit], wanted: [portMbit] },
});
const queues = (title: string, rest: Pick<Work, "queues" | "offered" | "wanted">): Work => ({
  ...{ title, kind: "egress", portMbit: 100, sizeBytes: 1000, ...rest },
});
const WORKS: readonly Work[] = [
  ...[10, 100, 500].map((rate) => port("egress", rate, 1442)),
  port("egress", 10, 100),
  queues("queue shaped to 20 Mbit/s beside another", {
    queues: [
      { own: 1, most: 100, priority: 0 },
      { own: 1, most: 20, priority: 0 },
    ],
    offered: [150, 60],
    wanted: [80, 20],
  }),
  queues("two queues by weight, 3 : 1", {
    queues: [
      { own: 60, most: 100, priority: 0 },
      { own: 20, most: 100, priority: 0 },
    ],
    offered: [150, 150],
    wanted: [75, 25],
  }),
  queues("two queues by strict priority", {
    queues: [
      { own: 5, most: 100, priority: 1 },
      { own: 5, most: 100, priority: 0 },
    ],
    offered: [150, 150],
    wanted: [5, 95],
  }),
  ...[10, 100, 500].map((rate) => port("ingress", rate, 1442)),
];

const ours = plinth("veth");
const beyond: string[] = [];

requirePrograms("ethtool", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl");
requirePackages({ tc: "iproute2", [OVS_DPDK]: "openvswitch-switch-dpdk" });
await withHugepages(HUGEPAGES_OF_OVS, runAll);

async function runAll(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const work of wantedOf(WORKS, options)) {
    const contender = (one: HostSwitch): Contender => ({
      name: one.name,
      measure: () => inLab(one, (lab, dir) => deviation(work, one, lab, dir)),
    });
    // The kernel polices by an action that many kernels lack; Open vSwitch's policers know no queues.
    const peers = [
      ...(work.kind === "egress" ? [bridge] : []),
      ...(work.queues.length === 0 ? [ovsPackets] : []),
    ];
    const { title } = work;
    const outcome = await compare({
      ...{ title: `deviation, ${title}`, unit: "% of the rate", better: "lower" },
      ...{ ours: contender(ours), peers: peers.map(contender), runs },
    });
    if (outcome.ours.median > TARGET) beyond.push(`${title} (${format(outcome.ours.median)} %)`);
    outcomes.push(outcome);
  }
  publish(options, "Shaping", outcomes, [
    "The largest deviation of what arrives from what the rates say, over all queues; below 0.1 % it counts as 0.1 %. Bytes of Ethernet frames, as the kernel counts them; the policers of Open vSwitch leave out the 14 bytes of the Ethernet header, which is 1 % of the large frames and 16 % of the small ones.",
    "Open vSwitch with DPDK drives the same veth pair by `net_af_packet`: egress by `egress-policer`, ingress by `ingress_policing_rate`. The bridge: `tc qdisc htb`.",
    beyond.length === 0 ? `All of Plinth's within ${TARGET} %.` : `Beyond ${TARGET} %: ${beyond.join("; ")}.`,
  ]);
}

/** The largest deviation of any station's rate, in percent. */
async function deviation(work: Work, one: HostSwitch, lab: NetworkLab, dir: string): Promise<number> {
  const macs = await addStations(work, lab);
  if (one === bridge) await shapeByKernel(work, lab);
  else await configure(work, one, dir);
  const streams = work.offered.map(
    (mbit, i): PacedStream => ({
      ...{ mac: macs[i] as string, address: (STATIONS[i] as (typeof STATIONS)[number]).address },
      ...{ sizeBytes: work.sizeBytes, rateBps: mbit * MBIT },
    }),
  );
  lab.start("a", process.execPath, LOAD, "net0", JSON.stringify(streams));
  await sleep(WARM_UP_MS);
  const [before, startMs] = [receivedBy(lab), performance.now()];
  await sleep(1000 * seconds);
  const [after, elapsedMs] = [receivedBy(lab), performance.now() - startMs];
  const bytes = (i: number): number => (after[i] as number) - (before[i] as number);
  // What the second station takes comes by the first one's device.
  const rates = [bytes(0) - bytes(1), bytes(1)].map((count) => (8 * count) / elapsedMs / 1000);
  process.stdout.write(
    `  ${one.name}: ${work.wanted.map((_, i) => format(rates[i] as number)).join(" and ")} Mbit/s\n`,
  );
  const worst = Math.max(...work.wanted.map((mbit, i) => Math.abs((rates[i] as number) / mbit - 1)));
  return Math.max(LEAST_DEVIATION, 100 * worst);
}

/** Resolves with the stations' hardware addresses. */
async function addStations({ wanted }: Work, lab: NetworkLab): Promise<string[]> {
  if (wanted.length > 1) {
    await lab.ip("b", "link add net1 link net0 type macvlan mode bridge");
    await lab.ip("b", `addr add ${STATIONS[1].address}/24 dev net1`);
    await lab.ip("b", "link set net1 up");
  }
  const macs: string[] = [];
  for (const { device } of STATIONS.slice(0, wanted.length)) {
    const [link] = JSON.parse(await lab.ip("b", `-json link show ${device}`)) as [{ address: string }];
    macs.push(link.address);
  }
  return macs;
}

/** Bytes that each station's device has received. */
function receivedBy(lab: NetworkLab): number[] {
  const text = readFileSync(`/proc/${lab.pid("b")}/net/dev`, "latin1");
  return STATIONS.map(({ device }) => Number(new RegExp(`${device}:\\s*(\\d+)`).exec(text)?.[1] ?? 0));
}

async function shapeByKernel({ portMbit, queues: classes }: Work, lab: NetworkLab): Promise<void> {
  const tc = (words: string) => lab.exec("switch", "tc", ...words.split(" "));
  await tc("qdisc add dev pb root handle 1: htb default 10");
  await tc(`class add dev pb parent 1: classid 1:1 htb rate ${portMbit}mbit ceil ${portMbit}mbit`);
  const all = classes.length > 0 ? classes : [{ own: portMbit, most: portMbit, priority: 0 }];
  for (const [i, { own, most, priority }] of all.entries()) {
    const rates = `rate ${own}mbit ceil ${most}mbit prio ${priority}`;
    await tc(`class add dev pb parent 1:1 classid 1:${10 + i} htb ${rates}`);
  }
  if (classes.length > 1)
    await tc(`filter add dev pb parent 1: protocol ip u32 match ip dst ${STATIONS[1].address} flowid 1:11`);
}

async function configure(work: Work, one: HostSwitch, dir: string): Promise<void> {
  const vsctl = (...args: string[]) =>
    runOk("ovs-vsctl", ["--timeout=30", `--db=unix:${dir}/db.sock`, ...args]);
  const { kind, portMbit } = work;
  if (kind === "ingress") {
    const kbit = 1000 * portMbit;
    const rate = [`ingress_policing_rate=${kbit}`, `ingress_policing_burst=${kbit / 10}`];
    await vsctl("set", "Interface", "pa", ...rate);
    return;
  }
  if (one !== ours) {
    const cir = (portMbit * MBIT) / 8;
    const options = ["type=egress-policer", `other_config:cir=${cir}`, `other_config:cbs=${cir / 10}`];
    await vsctl("set", "Port", "pb", "qos=@q", "--", "--id=@q", "create", "QoS", ...options);
    return;
  }
  const names = work.queues.map((_, i) => `queues:${i}=@q${i}`);
  const rows = work.queues.flatMap(({ own, most, priority }, i) => [
    ...["--", `--id=@q${i}`, "create", "Queue", `other_config:min-rate=${own * MBIT}`],
    ...[`other_config:max-rate=${most * MBIT}`, `other_config:priority=${priority}`],
  ]);
  const qos = ["type=linux-htb", `other_config:max-rate=${portMbit * MBIT}`, ...names];
  await vsctl("set", "Port", "pb", "qos=@qos", "--", "--id=@qos", "create", "QoS", ...qos, ...rows);
  if (work.queues.length > 1)
    await runOk("ovs-ofctl", [
      ...["add-flow", `unix:${dir}/br0.mgmt`],
      `priority=9,ip,nw_dst=${STATIONS[1].address},actions=set_queue:1,NORMAL`,
    ]);
}
