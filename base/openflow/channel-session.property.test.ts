// Every pair of hellos that two ends can say: who may talk, in which version, and that both ends agree about it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ChannelOutput, ChannelSession } from "./channel-session.js";
import { type Dialect, encodeMessage, parseMessage } from "./message-wire.js";

const OURS: readonly (readonly Dialect["version"][])[] = [[1], [4], [1, 4]];
const version = fc.integer({ min: 1, max: 6 });
const theirHello = fc.record({ version, versions: fc.option(fc.uniqueArray(version, { maxLength: 6 })) });

/** 7.5.1: the highest version in both bitmaps, or without one of them the smaller version, if it is spoken. */
function expected(
  ours: readonly number[],
  theirs: { readonly version: number; readonly versions: readonly number[] | null },
): number | undefined {
  if (theirs.versions !== null) {
    const common = theirs.versions.filter((one) => ours.includes(one));
    return common.length === 0 ? undefined : Math.max(...common);
  }
  const smaller = Math.min(theirs.version, Math.max(...ours));
  return ours.includes(smaller) ? smaller : undefined;
}

const types = (outputs: readonly ChannelOutput[]): string[] => outputs.map(({ type }) => type);

describe("version negotiation", () => {
  it("follows the specification for every hello, cut anywhere", () => {
    fc.assert(
      fc.property(fc.constantFrom(...OURS), theirHello, fc.nat({ max: 24 }), (ours, theirs, cut) => {
        const session = new ChannelSession({ answerMalformed: false, versions: ours });
        session.start(0);
        const { version, versions } = theirs;
        const hello = encodeMessage({
          type: "hello",
          xid: 7,
          version,
          ...(versions === null ? {} : { versions: [...versions].sort() }),
        });
        const outputs = [
          ...session.receive(hello.subarray(0, cut), 0),
          ...session.receive(hello.subarray(cut), 0),
        ];
        const agreed = expected(ours, theirs);
        expect(session.isEstablished).toBe(agreed !== undefined);
        if (agreed !== undefined) {
          expect(types(outputs)).toEqual(["established"]);
          expect(session.dialect.version).toBe(agreed);
          return;
        }
        expect(types(outputs)).toEqual(["send", "close"]);
        const [error] = outputs;
        if (error?.type !== "send") throw new Error("no error");
        // In a version that the peer can read: its own, or a lower one.
        expect(error.bytes[0]).toBeLessThanOrEqual(version);
        expect(parseMessage(error.bytes)).toMatchObject({ type: "error", errorType: 0, code: 0, xid: 7 });
      }),
      { numRuns: 1000 },
    );
  });

  it("ends alike at both ends when both are ours, whatever each speaks", () => {
    for (const left of OURS) {
      for (const right of OURS) {
        const [a, b] = [left, right].map(
          (versions) => new ChannelSession({ answerMalformed: false, versions }),
        ) as [ChannelSession, ChannelSession];
        const first = a.start(0);
        const answers = [...b.start(0)];
        const sent = (outputs: readonly ChannelOutput[]): Uint8Array[] =>
          outputs.flatMap((output) => (output.type === "send" ? [output.bytes] : []));
        for (const bytes of sent(first)) answers.push(...b.receive(bytes, 0));
        for (const bytes of sent(answers)) a.receive(bytes, 0);
        const common = left.filter((one) => right.includes(one));
        expect([a.isEstablished, b.isEstablished]).toEqual([common.length > 0, common.length > 0]);
        if (common.length > 0)
          expect([a.dialect.version, b.dialect.version]).toEqual([Math.max(...common), Math.max(...common)]);
      }
    }
  });
});
