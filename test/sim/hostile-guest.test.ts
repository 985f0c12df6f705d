// Guests that write anything into their rings, against a living switch: it survives, and what other guests send each
// other arrives meanwhile, every frame. PLINTH_NIGHTLY=1: for a minute, from a seed of the clock.
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Random } from "../../base/random/index.js";
import { waitFor } from "../../base/time/index.js";
import { acceptGuest, type FakeGuest, MERGEABLE, PACKED } from "../../vswitch/port/fake-guest.js";
import { HostileGuest } from "../support/hostile-guest.js";
import { requirePrograms } from "../support/run.js";
import { ethernetFrame, SwitchProcess, textOf } from "../support/switch.js";

const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const SEED = NIGHTLY ? Date.now() % 2 ** 31 : 20_261;
const SECONDS = NIGHTLY ? 60 : 4;
const FRAME_DEADLINE_MS = 30_000;
/** Above what the switch needs before: its memory is bounded whatever guests do. */
const MEMORY_GROWTH_MAX_MIB = 400;

let vswitch: SwitchProcess;
const honest: FakeGuest[] = [];
const hostile: HostileGuest[] = [];

beforeEach(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl");
  vswitch = new SwitchProcess();
  await vswitch.start();
  const ports = [1, 2, 3, 4].flatMap((n) => [
    ...["--", "add-port", "br0", `p${n}`, "--", "set", "Interface", `p${n}`, "type=dpdkvhostuserclient"],
    ...[`ofport_request=${n}`, `options:vhost-server-path=${vswitch.path(`${n}.sock`)}`],
  ]);
  const bridge = ["set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure"];
  await vswitch.vsctl("add-br", "br0", "--", ...bridge, ...ports);
  // What honest ones say goes to the hostile ones too; what those say stays among them.
  for (const flow of [
    "in_port=1,actions=output:3,output:4,output:2",
    "in_port=2,actions=output:3,output:4,output:1",
    "in_port=3,actions=output:4",
    "in_port=4,actions=output:3,in_port",
  ])
    await vswitch.ofctl("add-flow", "br0", flow);
});

afterEach(async () => {
  for (const guest of [...honest.splice(0), ...hostile.splice(0)]) guest.close();
  await vswitch.destroy();
});

/** Sends a frame again and again until one arrives: both guests may have started before the switch serves their rings. */
async function meet(from: FakeGuest, to: FakeGuest): Promise<void> {
  const frame = ethernetFrame({ to: 2, from: 1, text: "hello" });
  await waitFor(
    async () => {
      await from.send(frame, () => undefined);
      return to.receive().some((got) => textOf(got) === "hello");
    },
    () => `the first frame; the switch said:\n${vswitch.said}`,
    FRAME_DEADLINE_MS,
    20,
  );
}

/** Sends a frame and waits until it arrives. */
async function exchange(from: FakeGuest, to: FakeGuest, number: number): Promise<void> {
  await from.send(ethernetFrame({ to: 2, from: 1, text: `frame ${number}` }), () => undefined);
  await waitFor(
    () => to.receive().some((frame) => textOf(frame) === `frame ${number}`),
    () => `frame ${number}; the switch said:\n${vswitch.said}`,
    FRAME_DEADLINE_MS,
    1,
  );
}

function residentMib(): number {
  const status = readFileSync(`/proc/${vswitch.pid}/status`, "latin1");
  return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

it(`guests that write anything into their rings harm nobody else (seed ${SEED})`, {
  timeout: 180_000,
}, async () => {
  const { pid } = vswitch;
  for (const [n, features] of [MERGEABLE, PACKED].entries()) {
    const guest = await acceptGuest(vswitch.path(`${n + 1}.sock`), () => undefined, { features });
    await guest.start();
    honest.push(guest);
  }
  const [one, two] = honest as [FakeGuest, FakeGuest];
  await meet(one, two);
  await meet(two, one);
  const before = residentMib();
  const random = new Random(SEED);
  for (const n of [3, 4])
    hostile.push(new HostileGuest(vswitch.path(`${n}.sock`), new Random(random.uint32())));
  const endMs = performance.now() + SECONDS * 1000;
  const done = (): boolean => performance.now() > endMs;
  const raging = Promise.all(hostile.map((guest) => guest.rage(done)));
  let frames = 0;
  while (!done()) {
    await exchange(one, two, ++frames);
    await exchange(two, one, ++frames);
  }
  await raging;
  await exchange(one, two, ++frames);
  expect(vswitch.pid).toBe(pid);
  await vswitch.call("ping");
  expect(vswitch.said).not.toMatch(/"level":"(warn|error|fatal)"/);
  expect(residentMib() - before).toBeLessThan(MEMORY_GROWTH_MAX_MIB);
  // It was no quiet time.
  for (const guest of hostile) {
    expect(guest.lives).toBeGreaterThan(1);
    expect(guest.writes).toBeGreaterThan(1000);
  }
});
