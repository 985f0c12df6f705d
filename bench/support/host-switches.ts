// What joins devices of the host in a comparison, each in a namespace of its own, with a machine's network stack in a
// namespace behind either port: "a" has 10.9.0.1 and "b" 10.9.0.2, both on a device called net0; the switch calls them
// pa and pb.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { NetworkLab } from "../../test/support/network-lab.js";
import { endChild, PLINTH, runOk } from "../../test/support/run.js";
import { guardChild, guardDirectory, onAbort } from "./cleanup.js";
import { OVS_DPDK } from "./forwarders.js";
import { startOpenVswitch } from "./open-vswitch.js";

const OVS = "/usr/sbin/ovs-vswitchd";
export const SERVER_ADDRESS = "10.9.0.2";
const PORTS = ["pa", "pb"] as const;
const START_DEADLINE_MS = 20_000;

export type Device = "tap" | "veth" | "afxdp";
/** What joins the devices. */
export interface HostSwitch {
  readonly name: string;
  readonly device: Device;
  /** Starts it in the namespace "switch"; resolves with its processes. */
  readonly start: (lab: NetworkLab, dir: string) => Promise<ChildProcess[]>;
}

export const plinth = (device: Device): HostSwitch => ({
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
    const child = guardChild(spawn(first, words, { stdio: "ignore" }));
    await waitFor(() => existsSync(join(dir, "vswitchd.ctl")), "vswitchd does not start", START_DEADLINE_MS);
    return [child];
  },
});
export const ovs = (
  device: Device,
  program = OVS,
  config: readonly string[] = [],
  name = "Open vSwitch",
): HostSwitch => ({
  name: `${name}, ${device}`,
  device,
  start: (lab, dir) => startOpenVswitch({ program, dir, launcher: lab.enter("switch"), config }),
});
export const ovsTso = ovs(
  "veth",
  OVS_DPDK,
  ["dpdk-init=true", "dpdk-extra=--no-pci --no-telemetry -m 512", "userspace-tso-enable=true"],
  "Open vSwitch with userspace-tso",
);
/** The same devices by a driver of DPDK: only its ports have the policers of Open vSwitch's userspace. */
export const ovsPackets: HostSwitch = {
  ...ovs("veth", OVS_DPDK, ["dpdk-init=true", "dpdk-extra=--no-pci --no-telemetry -m 512"]),
  name: "Open vSwitch with DPDK, veth by af_packet",
};
/** It makes the TAP devices itself, and ends with its standard input. */
export const vde: HostSwitch = {
  name: "vde_switch, tap",
  device: "tap",
  start: async (lab, dir) => {
    const taps = PORTS.flatMap((port) => ["--tap", port]);
    const [first = "", ...words] = [
      ...lab.enter("switch"),
      "vde_switch",
      "--sock",
      join(dir, "vde"),
      ...taps,
    ];
    const child = guardChild(spawn(first, words, { stdio: ["pipe", "ignore", "ignore"] }));
    const links = async (): Promise<string> => lab.ip("switch", "-brief link show");
    const isThere = async (): Promise<boolean> => {
      const text = await links();
      return PORTS.every((port) => text.includes(port));
    };
    await waitFor(isThere, "vde_switch does not start", START_DEADLINE_MS);
    return [child];
  },
};
export const bridge: HostSwitch = {
  name: "Linux bridge, veth (the limit)",
  device: "veth",
  start: async () => [],
};

/** One measurement with everything new: namespaces, devices and the switch. */
export async function inLab<Result>(
  one: HostSwitch,
  measure: (lab: NetworkLab, dir: string) => Promise<Result>,
): Promise<Result> {
  const dir = mkdtempSync("/tmp/plv-");
  const forget = guardDirectory(dir);
  const lab = await NetworkLab.open("a", "b");
  const letGo = onAbort(() => lab.kill());
  let children: ChildProcess[] = [];
  try {
    children = await one.start(lab, dir);
    await plug(one, lab, dir);
    await lab.reaches("a", SERVER_ADDRESS);
    return await measure(lab, dir);
  } finally {
    for (const child of children.reverse()) await endChild(child);
    await lab.close();
    letGo();
    forget();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** How ovs-vsctl is told what kind of port it is. */
function typeOf(one: HostSwitch, port: string): string[] {
  const set = ["--", "set", "Interface", port];
  if (one === ovsPackets)
    return [...set, "type=dpdk", `options:dpdk-devargs=net_af_packet_${port},iface=${port}`];
  return one.device === "veth" ? [] : [...set, `type=${one.device}`];
}

/** A device in each namespace, called net0, and both on the switch. */
async function plug(one: HostSwitch, lab: NetworkLab, dir: string): Promise<void> {
  const isBridge = one === bridge;
  const vsctl = (...args: string[]) =>
    runOk("ovs-vsctl", ["--timeout=60", `--db=unix:${dir}/db.sock`, ...args], { deadlineMs: 90_000 });
  if (isBridge) await lab.ip("switch", "link add br0 up type bridge");
  else if (one !== vde) await vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev");
  for (const [machine, address] of [
    ["a", "10.9.0.1"],
    ["b", SERVER_ADDRESS],
  ] as const) {
    const port = `p${machine}`;
    const end = one.device === "tap" ? port : `e${machine}`;
    if (one.device !== "tap") await lab.ip("switch", `link add ${port} up type veth peer name ${end}`);
    const type = typeOf(one, port);
    if (isBridge) await lab.ip("switch", `link set ${port} master br0`);
    else if (one !== vde) await vsctl("add-port", "br0", port, ...type);
    await lab.ip("switch", `link set ${end} netns ${lab.pid(machine)}`);
    await lab.ip(machine, `link set ${end} name net0`);
    await lab.ip(machine, `addr add ${address}/24 dev net0`);
    await lab.ip(machine, "link set net0 up");
    // Open vSwitch forwards what a sender leaves to hardware only with userspace-tso.
    if (one.device === "afxdp" || (one !== ovsTso && one.name.startsWith("Open")))
      await lab.exec(machine, "ethtool", "-K", "net0", "tx", "off");
  }
}
