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
/** What commands that read a file are given. */
let file: string;
beforeEach(async () => {
  dir = mkdtempSync("/tmp/oft-");
  file = "add table=3,udp actions=1\n# nothing\ndelete table=1\n";
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

interface Told {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** What the commands of a test have said on standard error, also those that failed. */
let errors = "";

async function ofctl(...words: string[]): Promise<Told> {
  let [out, err] = ["", ""];
  const code = await runOfctl(words, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
      errors += text;
    },
    read: async () => new TextEncoder().encode(file),
    endpointOf: (bridge) => (bridge === "br0" ? `unix:${join(dir, "br0.mgmt")}` : undefined),
    interrupted: new Promise(() => {}),
  });
  return { code, out, err };
}

const flows = async (...words: string[]): Promise<string[]> =>
  (await ofctl("--no-stats", "dump-flows", "br0", ...words)).out
    .split("\n")
    .filter((line) => line !== "")
    .sort();

it("runOfctl() adds, shows, sorts and deletes flows", async () => {
  await ofctl("add-flow", "br0", "table=1,priority=7,tcp,tp_dst=80,actions=output:3");
  await ofctl("add-flow", "br0", "actions=NORMAL");
  expect(await flows()).toEqual([" actions=NORMAL", " table=1, priority=7,tcp,tp_dst=80 actions=output:3"]);
  expect((await ofctl("dump-flows", "br0")).out).toMatch(
    /^NXST_FLOW reply \(xid=0x[0-9a-f]+\):\n cookie=0x0, duration=/,
  );
  expect((await ofctl("--rsort", "--no-stats", "dump-flows", "br0")).out.split("\n")[0]).toBe(
    " actions=NORMAL",
  );
  await ofctl("add-flows", "br0", "-");
  expect(await flows()).toEqual([" actions=NORMAL", " table=3, udp actions=output:1"]);
  expect((await ofctl("diff-flows", "br0", "br0")).code).toBe(0);
  expect((await ofctl("show", "br0")).out).toMatch(
    /^OFPT_FEATURES_REPLY \(xid=0x[0-9a-f]+\): dpid:[0-9a-f]{16}\n/,
  );
  expect(JSON.parse((await ofctl("-o", "json", "dump-flows", "br0", "table=3")).out)).toMatchObject([
    { tableId: 3, match: "udp", actions: "output:1" },
  ]);
});

it("runOfctl() tells JSON of every verb that tells something when it is asked to", async () => {
  const told = async (...words: string[]): Promise<unknown> =>
    JSON.parse((await ofctl("-O", "OpenFlow13", "-o", "json", ...words)).out);
  const dumps = [
    "desc",
    "tables",
    "ports",
    "ports-desc",
    "flows",
    "aggregate",
    "groups",
    "group-stats",
    "meters",
  ];
  for (const what of dumps) expect(await told(`dump-${what}`, "br0")).toBeInstanceOf(Object);
  expect(await told("dump-table-features", "br0")).toContainEqual(
    expect.objectContaining({
      tableId: 0,
      properties: expect.arrayContaining([
        { type: "instructions", miss: false, instructions: expect.arrayContaining([{ type: 1 }]) },
      ]),
    }),
  );
  expect(await told("dump-group-features", "br0")).toMatchObject({
    types: expect.any(Number),
    maxGroups: expect.any(Array),
  });
  expect(await told("get-frags", "br0")).toEqual({ mode: "normal" });
  expect(await told("dump-tlv-map", "br0")).toEqual({ text: expect.stringContaining("max fields=64") });
  expect(await told("parse-flow", "tcp,actions=drop")).toEqual({
    text: expect.stringContaining("ADD tcp actions=drop"),
  });
  expect((await ofctl("-o", "json", "probe", "br0")).out).toBe("");
});

it("runOfctl() applies all of a file or nothing when --bundle is given", async () => {
  file = "priority=1,actions=1\ncheck_overlap,priority=1,actions=2\npriority=3,actions=3\n";
  await expect(ofctl("add-flows", "br0", "-")).rejects.toThrow("OFPFMFC_OVERLAP");
  expect(await flows()).toEqual([" priority=1 actions=output:1", " priority=3 actions=output:3"]);
  await ofctl("del-flows", "br0");
  errors = "";
  await expect(ofctl("--bundle", "add-flows", "br0", "-")).rejects.toThrow("(Protocol error)");
  expect(errors).toContain("Error OFPFMFC_OVERLAP for: OFPT_FLOW_MOD (OF1.3)");
  expect(await flows()).toEqual([]);
  file = "priority=1,actions=1\npriority=2,actions=2\n";
  expect(await ofctl("--bundle", "add-flows", "br0", "-")).toMatchObject({ code: 0, err: "" });
  expect(await flows()).toEqual([" priority=1 actions=output:1", " priority=2 actions=output:2"]);
});

it("runOfctl() names what is wrong, in the words of ovs-ofctl", async () => {
  await expect(ofctl("add-flow", "br0", "tcp")).rejects.toThrow("must specify an action");
  await expect(ofctl("add-flow", "br0", "foo=1,actions=drop")).rejects.toThrow("unknown keyword foo");
  await expect(ofctl("fly")).rejects.toThrow("unknown command 'fly'; use --help for help");
  await expect(ofctl("show")).rejects.toThrow("'show' command requires at least 1 arguments");
  await expect(ofctl("show", "br9")).rejects.toThrow("br9 is not a bridge or a socket");
  await expect(ofctl("show", `unix:${join(dir, "none")}`)).rejects.toThrow("(No such file or directory)");
  await expect(ofctl("--zap", "show", "br0")).rejects.toThrow("unrecognized option '--zap'");
  await expect(ofctl("--str", "--s", "show", "br0")).rejects.toThrow("option '--s' is ambiguous");
});
