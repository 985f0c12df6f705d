import { describe, expect, it } from "vitest";
import type { Action } from "../../base/openflow/index.js";
import { tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, output, Rig } from "../testing/rig.js";

const TO: Action = { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 1, 2, 3, 4, 5) };
const FROM: Action = { type: "set_field", field: "eth_src", value: Uint8Array.of(2, 9, 8, 7, 6, 5) };
const TTL: Action = { type: "dec_nw_ttl" };
const V4 = { source: "10.0.0.1", destination: "10.0.0.2" };
const V6 = { source: "fd00::1", destination: "fd00::2" };
/** Where the TTL of an untagged frame is. */
const TTL_AT = 22;
const HOP_LIMIT_AT = 21;
const CHECKSUM_AT = 24;

/** With another TTL, and the checksum that goes with it. */
function withTtl(frame: Uint8Array, ttl: number): Uint8Array {
  const copy = frame.slice();
  const view = new DataView(copy.buffer);
  copy[TTL_AT] = ttl;
  view.setUint16(CHECKSUM_AT, 0);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  view.setUint16(CHECKSUM_AT, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  return copy;
}

function routing(): Rig {
  const rig = new Rig(3);
  rig.flow({ match: [field("in_port", 1)], instructions: [apply(TO, FROM, TTL, output(2))] });
  rig.flow({ match: [field("in_port", 3)], instructions: [apply(TO, FROM, TTL, output(3))] });
  return rig;
}

describe("a burst of routed packets", () => {
  it("leaves with the bytes that each packet by itself would have had, in order", () => {
    const frames = Array.from({ length: 40 }, (_, i) =>
      i % 3 === 0
        ? udpFrame({ ...V4, sourcePort: i })
        : tcpFrame({ ...(i % 3 === 1 ? V4 : V6), sourcePort: i }, 16),
    );
    // One by one in datapaths that know nothing: by the tables.
    const wanted = frames.map((frame) => routing().send(1, frame).get(2)![0]!);
    const rig = routing();
    rig.send(1, ...frames);
    expect(rig.send(1, ...frames).get(2)).toEqual(wanted);
    expect(wanted[0]!.subarray(0, 12)).toEqual(Uint8Array.of(2, 1, 2, 3, 4, 5, 2, 9, 8, 7, 6, 5));
    expect(wanted[0]![TTL_AT]).toBe(frames[0]![TTL_AT]! - 1);
    expect(wanted[2]![HOP_LIMIT_AT]).toBe(frames[2]![HOP_LIMIT_AT]! - 1);
  });

  it("loses those whose time is over, which controllers are told of, and no other", () => {
    const rig = routing();
    const ttls = [64, 2, 1, 9, 0, 1, 255];
    const frames = ttls.map((ttl, i) => withTtl(udpFrame({ ...V4, sourcePort: i }), ttl));
    rig.send(1, ...frames);
    rig.events = [];
    const left = rig.send(1, ...frames).get(2)!;
    expect(left.map((frame) => frame[TTL_AT])).toEqual([63, 1, 8, 254]);
    expect(left.map((frame) => new DataView(frame.buffer, frame.byteOffset).getUint16(34))).toEqual([
      0, 1, 3, 6,
    ]);
    expect(rig.events.filter(({ type }) => type === "packet_in")).toHaveLength(3);
    const { counters } = rig.bridge.tables;
    const counted = rig.bridge.tables.flowsOf(0).map(({ slot }) => counters.packets[slot]);
    expect(counted.sort()).toEqual([0, 2 * ttls.length]);
  });

  it("does not leave by the port that it came in by", () => {
    const rig = routing();
    for (let round = 0; round < 3; round++) expect(rig.where(3, udpFrame(V4))).toEqual([]);
  });
});
