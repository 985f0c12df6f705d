import { describe, expect, it } from "vitest";
import type { Action } from "../../base/openflow/index.js";
import { encodeEthernet, encodeIpv4, parseIpv4Address, parseMac } from "../../base/wire/index.js";
import { plainFrame, udpFrame } from "../testing/frames.js";
import { apply, output, Rig } from "../testing/rig.js";

const PUSH: Action = { type: "push_mpls", etherType: 0x8847 };

/** The label entries of what leaves when the actions are done to the frame, as hexadecimal. */
function entries(frame: Uint8Array, count: number, ...actions: readonly Action[]): string {
  const rig = new Rig(2);
  rig.flow({ instructions: [apply(...actions, output(2))] });
  const [sent] = rig.send(1, frame).get(2) ?? [];
  return Buffer.from(sent?.subarray(14, 14 + 4 * count) ?? []).toString("hex");
}

// OpenFlow 1.3.5, 5.12.1.
describe("push_mpls", () => {
  it("takes the TTL from IPv4, and nothing else", () => {
    const pair = { source: parseIpv4Address("10.0.0.1"), destination: parseIpv4Address("10.0.0.2") };
    const payload = encodeIpv4({ ...pair, protocol: 253, ttl: 9, dscp: 46, payload: new Uint8Array(40) });
    const macs = {
      destination: parseMac("52:54:00:00:00:02"),
      source: parseMac("52:54:00:00:00:01"),
    };
    const frame = encodeEthernet({ ...macs, etherType: 0x0800, payload });
    expect(entries(frame, 1, PUSH)).toBe("00000109");
  });

  it("takes it from IPv6", () => {
    expect(entries(udpFrame({ source: "fd00::1", destination: "fd00::2" }), 1, PUSH)).toBe("00000140");
  });

  it("gives other frames a TTL of 64", () => {
    expect(entries(plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02"), 1, PUSH)).toBe("00000140");
  });

  it("copies the entry that is there, but for the end of the stack", () => {
    const label: Action = {
      type: "load",
      destination: { field: "mpls_label", offset: 0, bits: 20 },
      value: 7n,
    };
    const frame = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" });
    expect(entries(frame, 2, PUSH, label, PUSH)).toBe("0000704000007140");
  });
});
