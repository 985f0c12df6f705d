import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../../base/errors/index.js";
import { parseLoadBalancerConfig } from "./load-balancer-config.js";

const good = {
  name: "shop/web",
  type: "LoadBalancer",
  socket: "/run/nf.sock",
  macAddress: "02:00:00:00:00:64",
  address: "10.10.0.100",
  probeAddress: "10.10.0.101",
  ports: [{ port: 80, targetPort: 8080 }],
  endpoints: [{ name: "web1", address: "10.10.0.2", macAddress: "02:00:00:00:00:02", draining: false }],
};

describe("parseLoadBalancerConfig()", () => {
  it("fills in defaults", () => {
    expect(parseLoadBalancerConfig(good)).toMatchObject({
      ports: [{ port: 80, targetPort: 8080, protocol: "TCP" }],
      healthCheck: { intervalMs: 1000, timeoutMs: 500 },
    });
  });

  it.each([
    [{ address: "10.10.0.300" }, "address"],
    [{ macAddress: "02:00" }, "macAddress"],
    [{ ports: [] }, "ports"],
    [{ ports: [{ port: 0 }] }, "ports[0].port"],
    [{ ports: [{ port: 80 }, { port: 80 }] }, "ports"],
    [{ endpoints: [{ ...good.endpoints[0], address: "x" }] }, "endpoints[0].address"],
    [{ endpoints: [good.endpoints[0], good.endpoints[0]] }, "endpoints"],
    [{ healthCheck: { intervalMs: 100, timeoutMs: 200 } }, "healthCheck.timeoutMs"],
    [{ type: "Firewall" }, "type"],
  ])("names the field of %j", (change, field) => {
    expect(() => parseLoadBalancerConfig({ ...good, ...change })).toThrow(
      expect.objectContaining({ code: "FUNCTION_INVALID", field }),
    );
  });

  it("answers anything at all with a config or FUNCTION_INVALID", () => {
    const keys = fc.constantFrom(...Object.keys(good), "healthCheck");
    fc.assert(
      fc.property(fc.dictionary(keys, fc.anything()), (change) => {
        try {
          parseLoadBalancerConfig({ ...good, ...change });
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
    );
  });
});
