// What forwards between vhost-user cards in a comparison, each with one polling thread on the first processor; what else
// its processes have to do, the host puts where it likes.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH, runOk } from "../../test/support/run.js";
import { guardChild } from "./cleanup.js";
import { startOpenVswitch } from "./open-vswitch.js";

export interface Forwarder {
  readonly name: string;
  /** Its control socket, for ovs-appctl; empty when it has none. */
  readonly control: string;
  /** Starts it in `home`, where card n of `cards` listens (or will) at `<home>/<n>.sock`. */
  readonly start: (home: string, cards: number, flows: readonly string[]) => Promise<ChildProcess[]>;
}

export const OVS_DPDK = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const START_DEADLINE_MS = 30_000;
/** Room for so many in the switch: Open vSwitch has room for three million. */
const CONNECTIONS = 1 << 21;
const FLOWS_DEADLINE_MS = 120_000;

export const PLINTH_VSWITCHD: Forwarder = {
  name: "plinth vswitchd",
  control: "vswitchd.ctl",
  start: async (home, cards, flows) => {
    // On which processor it polls, and for how many connections there is room, it reads when it starts.
    const first = await startVswitchd(home, []);
    try {
      const room = `other_config:ct-maxconns=${CONNECTIONS}`;
      await configureSwitch(home, ["set", "Open_vSwitch", ".", "other_config:pmd-cpu-mask=1", room]);
    } finally {
      await endChild(first, "SIGTERM");
    }
    const child = await startVswitchd(home, profiling());
    try {
      await configure(home, cards, flows);
    } catch (thrown) {
      await endChild(child);
      throw thrown;
    }
    return [child];
  },
};

async function startVswitchd(home: string, options: readonly string[]): Promise<ChildProcess> {
  const words = [...options, PLINTH, "vswitchd", "--dir", home];
  const child = guardChild(spawn(process.execPath, words, { stdio: "ignore" }));
  const ready = join(home, "vswitchd.ctl");
  try {
    await waitFor(() => existsSync(ready), "vswitchd does not start", START_DEADLINE_MS);
  } catch (thrown) {
    await endChild(child);
    throw thrown;
  }
  return child;
}

/** PLINTH_BENCH_PROFILE=DIR: where Node leaves a profile of each run. */
function profiling(): readonly string[] {
  const dir = process.env["PLINTH_BENCH_PROFILE"];
  return dir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${dir}`];
}

export const OPEN_VSWITCH_DPDK: Forwarder = {
  name: "Open vSwitch with DPDK",
  control: "vs.ctl",
  start: async (home, cards, flows) => {
    if (!existsSync(OVS_DPDK))
      throw new Error(`${OVS_DPDK} is missing: apt-get install openvswitch-switch-dpdk`);
    const children = await startOpenVswitch({
      program: OVS_DPDK,
      dir: home,
      launcher: [],
      config: [
        "dpdk-init=true",
        "dpdk-extra=--no-pci --no-telemetry -m 512",
        "pmd-cpu-mask=0x1",
        "dpdk-lcore-mask=0x2",
      ],
    });
    try {
      await configure(home, cards, flows);
    } catch (thrown) {
      for (const child of children) await endChild(child);
      throw thrown;
    }
    return children;
  },
};

/** Looks at nothing: the limit. Port 2k to port 2k + 1, whatever the flows say. */
export const TESTPMD: Forwarder = {
  name: "testpmd, which looks at nothing",
  control: "",
  start: async (home, cards) => {
    const prefix = home.replaceAll("/", "_");
    const devices = Array.from(
      { length: cards },
      (_, i) => `--vdev=net_vhost${i},iface=${home}/${i}.sock,client=1`,
    );
    const memory = ["--no-pci", "--no-huge", "-m", "512", "--no-telemetry", "--file-prefix", prefix];
    const child = guardChild(
      spawn(
        "dpdk-testpmd",
        [
          "--lcores",
          "0@1,1@0",
          ...memory,
          ...devices,
          "--",
          "--total-num-mbufs=16384",
          "--forward-mode=io",
        ].concat(["--auto-start", "--stats-period=3600"]),
        { stdio: "ignore" },
      ),
    );
    child.once("exit", () => rmSync(`/var/run/dpdk/${prefix}`, { recursive: true, force: true }));
    return [child];
  },
};

async function configure(home: string, cards: number, flows: readonly string[]): Promise<void> {
  const bridge = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure"];
  const ports = Array.from({ length: cards }, (_, i) => [
    ...["--", "add-port", "br0", `v${i}`, "--", "set", "Interface", `v${i}`, "type=dpdkvhostuserclient"],
    ...[`ofport_request=${i + 1}`, `options:vhost-server-path=${home}/${i}.sock`],
  ]);
  await configureSwitch(home, [...bridge, ...ports.flat()]);
  const file = join(home, "flows.txt");
  writeFileSync(file, flows.join("\n"));
  await runOk("ovs-ofctl", ["-O", "OpenFlow13", "add-flows", `unix:${home}/br0.mgmt`, file], {
    deadlineMs: FLOWS_DEADLINE_MS,
  });
}

async function configureSwitch(home: string, words: readonly string[]): Promise<void> {
  await runOk("ovs-vsctl", ["--timeout=30", `--db=unix:${home}/db.sock`, "--", ...words]);
}
