import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EDITS_MAX, StreamEdits } from "./stream-edits.js";

/** A stream of pieces: those with a text are changed. */
const pieces = fc.array(
  fc.record({
    plain: fc.uint8Array({ maxLength: 20 }),
    old: fc.uint8Array({ minLength: 1, maxLength: 12 }),
    text: fc.uint8Array({ minLength: 1, maxLength: 12 }),
  }),
  { minLength: 1, maxLength: EDITS_MAX },
);
const cuts = fc.array(fc.record({ at: fc.nat(400), size: fc.nat(60) }), { minLength: 1, maxLength: 60 });

const join = (parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((one) => [...one]));

function editsOf(all: readonly { plain: Uint8Array; old: Uint8Array; text: Uint8Array }[], first: number) {
  const edits = new StreamEdits();
  let at = first;
  for (const { plain, old, text } of all) {
    at += plain.byteLength;
    expect(edits.add(at, old.byteLength, text, first)).toBe(true);
    at += old.byteLength;
  }
  return edits;
}

describe("StreamEdits", () => {
  it("makes one stream of whatever pieces a sender cuts its own into, as often as it sends them", () => {
    fc.assert(
      fc.property(pieces, cuts, fc.integer(), (all, segments, first) => {
        const sent = join(all.flatMap(({ plain, old }) => [plain, old]));
        const wanted = join(all.flatMap(({ plain, text }) => [plain, text]));
        const edits = editsOf(all, first);
        const got = new Int16Array(wanted.byteLength).fill(-1);
        const scratch = new Uint8Array(1000);
        const take = (start: number, end: number): void => {
          const size = edits.apply(sent.subarray(start, end), (first + start) | 0, scratch);
          const from = (edits.received((first + start) | 0) - first) | 0;
          expect((edits.received((first + end) | 0) - first) | 0).toBe(from + size);
          for (let i = 0; i < size; i++) {
            expect([-1, scratch[i]]).toContain(got[from + i]);
            got[from + i] = scratch[i] as number;
          }
        };
        for (const { at, size } of segments) {
          const start = Math.min(at, sent.byteLength);
          take(start, Math.min(start + size, sent.byteLength));
        }
        for (let at = 0; at < sent.byteLength; at += 7) take(at, Math.min(at + 7, sent.byteLength));
        expect([...got]).toEqual([...wanted]);
      }),
    );
  });

  it("takes nothing for received that is not, and everything that is", () => {
    fc.assert(
      fc.property(pieces, fc.integer(), (all, first) => {
        const edits = editsOf(all, first);
        const sentSize = all.reduce((sum, { plain, old }) => sum + plain.byteLength + old.byteLength, 0);
        let before = edits.received(first);
        for (let n = 0; n <= sentSize; n++) {
          const received = edits.received((first + n) | 0);
          expect((received - before) | 0).toBeGreaterThanOrEqual(0);
          before = received;
        }
        const end = (edits.received((first + sentSize) | 0) - first) | 0;
        for (let n = 0; n <= end; n++) {
          const sent = edits.sentOf((first + n) | 0);
          expect((edits.received(sent) - first) | 0).toBeLessThanOrEqual(n);
        }
        // Outside of what is changed there is one number for each.
        let at = 0;
        for (const { plain, old } of all) {
          for (let n = 0; n <= plain.byteLength; n++)
            expect((edits.sentOf(edits.received((first + at + n) | 0)) - first) | 0).toBe(at + n);
          at += plain.byteLength + old.byteLength;
        }
        expect((edits.sentOf((first + end) | 0) - first) | 0).toBe(sentSize);
      }),
    );
  });

  it("forgets what is acknowledged, keeps what is not, and goes on counting", () => {
    const edits = new StreamEdits();
    expect(edits.isPlain).toBe(true);
    const text = Uint8Array.of(1, 2, 3, 4);
    for (let n = 0; n < EDITS_MAX; n++) expect(edits.add(n * 10, 3, text, 0)).toBe(true);
    const end = edits.received(1000);
    expect(end).toBe(1000 + EDITS_MAX);
    expect(edits.add(EDITS_MAX * 10, 3, text, 2)).toBe(false);
    expect(edits.add(EDITS_MAX * 10, 3, text, 3)).toBe(true);
    expect(edits.received(1000)).toBe(end + 1);
    expect(edits.sentOf(end + 1)).toBe(1000);
    edits.advance(0x7fff_0000);
    expect(edits.touches(0, 1000)).toBe(false);
    expect(edits.received(0x7fff_0000)).toBe((0x7fff_0000 + EDITS_MAX + 1) | 0);
    expect(edits.isPlain).toBe(false);
  });
});
