import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { openRawIp, type RawSocketPackage, rawIpProblem } from "../../base/linux/index.js";
import { type Attempt, createIcmpAttempt, createTcpAttempt, type Outcome } from "./attempt.js";
import { runProbe } from "./run-probe.js";

const open = new AbortController().signal;

/** Runs a row and returns its lines. */
async function run(attempt: Attempt, count: number, signal = open) {
  const lines: string[] = [];
  const summary = await runProbe(attempt, {
    what: "it",
    count,
    intervalMs: 1,
    signal,
    print: (line) => lines.push(line),
  });
  return { lines, summary };
}

function scripted(outcomes: readonly Outcome[]): Attempt & { closed: number } {
  const attempt = {
    closed: 0,
    once: async (sequence: number) => outcomes[sequence - 1] as Outcome,
    close: () => {
      attempt.closed++;
    },
  };
  return attempt;
}

describe("runProbe()", () => {
  it("prints a line for each and what was lost, and closes once", async () => {
    const attempt = scripted([
      { answered: true, tookMs: 1 },
      { answered: false, reason: "no answer within 5 ms" },
      { answered: true, tookMs: 123.4 },
    ]);
    const { lines, summary } = await run(attempt, 3);
    expect(lines).toEqual([
      "1: answered in 1.00 ms",
      "2: no answer within 5 ms",
      "3: answered in 123 ms",
      "it: 3 sent, 2 answered, 33 % lost; round trip min/mean/max 1.00/62.2/123 ms",
    ]);
    expect(summary).toEqual({ sent: 3, answered: 2 });
    expect(attempt.closed).toBe(1);
  });

  it("ends early with a summary when it is stopped", async () => {
    const stop = new AbortController();
    const attempt: Attempt = {
      once: async () => {
        stop.abort();
        return { answered: true, tookMs: 15 };
      },
      close() {},
    };
    const { lines } = await run(attempt, 1000, stop.signal);
    expect(lines.at(-1)).toBe("it: 1 sent, 1 answered, 0 % lost; round trip min/mean/max 15.0/15.0/15.0 ms");
  });
});

describe("createTcpAttempt()", () => {
  it("tells what listens from what refuses", async () => {
    const server = createServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    try {
      const { summary } = await run(createTcpAttempt("127.0.0.1", port, 5_000), 2);
      expect(summary).toEqual({ sent: 2, answered: 2 });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    const { lines, summary } = await run(createTcpAttempt("127.0.0.1", port, 5_000), 1);
    expect(lines[0]).toBe(`1: port ${port} refuses connections`);
    expect(summary.answered).toBe(0);
  });

  it("is stopped in the middle", async () => {
    const stop = new AbortController();
    const pending = createTcpAttempt("127.0.0.1", 9, 60_000).once(1, stop.signal);
    stop.abort();
    expect(await pending).toMatchObject({ answered: false });
  });
});

describe("createIcmpAttempt()", () => {
  it("says what to install when the package is missing", () => {
    const missing = () => {
      throw Object.assign(new Error("Cannot find module"), { code: "MODULE_NOT_FOUND" });
    };
    expect(() => createIcmpAttempt("127.0.0.1", 5, (options) => openRawIp(options, missing))).toThrow(
      expect.objectContaining({
        code: "RAW_SOCKET_MISSING",
        remedy: expect.stringMatching(/npm install/),
      }),
    );
  });

  it("gives up in time, and shows why nothing could be sent", async () => {
    const deaf: RawSocketPackage = {
      createSocket: () => ({ on: () => {}, close: () => {}, send: () => {} }),
    };
    const silent = createIcmpAttempt("127.0.0.1", 20, (options) => openRawIp(options, () => deaf));
    expect((await run(silent, 2)).lines.slice(0, 2)).toEqual([
      "1: no answer within 20 ms",
      "2: no answer within 20 ms",
    ]);
    const broken: RawSocketPackage = {
      createSocket: () => ({
        on: () => {},
        close: () => {},
        send: (_bytes, _offset, _length, _address, done) => done(new Error("Network is unreachable"), 0),
      }),
    };
    const unsent = createIcmpAttempt("127.0.0.1", 5_000, (options) => openRawIp(options, () => broken));
    expect((await run(unsent, 1)).lines[0]).toBe("1: sending to 127.0.0.1 failed: Network is unreachable");
  });

  it("hears the replies of this machine, or says why it cannot", async () => {
    const problem = rawIpProblem();
    if (problem !== undefined) {
      expect(() => createIcmpAttempt("127.0.0.1", 5_000)).toThrow(PlinthError);
      return;
    }
    const { lines, summary } = await run(createIcmpAttempt("127.0.0.1", 5_000), 3);
    expect(summary).toEqual({ sent: 3, answered: 3 });
    expect(lines.at(-1)).toMatch(/3 sent, 3 answered, 0 % lost; round trip/);
  });
});
