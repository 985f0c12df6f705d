// The switch's page of metrics, judged by promtool of Prometheus: its parser and its lint rules.
import { mkdtempSync, rmSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { PLINTH, requirePrograms, run, runOk } from "../support/run.js";
import { StreamPeer } from "../support/stream-peer.js";
import { ethernetFrame } from "../support/switch.js";

const DEADLINE_MS = 20_000;
let dir: string;
let daemon: DaemonProcess;
let peer: StreamPeer;

const path = (name: string): string => join(dir, name);
const vsctl = (...args: string[]) => runOk("ovs-vsctl", [`--db=unix:${path("db.sock")}`, ...args]);

beforeAll(async () => {
  requirePrograms("promtool", "ovs-vsctl", "ovs-ofctl");
  dir = mkdtempSync("/tmp/met-");
  peer = await StreamPeer.listen(path("p1.sock"));
  daemon = new DaemonProcess({
    args: ["vswitchd", "--dir", dir, "--metrics", `unix:${path("metrics.sock")}`],
    controlSocket: path("vswitchd.ctl"),
  });
  await daemon.start();
  const port = ["type=stream", `options:path=${path("p1.sock")}`, "ofport_request=1"];
  await vsctl("add-br", "br0", "--", "add-port", "br0", "p1", "--", "set", "interface", "p1", ...port);
  await vsctl("set-controller", "br0", 'tcp:127.0.0.1:1"odd\\target');
  await peer.connected();
  const flow = "table=0,cookie=0xbad,priority=7,in_port=1,actions=drop";
  await runOk("ovs-ofctl", ["-O", "OpenFlow13", "add-flow", `unix:${path("br0.mgmt")}`, flow]);
});
afterAll(async () => {
  await daemon?.end("SIGKILL");
  await peer?.close();
  if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

function scrape(): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ socketPath: path("metrics.sock"), path: "/metrics" }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });
}

describe("plinth vswitchd --metrics", () => {
  it("passes promtool's parser and all its lint rules", async () => {
    peer.send(ethernetFrame({ to: 2, from: 1, text: "dropped" }));
    await waitFor(
      async () => /plinth_drops_total\{/.test(await scrape()),
      "the drop to be counted",
      DEADLINE_MS,
    );
    const text = await scrape();
    const judged = await run("promtool", ["check", "metrics"], { input: text });
    expect([judged.code, judged.stdout, judged.stderr]).toEqual([0, "", ""]);
    // The judge does judge.
    const spoilt = await run("promtool", ["check", "metrics"], {
      input: text.replace("{bridge=", "{=bridge"),
    });
    expect(spoilt.code).not.toBe(0);
  });

  it("tells drops with the flow, tables, ports, caches, tracking, controllers, stations and the process", async () => {
    const text = await scrape();
    for (const line of [
      'plinth_drops_total{bridge="br0",reason="no-output"} 1',
      'plinth_drop_last_flow_info{bridge="br0",reason="no-output",table="0",cookie="0xbad",priority="7"} 1',
      'plinth_port_rx_packets_total{bridge="br0",port="p1"} 1',
      'plinth_port_up{bridge="br0",port="p1"} 1',
      'plinth_path_cache_misses_total{bridge="br0"} 1',
      'plinth_packet_ins_total{bridge="br0"} 0',
      'plinth_table_matches_total{bridge="br0",table="0"} 1',
      'plinth_openflow_connected{bridge="br0",target="tcp:127.0.0.1:1\\"odd\\\\target"} 0',
      'plinth_mac_table_entries{bridge="br0"} 0',
      "plinth_connections 0",
      "plinth_connections_evicted_total 0",
    ])
      expect(text.split("\n")).toContain(line);
    for (const name of ["process_resident_memory_bytes", "process_start_time_seconds", "plinth_build_info"])
      expect(text).toMatch(new RegExp(`^${name}[ {]`, "m"));
  });

  it("is what ovs-appctl metrics/show tells", async () => {
    const names = (text: string) => [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    const shown = await runOk("ovs-appctl", ["-t", path("vswitchd.ctl"), "metrics/show"]);
    expect(names(shown)).toEqual(names(await scrape()));
  });

  it("refuses a place that is none, and one that is taken, before anything is touched", async () => {
    const plinth = (where: string, directory: string) =>
      run(process.execPath, [PLINTH, "vswitchd", "--dir", directory, "--metrics", where]);
    const bad = await plinth("9475", path("other"));
    expect([bad.code, bad.stderr]).toEqual([
      1,
      'plinth vswitchd: "9475" is no place for metrics; expected HOST:PORT, [IPv6]:PORT or unix:PATH [METRICS_ENDPOINT_INVALID]\n',
    ]);
    const taken = await plinth(`unix:${path("metrics.sock")}`, path("other"));
    expect(taken.code).toBe(1);
    expect(taken.stderr).toContain("[SOCKET_IN_USE]");
  });
});
