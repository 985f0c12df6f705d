// The dpctl commands about connection tracking, asked by the same ovs-appctl of our switch and of Open vSwitch, which
// have seen the same packets: every line agrees, the errors too, but for the name of the program that Open vSwitch puts
// in front of them. Connections come in no order, and time passes; both are taken out, and so is how many connections of
// ICMPv6 there are, which Open vSwitch counts but does not tell.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { cut } from "../../vswitch/testing/fragments.js";
import { type Ends, icmpFrame, tcpFrame, udpFrame } from "../../vswitch/testing/frames.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { RealOvs } from "../support/real-ovs.js";
import { requirePrograms, run, runOk } from "../support/run.js";

const A: Required<Ends> = {
  source: "10.0.0.1",
  destination: "10.0.0.2",
  sourcePort: 4000,
  destinationPort: 80,
};
const back: Required<Ends> = {
  source: "10.0.0.2",
  destination: "10.0.0.1",
  sourcePort: 80,
  destinationPort: 4000,
};
const A6: Required<Ends> = { ...A, source: "fd00::1", destination: "fd00::2" };
const nothing = new Uint8Array(0);
const [SYN, ACK] = [2, 16];
const [fragment] = cut(udpFrame({ ...A, source: "10.0.0.8" }, new Uint8Array(2000)), [1240]) as [Uint8Array];
const [fragment6] = cut(udpFrame({ ...A6, source: "fd00::8" }, new Uint8Array(2000)), [1280]) as [Uint8Array];

/** What both see before they are asked. */
const PACKETS: readonly (readonly [actions: string, frame: Uint8Array])[] = [
  ["ct(commit)", udpFrame(A)],
  ["ct(commit)", udpFrame({ ...A, sourcePort: 4001 })],
  ["ct(commit,zone=7,exec(set_field:0x5->ct_mark,set_field:0x99->ct_label))", udpFrame(A)],
  ["ct(commit,zone=7,nat(src=192.0.2.1))", udpFrame({ ...A, source: "10.0.0.3" })],
  ["ct(commit,zone=8)", udpFrame(A6)],
  ["ct(commit,zone=8)", icmpFrame(A6, 128, 0x00070001)],
  ["ct(commit)", icmpFrame(A, 8, 0x00070001)],
  ["ct(commit)", tcpFrame(A, SYN, nothing, { sequence: 100, options: Uint8Array.of(1, 3, 3, 7) })],
  ["ct(commit)", tcpFrame(back, SYN | ACK, nothing, { sequence: 500, acknowledgment: 101 })],
  ["ct(commit)", tcpFrame(A, ACK, nothing, { sequence: 101, acknowledgment: 501 })],
  ["ct(commit,zone=9,alg=ftp)", tcpFrame({ ...A, destinationPort: 21 }, SYN, nothing, { sequence: 100 })],
  ["ct(commit,zone=9)", fragment],
  ["ct(commit,zone=9)", fragment6],
];

const whole = (port: number): string =>
  `ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=17,ct_tp_src=${port},ct_tp_dst=80`;

/** In this order; the later ones change what the earlier ones tell. */
const QUESTIONS: readonly string[] = [
  // First: what is held waits for 15 seconds only.
  "ipf-get-status",
  "ipf-get-status -m",
  "ipf-get-status nosuch",
  "ipf-get-status -m netdev@ovs-netdev",
  "ipf-set-enabled",
  "ipf-set-enabled nosuch v5",
  "ipf-set-enabled v4 nosuch",
  "ipf-set-enabled netdev@ovs-netdev",
  "ipf-set-disabled v6 -m",
  "ipf-set-min-frag nosuch v5 x",
  "ipf-set-min-frag v5 x",
  "ipf-set-min-frag netdev@ovs-netdev v4",
  "ipf-set-max-nfrags nosuch x",
  "ipf-set-max-nfrags netdev@ovs-netdev x",
  "ipf-set-enabled v5",
  "ipf-set-disabled x",
  "ipf-set-min-frag v4 1000",
  "ipf-set-min-frag v4 +1000",
  "ipf-set-min-frag v4 399",
  "ipf-set-min-frag v6 399",
  "ipf-set-min-frag v6 1300",
  "ipf-set-min-frag v4 x",
  "ipf-set-min-frag x 1000",
  "ipf-set-min-frag v4",
  "ipf-set-max-nfrags 500",
  "ipf-set-max-nfrags 5000",
  "ipf-set-max-nfrags 5001",
  "ipf-set-max-nfrags x",
  "ipf-set-max-nfrags",
  "ipf-get-status",
  // What is held then is dropped here, and waits for its time there.
  "ipf-set-disabled v4",
  "ipf-set-enabled v4",
  "ipf-set-disabled v6",
  "ipf-set-enabled v6",
  "dump-conntrack",
  "dump-conntrack -m",
  "dump-conntrack -m -s",
  "dump-conntrack --more --statistics",
  "dump-conntrack -ms zone=7",
  "dump-conntrack netdev@ovs-netdev zone=8",
  "dump-conntrack zone=1",
  "dump-conntrack nosuch zone=8",
  "dump-conntrack -x",
  "ct-stats-show",
  "ct-stats-show -m",
  "ct-stats-show verbose",
  "ct-stats-show zone=7 verbose",
  "ct-stats-show zone=7",
  "ct-stats-show nosuch zone=7",
  "ct-bkts",
  "ct-bkts gt=3",
  "ct-bkts gt=100",
  "ct-bkts nosuch gt=1",
  "ct-bkts nosuch",
  "ct-bkts gt=x",
  "ct-bkts gt=",
  "ct-bkts gt=1 gt=3",
  "ct-bkts netdev@ovs-netdev gt=3",
  "ct-bkts a b c",
  "ct-get-nconns",
  "ct-get-nconns netdev@ovs-netdev",
  "ct-get-nconns nosuch",
  "ct-get-tcp-seq-chk",
  "ct-disable-tcp-seq-chk",
  "ct-get-tcp-seq-chk",
  "ct-enable-tcp-seq-chk netdev@ovs-netdev",
  "ct-get-tcp-seq-chk",
  "ct-set-maxconns",
  "ct-set-maxconns abc",
  "ct-set-maxconns nosuch 10",
  "ct-set-maxconns 500",
  "ct-get-maxconns",
  "ct-get-maxconns nosuch",
  "ct-get-limits",
  "ct-set-limits",
  "ct-set-limits default=10",
  "ct-set-limits zone=1,limit=5",
  "ct-set-limits zone=2,limit=5 zone=3,limit=4294967295",
  "ct-get-limits",
  "ct-set-limits default=20 limit=7,zone=4",
  "ct-set-limits netdev@ovs-netdev zone=5,limit=1",
  "ct-get-limits zone=1",
  "ct-get-limits zone=1,2,11",
  "ct-get-limits foo",
  "ct-get-limits foo=1",
  "ct-set-limits zone=1",
  "ct-set-limits limit=1",
  "ct-set-limits zone=1,limit=x",
  "ct-set-limits zone=70000,limit=1",
  "ct-set-limits zone=1,foo=2",
  "ct-set-limits zone=1,limit",
  "ct-set-limits zone=,limit=1",
  "ct-set-limits default=x",
  "ct-set-limits default=",
  "ct-del-limits",
  "ct-del-limits foo",
  "ct-del-limits zone=1",
  "ct-del-limits zone=2,3,99",
  "ct-get-limits",
  "ct-set-limits default=0",
  `flush-conntrack zone=7 ${whole(9999)}`,
  `flush-conntrack ${whole(9999)}`,
  // A whole tuple means a connection of zone 0, a part of one those of all zones.
  `flush-conntrack ${whole(4000)}`,
  "dump-conntrack",
  "flush-conntrack ct_nw_src=10.0.0.1,ct_nw_proto=17",
  "dump-conntrack",
  'flush-conntrack "" ct_nw_dst=192.0.2.1',
  "dump-conntrack",
  "flush-conntrack ct_ipv6_dst=fd00::2,ct_nw_proto=17",
  "dump-conntrack",
  "flush-conntrack nosuch",
  "flush-conntrack zone=1 foo=2",
  "flush-conntrack ct_nw_src=1.1.1.x",
  "flush-conntrack ct_nw_src=",
  "flush-conntrack ct_nw_src",
  "flush-conntrack ct_nw_proto=300",
  "flush-conntrack ct_nw_proto=17,ct_tp_src=70000",
  "flush-conntrack ct_tp_src=7",
  "flush-conntrack ct_nw_src=1.1.1.1,icmp_id=1",
  "flush-conntrack ct_ipv6_src=::1,ct_nw_src=1.1.1.1",
  "flush-conntrack ct_nw_src=1.1.1.1=2",
  "flush-conntrack ct_nw_src=1.1.1.1,icmp_id=1,ct_nw_proto=1",
  "flush-conntrack icmp_type=300,ct_nw_proto=1",
  "flush-conntrack ct_nw_proto=1,icmp_type=300",
  "flush-conntrack ct_tp_src=7,ct_nw_proto=300",
  "flush-conntrack a b c d",
  "flush-conntrack zone=1 foo=1 bar=2 baz=3",
  "flush-conntrack zone=x foo=1",
  "flush-conntrack zone=1 zone=2",
  'flush-conntrack zone=1 "" "" x',
  'flush-conntrack "" "" x y',
  "flush-conntrack a b c d e",
  "del-flows /nosuch",
  "del-flows netdev@ovs-netdev /nosuch",
  "del-flows netdev@ovs-netdev",
  "del-flows a b c",
  "flush-conntrack zone=9",
  "dump-conntrack",
  "flush-conntrack",
  "dump-conntrack",
  "ct-bkts",
  "ct-stats-show",
];

let ovs: RealOvs;
let ours: PlinthSwitch;

beforeAll(async () => {
  requirePrograms("ovs-appctl", "ovs-ofctl");
  ovs = await RealOvs.start();
  ours = await PlinthSwitch.open();
  for (const one of [ovs, ours])
    await one.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev");
});
afterAll(async () => {
  await ours?.destroy();
  await ovs?.stop();
});

async function told(socket: string, question: string): Promise<string> {
  const [command = "", ...rest] = question.split(" ").map((word) => (word === '""' ? "" : word));
  const { code, stdout, stderr } = await run("ovs-appctl", ["-t", socket, `dpctl/${command}`, ...rest]);
  const lines = stdout
    .replaceAll(/timeout=\d+/g, "timeout=N")
    .split("\n")
    .filter((line) => !line.startsWith("  ICMPv6:"));
  const sorted = /^dump|-m$/.test(question) ? lines.sort() : lines;
  const error = stderr.replaceAll(socket, "SOCKET");
  return `${code}\n${sorted.join("\n")}${error}`;
}

describe("dpctl", () => {
  it("shows the time-outs of a zone as OVSDB has them, there and here", async () => {
    const commit = (socket: string, zone: number): Promise<string> => {
      const frame = Buffer.from(udpFrame({ ...A, sourcePort: 4242 })).toString("hex");
      const actions = `actions=ct(commit,zone=${zone})`;
      return runOk("ovs-ofctl", ["packet-out", `unix:${socket}`, `in_port=local,packet=${frame},${actions}`]);
    };
    const capabilities: (readonly string[])[] = [];
    for (const [one, socket, control] of [
      [ovs, join(ovs.dir, "br0.mgmt"), join(ovs.dir, "vs.ctl")],
      [ours, ours.path("br0.mgmt"), ours.path("vswitchd.ctl")],
    ] as const) {
      const datapath = ["--id=@d", "create", "Datapath", "datapath_version=0"];
      await one.vsctl("--", ...datapath, "--", "set", "Open_vSwitch", ".", "datapaths:netdev=@d");
      await one.vsctl("add-zone-tp", "netdev", "zone=33", "udp_first=700");
      capabilities.push((await one.vsctl("list-dp-cap", "netdev")).trim().split(" "));
      const timeoutOf = async (zone: number): Promise<number> => {
        await runOk("ovs-appctl", ["-t", control, "dpctl/flush-conntrack", `zone=${zone}`]);
        await commit(socket, zone);
        const dump = await runOk("ovs-appctl", ["-t", control, "dpctl/dump-conntrack", "-s", `zone=${zone}`]);
        return Number(/timeout=(\d+)/.exec(dump)?.[1]);
      };
      // Configuration takes its time.
      await waitFor(async () => (await timeoutOf(33)) > 600, "the zone's time-out", 30_000);
      expect(await timeoutOf(34)).toBeLessThanOrEqual(60);
      await one.vsctl("del-zone-tp", "netdev", "zone=33");
      await waitFor(async () => (await timeoutOf(33)) <= 60, "the default time-out", 30_000);
      for (const zone of [33, 34])
        await runOk("ovs-appctl", ["-t", control, "dpctl/flush-conntrack", `zone=${zone}`]);
    }
    // What the datapath can do is told by the same keys; there are no tunnels here.
    const [theirs = [], told = []] = capabilities;
    const keys = (words: readonly string[]) => words.map((word) => word.split("=")[0]).sort();
    expect(keys(told)).toEqual(keys(theirs));
    expect(told).toContain("ct_timeout=true");
    expect(told).toContain("tnl_push_pop=false");
  });
});

describe("dpctl of what is tracked", () => {
  beforeAll(async () => {
    for (const [actions, frame] of PACKETS) {
      const hex = Buffer.from(frame).toString("hex");
      for (const socket of [join(ovs.dir, "br0.mgmt"), ours.path("br0.mgmt")])
        await runOk("ovs-ofctl", [
          "packet-out",
          `unix:${socket}`,
          `in_port=local,packet=${hex},actions=${actions}`,
        ]);
    }
  });

  it("tells of connections that there are", async () => {
    const dump = await told(ours.path("vswitchd.ctl"), "dump-conntrack");
    expect(dump.split("\n").filter((line) => line.includes("orig="))).toHaveLength(9);
  });

  it.each(QUESTIONS)("%s", async (question) => {
    const [here, there] = await Promise.all([
      told(ours.path("vswitchd.ctl"), question),
      told(join(ovs.dir, "vs.ctl"), question),
    ]);
    expect(here).toEqual(there);
  });

  it("lists the same commands with the same usage", async () => {
    const commands = async (socket: string) =>
      (await runOk("ovs-appctl", ["-t", socket, "list-commands"]))
        .split("\n")
        .filter((line) => /dpctl\/(ct-|ipf-|dump-conntrack|flush-conntrack)/.test(line));
    const known = await commands(join(ovs.dir, "vs.ctl"));
    expect(known.length).toBeGreaterThan(15);
    expect(await commands(ours.path("vswitchd.ctl"))).toEqual(known);
  });
});
