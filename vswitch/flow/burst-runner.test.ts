import { describe, expect, it } from "vitest";
import { tcpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";

const frame = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 16);

describe("what is remembered of a frame", () => {
  it("is not what becomes of it when it comes in by the port that it is sent to", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply(output(3))] });
    for (let n = 0; n < 3; n++) {
      expect(rig.where(1, frame)).toEqual([3]);
      expect(rig.where(3, frame)).toEqual([]);
    }
  });

  it("goes out of all ports, whatever port the frame before came in by", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply(output(2), output(3))] });
    for (let n = 0; n < 3; n++) {
      expect(rig.where(1, frame)).toEqual([2, 3]);
      expect(rig.where(3, frame)).toEqual([2]);
      expect(rig.where(1, frame)).toEqual([2, 3]);
    }
  });

  it("goes out of all ports when the frame before was said to come in by one of them", () => {
    const rig = new Rig(3);
    const inPort = { field: "in_port", offset: 0, bits: 32 } as const;
    const comesBy3 = { type: "load", destination: inPort, value: 3n } as const;
    const other = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.9" }, 16);
    rig.flow({ instructions: [apply(output(2), output(3))] });
    rig.flow({
      priority: 200,
      match: match(field("eth_type", 0x800), field("ipv4_dst", 0x0a000009)),
      instructions: [apply(comesBy3, output(1))],
    });
    expect(rig.where(1, frame)).toEqual([2, 3]);
    const sent = rig.send(1, other, frame, other, frame);
    expect(sent.get(3)).toEqual([frame, frame]);
    expect(sent.get(1)).toEqual([other, other]);
  });
});
