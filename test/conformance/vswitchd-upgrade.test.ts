// `plinth vswitchd --upgrade`: the switch is exchanged under two guests that talk. They keep their rings, connections
// stay established, flows that were set meanwhile are in force; and a successor that cannot start changes nothing.
import { existsSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { udpFrame } from "../../vswitch/testing/frames.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { PluggedGuest } from "../support/plugged-guest.js";
import { requirePrograms } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const DEADLINE_MS = 60_000;
const FLOWS = [
  "table=0,ip,actions=ct(zone=1,table=1)",
  "table=1,ip,in_port=1,ct_state=+new,actions=ct(commit,zone=1),output:2",
  "table=1,ip,in_port=1,ct_state=+est,actions=output:2",
  "table=1,ip,in_port=2,ct_state=+est,actions=output:1",
];
let ours: SwitchProcess;
let left: PluggedGuest;
let right: PluggedGuest;
const successors: DaemonProcess[] = [];

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-appctl");
  ours = new SwitchProcess();
  await ours.start();
  await ours.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  [left, right] = [1, 2].map((n) => new PluggedGuest(ours.path(`guest${n}`))) as [PluggedGuest, PluggedGuest];
  for (const [n, { path }] of [left, right].entries()) {
    const set = ["set", "Interface", `p${n}`, "type=dpdkvhostuserclient", `ofport_request=${n + 1}`];
    await ours.vsctl("add-port", "br0", `p${n}`, "--", ...set, `options:vhost-server-path=${path}`);
  }
  for (const guest of [left, right]) await guest.plugged();
  for (const flow of FLOWS) await ours.ofctl("add-flow", "br0", flow);
}, DEADLINE_MS);
afterAll(async () => {
  for (const guest of [left, right]) await guest?.close();
  for (const one of successors) await one.end("SIGKILL");
  await ours?.destroy();
});

/** A process that is to take over. */
function successor(...words: readonly string[]): DaemonProcess {
  const args = ["vswitchd", "--dir", ours.dir, "--upgrade", ...words];
  const one = new DaemonProcess({ args, controlSocket: ours.path("vswitchd.ctl") });
  successors.push(one);
  return one;
}

const frame = (n: number, isAnswer = false): Uint8Array => {
  const ends = isAnswer
    ? { source: "10.0.0.2", destination: "10.0.0.1", sourcePort: 53, destinationPort: 4000 }
    : { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 4000, destinationPort: 53 };
  return udpFrame(ends, new TextEncoder().encode(String(n).padStart(20, "0")));
};
const numberOf = (bytes: Uint8Array): number => Number(new TextDecoder().decode(bytes.subarray(42, 62)));

it("a successor that cannot start leaves the switch as it was", async () => {
  const { pid } = ours;
  await expect(successor("--ovsdb", "ptcp:none").start()).rejects.toThrow("ended with");
  expect(((await ours.call("ping")) as { pid: number }).pid).toBe(pid);
  await left.send(frame(0));
  await waitFor(() => right.received.length > 0, "a frame through the switch that stayed", DEADLINE_MS);
  expect(left.absences).toEqual([]);
}, 120_000);

it("takes over under traffic: no ring, connection or flow is lost, and frames only while a card was away", async () => {
  let sentCount = 1;
  let isSending = true;
  const sending = (async () => {
    for (let n = 1; isSending; n++) {
      await left.send(frame(n));
      sentCount = n + 1;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await waitFor(() => right.received.length > 20, "traffic", DEADLINE_MS);
  const before = sentCount;
  const starting = successor().start();
  // Set while the successor prepares itself, or after: it must not matter.
  await ours.ofctl("add-flow", "br0", "table=7,priority=77,actions=drop");
  await starting;
  await waitFor(
    () => left.absences.length === 1 && right.absences.length === 1,
    "both cards back",
    DEADLINE_MS,
  );
  const after = sentCount;
  await waitFor(() => right.received.some((one) => numberOf(one) > after), "traffic again", DEADLINE_MS);
  isSending = false;
  await sending;
  const last = sentCount - 1;
  await waitFor(() => right.received.some((one) => numberOf(one) === last), "the last frame", DEADLINE_MS);

  expect(await ours.end()).toBe(0);
  const arrived = new Set(right.received.map(numberOf));
  const lost = Array.from({ length: sentCount }, (_, n) => n).filter((n) => !arrived.has(n));
  expect(lost.filter((n) => n < before || n > after)).toEqual([]);
  expect(right.received.length).toBe(arrived.size);
  console.info(`${lost.length} of ${last} frames lost`);

  await right.send(frame(1, true));
  await waitFor(() => left.received.length > 0, "an answer in the old connection", DEADLINE_MS);
  expect(await ours.ofctl("dump-flows", "br0")).toContain("table=7, ");
  expect(existsSync(ours.path("vswitchd.ctl"))).toBe(true);
  expect((await ours.appctl("dpctl/ct-get-nconns")).trim()).toBe("1");
}, 120_000);

it("starts as usual where no switch runs", async () => {
  for (const one of successors) await one.end("SIGKILL");
  const next = successor();
  await next.start();
  expect(await ours.ofctl("dump-flows", "br0")).toContain("table=7, ");
  expect(await next.end()).toBe(0);
}, 120_000);
