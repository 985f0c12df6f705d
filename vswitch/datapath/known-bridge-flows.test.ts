import { describe, expect, it } from "vitest";
import type { Action } from "../../base/openflow/index.js";
import { VERDICT_TWINS_MAX } from "../flow/limits.js";
import { tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, output, Rig } from "../testing/rig.js";
import { countKnownFlowsOf, type KnownBridgeFlow, knownFlowsOf } from "./known-bridge-flows.js";

const PAIR = { source: "10.0.0.1", destination: "10.0.0.2" };
const IPV4 = field("eth_type", 0x800);

const flowsOf = ({ bridge, nowMs }: Rig): KnownBridgeFlow[] => knownFlowsOf(bridge, nowMs);
const fieldsOf = ({ megaflow }: KnownBridgeFlow): string[] =>
  megaflow.match.map(({ field: name }) => name).sort();
/** How many packets they tell of, each with the first, of which they do not. */
const packetsOf = (flows: readonly KnownBridgeFlow[]): number =>
  flows.reduce((sum, { packets, others }) => sum + packets + 1 + others, 0);

describe("knownFlowsOf()", () => {
  it("tells packets of many conversations as one flow, by what the tables looked at, with counters and use", () => {
    const rig = new Rig(2);
    rig.flow({ match: [IPV4, field("ip_proto", 17)], instructions: [apply(output(2))] });
    for (let i = 0; i < 10; i++) rig.send(1, udpFrame({ ...PAIR, sourcePort: 1000 + i }));
    rig.nowMs += 250;
    const [flow, ...more] = flowsOf(rig);
    expect(more).toEqual([]);
    expect(flow).toMatchObject({ table: undefined, inPort: 1, datapathPort: 1, packets: 9, others: 0 });
    expect(flow!.bytes).toBe(9 * udpFrame(PAIR).byteLength);
    expect(flow!.idleMs).toBe(250);
    expect(fieldsOf(flow!)).toEqual(["eth_type", "in_port", "ip_frag", "ip_proto"]);
    expect(flow!.flows).toEqual([{ tableId: 0, priority: expect.any(Number), cookie: 0n }]);
    expect(countKnownFlowsOf(rig.bridge)).toBe(1);
  });

  it("counts what differs only in where it came in, or by what it is known, by itself", () => {
    const rig = new Rig(3);
    rig.flow({ match: [IPV4], instructions: [apply(output(3))] });
    for (let i = 0; i < 4; i++) rig.send(1, udpFrame({ ...PAIR, sourcePort: i }));
    for (let i = 0; i < 3; i++) rig.send(2, udpFrame({ ...PAIR, sourcePort: i }));
    for (let i = 0; i < 2; i++) rig.send(1, tcpFrame({ ...PAIR, sourcePort: i }, 16));
    const told = flowsOf(rig).map(({ inPort, packets }) => [inPort, packets]);
    expect(told.sort()).toEqual([
      [1, 1],
      [1, 3],
      [2, 2],
    ]);
  });

  it("shares a flow among the rest where there are very many, and says so", () => {
    const rig = new Rig(2);
    const port = (destinationPort: number) => udpFrame({ ...PAIR, destinationPort });
    // One flow that they all meet, because of another that has them looked at to the last bit.
    rig.flow({ priority: 1, match: [IPV4], instructions: [apply(output(2))] });
    rig.flow({
      priority: 2,
      match: [IPV4, field("ip_proto", 17), field("udp_dst", 65_535)],
      instructions: [],
    });
    for (let i = 0; i < 16; i++)
      rig.flow({
        priority: 2,
        match: [IPV4, field("ip_proto", 17), field("udp_dst", 1 << i)],
        instructions: [],
      });
    const count = 4 * VERDICT_TWINS_MAX;
    for (let round = 0; round < 2; round++) for (let i = 0; i < count; i++) rig.send(1, port(3 + 8 * i));
    const flows = flowsOf(rig);
    const through = flows.filter(({ flows: met }) => met[0]?.priority === 1);
    expect(through.length).toBeLessThanOrEqual(VERDICT_TWINS_MAX + 1);
    expect(packetsOf(through)).toBeGreaterThanOrEqual(count);
    const total = through.reduce((sum, { packets }) => sum + packets, 0);
    // All but those that have gone through the tables themselves.
    expect(total).toBeGreaterThanOrEqual(count);
    expect(total).toBeLessThanOrEqual(2 * count);
  });

  it("tells what goes to controllers by its whole key, as the tables see each packet of it", () => {
    const rig = new Rig(2);
    const controller: Action = { type: "output", port: 0xfffffffd, maxLength: 128 };
    rig.flow({ match: [IPV4], instructions: [apply(controller)] });
    for (let i = 0; i < 5; i++) rig.send(1, udpFrame(PAIR));
    const [flow, ...more] = flowsOf(rig);
    expect(more).toEqual([]);
    expect(flow!.packets).toBe(4);
    expect(fieldsOf(flow!)).toContain("udp_src");
  });

  it("begins anew when the tables change for such packets, and knows nothing that is no longer true", () => {
    const rig = new Rig(2);
    rig.flow({ match: [IPV4], instructions: [apply(output(2))] });
    for (let i = 0; i < 3; i++) rig.send(1, udpFrame(PAIR));
    expect(flowsOf(rig)).toHaveLength(1);
    rig.flow({ priority: 9, match: [IPV4, field("ip_proto", 17)], instructions: [] });
    expect(flowsOf(rig)).toEqual([]);
    expect(countKnownFlowsOf(rig.bridge)).toBe(0);
    for (let i = 0; i < 3; i++) rig.send(1, udpFrame(PAIR));
    expect(flowsOf(rig).map(({ packets }) => packets)).toEqual([2]);
  });
});
