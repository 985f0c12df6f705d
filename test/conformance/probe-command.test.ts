// `plinth probe` as people run it: what it prints, how it ends, and what it says where raw sockets are refused.
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { rawIpProblem } from "../../base/linux/index.js";
import { needsRoot } from "../support/needs.js";
import { PLINTH, run } from "../support/run.js";

const probe = (...args: string[]) =>
  run(process.execPath, [PLINTH, "probe", ...args], { deadlineMs: 30_000 });

describe("plinth probe", () => {
  it("ends with 0 when a port answers, and with 1 when it refuses", async () => {
    const server = createServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    try {
      const good = await probe("127.0.0.1", "--tcp", String(port), "--count", "2", "--interval", "0.001");
      expect(good).toMatchObject({ code: 0, stderr: "" });
      expect(good.stdout).toMatch(/2 sent, 2 answered, 0 % lost; round trip min\/mean\/max/);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    const bad = await probe("127.0.0.1", "--tcp", String(port), "--count", "1");
    expect(bad).toMatchObject({ code: 1, stdout: expect.stringMatching(/refuses connections/) });
  });

  it("asks by ICMP, or says what is missing", async () => {
    const problem = rawIpProblem();
    const { code, stdout, stderr } = await probe("127.0.0.1", "--count", "2", "--interval", "0.001");
    if (problem === undefined) {
      expect(stdout).toMatch(/2 sent, 2 answered, 0 % lost/);
      expect(code).toBe(0);
    } else {
      expect(stderr).toMatch(/raw-socket is not|CAP_NET_RAW/);
      expect(code).toBe(1);
    }
  });

  it("names the capability that is missing", needsRoot, async () => {
    const { code, stdout, stderr } = await run("setpriv", [
      "--bounding-set=-net_raw",
      process.execPath,
      PLINTH,
      "probe",
      "127.0.0.1",
    ]);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/CAP_NET_RAW|raw-socket/);
    expect(code).toBe(1);
  });

  it.each([
    [["127.0.0.1", "--tcp", "0"], /port from 1 to 65535/],
    [["127.0.0.1", "--tcp", "80", "--icmp"], /cannot be used with/],
    [["127.0.0.1", "--count", "many"], /whole number/],
    [["::1"], /not an IPv4 address/],
    [["no name of anything"], /not an IPv4 address/],
  ])("refuses %j", async (args, message) => {
    const { code, stderr } = await probe(...args);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });
});
