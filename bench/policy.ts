// What a policy change costs: from the change to the barrier's answer, by number of ports; a cold start, memory per port,
// plan and proof. The switch is a process of its own that parses every message and keeps every flow.
//   node dist/bench/policy.js [--ports 100,1000,10000] [--policies 1000] [--changes 200]
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { silentLog } from "../base/log/index.js";
import { systemClock, waitFor } from "../base/time/index.js";
import { startSdn } from "../sdn-controller/index.js";
import { crowd, crowdPolicy } from "../sdn-controller/testing/crowd.js";
import { FakeSwitch } from "../sdn-controller/testing/fake-switch.js";

const { values } = parseArgs({
  options: {
    ports: { type: "string", default: "100,1000,10000" },
    policies: { type: "string", default: "1000" },
    changes: { type: "string", default: "200" },
    switch: { type: "string" },
  },
});
const START_DEADLINE_MS = 600_000;
/** Long, so that no audit falls into a measurement. */
const AUDIT_MS = 3_600_000;

if (values.switch !== undefined) await new FakeSwitch().dial(values.switch);
else {
  const policies = Number(values.policies);
  const changes = Number(values.changes);
  process.stdout.write(
    "| ports | cold start s | flows | change p50 ms | p99 ms | flow-mods | plan and proof ms | KiB per port |\n" +
      "|---|---|---|---|---|---|---|---|\n",
  );
  for (const text of values.ports.split(",")) {
    const row = await measure(Number(text), policies, changes);
    process.stdout.write(`| ${row.join(" | ")} |\n`);
  }
}

async function measure(ports: number, policies: number, changes: number): Promise<string[]> {
  const dir = mkdtempSync("/tmp/bench-policy-");
  let device: ChildProcess | undefined;
  const heapBefore = process.memoryUsage().heapUsed;
  const sdn = await startSdn(
    {
      openflowSocket: join(dir, "of.sock"),
      ovsdbEndpoint: `unix:${join(dir, "none.sock")}`,
      outputs: { onStatus: () => {}, onEvent: () => {} },
      auditIntervalMs: AUDIT_MS,
    },
    { clock: systemClock, log: silentLog },
  );
  try {
    const { controller } = sdn;
    const world = crowd(ports, policies);
    const startMs = performance.now();
    controller.update(world.changes);
    controller.setAttachments(world.attachments);
    controller.inventoryComplete();
    device = spawn(process.execPath, [fileURLToPath(import.meta.url), "--switch", join(dir, "of.sock")], {
      stdio: ["ignore", "ignore", "inherit"],
    });
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
    const at = (share: number): string =>
      (samples[Math.min(samples.length - 1, Math.floor(samples.length * share))] as number).toFixed(2);
    return [
      String(ports),
      (coldMs / 1000).toFixed(1),
      String(controller.metrics().flowsInstalled),
      at(0.5),
      at(0.99),
      (flowMods / changes).toFixed(1),
      plannedMs.toFixed(0),
      (heapBytes / 1024 / ports).toFixed(0),
    ];
  } finally {
    device?.kill("SIGKILL");
    await sdn.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
