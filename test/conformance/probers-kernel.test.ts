// The health checks of nfd against the network stack of Linux, through a TAP device in a network namespace.
import { join } from "node:path";
import { expect, it } from "vitest";
import { currentUid } from "../../base/linux/index.js";
import { ROOT, requirePrograms, run } from "../support/run.js";

it("TCP, ICMP and HTTP checks agree with Linux, and leave it no connection", async () => {
  requirePrograms("unshare", "ip", "ss");
  const own = currentUid() === 0 ? ["--net"] : ["--map-root-user", "--net"];
  const script = join(ROOT, "dist", "test", "support", "kernel-endpoint.js");
  const { code, stdout, stderr } = await run("unshare", [...own, process.execPath, script]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  const { reports, left } = JSON.parse(stdout) as {
    reports: { check: string; good: boolean; reason: string }[];
    left: string;
  };
  expect(reports).toMatchObject([
    { check: "TCP", good: true, reason: expect.stringMatching(/^answered in/) },
    { check: "TCP closed", good: false, reason: "port 8082 refuses connections" },
    { check: "ICMP", good: true, reason: expect.stringMatching(/^answered in/) },
    { check: "HTTP", good: true, reason: expect.stringMatching(/^answered 200 in/) },
    { check: "HTTP missing", good: false, reason: expect.stringMatching(/^answered 404 in/) },
    { check: "HTTP slow letters", good: true, reason: expect.stringMatching(/^answered 204 in/) },
    { check: "HTTP mute", good: false, reason: "no answer within 1000 ms" },
    { check: "HTTP closed", good: false, reason: "port 8082 refuses connections" },
  ]);
  expect(left).toBe("");
});
