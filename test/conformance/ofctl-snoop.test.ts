// `ovs-ofctl snoop` and `plinth ofctl snoop` on the same socket of our switch print the same, in every version.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { OpenFlowAgent } from "../../vswitch/agent/index.js";
import { MemorySwitch } from "../../vswitch/agent/memory-switch.js";
import { runOfctl } from "../../vswitch/index.js";
import { ControllerPeer } from "../../vswitch/testing/controller-peer.js";
import { flowMod } from "../../vswitch/testing/rig.js";
import { endChild, requirePrograms } from "../support/run.js";

const DEADLINE_MS = 60_000;

let directory: string;
let agent: OpenFlowAgent;
let server: Server;
let peer: ControllerPeer | undefined;
let child: ChildProcess | undefined;
let stop = (): void => {};

beforeEach(async () => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/snoop-");
  agent = await OpenFlowAgent.open(
    { managementSocket: join(directory, "br0.mgmt"), snoopSocket: join(directory, "br0.snoop") },
    { model: new MemorySwitch(), clock: systemClock, log: silentLog },
  );
  server = createServer((socket) => {
    peer = new ControllerPeer(socket);
  });
  await new Promise<void>((resolve) => server.listen(join(directory, "c1"), resolve));
  agent.setControllers([{ target: `unix:${join(directory, "c1")}`, probeIntervalMs: 0 }], "secure");
  await waitFor(() => agent.controllers[0]?.isConnected === true, "no controller", DEADLINE_MS);
});

afterEach(async () => {
  stop();
  if (child !== undefined) await endChild(child);
  await agent.close();
  peer?.socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true, force: true });
});

/** What is printed from the first barrier with `xid` on. */
function after(text: string, xid: number): string {
  const at = text.indexOf(`OFPT_BARRIER_REQUEST (OF1.3) (xid=0x${xid.toString(16)}):`);
  return at < 0 ? "" : text.slice(at);
}

it("prints the messages of the controller and of the switch", async () => {
  let real = "";
  child = spawn("ovs-ofctl", ["snoop", "br0", `--unixctl=${directory}/ctl`], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, OVS_RUNDIR: directory },
  });
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (bytes: Buffer) => {
      real += bytes.toString();
    });
  let ours = "";
  const ended = runOfctl(["snoop", "br0"], {
    out: (text) => {
      ours += text;
    },
    err: (text) => {
      ours += text;
    },
    read: async () => new Uint8Array(0),
    endpointOf: (bridge) => `unix:${join(directory, `${bridge}.mgmt`)}`,
    interrupted: new Promise<void>((resolve) => {
      stop = resolve;
    }),
  });
  const controller = peer as ControllerPeer;
  let xid = 0;
  await waitFor(
    () => {
      if (real !== "" && ours !== "") return true;
      [xid] = controller.send({ type: "barrier_request" }) as [number];
      return false;
    },
    () => `real: ${real}\nours: ${ours}`,
    DEADLINE_MS,
  );
  [xid] = controller.send(
    { type: "barrier_request" },
    { type: "features_request" },
    flowMod({ priority: 7, instructions: [] }),
    { type: "echo_request", data: Uint8Array.of(1, 2, 3) },
    { type: "table_mod", tableId: 250, config: 0 },
    { type: "barrier_request" },
  ) as [number];
  const last = `OFPT_BARRIER_REPLY (OF1.3) (xid=0x${(xid + 5).toString(16)}):`;
  await waitFor(
    () => real.includes(last) && ours.includes(last),
    () => `real: ${real}\nours: ${ours}`,
    DEADLINE_MS,
  );
  expect(after(ours, xid)).toBe(after(real, xid));
  for (const name of [
    "OFPT_FEATURES_REPLY",
    "OFPT_FLOW_MOD",
    "OFPT_ECHO_REQUEST",
    "OFPT_ECHO_REPLY",
    "priority=7",
  ])
    expect(after(real, xid)).toContain(name);
  stop();
  expect(await ended).toBe(0);
});
