// Open vSwitch's own client as most people run it: without -O, which means OpenFlow 1.0 with Nicira's extensions.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { encodeError, OFP_ERRORS, type OfpErrorName } from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { endChild, requirePrograms, run, runOk } from "../support/run.js";
import { ethernetFrame } from "../support/switch.js";

const DEADLINE_MS = 20_000;

let directory: string;
let target: OpenFlowSwitch;
let monitor: ChildProcess | undefined;

beforeEach(async () => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/ofctl10-");
  target = await OpenFlowSwitch.open(directory);
});

afterEach(async () => {
  if (monitor !== undefined) await endChild(monitor);
  monitor = undefined;
  await target.close();
  rmSync(directory, { recursive: true, force: true });
});

const bridge = (): string => `unix:${join(directory, "br0.mgmt")}`;

/** Standard output of a command that must succeed without complaint. */
async function ok(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run("ovs-ofctl", [
    "--timeout=10",
    ...command.split(" "),
    bridge(),
    ...args,
  ]);
  expect(`${code} ${stderr}`).toBe("0 ");
  return stdout;
}

async function flows(...filter: string[]): Promise<string[]> {
  const text = await ok("dump-flows --no-stats", ...filter);
  return text
    .split("\n")
    .filter((line) => line.includes("actions="))
    .map((line) => line.trim());
}

async function errorOf(command: string, ...args: string[]): Promise<string> {
  const all = ["--timeout=10", ...command.split(" "), bridge(), ...args];
  const { stdout, stderr } = await run("ovs-ofctl", all);
  return /(OFP\w+?C|NX\w+?C)_\w+/.exec(stdout + stderr)?.[0] ?? stdout + stderr;
}

describe("ovs-ofctl in OpenFlow 1.0", () => {
  it("prints the switch, its ports and tables", async () => {
    const show = await ok("show");
    expect(show).toContain("dpid:0000020000000001\nn_tables:254, n_buffers:0");
    expect(show).toContain("actions: output enqueue set_vlan_vid");
    expect(show).toContain(" 1(vm1): addr:02:00:00:00:00:01");
    expect(show).toContain("LOCAL(br0)");
    target.inject("vm2", new Uint8Array(60));
    expect(await ok("dump-ports", "2")).toContain("rx pkts=1, bytes=60");
    expect(await ok("dump-tables")).toContain("active=0, lookup=1, matched=0");
    expect(await ok("dump-desc")).toContain("Manufacturer: Plinth");
    expect(await ok("queue-stats")).toContain("0 queues");
    expect(await ok("get-frags")).toBe("normal\n");
    expect(await ok("dump-ports-desc")).toContain("2(vm2)");
    await ok("queue-get-config", "1");
    await ok("probe");
  });

  // Left: what a person writes. Right: what ovs-ofctl prints of our report of it.
  it.each([
    ["priority=10,in_port=1,actions=2", "priority=10,in_port=1 actions=output:2"],
    [
      "dl_src=02:00:00:00:00:01,dl_vlan=5,dl_vlan_pcp=3,actions=strip_vlan,normal",
      "dl_vlan=5,dl_vlan_pcp=3,dl_src=02:00:00:00:00:01 actions=strip_vlan,NORMAL",
    ],
    ["dl_vlan=0xffff,actions=mod_vlan_vid:7,flood", "vlan_tci=0x0000 actions=mod_vlan_vid:7,FLOOD"],
    [
      "tcp,nw_src=10.0.0.0/8,nw_tos=32,tp_dst=80,actions=mod_nw_dst:1.2.3.4,mod_tp_dst:99,mod_vlan_pcp:2,local",
      "tcp,nw_src=10.0.0.0/8,nw_tos=32,tp_dst=80 actions=mod_nw_dst:1.2.3.4,mod_tp_dst:99,mod_vlan_pcp:2,LOCAL",
    ],
    [
      "arp,nw_src=10.0.0.1,arp_op=2,actions=mod_dl_src:02:00:00:00:00:09,in_port",
      "arp,arp_spa=10.0.0.1,arp_op=2 actions=mod_dl_src:02:00:00:00:00:09,IN_PORT",
    ],
    ["icmp,icmp_type=8,actions=controller:77", "icmp,icmp_type=8 actions=CONTROLLER:77"],
    [
      "table=3,ipv6,ipv6_dst=fe80::/64,reg1=5/7,actions=load:1->NXM_NX_REG2[],resubmit(,4)",
      "table=3, ipv6,reg1=0x5/0x7,ipv6_dst=fe80::/64 actions=load:0x1->NXM_NX_REG2[],resubmit(,4)",
    ],
    [
      "ct_state=+trk+new,ip,actions=ct(commit,zone=5,exec(load:1->NXM_NX_CT_MARK[])),dec_ttl,2",
      "ct_state=+new+trk,ip actions=ct(commit,zone=5,exec(load:0x1->NXM_NX_CT_MARK[])),dec_ttl,output:2",
    ],
    [
      "cookie=0x1234,idle_timeout=5,hard_timeout=9,actions=drop",
      "cookie=0x1234, idle_timeout=5, hard_timeout=9, actions=drop",
    ],
  ])("adds %s and reads it back", async (written, printed) => {
    await ok("add-flow", written);
    expect(await flows()).toEqual([printed]);
  });

  it("modifies, adds by modifying, and deletes, in all tables and in one", async () => {
    await ok("add-flow", "cookie=1,table=1,priority=10,ip,actions=1");
    await ok("add-flow", "cookie=2,table=2,priority=20,ip,actions=1");
    await ok("mod-flows", "ip,actions=2");
    expect((await flows()).every((line) => line.endsWith("actions=output:2"))).toBe(true);
    await ok("mod-flows", "table=1,ip,actions=drop");
    await ok("--strict mod-flows", "priority=9,arp,actions=1");
    expect(await flows()).toEqual([
      "priority=9,arp actions=output:1",
      "cookie=0x1, table=1, priority=10,ip actions=drop",
      "cookie=0x2, table=2, priority=20,ip actions=output:2",
    ]);
    expect(await ok("dump-aggregate", "ip")).toContain("flow_count=2");
    await ok("del-flows", "cookie=1/-1");
    expect(await flows("table=1")).toEqual([]);
    await ok("del-flows", "out_port=2");
    await ok("del-flows");
    expect(await flows()).toEqual([]);
  });

  it("puts tags on, changes and takes them off", async () => {
    await ok("add-flow", "in_port=1,dl_vlan=0xffff,actions=mod_vlan_vid:7,mod_vlan_pcp:5,2");
    await ok("add-flow", "in_port=1,dl_vlan=9,actions=mod_vlan_vid:8,2");
    await ok("add-flow", "in_port=1,dl_vlan=10,actions=strip_vlan,2");
    const sent = (vlan?: number): string => {
      const options = { to: 2, from: 1, text: "tag" };
      target.inject("vm1", ethernetFrame(vlan === undefined ? options : { ...options, vlan }));
      return Buffer.from(target.takeSent("vm2")[0] ?? new Uint8Array(0))
        .subarray(12, 18)
        .toString("hex");
    };
    expect(sent()).toBe("8100a00788b5");
    expect(sent(9)).toBe("8100000888b5");
    expect(sent(10).slice(0, 4)).toBe("88b5");
  });

  it("keeps floods from a port that is told so", async () => {
    await ok("add-flow", "actions=flood");
    await ok("mod-port", "vm2", "noflood");
    expect(await ok("show")).toContain("NO_FLOOD");
    target.inject("vm1", ethernetFrame({ to: 0xff, from: 1, text: "x" }));
    expect(target.takeSent("vm2")).toHaveLength(0);
    expect(target.takeSent("br0")).toHaveLength(1);
    await ok("mod-port", "vm2", "flood");
    target.inject("vm1", ethernetFrame({ to: 0xff, from: 1, text: "x" }));
    expect(target.takeSent("vm2")).toHaveLength(1);
  });

  it("is told errors in 1.0's numbers, and in Nicira's where 1.0 has none", async () => {
    await ok("add-flow", "priority=5,ip,actions=drop");
    expect(await errorOf("add-flow", "check_overlap,priority=5,ip,nw_src=1.1.1.1,actions=drop")).toBe(
      "OFPFMFC_OVERLAP",
    );
    expect(await errorOf("dump-ports", "99")).toBe("OFPBRC_BAD_PORT");
    expect(await errorOf("queue-stats", "99")).toBe("OFPQOFC_BAD_PORT");
    expect(await errorOf("add-flow", "table=254,actions=drop")).toMatch(/BAD_TABLE_ID/);
  });

  it.each(["standard", "nxt_packet_in", "nxt_packet_in2"])("monitors packets as %s", async (format) => {
    const lines: string[] = [];
    monitor = spawn("ovs-ofctl", ["-P", format, "monitor", bridge(), "128"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, OVS_RUNDIR: directory },
    });
    for (const stream of [monitor.stdout, monitor.stderr])
      stream?.on("data", (bytes: Buffer) => lines.push(...bytes.toString().split("\n")));
    const packet = Buffer.from(ethernetFrame({ to: 2, from: 1, text: "x" })).toString("hex");
    // The monitor says nothing when it is ready: packets go out until one comes in.
    await waitFor(
      async () => {
        await ok("packet-out", `in_port=controller,packet=${packet},actions=controller`);
        return lines.some((line) => line.includes("PACKET_IN"));
      },
      () => `no packet-in: ${lines.join("\n")}`,
      DEADLINE_MS,
    );
    const text = lines.join("\n");
    const name = {
      standard: "OFPT_PACKET_IN",
      nxt_packet_in: "NXT_PACKET_IN",
      nxt_packet_in2: "NXT_PACKET_IN2",
    };
    expect(text).toContain(`${name[format as keyof typeof name]} (xid=0x0)`);
    expect(text).toContain("total_len=60 in_port=CONTROLLER (via action) data_len=60 (unbuffered)");
    await ok("add-flow", "cookie=7,send_flow_rem,priority=5,ip,actions=drop");
    await ok("del-flows");
    target.addPort("vm3", 3);
    await waitFor(
      () => /FLOW_REMOVED[\s\S]*PORT_STATUS/.test(lines.join("\n")),
      () => lines.join("\n"),
      DEADLINE_MS,
    );
    expect(lines.join("\n")).toMatch(/priority=5,ip reason=delete .*cookie:0x7/);
  });

  it("snoops and speaks every version that the other end offers first", async () => {
    for (const version of ["OpenFlow10", "OpenFlow13", "OpenFlow10,OpenFlow13", "OpenFlow13,OpenFlow15"]) {
      const shown = await runOk("ovs-ofctl", ["-O", version, "--timeout=10", "show", bridge()]);
      expect(shown).toContain(version.includes("13") ? "(OF1.3)" : "OFPT_FEATURES_REPLY (xid");
    }
    const { code, stderr } = await run("ovs-ofctl", ["-O", "OpenFlow12", "--timeout=10", "show", bridge()]);
    expect(code).toBe(1);
    expect(stderr).toContain("version negotiation failed");
  });
});

/** Names that Open vSwitch has other words for, or no number in 1.0. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  OFPTFFC_BAD_TYPE: "OFPBPC_BAD_TYPE",
  OFPTFFC_BAD_LEN: "OFPBPC_BAD_LEN",
  OFPTFFC_BAD_ARGUMENT: "OFPBPC_BAD_VALUE",
  OFPBRC_BAD_MULTIPART: "OFPBRC_BAD_STAT",
  OFPBRC_BAD_EXPERIMENTER: "OFPBRC_BAD_VENDOR",
  OFPBRC_BAD_EXP_TYPE: "OFPBRC_BAD_SUBTYPE",
  OFPBRC_IS_SLAVE: "OFPBRC_EPERM",
  OFPBAC_BAD_EXPERIMENTER: "OFPBAC_BAD_VENDOR",
  OFPBAC_BAD_EXP_TYPE: "OFPBAC_BAD_VENDOR_TYPE",
  OFPFMFC_BAD_TABLE_ID: "NXFMFC_BAD_TABLE_ID",
};

it("has the numbers of 1.0's errors that Open vSwitch knows", async () => {
  const printed = async (name: OfpErrorName): Promise<string> => {
    const bytes = encodeError(name, 1, new Uint8Array(8), { version: 1, flowModTableId: false });
    const text = await runOk("ovs-ofctl", ["ofp-print", Buffer.from(bytes).toString("hex")]);
    return /OFPT_ERROR \(xid=0x1\): (\w+)/.exec(text)?.[1] ?? text;
  };
  const names = Object.keys(OFP_ERRORS) as OfpErrorName[];
  for (let i = 0; i < names.length; i += 8) {
    const some = names.slice(i, i + 8);
    for (const [n, word] of (await Promise.all(some.map(printed))).entries()) {
      const name = some[n] as string;
      expect([OTHER_WORDS[name] ?? name, "NXBRC_UNENCODABLE_ERROR"]).toContain(word);
    }
  }
});
