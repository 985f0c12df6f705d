import fc from "fast-check";
import { expect, it } from "vitest";
import { apply, output, Rig } from "../testing/rig.js";
import type { VlanConfig } from "./index.js";

// NORMAL beside a model that knows tags as lists of numbers, ports as plain configurations and stations as a map.

const NORMAL = 0xfffffffa;
const VLANS = [0, 1, 5, 4095] as const;
const vid = fc.constantFrom(...VLANS);

const vlanConfig: fc.Arbitrary<VlanConfig> = fc
  .record({
    mode: fc.constantFrom("access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel"),
    tag: vid,
    trunks: fc.subarray([...VLANS]),
    cvlans: fc.subarray([...VLANS]),
    priorityTags: fc.constantFrom("never", "if-nonzero"),
  } as const)
  .map((config) => ({
    ...config,
    // A tunnel has a service VLAN, a trunk no VLAN of its own.
    tag: config.mode === "trunk" ? 0 : config.mode === "dot1q-tunnel" ? config.tag || 1 : config.tag,
  }));

interface Tag {
  readonly type: number;
  readonly priority: number;
  readonly vid: number;
}
const tag: fc.Arbitrary<Tag> = fc.record({
  type: fc.constantFrom(0x8100, 0x88a8),
  /** With DEI. */
  priority: fc.nat(15),
  vid,
});
const step = fc.record({
  port: fc.integer({ min: 1, max: 4 }),
  from: fc.nat(3),
  to: fc.nat(4),
  tags: fc.array(tag, { maxLength: 3 }),
});

function encode(from: number, to: number, tags: readonly Tag[]): Uint8Array {
  const address = (n: number): number[] => (n === 4 ? [255, 255, 255, 255, 255, 255] : [2, 0, 0, 0, 0, n]);
  const words = tags.flatMap(({ type, priority, vid: id }) => [
    ...[type >> 8, type & 255, (priority << 4) | (id >> 8), id & 255],
  ]);
  return Uint8Array.from([
    ...address(to),
    ...address(from),
    ...words,
    0x88,
    0xb5,
    ...new Array<number>(46).fill(7),
  ]);
}

const carried = ({ mode, tag: own, trunks }: VlanConfig, vlan: number): boolean => {
  if (mode === "access" || mode === "dot1q-tunnel") return vlan === own;
  if (mode.startsWith("native") && own !== 0 && (vlan === 0 || vlan === own)) return vlan === own;
  return trunks.length === 0 || trunks.includes(vlan);
};
const takesCustomer = ({ cvlans = [] }: VlanConfig, id: number): boolean =>
  cvlans.length === 0 || cvlans.includes(id);

interface InVlan {
  readonly vlan: number;
  /** The tag with the VLAN; undefined for an untagged frame on a trunk. */
  readonly outer: Tag | undefined;
  readonly inner: Tag | undefined;
  /** The tags that were not looked at. */
  readonly rest: readonly Tag[];
  /** That the frame came with, DEI included. */
  readonly priority: number;
}

function comeIn(port: VlanConfig, tags: readonly Tag[]): InVlan | undefined {
  const [first, ...rest] = tags;
  const priority = first?.priority ?? 0;
  if (port.mode === "dot1q-tunnel") {
    if (!takesCustomer(port, first?.vid ?? 0)) return undefined;
    const outer = { type: port.qinqEtherType ?? 0x88a8, priority: 0, vid: port.tag };
    return { vlan: port.tag, outer, inner: first, rest, priority };
  }
  const id = first?.vid ?? 0;
  if (port.mode === "access" && id !== 0) return undefined;
  const vlan = id === 0 ? port.tag : id;
  const isNative = port.mode.startsWith("native") && id === 0;
  if (!isNative && !carried(port, vlan)) return undefined;
  const untagged = port.mode === "trunk" ? undefined : { type: 0x8100, priority: 0, vid: vlan };
  return {
    vlan,
    outer: first === undefined ? untagged : { ...first, vid: vlan },
    inner: undefined,
    rest,
    priority,
  };
}

function mayLeave(port: VlanConfig, { vlan, inner }: InVlan, toStation: boolean): boolean {
  if (toStation && port.mode.startsWith("native") && vlan === port.tag) return true;
  if (!carried(port, vlan)) return false;
  if (port.mode === "access") return (inner?.vid ?? 0) === 0;
  return port.mode !== "dot1q-tunnel" || takesCustomer(port, inner?.vid ?? 0);
}

function leave(port: VlanConfig, { vlan, outer, inner, rest, priority: own }: InVlan): Tag[] {
  const keepsPriority = port.priorityTags === "if-nonzero";
  const isOwn = port.mode === "access" || port.mode === "dot1q-tunnel" || port.mode === "native-untagged";
  const isEmpty = inner === undefined || (inner.vid === 0 && inner.priority === 0);
  const below = [...(isEmpty || port.mode === "access" ? [] : [inner]), ...rest];
  if (isOwn && vlan === port.tag) {
    if (!keepsPriority || own === 0 || (port.mode === "dot1q-tunnel" && !isEmpty)) return below;
    return [{ type: 0x8100, priority: own, vid: 0 }, ...below];
  }
  if (outer === undefined || (vlan === 0 && outer.priority === 0)) return below;
  const priority = keepsPriority && vlan !== 0 ? (outer.priority & 1) | (own & 14) : outer.priority;
  return [{ ...outer, priority }, ...below];
}

it("NORMAL forwards as a naive model of VLANs and stations does", () => {
  const rig = new Rig(4);
  rig.flow({ priority: 0, instructions: [apply(output(NORMAL))] });
  fc.assert(
    fc.property(
      fc.array(vlanConfig, { minLength: 4, maxLength: 4 }),
      fc.array(step, { minLength: 1, maxLength: 25 }),
      (vlans, steps) => {
        rig.bridge.slots.forEach((slot, n) => {
          rig.bridge.setPort(slot, { vlan: vlans[n]! }, rig.nowMs);
        });
        rig.bridge.forwarding.macs.flush();
        const stations = new Map<string, number>();
        for (const { port, from, to, tags } of steps) {
          const out = rig.send(port, encode(from, to, tags));
          const frame = comeIn(vlans[port - 1]!, tags);
          const expected = new Map<number, Uint8Array[]>();
          if (frame !== undefined) {
            stations.set(`${from}/${frame.vlan}`, port);
            const known = to === 4 ? undefined : stations.get(`${to}/${frame.vlan}`);
            vlans.forEach((each, index) => {
              const number = index + 1;
              if (number === port || (known !== undefined && known !== number)) return;
              if (mayLeave(each, frame, known !== undefined))
                expected.set(number, [encode(from, to, leave(each, frame))]);
            });
          }
          expect(out).toEqual(expected);
        }
        expect(rig.pool.available).toBe(rig.pool.slots);
      },
    ),
    { numRuns: 300 },
  );
});
