import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Batch, PacketPool } from "../../../base/packet/index.js";
import { LoadBalancer } from "./load-balancer.js";

const config = {
  name: "a/b",
  type: "LoadBalancer",
  socket: "/x",
  macAddress: "02:00:00:00:00:64",
  address: "10.10.0.100",
  probeAddress: "10.10.0.101",
  ports: [{ port: 80, targetPort: 8080, protocol: "TCP" }],
  endpoints: [{ name: "web1", address: "10.10.0.2", macAddress: "02:00:00:00:00:02", draining: false }],
  healthCheck: {
    protocol: "TCP",
    intervalMs: 1000,
    timeoutMs: 400,
    healthyThreshold: 1,
    unhealthyThreshold: 2,
  },
} as const;
const protocols = ["TCP", "HTTP", "ICMP"] as const;

/** Arbitrary bytes that often look like IPv4 or ARP, so that the deeper checks are reached. */
const frame = fc
  .tuple(
    fc.constantFrom(0x0800, 0x0806, 0x86dd),
    fc.constantFrom(0x45, 0x46, 0x4f, 0x65),
    fc.uint8Array({ minLength: 14, maxLength: 120 }),
  )
  .map(([type, first, bytes]) => {
    const out = bytes.slice();
    out[12] = type >>> 8;
    out[13] = type & 255;
    if (out.length > 14) out[14] = first;
    return out;
  });

describe("LoadBalancer.push()", () => {
  it("takes any bytes without touching what lies outside the frame", () => {
    const pool = new PacketPool({ slots: 16 });
    const input = new Batch();
    const output = new Batch();
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 8 }),
        fc.constantFrom(...protocols),
        (frames, protocol) => {
          const healthCheck = { ...config.healthCheck, protocol };
          const balancer = new LoadBalancer({ ...config, healthCheck }, { pool });
          pool.bytes.fill(0xa5);
          const packets = frames.map((bytes) => pool.allocateFrom(bytes));
          const inside = new Set<number>();
          for (const packet of packets) {
            const offset = pool.offset[packet] as number;
            for (let i = 0; i < (pool.length[packet] as number); i++) inside.add(offset + i);
            input.push(packet);
          }
          balancer.push(input, output, 1000);
          output.freeAll(pool);
          expect(input.length).toBe(0);
          expect(pool.available).toBe(16);
          for (let i = 0; i < pool.bytes.length; i++)
            if (pool.bytes[i] !== 0xa5 && !inside.has(i)) expect.fail(`byte ${i} was written`);
        },
      ),
      { numRuns: 60 },
    );
  });
});
