// A datapath in steady state, for the test that watches what the virtual machine does meanwhile. Packets of every kind
// that has a short way, an access list of ten thousand rules and guests with split and packed rings run through it, in
// the loop that its thread has, until two rounds have passed without a deoptimisation; then so many rounds are watched,
// and after them one that has nothing to do. Each round begins with turns that have nothing to do either. In those that
// are watched the thread is stopped now and then, as far as its clock tells, and frames begin something new, as far as
// the counters tell: what a busy machine and its kernel do is not left to chance. Prints a line of JSON.
// Run with --expose-gc --trace-deopt --redirect-code-traces --redirect-code-traces-to=FILE.
//   node steady-state.js FILE ROUNDS
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PerformanceObserver } from "node:perf_hooks";
import { createMonotonicClock } from "../../base/linux/index.js";
import { type Action, OFPG_ANY, OFPP_ANY, OFPP_NORMAL } from "../../base/openflow/index.js";
import {
  arenaSizeOf,
  PacketPool,
  type Port,
  sharedPoolSize,
  TX_DROPPED,
  TX_PACKETS,
} from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { DatapathTime } from "../datapath/datapath-time.js";
import { type BridgeChange, Datapath } from "../datapath/index.js";
import { SWEEP_INTERVAL_MS, USAGE_WINDOW_MS } from "../datapath/limits.js";
import { PollLoop } from "../datapath/poll-loop.js";
import { PortHost } from "../datapath/port-host.js";
import { TRUNK_ALL } from "../learn/index.js";
import { acceptGuest, type FakeGuest, MERGEABLE, PACKED } from "../port/fake-guest.js";
import { createPortLane, createWorkerLane, RemotePort, SlotBank, VhostUserPort } from "../port/index.js";
import { masqueradedConversation, tcpConversation, udpConversation } from "./conversations.js";
import { FIREWALL, type FlowEntry, MASQUERADE } from "./firewalls.js";
import { tcpFrame, udpFrame } from "./frames.js";
import { GeneratorPort } from "./generator-port.js";
import { apply, field, flowMod, goto, output } from "./rig.js";
import { RingDriver } from "./ring-driver.js";
import { addDevicePorts, addStreamPorts, DEVICE_MAC, type SteadyPortModules } from "./steady-ports.js";

const PACKETS_PER_ROUND = 500_000;
const TURNS_PER_MS = 50;
const QUIET_TURNS = 2_000;
/** The clock loses these times, the first by scheduling, the last as no machine should. */
const STOPS_MS = [0.3, 3, 40, 700, 5000];
/** In so many looks at it; a prime, so that each time another port's turn is meant. */
const STOPS_LOOKS = 1021;
const IDLE_TURNS = 100_000;
const IDLE_WINDOWS = 20;
const WARM_UP_ROUNDS_MAX = 40;
const LINK_TICKS = 1000;
const CONVERSATIONS = 50;
const [file = "", rounds = "4"] = process.argv.slice(2);

const ACL_RULES = 10_000;
const ACL_CONVERSATIONS = 4_000;

// Half of them is for a worker that serves ports.
const slots = 2048;
/** What the kernel hands over may have any length up to 64 KiB. */
const largeSlots = 128;
const window = new GuestWindow(256 << 20);
const arena = { arena: window.bytes, arenaOffset: window.reserveAnonymous(arenaSizeOf(slots, largeSlots)) };
const shared = new SharedArrayBuffer(sharedPoolSize(slots, largeSlots));
const pool = new PacketPool({ slots, largeSlots, shared, isFull: true, ...arena });
const hostPool = new PacketPool({ slots, largeSlots, shared, ...arena });
const lent = { lane: createWorkerLane(slots), share: slots / 2, largeShare: 0 };
const bank = new SlotBank({ pool, ...lent });
const host = new PortHost({ pool: hostPool, ...lent });
const guests: FakeGuest[] = [];
const guestPorts: VhostUserPort[] = [];
const hostPorts: Port[] = [];
const drivers: RingDriver[] = [];
const machineClock = createMonotonicClock();
const clockMs = new Float64Array(1);
/** By look, and in all so far. No condition stands between: a branch that warm-up does not take is compiled anew. */
const stopsMs = new Float64Array(STOPS_LOOKS);
const stoppedMs = new Float64Array(1);
let looks = 0;
/** While it is 1, a frame of each turn that is measured on the bridge `plain` counts as one that began something new. */
const news = new Uint8Array(1);
let plain = { misses: 0 };
const clock = {
  ms: clockMs,
  read(): void {
    machineClock.read();
    looks = (looks + 1) % STOPS_LOOKS;
    stoppedMs[0] = stoppedMs[0]! + stopsMs[looks]!;
    clockMs[0] = machineClock.ms[0]! + stoppedMs[0]!;
    plain.misses += news[0]!;
  },
};
const time = new DatapathTime(clock);
time.stop();
const datapath = new Datapath({ pool, onEvents: () => undefined, connectionsMax: 4096, clock });
const ports: GeneratorPort[] = [];

type Frames = readonly Uint8Array[];

function addBridge(
  name: string,
  flows: readonly FlowEntry[],
  changes: readonly BridgeChange[] = [],
): [GeneratorPort, GeneratorPort] {
  const bridge = datapath.addBridge(name);
  const mac = new Uint8Array(6);
  const [one, two] = [1, 2].map((ofport) => {
    const port = new GeneratorPort(`${name}-${ofport}`, pool, []);
    bridge.addPort({ port, ofport, mac, mtu: 1500, nowMs: time.lastMs });
    ports.push(port);
    return port;
  }) as [GeneratorPort, GeneratorPort];
  for (const change of changes) bridge.change(change, time.lastMs);
  for (const [tableId, match, instructions] of flows)
    bridge.change(flowMod({ tableId, match, instructions, priority: match.length }), time.lastMs);
  return [one, two];
}

function many(make: (i: number) => Uint8Array): Frames {
  return Array.from({ length: CONVERSATIONS }, (_, i) => make(i));
}

/** Two ports that another worker serves. */
function addServed(): void {
  const bridge = datapath.addBridge("served");
  const udp = many((i) => udpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + i }));
  for (const ofport of [1, 2]) {
    const port = new GeneratorPort(`served-${ofport}`, hostPool, ofport === 1 ? udp : []);
    const lane = createPortLane();
    host.add(port, lane);
    const remote = new RemotePort({ name: port.name, lane, bank });
    bridge.addPort({ port: remote, ofport, mac: new Uint8Array(6), mtu: 1500, nowMs: time.lastMs });
    ports.push(port);
  }
  bridge.change(flowMod({ instructions: [apply(output(2))] }), time.lastMs);
}

function breathe(): number {
  host.breathe(time.lastMs);
  return datapath.breathe(time.lastMs);
}

function addStateless(): void {
  const ttl: Action = { type: "dec_nw_ttl" };
  const mac: Action = { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 2, 2, 2, 2, 2) };
  const load: Action = { type: "load", destination: { field: "reg0", offset: 0, bits: 16 }, value: 5n };
  const udp = many((i) => udpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + i }));
  const v6 = many((i) => tcpFrame({ source: "fd00::1", destination: "fd00::2", sourcePort: 1000 + i }, 16));
  const bucket = (actions: readonly Action[]) => ({
    weight: 1,
    watchPort: OFPP_ANY,
    watchGroup: OFPG_ANY,
    actions,
  });
  const group: BridgeChange = {
    type: "group_mod",
    xid: 1,
    command: "add",
    groupType: "select",
    groupId: 1,
    buckets: [bucket([ttl, output(2)]), bucket([mac, output(2)])],
  };
  const meter: BridgeChange = {
    type: "meter_mod",
    xid: 1,
    command: "add",
    flags: 1,
    meterId: 1,
    bands: [{ type: "drop", rate: 1000, burstSize: 0 }],
  };
  addBridge("plain", [[0, [], [apply(output(2))]]])[0].always(udp);
  addBridge("normal", [[0, [], [apply(output(OFPP_NORMAL))]]])[0].always(udp);
  addBridge("tables", [
    [0, [], [apply(load), goto(1)]],
    [1, [field("reg0", 5)], [apply(ttl, mac, output(2))]],
  ])[0].always(udp);
  addBridge("group", [[0, [], [apply({ type: "group", groupId: 1 })]]], [group])[0].always(udp);
  addBridge("meter", [[0, [], [{ type: "meter", meterId: 1 }, apply(output(2))]]], [meter])[0].always(udp);
  addBridge("v6", [[0, [field("eth_type", 0x86dd)], [apply(output(2))]]])[0].always(v6);
}

/** Shaped: more comes than may leave, by two queues of which one borrows, and one marks what leaves. */
function addShaped(): void {
  const bridge = addBridge("shaped", [
    [
      0,
      [field("eth_type", 0x800), field("ip_proto", 6)],
      [apply({ type: "set_queue", queueId: 1 }, output(2))],
    ],
    [0, [], [apply(output(2))]],
  ])[0];
  const queues = [
    { queueId: 0, minRateBps: 12_345_677, maxRateBps: 300_000_001 },
    { queueId: 1, minRateBps: 400_000_001, dscp: 10 },
  ];
  const [, slot] = datapath.bridge("shaped").slots;
  const qos = { type: "linux-htb", maxRateBps: 1_000_000_003, queues };
  datapath.bridge("shaped").setPort(slot!, { vlan: TRUNK_ALL, qos }, time.lastMs);
  const pair = { source: "10.0.0.1", destination: "10.0.0.2" };
  bridge.always(
    many((i) =>
      i % 2 === 0 ? udpFrame({ ...pair, sourcePort: i }) : tcpFrame({ ...pair, sourcePort: i }, 16),
    ),
  );
}

/** Denials of which none is meant for the traffic: many masks, and more conversations than the exact cache begins with. */
function addAccessList(): void {
  const rules = Array.from({ length: ACL_RULES }, (_, n): FlowEntry => {
    const destination = field("ipv4_dst", 0x0b000000 + n * 256, n % 4 === 0 ? 0xffffff80 : 0xffffff00);
    const protocol = n % 2 === 0 ? [] : [field("ip_proto", 6), field("tcp_dst", 1 + (n % 1000))];
    return [0, [field("eth_type", 0x800), destination, ...protocol], []];
  });
  const [one] = addBridge("acl", [...rules, [0, [field("in_port", 1)], [apply(output(2))]]]);
  one.conversations = ACL_CONVERSATIONS;
  one.always([tcpFrame({ source: "10.0.0.0", destination: "10.1.0.1" }, 16)]);
}

/** Two guests on a bridge; the first sends to the second, and both keep their rings full. */
async function addGuests(name: string, features: bigint, dir: string, pairs = 1): Promise<void> {
  const bridge = datapath.addBridge(name);
  for (const ofport of [1, 2]) {
    const path = join(dir, `${name}${ofport}`);
    const port = new VhostUserPort({ name: `${name}-${ofport}`, pool, window, path, role: "dial" });
    bridge.addPort({ port, ofport, mac: new Uint8Array(6), mtu: 1500, nowMs: time.lastMs });
    const guest = await acceptGuest(path, tick, { features, pairs });
    await guest.start();
    while (!port.linkUp) tick();
    for (let pair = 0; pair < pairs; pair++) {
      const driver = new RingDriver(guest, pair);
      if (ofport === 1)
        driver.fill(
          many((i) => udpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + i })),
        );
      drivers.push(driver);
    }
    guests.push(guest);
    guestPorts.push(port);
  }
  bridge.change(flowMod({ match: [field("in_port", 1)], instructions: [apply(output(2))] }), time.lastMs);
}

const udp = many((i) => udpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 + i }));
/** What is to be taken away at the end. */
const removals: (() => void)[] = [];
const steadyPorts: SteadyPortModules = {
  pool,
  window,
  removals,
  // What a generator gives leaves by the port, and what comes in by it another one takes.
  join: (name, open) => {
    const pair = ([1, 2] as const).map((end) => {
      const [one] = addBridge(`${name}-${end}`, [
        [0, [field("in_port", 1)], [apply(output(3))]],
        [0, [field("in_port", 3)], [apply(output(2))]],
      ]);
      const port = open(end);
      addHostPort(`${name}-${end}`, port);
      one.always(udp);
      return port;
    });
    hostPorts.push(...pair);
    // One may be what the other waits for.
    for (let i = 0; i < LINK_TICKS && pair.some((port) => !port.linkUp); i++) tick();
  },
  feed: (port) => {
    const [one] = addBridge(port.name, [[0, [], [apply(output(3))]]]);
    addHostPort(port.name, port);
    while (!port.linkUp) tick();
    one.always(udp);
    // Its buffers are full from the beginning: code that has not met that would be compiled anew when it does.
    while (port.stats[TX_DROPPED] === 0) breathe();
  },
};

function addHostPort(bridge: string, port: Port): void {
  datapath.bridge(bridge).addPort({ port, ofport: 3, mac: DEVICE_MAC, mtu: 1500, nowMs: time.lastMs });
}

function addTracking(): void {
  for (const [name, flows, make] of [
    ["tcp", FIREWALL, tcpConversation],
    ["udp", FIREWALL, udpConversation],
    ["nat", MASQUERADE, masqueradedConversation],
  ] as const) {
    const [one, two] = addBridge(name, flows);
    const conversations = Array.from({ length: CONVERSATIONS }, (_, i) => make(i));
    for (const [step, [port]] of conversations[0]!.opening.entries()) {
      (port === 1 ? one : two).once(conversations.map(({ opening }) => opening[step]![1]));
      while (breathe() > 0);
    }
    one.once([]);
    two.once([]);
    waiting.push(() => {
      one.always(conversations.map(({ there }) => there));
      two.always(conversations.map(({ back }) => back));
    });
  }
}

/** So many frames more come from each generator. */
function send(frames: number): void {
  for (let p = 0; p < ports.length; p++) ports[p]!.left = frames;
}

/** What happens between two rounds; true ends the loop. */
let betweenRounds = (): boolean => true;
/** Stands where the mailbox is: guests and the other worker have their turn, and a round ends. */
const turns = {
  closing: false,
  left: 0,
  end: 0,
  /** Turns in which nobody sends anything. */
  quiet: 0,
  poll(): number {
    if (this.quiet > 0 && --this.quiet === 0) send(Number.POSITIVE_INFINITY);
    if (this.quiet === 0) {
      for (let d = 0; d < drivers.length; d++) drivers[d]!.pump();
    }
    host.breathe(time.lastMs);
    if (--this.left <= 0) {
      this.left = TURNS_PER_MS;
      time.warp(1);
    }
    if (datapath.received >= this.end) {
      this.closing = betweenRounds();
      this.end = datapath.received + PACKETS_PER_ROUND;
      // What is done now and then is done in each round, and not for the first time in one that is watched.
      time.warp(SWEEP_INTERVAL_MS);
      this.quiet = QUIET_TURNS;
      send(0);
    }
    return 0;
  },
  silence: () => {},
  beginSleep: () => true,
  endSleep: () => {},
};
const common = { clock, time, wait: () => {}, hasLeft: () => false };

/**
 * The least that a datapath that has nothing to do, and spins or sleeps, leaves behind in IDLE_TURNS turns: it takes some
 * until its loop is compiled.
 */
function idleBytes(sleeps: boolean): number {
  let least = Number.POSITIVE_INFINITY;
  let left = IDLE_WINDOWS * IDLE_TURNS;
  let usedBytes = Number.NEGATIVE_INFINITY;
  const mailbox = {
    closing: false,
    poll(): number {
      if (left-- % IDLE_TURNS === 0) {
        const { heapUsed } = process.memoryUsage();
        // Less than before: it has been collected meanwhile.
        if (heapUsed >= usedBytes) least = Math.min(least, heapUsed - usedBytes);
        usedBytes = process.memoryUsage().heapUsed;
      }
      this.closing = left < 0;
      return 0;
    },
    silence: () => {},
    beginSleep: () => true,
    endSleep: () => {},
  };
  const datapath = new Datapath({ pool, onEvents: () => undefined, connectionsMax: 4096, clock });
  const loop = new PollLoop({ datapath, mailbox, ...common });
  loop.sleeps = sleeps;
  loop.run();
  return least;
}

function tick(): void {
  time.warp(1);
  datapath.tick(time.lastMs);
}

function deoptimisations(): string[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("[bailout"));
}

const collections: number[] = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) collections.push(entry.startTime);
}).observe({ entryTypes: ["gc"] });
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

const waiting: (() => void)[] = [];
addTracking();
addStateless();
addServed();
addAccessList();
addShaped();
addDevicePorts(steadyPorts);
const dir = mkdtempSync("/tmp/pl-sg-");
try {
  addStreamPorts(dir, steadyPorts);
  await addGuests("split", MERGEABLE, dir);
  await addGuests("packed", PACKED, dir);
  await addGuests("pairs", MERGEABLE, dir, 3);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
for (const start of waiting) start();
plain = datapath.bridge("plain").pipeline.cache;
let warmUp = 0;
let before = -1;
let watched = -1;
let usedBytes = 0;
let startMs = 0;
let endMs = 0;
/** By round. */
const allocatedBytes: number[] = [];
// One call, as in the thread: what is compiled while it runs is not what is compiled when it is called again.
betweenRounds = () => {
  if (watched < 0) {
    // The next window of usage begins, which it seldom does.
    stoppedMs[0] = stoppedMs[0]! + USAGE_WINDOW_MS;
    if (++warmUp % 2 === 1) return false;
    const found = deoptimisations().length;
    if (found !== before && warmUp < WARM_UP_ROUNDS_MAX) {
      before = found;
      return false;
    }
    before = found;
    watched = 0;
    news[0] = 1;
    for (const [n, ms] of STOPS_MS.entries())
      stopsMs[(((n + 1) * STOPS_LOOKS) / (STOPS_MS.length + 1)) | 0] = ms;
    // What warm-up has left is not to be collected on account of those that are watched.
    globalThis.gc?.({ type: "minor", execution: "sync" });
    usedBytes = process.memoryUsage().heapUsed;
    startMs = performance.now();
    return false;
  }
  allocatedBytes.push(process.memoryUsage().heapUsed - usedBytes);
  usedBytes = process.memoryUsage().heapUsed;
  endMs = performance.now();
  return ++watched >= Number(rounds);
};
new PollLoop({ datapath, mailbox: turns, ...common }).run();
const found = deoptimisations().slice(before);
const watchedStopsMs = stoppedMs[0]! - warmUp * USAGE_WINDOW_MS;
stopsMs.fill(0);
await turn();
const idle = [false, true].map(idleBytes);
process.stdout.write(
  `${JSON.stringify({
    warmUp,
    stoppedMs: watchedStopsMs,
    packets: Number(rounds) * PACKETS_PER_ROUND,
    finishedByWorker: host.fast.frames,
    taken: [
      ...ports.map(({ name, taken }) => [name, taken]),
      ...guestPorts.map(({ name, stats }) => [name, stats[TX_PACKETS]]),
      ...hostPorts.map(({ name, stats }) => [name, stats[TX_PACKETS]]),
    ],
    deoptimisations: found,
    allocatedBytes,
    idleBytes: idle,
    collections: collections.filter((at) => at > startMs && at < endMs).length,
  })}\n`,
);
datapath.close();
for (const guest of guests) guest.close();
for (const remove of removals) remove();
window.close();
