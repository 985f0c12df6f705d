// `plinth vswitchd` killed at any moment: what was acknowledged is back, and nothing is left behind.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { PLINTH, requirePrograms, run, runOk } from "../support/run.js";
import { StreamPeer } from "../support/stream-peer.js";
import { ethernetFrame, SwitchProcess } from "../support/switch.js";

let daemon: SwitchProcess;
beforeEach(async () => {
  requirePrograms("ovs-vsctl", "ovsdb-tool");
  daemon = new SwitchProcess();
  await daemon.start();
});
afterEach(() => daemon.destroy());

it("has its configuration back after SIGKILL, numbers and forwarding included", async () => {
  await daemon.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "other_config:hwaddr=02:00:00:00:00:aa");
  const peers: StreamPeer[] = [];
  try {
    for (const name of ["a", "b"]) {
      const peer = await StreamPeer.listen(daemon.path(`${name}.peer`));
      peers.push(peer);
      await daemon.vsctl(
        "add-port",
        "br0",
        name,
        "tag=5",
        "--",
        "set",
        "Interface",
        name,
        "type=stream",
        `options:path=${peer.path}`,
      );
    }
    const state = () => daemon.vsctl("--columns=name,ofport,options", "--format=csv", "list", "Interface");
    const before = (await state()).split("\n").sort();
    const killedMs = performance.now();
    await daemon.end("SIGKILL");
    await daemon.start();
    expect((await state()).split("\n").sort()).toEqual(before);
    expect(await daemon.vsctl("get", "Bridge", "br0", "datapath_id")).toBe('"00000200000000aa"');
    const [a, b] = peers as [StreamPeer, StreamPeer];
    await waitFor(
      async () =>
        (await daemon.vsctl("--bare", "--columns=link_state", "find", "Interface", "type=stream"))
          .split(/\s+/)
          .filter((s) => s === "up").length === 2,
      "both links",
      15_000,
      100,
    );
    a.send(ethernetFrame({ to: 0xff, from: 1, text: "Again" }));
    await waitFor(() => b.received.length > 0, "a frame after the restart", 10_000);
    console.log(
      `SIGKILL to the first frame after the restart: ${Math.round(performance.now() - killedMs)} ms`,
    );
  } finally {
    for (const peer of peers) await peer.close();
  }
});

it("loses nothing acknowledged when it is killed in the middle of changes", async () => {
  await daemon.vsctl("add-br", "br0");
  for (let round = 0; round < 4; round++) {
    const acknowledged: string[] = [];
    let killed = false;
    const changes = (async () => {
      for (let i = 0; i < 200 && !killed; i++) {
        const { code } = await run("ovs-vsctl", [
          `--db=unix:${daemon.path("db.sock")}`,
          "--no-wait",
          "--timeout=5",
          "set",
          "Bridge",
          "br0",
          `external_ids:k${round}-${i}=v`,
        ]);
        if (code === 0 && !killed) acknowledged.push(`k${round}-${i}`);
      }
    })();
    await waitFor(() => acknowledged.length >= 3 + 2 * round, "some changes", 20_000, 1);
    killed = true;
    await daemon.end("SIGKILL");
    await changes;
    await daemon.start();
    const ids = await daemon.vsctl("get", "Bridge", "br0", "external_ids");
    for (const key of acknowledged) expect(ids).toContain(key);
  }
  await runOk("ovsdb-tool", ["show-log", daemon.path("conf.db")]);
}, 120_000);

it("ends in order on SIGTERM and exit, and leaves no socket", async () => {
  await daemon.vsctl("add-br", "br0");
  expect(await daemon.end("SIGTERM")).toBe(0);
  const left = readdirSync(daemon.dir).sort();
  expect(left).toEqual(["conf.db", "state", "vswitchd.lock"]);
  await daemon.start();
  await daemon.appctl("exit");
  await waitFor(() => !existsSync(daemon.path("vswitchd.ctl")), "the control socket to go", 15_000);
});

it("refuses a second instance, a foreign file and a long path by name, untouched", async () => {
  const start = (dir: string) =>
    run(process.execPath, [PLINTH, "vswitchd", "--dir", dir], { deadlineMs: 30_000 });
  const second = await start(daemon.dir);
  expect(second.code).toBe(1);
  expect(second.stderr).toContain("[ALREADY_RUNNING]");
  await daemon.vsctl("list-br");
  await daemon.end("SIGTERM");
  writeFileSync(daemon.path("conf.db"), "precious");
  expect((await start(daemon.dir)).stderr).toContain("[DATABASE_UNREADABLE]");
  const long = `${daemon.dir}/${"x".repeat(100)}`;
  expect((await start(long)).stderr).toContain("[SOCKET_PATH_TOO_LONG]");
  expect(existsSync(long)).toBe(false);
});

it("answers a burst of broken clients with closed connections and goes on", async () => {
  const socket = daemon.path("db.sock");
  const garbage = [
    "{",
    "[[[[",
    '{"id":1,"method":5}',
    "\u0000\u0001",
    '{"id":1,"method":"transact","params":[]}',
    '{"method":"monitor","id":2,"params":["Open_vSwitch",null,{"Port":7}]}',
  ];
  for (const text of garbage) {
    const child = spawn(process.execPath, [
      "-e",
      `const s=require('net').connect(${JSON.stringify(socket)});s.on('error',()=>{});s.on('connect',()=>{s.end(${JSON.stringify(text)})});s.on('data',()=>{});s.on('close',()=>process.exit(0))`,
    ]);
    await new Promise((resolve) => child.on("exit", resolve));
  }
  expect(await daemon.vsctl("list-br")).toBe("");
});
