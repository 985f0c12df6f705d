// Endpoints are hostile: whatever they send, a prober neither throws nor reads past the packet, sends at most one frame
// for each packet it takes, and reports at most once per interval.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseEthernet, parseIpv4 } from "../../base/wire/index.js";
import { createProber } from "./create-prober.js";

const source = {
  address: 0x0a0a0065,
  mac: Uint8Array.of(2, 0, 0, 0, 0, 100),
  intervalMs: 1000,
  timeoutMs: 400,
  path: "/",
};
const target = { address: 0x0a0a0002, mac: Uint8Array.of(2, 0, 0, 0, 0, 2), port: 80 };

/** Bytes of a transport header, of which some may be replaced by what the last probe makes plausible. */
const packet = fc.record({
  bytes: fc.uint8Array({ minLength: 20, maxLength: 80 }),
  ports: fc.boolean(),
  acknowledges: fc.boolean(),
  inOrder: fc.boolean(),
  flags: fc.option(fc.constantFrom(0x02, 0x04, 0x10, 0x11, 0x12, 0x14, 0x18), { nil: undefined }),
  echo: fc.boolean(),
});

describe.each(["TCP", "HTTP", "ICMP"] as const)("prober for %s", (protocol) => {
  it("takes any packets", () => {
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 12 }), (packets) => {
        const prober = createProber(protocol);
        let reports = 0;
        let last = new Uint8Array(0);
        let frames = 0;
        const send = (frame: Uint8Array) => {
          frames++;
          last = frame as Uint8Array<ArrayBuffer>;
        };
        prober.configure(source, [target], () => reports++);
        prober.tick(1, send);
        let expected = 0;
        for (const { bytes, ports, acknowledges, inOrder, flags, echo } of packets) {
          const probe = parseIpv4(parseEthernet(last).payload).payload;
          const ours = new DataView(probe.buffer, probe.byteOffset, probe.byteLength);
          const copy = new Uint8Array(20 + bytes.byteLength);
          copy.set(echo ? probe.subarray(0, bytes.byteLength) : bytes, 20);
          const view = new DataView(copy.buffer);
          view.setUint16(2, copy.byteLength);
          view.setUint32(12, target.address);
          if (ports) view.setUint32(20, (ours.getUint16(2) << 16) | ours.getUint16(0));
          if (acknowledges) view.setUint32(28, ours.getUint32(4) + 1);
          if (inOrder) view.setUint32(24, expected);
          if (flags !== undefined) view.setUint8(33, flags);
          expected = (view.getUint32(24) + 1) >>> 0;
          const before = frames;
          prober.receive(view, 0, 20, 5, send);
          expect(frames - before).toBeLessThanOrEqual(1);
        }
        expect(reports).toBeLessThanOrEqual(1);
        prober.tick(401, send);
        expect(reports).toBe(1);
      }),
    );
  });
});
