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
import { tablesArbitrary } from "../support/table-arbitrary.js";

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

/** Queues without a rate; an error without a text, and with a backslash and a quote; a value of zero on a stack; a flow's changes without a cookie, without a match. */
const RARE = [
  "041700b046f17ec8ffffff8400000000000000030000368f0020000000000000ffff001000000000d1e729d20000000054ce4955000028630040000000000000000100100000000045180000000000000002001000000000aa900000000000000001001000000000842a00000000000018e77eb3ffffff060040000000000000000100100000000000090000000000000001001000000000d5b80000000000000002001000000000ffff000000000000",
  "0401000cd71fd1bb00000000",
  "04010017c80fc1c300000000043522a85c7d43fd59095c",
  "04010013bd225cddffff000000000000f79682",
  "01040200c324d09a000023200000001c0000000dc200cb0742c475ace6000000000300054f00000000040010000000000d4cf3399f17b0e900050005010000000006001d00000602080000000c01060000100473a6aacf000144020e7c000000000801a00000000080000014b961fc31fb019806be487bf6d67c0e2800000000800100050000000080040005ef0000008005001000000000765da9bf42a1697d80f1006800000000ffff00100000232000220b1bfaf79197ffff001800002320000f0d0e0001ba7c463e000000000000ffff001000002320002cfff810000000ffff002800002320000d00010000f58a0000000200010df90001e410000000003c8600000000000080f00028000000000005000800000000000200180000000000000000000000010000000000000003800400057900000080050010000000001e1a9fc7e4cbe72480040005170000008005001000000000cde26dd8f4a7502f80f100300000000000000010fffffffd5cec000000000000ffff00180000232000210001d7080a05050c0fc72f5d000080f0001000000000000100080300000080f2006000000000ffff003000002320002d04847565c9a68f6e4cc7f2850d990005de00ab00b9e800000000000300000000120200000000ffff002800002320000c00010002db0d00000002000400000000000000000000a06036317eaa023c",
  "0111004063af21c1ffffe86500002320000000020000000000200001000297461be1cf65000010000b5fd4d40e9d6c1e0002000805000000000800034881fe6b",
  "01110080ffffffffffff000900002320000000020000000000080003f45062c1006000010002ea4394ff483500277600000000000000000000000602894fffff0605005ad650aaffff0808005ad65000e01714ffff0e08005ad6500311b5e900000b0010159c000000000000fffffff300080008cc00000000070008a2f8104a",
  "04130040d99465bcffffed01000000004f4e46000000074e00200000000055b4e46587990004de00956dfe843d62b70f0001000400000000000800032d759cf8",
  "01110030b1e701c1ffff19d8000023200000000200000000001800010000c151ef37734900000a00934702aa483f6d07",
  "01040090b962fb4c000023200000001e000000050100000000020008899af64200030005ff000000000400100000000059104132dbe9f19a000500050000000000060042000103080050a4812758e4cf0001d604f9e440f880010608135100c58ed001f780010a0832aae9b90194682cffff18050000232002ffff1a05000023200000000000000000070007ba5b5400",
  // dec_ttl that tells nobody; flags of ct, bits and values of learn that mean nothing; parts of a tag; truncated output to no port.
  "040e005800000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff000000000001000a80000a0208000000000000000004001800000000ffff0010000023200015000000000000",
  "040e006000000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff000000000001000a80000a0208000000000000000004002000000000ffff00180000232000230009000000000000ff0000000000",
  "040e009000000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff000000000001000a80000a0208000000000000000004005000000000ffff004800002320001000000000800000000000000000000000010000000000c0200001020400000001000400002804ffff0001000400002014ffffffff00010204000000000000",
  "040e005000000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff0000000000010012000009046000600080000c0210050000000000000004000800000000",
  "040e005000000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff00000000000100110000090410051fff80000e0103000000000000000004000800000000",
  "040e005000000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff0000000000010017000009042000200080000c02100580000e0103000004000800000000",
  "040e005800000077000000000000000000000000000000000000000000000007ffffffffffffffffffffffff000000000001000a80000a0208000000000000000004001800000000ffff0010000023200027ffff00000064",
];

const encode10 = (message: OpenFlowMessage): Uint8Array =>
  encodeMessage(message, { version: OFP10_VERSION, flowModTableId: true });

/** Of a resubmit to the same table the original leaves out that it is with the connection's tuple. */
const withoutCt = (text: string): string => text.replaceAll(/resubmit\(([^,()]+),,ct\)/g, "resubmit:$1");

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
      const told = differences.filter(
        ({ theirs, ours }) => !isRefused(theirs) && !isRefused(ours) && withoutCt(ours) !== theirs,
      );
      expect(shown(told)).toEqual([]);
      expect(differences.length / messages.length, shown(differences).join("\n")).toBeLessThan(
        OTHER_ERRORS_MAX,
      );
    },
    TIMEOUT_MS,
  );

  it("are those of ovs-ofctl where random ones seldom lead", async () => {
    const messages = RARE.map(fromHex);
    expect(shown(await printDifferences(messages))).toEqual([]);
  });

  it(
    "of tables that repeat each other are those of ovs-ofctl",
    async () => {
      expect(shown(await printDifferences(fc.sample(tablesArbitrary, MESSAGES / 5)))).toEqual([]);
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
