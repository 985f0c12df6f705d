// Random frames between a few stations, so that addresses are met again: unicast, multicast and reserved
// destinations, without a tag, with one or with several, and every priority.
import fc from "fast-check";
import { concatBytes } from "../../../../base/bytes/index.js";
import type { FrameIn } from "../compare.js";

export interface FrameOptions {
  readonly ports: number;
  /** The VLANs of the tags; 0 stands for a priority tag. */
  readonly vlans: readonly number[];
  /** Tags of a frame at most; 3 when absent. */
  readonly tagsMax?: number;
}

const ETHERTYPE_TEST = 0x88b5;
const STATIONS = [1, 2, 3, 4].map((n) => [0x52, 0x54, 0, 0, 0, n]);
const GROUPS = [
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x01, 0x00, 0x5e, 0x00, 0x00, 0x05],
  [0x33, 0x33, 0x00, 0x00, 0x00, 0x01],
];
/** IEEE 802.1Q-2022 table 8-1, and the neighbours that switches keep to themselves too. */
const RESERVED = [
  [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00],
  [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e],
  [0x01, 0x80, 0xc2, 0x00, 0x00, 0x10],
];

export function frameIn({ ports, vlans, tagsMax = 3 }: FrameOptions): fc.Arbitrary<FrameIn> {
  const destination = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...STATIONS) },
    { weight: 3, arbitrary: fc.constantFrom(...GROUPS) },
    { weight: 1, arbitrary: fc.constantFrom(...RESERVED) },
  );
  const source = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...STATIONS) },
    { weight: 1, arbitrary: fc.constantFrom(...GROUPS) },
  );
  const tag = fc
    .record({
      type: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0x8100) },
        { weight: 1, arbitrary: fc.constant(0x88a8) },
      ),
      vlan: fc.constantFrom(...vlans),
      // Without DEI: Open vSwitch loses it when it gives a frame another tag.
      priority: fc.nat(7),
    })
    .map(({ type, vlan, priority }) => [
      ...[type >> 8, type & 0xff],
      ...[(priority << 5) | (vlan >> 8), vlan & 0xff],
    ]);
  const tags = fc.oneof(
    { weight: 5, arbitrary: fc.constant([] as number[][]) },
    { weight: 7, arbitrary: tag.map((one) => [one]) },
    { weight: 2, arbitrary: fc.array(tag, { minLength: 2, maxLength: 3 }) },
  );
  const payload = fc.record({ size: fc.constantFrom(46, 50, 80), fill: fc.nat(255) });
  return fc
    .record({ port: fc.integer({ min: 1, max: ports }), destination, source, tags, payload })
    .map(({ port, destination, source, tags, payload }) => ({
      port,
      frame: concatBytes([
        Uint8Array.from([
          ...destination,
          ...source,
          ...tags.slice(0, tagsMax).flat(),
          ETHERTYPE_TEST >> 8,
          ETHERTYPE_TEST & 0xff,
        ]),
        new Uint8Array(payload.size).fill(payload.fill),
      ]),
    }));
}
