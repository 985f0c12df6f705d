// The same packets through our connection tracking and through that of a real Open vSwitch: the same ct_state, mark,
// label and tuple of every packet, the same bytes out, the same connections in the end.
//
// Each packet leaves both switches with what tracking found written into its Ethernet addresses. Where the two are
// meant to differ (docs/differences-from-ovs.md) the generator stays away.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../base/random/index.js";
import { parseFlow } from "../../vswitch/cli/flow-text.js";
import { type Ends, icmpFrame, tcpFrame, udpFrame } from "../../vswitch/testing/frames.js";
import { Rig } from "../../vswitch/testing/rig.js";
import { formatConnection } from "../../vswitch/vswitchd/connection-text.js";
import { tellTotals } from "../support/differential/fuzz.js";
import { RealOvs } from "../support/real-ovs.js";
import { RealOvsFrames } from "../support/real-ovs-frames.js";

// PLINTH_NIGHTLY=1: 10⁵ packets, from a seed of the clock; PLINTH_FUZZ_SEED=N: from that one.
const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const SEED = Number(process.env["PLINTH_FUZZ_SEED"] ?? (NIGHTLY ? Date.now() % 0x3fffffff : 2026));
/** A round begins without connections, and is over before one of them expires. */
const ROUNDS = NIGHTLY ? 20 : 1;
const PACKETS = NIGHTLY ? 1000 : 250;
const NIGHTLY_DEADLINE_MS = 3_600_000;
/** Only a difference takes so long. */
const PATIENCE_MS = 30_000;
const LISTENER = 3;
const [FIN, SYN, RST, ACK] = [1, 2, 4, 16] as const;

/** What tracking found, into the Ethernet addresses; of a packet with a connection also the tuple. */
const FOUND =
  "move:NXM_NX_CT_STATE[0..7]->NXM_OF_ETH_DST[0..7],move:NXM_NX_CT_MARK[0..15]->NXM_OF_ETH_DST[8..23]," +
  "move:NXM_NX_CT_LABEL[0..15]->NXM_OF_ETH_DST[24..39]";
const TUPLE4 =
  "move:NXM_NX_CT_NW_SRC[]->NXM_OF_ETH_SRC[0..31],move:NXM_NX_CT_TP_DST[]->NXM_OF_ETH_SRC[32..47]";
const TUPLE6 =
  "move:NXM_NX_CT_IPV6_SRC[0..31]->NXM_OF_ETH_SRC[0..31],move:NXM_NX_CT_TP_SRC[]->NXM_OF_ETH_SRC[32..47]";

/** Port 1 is inside and commits, port 2 outside; `nat` translates what begins inside. */
function flowsOf({ zone, ipv6, nat }: Scenario): string[] {
  const translate = nat === undefined ? "" : `,nat(${nat})`;
  const mark = "exec(load:0x5->NXM_NX_CT_MARK[0..15],load:0x9->NXM_NX_CT_LABEL[0..15])";
  const [family, tuple] = ipv6 ? ["ipv6", TUPLE6] : ["ip", TUPLE4];
  return [
    `priority=10,${family},actions=ct(table=1,zone=${zone}${nat === undefined ? "" : ",nat"})`,
    `table=1,priority=30,${family},in_port=1,ct_state=+new,actions=${FOUND},${tuple},output:3,ct(commit,zone=${zone}${translate},${mark}),output:3`,
    `table=1,priority=20,${family},ct_state=+new,actions=${FOUND},${tuple},output:3`,
    `table=1,priority=20,${family},ct_state=+est,actions=${FOUND},${tuple},output:3`,
    `table=1,priority=10,actions=${FOUND},output:3`,
  ];
}

let ovs: RealOvs;
let frames: RealOvsFrames;

beforeAll(async () => {
  ovs = await RealOvs.start();
  await ovs.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail-mode=secure");
  for (let n = 1; n < LISTENER; n++) await ovs.addPort("br0", `p${n}`, n, `p${n}`);
  frames = await RealOvsFrames.open(ovs, "br0", `p${LISTENER}`, LISTENER);
});
afterAll(async () => {
  await frames?.close();
  await ovs?.stop();
});

/** Both switches with the same flows and no connections. */
class Pair {
  readonly rig = new Rig(LISTENER);

  static async open(flows: readonly string[]): Promise<Pair> {
    const pair = new Pair();
    await ovs.ofctl("del-flows", "br0");
    for (const text of flows) {
      await ovs.ofctl("add-flow", "br0", text);
      const { tableId = 0, priority = 32_768, match, instructions = [] } = parseFlow(text);
      pair.rig.flow({ tableId, priority, match, instructions });
    }
    await frames.appctl("dpctl/flush-conntrack");
    // Its caches may still have what the tables were a moment ago.
    await frames.appctl("revalidator/purge");
    // The grace after a start is over.
    pair.rig.send(1, udpFrame({ source: "192.0.2.99", destination: "192.0.2.98" }));
    pair.rig.send(1, udpFrame({ source: "fd00::97", destination: "fd00::98" }));
    pair.rig.datapath.conntrack.flush({}, pair.rig.nowMs);
    pair.rig.nowMs += 1_000_000;
    return pair;
  }

  /** Sends it through both; what came out of ours, and an account of it where theirs differs. */
  async send(port: number, frame: Uint8Array): Promise<{ ours: Uint8Array[]; difference?: string }> {
    const ours = this.rig.send(port, frame).get(LISTENER) ?? [];
    const theirs = await frames.send(`p${port}`, frame, ours.length, PATIENCE_MS);
    const [a, b] = [ours, theirs].map((list) => list.map((one) => Buffer.from(one).toString("hex")));
    if (JSON.stringify(a) === JSON.stringify(b)) return { ours };
    const difference = `port ${port} ${Buffer.from(frame).toString("hex")}\n  ours   ${a}\n  theirs ${b}`;
    return { ours, difference };
  }

  /** Connections as both print them, sorted. */
  async connections(): Promise<{ ours: string[]; theirs: string[] }> {
    const ours = this.rig.datapath.conntrack
      .connections(this.rig.nowMs)
      .map((one) => formatConnection(one, true, false));
    const theirs = (await frames.appctl("dpctl/dump-conntrack", "-m"))
      .split("\n")
      .filter((line) => line !== "");
    return { ours: ours.sort(), theirs: theirs.sort() };
  }
}

/** A TCP conversation as both its ends see it. */
interface Conversation {
  readonly ends: Required<Ends>;
  /** Next sequence numbers: of the opener and of the other end. */
  next: [number, number];
  /** Which end has sent its SYN. */
  begun: [boolean, boolean];
  /** Whether an end has said that it is over, and whether a SYN came since. */
  ended: boolean;
  reopened: boolean;
}

const inverse = (ends: Required<Ends>): Required<Ends> => ({
  source: ends.destination,
  destination: ends.source,
  sourcePort: ends.destinationPort,
  destinationPort: ends.sourcePort,
});

/** Packets that real hosts send, and some that they do not. */
class Traffic {
  readonly #random: Random;
  readonly #scenario: Scenario;
  readonly #ipv6: boolean;
  #opened = 0;
  readonly #conversations: Conversation[] = [];
  readonly #quotable: { readonly port: number; readonly frame: Uint8Array }[] = [];

  constructor(random: Random, scenario: Scenario) {
    this.#random = random;
    this.#scenario = scenario;
    this.#ipv6 = scenario.ipv6;
    for (let n = 0; n < 6; n++) this.#conversations.push(this.#conversation());
  }

  /** What the outside sees of an inside end. */
  #seen(ends: Required<Ends>): Required<Ends> {
    return this.#scenario.seen?.(ends) ?? ends;
  }

  /** Ends whose ports are their own: what happens when two clients want one port is tested elsewhere. */
  #ends(protocol: number, n: number): Required<Ends> {
    const host = 1 + (n % 3);
    return {
      source: this.#ipv6 ? `fd00::${host}` : `10.0.0.${host}`,
      destination: this.#ipv6 ? "fd00::99" : "10.0.0.99",
      sourcePort: 20_000 + protocol * 100 + n,
      destinationPort: 80,
    };
  }

  #conversation(): Conversation {
    const next: [number, number] = [this.#random.uint32(), this.#random.uint32()];
    return {
      ends: this.#ends(6, this.#opened++),
      next,
      begun: [false, false],
      ended: false,
      reopened: false,
    };
  }

  next(): { port: number; frame: Uint8Array } {
    const made = this.#make();
    // A lost SYN would make a pick-up in the middle, which goes on differently here.
    const l4 = this.#ipv6 ? 54 : 34;
    const protocol = made.frame[this.#ipv6 ? 20 : 23];
    const isSyn = protocol === 6 && ((made.frame[l4 + 13] as number) & SYN) !== 0;
    if (!isSyn && this.#random.chance(0.05)) {
      const broken = made.frame.slice();
      const at = broken.byteLength - 1 - this.#random.below(8);
      broken[at] = (broken[at] as number) ^ 0x55;
      return { port: made.port, frame: broken };
    }
    return made;
  }

  /** What an error may speak of later. */
  remember(port: number, frame: Uint8Array): void {
    this.#quotable.push({ port, frame });
  }

  #make(): { port: number; frame: Uint8Array } {
    const random = this.#random;
    const choice = random.below(10);
    if (choice < 6) return this.#tcp(random.pick(this.#conversations));
    const back = random.chance(0.4);
    const port = back ? 2 : 1;
    const inside = this.#ends(17, random.below(6));
    const ends = back ? inverse(this.#seen(inside)) : inside;
    if (choice < 8) return { port, frame: udpFrame(ends, random.bytes(random.below(40))) };
    // What ICMPv6 errors quote, Open vSwitch 3.1 spoils when it translates it.
    const quotes = this.#quotable.length > 0 && !(this.#ipv6 && this.#scenario.nat !== undefined);
    if (choice < 9 || !quotes) {
      const types = this.#ipv6 ? [128, 129] : [8, 0];
      const frame = icmpFrame(ends, types[back ? 1 : 0] as number, inside.sourcePort * 0x10000 + 1);
      return { port, frame };
    }
    return this.#error();
  }

  #error(): { port: number; frame: Uint8Array } {
    const quoted = this.#random.pick(this.#quotable);
    const packet = quoted.frame.subarray(14);
    const address = (bytes: Uint8Array): string =>
      this.#ipv6
        ? Array.from({ length: 8 }, (_, i) =>
            (((bytes[2 * i] as number) << 8) | (bytes[2 * i + 1] as number)).toString(16),
          ).join(":")
        : [...bytes].join(".");
    const sender = address(this.#ipv6 ? packet.subarray(8, 24) : packet.subarray(12, 16));
    const router = this.#ipv6 ? "fd00::77" : "10.0.0.77";
    const type = this.#ipv6 ? 1 : 3;
    const frame = icmpFrame(
      { source: router, destination: sender },
      type,
      0,
      packet.slice(0, 48 + (this.#ipv6 ? 20 : 0)),
    );
    return { port: quoted.port === 1 ? 2 : 1, frame };
  }

  #tcp(one: Conversation): { port: number; frame: Uint8Array } {
    const random = this.#random;
    const from = !one.begun[0] || random.chance(0.5) ? 0 : 1;
    let flags: number = ACK;
    if (!one.begun[from] || random.chance(0.2)) flags = from === 0 ? SYN : SYN | ACK;
    else if (random.chance(0.08)) flags = FIN | ACK;
    // Who resets before anybody has answered makes Open vSwitch judge the late answer by where its number lies.
    else if (random.chance(0.04) && one.begun[1 - from]) flags = RST | ACK;
    one.begun[from] = true;
    if ((flags & (FIN | RST)) !== 0) one.ended = true;
    if ((flags & SYN) !== 0 && one.ended) one.reopened = true;
    // Whoever opens anew waits for an answer.
    if (flags === SYN) one.begun[1] = false;
    // A translated connection whose ports are used again keeps them here; Open vSwitch gives it others.
    if (this.#scenario.nat !== undefined && (flags & (FIN | RST)) !== 0)
      this.#conversations[this.#conversations.indexOf(one)] = this.#conversation();
    // Of a connection that has begun anew Open vSwitch sometimes takes whatever lies ahead.
    const isStray = random.chance(0.1) && !one.reopened;
    const stray = isStray ? random.pick([100_000, -100_000, 1_000_000]) : 0;
    // A SYN is sent again with its first number.
    const isSyn = (flags & SYN) !== 0;
    const sequence = ((one.next[from] as number) + (isSyn ? 0 : 1 + stray)) >>> 0;
    // Who has not been answered has sent nothing yet behind its SYN: the next SYN is to have the same number.
    // Not one octet alone: were it lost, Open vSwitch would count to its reset from the SYN and not from behind it.
    const size = flags === ACK && random.chance(0.5) && one.begun[1] ? 2 + random.below(98) : 0;
    const acknowledgment = (flags & ACK) !== 0 ? ((one.next[1 - from] as number) + 1) >>> 0 : 0;
    const options = isSyn ? Uint8Array.of(1, 3, 3, from === 0 ? 7 : 4) : new Uint8Array(0);
    const inside = one.ends;
    const ends = from === 0 ? inside : inverse(this.#seen(inside));
    const frame = tcpFrame(ends, flags, new Uint8Array(size), {
      sequence,
      acknowledgment,
      options,
      window: 500,
    });
    if (!isSyn && stray === 0) one.next[from] = ((one.next[from] as number) + size) >>> 0;
    return { port: from + 1, frame };
  }
}

interface Scenario {
  readonly name: string;
  readonly zone: number;
  readonly ipv6: boolean;
  readonly nat?: string;
  readonly seen?: (ends: Required<Ends>) => Required<Ends>;
}

const SCENARIOS: readonly Scenario[] = [
  { name: "IPv4 in zone 0", zone: 0, ipv6: false },
  { name: "IPv6 in a zone", zone: 7, ipv6: true },
  {
    name: "IPv4 with translated sources",
    zone: 3,
    ipv6: false,
    nat: "src=192.0.2.1",
    seen: (ends) => ({ ...ends, source: "192.0.2.1" }),
  },
  {
    name: "IPv6 with translated sources",
    zone: 3,
    ipv6: true,
    nat: "src=fd01::1",
    seen: (ends) => ({ ...ends, source: "fd01::1" }),
  },
  {
    name: "IPv4 with translated destinations and ports",
    zone: 4,
    ipv6: false,
    nat: "dst=192.0.2.50:8080",
    seen: (ends) => ({ ...ends, destination: "192.0.2.50", destinationPort: 8080 }),
  },
];

/** Resolves with how many frames have left. */
async function expectAgreement(scenario: Scenario, seed: number): Promise<number> {
  const pair = await Pair.open(flowsOf(scenario));
  const traffic = new Traffic(new Random(seed), scenario);
  let framesOut = 0;
  for (let n = 0; n < PACKETS; n++) {
    const { port, frame } = traffic.next();
    const { ours, difference } = await pair.send(port, frame);
    if (difference !== undefined) expect.fail(`seed ${seed}, packet ${n}: ${difference}`);
    framesOut += ours.length;
    const last = ours.at(-1);
    if (last !== undefined && ((last[5] as number) & 0x10) === 0) traffic.remember(port, last);
  }
  const { ours, theirs } = await pair.connections();
  expect(ours, `seed ${seed}`).toEqual(theirs);
  expect(ours.length).toBeGreaterThan(3);
  return framesOut;
}

describe("connection tracking beside a real ovs-vswitchd", () => {
  it.each(SCENARIOS)(
    "agrees on every packet: $name",
    async (scenario) => {
      let framesOut = 0;
      for (let round = 0; round < ROUNDS; round++)
        framesOut += await expectAgreement(scenario, SEED + scenario.zone + 100 * round);
      const done = { frames: ROUNDS * PACKETS, cases: ROUNDS, framesOut };
      tellTotals({ name: `connection tracking, ${scenario.name}`, seed: SEED, ...done });
    },
    NIGHTLY_DEADLINE_MS,
  );
});
