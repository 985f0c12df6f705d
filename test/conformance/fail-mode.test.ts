// What becomes of a bridge's flows, groups and meters when its fail mode or its controllers change, told by the real
// tools to our switch and to Open vSwitch: both hold the same after every step.
import { afterAll, beforeAll, expect, it } from "vitest";
import { DummyTwins, type Line } from "../support/dummy-twins.js";
import { requirePrograms } from "../support/run.js";

let twins: DummyTwins;

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-vswitchd");
  twins = await DummyTwins.open();
  await twins.both("vsctl add-br br0 -- set bridge br0 datapath_type=dummy");
}, 60_000);

afterAll(() => twins.close());

const FILL: readonly Line[] = [
  "ofctl -OOpenFlow13 add-meter br0 meter=1,kbps,band=type=drop,rate=10",
  "ofctl -OOpenFlow13 add-group br0 group_id=1,type=all,bucket=output:1",
  "ofctl -OOpenFlow13 add-flow br0 table=3,priority=7,ip,actions=meter:1,group:1",
];

const FLOWS: Line = "ofctl -OOpenFlow13 dump-flows br0";
const OTHERS: readonly Line[] = ["ofctl -OOpenFlow13 dump-groups br0", "ofctl -OOpenFlow13 dump-meters br0"];

it("is what Open vSwitch leaves of them", async () => {
  const steps: readonly (readonly [line: Line, isKept: boolean])[] = [
    ["vsctl set-fail-mode br0 standalone", true],
    ["vsctl set-fail-mode br0 secure", false],
    ["vsctl set-controller br0 tcp:127.0.0.1:1", false],
    ["vsctl set-fail-mode br0 standalone", true],
    ["vsctl set-controller br0 tcp:127.0.0.1:1 tcp:127.0.0.1:2", true],
    ["vsctl del-controller br0", false],
    // Who listens waits for nobody.
    ["vsctl set-controller br0 punix:$DIR/br0.snoop2", true],
    ["vsctl set-controller br0 punix:$DIR/br0.snoop2 tcp:127.0.0.1:4", false],
    ["vsctl set-controller br0 punix:$DIR/br0.snoop2", false],
    ["vsctl del-controller br0", true],
    ["vsctl set bridge br0 other-config:datapath-id=0000000000001234", true],
    ["vsctl set-fail-mode br0 secure -- set-controller br0 tcp:127.0.0.1:3", false],
    ["vsctl set-fail-mode br0 standalone -- del-controller br0", false],
  ];
  await twins.both(...FILL);
  for (const [line, isKept] of steps) {
    await twins.both(line);
    const { ours, real } = await twins.answers(FLOWS);
    expect(ours, line).toBe(real);
    // The flow names the meter and the group.
    expect(ours.includes("table=3"), line).toBe(isKept);
    if (isKept) continue;
    for (const other of OTHERS) {
      const told = await twins.answers(other);
      expect(told.ours, line).toBe(told.real);
      expect(told.ours, line).not.toMatch(/meter=1|group_id=1/);
    }
    await twins.both(...FILL);
  }
}, 120_000);

it("does not begin anew with a restart of our switch, and what was deleted stays deleted", async () => {
  const { ours } = twins;
  await twins.both("ofctl -OOpenFlow13 --strict del-flows br0 priority=0");
  const before = (await twins.answers(FLOWS)).ours;
  expect(before).toContain("table=3");
  expect(before).not.toContain("NORMAL");
  await ours.end("SIGKILL");
  await ours.start("--enable-dummy=override");
  expect((await twins.answers(FLOWS)).ours).toBe(before);
  await twins.both("vsctl set-fail-mode br0 secure");
  const told = await twins.answers(FLOWS);
  expect(told.ours).toBe(told.real);
  expect(told.ours).not.toContain("table=3");
}, 60_000);
