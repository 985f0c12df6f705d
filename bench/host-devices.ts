// Ports over the host's devices: two network stacks of Linux, each in a namespace of its own, joined by a switch in a
// third. TCP by iperf3; small frames by a packet socket, counted where they arrive.
//   node dist/bench/host-devices.js [--runs 5] [--seconds 3] [--only "over TAP"]
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { waitFor } from "../base/time/index.js";
import { NetworkLab } from "../test/support/network-lab.js";
import { endChild, PLINTH, ROOT, requirePrograms, runOk } from "../test/support/run.js";
import { type Contender, compare, type Outcome, writeResults } from "./support/compare.js";
import { withHugepages } from "./support/hugepages.js";
import { startOpenVswitch } from "./support/open-vswitch.js";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    /** Works whose title has this in it. */
    only: { type: "string", default: "" },
  },
});
const runs = Number(values.runs);
const seconds = Number(values.seconds);
const OVS = "/usr/sbin/ovs-vswitchd";
const OVS_DPDK = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const FLOOD = join(ROOT, "dist", "bench", "support", "flood.js");
const START_DEADLINE_MS = 20_000;
const SERVER_ADDRESS = "10.9.0.2";
const WARM_UP_S = 1;

type Device = "tap" | "veth" | "afxdp";
/** What joins the devices. */
interface Switch {
  readonly name: string;
  readonly device: Device;
  /** Starts it in the namespace "switch"; resolves with its processes. */
  readonly start: (lab: NetworkLab, dir: string) => Promise<ChildProcess[]>;
}

const plinth = (device: Device): Switch => ({
  name: `plinth vswitchd, ${device}`,
  device,
  start: async (lab, dir) => {
    const [first = "", ...words] = [
      ...lab.enter("switch"),
      process.execPath,
      PLINTH,
      "vswitchd",
      "--dir",
      dir,
    ];
    const child = spawn(first, words, { stdio: "ignore" });
    await waitFor(() => existsSync(join(dir, "vswitchd.ctl")), "vswitchd does not start", START_DEADLINE_MS);
    return [child];
  },
});
const ovs = (
  device: Device,
  program = OVS,
  config: readonly string[] = [],
  name = "Open vSwitch",
): Switch => ({
  name: `${name}, ${device}`,
  device,
  start: (lab, dir) => startOpenVswitch({ program, dir, launcher: lab.enter("switch"), config }),
});
const ovsTso = ovs(
  "veth",
  OVS_DPDK,
  ["dpdk-init=true", "dpdk-extra=--no-pci --no-telemetry -m 512", "userspace-tso-enable=true"],
  "Open vSwitch with userspace-tso",
);
const bridge: Switch = { name: "Linux bridge, veth (the limit)", device: "veth", start: async () => [] };

interface Work {
  readonly title: string;
  readonly unit: string;
  readonly measure: (lab: NetworkLab) => Promise<number>;
  readonly ours: Switch;
  readonly peers: readonly Switch[];
}

const tcp = (streams: number) => (lab: NetworkLab) => throughput(lab, streams);
const WORKS: readonly Work[] = [
  {
    title: "TCP over TAP, 1 stream",
    unit: "Gbit/s",
    measure: tcp(1),
    ours: plinth("tap"),
    peers: [ovsTso, ovs("tap"), bridge],
  },
  {
    title: "TCP over TAP, 8 streams",
    unit: "Gbit/s",
    measure: tcp(8),
    ours: plinth("tap"),
    peers: [ovsTso, ovs("tap"), bridge],
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
    peers: [ovs("tap"), bridge],
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

requirePrograms("iperf3", "ethtool", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", OVS.split("/").at(-1) ?? "");
if (!existsSync(OVS_DPDK)) throw new Error(`${OVS_DPDK} is missing: apt-get install openvswitch-switch-dpdk`);
/** Open vSwitch with DPDK needs 512 MiB of them for itself. */
const HUGEPAGES = 300;
const outcomes: Outcome[] = [];
for (const { title, unit, measure, ours, peers } of WORKS.filter((work) =>
  work.title.includes(values.only),
)) {
  const contender = (one: Switch): Contender => ({
    name: one.name,
    measure: () => inLab(one, measure),
  });
  const comparison = {
    title,
    unit,
    better: "higher",
    ours: contender(ours),
    peers: peers.map(contender),
    runs,
  } as const;
  outcomes.push(await withHugepages(HUGEPAGES, () => compare(comparison)));
}
writeResults(
  "Devices of the host",
  `node dist/bench/host-devices.js --runs ${runs} --seconds ${seconds}${values.only === "" ? "" : ` --only "${values.only}"`}`,
  outcomes,
  [
    "Both ends, the switch and the generator share two processors, with whatever else the machine does.",
    "TCP by iperf3; small frames by sendmmsg on a packet socket, to the broadcast address, counted by the device at the other end.",
    "For AF_XDP the ends complete their checksums themselves (`ethtool -K DEV tx off`).",
  ],
);

/** One measurement with everything new: namespaces, devices and the switch. */
async function inLab(one: Switch, measure: (lab: NetworkLab) => Promise<number>): Promise<number> {
  const dir = mkdtempSync("/tmp/plv-");
  const lab = await NetworkLab.open("a", "b");
  let children: ChildProcess[] = [];
  try {
    children = await one.start(lab, dir);
    await plug(one, lab, dir);
    await lab.reaches("a", SERVER_ADDRESS);
    return await measure(lab);
  } finally {
    for (const child of children.reverse()) await endChild(child);
    await lab.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A device in each namespace, called net0, and both on the switch. */
async function plug(one: Switch, lab: NetworkLab, dir: string): Promise<void> {
  const isBridge = one === bridge;
  const vsctl = (...args: string[]) =>
    runOk("ovs-vsctl", ["--timeout=60", `--db=unix:${dir}/db.sock`, ...args], { deadlineMs: 90_000 });
  if (isBridge) await lab.ip("switch", "link add br0 up type bridge");
  else await vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev");
  for (const [machine, address] of [
    ["a", "10.9.0.1"],
    ["b", SERVER_ADDRESS],
  ] as const) {
    const port = `p${machine}`;
    const end = one.device === "tap" ? port : `e${machine}`;
    if (one.device !== "tap") await lab.ip("switch", `link add ${port} up type veth peer name ${end}`);
    const type = one.device === "veth" ? [] : ["--", "set", "Interface", port, `type=${one.device}`];
    if (isBridge) await lab.ip("switch", `link set ${port} master br0`);
    else await vsctl("add-port", "br0", port, ...type);
    await lab.ip("switch", `link set ${end} netns ${lab.pid(machine)}`);
    await lab.ip(machine, `link set ${end} name net0`);
    await lab.ip(machine, `addr add ${address}/24 dev net0`);
    await lab.ip(machine, "link set net0 up");
    // Open vSwitch forwards what a sender leaves to hardware only with userspace-tso.
    if (one.device === "afxdp" || (one !== ovsTso && one.name.startsWith("Open")))
      await lab.exec(machine, "ethtool", "-K", "net0", "tx", "off");
  }
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
async function flood(lab: NetworkLab): Promise<number> {
  const arrived = async (): Promise<number> => {
    const [link] = JSON.parse(await lab.ip("b", "-json -statistics link show net0")) as [
      { stats64: { rx: { packets: number } } },
    ];
    return link.stats64.rx.packets;
  };
  await lab.exec("a", process.execPath, FLOOD, "net0", String(WARM_UP_S));
  const before = await arrived();
  await lab.exec("a", process.execPath, FLOOD, "net0", String(seconds));
  return ((await arrived()) - before) / seconds / 1e6;
}
