// Fairness: what one guest that sends garbage as fast as it can takes from another that sends ordinary traffic, against
// what it takes when its own traffic is ordinary. In one thread, by processor time, so other work on the machine matters
// little. Above 0.8 the garbage costs less than a fifth.
import { createMonotonicClock } from "../base/linux/index.js";
import { type Action, OFPP_CONTROLLER, OFPP_NORMAL } from "../base/openflow/index.js";
import { type Batch, createPortCounters, PacketPool, type Port } from "../base/packet/index.js";
import { type Bridge, Datapath } from "../vswitch/datapath/index.js";
import { udpFrame } from "../vswitch/testing/frames.js";
import { apply, field, flowMod, match, output } from "../vswitch/testing/rig.js";
import { trackAction } from "../vswitch/testing/track-rig.js";
import { compare, type Outcome, renderOutcomes, writeResults } from "./support/compare.js";
import { benchOptions, numberOption } from "./support/options.js";

const values = benchOptions(
  `usage: node dist/bench/fairness.js [options]
  --runs N     runs of each, in turn; the median counts (5)
  --seconds N  processor time of each run (1)
  --only TEXT  only works whose title has TEXT in it; printed, bench/RESULTS.md stays as it is`,
  {
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    only: { type: "string", default: "" },
  },
);
const runs = numberOption("--runs", values.runs);
const seconds = numberOption("--seconds", values.seconds);
const VICTIM = 1;
const ATTACKER = 3;
const ORDINARY_CONVERSATIONS = 64;
const ACL_RULES = 2000;

/** What of each frame is drawn anew: the words from this offset on. */
interface Garbage {
  readonly title: string;
  readonly from: number;
  readonly words: number;
  readonly prepare: (bridge: Bridge) => void;
  /** Afterwards: whether the garbage was what the title says. */
  readonly isNews?: (bridge: Bridge, datapath: Datapath) => boolean;
}

const between = (bridge: Bridge, from: number, to: number, ...actions: readonly Action[]): void =>
  bridge.change(
    flowMod({
      priority: 10,
      match: match(field("in_port", from)),
      instructions: [apply(...actions, output(to))],
    }),
    0,
  );
const both = (bridge: Bridge): void => {
  between(bridge, VICTIM, 2);
  between(bridge, ATTACKER, 4);
};
const KINDS: readonly Garbage[] = [
  {
    title: "random addresses and ports against 2,000 rules",
    from: 26,
    words: 3,
    prepare: (bridge) => {
      for (let n = 0; n < ACL_RULES; n++) {
        const network = field("ipv4_src", 0xc0000000 + n * 256, 0xffffff00);
        const port = n % 2 === 0 ? [] : [field("ip_proto", 17), field("udp_dst", 1 + n)];
        bridge.change(flowMod({ match: match(field("eth_type", 0x800), network, ...port) }), 0);
      }
      both(bridge);
    },
  },
  {
    title: "random source MACs under NORMAL",
    from: 6,
    words: 1,
    prepare: (bridge) => bridge.change(flowMod({ instructions: [apply(output(OFPP_NORMAL))] }), 0),
    isNews: ({ forwarding }) => forwarding.macs.news > 10_000,
  },
  {
    title: "a new connection with each frame",
    // Its ports: the checksum of the IP header stays right.
    from: 34,
    words: 1,
    prepare: (bridge) => {
      for (const port of [VICTIM, ATTACKER]) {
        const ct = trackAction({ zone: port, commit: true });
        const ip = [field("in_port", port), field("eth_type", 0x800)];
        bridge.change(flowMod({ match: match(...ip), instructions: [apply(ct, output(port + 1))] }), 0);
      }
    },
    isNews: (_, { conntrack }) => conntrack.begun > 10_000,
  },
  {
    title: "frames that tracking finds invalid",
    // The checksum of the IP header is wrong then.
    from: 26,
    words: 3,
    prepare: (bridge) => {
      for (const port of [VICTIM, ATTACKER]) {
        const ct = trackAction({ zone: port, commit: true });
        const ip = [field("in_port", port), field("eth_type", 0x800)];
        bridge.change(flowMod({ match: match(...ip), instructions: [apply(ct, output(port + 1))] }), 0);
      }
    },
    isNews: (_, { conntrack }) => conntrack.begun < 1000,
  },
  {
    title: "every frame to the controller",
    from: 26,
    words: 3,
    prepare: (bridge) => {
      between(bridge, VICTIM, 2);
      const up: Action = { type: "output", port: OFPP_CONTROLLER, maxLength: 128 };
      between(bridge, ATTACKER, 4, up);
    },
    isNews: ({ packetIns }) => packetIns > 100,
  },
];

/** Gives frames for ever, with a part of each drawn anew. */
class GarbagePort implements Port {
  readonly stats = createPortCounters();
  readonly linkUp = true;
  readonly wakeFd = -1;
  readonly name: string;
  taken = 0;
  readonly #pool: PacketPool;
  readonly #frame: Uint8Array | undefined;
  readonly #from: number;
  readonly #words: number;
  readonly #isOrdinary: boolean;
  #state = 0x2545f491;

  constructor(
    name: string,
    pool: PacketPool,
    frame?: Uint8Array,
    { from, words }: Pick<Garbage, "from" | "words"> = { from: 34, words: 0 },
  ) {
    this.name = name;
    this.#pool = pool;
    this.#frame = frame;
    this.#from = from;
    this.#words = words;
    this.#isOrdinary = words === 0;
  }

  rx(batch: Batch): number {
    if (this.#frame === undefined) return 0;
    const pool = this.#pool;
    const count = batch.room;
    for (let i = 0; i < count; i++) {
      const packet = pool.allocateFrom(this.#frame);
      const at = pool.offset[packet] as number;
      if (this.#isOrdinary)
        pool.view.setUint16(at + 34, 1024 + (this.#draw() & (ORDINARY_CONVERSATIONS - 1)));
      // Never a group address where a MAC begins.
      else
        for (let w = 0; w < this.#words; w++)
          pool.view.setUint32(at + this.#from + 4 * w, this.#draw() & ~0x01000000);
      batch.push(packet);
    }
    return count;
  }

  #draw(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  tx(batch: Batch): void {
    this.taken += batch.length;
    batch.freeAll(this.#pool);
  }
  tick(): void {}
  beginSleep(): boolean {
    return false;
  }
  endSleep(): void {}
  close(): void {}
}

await runAll();

async function runAll(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const kind of KINDS.filter(({ title }) => title.includes(values.only))) {
    const contender = (name: string, isGarbage: boolean) => ({
      name,
      measure: async () => rateOf(kind, isGarbage),
    });
    outcomes.push(
      await compare({
        title: `the other's frames, beside ${kind.title}`,
        unit: "million frames per second of the processor",
        better: "higher",
        ours: contender("beside garbage", true),
        peers: [contender("beside ordinary traffic", false)],
        runs,
      }),
    );
  }
  if (values.only !== "") process.stdout.write(`${renderOutcomes(outcomes).join("\n")}\n`);
  else
    writeResults("Fairness", `node dist/bench/fairness.js --runs ${runs} --seconds ${seconds}`, outcomes, [
      "Both guests send as fast as they are let; a port whose frames need the tables gets fewer turns while others wait.",
    ]);
}

/** Frames of the victim that arrive, per second of processor time, in millions. */
function rateOf(kind: Garbage, isGarbage: boolean): number {
  const pool = new PacketPool({ slots: 1024 });
  const datapath = new Datapath({
    pool,
    connectionsMax: 16_384,
    clock: createMonotonicClock(),
    onEvents: () => undefined,
  });
  const bridge = datapath.addBridge("br0");
  const ends = (n: number) => ({ source: `10.0.${n}.1`, destination: `10.0.${n}.2`, destinationPort: 53 });
  const frame = (n: number): Uint8Array => {
    const bytes = udpFrame(ends(n), new Uint8Array(18));
    bytes.set([2, 0, 0, 0, 0, n + 1], 0);
    bytes.set([2, 0, 0, 0, 0, n], 6);
    // No UDP checksum: it is right whatever is drawn, and connections do begin.
    bytes.fill(0, 40, 42);
    return bytes;
  };
  const victimSink = new GarbagePort("p2", pool);
  const ports = [
    new GarbagePort("p1", pool, frame(VICTIM)),
    victimSink,
    new GarbagePort("p3", pool, frame(ATTACKER), isGarbage ? kind : undefined),
    new GarbagePort("p4", pool),
  ];
  for (const [i, port] of ports.entries())
    bridge.addPort({ port, ofport: i + 1, mac: Uint8Array.of(2, 0, 0, 0, 1, i), mtu: 1500, nowMs: 0 });
  kind.prepare(bridge);
  for (const port of [2, 4]) bridge.forwarding.macs.addStatic(0x02000000, port, 0, port);
  const run = (forSeconds: number): number => {
    const before = victimSink.taken;
    const cpu = process.cpuUsage();
    for (;;) {
      for (let i = 0; i < 64; i++) datapath.breathe(performance.now());
      const { user, system } = process.cpuUsage(cpu);
      if (user + system > forSeconds * 1e6) return (victimSink.taken - before) / (user + system);
    }
  };
  run(seconds / 2);
  const rate = run(seconds);
  if (isGarbage && kind.isNews?.(bridge, datapath) === false)
    throw new Error(`the garbage is not what it says: ${kind.title}`);
  datapath.close();
  return rate;
}
