import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock } from "../../base/time/index.js";
import { OpenFlowAgent } from "../agent/index.js";
import { MemorySwitch } from "../agent/memory-switch.js";
import { runOfctl } from "./ofctl.js";

let dir: string;
let agent: OpenFlowAgent;
beforeEach(async () => {
  dir = mkdtempSync("/tmp/oft-");
  agent = await OpenFlowAgent.open(
    { managementSocket: join(dir, "br0.mgmt") },
    { model: new MemorySwitch(), clock: systemClock, log: silentLog },
  );
  agent.setControllers([], "secure");
});
afterEach(async () => {
  await agent.close();
  rmSync(dir, { recursive: true, force: true });
});

async function ofctl(verb: string, ...args: string[]): Promise<string[]> {
  const printed: string[] = [];
  await runOfctl(verb, args, {
    target: `unix:${join(dir, "br0.mgmt")}`,
    print: (line) => printed.push(line),
  });
  return printed;
}

it("runOfctl() adds, shows and deletes flows", async () => {
  await ofctl("add-flow", "table=1,priority=7,tcp,tp_dst=80,actions=output:3", "actions=NORMAL");
  expect((await ofctl("dump-flows")).map((line) => line.replace(/.*(priority)/, "$1")).sort()).toEqual([
    "priority=32768 actions=NORMAL",
    "priority=7,tcp,tcp_dst=80 actions=output:3",
  ]);
  await ofctl("del-flows", "table=1");
  expect(await ofctl("dump-flows")).toHaveLength(1);
  expect((await ofctl("show"))[0]).toMatch(/^dpid:[0-9a-f]{16} n_tables:/);
  await ofctl("dump-ports");
});

it("runOfctl() names what is wrong", async () => {
  await expect(ofctl("add-flow", "tcp")).rejects.toMatchObject({ code: "FLOW_TEXT_INVALID" });
  await expect(ofctl("fly")).rejects.toMatchObject({ code: "USAGE" });
  await expect(
    runOfctl("show", [], { target: `unix:${join(dir, "none")}`, print: () => {} }),
  ).rejects.toMatchObject({
    code: "OPENFLOW_UNREACHABLE",
  });
});
