// Reassembly and cutting against datagrams cut at random, in random order, with damage and strangers in between.
import fc from "fast-check";
import { expect, it } from "vitest";
import { OFPC_FRAG_NORMAL, OFPC_FRAG_REASM } from "../../base/openflow/index.js";
import { cut, join } from "../testing/fragments.js";
import { udpFrame } from "../testing/frames.js";
import { apply, output, Rig } from "../testing/rig.js";

const datagram = fc
  .record({
    isIpv6: fc.boolean(),
    payload: fc.uint8Array({ minLength: 64, maxLength: 6000 }),
    places: fc.uniqueArray(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 12 }),
    identification: fc.nat({ max: 3 }),
  })
  .map(({ isIpv6, payload, places, identification }) => {
    const addresses = isIpv6 ? (["fd00::1", "fd00::2"] as const) : (["10.0.0.1", "10.0.0.2"] as const);
    const [source, destination] = addresses;
    const frame = udpFrame({ source, destination, sourcePort: 1, destinationPort: 2 }, payload);
    const size = payload.byteLength + 8;
    const at = places
      .map((place) => place * 8)
      .filter((place) => place > 0 && place < size)
      .sort((a, b) => a - b);
    const headerSize = isIpv6 ? 54 : 34;
    return { headerSize, payload: frame.slice(headerSize), pieces: cut(frame, at, identification) };
  })
  .filter(({ pieces }) => pieces.length > 1);

function rig(): Rig {
  const made = new Rig(2);
  made.bridge.handleFragments(OFPC_FRAG_REASM);
  made.flow({ instructions: [apply(output(2))] });
  return made;
}

const ipSize = (frame: Uint8Array): number => frame.byteLength - 14;

it("what was cut is put together, and leaves in pieces no larger than those that came", () => {
  fc.assert(
    fc.property(datagram, fc.infiniteStream(fc.nat()), ({ headerSize, payload, pieces }, order) => {
      const shuffled = pieces.map((piece) => ({ piece, rank: order.next().value as number }));
      shuffled.sort((a, b) => a.rank - b.rank);
      const made = rig();
      const out = made.send(1, ...shuffled.map(({ piece }) => piece)).get(2) ?? [];
      // Without its fragment header a whole datagram may be as short as the largest piece was.
      const isWhole = out.length === 1;
      expect(isWhole ? out[0]?.slice(headerSize) : join(out)).toEqual(payload);
      const largest = Math.max(...pieces.map(ipSize));
      for (const piece of out) expect(ipSize(piece)).toBeLessThanOrEqual(Math.min(1500, largest));
      expect(made.pool.available).toBe(256);
    }),
    { numRuns: 100 },
  );
});

it("damaged, repeated and mixed fragments lose no packet of the pool and stop nothing", () => {
  const step = fc.record({
    which: fc.nat(),
    at: fc.integer({ min: 14, max: 70 }),
    to: fc.nat({ max: 255 }),
    damage: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(datagram, { minLength: 1, maxLength: 4 }), fc.array(step), (datagrams, steps) => {
      const made = rig();
      const all = datagrams.flatMap(({ pieces }) => pieces);
      for (const { which, at, to, damage } of steps) {
        const piece = (all[which % all.length] as Uint8Array).slice();
        if (damage && at < piece.byteLength) piece[at] = to;
        made.send(1, piece);
      }
      made.nowMs += 20_000;
      made.datapath.tick(made.nowMs);
      expect(made.pool.available).toBe(256);
      made.bridge.handleFragments(OFPC_FRAG_NORMAL);
      expect(made.send(1, all[0] as Uint8Array).get(2)).toEqual([all[0]]);
    }),
    { numRuns: 100 },
  );
});
