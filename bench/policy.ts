// What a policy change costs: from the change to the barrier's answer, by number of ports; a cold start, memory per port,
// plan and proof. The switch is a process of its own that parses every message and keeps every flow.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { silentLog } from "../base/log/index.js";
import { systemClock, waitFor } from "../base/time/index.js";
import { startSdn } from "../sdn-controller/index.js";
import { crowd, crowdPolicy } from "../sdn-controller/testing/crowd.js";
import { FakeSwitch } from "../sdn-controller/testing/fake-switch.js";
import { ROOT } from "../test/support/run.js";
import { guardChild, guardDirectory } from "./support/cleanup.js";
import { writeSection } from "./support/compare.js";
import { type LineChart, lineCharts, type Series } from "./support/line-chart.js";
import { benchOptions, numberOption } from "./support/options.js";

const values = benchOptions(
  `usage: node dist/bench/policy.js [options]
  --ports N,N    numbers of ports (100,1000,10000)
  --policies N   (1000)
  --changes N    changes that are measured with each (400)
  --quick        a short run with fewer ports, printed only
  --print        print only: bench/RESULTS.md and its chart stay as they are`,
  {
    ports: { type: "string" },
    policies: { type: "string", default: "1000" },
    changes: { type: "string" },
    print: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    switch: { type: "string" },
  },
);
const START_DEADLINE_MS = 600_000;
/** Long, so that no audit falls into a measurement. */
const AUDIT_MS = 3_600_000;
const TARGET_MS = 50;
const CHART = "policies.svg";

/** Of one number of ports. */
interface Row {
  readonly ports: number;
  readonly coldSeconds: number;
  readonly flows: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly flowMods: number;
  readonly planMs: number;
  readonly kibPerPort: number;
}

if (values.switch !== undefined) await new FakeSwitch().dial(values.switch);
else await main();

async function main(): Promise<void> {
  const { quick } = values;
  const policies = numberOption("--policies", values.policies);
  const changes = numberOption("--changes", values.changes ?? (quick ? "50" : "400"));
  const sizes = (values.ports ?? (quick ? "100,1000" : "100,1000,10000"))
    .split(",")
    .map((one) => numberOption("--ports", one));
  const header = [
    "| ports | cold start s | flows | change p50 ms | p99 ms | flow-mods | plan and proof ms | KiB per port |",
    "|---|---|---|---|---|---|---|---|",
  ];
  process.stdout.write(`${header.join("\n")}\n`);
  const rows: Row[] = [];
  for (const ports of sizes) {
    const row = await measure(ports, policies, changes);
    rows.push(row);
    process.stdout.write(`${lineOf(row)}\n`);
  }
  if (values.print || quick) return;
  writeFileSync(join(ROOT, "bench", CHART), lineCharts(chartsOf(rows)));
  const command = `node dist/bench/policy.js --ports ${sizes.join(",")} --policies ${policies} --changes ${changes}`;
  const picture = `![Policy changes by number of ports](${CHART})`;
  writeSection(
    "Policies",
    command,
    [...header, ...rows.map(lineOf), "", picture],
    [
      `A change is one policy of ${policies} rewritten: from the call until the switch has answered the barrier behind the bundle. The switch is a process of its own that parses every message and keeps every flow, and forwards nothing. Wanted: p99 below ${TARGET_MS} ms with 10,000 ports.`,
      "Cold start: from the inventory to the last flow acknowledged. Plan and proof: what one changed policy would let connect, computed from the compiled tables. Memory: the controller's heap after the cold start.",
      "ovn-kubernetes reports 5 to 60 s (p99) until a policy is in force, OVN 0.4 to 1 s for a logical change with 30,000 ports; on other machines, so no ratio is given.",
    ],
  );
}

function lineOf(row: Row): string {
  const cells = [
    String(row.ports),
    row.coldSeconds.toFixed(1),
    String(row.flows),
    row.p50Ms.toFixed(2),
    row.p99Ms.toFixed(2),
    row.flowMods.toFixed(1),
    row.planMs.toFixed(0),
    row.kibPerPort.toFixed(0),
  ];
  return `| ${cells.join(" | ")} |`;
}

function chartsOf(rows: readonly Row[]): LineChart[] {
  const line = (name: string, of: (row: Row) => number): Series => ({
    name,
    points: rows.map((row) => [row.ports, Math.max(of(row), 0.01)]),
  });
  const target: Series = {
    name: `wanted p99: ${TARGET_MS} ms`,
    isTarget: true,
    points: rows.map(({ ports }) => [ports, TARGET_MS]),
  };
  const xTitle = "ports";
  return [
    {
      title: "From a policy change to the barrier",
      xTitle,
      yTitle: "ms",
      series: [line("p50", ({ p50Ms }) => p50Ms), line("p99", ({ p99Ms }) => p99Ms), target],
    },
    {
      title: "What grows with the ports",
      xTitle,
      yTitle: "ms, KiB",
      series: [
        line("cold start, ms", ({ coldSeconds }) => coldSeconds * 1000),
        line("plan and proof, ms", ({ planMs }) => planMs),
        line("memory per port, KiB", ({ kibPerPort }) => kibPerPort),
      ],
    },
  ];
}

async function measure(ports: number, policies: number, changes: number): Promise<Row> {
  const dir = mkdtempSync("/tmp/bench-policy-");
  const forget = guardDirectory(dir);
  let device: ChildProcess | undefined;
  const heapBefore = process.memoryUsage().heapUsed;
  const sdn = await startSdn(
    {
      openflowSocket: join(dir, "of.sock"),
      ovsdbEndpoint: `unix:${join(dir, "none.sock")}`,
      outputs: { onStatus: () => {}, onEvent: () => {}, onCondition: () => {} },
      auditIntervalMs: AUDIT_MS,
    },
    { clock: systemClock, log: silentLog },
  );
  try {
    const { controller } = sdn;
    const world = crowd(ports, policies);
    device = guardChild(
      spawn(process.execPath, [fileURLToPath(import.meta.url), "--switch", join(dir, "of.sock")], {
        stdio: ["ignore", "ignore", "inherit"],
      }),
    );
    await waitFor(() => controller.metrics().switchConnected, "the switch", START_DEADLINE_MS, 5);
    const startMs = performance.now();
    controller.update(world.changes);
    controller.setAttachments(world.attachments);
    controller.inventoryComplete();
    await waitFor(() => controller.isSettled, "the switch to have every flow", START_DEADLINE_MS, 5);
    const coldMs = performance.now() - startMs;
    const heapBytes = process.memoryUsage().heapUsed - heapBefore;
    const samples: number[] = [];
    let flowMods = 0;
    for (let i = 0; i < changes; i++) {
      const beganMs = performance.now();
      controller.update([crowdPolicy(i % policies, ports, 10_000 + i)]);
      await controller.whenSettled();
      samples.push(performance.now() - beganMs);
      const last = controller.metrics().changes.at(-1);
      flowMods += (last?.added ?? 0) + (last?.changed ?? 0) + (last?.deleted ?? 0);
    }
    const planMs = performance.now();
    controller.review([crowdPolicy(0, ports, 60_000)], { plan: true });
    const plannedMs = performance.now() - planMs;
    samples.sort((a, b) => a - b);
    const at = (share: number): number =>
      samples[Math.min(samples.length - 1, Math.floor(samples.length * share))] as number;
    return {
      ports,
      coldSeconds: coldMs / 1000,
      flows: controller.metrics().flowsInstalled,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      flowMods: flowMods / changes,
      planMs: plannedMs,
      kibPerPort: heapBytes / 1024 / ports,
    };
  } finally {
    device?.kill("SIGKILL");
    await sdn.close();
    forget();
    rmSync(dir, { recursive: true, force: true });
  }
}
