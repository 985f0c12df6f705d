// Random packets through tracking and through the reference model: what is told of each (ct_state, by both ct()s), what
// each looks like afterwards, to the byte, and what is remembered for how long.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CtAction } from "../../base/openflow/index.js";
import { ipv4Bytes, parseIpv4Address, parseIpv6Address } from "../../base/wire/index.js";
import { NAT_EXISTING } from "../testing/conversation.js";
import { Wire } from "../testing/model-wire.js";
import {
  FAR,
  IS_ESTABLISHED,
  IS_INVALID,
  IS_NEW,
  IS_REPLY,
  inverse,
  type ModelNat,
  type ModelPacket,
  type ModelStep,
  ReferenceTracker,
  sameTuple,
  type TcpHeader,
  type Tuple,
} from "../testing/reference-tracker.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import { trackAction } from "../testing/track-rig.js";

/** A datapath per example takes its time on a busy machine. */
const DEADLINE_MS = 240_000;
const ROUTER = 77;
/** Where both ends begin to count: where signed numbers end, and far from 0, which stands for what nobody has said. */
const FIRST = 2 ** 31 - 20;

// --- The switch and its paths

/** What happens to packets that come in by a port: one ct() after another; a step that is for new packets only ends others. */
interface Path {
  readonly steps: readonly (ModelStep & { readonly newOnly?: boolean })[];
  readonly out: number;
}

interface Scenario {
  readonly name: string;
  readonly paths: Readonly<Record<number, Path>>;
  /** Destinations of the inside, and who the outside talks to. */
  readonly servers: readonly string[];
}

const plainPaths = (nat?: ModelNat, zones: readonly number[] = [1, 2]): Record<number, Path> => {
  const paths: Record<number, Path> = {};
  zones.forEach((zone, n) => {
    const existing = nat === undefined ? {} : ({ nat: "existing" } as const);
    const look = { zone, commit: false, ...existing };
    const commit = { zone, commit: true, newOnly: true, ...(nat === undefined ? {} : { nat }) };
    paths[2 * n + 1] = { steps: [look, commit], out: 2 * n + 2 };
    paths[2 * n + 2] = { steps: [look], out: 2 * n + 1 };
  });
  return paths;
};

const SCENARIOS: readonly Scenario[] = [
  { name: "two zones", paths: plainPaths(), servers: ["h8", "h9"] },
  {
    name: "sources behind one address",
    paths: plainPaths({ kind: "source", addresses: ["o1"] }),
    servers: ["h8", "h9"],
  },
  {
    name: "sources behind a few addresses and ports",
    paths: plainPaths({ kind: "source", addresses: ["o1", "o2"], ports: [4000, 4001] }),
    servers: ["h8"],
  },
  {
    name: "a destination and port that is another's",
    paths: plainPaths({ kind: "destination", addresses: ["h8"], ports: [8080, 8080] }),
    servers: ["o1", "o2"],
  },
  {
    name: "a client and its server behind one address",
    paths: {
      1: {
        steps: [
          { zone: 1, commit: true, nat: { kind: "destination", addresses: ["h8"] } },
          { zone: 2, commit: true, nat: { kind: "source", addresses: ["o1"] } },
        ],
        out: 2,
      },
      2: {
        steps: [
          { zone: 2, commit: false, nat: "existing" },
          { zone: 1, commit: false, nat: "existing" },
        ],
        out: 1,
      },
    },
    servers: ["o1"],
  },
];

const TABLES_PER_PORT = 8;
const TELL = { type: "controller", maxLength: 0xffff, controllerId: 0, reason: "action" } as const;

class ModelRig extends Rig {
  readonly wire: Wire;

  constructor({ paths }: Scenario, ipv6: boolean) {
    super(4);
    this.wire = new Wire(ipv6);
    const ip = field("eth_type", ipv6 ? 0x86dd : 0x0800);
    for (const [port, { steps, out }] of Object.entries(paths)) {
      const inPort = field("in_port", Number(port));
      const table = (n: number): number => (n === 0 ? 0 : Number(port) * TABLES_PER_PORT + n);
      steps.forEach((step, n) => {
        const { zone, commit, nat } = step;
        const track = trackAction({ zone, commit, tableId: table(n + 1), actions: this.#nat(nat) });
        const tell = n === 0 ? [] : [TELL];
        const entries = step.newOnly === true ? [field("ct_state", IS_NEW, IS_NEW)] : [];
        this.flow({
          tableId: table(n),
          match: match(ip, inPort, ...entries),
          instructions: [apply(...tell, track)],
        });
      });
      // Where new packets go no further they are only told of; all others leave.
      const isLast = steps.at(-1)?.commit === true;
      for (let n = 1; n <= steps.length; n++) {
        const unopened = field("ct_state", IS_NEW, IS_NEW | IS_REPLY | IS_ESTABLISHED);
        if (!isLast && n === steps.length)
          this.flow({
            tableId: table(n),
            priority: 20,
            match: match(ip, unopened),
            instructions: [apply(TELL)],
          });
        this.flow({ tableId: table(n), priority: 10, instructions: [apply(TELL, output(out))] });
      }
    }
    // The grace after a start is over.
    this.send(1, this.wire.frame({ tuple: { ...NOBODY } }));
    this.datapath.conntrack.flush({}, this.nowMs);
    this.nowMs += 1_000_000;
    this.events = [];
  }

  #nat(nat: ModelStep["nat"]): CtAction["actions"] {
    if (nat === undefined) return [];
    if (nat === "existing") return NAT_EXISTING;
    const [addressMin, addressMax] = [nat.addresses[0], nat.addresses.at(-1)].map((name) => {
      const text = this.wire.address(name as string);
      return text.includes(":") ? parseIpv6Address(text) : ipv4Bytes(parseIpv4Address(text));
    }) as [Uint8Array, Uint8Array];
    const { kind: direction, ports } = nat;
    return [
      {
        type: "nat",
        direction,
        persistent: false,
        selection: "auto",
        addressMin,
        ...(nat.addresses.length > 1 ? { addressMax } : {}),
        ...(ports === undefined ? {} : { portMin: ports[0], portMax: ports[1] }),
      },
    ];
  }

  /** What each ct() has found, and the frame that came out. */
  through(port: number, frame: Uint8Array): { states: number[]; out: Uint8Array | undefined; by: number } {
    this.events = [];
    const sent = this.send(port, frame);
    const states = this.events.flatMap((event) => {
      if (event.type !== "packet_in") return [];
      const bytes = event.match.find((one) => one.field === "ct_state")?.value ?? new Uint8Array(4);
      return [new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)];
    });
    const [[by, frames] = [0, []]] = [...sent];
    expect(sent.size).toBeLessThanOrEqual(1);
    expect(frames.length).toBeLessThanOrEqual(1);
    return { states, out: frames[0], by };
  }
}

const NOBODY: Tuple = {
  protocol: "udp",
  source: "h66",
  destination: "h67",
  sourcePort: 1,
  destinationPort: 2,
};

// --- Both beside each other

interface Seen {
  readonly packet: ModelPacket;
  readonly port: number;
}

class Beside {
  readonly model = new ReferenceTracker();
  readonly rig: ModelRig;
  readonly scenario: Scenario;
  /** What has come out, and by which port: it can be answered, and errors can speak of it. */
  readonly out: Seen[] = [];
  checked = { states: 0, translated: 0, errors: 0 };
  /** For who has to find out what went wrong. */
  readonly #story: string[] = [];

  constructor(scenario: Scenario, ipv6: boolean) {
    this.scenario = scenario;
    this.rig = new ModelRig(scenario, ipv6);
  }

  send(port: number, packet: ModelPacket): void {
    const { steps, out: outPort } = this.scenario.paths[port] as Path;
    const { states, out, by } = this.rig.through(port, this.rig.wire.frame(packet));
    const isError = packet.quoted !== undefined;
    // What it is in the end says what every step may have chosen: each translates one end only.
    const last = out === undefined || isError ? undefined : this.rig.wire.tuple(out);
    let current: ModelPacket | undefined = packet;
    let before: { state: number; zone: number } | undefined;
    const expected: number[] = [];
    let opened = true;
    for (const step of steps) {
      if (step.newOnly === true && ((before?.state ?? 0) & IS_NEW) === 0) break;
      const chosen = last === undefined ? undefined : choiceOf(step, current, last);
      const verdict = this.model.ct(current, step, before, chosen, this.rig.nowMs);
      before = { state: verdict.state, zone: step.zone };
      current = verdict.packet;
      if (current === undefined) break;
      expected.push(verdict.state);
      opened = step.commit || (verdict.state & IS_NEW) === 0;
    }
    this.#story.push(`${this.rig.nowMs} port ${port} ${JSON.stringify(packet)} found ${states}`);
    expect(states, this.#story.join("\n")).toEqual(expected);
    this.checked.states += states.length;
    if (current === undefined || !opened) {
      expect(out).toBeUndefined();
      return;
    }
    expect(by).toBe(outPort);
    expect(hex(out), this.#story.join("\n")).toBe(hex(this.rig.wire.frame(current)));
    if (isError) {
      if (((states.at(-1) ?? 0) & IS_INVALID) === 0) this.checked.errors++;
      return;
    }
    if (!sameTuple(packet.tuple, current.tuple)) this.checked.translated++;
    this.out.push({ packet: current, port: by });
  }

  /** Everything that is remembered is remembered by both, as long. */
  compare(): void {
    const { rig } = this;
    const line = (zone: number, original: Tuple, reply: Tuple, timeout: string, expires: number): string =>
      JSON.stringify([zone, original, reply, timeout, expires]);
    const ours = rig.datapath.conntrack.connections(rig.nowMs).map((one) => {
      const isIcmp = one.protocol === 1 || one.protocol === 58;
      const tuple = (info: typeof one.original): Tuple => ({
        protocol: isIcmp ? "icmp" : one.protocol === 6 ? "tcp" : "udp",
        source: rig.wire.name(info.source),
        destination: rig.wire.name(info.destination),
        sourcePort: info.sourcePort,
        destinationPort: isIcmp
          ? [8, 128].includes(info.destinationPort >> 8)
            ? 1
            : 2
          : info.destinationPort,
      });
      return line(one.zone, tuple(one.original), tuple(one.reply), one.state, one.expiresInMs);
    });
    const theirs = this.model
      .live(rig.nowMs)
      .map((one) => line(one.zone, one.original, one.reply, one.timeout, one.expiresMs - rig.nowMs));
    expect(ours.sort(), this.#story.join("\n")).toEqual(theirs.sort());
  }
}

/** What the step has made of the packet, as far as what came out in the end tells. */
function choiceOf(step: ModelStep, packet: ModelPacket, last: Tuple): Tuple {
  if (typeof step.nat !== "object") return packet.tuple;
  const { tuple } = packet;
  return step.nat.kind === "source"
    ? { ...tuple, source: last.source, sourcePort: last.sourcePort }
    : { ...tuple, destination: last.destination, destinationPort: last.destinationPort };
}

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

// --- Traffic

const step = fc.record({
  kind: fc.constantFrom("open", "answer", "again", "tcp", "tcp", "tcp", "error", "stray", "wait"),
  pick: fc.nat(1000),
  client: fc.integer({ min: 1, max: 3 }),
  server: fc.nat(1),
  port: fc.constantFrom(4000, 4001, 5000),
  protocol: fc.constantFrom("tcp", "udp", "icmp" as const),
  inside: fc.boolean(),
  second: fc.boolean(),
  flags: fc.constantFrom(
    "ack",
    "ack",
    "syn",
    "syn-ack",
    "fin",
    "rst",
    "rst-far",
    "far",
    "none",
    "keep-alive",
  ),
  size: fc.integer({ min: 0, max: 50 }),
  afterMs: fc.constantFrom(10, 1000, 29_000, 31_000, 46_000, 59_000, 61_000, 901_000),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const reverse = (port: number): number => (port % 2 === 1 ? port + 1 : port - 1);

/** Both ends of every TCP conversation: what each has sent. */
class Conversations {
  readonly #next = new Map<string, number>();

  header(tuple: Tuple, { flags, size }: Step): TcpHeader {
    const [own, other] = [keyOf(tuple), keyOf(inverse(tuple))];
    const next = this.#next.get(own) ?? FIRST;
    const acknowledgment = this.#next.get(other) ?? FIRST;
    const at = (more: Partial<TcpHeader>): TcpHeader => ({
      sequence: next,
      acknowledgment,
      size: 0,
      ...more,
    });
    const plain = { acknowledgment: 0 };
    if (flags === "syn") return this.#sent(own, at({ syn: true, ...plain }));
    if (flags === "syn-ack") return this.#sent(own, at({ syn: true, ack: true }));
    if (flags === "fin") return this.#sent(own, at({ fin: true, ack: true, size }));
    if (flags === "rst") return at({ rst: true, ...plain });
    if (flags === "rst-far") return at({ rst: true, ...plain, sequence: next + FAR });
    if (flags === "far") return at({ ack: true, sequence: next + FAR, size: size + 1 });
    if (flags === "none") return at({ ...plain });
    if (flags === "keep-alive") return at({ ack: true, sequence: next - 1 });
    return this.#sent(own, at({ ack: true, size }));
  }

  #sent(own: string, header: TcpHeader): TcpHeader {
    const span = header.size + (header.syn === true ? 1 : 0) + (header.fin === true ? 1 : 0);
    this.#next.set(own, header.sequence + span);
    return header;
  }
}

const keyOf = (tuple: Tuple): string => JSON.stringify(tuple);

function run(beside: Beside, steps: readonly Step[]): void {
  const conversations = new Conversations();
  const { rig, scenario } = beside;
  const ports = Object.keys(scenario.paths).length;
  const packetOf = (tuple: Tuple, one: Step, port: number): ModelPacket => {
    if (tuple.protocol !== "tcp") return { tuple };
    // Far from what, where the sender has not spoken yet?
    const zone = scenario.paths[port]?.steps[0]?.zone ?? 0;
    const isFar = one.flags === "far" || one.flags === "rst-far";
    const flags = isFar && !beside.model.hasSpoken(tuple, zone, rig.nowMs) ? "ack" : one.flags;
    return { tuple, tcp: conversations.header(tuple, { ...one, flags }) };
  };
  const opening = (one: Step): Tuple => ({
    protocol: one.protocol as Tuple["protocol"],
    source: `h${one.client}`,
    destination: scenario.servers[one.server % scenario.servers.length] as string,
    sourcePort: one.port,
    destinationPort: one.protocol === "icmp" ? 1 : 80,
  });
  for (const one of steps) {
    rig.nowMs += 10;
    const port = one.second && ports > 2 ? 3 : 1;
    const seen =
      beside.out.length === 0
        ? undefined
        : beside.out[beside.out.length - 1 - (one.pick % beside.out.length)];
    if (one.kind === "wait") rig.nowMs += one.afterMs;
    else if (one.kind === "open" || seen === undefined) {
      beside.send(
        port,
        packetOf(opening(one), { ...one, flags: one.flags === "ack" ? "syn" : one.flags }, port),
      );
    } else if (one.kind === "stray") {
      const tuple = one.inside ? opening(one) : inverse(opening(one));
      const by = one.inside ? port : reverse(port);
      beside.send(by, packetOf(tuple, one, by));
    } else if (one.kind === "error") {
      const destination = one.pick % 7 === 0 ? "h5" : seen.packet.tuple.source;
      const source = one.inside ? `h${ROUTER}` : seen.packet.tuple.destination;
      const tuple: Tuple = { protocol: "icmp", source, destination, sourcePort: 0, destinationPort: 0 };
      beside.send(seen.port, { tuple, quoted: seen.packet });
    } else if (one.kind === "again") {
      // From where it came, or once more where it went: both must be known.
      if (seen.packet.tuple.protocol !== "tcp") beside.send(seen.port, { tuple: inverse(seen.packet.tuple) });
    } else beside.send(seen.port, packetOf(inverse(seen.packet.tuple), one, seen.port));
    // The tables are wide; nobody looks at them but now and then.
    if (one.pick % 5 === 0) beside.compare();
  }
  beside.compare();
}

describe.each(SCENARIOS)("tracking beside the reference model: $name", (scenario) => {
  it.each([
    ["IPv4", false],
    ["IPv6", true],
  ] as const)(
    "agrees on every packet and every connection, %s",
    (_name, ipv6) => {
      const checked = { states: 0, translated: 0, errors: 0 };
      fc.assert(
        fc.property(fc.array(step, { minLength: 20, maxLength: 80 }), (steps) => {
          const beside = new Beside(scenario, ipv6);
          run(beside, steps);
          checked.states += beside.checked.states;
          checked.translated += beside.checked.translated;
          checked.errors += beside.checked.errors;
        }),
        { numRuns: 20, endOnFailure: true },
      );
      expect(checked.states).toBeGreaterThan(500);
      expect(checked.errors).toBeGreaterThan(10);
      if (scenario.name !== "two zones") expect(checked.translated).toBeGreaterThan(50);
    },
    DEADLINE_MS,
  );
});
