// Random OpenFlow messages, whole and spoilt, printed by ovs-ofctl and by `plinth ofctl`, byte by byte.
// PLINTH_NIGHTLY=1 tries many more, with a new seed every time.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../base/bytes/index.js";
import {
  type AnyDialect,
  encodeMessage,
  OFP10_VERSION,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import { messageArbitrary } from "../../base/openflow/message-arbitrary.js";
import { message10Arbitrary, niciraArbitrary } from "../../base/openflow/v10/message-arbitrary.js";
import { type PrintDifference, printDifferences } from "../support/ofctl-print-twin.js";
import { requirePrograms } from "../support/run.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const MESSAGES = NIGHTLY ? 40_000 : 1_500;
const TIMEOUT_MS = NIGHTLY ? 1_800_000 : 120_000;
/** Share of messages that both refuse, or one of them, with another error: which of several comes first is no standard. */
const OTHER_ERRORS_MAX = 0.005;
/** The same of spoilt messages, which often have several faults. */
const SPOILT_OTHER_MAX = 0.02;
/** The same of those of versions that have no messages of their own here: 1.3's, written as these write them. */
const SPOILT_VERSIONS_MAX = 0.035;
const OTHER_VERSIONS = [2, 3, 5, 6] as const;

/** What Open vSwitch does not know at all. */
const FOREIGN = /"(pbb_isid|ipv6_exthdr|in_phy_port|packet_type|push_pbb|pop_pbb|copy_ttl_out|copy_ttl_in)"/;

function encoded(
  messages: fc.Arbitrary<OpenFlowMessage>,
  encode: (message: OpenFlowMessage) => Uint8Array,
): Uint8Array[] {
  const json = (message: OpenFlowMessage): string =>
    JSON.stringify(message, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  return fc
    .sample(messages, MESSAGES)
    .filter((message) => !FOREIGN.test(json(message)))
    .map(encode);
}

/** What a version cannot say is a hello instead. */
function inVersion(message: OpenFlowMessage, version: number): Uint8Array {
  try {
    return encodeMessage(message, { version, flowModTableId: false } as AnyDialect);
  } catch {
    return Uint8Array.of(version, 0, 0, 8, 0, 0, 0, 1);
  }
}

const VERSION_MESSAGES = Object.values(
  JSON.parse(readFileSync(new URL("./version-messages.json", import.meta.url), "utf8")) as Record<
    string,
    string
  >,
).map(fromHex);

const encode10 = (message: OpenFlowMessage): Uint8Array =>
  encodeMessage(message, { version: OFP10_VERSION, flowModTableId: true });

const isRefused = (text: string): boolean => text.includes("***decode error");
const shown = (differences: readonly PrintDifference[]): string[] =>
  differences.slice(0, 5).map(({ bytes, theirs, ours }) => `${toHex(bytes)}\n${theirs}---\n${ours}`);

/** Cut short, or with a few bytes changed; the header tells the true length. */
const spoil = fc.record({
  isCut: fc.boolean(),
  at: fc.nat(),
  bytes: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 2 }),
});

function spoilt(
  message: Uint8Array,
  { isCut, at, bytes }: typeof spoil extends fc.Arbitrary<infer T> ? T : never,
) {
  if (isCut) {
    const size = 8 + (at % (message.byteLength - 7));
    const cut = message.slice(0, size);
    cut.set([size >> 8, size & 0xff], 2);
    return cut;
  }
  const changed = message.slice();
  if (changed.byteLength > 8)
    for (const [index, value] of bytes) changed[8 + (index % (changed.byteLength - 8))] = value;
  return changed;
}

describe("OpenFlow messages in print", () => {
  beforeAll(() => requirePrograms("ovs-ofctl"));

  it.each([
    ["1.3", () => encoded(messageArbitrary, (message) => encodeMessage(message))],
    ["1.0", () => encoded(fc.oneof(message10Arbitrary, niciraArbitrary), encode10)],
  ])(
    "of %s are those of ovs-ofctl",
    async (_version, make) => {
      const messages = make();
      const differences = await printDifferences(messages);
      const told = differences.filter(({ theirs, ours }) => !isRefused(theirs) && !isRefused(ours));
      expect(shown(told)).toEqual([]);
      expect(differences.length / messages.length, shown(differences).join("\n")).toBeLessThan(
        OTHER_ERRORS_MAX,
      );
    },
    TIMEOUT_MS,
  );

  it.each(["-m", "-mm", "-mmm"])(
    "are those of ovs-ofctl with %s",
    async (option) => {
      const messages = encoded(messageArbitrary, (message) => encodeMessage(message)).slice(0, 300);
      const differences = await printDifferences(messages, [option], 1 + option.length);
      expect(differences.length / messages.length, shown(differences).join("\n")).toBeLessThan(
        OTHER_ERRORS_MAX,
      );
    },
    TIMEOUT_MS,
  );

  it(
    "are refused as ovs-ofctl refuses them when they are spoilt",
    async () => {
      const whole = encoded(messageArbitrary, (message) => encodeMessage(message));
      const faults = fc.sample(spoil, whole.length);
      const messages = whole.map((message, i) => spoilt(message, faults[i] as (typeof faults)[number]));
      const differences = await printDifferences(messages);
      expect(differences.length / messages.length, shown(differences).join("\n")).toBeLessThan(
        SPOILT_OTHER_MAX,
      );
    },
    TIMEOUT_MS,
  );

  it(
    "are refused as ovs-ofctl refuses them in other versions",
    async () => {
      const share = Math.ceil(MESSAGES / OTHER_VERSIONS.length);
      const whole = OTHER_VERSIONS.flatMap((version) =>
        encoded(messageArbitrary, (message) => inVersion(message, version)).slice(0, share),
      );
      const messages = [...whole, ...VERSION_MESSAGES].map((message, i) =>
        spoilt(
          message,
          fc.sample(spoil, { numRuns: 1, seed: i })[0] as typeof spoil extends fc.Arbitrary<infer T>
            ? T
            : never,
        ),
      );
      const differences = await printDifferences(messages);
      expect(differences.length / messages.length, shown(differences).join("\n")).toBeLessThan(
        SPOILT_VERSIONS_MAX,
      );
    },
    TIMEOUT_MS,
  );
});
