// Open vSwitch's own client against our OpenFlow agent: what it sends is understood, what we answer it can print.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { cut } from "../../vswitch/testing/fragments.js";
import { udpFrame } from "../../vswitch/testing/frames.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { endChild, type RunResult, requirePrograms, run } from "../support/run.js";

const DEADLINE_MS = 10_000;

let directory: string;
let target: OpenFlowSwitch;
let monitor: ChildProcess | undefined;

beforeEach(async () => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/ofctl-");
  target = await OpenFlowSwitch.open(directory);
});

afterEach(async () => {
  if (monitor !== undefined) await endChild(monitor);
  monitor = undefined;
  await target.close();
  rmSync(directory, { recursive: true, force: true });
});

const bridge = (): string => `unix:${join(directory, "br0.mgmt")}`;

function ofctl(command: string, ...args: string[]): Promise<RunResult> {
  const flags = ["-O", "OpenFlow13", "--timeout=10"];
  const env = { ...process.env, OVS_RUNDIR: directory };
  return run("ovs-ofctl", [...flags, ...command.split(" "), bridge(), ...args], {
    deadlineMs: DEADLINE_MS,
    env,
  });
}

/** Standard output of a command that must succeed without complaint. */
async function ok(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ofctl(command, ...args);
  expect(`${code} ${stderr}`).toBe("0 ");
  return stdout;
}

/** The flows as ovs-ofctl prints them, without what changes from run to run. */
async function flows(...filter: string[]): Promise<string[]> {
  const text = await ok("dump-flows --no-stats", ...filter);
  return text
    .split("\n")
    .filter((line) => line.includes("actions="))
    .map((line) => line.trim());
}

describe("ovs-ofctl", () => {
  it("adds, changes, prints and deletes meters", async () => {
    await ok("add-meter", "meter=1,kbps,burst,stats,band=type=drop,rate=1000,burst_size=100");
    await ok("add-flow", "priority=5,ip,actions=meter:1,output:1");
    expect(await flows()).toEqual(["priority=5,ip actions=meter:1,output:1"]);
    await ok("mod-meter", "meter=1,pktps,band=type=dscp_remark,rate=50,prec_level=2");
    expect(await ok("dump-meters")).toMatch(/meter=1 pktps bands=\s+type=dscp_remark rate=50 prec_level=2/);
    expect(await ok("meter-stats")).toContain("meter:1 flow_count:1 packet_in_count:0");
    await ok("del-meters");
    expect(await ok("dump-meters")).not.toContain("meter=1");
    expect(await flows()).toEqual([]);
  });

  it("adds select and fast-failover groups", async () => {
    await ok("add-group", "group_id=1,type=select,bucket=weight:50,output:1,bucket=weight:100,output:2");
    await ok("add-group", "group_id=2,type=ff,bucket=watch_port:1,output:1,bucket=watch_port:2,output:2");
    const text = await ok("dump-groups");
    expect(text).toContain(
      "group_id=1,type=select,bucket=weight:50,actions=output:1,bucket=weight:100,actions=output:2",
    );
    expect(text).toMatch(/group_id=2,type=ff,bucket=watch_port:"?(vm1|1)"?,actions=output:/);
  });

  // Left: what a person writes. Right: what ovs-ofctl prints of our report of it.
  it.each([
    [
      "priority=10,ip,nw_src=10.0.0.0/8,actions=output:vm2,goto_table:1",
      "priority=10,ip,nw_src=10.0.0.0/8 actions=output:2,goto_table:1",
    ],
    ["dl_vlan=5,actions=pop_vlan,NORMAL", "dl_vlan=5 actions=pop_vlan,NORMAL"],
    [
      "in_port=1,dl_src=02:00:00:00:00:00/ff:00:00:00:00:00,actions=push_vlan:0x8100,set_field:4101->vlan_vid,FLOOD",
      "in_port=1,dl_src=02:00:00:00:00:00/ff:00:00:00:00:00 actions=push_vlan:0x8100,set_field:4101->vlan_vid,FLOOD",
    ],
    [
      "table=1,tcp,tp_dst=80,ct_state=+trk+new,reg1=5/7,actions=ct(commit,zone=5,table=4,nat(dst=10.0.0.1-10.0.0.5:80-90,random),exec(set_field:1->ct_mark))",
      "table=1, ct_state=+new+trk,tcp,reg1=0x5/0x7,tp_dst=80 actions=ct(commit,table=4,zone=5,nat(dst=10.0.0.1-10.0.0.5:80-90,random),exec(set_field:0x1->ct_mark))",
    ],
    [
      "arp,arp_op=1,arp_spa=10.0.0.1,arp_sha=02:00:00:00:00:01,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],load:0x2->NXM_OF_ARP_OP[],IN_PORT",
      "arp,arp_spa=10.0.0.1,arp_op=1,arp_sha=02:00:00:00:00:01 actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],load:0x2->NXM_OF_ARP_OP[],IN_PORT",
    ],
    [
      "ipv6,ipv6_dst=fe80::/64,icmp6,icmp_type=135,nd_target=fe80::1,actions=CONTROLLER:128",
      "icmp6,ipv6_dst=fe80::/64,icmp_type=135,nd_target=fe80::1 actions=CONTROLLER:128",
    ],
    [
      "tun_id=7,metadata=5/15,actions=write_actions(group:5,output:1),write_metadata:0x10/0xf0",
      "tun_id=0x7,metadata=0x5/0xf actions=write_actions(group:5,output:1),write_metadata:0x10/0xf0",
    ],
    [
      "ip,tcp,tcp_flags=+syn-ack,actions=ct_clear,resubmit(,9)",
      "tcp,tcp_flags=+syn-ack actions=ct_clear,resubmit(,9)",
    ],
    [
      "ip,actions=ct(zone=NXM_NX_REG3[0..15],nat),set_field:0x5/0xf->reg1",
      "ip actions=ct(zone=NXM_NX_REG3[0..15],nat),load:0x5->NXM_NX_REG1[0..3]",
    ],
    [
      "cookie=0x1234,idle_timeout=5,hard_timeout=9,send_flow_rem,actions=drop",
      "cookie=0x1234, idle_timeout=5, hard_timeout=9, send_flow_rem actions=drop",
    ],
    [
      "mpls,mpls_label=3,actions=dec_mpls_ttl,pop_mpls:0x0800,output:1",
      "mpls,mpls_label=3 actions=dec_mpls_ttl,pop_mpls:0x0800,output:1",
    ],
  ])("adds %s and reads it back", async (written, printed) => {
    if (written.includes("group:5")) await ok("add-group", "group_id=5,type=all,bucket=output:1");
    await ok("add-flow", written);
    expect(await flows()).toEqual([printed]);
  });

  it("modifies and deletes, strictly and not, by cookie and by port", async () => {
    await ok("add-flow", "cookie=1,priority=10,ip,actions=output:1");
    await ok("add-flow", "cookie=2,priority=20,tcp,actions=output:2");
    await ok("add-flow", "cookie=3,priority=30,arp,actions=output:2");
    await ok("mod-flows", "ip,actions=IN_PORT");
    expect((await flows()).filter((line) => line.includes("IN_PORT"))).toHaveLength(2);
    await ok("--strict mod-flows", "priority=10,ip,actions=drop");
    expect((await flows()).filter((line) => line.includes("IN_PORT"))).toHaveLength(1);
    await ok("--strict del-flows", "ip,priority=11");
    expect(await flows()).toHaveLength(3);
    await ok("del-flows", "cookie=1/-1");
    expect(await flows()).toHaveLength(2);
    await ok("del-flows", "out_port=2");
    expect(await flows()).toEqual(["cookie=0x2, priority=20,tcp actions=IN_PORT"]);
    expect(await ok("dump-aggregate")).toContain("flow_count=1");
    await ok("del-flows");
    expect(await flows()).toEqual([]);
  });

  it("adds, changes and deletes groups", async () => {
    await ok(
      "add-group",
      "group_id=5,type=all,bucket=output:1,bucket=set_field:02:00:00:00:00:09->eth_dst,output:2",
    );
    await ok("add-group", "group_id=6,type=indirect,bucket=output:1");
    await ok("mod-group", "group_id=6,type=indirect,bucket=output:2");
    const text = await ok("dump-groups");
    expect(text).toContain(
      "group_id=5,type=all,bucket=actions=output:1,bucket=actions=set_field:02:00:00:00:00:09->eth_dst,output:2",
    );
    expect(text).toContain("group_id=6,type=indirect,bucket=actions=output:2");
    expect(await ok("dump-group-stats")).toContain("group_id=5");
    expect(await ok("dump-group-features")).toContain("Types:  0xf");
    await ok("del-groups", "group_id=5");
    expect(await ok("dump-groups")).not.toContain("group_id=5");
  });

  it("is told the specification's errors", async () => {
    const errorOf = async (command: string, ...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await ofctl(command, ...args);
      return /OFP\w+?C_\w+/.exec(stdout + stderr)?.[0] ?? `${code} ${stdout}${stderr}`;
    };
    await ok("add-group", "group_id=5,type=all,bucket=output:1");
    await ok("add-flow", "priority=5,ip,actions=drop");
    expect(await errorOf("add-group", "group_id=5,type=all,bucket=output:1")).toBe("OFPGMFC_GROUP_EXISTS");
    expect(await errorOf("mod-group", "group_id=9,type=all,bucket=output:1")).toBe("OFPGMFC_UNKNOWN_GROUP");
    expect(await errorOf("add-flow", "check_overlap,priority=5,ip,nw_src=1.1.1.1,actions=drop")).toBe(
      "OFPFMFC_OVERLAP",
    );
    expect(await errorOf("mod-meter", "meter=1,kbps,band=type=drop,rate=5")).toMatch(/^OFPMMFC_/);
    expect(await errorOf("dump-ports", "99")).toBe("OFPBRC_BAD_PORT");
    expect(await errorOf("queue-stats", "99")).toBe("OFPQOFC_BAD_PORT");
  });

  it("prints the switch, its ports, tables and features", async () => {
    const show = await ok("show");
    expect(show).toContain("dpid:0000020000000001");
    expect(show).toContain("n_buffers:0");
    expect(show).toContain("1(vm1): addr:02:00:00:00:00:01");
    expect(show).toContain("LOCAL(br0)");
    expect(await ok("dump-ports")).toContain("3 ports");
    target.inject("vm2", new Uint8Array(60));
    expect(await ok("dump-ports", "vm2")).toContain("rx pkts=1, bytes=60");
    expect(await ok("dump-ports-desc", "1")).toContain("1(vm1)");
    expect(await ok("dump-tables")).toContain("active=0, lookup=1, matched=0");
    expect(await ok("dump-table-features")).toMatch(/arbitrary mask: .*eth_{src,dst} .*ip_{src,dst}/);
    expect(await ok("dump-desc")).toContain("Manufacturer: Plinth");
    expect(await ok("meter-features")).toContain("max_meter:65536");
    expect(await ok("queue-stats")).toContain("0 queues");
    expect(await ok("get-frags")).toBe("normal\n");
    expect(await ok("ping", "100")).toContain("100 bytes from");
    await ok("probe");
  });

  it("judges the very next frame by what it has just changed", async () => {
    const frame = new Uint8Array(60).fill(3);
    for (let round = 0; round < 5; round++) {
      const [to, other] = round % 2 === 0 ? ["vm2", "br0"] : ["br0", "vm2"];
      await ok("add-flow", `in_port=1,actions=output:${to === "br0" ? "LOCAL" : 2}`);
      target.inject("vm1", frame);
      expect(target.takeSent(to as string)).toHaveLength(1);
      expect(target.takeSent(other as string)).toHaveLength(0);
    }
    expect(await ok("dump-flows")).toMatch(/n_packets=5, n_bytes=300, in_port=1|in_port=vm1/);
    await ok("mod-port", "vm2", "no-forward");
    expect(await ok("dump-ports-desc", "vm2")).toContain("NO_FWD");
  });

  it("sends packets out and monitors what comes in", async () => {
    const lines: string[] = [];
    const env = { ...process.env, OVS_RUNDIR: directory };
    const args = ["-O", "OpenFlow13", "monitor", bridge(), "128"];
    monitor = spawn("ovs-ofctl", args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [monitor.stdout, monitor.stderr]) {
      stream?.on("data", (text: Buffer) => lines.push(...text.toString().split("\n")));
    }
    const arp = "ffffffffffff020000000001080600010800060400010200000000010a000001000000000000 0a000002";
    const packet = arp.replace(" ", "");
    // The monitor says nothing when it is ready: packets go out until one comes in.
    await waitFor(
      async () => {
        await ok("packet-out", `in_port=controller,packet=${packet},actions=controller`);
        return lines.some((line) => line.includes("NXT_PACKET_IN2 (OF1.3)"));
      },
      () => `no packet-in: ${lines.join("\n")}`,
      DEADLINE_MS,
    );
    expect(lines.join("\n")).toContain("total_len=42 in_port=CONTROLLER (via action)");
    expect(lines.join("\n")).toContain("arp_tpa=10.0.0.2");
    await ok("packet-out", `in_port=controller,packet=${packet},actions=output:1,output:2`);
    for (const name of ["vm1", "vm2"]) {
      expect(target.takeSent(name).map((frame) => Buffer.from(frame).toString("hex"))).toEqual([packet]);
    }
    await ok("add-flow", "priority=0,actions=controller");
    target.inject("vm1", new Uint8Array(60).fill(1));
    await waitFor(
      () => lines.some((line) => line.includes("(via no_match)")),
      () => lines.join("\n"),
      DEADLINE_MS,
    );
    expect(lines.join("\n")).toContain("total_len=60 in_port=1 (via no_match)");
    target.addPort("vm3", 3);
    await waitFor(
      () => lines.some((line) => line.includes("OFPT_PORT_STATUS")),
      () => lines.join("\n"),
      DEADLINE_MS,
    );
    expect(lines.join("\n")).toContain("ADD: 3(vm3): addr:02:00:00:00:00:03");
    await ok("add-flow", "cookie=7,send_flow_rem,priority=5,ip,actions=drop");
    await ok("del-flows");
    await waitFor(
      () => lines.some((line) => line.includes("OFPT_FLOW_REMOVED")),
      () => lines.join("\n"),
      DEADLINE_MS,
    );
    expect(lines.join("\n")).toMatch(/priority=5,ip reason=delete .*cookie:0x7/s);
  });

  it("drops fragments, puts them together or shows them to the tables as set-frags says", async () => {
    expect(await ok("show")).toContain("IP_REASM");
    expect((await ok("get-frags")).trim()).toBe("normal");
    const whole = udpFrame(
      { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 4000, destinationPort: 80 },
      new Uint8Array(3000),
    );
    const pieces = cut(whole, [1400, 2800]);
    await ok("add-flow", "priority=2,udp,tp_dst=80,actions=output:2");
    const leave: Record<string, number> = {};
    for (const mode of ["drop", "reassemble", "nx-match", "normal"]) {
      await ok("set-frags", mode);
      expect((await ok("get-frags")).trim()).toBe(mode);
      expect(await ok("show")).toContain(`frags=${mode}`);
      for (const piece of pieces) target.inject("vm1", piece);
      leave[mode] = target.takeSent("vm2").length;
    }
    expect(leave).toEqual({ drop: 0, reassemble: 3, "nx-match": 1, normal: 0 });
  });

  it("agrees on 1.3 whatever newer versions it offers", async () => {
    for (const versions of ["OpenFlow13,OpenFlow14", "OpenFlow10,OpenFlow13,OpenFlow15"]) {
      const args = ["-O", versions, "--timeout=10", "dump-flows", bridge()];
      const newer = await run("ovs-ofctl", args, { deadlineMs: DEADLINE_MS });
      expect(`${newer.code} ${newer.stderr}`).toBe("0 ");
    }
  });

  it("replaces a thousand flows and finds nothing left to change", async () => {
    const text = Array.from(
      { length: 1000 },
      (_, i) => `priority=${i + 1},ip,nw_dst=10.0.${i >> 8}.${i & 255},actions=1\n`,
    );
    const args = ["-O", "OpenFlow13", "--timeout=10", "replace-flows", bridge(), "-"];
    const replaced = await run("ovs-ofctl", args, { input: text.join(""), deadlineMs: DEADLINE_MS });
    expect(`${replaced.code} ${replaced.stderr}`).toBe("0 ");
    expect(target.flowCount).toBe(1000);
    const file = join(directory, "flows");
    writeFileSync(file, text.join(""));
    expect(await ok("diff-flows", file)).toBe("");
  });
});
