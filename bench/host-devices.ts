// Ports over the host's devices: two network stacks of Linux, each in a namespace of its own, joined by a switch in a
// third. TCP by iperf3; small frames by a packet socket, counted where they arrive.
import { join } from "node:path";
import type { NetworkLab } from "../test/support/network-lab.js";
import { ROOT, requirePrograms } from "../test/support/run.js";
import { publish, readBenchOptions, wantedOf } from "./support/bench-options.js";
import { type Contender, compare, type Outcome } from "./support/compare.js";
import { OVS_DPDK } from "./support/forwarders.js";
import {
  bridge,
  type HostSwitch,
  inLab,
  ovs,
  ovsTso,
  plinth,
  SERVER_ADDRESS,
  vde,
} from "./support/host-switches.js";
import { HUGEPAGES_OF_OVS, withHugepages } from "./support/hugepages.js";
import { requirePackages } from "./support/packages.js";

const options = readBenchOptions("host-devices", 5, {
  name: "seconds",
  text: "how long each is measured",
  usual: 3,
});
const { runs, amount: seconds } = options;
const FLOOD = join(ROOT, "dist", "bench", "support", "flood.js");
const WARM_UP_S = 1;
/** Where more of what was sent arrived, the generator was the limit. */
const GENERATOR_IS_LIMIT = 0.98;
const limited = new Set<string>();

interface Work {
  readonly title: string;
  readonly unit: string;
  readonly measure: (lab: NetworkLab, one: HostSwitch) => Promise<number>;
  readonly ours: HostSwitch;
  readonly peers: readonly HostSwitch[];
}

const tcp = (streams: number) => (lab: NetworkLab) => throughput(lab, streams);
const WORKS: readonly Work[] = [
  {
    title: "TCP over TAP, 1 stream",
    unit: "Gbit/s",
    measure: tcp(1),
    ours: plinth("tap"),
    peers: [ovsTso, ovs("tap"), vde, bridge],
  },
  {
    title: "TCP over TAP, 8 streams",
    unit: "Gbit/s",
    measure: tcp(8),
    ours: plinth("tap"),
    peers: [ovsTso, ovs("tap"), vde, bridge],
  },
  {
    title: "TCP over veth, 1 stream",
    unit: "Gbit/s",
    measure: tcp(1),
    ours: plinth("veth"),
    peers: [ovs("veth"), ovsTso, bridge],
  },
  {
    title: "TCP over veth, 8 streams",
    unit: "Gbit/s",
    measure: tcp(8),
    ours: plinth("veth"),
    peers: [ovs("veth"), ovsTso, bridge],
  },
  {
    title: "64-byte frames over TAP",
    unit: "million frames/s",
    measure: flood,
    ours: plinth("tap"),
    peers: [ovs("tap"), vde, bridge],
  },
  {
    title: "64-byte frames over veth",
    unit: "million frames/s",
    measure: flood,
    ours: plinth("veth"),
    peers: [ovs("veth"), bridge],
  },
  {
    title: "64-byte frames over veth by AF_XDP",
    unit: "million frames/s",
    measure: flood,
    ours: plinth("afxdp"),
    peers: [ovs("afxdp"), ovs("veth")],
  },
];

const DEBIAN_PACKAGES = { vde_switch: "vde2", [OVS_DPDK]: "openvswitch-switch-dpdk" };
await runAll();

async function runAll(): Promise<void> {
  requirePrograms("iperf3", "ethtool", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-vswitchd");
  requirePackages(DEBIAN_PACKAGES);
  const outcomes: Outcome[] = [];
  for (const { title, unit, measure, ours, peers } of wantedOf(WORKS, options)) {
    const contender = (one: HostSwitch): Contender => ({
      name: one.name,
      measure: () => inLab(one, (lab) => measure(lab, one)),
    });
    const comparison = {
      title,
      unit,
      better: "higher",
      ours: contender(ours),
      peers: peers.map(contender),
      runs,
    } as const;
    outcomes.push(await withHugepages(HUGEPAGES_OF_OVS, () => compare(comparison)));
  }
  publish(options, "Devices of the host", outcomes, [
    "Both ends, the switch and the generator share two processors, with whatever else the machine does.",
    "TCP by iperf3; small frames to the broadcast address by a packet socket, cut by the kernel out of large datagrams just before the device, counted by the device at the other end.",
    "For AF_XDP the ends complete their checksums themselves (`ethtool -K DEV tx off`).",
    ...(limited.size === 0 ? [] : [`The generator was the limit for: ${[...limited].join("; ")}.`]),
  ]);
}

/** Gbit/s received, all streams together. */
async function throughput(lab: NetworkLab, streams: number): Promise<number> {
  await lab.serve("b");
  const text = await lab.exec(
    "a",
    ...["iperf3", "--client", SERVER_ADDRESS, "--json", "--time", String(seconds)],
    ...["--omit", String(WARM_UP_S), "--parallel", String(streams)],
  );
  const report = JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } };
  return report.end.sum_received.bits_per_second / 1e9;
}

/** Million frames per second that arrive. */
async function flood(lab: NetworkLab, one: HostSwitch): Promise<number> {
  const arrived = async (): Promise<number> => {
    const [link] = JSON.parse(await lab.ip("b", "-json -statistics link show net0")) as [
      { stats64: { rx: { packets: number } } },
    ];
    return link.stats64.rx.packets;
  };
  const send = (forSeconds: number): Promise<string> =>
    lab.exec("a", process.execPath, FLOOD, "net0", String(forSeconds));
  await lab.exec("a", "ethtool", "-K", "net0", "tx-udp-segmentation", "off");
  await send(WARM_UP_S);
  const before = await arrived();
  const sent = Number(await send(seconds));
  const frames = (await arrived()) - before;
  if (frames > GENERATOR_IS_LIMIT * sent) limited.add(one.name);
  return frames / seconds / 1e6;
}
