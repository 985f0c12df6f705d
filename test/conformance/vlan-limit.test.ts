// other_config:vlan-limit decides how many VLAN tags of a frame flows see: asked of Open vSwitch and of Plinth by the
// same ovs-appctl about the same frames, and tried with frames that pass.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { RealOvs } from "../support/real-ovs.js";
import { requirePrograms, runOk } from "../support/run.js";

const DEADLINE_MS = 20_000;
const FLOWS = [
  "priority=9,dl_vlan=5,ip,nw_proto=17,actions=output:2",
  "priority=8,dl_vlan=5,dl_type=0x8100,actions=output:3",
  "priority=7,dl_vlan=5,dl_type=0x88a8,actions=output:3",
  "priority=6,ip,actions=IN_PORT",
];
const MACS = "505400000002505400000001";
const IP = "08004500001c00000000401166cf0a0000010a00000200010002000800" + "00";
const frame = (...tags: string[]): string => (MACS + tags.join("") + IP).padEnd(120, "0");
const FRAMES = {
  "no tag": frame(),
  "one tag": frame("81000005"),
  "two tags": frame("81000005", "81000006"),
  "a service tag and another": frame("88a80005", "81000006"),
  "a tag before a service tag": frame("81000005", "88a80006"),
  "three tags": frame("81000005", "81000006", "81000007"),
} as const;

let ovs: RealOvs;
let ours: PlinthSwitch;

beforeAll(async () => {
  requirePrograms("ovs-appctl", "ovs-ofctl");
  ovs = await RealOvs.start();
  await ovs.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  ours = await PlinthSwitch.open();
  await ours.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  for (const n of [1, 2, 3]) {
    await ovs.addPort("br0", `p${n}`, n, `i${n}`);
    await ours.addPort("br0", `p${n}`, n, `i${n}`);
  }
  await ours.plugged();
  for (const socket of [join(ovs.dir, "br0.mgmt"), ours.path("br0.mgmt")])
    for (const flow of FLOWS)
      await runOk("ovs-ofctl", ["-O", "OpenFlow13", "add-flow", `unix:${socket}`, flow]);
});

afterAll(async () => {
  await ours?.destroy();
  await ovs?.stop();
});

/** The flow that is met and where the frame goes. */
async function verdict(socket: string, hex: string): Promise<string> {
  const text = await runOk("ovs-appctl", ["-t", socket, "ofproto/trace", "br0", "in_port=1", hex]);
  return text
    .split("\n")
    .filter((line) => / 0\. |Datapath actions/.test(line) || line.startsWith(" 0."))
    .join("; ");
}

describe.each([undefined, "0", "1", "2", "3"])("a vlan-limit of %s", (limit) => {
  beforeAll(async () => {
    const change =
      limit === undefined
        ? ["clear", "Open_vSwitch", ".", "other_config"]
        : ["set", "Open_vSwitch", ".", `other_config:vlan-limit=${limit}`];
    await ovs.vsctl(...change);
    await ours.vsctl(...change);
  });

  it.each(Object.entries(FRAMES))("is obeyed with %s", async (_, hex) => {
    const told = await verdict(ours.path("vswitchd.ctl"), hex);
    expect(told).toContain("Datapath actions");
    expect(told).toBe(await verdict(join(ovs.dir, "vs.ctl"), hex));
  });

  it("is obeyed by frames that pass", async () => {
    const deep = limit === "0" || limit === "2" || limit === "3";
    const count = (): number => ours.sentBy(deep ? 2 : 3).length;
    const before = count();
    ours.inject(1, Uint8Array.from(Buffer.from(FRAMES["two tags"], "hex")));
    await waitFor(() => count() === before + 1, "the frame", DEADLINE_MS);
  });
});
