// `plinth vswitchd` killed while connections are established: they are there afterwards, and so are the flows. Where
// what it kept is lost too, conversations are picked up in the middle, translated ones as well; the flows come back from
// whoever has set them, which here is the test.
import { rmSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { ACK, readTcp, SYN, turn } from "../../vswitch/testing/conversation.js";
import { type Ends, tcpFrame } from "../../vswitch/testing/frames.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { requirePrograms } from "../support/run.js";

const FLOWS = [
  "table=0,priority=10,ip,in_port=1,actions=ct(table=1,zone=1,nat)",
  "table=0,priority=10,ip,in_port=2,actions=ct(table=1,zone=1,nat)",
  "table=1,priority=30,ip,in_port=1,ct_state=+new,nw_src=10.0.0.9,actions=ct(commit,zone=1,nat(src=192.0.2.1)),output:2",
  "table=1,priority=20,ip,in_port=1,ct_state=+new,tp_dst=80,tcp,actions=ct(commit,zone=1),output:2",
  "table=1,priority=10,ip,in_port=1,ct_state=+est,actions=output:2",
  "table=1,priority=10,ip,in_port=2,ct_state=+est,actions=output:1",
];
const nothing = new Uint8Array(0);
const text = (words: string): Uint8Array => new TextEncoder().encode(words);
const ends = (source: string, sourcePort: number): Required<Ends> => ({
  source,
  destination: "10.0.0.2",
  sourcePort,
  destinationPort: 80,
});
const PLAIN = ends("10.0.0.1", 4000);
/** Its other end will speak first. */
const ANSWERED = ends("10.0.0.1", 4001);
const HIDDEN = ends("10.0.0.9", 4002);
const OUTSIDE = { ...HIDDEN, source: "192.0.2.1" };

let ours: PlinthSwitch;
beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-appctl");
  ours = await PlinthSwitch.open();
  await ours.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  for (const n of [1, 2]) await ours.addPort("br0", `p${n}`, n, `i${n}`);
});
afterAll(() => ours?.destroy());

async function setFlows(): Promise<void> {
  await ours.plugged();
  for (const flow of FLOWS) await ours.ofctl("add-flow", "br0", flow);
}

/** Sends a segment into `port` and waits for what comes out of the other one. */
async function through(
  port: number,
  one: Required<Ends>,
  flags: number,
  words: string,
  numbers: readonly number[],
) {
  const [sequence = 0, acknowledgment = 0] = numbers;
  const seen = ours.sentBy(3 - port).length;
  const payload = words === "" ? nothing : text(words);
  ours.inject(port, tcpFrame(one, flags, payload, { sequence, acknowledgment }));
  await waitFor(() => ours.sentBy(3 - port).length > seen, `a segment out of port ${3 - port}`, 10_000);
  return readTcp(ours.sentBy(3 - port)[seen]).ends;
}

async function open(one: Required<Ends>, seen: Required<Ends>): Promise<void> {
  expect(await through(1, one, SYN, "", [100])).toEqual(seen);
  expect(await through(2, turn(seen), SYN | ACK, "", [500, 101])).toEqual(turn(one));
  expect(await through(1, one, ACK, "before", [101, 501])).toEqual(seen);
}

const CONNECTIONS = [
  [PLAIN, PLAIN],
  [HIDDEN, OUTSIDE],
] as const;

it("has flows and connections back after SIGKILL, and goes on with both", async () => {
  await setFlows();
  for (const [one, seen] of CONNECTIONS) await open(one, seen);
  const flows = async () =>
    (await ours.ofctl("dump-flows", "br0"))
      .split("\n")
      .map((line) => line.replace(/.*(table=\d+), n_packets=\d+, n_bytes=\d+, /, "$1 "))
      .sort();
  const connections = () => ours.appctl("dpctl/dump-conntrack");
  const before = [await flows(), await connections()];
  expect(before[0]).toHaveLength(FLOWS.length + 2);
  await ours.end("SIGKILL");
  await ours.start();
  expect([await flows(), await connections()]).toEqual(before);
  await ours.plugged();
  for (const [one, seen] of CONNECTIONS) {
    expect(await through(2, turn(seen), ACK, "still", [501, 107])).toEqual(turn(one));
    expect(await through(1, one, ACK, "after", [107, 506])).toEqual(seen);
  }
  // Their windows are too: a segment far outside the windows is refused as it was before.
  const seen = ours.sentBy(2).length;
  ours.inject(1, tcpFrame(PLAIN, ACK, text("no"), { sequence: 1_000_000_000, acknowledgment: 506 }));
  expect(await through(1, PLAIN, ACK, "yes", [112, 506])).toEqual(PLAIN);
  expect(ours.sentBy(2)).toHaveLength(seen + 1);
  await ours.appctl("dpctl/flush-conntrack");
});

it("picks established connections up after SIGKILL and the loss of all it kept, from either end, translated as they were", async () => {
  await setFlows();
  await open(PLAIN, PLAIN);
  await open(ANSWERED, ANSWERED);
  await open(HIDDEN, OUTSIDE);
  await ours.end("SIGKILL");
  rmSync(ours.path("state"), { recursive: true });
  await ours.start();
  await setFlows();
  expect(await ours.appctl("dpctl/dump-conntrack")).toBe("");
  // The other end speaks first: it passes as an answer, and is not remembered.
  expect(await through(2, turn(ANSWERED), ACK, "still", [501, 107])).toEqual(turn(ANSWERED));
  expect(await ours.appctl("dpctl/dump-conntrack")).toBe("");
  for (const [one, seen] of [
    [PLAIN, PLAIN],
    [ANSWERED, ANSWERED],
    [HIDDEN, OUTSIDE],
  ] as const) {
    expect(await through(1, one, ACK, "after", [107, 501])).toEqual(seen);
    expect(await through(2, turn(seen), ACK, "answer", [501, 112])).toEqual(turn(one));
    expect(await through(1, one, ACK, "more", [112, 507])).toEqual(seen);
  }
  const dump = await ours.appctl("dpctl/dump-conntrack");
  expect(dump.match(/protoinfo=\(state=ESTABLISHED\)/g)).toHaveLength(3);
  // A conversation that policy would not let begin is not picked up.
  const seen = ours.sentBy(2).length;
  ours.inject(1, tcpFrame({ ...PLAIN, destinationPort: 81 }, ACK, text("no"), { sequence: 1 }));
  expect(await through(1, PLAIN, ACK, "yes", [116, 507])).toEqual(PLAIN);
  expect(ours.sentBy(2)).toHaveLength(seen + 1);
});
