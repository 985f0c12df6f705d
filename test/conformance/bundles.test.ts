// Bundles with Open vSwitch's own client: `--bundle` and `bundle FILE` against our switch, and traffic that must never
// meet half of one.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { type RunResult, requirePrograms, run } from "../support/run.js";
import { ethernetFrame } from "../support/switch.js";

const DEADLINE_MS = 30_000;

let directory: string;
let target: OpenFlowSwitch;

beforeEach(async () => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/bundle-");
  target = await OpenFlowSwitch.open(directory);
});

afterEach(async () => {
  await target.close();
  rmSync(directory, { recursive: true, force: true });
});

function ofctl(args: readonly string[], input = ""): Promise<RunResult> {
  const [verb, ...rest] = args;
  const bundled = verb === "bundle" || verb?.startsWith("dump") ? [] : ["--bundle"];
  const bridge = `unix:${join(directory, "br0.mgmt")}`;
  const options = ["-O", "OpenFlow13", "--timeout=20", ...bundled];
  return run("ovs-ofctl", [...options, verb as string, bridge, ...rest], { deadlineMs: DEADLINE_MS, input });
}

async function ok(args: readonly string[], input = ""): Promise<string> {
  const { code, stdout, stderr } = await ofctl(args, input);
  expect(`${code} ${stderr}`).toBe("0 ");
  return stdout;
}

async function flows(): Promise<string[]> {
  const text = await ok(["dump-flows", "--no-stats"]);
  return text
    .split("\n")
    .filter((line) => line.includes("actions="))
    .map((line) => line.trim())
    .sort();
}

describe("ovs-ofctl with bundles", () => {
  it("adds, modifies, deletes and replaces flows", async () => {
    await ok(["add-flows", "-"], "priority=1,ip,actions=1\npriority=2,arp,actions=2\ndelete ip\n");
    expect(await flows()).toEqual(["priority=2,arp actions=output:2"]);
    await ok(["add-flow", "priority=3,actions=drop"]);
    await ok(["mod-flows", "arp,actions=1"]);
    await ok(["replace-flows", "-"], "priority=2,arp,actions=1\npriority=9,ipv6,actions=2\n");
    expect(await flows()).toEqual(["priority=2,arp actions=output:1", "priority=9,ipv6 actions=output:2"]);
    await ok(["del-flows"]);
    expect(await flows()).toEqual([]);
  });

  it("runs a file of flows, groups and packet-outs in order", async () => {
    const packet = Buffer.from(ethernetFrame({ to: 2, from: 1, text: "in order" })).toString("hex");
    const file = join(directory, "bundle");
    writeFileSync(
      file,
      [
        "group add group_id=1,type=indirect,bucket=output:1",
        "flow add priority=5,in_port=1,actions=group:1",
        "flow add priority=6,in_port=controller,actions=2",
        `packet-out in_port=controller,packet=${packet},actions=table`,
        "group modify group_id=1,type=indirect,bucket=output:2",
        "group add_or_mod group_id=2,type=all,bucket=output:1",
        "flow delete in_port=controller",
        `packet-out in_port=controller,packet=${packet},actions=table`,
      ].join("\n"),
    );
    await ok(["bundle", file]);
    expect(await flows()).toEqual(["priority=5,in_port=1 actions=group:1"]);
    const groups = await ok(["dump-groups"]);
    expect(groups).toContain("group_id=1,type=indirect,bucket=actions=output:2");
    expect(groups).toContain("group_id=2,type=all");
    expect(target.takeSent("vm2").map((frame) => Buffer.from(frame).toString("hex"))).toEqual([packet]);
  });

  it("modifies a group", async () => {
    await ok(["add-group", "group_id=1,type=indirect,bucket=output:1"]);
    await ok(["mod-group", "group_id=1,type=indirect,bucket=output:2"]);
    expect(await ok(["dump-groups"])).toContain("bucket=actions=output:2");
  });

  it("changes nothing when one message is refused, and names it", async () => {
    await ok(["add-flow", "priority=1,ip,actions=1"]);
    const file = join(directory, "bundle");
    writeFileSync(
      file,
      ["flow delete", "flow add priority=2,actions=drop", "flow add arp,actions=group:77"].join("\n"),
    );
    const { code, stderr, stdout } = await ofctl(["bundle", file]);
    expect(code).toBe(1);
    expect(stdout + stderr).toMatch(/OFPBAC_BAD_OUT_GROUP[\s\S]*OFPBFC_MSG_FAILED/);
    expect(await flows()).toEqual(["priority=1,ip actions=output:1"]);
  });

  it("applies ten thousand flows at once", async () => {
    const lines = Array.from({ length: 10_000 }, (_, i) => `ip,nw_dst=10.0.${i >> 8}.${i & 255},actions=1`);
    await ok(["add-flows", "-"], `${lines.join("\n")}\n`);
    expect(target.flowCount).toBe(10_000);
  });
});

describe("a packet and a bundle", () => {
  it("never meet halfway", async () => {
    const plinth = await PlinthSwitch.open();
    try {
      await plinth.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure");
      for (const port of [1, 2, 3]) await plinth.addPort("br0", `p${port}`, port, `i${port}`);
      await plinth.plugged();
      // Two halves that must agree: table 0 says where to look, table 1 or 2 where to send. A packet that met only one
      // of them would be lost, or would come out of both ports.
      const versions = [2, 3].map((out) => {
        const path = plinth.path(`version${out}`);
        const table = out - 1;
        writeFileSync(
          path,
          [
            `flow delete table=${3 - table}`,
            `flow add table=${table},in_port=1,actions=${out}`,
            ...Array.from({ length: 200 }, (_, i) => `flow add table=9,priority=${i},actions=${out}`),
            `flow add table=0,in_port=1,actions=goto_table:${table}`,
          ].join("\n"),
        );
        return path;
      });
      await plinth.ofctl("bundle", "br0", versions[0] as string);
      let sent = 0;
      let updating = true;
      const updates = (async () => {
        for (let round = 0; round < 20; round++)
          await plinth.ofctl("bundle", "br0", versions[(round + 1) % 2] as string);
        updating = false;
      })();
      while (updating) {
        for (let i = 0; i < 20; i++)
          plinth.inject(1, ethernetFrame({ to: 2, from: 1, text: `packet ${sent++}` }));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await updates;
      const deadline = Date.now() + DEADLINE_MS;
      const received = (): number => plinth.sentBy(2).length + plinth.sentBy(3).length;
      while (received() < sent && Date.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 10));
      expect(received()).toBe(sent);
      expect(plinth.sentBy(2).length).toBeGreaterThan(0);
      expect(plinth.sentBy(3).length).toBeGreaterThan(0);
    } finally {
      await plinth.destroy();
    }
  });
});
