// `ovs-ofctl monitor SWITCH watch:` against our switch, in OpenFlow 1.0 and 1.3: what there is, what comes, changes and
// goes, and what the monitoring connection does itself.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { encodeMessage, OFPP_ANY } from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";
import { ControllerPeer } from "../../vswitch/testing/controller-peer.js";
import { field, flowMod } from "../../vswitch/testing/rig.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { endChild, requirePrograms, runOk } from "../support/run.js";

const DEADLINE_MS = 60_000;

let directory: string;
let target: OpenFlowSwitch;
let monitor: ChildProcess | undefined;
let lines: string[];

beforeEach(async () => {
  requirePrograms("ovs-ofctl", "ovs-appctl");
  directory = mkdtempSync("/tmp/fmon-");
  target = await OpenFlowSwitch.open(directory);
  lines = [];
});

afterEach(async () => {
  if (monitor !== undefined) await endChild(monitor);
  monitor = undefined;
  await target.close();
  rmSync(directory, { recursive: true, force: true });
});

const bridge = (): string => `unix:${join(directory, "br0.mgmt")}`;

function ofctl(...args: string[]): Promise<string> {
  const [verb, ...rest] = args;
  return runOk("ovs-ofctl", ["-O", "OpenFlow13", "--timeout=10", verb as string, bridge(), ...rest]);
}

/** Starts the monitor and resolves when it printed its first answer. */
async function watch(version: string, spec: string): Promise<void> {
  const args = ["-O", version, "monitor", bridge(), `watch:${spec}`, `--unixctl=${directory}/ctl`];
  monitor = spawn("ovs-ofctl", args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, OVS_RUNDIR: directory },
  });
  for (const stream of [monitor.stdout, monitor.stderr])
    stream?.on("data", (bytes: Buffer) => lines.push(...bytes.toString().split("\n")));
  await printed(/FLOW_MONITOR reply/);
}

async function printed(pattern: RegExp): Promise<void> {
  await waitFor(
    () => pattern.test(lines.join("\n")),
    () => `${pattern} is not in:\n${lines.join("\n")}`,
    DEADLINE_MS,
  );
}

const events = (): string[] => lines.filter((line) => line.includes("event=")).map((line) => line.trim());

describe.each(["OpenFlow10", "OpenFlow13"])("ovs-ofctl monitor watch: in %s", (version) => {
  it("prints the flows there are and every change", async () => {
    await ofctl("add-flow", "table=1,priority=5,ip,actions=output:1");
    await watch(version, "");
    await ofctl("add-flow", "cookie=7,idle_timeout=9,priority=3,in_port=2,actions=output:1");
    await ofctl("mod-flows", "in_port=2,actions=output:2");
    await ofctl("add-flow", "priority=3,in_port=2,actions=drop");
    await ofctl("del-flows", "table=1");
    await ofctl("--strict", "del-flows", "priority=9,in_port=2").catch(() => undefined);
    await printed(/event=DELETED/);
    // The client prints no priorities.
    expect(events()).toEqual([
      "event=ADDED table=1 cookie=0 ip actions=output:1",
      "event=ADDED table=0 idle_timeout=9 cookie=0x7 in_port=2 actions=output:1",
      "event=MODIFIED table=0 idle_timeout=9 cookie=0x7 in_port=2 actions=output:2",
      "event=ADDED table=0 cookie=0 in_port=2",
      "event=DELETED reason=delete table=1 cookie=0 ip actions=output:1",
    ]);
  });

  it("prints what was asked for and no more", async () => {
    await ofctl("add-flow", "table=1,priority=5,ip,actions=output:1");
    await watch(version, "!initial,!delete,!actions,table=2,out_port=2,ip");
    for (const flow of ["table=1,ip,actions=2", "table=2,arp,actions=2", "table=2,ip,actions=1"])
      await ofctl("add-flow", flow);
    await ofctl("add-flow", "table=2,tcp,actions=2");
    await ofctl("mod-flows", "table=2,tcp,actions=1");
    await ofctl("del-flows");
    await ofctl("add-flow", "table=2,udp,actions=2");
    await printed(/event=ADDED table=2 cookie=0 udp/);
    expect(events()).toEqual([
      "event=ADDED table=2 cookie=0 tcp",
      "event=MODIFIED table=2 cookie=0 tcp",
      "event=ADDED table=2 cookie=0 udp",
    ]);
  });

  it("abbreviates what the monitoring connection does itself", async () => {
    await watch(version, "!own");
    const dialect = version === "OpenFlow10" ? ({ version: 1, flowModTableId: false } as const) : undefined;
    const mod = { ...flowMod({ match: [field("in_port", 1)] }), xid: 0x77 };
    const hex = Buffer.from(encodeMessage(mod, dialect)).toString("hex");
    await runOk("ovs-appctl", ["-t", join(directory, "ctl"), "ofctl/send", hex]);
    await printed(/event=ABBREV/);
    expect(events()).toEqual(["event=ABBREV xid=0x77"]);
  });
});

it("pauses for a controller that does not read, and tells on resuming what it missed", async () => {
  const peer = new ControllerPeer(connect(join(directory, "br0.mgmt")));
  await peer.established();
  peer.send({
    type: "multipart_request",
    flags: 0,
    body: {
      kind: "flow_monitor",
      monitors: [
        {
          monitorId: 1,
          flags: { initial: true, add: true, delete: true, modify: true, actions: true, own: true },
          outPort: OFPP_ANY,
          tableId: 255,
          match: [],
        },
      ],
    },
  });
  await peer.next("multipart_reply");
  peer.socket.pause();
  const other = new ControllerPeer(connect(join(directory, "br0.mgmt")));
  await other.established();
  const flows = 20_000;
  for (let i = 0; i < flows; i++)
    other.send(flowMod({ cookie: BigInt(i), match: [field("eth_src", 0x020000000000 + i)] }));
  const last = { command: "delete", cookie: BigInt(flows - 1), cookieMask: 0xffffffffffffffffn } as const;
  other.send(flowMod(last));
  other.send({ type: "barrier_request" });
  await waitFor(() => other.messages.some(({ type }) => type === "barrier_reply"), "no barrier", DEADLINE_MS);
  peer.socket.resume();
  const told = (): string[] =>
    peer.messages.flatMap((message) =>
      message.type === "multipart_reply" && message.body.kind === "flow_monitor"
        ? message.body.updates.map(({ event }) => event)
        : [message.type],
    );
  await waitFor(
    () => told().includes("flow_monitor_resumed"),
    () => `${told().length} updates, no resumption`,
    DEADLINE_MS,
  );
  expect(told().indexOf("flow_monitor_paused")).toBeGreaterThan(0);
  expect(told().indexOf("flow_monitor_resumed")).toBeGreaterThan(told().indexOf("flow_monitor_paused"));
  // Whatever was told when: together it is the table as it is now.
  const table = new Set<bigint>();
  for (const message of peer.messages) {
    if (message.type !== "multipart_reply" || message.body.kind !== "flow_monitor") continue;
    for (const update of message.body.updates) {
      if (update.event === "abbreviated") continue;
      if (update.event === "deleted") table.delete(update.cookie);
      else table.add(update.cookie);
    }
  }
  expect(table.size).toBe(flows - 1);
  expect(table.has(BigInt(flows - 1))).toBe(false);
  peer.socket.destroy();
  other.socket.destroy();
});
