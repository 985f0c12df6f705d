import { describe, expect, it } from "vitest";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { CoreStatus, ThreadStatus } from "../datapath/index.js";
import { threadCommands } from "./thread-commands.js";

const STATUS: ThreadStatus = {
  elapsedMs: 10_000,
  breaths: 1000,
  busyBreaths: 400,
  sleeps: 50,
  busyMs: 1000,
  idleMs: 3000,
  sleepMs: 6000,
  receiveMs: 200,
  forwardMs: 500,
  transmitMs: 300,
  received: 10_000,
  sent: 9000,
  batches: 900,
  verdictHits: 11_000,
  maskedHits: 200,
  maskedLooks: 300,
  pathHits: 400,
  misses: 400,
  windowMs: 10_000,
  ports: [
    { name: "p2", usage: 0.02, queues: [{ queue: 0, isEnabled: false, usage: 0.02 }] },
    {
      name: "p1",
      usage: 0.08,
      queues: [
        { queue: 0, isEnabled: true, usage: 0.07 },
        { queue: 1, isEnabled: true, usage: 0.01 },
      ],
    },
  ],
};

function commandsOver(statuses: readonly ThreadStatus[]): Record<string, UnixctlCommand> {
  const left = [...statuses];
  const threads = (): Promise<CoreStatus[]> => {
    const status = (left.length > 1 ? left.shift() : left[0]) as ThreadStatus;
    return Promise.resolve([{ core: 0, isIsolated: false, status }]);
  };
  return threadCommands({ threads, rebalancePorts: () => Promise.resolve() });
}

async function ask(
  commands: Record<string, UnixctlCommand>,
  verb: string,
  ...args: string[]
): Promise<string> {
  const answer = await commands[`dpif-netdev/${verb}`]!.run(args);
  return typeof answer === "string" ? answer : answer.text;
}

describe("dpif-netdev/*", () => {
  it("pmd-stats-show says what was known of packets, and where the time went", async () => {
    expect(await ask(commandsOver([STATUS]), "pmd-stats-show")).toBe(
      [
        "pmd thread numa_id 0 core_id 0:",
        "  packets received: 10000",
        "  packet recirculations: 2000",
        "  avg. datapath passes per packet: 1.20",
        "  phwol hits: 0",
        "  mfex opt hits: 0",
        "  simple match hits: 0",
        "  emc hits: 11000",
        "  smc hits: 400",
        "  megaflow hits: 200",
        "  avg. subtable lookups per megaflow hit: 1.50",
        "  miss with success upcall: 400",
        "  miss with failed upcall: 0",
        "  avg. packets per output batch: 10.00",
        "  idle cycles: 3000000000 (75.00%)",
        "  processing cycles: 1000000000 (25.00%)",
        "  avg cycles per packet: 400000.00 (4000000000/10000)",
        "  avg processing cycles per packet: 100000.00 (1000000000/10000)",
        "",
      ].join("\n"),
    );
  });

  it("pmd-stats-clear lets them count from now", async () => {
    const later = { ...STATUS, received: 10_010, busyMs: 1001, idleMs: 3003 };
    const commands = commandsOver([STATUS, later]);
    expect(await ask(commands, "pmd-stats-clear")).toBe("");
    const shown = await ask(commands, "pmd-stats-show");
    expect(shown).toContain("packets received: 10\n");
    expect(shown).toContain("processing cycles: 1000000 (25.00%)\n");
  });

  it("pmd-rxq-show says how much of the thread each queue of each port needs", async () => {
    expect(await ask(commandsOver([STATUS]), "pmd-rxq-show")).toBe(
      [
        "Displaying last 10 seconds pmd usage %",
        "pmd thread numa_id 0 core_id 0:",
        "  isolated : false",
        "  port: p1                queue-id:  0 (enabled)   pmd usage:  7 %",
        "  port: p1                queue-id:  1 (enabled)   pmd usage:  1 %",
        "  port: p2                queue-id:  0 (disabled)  pmd usage:  2 %",
        "  overhead:  0 %",
        "",
      ].join("\n"),
    );
  });

  it("pmd-perf-show says it by iteration and by stage", async () => {
    const shown = await ask(commandsOver([STATUS]), "pmd-perf-show", "-nh", "-it", "5");
    expect(shown).toContain("Measurement duration: 10.000 s");
    expect(shown).toMatch(/- busy iterations: +400 {2}\( 25\.0 % of used cycles\)/);
    expect(shown).toMatch(/- forwarding: +500000000 {2}\(50000 cycles\/pkt\)/);
    expect(shown).toMatch(/- EMC hits: +11000 {2}\( 91\.7 %\)/);
  });

  it("take no other thread for this one, and no other datapath", async () => {
    const commands = commandsOver([STATUS]);
    expect(await ask(commands, "pmd-stats-show", "-pmd", "3")).toBe("");
    expect(await ask(commands, "pmd-stats-show", "-pmd", "0", "netdev@plinth")).toContain("received: 10000");
    await expect(ask(commands, "pmd-stats-show", "nope")).rejects.toMatchObject({ code: "DATAPATH_UNKNOWN" });
  });
});
