import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../../base/errors/index.js";
import { codePoint } from "../../../base/testing/code-point.js";
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
      healthCheck: { protocol: "TCP", intervalMs: 1000, timeoutMs: 500 },
    });
    expect(parseLoadBalancerConfig({ ...good, healthCheck: { protocol: "HTTP" } }).healthCheck).toMatchObject(
      {
        protocol: "HTTP",
        path: "/",
      },
    );
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
    [{ healthCheck: { protocol: "SCTP" } }, "healthCheck.protocol"],
    [{ healthCheck: { protocol: null } }, "healthCheck.protocol"],
    [{ healthCheck: { path: "/" } }, "healthCheck.path"],
    [{ healthCheck: { protocol: "HTTP", path: "healthz" } }, "healthCheck.path"],
    [{ healthCheck: { protocol: "HTTP", path: "/a b" } }, "healthCheck.path"],
    [{ healthCheck: { protocol: "HTTP", path: "/\r\nHost: x" } }, "healthCheck.path"],
    [{ healthCheck: { protocol: "HTTP", path: `/${"a".repeat(256)}` } }, "healthCheck.path"],
    [{ ports: [{ port: 53, protocol: "UDP" }] }, "healthCheck.protocol"],
    [{ type: "Firewall" }, "type"],
  ])("names the field of %j", (change, field) => {
    expect(() => parseLoadBalancerConfig({ ...good, ...change })).toThrow(
      expect.objectContaining({ code: "FUNCTION_INVALID", field }),
    );
  });

  it("takes balancers of UDP that are checked by ICMP, or not at all", () => {
    const ports = [{ port: 53, protocol: "UDP" }];
    const { probeAddress, ...unprobed } = good;
    expect(parseLoadBalancerConfig({ ...good, ports, healthCheck: { protocol: "ICMP" } })).toMatchObject({
      probeAddress,
      healthCheck: { protocol: "ICMP" },
    });
    expect(parseLoadBalancerConfig({ ...unprobed, ports }).probeAddress).toBeUndefined();
  });

  it("answers any health check with one that a prober can carry out, or FUNCTION_INVALID", () => {
    const path = fc.oneof(
      fc.string(),
      // fc.webPath() takes seconds to make its own.
      fc.array(fc.string()).map((parts) => encodeURI(`/${parts.join("/")}`)),
      fc.string({ unit: codePoint }).map((text) => `/${text}`),
    );
    const check = fc.record(
      {
        protocol: fc.constantFrom("TCP", "HTTP", "ICMP", "tcp", 1),
        path: fc.option(path, { nil: undefined }),
        intervalMs: fc.oneof(fc.integer({ min: 0, max: 4_000_000 }), fc.anything()),
        timeoutMs: fc.oneof(fc.integer({ min: 0, max: 4_000_000 }), fc.anything()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(check, (healthCheck) => {
        try {
          const parsed = parseLoadBalancerConfig({ ...good, healthCheck }).healthCheck;
          expect(parsed.timeoutMs).toBeLessThanOrEqual(parsed.intervalMs);
          expect(parsed.path !== undefined).toBe(parsed.protocol === "HTTP");
          if (parsed.path !== undefined) expect(parsed.path).toMatch(/^\/[!-~]{0,255}$/);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
          const { code, field } = thrown as PlinthError;
          expect(code).toBe("FUNCTION_INVALID");
          expect(field).toMatch(/^healthCheck/);
        }
      }),
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
