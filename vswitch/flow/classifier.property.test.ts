import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import type { Match, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { field } from "../testing/rig.js";
import { AskedValues } from "./asked-values.js";
import { Classifier } from "./classifier.js";
import { compileMatch, type MaskedKey } from "./fields.js";
import { Flow } from "./flow.js";
import { Headers, K_DST, K_IN_PORT, K_METADATA, K_SRC, K_TP, KEY_WORDS } from "./key.js";

const NO_PROGRAM = {
  meterId: 0,
  apply: null,
  clear: false,
  write: [],
  metadata: null,
  gotoTable: -1,
  clauses: null,
};
/** Few words with few bits, so that flows overlap and packets hit. The second has all stages, addresses and ports. */
const SETS = [
  [0, 4, 27, 78],
  [K_METADATA, K_TP, K_SRC, K_DST],
] as const;
let WORDS: readonly number[] = SETS[0];
const small = fc.integer({ min: 0, max: 3 });
const keyWords = fc.tuple(small, small, small, small);

function keyOf(values: readonly number[]): Int32Array {
  const key = new Int32Array(KEY_WORDS);
  WORDS.forEach((word, i) => {
    const bits = values[i] as number;
    // Both ports.
    key[word] = word === K_TP ? ((bits >>> 1) << 31) | ((bits & 1) << 15) : bits << 30;
  });
  return key;
}

function maskedOf(mask: readonly number[], value: readonly number[]): MaskedKey {
  const maskWords = keyOf(mask);
  return { mask: maskWords, value: keyOf(value).map((word, i) => word & (maskWords[i] as number)) };
}

function flowOf(priority: number, key: MaskedKey, match: Match = []): Flow {
  return new Flow({
    tableId: 0,
    priority,
    cookie: 0n,
    match,
    key,
    flags: 0,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    instructions: [],
    program: NO_PROGRAM,
    slot: 0,
    nowMs: 0,
  });
}

const operation = fc.record({
  remove: fc.boolean(),
  mask: keyWords,
  value: keyWords,
  priority: fc.integer({ min: 0, max: 5 }),
});

/** The classifier that cannot be wrong: a list. */
function highest(flows: readonly Flow[], hits: (flow: Flow) => boolean): number {
  return Math.max(-1, ...flows.filter(hits).map(({ priority }) => priority));
}

/** A match bit by bit: "0", "1", or "*" for what is not matched. */
function pattern({ mask, value }: MaskedKey): string {
  const bits = (words: Int32Array): string =>
    Array.from(words, (word) => (word >>> 0).toString(2).padStart(32, "0")).join("");
  const values = bits(value);
  return Array.from(bits(mask), (bit, i) => (bit === "1" ? values[i] : "*")).join("");
}

const memory = new WeakMap<MaskedKey, string>();

function patternOf(key: MaskedKey): string {
  const known = memory.get(key) ?? pattern(key);
  memory.set(key, known);
  return known;
}

/** Whether every packet that `inner` matches is matched by `outer`, and whether some packet is matched by both. */
function every(outer: MaskedKey, inner: MaskedKey): boolean {
  const within = patternOf(inner);
  return Array.from(patternOf(outer)).every((bit, i) => bit === "*" || bit === within[i]);
}
function some(a: MaskedKey, b: MaskedKey): boolean {
  const other = patternOf(b);
  return Array.from(patternOf(a)).every((bit, i) => bit === "*" || other[i] === "*" || bit === other[i]);
}

function hit(flow: Flow, key: Int32Array): boolean {
  const { mask, value } = flow.key;
  return WORDS.every((word) => ((key[word] as number) & (mask[word] as number)) === value[word]);
}

const linear = (flows: readonly Flow[], key: Int32Array): number => highest(flows, (flow) => hit(flow, key));

/** What a frame says in a field, byte by byte where it stands; undefined when it has no such field. */
function bytesOf(name: OxmFieldName, frame: Uint8Array, inPort: number): Uint8Array | undefined {
  const isTagged = frame[12] === 0x81 && frame[13] === 0;
  const ip = isTagged ? 18 : 14;
  const type = ((frame[ip - 2] as number) << 8) | (frame[ip - 1] as number);
  const isV4 = type === 0x0800;
  const protocol = isV4 ? frame[ip + 9] : frame[ip + 6];
  const l4 = ip + (isV4 ? 20 : 40);
  const slice = (from: number, size: number, isThere = true): Uint8Array | undefined =>
    isThere ? frame.subarray(from, from + size) : undefined;
  switch (name) {
    case "in_port":
      return Uint8Array.of(0, 0, 0, inPort);
    case "eth_dst":
      return slice(0, 6);
    case "eth_src":
      return slice(6, 6);
    case "eth_type":
      return slice(ip - 2, 2);
    case "vlan_vid":
      return isTagged
        ? Uint8Array.of(0x10 | ((frame[14] as number) & 0x0f), frame[15] as number)
        : new Uint8Array(2);
    case "vlan_pcp":
      return isTagged ? Uint8Array.of((frame[14] as number) >>> 5) : undefined;
    case "ip_proto":
      return Uint8Array.of(protocol as number);
    case "ipv4_src":
      return slice(ip + 12, 4, isV4);
    case "ipv4_dst":
      return slice(ip + 16, 4, isV4);
    case "ipv6_src":
      return slice(ip + 8, 16, !isV4);
    case "ipv6_dst":
      return slice(ip + 24, 16, !isV4);
    case "tcp_src":
      return slice(l4, 2, protocol === 6);
    case "udp_src":
      return slice(l4, 2, protocol === 17);
    case "udp_dst":
      return slice(l4 + 2, 2, protocol === 17);
    default:
      throw new Error(`${name} is not read here`);
  }
}

function matches(match: Match, frame: Uint8Array, inPort: number): boolean {
  return match.every(({ field: name, value, mask }) => {
    const bytes = bytesOf(name as OxmFieldName, frame, inPort);
    return bytes?.every((byte, i) => ((byte ^ (value[i] as number)) & (mask?.[i] ?? 255)) === 0) === true;
  });
}

const lasts = fc.constantFrom(1, 2, 3);
const frame = fc
  .record({ v6: fc.boolean(), tcp: fc.boolean(), from: lasts, to: lasts, port: lasts, vlan: fc.nat(3) })
  .map(({ v6, tcp, from, to, port, vlan }) => {
    const net = v6 ? "fd00::" : "10.0.0.";
    const ends = { source: net + from, destination: net + to, sourcePort: port, destinationPort: port ^ 1 };
    const made = tcp ? tcpFrame(ends, 2) : udpFrame(ends);
    made[5] = to;
    made[11] = from;
    return vlan === 0 ? made : tagged(made, 0x8100, ((vlan & 1) << 13) | vlan);
  });

/** The field with one of few values, of which some bits count. */
function partly(name: OxmFieldName, top: bigint, bits: bigint): fc.Arbitrary<OxmEntry> {
  const all = fc.constantFrom(1n, 2n, 3n).map((last) => field(name, top | last));
  const part = fc
    .tuple(fc.constantFrom(1n, 2n, 3n), fc.constantFrom(bits, bits ^ 1n, 1n, 2n, bits << 2n))
    .map(([last, mask]) => field(name, top | last, mask));
  return fc.oneof(all, part);
}

const ofLink = fc.oneof(
  lasts.map((port) => field("in_port", port)),
  partly("eth_src", 0x52540000_0000n, 0xffn),
  partly("eth_dst", 0x52540000_0000n, 0xffn),
  fc.constantFrom(
    field("vlan_vid", 0),
    field("vlan_vid", 0x1001),
    field("vlan_vid", 0x1002),
    field("vlan_vid", 0x1000, 0x1000),
    field("vlan_vid", 0x1001, 0x1001),
  ),
);
const PCP = [field("vlan_vid", 0x1000, 0x1000), field("vlan_pcp", 1)];
const above = (version: 4 | 6, protocol: 6 | 17): fc.Arbitrary<Match> => {
  const type = field("eth_type", version === 4 ? 0x0800 : 0x86dd);
  const net = version === 4 ? 0x0a000000n : 0xfd00n << 112n;
  const addresses = (["src", "dst"] as const).map((end) => partly(`ipv${version}_${end}`, net, 0xffn));
  const ports =
    protocol === 6
      ? partly("tcp_src", 0n, 0xffn)
      : fc.oneof(partly("udp_src", 0n, 0xffn), partly("udp_dst", 0n, 0xffn));
  const transport = ports.map((port): Match => [field("ip_proto", protocol), port]);
  return fc
    .tuple(
      fc.oneof(
        fc.constant<Match>([]),
        fc.oneof(...addresses).map((one): Match => [one]),
      ),
      fc.oneof(fc.constant<Match>([]), fc.constant<Match>([field("ip_proto", protocol)]), transport),
    )
    .map(([address, rest]) => [type, ...address, ...rest]);
};
const match: fc.Arbitrary<Match> = fc
  .tuple(
    fc.oneof(
      fc.constant<Match>([]),
      ofLink.map((one): Match => [one]),
      fc.constant<Match>(PCP),
    ),
    fc.oneof(fc.constant<Match>([]), above(4, 6), above(4, 17), above(6, 6), above(6, 17)),
  )
  .map((parts) => parts.flat());

describe.each(SETS)("Classifier, by words %i, %i, %i and %i", (...words) => {
  beforeAll(() => {
    WORDS = words;
  });

  it("keeps flows of one match by priority, in whatever order they come and go", () => {
    const masks: readonly (readonly number[])[] = [
      [0, 0, 0, 0],
      [3, 0, 0, 0],
    ];
    const step = fc.record({
      remove: fc.boolean(),
      mask: fc.nat({ max: 1 }),
      value: small,
      priority: fc.nat(),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 400, size: "max" }),
        fc.integer({ min: 1, max: 400 }),
        (steps, priorities) => {
          const classifier = new Classifier();
          const flows: Flow[] = [];
          const met: Flow[] = [];
          for (const { remove, mask, value, priority } of steps) {
            const masked = maskedOf(masks[mask] as number[], [value, 0, 0, 0]);
            const wanted = priority % priorities;
            const there = classifier.findStrict(masked, wanted);
            if (there !== null && remove) {
              classifier.remove(there);
              flows.splice(flows.indexOf(there), 1);
            } else if (there === null && !remove) {
              const flow = flowOf(wanted, masked);
              classifier.add(flow);
              flows.push(flow);
            }
            const key = keyOf([value, 0, 0, 0]);
            expect(classifier.lookup(key, null)?.priority ?? -1).toBe(linear(flows, key));
            const above = wanted >> 1;
            const count = classifier.allAbove(key, above, null, met);
            const wantedAbove = flows.filter((flow) => flow.priority > above && hit(flow, key));
            expect(new Set(met.slice(0, count))).toEqual(new Set(wantedAbove));
            expect(count).toBe(wantedAbove.length);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it("finds for a frame what a scan of the matches, read byte by byte, finds", () => {
    const pool = new PacketPool({ slots: 1 });
    const headers = new Headers();
    let hits = 0;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(match, fc.nat(7)), { maxLength: 40, size: "max" }),
        fc.array(fc.tuple(frame, lasts), { minLength: 1, maxLength: 10 }),
        (wanted, frames) => {
          const classifier = new Classifier();
          const flows: Flow[] = [];
          for (const [one, priority] of wanted) {
            const key = compileMatch(one);
            if (classifier.findStrict(key, priority) !== null) continue;
            const flow = flowOf(priority, key, one);
            classifier.add(flow);
            flows.push(flow);
          }
          for (const [bytes, inPort] of frames) {
            const key = new Int32Array(KEY_WORDS);
            const packet = pool.allocateFrom(bytes);
            headers.parseNew(pool, packet, key);
            pool.free(packet);
            key[K_IN_PORT] = inPort;
            const best = highest(flows, (flow) => matches(flow.match, bytes, inPort));
            const found = classifier.lookup(key, null);
            expect(found?.priority ?? -1).toBe(best);
            expect(found === null || matches(found.match, bytes, inPort)).toBe(true);
            if (found !== null) hits++;
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(hits).toBeGreaterThan(300);
  });

  it("agrees with a linear scan after any additions and removals, and says what it looked at", () => {
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 60 }),
        fc.array(keyWords, { maxLength: 20 }),
        (operations, packets) => {
          const classifier = new Classifier();
          const flows: Flow[] = [];
          for (const { remove, mask, value, priority } of operations) {
            const masked = maskedOf(mask, value);
            const there = classifier.findStrict(masked, priority);
            expect(there === null).toBe(
              !flows.some(
                (flow) =>
                  flow.priority === priority &&
                  flow.key.value.every((word, i) => word === masked.value[i]) &&
                  flow.key.mask.every((word, i) => word === masked.mask[i]),
              ),
            );
            if (there !== null) {
              if (!remove) continue;
              classifier.remove(there);
              flows.splice(flows.indexOf(there), 1);
            } else if (!remove) {
              const flow = flowOf(priority, masked);
              classifier.add(flow);
              flows.push(flow);
            }
          }
          expect(classifier.size).toBe(flows.length);
          const everything = { mask: new Int32Array(KEY_WORDS), value: new Int32Array(KEY_WORDS) };
          expect(new Set(classifier.covered(everything))).toEqual(new Set(flows));
          for (const { mask, value, priority } of operations) {
            const wanted = maskedOf(mask, value);
            expect(new Set(classifier.covered(wanted))).toEqual(
              new Set(flows.filter((flow) => every(wanted, flow.key))),
            );
            const rival = classifier.findOverlap(wanted, priority);
            const rivals = flows.filter((flow) => flow.priority === priority && some(flow.key, wanted));
            if (rival === null) expect(rivals).toEqual([]);
            else expect(rivals).toContain(rival);
          }
          const found = packets.map((packet) => {
            const key = keyOf(packet);
            const consulted = new Int32Array(KEY_WORDS);
            const flow = classifier.lookup(key, consulted);
            expect(flow?.priority ?? -1).toBe(linear(flows, key));
            expect(classifier.lookup(key, null)).toBe(flow);
            return { key, consulted, flow };
          });
          // Any two keys that agree in what one of them consulted have the same answer.
          for (const one of found) {
            for (const other of found) {
              const same = one.key.every(
                (word, i) => ((word ^ (other.key[i] as number)) & (one.consulted[i] as number)) === 0,
              );
              if (same) expect(other.flow).toBe(one.flow);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("says of a change that it is not felt only when whatever was found before holds for all that agree in what was consulted", () => {
    let unfelt = 0;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(operation, fc.array(keyWords, { maxLength: 3 })), { maxLength: 60, size: "max" }),
        fc.array(keyWords, { maxLength: 20 }),
        (steps, others) => {
          const asked = new AskedValues();
          const classifier = new Classifier(asked);
          let found: {
            readonly key: Int32Array;
            readonly consulted: Int32Array;
            readonly flow: Flow | null;
          }[] = [];
          for (const [{ remove, mask, value, priority }, packets] of steps) {
            for (const packet of packets) {
              const [key, consulted] = [keyOf(packet), new Int32Array(KEY_WORDS)];
              found.push({ key, consulted, flow: classifier.lookup(key, consulted) });
            }
            const masked = maskedOf(mask, value);
            const there = classifier.findStrict(masked, priority);
            if ((there !== null) !== remove) continue;
            const isFelt =
              there === null ? classifier.add(flowOf(priority, masked)) : classifier.remove(there);
            if (isFelt) {
              asked.clear();
              found = [];
              continue;
            }
            // To look up what is not kept would be noted: it goes into a copy.
            if (found.length > 0) unfelt++;
            const copy = new Classifier();
            const everything = { mask: new Int32Array(KEY_WORDS), value: new Int32Array(KEY_WORDS) };
            const flows = classifier.covered(everything);
            for (const flow of flows) copy.add(flowOf(flow.priority, flow.key));
            const look = (key: Int32Array): number => copy.lookup(key, null)?.priority ?? -1;
            for (const one of found) {
              expect(look(one.key)).toBe(one.flow?.priority ?? -1);
              expect(one.flow === null || flows.includes(one.flow)).toBe(true);
              for (const other of others.map(keyOf)) {
                const isSame = one.consulted.every(
                  (bits, i) => (((one.key[i] as number) ^ (other[i] as number)) & bits) === 0,
                );
                if (isSame) expect(look(other)).toBe(one.flow?.priority ?? -1);
              }
            }
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(unfelt).toBeGreaterThan(30);
  });
});
