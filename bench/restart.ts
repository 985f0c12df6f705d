// How long nothing is forwarded when the switch is killed under load, and when it is exchanged for another one: flows and
// connections of an earlier life are to be in force before the first frame passes. From SIGKILL, with the next start at
// once, to the first frame out of the other port; of the planned upgrade, the longest time between two frames.
import { writeFileSync } from "node:fs";
import { waitFor } from "../base/time/index.js";
import { DaemonProcess } from "../test/support/daemon-process.js";
import { PlinthSwitch } from "../test/support/plinth-switch.js";
import { PluggedGuest } from "../test/support/plugged-guest.js";
import { runOk } from "../test/support/run.js";
import { SwitchProcess } from "../test/support/switch.js";
import { udpFrame } from "../vswitch/testing/frames.js";
import { type Contender, compare, type Outcome, writeResults } from "./support/compare.js";
import { benchOptions, numberOption } from "./support/options.js";

const values = benchOptions(
  `usage: node dist/bench/restart.js [options]
  --runs N         runs of each, in turn; the median counts (5)
  --flows N        flows that the switch has when it is killed or exchanged (100000)
  --connections N  and tracked connections (100000)
  --upgrade        only the planned upgrade; writes nothing`,
  {
    runs: { type: "string", default: "5" },
    flows: { type: "string", default: "100000" },
    connections: { type: "string", default: "100000" },
    upgrade: { type: "boolean", default: false },
  },
);
const runs = numberOption("--runs", values.runs);
const flows = numberOption("--flows", values.flows);
const connections = numberOption("--connections", values.connections);
const LOAD_DEADLINE_MS = 300_000;
const RESTART_DEADLINE_MS = 120_000;
/** Frames that are under way at once while connections are opened. */
const BURST = 200;
const BRIDGE = "br0";
const SEND_INTERVAL_MS = 0.5;
/** From one connection to the next that a frame is of: they lie far apart in memory. */
const STRIDE = 7919;

const FULL = `${flows} flows, ${connections} connections`;
const BARE = "2 flows, 1 connection";

const contender = (name: string, flowCount: number, connectionCount: number): Contender => ({
  name: `plinth vswitchd, ${name}`,
  measure: () => measure(flowCount, connectionCount),
});
const outcomes: Outcome[] = [];
if (!values.upgrade)
  outcomes.push(
    await compare({
      title: "from SIGKILL under load to the first frame that passes again",
      unit: "ms",
      better: "lower",
      ours: contender(FULL, flows, connections),
      peers: [contender(BARE, 2, 1)],
      runs,
    }),
  );
/** Of one planned upgrade. */
interface Pause {
  /** The longest between two frames at the guest that receives, with what its own process waited for the processor. */
  readonly seenMs: number;
  /** From the last frame that the old process took until the new one had all ports, as the switch logs it. */
  readonly loggedMs: number;
}
const known = new Map<string, Promise<Pause>>();
/** One run tells both figures. */
const upgrade = (
  name: string,
  flowCount: number,
  connectionCount: number,
  figure: keyof Pause,
): Contender => {
  let run = 0;
  return {
    name: `plinth vswitchd --upgrade, ${name}`,
    measure: async () => {
      const key = `${name} ${run++}`;
      const pause = known.get(key) ?? measureUpgrade(flowCount, connectionCount);
      known.set(key, pause);
      return (await pause)[figure];
    },
  };
};
for (const [title, figure] of [
  ["planned upgrade under load: longest time that a guest sees no frame", "seenMs"],
  ["planned upgrade under load: time without forwarding, by the switch's log", "loggedMs"],
] as const)
  outcomes.push(
    await compare({
      title,
      unit: "ms",
      better: "lower",
      ours: upgrade(FULL, flows, connections, figure),
      peers: [upgrade(BARE, 2, 1, figure)],
      runs,
    }),
  );
if (values.upgrade) process.exit(0);
writeResults(
  "Restart",
  `node dist/bench/restart.js --runs ${runs} --flows ${flows} --connections ${connections}`,
  outcomes,
  [
    "Two stream ports, which the switch dials; the sender tries once a millisecond. Node starts anew, the database is read, flows and connections are taken from their files.",
    "The planned upgrade has two vhost-user guests; one has opened all connections, and sends a frame of another of them every half millisecond. That none was lost, and no guest's connection, is part of the measurement. What the log tells begins when the old process has taken its last frame, and ends when the new one has all ports; the guest's figure has the waiting of the guest's own process in it.",
    "Every flow and every connection is counted before and after each restart and upgrade. Open vSwitch has neither after a restart, so there is no peer.",
  ],
);

async function measure(flowCount: number, connectionCount: number): Promise<number> {
  const one = await PlinthSwitch.open();
  try {
    await addBridge(one);
    for (const n of [1, 2]) await one.addPort(BRIDGE, `p${n}`, n, `i${n}`);
    await setFlows(one, flowCount);
    for (let n = 0; n < connectionCount; ) {
      for (const end = Math.min(connectionCount, n + BURST); n < end; n++) one.inject(1, frameOf(n));
      await waitFor(() => one.sentBy(2).length >= n, "a burst to pass", LOAD_DEADLINE_MS, 1);
    }
    const before = await countsOf(one);
    const traffic = setInterval(() => one.inject(1, frameOf(0)), 1);
    try {
      await waitFor(() => one.sentBy(2).length > connectionCount, "traffic", RESTART_DEADLINE_MS);
      await one.end("SIGKILL");
      const killedMs = performance.now();
      const seen = one.sentBy(2).length;
      const started = one.start();
      await waitFor(() => one.sentBy(2).length > seen, "traffic again", RESTART_DEADLINE_MS, 1);
      const gapMs = performance.now() - killedMs;
      await started;
      await assertCounts(one, before);
      return gapMs;
    } finally {
      clearInterval(traffic);
    }
  } finally {
    await one.destroy();
  }
}

/** While the switch is exchanged under traffic. */
async function measureUpgrade(flowCount: number, connectionCount: number): Promise<Pause> {
  const one = new SwitchProcess();
  const guests = [1, 2].map((n) => new PluggedGuest(one.path(`guest${n}`)));
  const [sender, receiver] = guests as [PluggedGuest, PluggedGuest];
  const args = ["vswitchd", "--dir", one.dir, "--upgrade"];
  const next = new DaemonProcess({ args, controlSocket: one.path("vswitchd.ctl") });
  try {
    await one.start();
    await addBridge(one);
    for (const [n, { path }] of guests.entries()) {
      const set = [
        "type=dpdkvhostuserclient",
        `ofport_request=${n + 1}`,
        `options:vhost-server-path=${path}`,
      ];
      await one.vsctl("add-port", BRIDGE, `p${n}`, "--", "set", "Interface", `p${n}`, ...set);
    }
    for (const guest of guests) await guest.plugged();
    await setFlows(one, flowCount);
    let sent = 0;
    let isSending = true;
    const allCame = (): Promise<void> =>
      waitFor(
        () => receiver.received.length >= sent,
        () => `${sent - receiver.received.length} of ${sent} frames are lost`,
        RESTART_DEADLINE_MS,
        1,
      );
    while (sent < connectionCount) {
      for (const end = Math.min(connectionCount, sent + BURST); sent < end; sent++)
        await sender.send(frameOf(sent));
      await allCame();
    }
    const before = await countsOf(one);
    const sending = (async () => {
      for (; isSending; sent++) {
        await sender.send(frameOf((sent * STRIDE) % connectionCount));
        await new Promise((resolve) => setTimeout(resolve, SEND_INTERVAL_MS));
      }
    })();
    const seen = (): number => receiver.received.length;
    const atFirst = seen();
    await waitFor(() => seen() > atFirst + 100, "traffic", LOAD_DEADLINE_MS);
    receiver.pausesMs.length = 0;
    await next.start();
    if (guests.some(({ absences }) => absences.length > 0)) throw new Error("a guest was reconnected");
    const atOnce = seen();
    await waitFor(() => seen() > atOnce + 100, "traffic again", RESTART_DEADLINE_MS);
    isSending = false;
    await sending;
    await allCame();
    await assertCounts(one, before);
    if (values.upgrade) process.stdout.write(`${stagesOf(next.said)}\n`);
    return { seenMs: Math.max(...receiver.pausesMs), loggedMs: loggedGapOf(next.said) };
  } finally {
    for (const guest of guests) await guest.close();
    await next.end("SIGKILL");
    await one.destroy();
  }
}

/** A bridge without flows. Connections of zone 1 stay: none may end while the others are opened. */
async function addBridge(one: SwitchProcess): Promise<void> {
  await one.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "fail_mode=secure");
  await one.vsctl(
    ...["--", "--id=@dp", "create", "Datapath", "datapath_version=0"],
    ...["--", "set", "Open_vSwitch", ".", "datapaths:netdev=@dp"],
  );
  await one.vsctl(
    ...["add-zone-tp", "netdev", "zone=1"],
    ...["udp_first=86400", "udp_single=86400", "udp_multiple=86400"],
  );
}

async function assertCounts(one: SwitchProcess, before: readonly number[]): Promise<void> {
  const after = await countsOf(one);
  if (JSON.stringify(after) !== JSON.stringify(before))
    throw new Error(`${before} flows and connections before, ${after} after`);
}

async function countsOf(one: SwitchProcess): Promise<number[]> {
  const flows = /flow_count=(\d+)/.exec(await one.ofctl("dump-aggregate", BRIDGE))?.[1];
  return [Number(flows), Number((await one.appctl("dpctl/ct-get-nconns")).trim())];
}

/** Where that time went, as the new process has logged it. */
function stagesOf(log: string): string {
  return /"?stagesMs"?[:=]\s*\[[^\]]*\]/.exec(log)?.[0] ?? "the log tells of no stages";
}

/** What the new process says of its taking over, in milliseconds. */
function loggedGapOf(log: string): number {
  const logged = /"?gapMs"?[:=]\s*([\d.]+)/.exec(log)?.[1];
  if (logged === undefined) throw new Error(`the log does not tell of a gap:\n${log}`);
  return Number(logged);
}

async function setFlows(one: SwitchProcess, flowCount: number): Promise<void> {
  const lines = [
    "table=0,ip,in_port=1,actions=ct(commit,zone=1,table=1)",
    "table=1,priority=1,ip,actions=output:2",
  ];
  for (let n = lines.length; n < flowCount; n++) {
    const address = `172.${16 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
    lines.push(`table=1,priority=100,ip,nw_dst=${address},actions=output:${3 + (n % 100)}`);
  }
  const file = one.path("flows.txt");
  writeFileSync(file, lines.join("\n"));
  const management = `unix:${one.path(`${BRIDGE}.mgmt`)}`;
  await runOk("ovs-ofctl", ["-O", "OpenFlow13", "add-flows", management, file], {
    deadlineMs: LOAD_DEADLINE_MS,
  });
}

/** A frame of connection `n`. */
function frameOf(n: number): Uint8Array {
  const source = `10.0.${(n >> 14) & 255}.${(n >> 6) & 255}`;
  return udpFrame({ source, destination: "192.0.2.1", sourcePort: 1024 + (n & 63), destinationPort: 53 });
}
