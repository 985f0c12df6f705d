// The packet vectors of ../shared/conformance against our own tables: frames in at port 1, frames out at port 2 and 3,
// packet-ins at the controller. Prints pass/total by group; the number of passes is a ratchet that may only rise.
// Where the folder is absent (a user's clone) the suite is listed as not run; with CI=true that is a failure.
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../base/bytes/index.js";
import { type OpenFlowMessage, parseMessage } from "../../base/openflow/index.js";
import { MemoryPort, PacketPool } from "../../base/packet/index.js";
import { Random } from "../../base/random/index.js";
import { type Bridge, type BridgeChange, type BridgeEvent, Datapath } from "../../vswitch/datapath/index.js";
import { needsVectors } from "../support/needs.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = resolve(here, "../..");
const VECTORS = "openflow13-packets.jsonl";
const vectorsPath = join(resolve(root, "../shared/conformance"), VECTORS);
const ratchetPath = join(root, "test/conformance/packet-vectors.ratchet.json");

interface Throughput {
  readonly OFPMatch: {
    readonly oxm_fields: readonly { readonly OXMTlv: { readonly field: string; readonly value: number } }[];
  };
  readonly kbps?: number;
  readonly pktps?: number;
}
interface Step {
  readonly ingress?: string;
  readonly egress?: string;
  readonly packet_in?: string;
  /** The frame in, again. */
  readonly table_miss?: unknown;
  readonly stream?: {
    readonly hex: string;
    readonly pktps: number;
    readonly duration: number;
    readonly randomize: boolean;
  };
  readonly throughput?: readonly Throughput[];
}
interface Case {
  readonly file: string;
  readonly i: number;
  readonly description: string;
  readonly msgs: readonly string[];
  readonly tests: readonly Step[];
}

/** One bridge with three memory ports, driven by hand; time passes only in rate cases. */
class Rig {
  readonly pool = new PacketPool({ slots: 256 });
  readonly ports: readonly MemoryPort[];
  readonly bridge: Bridge;
  readonly datapath: Datapath;
  nowMs = 1000;
  events: BridgeEvent[] = [];

  constructor() {
    this.datapath = new Datapath({ pool: this.pool, onEvents: (_, events) => this.events.push(...events) });
    this.bridge = this.datapath.addBridge("br0");
    this.ports = [1, 2, 3].map((n) => {
      const port = new MemoryPort({ name: `p${n}`, pool: this.pool, queueLengthMax: 1_000_000 });
      const mac = Uint8Array.of(2, 0, 0, 0, 0, n);
      this.bridge.addPort({ port, ofport: n, mac, mtu: 1500, nowMs: this.nowMs });
      return port;
    });
  }

  send(message: OpenFlowMessage): void {
    this.bridge.change(message as BridgeChange, this.nowMs);
  }

  reset(): void {
    this.nowMs += 60_000;
    for (const hex of RESET) this.send(parseMessage(fromHex(hex)));
    this.events = [];
    for (const port of this.ports) port.takeSent();
  }

  inject(frame: Uint8Array): void {
    (this.ports[0] as MemoryPort).inject(frame);
    this.datapath.breathe(this.nowMs);
  }
}

// Delete all flows (table 0xff), groups and meters.
const RESET = [
  `040e003800000001${"00".repeat(16)}ff0300000000${"0000"}ffffffffffffffffffffffff000000000001000400000000`,
  "040f00100000000100020000fffffffc",
  "041d00100000000100020000ffffffff",
];

/** Undefined when the case passes, else what went wrong. */
function run(rig: Rig, one: Case): string | undefined {
  rig.reset();
  try {
    for (const hex of one.msgs) rig.send(parseMessage(fromHex(hex)));
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  for (const step of one.tests) {
    const problem = step.stream === undefined ? judge(rig, step, one) : judgeRate(rig, step);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function judge(rig: Rig, step: Step, one: Case): string | undefined {
  rig.events = [];
  rig.inject(fromHex(step.ingress ?? ""));
  const out = rig.ports.map((port) => port.takeSent());
  const packetIns = rig.events.filter((event) => event.type === "packet_in");
  if (step.table_miss !== undefined) {
    return out.flat().length === 0 && packetIns.length === 0 ? undefined : "a frame left on a table miss";
  }
  const expected = step.egress ?? step.packet_in ?? "";
  const found = step.egress === undefined ? packetIns.map((event) => event.data) : (out[1] ?? []);
  if (found.length !== 1) return `${found.length} frames instead of one`;
  return sameFrame(toHex(found[0] as Uint8Array), expected, one)
    ? undefined
    : `got ${toHex(found[0] as Uint8Array)}, wanted ${expected}`;
}

/** Known faults of the data: SCTP set-field checksums, and padding at the end behind MPLS. */
function sameFrame(got: string, wanted: string, one: Case): boolean {
  const mask = (hex: string): string => {
    if (!/SET_FIELD.*SCTP/.test(one.file)) return hex;
    const start = hex.slice(24, 28) === "8100" ? 36 : 28;
    const at = start + ((hex[start] === "6" ? 40 : 20) + 8) * 2;
    return `${hex.slice(0, at)}00000000${hex.slice(at + 8)}`;
  };
  const [a, b] = [mask(got), mask(wanted)];
  const padding = (longer: string, shorter: string): boolean =>
    longer.startsWith(shorter) && /^0*$/.test(longer.slice(shorter.length));
  return padding(a, b) || padding(b, a);
}

/** Sends at the given rate in simulated time and compares what left with what was to be expected, within 10 %. */
function judgeRate(rig: Rig, step: Step): string | undefined {
  const { hex, pktps, duration, randomize } = step.stream as NonNullable<Step["stream"]>;
  const frame = fromHex(hex);
  const random = new Random(7);
  const counts = (step.throughput ?? []).map(() => ({ packets: 0, bytes: 0 }));
  // Fast streams arrive in bursts of a millisecond.
  const burst = Math.max(1, Math.floor(pktps / 1000));
  for (let n = 0; n < pktps * duration; n += burst) {
    rig.nowMs += (1000 * burst) / pktps;
    for (let i = 0; i < burst; i++) {
      if (randomize) randomizeFrame(frame, random);
      (rig.ports[0] as MemoryPort).inject(frame);
    }
    rig.datapath.breathe(rig.nowMs);
    rig.ports.forEach((port, index) => {
      for (const sent of port.takeSent()) {
        (step.throughput ?? []).forEach((wanted, i) => {
          if (!matches(wanted, index + 1, sent)) return;
          (counts[i] as { packets: number }).packets += 1;
          (counts[i] as { bytes: number }).bytes += sent.byteLength;
        });
      }
    });
  }
  for (const [i, wanted] of (step.throughput ?? []).entries()) {
    const { packets, bytes } = counts[i] as { packets: number; bytes: number };
    const rate = wanted.pktps === undefined ? (bytes * 8) / 1000 / duration : packets / duration;
    const target = wanted.pktps ?? wanted.kbps ?? 0;
    if (Math.abs(rate - target) > target * 0.1) return `rate ${rate.toFixed(0)} instead of ${target}`;
  }
  return undefined;
}

/** "random" in the data: Ethernet addresses, and for IP also addresses and ports. */
function randomizeFrame(frame: Uint8Array, random: Random): void {
  frame.set(random.bytes(12), 0);
  frame[0] = (frame[0] as number) & 0xfe;
  frame[6] = (frame[6] as number) & 0xfe;
  const type = ((frame[12] as number) << 8) | (frame[13] as number);
  if (type === 0x86dd) frame.set(random.bytes(36), 22);
}

function matches(wanted: Throughput, port: number, frame: Uint8Array): boolean {
  return wanted.OFPMatch.oxm_fields.every(({ OXMTlv: { field, value } }) => {
    const type = ((frame[12] as number) << 8) | (frame[13] as number);
    if (field === "in_port") return port === value;
    if (field === "eth_type") return type === value;
    if (field === "ip_dscp") {
      const tos =
        type === 0x0800
          ? (frame[15] as number)
          : (((frame[14] as number) << 4) | ((frame[15] as number) >> 4)) & 255;
      return tos >> 2 === value;
    }
    throw new Error(`unknown field ${field} in the expectation`);
  });
}

describe("OpenFlow 1.3 packet vectors", needsVectors(VECTORS), () => {
  it("pass at least as often as before", () => {
    const cases = readFileSync(vectorsPath, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Case);
    const rig = new Rig();
    const groups = new Map<string, { passed: number; total: number }>();
    const failures: string[] = [];
    for (const one of cases) {
      const name = one.file.split("/")[0] as string;
      const group = groups.get(name) ?? { passed: 0, total: 0 };
      groups.set(name, group);
      group.total++;
      const problem = run(rig, one);
      if (problem === undefined) group.passed++;
      else failures.push(`${one.file} #${one.i} ${one.description}: ${problem}`);
    }
    expect(rig.pool.available, "no packet was lost").toBe(rig.pool.slots);
    const passed = [...groups.values()].reduce((sum, group) => sum + group.passed, 0);
    const lines = [...groups].map(([name, group]) => `  ${name.padEnd(8)} ${group.passed}/${group.total}`);
    process.stdout.write(`packet vectors: ${passed}/${cases.length}\n${lines.join("\n")}\n`);
    if (process.env["PLINTH_SHOW_FAILURES"] !== undefined) process.stdout.write(`${failures.join("\n")}\n`);
    const ratchet = JSON.parse(readFileSync(ratchetPath, "utf8")) as { readonly passed: number };
    if (passed > ratchet.passed && process.env["CI"] !== "true")
      writeFileSync(ratchetPath, `{ "passed": ${passed} }\n`);
    expect(passed, failures.slice(0, 10).join("\n")).toBeGreaterThanOrEqual(ratchet.passed);
  });
});
