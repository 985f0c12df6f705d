// The express lane beside the usual way: the same guests, tables and frames, and all that can be seen is the same.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  type Action,
  type Instruction,
  type Match,
  OFPP_ANY,
  OFPP_NORMAL,
} from "../../base/openflow/index.js";
import { MemoryPort, PacketPool, SLOT_SIZE } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { TRUNK_ALL } from "../learn/index.js";
import {
  acceptGuest,
  EVENT_INDEX,
  type FakeGuest,
  IN_ORDER,
  type Layout,
  MERGEABLE,
  MODERN,
  PACKED,
} from "../port/fake-guest.js";
import { VhostUserPort } from "../port/index.js";
import { icmpFrame, plainFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { type Bridge, Datapath } from "./index.js";
import { EXPRESS_MISSES_MAX } from "./limits.js";

const RUNS = process.env["PLINTH_NIGHTLY"] === "1" ? 1500 : 25;
const NIGHTLY_DEADLINE_MS = 3_600_000;
const SLOTS = 1024;
const GUESTS = 3;
/** Beside the guests: a port whose frames never go by the lane. */
const OTHER = 4;

interface Scenario {
  readonly features: readonly bigint[];
  /** Queue pairs of each guest. */
  readonly pairs: readonly number[];
  readonly mtu: number | undefined;
  readonly protects: readonly boolean[];
  readonly rules: readonly { readonly match: Match; readonly instructions: readonly Instruction[] }[];
  readonly rounds: readonly Round[];
}

interface Round {
  readonly sends: readonly {
    readonly from: number;
    /** Of the sender's queue pairs, when there are so many. */
    readonly pair: number;
    readonly frame: Uint8Array;
    readonly layout: Layout;
    readonly times: number;
  }[];
  /** Whether the guests take what they got. */
  readonly receives: boolean;
}

const directory = mkdtempSync("/tmp/pl-");
afterAll(() => rmSync(directory, { recursive: true }));
let worlds = 0;

class World {
  readonly datapath: Datapath;
  readonly bridge: Bridge;
  readonly guests: FakeGuest[] = [];
  readonly other: MemoryPort;
  readonly #window = new GuestWindow(128 << 20);
  readonly #pool: PacketPool;
  readonly #isExpress: boolean;

  constructor(isExpress: boolean) {
    this.#isExpress = isExpress;
    const arenaOffset = this.#window.reserveAnonymous(SLOTS * SLOT_SIZE);
    this.#pool = new PacketPool({ slots: SLOTS, arena: this.#window.bytes, arenaOffset });
    this.datapath = new Datapath({ pool: this.#pool, connectionsMax: 1024, onEvents: () => undefined });
    this.bridge = this.datapath.addBridge("br0");
    this.other = new MemoryPort({ name: "other", pool: this.#pool });
  }

  async start({ features, pairs, mtu, protects, rules }: Scenario): Promise<void> {
    for (let n = 1; n <= GUESTS; n++) {
      const path = join(directory, `${worlds++}`);
      const port = new VhostUserPort({
        name: `p${n}`,
        pool: this.#pool,
        window: this.#window,
        path,
        role: "dial",
      });
      this.#add(port, n, protects[n - 1] === true, n === 2 ? mtu : undefined);
      const options = { features: features[n - 1]!, pairs: pairs[n - 1]! };
      const guest = await acceptGuest(path, () => this.datapath.tick(1000), options);
      await guest.start();
      while (!port.linkUp) this.datapath.tick(1000);
      this.guests.push(guest);
    }
    this.#add(this.other, OTHER, false);
    const rest = { priority: 1, match: [], instructions: [apply(output(OFPP_NORMAL))] };
    for (const rule of [rest, ...rules]) this.bridge.change(flowMod(rule), 1000);
  }

  #add(port: VhostUserPort | MemoryPort, ofport: number, isProtected: boolean, mtu?: number): void {
    const settings = { vlan: TRUNK_ALL, isProtected, ...(mtu === undefined ? {} : { mtu }) };
    const mac = Uint8Array.of(2, 0, 0, 0, 0, ofport);
    const slot = this.bridge.addPort({ port, ofport, mac, mtu: 1500, nowMs: 1000, settings });
    if (!this.#isExpress) slot.expressPause = Number.POSITIVE_INFINITY;
  }

  /** Who was called, and what came out, by port. */
  async run({ sends, receives }: Round): Promise<string[][]> {
    for (const { from, pair, frame, layout, times } of sends) {
      const guest = this.guests[from]!;
      const queue = pair % pairsOf(guest);
      guest.layout = layout;
      for (let i = 0; i < times; i++) await guest.send(frame, () => this.datapath.breathe(1000), queue);
    }
    while (this.datapath.breathe(1000) > 0);
    // Where it was closed for want of use, the lane is open again.
    for (let i = 0; i <= EXPRESS_MISSES_MAX; i++) this.datapath.breathe(1000);
    const calls = this.guests.map(({ frontEnd }) =>
      frontEnd.rings.map(({ index }) => frontEnd.wasCalled(index)).join(),
    );
    const out = receives
      ? this.guests.flatMap((guest) =>
          Array.from({ length: pairsOf(guest) }, (_, pair) =>
            guest
              .receiveWithHeaders(pair)
              .map(({ header, frame }) => `${header.toString("hex")} ${hex(frame)}`),
          ),
        )
      : [];
    return [calls, ...out, this.other.takeSent().map(hex)];
  }

  /** Everything that is counted. */
  counts(): unknown {
    const {
      express: _,
      breaths: _b,
      path_hit: _h,
      path_miss: _m,
      masked_hit: _k,
      front_hit: _f,
      ...counters
    } = this.datapath.counters();
    const ports = this.bridge.slots.map(({ port, tooLong }) => [[...port.stats], tooLong]);
    const flows = this.bridge.tables
      .flowStats(
        { tableId: 0xff, outPort: OFPP_ANY, outGroup: OFPP_ANY, cookie: 0n, cookieMask: 0n, match: [] },
        1000,
      )
      .map(({ packetCount, byteCount }) => [packetCount, byteCount]);
    return { counters, ports, flows, macs: this.bridge.forwarding.macs.stats };
  }

  get express(): number {
    return this.datapath.counters()["express"]!;
  }

  close(): void {
    this.datapath.close();
    for (const guest of this.guests) guest.close();
    this.#window.close();
  }
}

function pairsOf({ frontEnd }: FakeGuest): number {
  return frontEnd.rings.length / 2;
}

function hex(frame: Uint8Array): string {
  return Buffer.from(frame).toString("hex");
}

const address = fc.integer({ min: 1, max: 3 });
const frame = fc
  .record({
    kind: fc.constantFrom(
      "udp",
      "udp",
      "udp",
      "tcp",
      "icmp",
      "plain",
      "tagged",
      "v6",
      "v6",
      "v6-tcp",
      "v6-tagged",
    ),
    from: address,
    to: address,
    port: fc.constantFrom(1000, 1001, 1002),
    size: fc.oneof(fc.nat(90), fc.nat(2100), fc.constantFrom(22, 1458)),
    ttl: fc.constantFrom(64, 64, 64, 255, 2, 1, 0),
  })
  .map(({ kind, from, to, port, size, ttl }) => {
    const made = make(kind, from, to, port, size);
    // Whatever the checksum is then, it is mended as it is.
    if (kind.startsWith("v6")) made[kind === "v6-tagged" ? 25 : 21] = ttl;
    else if (kind !== "plain") made[kind === "tagged" ? 26 : 22] = ttl;
    // Who sends and who is meant is told by the last bytes of the addresses.
    made[5] = to;
    made[11] = from;
    return made;
  });

function make(kind: string, from: number, to: number, port: number, size: number): Uint8Array {
  const ends = { source: `10.0.0.${from}`, destination: `10.0.0.${to}`, sourcePort: port };
  if (kind === "tcp") return tcpFrame(ends, 16, new Uint8Array(size).fill(size));
  if (kind === "icmp") return icmpFrame(ends, 8, 1);
  if (kind === "plain") return plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
  if (kind.startsWith("v6")) {
    const wide = { ...ends, source: `fd00::${from}`, destination: `fd00::${to}` };
    if (kind === "v6-tcp") return tcpFrame(wide, 16 | (port & 2), new Uint8Array(size).fill(size));
    const whole = udpFrame(wide, new Uint8Array(size).fill(size));
    return kind === "v6" ? whole : tagged(whole, 0x8100, 5);
  }
  const whole = udpFrame(
    ends,
    Uint8Array.from({ length: size }, (_, i) => i + size),
  );
  return kind === "tagged" ? tagged(whole, 0x8100, 5) : whole;
}

const match = fc.oneof(
  fc.constant<Match>([]),
  fc.integer({ min: 1, max: 3 }).map((n) => [field("in_port", n)]),
  fc
    .constantFrom(1000, 1001)
    .map((port) => [field("eth_type", 0x0800), field("ip_proto", 17), field("udp_src", port)]),
  fc.constantFrom<Match>(
    [field("eth_type", 0x86dd), field("ip_proto", 17), field("udp_src", 1000)],
    [field("eth_type", 0x86dd), field("ip_proto", 6), field("tcp_flags", 2, 2)],
    [field("eth_type", 0x86dd), field("ipv6_dst", (0xfd00n << 112n) | 2n)],
  ),
);
const to = fc.integer({ min: 1, max: OTHER });
/** Addresses whole and in part, TTLs lowered never to twice, in any order, before the output or also behind it. */
const changes: fc.Arbitrary<Action> = fc.oneof(
  fc.constant<Action>({ type: "dec_nw_ttl" }),
  fc
    .tuple(fc.constantFrom("eth_src", "eth_dst"), fc.uint8Array({ minLength: 6, maxLength: 6 }))
    .map(([name, value]): Action => ({ type: "set_field", field: name, value })),
  fc
    .record({ offset: fc.nat(40), bits: fc.integer({ min: 1, max: 8 }), value: fc.nat(255) })
    .map(({ offset, bits, value }): Action => {
      const destination = { field: "eth_src", offset, bits } as const;
      return { type: "load", destination, value: BigInt(value & (2 ** bits - 1)) };
    }),
);
const rewriting = fc
  .tuple(fc.array(changes, { minLength: 1, maxLength: 4 }), to, fc.constantFrom(0, 0, 0, 1))
  .map(([list, port, behind]) => [
    apply(
      ...list.slice(0, list.length - behind),
      output(port),
      ...list.slice(list.length - behind),
      ...(behind === 0 ? [] : [output(port)]),
    ),
  ]);
const actions = fc.oneof(
  fc.integer({ min: 1, max: GUESTS }).map((port) => [apply(output(port))]),
  fc.integer({ min: 1, max: GUESTS }).map((port) => [apply(output(port))]),
  to.map((port) => [apply(output(port))]),
  fc.constant([apply(output(OFPP_NORMAL))]),
  fc.tuple(to, to).map(([a, b]) => [apply(output(a), output(b))]),
  fc.constant<Instruction[]>([]),
  to.map((port) => [
    apply({ type: "set_field", field: "eth_src", value: Uint8Array.of(2, 0, 0, 0, 0, 9) }, output(port)),
  ]),
  ...Array.from({ length: 5 }, () => rewriting),
);
const kinds = [MODERN, MERGEABLE, MERGEABLE, PACKED, EVENT_INDEX, MERGEABLE | IN_ORDER, PACKED | EVENT_INDEX];
const scenario: fc.Arbitrary<Scenario> = fc.record({
  features: fc.tuple(fc.constantFrom(...kinds), fc.constantFrom(...kinds), fc.constantFrom(...kinds)),
  pairs: fc.array(fc.constantFrom(1, 1, 3), { minLength: GUESTS, maxLength: GUESTS }),
  mtu: fc.constantFrom(undefined, undefined, 1400),
  protects: fc.array(fc.boolean(), { minLength: GUESTS, maxLength: GUESTS }),
  rules: fc
    .array(fc.record({ match, instructions: actions }), { maxLength: 3 })
    .map((rules) => rules.map((rule, i) => ({ ...rule, priority: 100 + i }))),
  rounds: fc.array(
    fc.record({
      sends: fc.array(
        fc.record({
          from: fc.nat(GUESTS - 1),
          pair: fc.nat(2),
          frame,
          layout: fc.constantFrom<Layout>("one", "one", "one", "one", "two", "scattered"),
          times: fc.constantFrom(1, 2, 5, 70),
        }),
        { maxLength: 6 },
      ),
      receives: fc.boolean(),
    }),
    { minLength: 2, maxLength: 6 },
  ),
});

describe("the express lane", () => {
  it(
    "does what the usual way does, frame by frame and count by count",
    async () => {
      let express = 0;
      await fc.assert(
        fc.asyncProperty(scenario, async (one) => {
          const [fast, usual] = [new World(true), new World(false)];
          try {
            await fast.start(one);
            await usual.start(one);
            // What the first round taught is known in the second.
            for (const round of [...one.rounds, ...one.rounds, { sends: [], receives: true }]) {
              expect(await fast.run(round)).toEqual(await usual.run(round));
              expect(fast.counts()).toEqual(usual.counts());
            }
            expect(usual.express).toBe(0);
            express += fast.express;
          } finally {
            fast.close();
            usual.close();
          }
        }),
        { numRuns: RUNS },
      );
      expect(express).toBeGreaterThan(RUNS * 20);
    },
    NIGHTLY_DEADLINE_MS,
  );

  it("is open to guests with several queue pairs, and gives each flow one of them", async () => {
    const world = new World(true);
    try {
      const to2 = { match: [field("in_port", 1)], instructions: [apply(output(2))], priority: 100 };
      const features = [MERGEABLE, MERGEABLE, MERGEABLE];
      const pairs = [3, 3, 1];
      await world.start({ features, pairs, mtu: undefined, protects: [], rules: [to2 as never], rounds: [] });
      const flows = Array.from({ length: 12 }, (_, n) =>
        udpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 2000 + n }),
      );
      const sends = flows.map((frame, n) => ({
        ...{ from: 0, pair: n, frame, layout: "one" as const, times: 20 },
      }));
      await world.run({ sends, receives: true });
      const before = world.express;
      const [, , ...rest] = await world.run({ sends, receives: true });
      expect(world.express - before).toBe(12 * 20);
      // The queues of the second guest, behind three of the first.
      const queues = rest.slice(2, 5);
      expect(queues.map((frames) => frames.length > 0)).toEqual([true, true, true]);
      for (const frame of flows) {
        const counts = queues.map((frames) => frames.filter((one) => one.endsWith(hex(frame))).length);
        expect(counts.filter((count) => count > 0)).toEqual([20]);
      }
    } finally {
      world.close();
    }
  });

  it("routes: other addresses, a lower TTL and its checksum, where the frame lies", async () => {
    const [fast, usual] = [new World(true), new World(false)];
    try {
      const rewrite: readonly Action[] = [
        { type: "dec_nw_ttl" },
        { type: "set_field", field: "eth_src", value: Uint8Array.of(2, 0, 0, 0, 0xff, 0xfe) },
        { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 0, 0, 0, 0, 2) },
      ];
      const route = {
        match: [field("in_port", 1)],
        instructions: [apply(...rewrite, output(2))],
        priority: 100,
      };
      const features = [MERGEABLE, MERGEABLE, MERGEABLE];
      const one: Scenario = {
        ...{ features, pairs: [1, 1, 1], mtu: undefined, protects: [], rounds: [] },
        rules: [route as never],
      };
      await fast.start(one);
      await usual.start(one);
      const frames = [64, 255, 2, 1].flatMap((ttl) =>
        ["udp", "tcp", "icmp", "tagged"].map((kind) => {
          const made = make(kind, 1, 2, 1000, 30);
          made[kind === "tagged" ? 26 : 22] = ttl;
          return made;
        }),
      );
      const sends = frames.map((frame) => ({ from: 0, pair: 0, frame, layout: "one" as const, times: 5 }));
      for (let round = 0; round < 3; round++) {
        const out = await fast.run({ sends, receives: true });
        expect(out).toEqual(await usual.run({ sends, receives: true }));
        expect(fast.counts()).toEqual(usual.counts());
        const routed = out.flat().filter((text) => text.includes(" 02000000000202000000fffe"));
        // All but those whose TTL had been used up.
        expect(routed).toHaveLength(3 * 4 * 5);
      }
      // In the second round and the third.
      expect(fast.express).toBeGreaterThanOrEqual(2 * 3 * 4 * 5);
    } finally {
      fast.close();
      usual.close();
    }
  });
});
