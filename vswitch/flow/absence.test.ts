import { describe, expect, it } from "vitest";
import type { Match } from "../../base/openflow/index.js";
import { field } from "../testing/rig.js";
import { Classifier } from "./classifier.js";
import { compileMatch } from "./fields.js";
import { Flow } from "./flow.js";
import { K_SRC, K_TP, K_TYPE_TCI, KEY_WORDS } from "./key.js";
import { ABSENCE_RESTS_FIRST } from "./limits.js";

const NO_PROGRAM = {
  ...{ meterId: 0, apply: null, clear: false, write: [], metadata: null, gotoTable: -1, clauses: null },
};

function flowOf(match: Match): Flow {
  return new Flow({
    ...{ tableId: 0, priority: 1, cookie: 0n, match, key: compileMatch(match), flags: 0, slot: 0, nowMs: 0 },
    ...{ idleTimeoutSeconds: 0, hardTimeoutSeconds: 0, instructions: [], program: NO_PROGRAM },
  });
}

const rule = (source: number, port: number): Match => [
  field("eth_type", 0x0800),
  field("ip_proto", 6),
  field("ipv4_src", source),
  field("tcp_dst", port),
];

/** What is looked at of the source and the ports of a packet that meets nothing. */
function looked(classifier: Classifier, source: number, port: number): readonly [string, string] {
  const { value: key } = compileMatch(rule(source, port));
  const consulted = new Int32Array(KEY_WORDS);
  expect(classifier.lookup(key, consulted)).toBeNull();
  const hex = (word: number): string => ((consulted[word] as number) >>> 0).toString(16).padStart(8, "0");
  return [hex(K_SRC), hex(K_TP)];
}

describe("a packet for which a subtable has nothing", () => {
  it("is looked at no further than shows that", () => {
    const classifier = new Classifier();
    for (const last of [1, 2, 3]) classifier.add(flowOf(rule(0x0b000000 + last, 80)));
    // 10 and 11 differ in the eighth bit; 80 and 81 in the last.
    expect(looked(classifier, 0x0a000001, 80)).toEqual(["ff000000", "00000000"]);
    expect(looked(classifier, 0x0b000001, 81)).toEqual(["00000000", "0000ffff"]);
    // Of another type: one look at that.
    const key = compileMatch([field("eth_type", 0x0806)]).value;
    const consulted = new Int32Array(KEY_WORDS);
    classifier.lookup(key, consulted);
    expect([...consulted.keys()].filter((word) => consulted[word] !== 0)).toEqual([K_TYPE_TCI]);
  });

  it("is looked at in whole for a while where a flow has come that it had been said not to meet", () => {
    const classifier = new Classifier();
    classifier.add(flowOf(rule(0x0b000001, 80)));
    expect(classifier.add(flowOf(rule(0x0b000002, 80)))).toBe(false);
    expect(looked(classifier, 0x0a000001, 80)[0]).toBe("ff000000");
    // It begins with the eight bits that were looked at.
    expect(classifier.add(flowOf(rule(0x0a000002, 80)))).toBe(true);
    for (let n = 0; n < ABSENCE_RESTS_FIRST; n++)
      expect(looked(classifier, 0x0a000001, 80)).toEqual(["ffffffff", "0000ffff"]);
    // 10.0.0.1 and 10.0.0.2 differ in the bit before the last.
    expect(looked(classifier, 0x0a000001, 80)).toEqual(["fffffffe", "00000000"]);
  });
});
