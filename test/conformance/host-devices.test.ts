// Ports over devices of the host, between network stacks of Linux in namespaces of their own: what comes out of one must
// satisfy the other, checksums and segments included.
import { afterEach, beforeEach, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { needsRoot } from "../support/needs.js";
import { NetworkLab } from "../support/network-lab.js";
import { requirePrograms } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const AMOUNT = "20M";
/** iperf3 drops what is under way when it has sent enough. */
const AMOUNT_BYTES = 10e6;
const MACHINES = { a: "10.9.0.1", b: "10.9.0.2" } as const;
type Machine = keyof typeof MACHINES;

let lab: NetworkLab;
let daemon: SwitchProcess;

beforeEach(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-appctl");
  lab = await NetworkLab.open(...Object.keys(MACHINES));
  daemon = new SwitchProcess(lab.enter("switch"));
  await daemon.start("--host-devices");
  await daemon.vsctl("add-br", "br0");
});
afterEach(async () => {
  await daemon?.destroy();
  await lab?.close();
});

/** Gives the machine's device its address; a new one is waited for. */
async function address(machine: Machine, device: string): Promise<void> {
  await lab.ip(machine, `addr add ${MACHINES[machine]}/24 dev ${device}`);
  await lab.ip(machine, `link set ${device} up`);
}

/** A TAP port of `bridge` whose device is the machine's. */
async function plugTap(machine: Machine, bridge = "br0", ...settings: string[]): Promise<void> {
  const name = `t${machine}`;
  await daemon.vsctl("add-port", bridge, name, "--", "set", "Interface", name, "type=tap", ...settings);
  await lab.ip("switch", `link set ${name} netns ${lab.pid(machine)}`);
  await address(machine, name);
}

/** A pair of devices: s… is the switch's, e… the machine's. */
async function cable(machine: Machine): Promise<void> {
  await lab.ip("switch", `link add s${machine} type veth peer name e${machine}`);
  await lab.ip("switch", `link set e${machine} netns ${lab.pid(machine)}`);
  await address(machine, `e${machine}`);
}

async function statistics(port: string): Promise<Record<string, number>> {
  const line = (await daemon.ofctl("dump-ports", "br0", port)).replaceAll("\n", " ");
  const read = (direction: string): number[] =>
    [...(line.match(new RegExp(`${direction} pkts=(\\d+), bytes=(\\d+)`)) ?? [])].slice(1).map(Number);
  const [rxPackets = 0, rxBytes = 0] = read("rx");
  const [txPackets = 0, txBytes = 0] = read("tx");
  return { rxPackets, rxBytes, txPackets, txBytes };
}

it("TAP ports carry TCP both ways, segments uncut and checksums open", async () => {
  await plugTap("a");
  await plugTap("b", "br0", "options:n_rxq=2");
  await lab.reaches("a", MACHINES.b);
  await lab.stream("a", "b", MACHINES.b, AMOUNT);
  await lab.stream("b", "a", MACHINES.a, AMOUNT);
  const { rxPackets, rxBytes } = (await statistics("ta")) as { rxPackets: number; rxBytes: number };
  expect(rxBytes).toBeGreaterThan(AMOUNT_BYTES);
  // Acknowledgements included.
  expect(rxBytes / rxPackets).toBeGreaterThan(3000);
});

it("an internal port is the host's own place on the bridge, and keeps what was asked of it", async () => {
  await plugTap("a");
  await daemon.vsctl("set", "Interface", "br0", "mtu_request=1400");
  await lab.ip("switch", "addr add 10.9.0.3/24 dev br0");
  await lab.ip("switch", "link set br0 up");
  await lab.reaches("a", "10.9.0.3");
  await lab.stream("a", "switch", "10.9.0.3", AMOUNT);
  await waitFor(
    async () => (await daemon.vsctl("get", "Interface", "br0", "mtu")) === "1400",
    "the MTU in the database",
    10_000,
    100,
  );
  const mac = JSON.parse(await daemon.vsctl("get", "Interface", "br0", "mac_in_use")) as string;
  expect(await lab.ip("switch", "link show br0")).toContain(mac);
  await daemon.vsctl("set", "Interface", "br0", "mtu_request=1300", 'mac="02:00:00:00:00:77"');
  const device = await lab.ip("switch", "-o addr show br0");
  expect(device, "the same device, addresses and all").toContain("10.9.0.3/24");
  expect(await lab.ip("switch", "link show br0")).toMatch(/mtu 1300 [\s\S]*02:00:00:00:00:77/);
  expect(await daemon.ofctl("show", "br0")).toMatch(/LOCAL\(br0\): addr:02:00:00:00:00:77/);
  await lab.ip("a", "neigh flush all");
  await lab.reaches("a", "10.9.0.3");
});

it("a device that was moved elsewhere keeps its port when it cannot be changed from here", async () => {
  await plugTap("a");
  await plugTap("b");
  await daemon.vsctl(
    "--no-wait",
    "set",
    "Interface",
    "ta",
    "mtu_request=1400",
    "--",
    "set",
    "Port",
    "ta",
    "tag=5",
  );
  await waitFor(
    async () => (await daemon.vsctl("get", "Interface", "ta", "error")).includes("No such device"),
    "the reason in the database",
    10_000,
    100,
  );
  await daemon.vsctl("set", "Port", "tb", "tag=5");
  await lab.reaches("a", MACHINES.b);
});

it("a persistent device outlives a switch that is killed, addresses and all, but not its port", async () => {
  await daemon.vsctl(
    "add-port",
    "br0",
    "keep0",
    "--",
    "set",
    "Interface",
    "keep0",
    "type=internal",
    "options:persist=true",
  );
  await lab.ip("switch", "addr add 10.9.0.3/24 dev keep0");
  await cable("a");
  await daemon.vsctl("add-port", "br0", "sa");
  await lab.reaches("a", "10.9.0.3");
  await daemon.end("SIGKILL");
  const devices = () => lab.ip("switch", "-brief addr show");
  expect(await devices()).toMatch(/keep0 .*10\.9\.0\.3/);
  expect(await devices()).not.toContain("br0");
  await daemon.start("--host-devices");
  await lab.reaches("a", "10.9.0.3");
  await daemon.vsctl("del-port", "keep0");
  expect(await devices()).not.toContain("keep0");
});

it("cuts segments and completes checksums for a port that cannot, on the way to one that can", async () => {
  const link = daemon.path("link.sock");
  await daemon.vsctl("add-br", "br1");
  const stream = ["type=stream", `options:path=${link}`];
  await daemon.vsctl(
    ...["add-port", "br0", "up", "--", "set", "Interface", "up", ...stream, "options:server=true"],
    ...["--", "add-port", "br1", "down", "--", "set", "Interface", "down", ...stream],
  );
  await plugTap("a");
  await plugTap("b", "br1");
  await lab.reaches("a", MACHINES.b);
  await lab.stream("a", "b", MACHINES.b, AMOUNT);
  const { txPackets, txBytes } = (await statistics("up")) as { txPackets: number; txBytes: number };
  expect(txBytes / txPackets).toBeLessThanOrEqual(1514);
});

it("network devices of the host carry TCP, tagged on a trunk between two bridges too", async () => {
  await lab.ip("switch", "link add sx type veth peer name sy");
  await daemon.vsctl("add-br", "br1");
  for (const machine of ["a", "b"] as const) await cable(machine);
  await daemon.vsctl("add-port", "br0", "sa", "--", "add-port", "br0", "sb");
  await lab.reaches("a", MACHINES.b);
  await lab.stream("a", "b", MACHINES.b, AMOUNT);
  const { rxPackets, rxBytes } = (await statistics("sa")) as { rxPackets: number; rxBytes: number };
  expect(rxBytes).toBeGreaterThan(AMOUNT_BYTES);
  expect(rxBytes / rxPackets).toBeGreaterThan(3000);
  await daemon.vsctl(
    ...["set", "Port", "sa", "tag=5", "--", "add-port", "br0", "sx", "trunks=5"],
    ...[
      "--",
      "del-port",
      "sb",
      "--",
      "add-port",
      "br1",
      "sb",
      "tag=5",
      "--",
      "add-port",
      "br1",
      "sy",
      "trunks=5",
    ],
  );
  await lab.reaches("a", MACHINES.b);
  await lab.stream("a", "b", MACHINES.b, AMOUNT);
  expect((await statistics("sx"))["txBytes"]).toBeGreaterThan(AMOUNT_BYTES);
});

it("translates the addresses of segments that are not cut yet", async () => {
  for (const machine of ["a", "b"] as const) await cable(machine);
  await daemon.vsctl("add-port", "br0", "sa", "--", "add-port", "br0", "sb");
  await lab.reaches("a", MACHINES.b);
  for (const flow of [
    "priority=10,ip,in_port=sa,nw_dst=10.9.0.9,actions=ct(commit,table=1,zone=1,nat(dst=10.9.0.2))",
    "priority=10,ip,in_port=sb,actions=ct(table=1,zone=1,nat)",
    "table=1,priority=10,ct_state=-inv+trk,actions=normal",
  ])
    await daemon.ofctl("add-flow", "br0", "--names", flow);
  const [device] = JSON.parse(await lab.ip("b", "-json link show eb")) as [{ address: string }];
  await lab.ip("a", `neigh replace 10.9.0.9 lladdr ${device.address} dev ea`);
  await lab.stream("a", "b", "10.9.0.9", AMOUNT);
});

// Programs for the kernel cannot be loaded from a user namespace.
it("AF_XDP sockets take and send a device's frames in every mode that there is", needsRoot, async () => {
  requirePrograms("ethtool");
  for (const machine of ["a", "b"] as const) {
    await cable(machine);
    await lab.exec(machine, "ethtool", "-K", `e${machine}`, "tx", "off");
  }
  const bad = await daemon.tryVsctl(
    "add-port",
    "br0",
    "sa",
    "--",
    "set",
    "Interface",
    "sa",
    "type=afxdp",
    "options:xdp-mode=x",
  );
  expect(bad.stderr).toContain('options:xdp-mode cannot be "x"');
  await daemon.vsctl("set", "Interface", "sa", "options:xdp-mode=generic");
  await daemon.vsctl("add-port", "br0", "sb", "--", "set", "Interface", "sb", "type=afxdp");
  await lab.reaches("a", MACHINES.b);
  await lab.stream("a", "b", MACHINES.b, AMOUNT);
  const device = async (name: string) => lab.ip("switch", `link show ${name}`);
  expect(await device("sa")).toContain("xdpgeneric");
  expect(await device("sb")).toMatch(/xdp(generic)? /);
  await daemon.vsctl("del-port", "sa");
  await waitFor(async () => !(await device("sa")).includes("xdp"), "the program to be gone", 10_000, 20);
});

it("a device that is not there yet, goes and comes back is taken each time; one that never comes is told of", async () => {
  const vsctl = await daemon.tryVsctl("--timeout=5", "add-port", "br0", "sb");
  expect(vsctl.stderr).toContain("could not open network device sb (No such device)");
  expect(await daemon.vsctl("get", "Interface", "sb", "ofport", "error")).toBe(
    '-1\n"could not open network device sb (No such device)"',
  );
  await plugTap("a");
  await cable("b");
  await lab.reaches("a", MACHINES.b);
  await lab.ip("switch", "link del sb");
  const linkState = () => daemon.vsctl("get", "Interface", "sb", "link_state");
  await waitFor(async () => (await linkState()) === "down", "the device's end to be seen", 10_000, 50);
  await cable("b");
  // It has another address now.
  await lab.ip("a", "neigh flush dev ta");
  await lab.reaches("a", MACHINES.b);
  await waitFor(async () => (await linkState()) === "up", "its return to be seen", 10_000, 50);
  await lab.ip("switch", "link set sb down");
  await waitFor(async () => (await linkState()) === "down", "a device that is down", 10_000, 50);
  expect(await daemon.vsctl("get", "Interface", "sb", "admin_state")).toBe("down");
  await lab.ip("switch", "link set sb up");
  await lab.reaches("a", MACHINES.b);
});
