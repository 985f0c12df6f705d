// vhost-user: 64-byte frames per second between two ports, plinth vswitchd against Open vSwitch with DPDK, the same
// generator for both: one dpdk-testpmd whose two virtio-user cards send every frame back where it came from.
// Both switches have the same two flows, one polling thread, and the first processor to themselves.
//   node dist/bench/vhost-user.js [--runs 5] [--seconds 6] [--work PART-OF-A-TITLE]
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { waitFor } from "../base/time/index.js";
import { endChild, PLINTH, requirePrograms, run, runOk } from "../test/support/run.js";
import { type Contender, compare, type Outcome, writeResults } from "./support/compare.js";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "6" },
    /** Only the works whose titles have it; the results of the others go. */
    work: { type: "string", default: "" },
  },
});
const runs = Number(values.runs);
const seconds = Number(values.seconds);
const OVS_DPDK = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const OVS_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";
const START_DEADLINE_MS = 20_000;
/** Open vSwitch with DPDK needs 512 MiB of hugepages for itself. */
const HUGEPAGES = "/proc/sys/vm/nr_hugepages";
const HUGEPAGES_WANTED = 300;
interface Work {
  readonly title: string;
  readonly bytes: number;
  readonly flows: readonly string[];
  /** How the generator forwards: frames as they are, or as answers. */
  readonly mode: "io" | "5tswap";
}
const BETWEEN = ["in_port=1,actions=output:2", "in_port=2,actions=output:1"];
/** Connections are tracked and established, and both directions pass because of that. */
const TRACKED = [
  "ip,actions=ct(zone=1,table=1)",
  "table=1,priority=10,ip,ct_state=+trk+new,in_port=1,actions=ct(commit,zone=1),output:2",
  "table=1,priority=10,ip,ct_state=+trk+new,in_port=2,actions=ct(commit,zone=1),output:1",
  "table=1,ip,ct_state=+trk+est,in_port=1,actions=output:2",
  "table=1,ip,ct_state=+trk+est,in_port=2,actions=output:1",
];
const WORKS: readonly Work[] = [
  { title: "64-byte frames forwarded by two flows", bytes: 64, flows: BETWEEN, mode: "io" },
  { title: "1500-byte frames forwarded by two flows", bytes: 1500, flows: BETWEEN, mode: "io" },
  { title: "64-byte frames of established connections", bytes: 64, flows: TRACKED, mode: "5tswap" },
];

requirePrograms("dpdk-testpmd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "taskset");
if (!existsSync(OVS_DPDK)) throw new Error(`${OVS_DPDK} is missing: apt-get install openvswitch-switch-dpdk`);
const dir = mkdtempSync("/tmp/plv-");
const hugepagesBefore = readFileSync(HUGEPAGES, "utf8").trim();
try {
  if (Number(hugepagesBefore) < HUGEPAGES_WANTED) writeFileSync(HUGEPAGES, String(HUGEPAGES_WANTED));
  const outcomes: Outcome[] = [];
  for (const work of WORKS.filter(({ title }) => title.includes(values.work))) {
    const contender = (name: string, start: Start): Contender => ({
      name,
      measure: () => measure(start, work),
    });
    outcomes.push(
      await compare({
        title: work.title,
        unit: "million frames/s",
        better: "higher",
        ours: contender("plinth vswitchd", startPlinth),
        peers: [contender("Open vSwitch with DPDK", startOvs)],
        runs,
      }),
    );
  }
  writeResults("vhost-user", `node dist/bench/vhost-user.js --runs ${runs} --seconds ${seconds}`, outcomes, [
    "Sum of both directions; the switch on one processor, the generator on the other.",
    "The generator's memory is no hugetlbfs, the same for both; Open vSwitch itself uses hugepages, which the bench provides and takes back.",
  ]);
} finally {
  writeFileSync(HUGEPAGES, hugepagesBefore);
  rmSync(dir, { recursive: true, force: true });
}

type Start = (home: string, flows: readonly string[]) => Promise<ChildProcess[]>;

async function measure(start: Start, work: Work): Promise<number> {
  const home = mkdtempSync(join(dir, "s"));
  const children = await start(home, work.flows);
  try {
    return await generate(home, work);
  } finally {
    for (const child of children) await endChild(child);
    rmSync(home, { recursive: true, force: true });
  }
}

/** Frames per second in millions, both ports together, in the last whole interval. */
async function generate(home: string, { bytes, mode }: Work): Promise<number> {
  const device = (i: number) => `--vdev=net_virtio_user${i},path=${home}/${i}.sock,server=1,queue_size=1024`;
  const prefix = home.replaceAll("/", "_");
  const arguments_ = [
    "--lcores",
    "0@1,1@1",
    "--no-pci",
    "--no-huge",
    "-m",
    "512",
    "--no-telemetry",
    "--file-prefix",
    prefix,
  ];
  const work = [
    "--total-num-mbufs=16384",
    `--forward-mode=${mode}`,
    ...(mode === "io" ? [] : ["--txonly-multi-flow"]),
    "--tx-first",
    `--txpkts=${bytes}`,
    "--txd=1024",
    "--rxd=1024",
    "--stats-period=1",
  ];
  const child = spawn("dpdk-testpmd", [...arguments_, device(0), device(1), "--", ...work], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const rates = () => [...said.matchAll(/Rx-pps:\s+(\d+)/g)].map((match) => Number(match[1]));
  try {
    // Two figures per interval; the first intervals hold the start.
    await waitFor(
      () => rates().length >= 2 * (seconds + 2),
      () => `the generator does not run:\n${said.slice(-1500)}`,
      START_DEADLINE_MS + seconds * 1500,
    );
    const steady = rates().slice(4);
    return steady.reduce((sum, rate) => sum + rate, 0) / (steady.length / 2) / 1e6;
  } finally {
    await endChild(child);
    rmSync(`/var/run/dpdk/${prefix}`, { recursive: true, force: true });
  }
}

async function startPlinth(home: string, flows: readonly string[]): Promise<ChildProcess[]> {
  const child = spawn("taskset", ["-c", "0", process.execPath, PLINTH, "vswitchd", "--dir", home], {
    stdio: "ignore",
  });
  try {
    await waitFor(() => existsSync(join(home, "vswitchd.ctl")), "vswitchd does not start", START_DEADLINE_MS);
    await configure(home, flows, ["options:allow-unsealed-memory=true"]);
  } catch (thrown) {
    await endChild(child);
    throw thrown;
  }
  return [child];
}

async function startOvs(home: string, flows: readonly string[]): Promise<ChildProcess[]> {
  const env = { ...process.env, OVS_RUNDIR: home, OVS_LOGDIR: home, OVS_DBDIR: home, OVS_SYSCONFDIR: home };
  const children: ChildProcess[] = [];
  const start = (program: string, args: string[]) => {
    const child = spawn(program, args, { env, stdio: "ignore" });
    children.push(child);
    return child;
  };
  mkdirSync(home, { recursive: true });
  await runOk("ovsdb-tool", ["create", join(home, "conf.db"), OVS_SCHEMA], { env });
  start("ovsdb-server", [
    join(home, "conf.db"),
    `--remote=punix:${home}/db.sock`,
    `--unixctl=${home}/db.ctl`,
  ]);
  const vsctl = (...args: string[]) =>
    run("ovs-vsctl", ["--timeout=5", `--db=unix:${home}/db.sock`, "--no-wait", ...args], { env });
  await waitFor(
    async () => (await vsctl("init")).code === 0,
    "ovsdb-server does not start",
    START_DEADLINE_MS,
  );
  const options = [
    "dpdk-init=true",
    "dpdk-extra=--no-pci --no-telemetry -m 512",
    "pmd-cpu-mask=0x1",
    "dpdk-lcore-mask=0x2",
  ];
  await vsctl(
    "set",
    "Open_vSwitch",
    ".",
    ...options.map((option) => option.replace(/^([^=]+)=(.*)$/, 'other_config:$1="$2"')),
  );
  start(OVS_DPDK, [
    `unix:${home}/db.sock`,
    `--unixctl=${home}/vs.ctl`,
    "--no-chdir",
    `--log-file=${home}/vs.log`,
  ]);
  await waitFor(
    () => existsSync(join(home, "vs.ctl")),
    "ovs-vswitchd does not start: does it find hugepages?",
    START_DEADLINE_MS,
  );
  await configure(home, flows, []);
  return children;
}

async function configure(home: string, flows: readonly string[], extra: readonly string[]): Promise<void> {
  const port = (i: number) => [
    ...["--", "add-port", "br0", `v${i}`, "--", "set", "Interface", `v${i}`, "type=dpdkvhostuserclient"],
    ...[`ofport_request=${i + 1}`, `options:vhost-server-path=${home}/${i}.sock`, ...extra],
  ];
  const bridge = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure"];
  await runOk("ovs-vsctl", [
    "--timeout=15",
    `--db=unix:${home}/db.sock`,
    "--",
    ...bridge,
    ...port(0),
    ...port(1),
  ]);
  for (const flow of flows) {
    await runOk("ovs-ofctl", ["-O", "OpenFlow13", "add-flow", `unix:${home}/br0.mgmt`, flow]);
  }
}
