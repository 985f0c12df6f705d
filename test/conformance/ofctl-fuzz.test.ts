// Random input to verbs of ofctl that need no switch, beside ovs-ofctl: actions and instructions as bytes, whole and
// spoilt, matches as lines of fields, packets as flows, frames in recordings, and texts of keys and values. One process
// takes many.
// PLINTH_NIGHTLY=1 tries many more, with a new seed every time.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import { PlinthError } from "../../base/errors/index.js";
import { actionArbitrary } from "../../base/openflow/flow-arbitrary.js";
import {
  type Action,
  type AnyDialect,
  encodeMessage,
  OFP_NO_BUFFER,
  OFPP_CONTROLLER,
} from "../../base/openflow/index.js";
import { parseExactFlow } from "../../vswitch/cli/exact-flow-text.js";
import { frameOfMatch } from "../../vswitch/cli/match-frame.js";
import { exactFlowArbitrary } from "../support/exact-flow-arbitrary.js";
import { matchLineArbitrary } from "../support/match-line-arbitrary.js";
import { byOvs, byPlinth, type Outcome } from "../support/offline-ofctl.js";
import { requirePrograms } from "../support/run.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const ROUNDS = NIGHTLY ? 20 : 1;
const TIMEOUT_MS = NIGHTLY ? 1_800_000 : 120_000;
/** Share of inputs with several faults, of which another is told: which of several comes first is no standard. */
const OTHER_MAX = 0.03;
/** Share of inputs that one of the two takes and the other does not, or shows otherwise: of properties with wrong lengths. */
const WRONG_MAX = 0.002;
/** The same where docs/differences-from-ovs.md says so: what is told in both, or by one and refused by the other. */
const LISTED: readonly (readonly [theirs: RegExp, ours: RegExp])[] = [
  [/bundle_load\(/, /^bad .*BAD_ARGUMENT/],
  [/reason=\d+/, /^bad .*BAD_ARGUMENT/],
  [/learn\(/, /^bad .*BAD_SET_LEN/],
  [/write_actions\(.*CT_(MARK|LABEL)/i, /^bad .*BAD_SET_ARGUMENT/],
  [/ct\(.*[(,]nat[,)]/, /^bad .*BAD_ARGUMENT/],
  [/^bad .*BAD_SET_LEN/, /VLAN_VID\[(\d+\.\.12|12|)\]/],
  // Flags of ct that mean nothing are kept there.
  [/ct\(/, /ct\(.*\n *\d+: \w\w -> 00(\n|$)/],
  [/resubmit/, /,,ct\)/],
  // All 32 bits are told there.
  [/set_mpls_label/, /set_mpls_label/],
];

/** Share of matches that are told otherwise: bits of a label's mask that mean nothing, without an IPv6 header. */
const MATCHES_MAX = 0.002;

/** Share of spoilt frames that are told otherwise: by a wrong version of IP, or an IPv6 header of which the rest is not there. */
const FRAMES_MAX = 0.03;

let directory: string;

beforeAll(() => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/ofctl-fuzz-");
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function sample<T>(values: fc.Arbitrary<T>, count: number): T[] {
  return fc.sample(values, { numRuns: count * ROUNDS, ...(NIGHTLY ? {} : { seed: 1 }) });
}

async function both(words: readonly string[], input = ""): Promise<[theirs: Outcome, ours: Outcome]> {
  const [theirs, ours] = [await byOvs(directory, words, input), await byPlinth(directory, words, input)];
  // The log of ovs-ofctl shows the bytes of what is refused, until it has said too much.
  const dump = /^[0-9a-f]{8} .*\n/gm;
  return [theirs, ours].map((one) => ({ ...one, stderr: one.stderr.replaceAll(dump, "") })) as [
    Outcome,
    Outcome,
  ];
}

/** What Open vSwitch does not know at all. */
const FOREIGN = /"(pbb_isid|ipv6_exthdr|in_phy_port|packet_type|push_pbb|pop_pbb|copy_ttl_out|copy_ttl_in)"/;
const known = actionArbitrary.filter(
  (action) =>
    !FOREIGN.test(
      JSON.stringify(action, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
    ),
);

/** The bytes of an action, perhaps with one of them changed; empty where the version cannot say it. */
function actionBytes(action: Action, version: number, [at, byte]: readonly [number, number]): Uint8Array {
  const base = { type: "packet_out", xid: 1, bufferId: OFP_NO_BUFFER, inPort: OFPP_CONTROLLER } as const;
  const dialect = { version, flowModTableId: false } as AnyDialect;
  try {
    const message = encodeMessage({ ...base, actions: [action], data: new Uint8Array(0) }, dialect);
    const bytes = message.slice(version === 1 ? 16 : 24);
    // The lengths stay, or most would be refused for them.
    if (at > 3 && at < bytes.byteLength) bytes[at] = byte;
    return bytes;
  } catch {
    return new Uint8Array(0);
  }
}

/** What the two say of each input, which ends with `end`, where it is not the same. */
function differences(theirs: Outcome, ours: Outcome, end = "\n"): string[] {
  expect([ours.code, ours.stderr]).toEqual([theirs.code, theirs.stderr]);
  const [left, right] = [theirs.stdout.split(end), ours.stdout.split(end)];
  const lines = Array.from({ length: Math.max(left.length, right.length) }, (_, i) => i);
  return lines.filter((i) => left[i] !== right[i]).map((i) => `${left[i]}\n--- ${right[i]}`);
}

function isListed(difference: string): boolean {
  const [theirs = "", ours = ""] = difference.split("\n--- ");
  return LISTED.some(([left, right]) => left.test(theirs) && right.test(ours));
}

function expectAlike(theirs: Outcome, ours: Outcome): void {
  const found = differences(theirs, ours, "\n\n");
  const count = theirs.stdout.split("\n\n").length;
  const isRefused = (side: string): boolean => side.startsWith("bad OpenFlow");
  const others = found.filter((one) => one.split("\n--- ").every(isRefused));
  const wrong = found.filter((one) => !others.includes(one) && !isListed(one));
  expect(wrong.length / count, wrong.join("\n")).toBeLessThan(WRONG_MAX);
  expect(others.length / count, others.join("\n")).toBeLessThan(OTHER_MAX);
}

const spoilt = fc.tuple(
  fc.oneof(fc.constant(0), fc.integer({ min: 4, max: 40 })),
  fc.integer({ min: 0, max: 255 }),
);

/** The frame of a packet as a flow, if that is right. */
function composed(flow: string): Uint8Array | undefined {
  try {
    return frameOfMatch(parseExactFlow(flow), { payloadSize: 8 });
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PlinthError);
    return undefined;
  }
}

function pcapOf(frames: readonly Uint8Array[]): Uint8Array {
  const words = (...numbers: readonly number[]): Uint8Array =>
    new Uint8Array(Uint32Array.from(numbers).buffer);
  const head = words(0xa1b2c3d4, 0x00040002, 0, 0, 65_535, 1);
  const records = frames.flatMap((frame) => [words(1, 0, frame.byteLength, frame.byteLength), frame]);
  return Buffer.concat([head, ...records]);
}

describe("random input is understood or refused as ovs-ofctl does", () => {
  it.each([1, 2, 3, 4, 5, 6])(
    "actions as bytes, version %i",
    async (version) => {
      const lines = sample(fc.tuple(known, spoilt), 200).map(([action, change]) =>
        toHex(actionBytes(action, version, change)),
      );
      const words = ["parse-actions", `OpenFlow1${version - 1}`];
      const [theirs, ours] = await both(words, `${lines.join("\n")}\n`);
      expectAlike(theirs, ours);
    },
    TIMEOUT_MS,
  );

  it.each([2, 3, 4, 5, 6])(
    "instructions as bytes, version %i",
    async (version) => {
      const lines = sample(fc.tuple(known, spoilt, fc.integer({ min: 3, max: 4 })), 100).map(
        ([action, change, type]) => {
          const body = toHex(actionBytes(action, version, change));
          const length = (8 + body.length / 2).toString(16).padStart(4, "0");
          return `000${type}${length}00000000${body}`;
        },
      );
      const words = ["parse-instructions", `OpenFlow1${version - 1}`];
      const [theirs, ours] = await both(words, `${lines.join("\n")}\n`);
      expectAlike(theirs, ours);
    },
    TIMEOUT_MS,
  );

  it.each([
    ["parse-nx-match"],
    ["--strict", "parse-nx-match"],
    ["parse-oxm", "OpenFlow13"],
    ["--strict", "parse-oxm", "OpenFlow13"],
  ])(
    "matches as lines: %s %s",
    async (...words) => {
      const lines = sample(matchLineArbitrary, 200);
      const [theirs, ours] = await both(words, `${lines.join("\n")}\n`);
      const found = differences(theirs, ours);
      expect(found.length / lines.length, found.join("\n")).toBeLessThan(MATCHES_MAX);
    },
    TIMEOUT_MS,
  );

  it(
    "packets as flows, composed",
    async () => {
      for (const flow of sample(exactFlowArbitrary, 40)) {
        const [theirs, ours] = await both(["compose-packet", flow]);
        // With what a frame cannot carry the original composes it, too, and complains of the difference.
        const isOurs = theirs.stderr.startsWith("specified and extracted flows differ");
        expect(ours, flow).toEqual(isOurs ? { ...theirs, code: 0, stderr: "" } : theirs);
      }
    },
    TIMEOUT_MS,
  );

  it(
    "frames, whole and spoilt, in a recording",
    async () => {
      const change = fc.record({ at: fc.nat(60), byte: fc.nat(255), size: fc.nat(100) });
      const frames = sample(fc.tuple(exactFlowArbitrary, change), 300).flatMap(
        ([flow, { at, byte, size }]) => {
          const frame = composed(flow);
          if (frame === undefined) return [];
          if (at < frame.byteLength) frame[at] = byte;
          return [frame.subarray(0, Math.max(14, size))];
        },
      );
      writeFileSync(join(directory, "frames.pcap"), pcapOf(frames));
      const [theirs, ours] = await both(["parse-pcap", "frames.pcap"]);
      const found = differences(theirs, ours);
      expect(frames.length).toBeGreaterThan(50);
      expect(found.length / frames.length, found.join("\n")).toBeLessThan(FRAMES_MAX);
    },
    TIMEOUT_MS,
  );

  const piece = fc.constantFrom(..."ab(),:=[]{} \t->\\/0".split(""), "key", "(a,b)", "a=b", "c(d)", "e:f");
  it(
    "keys and values",
    async () => {
      const texts = sample(fc.array(piece, { minLength: 1, maxLength: 9 }), 300).map((one) => one.join(""));
      // A word in front of them ends the options.
      const [theirs, ours] = await both([
        "parse-key-value",
        "x",
        ...texts.filter((text) => !text.startsWith("-")),
      ]);
      expect(differences(theirs, ours)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
