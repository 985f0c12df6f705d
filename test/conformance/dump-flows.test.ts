// dpctl/dump-flows and dpif/dump-flows of real ports, asked by the real ovs-appctl: kinds of packets with what of them
// counts, counters and actions, chosen by filter=.
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { tcpFrame, udpFrame } from "../../vswitch/testing/frames.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { ethernetFrame } from "../support/switch.js";

const DEADLINE_MS = 20_000;
const PAIR = { source: "10.0.0.1", destination: "10.0.0.2" };

let one: PlinthSwitch;
beforeAll(async () => {
  one = await PlinthSwitch.open();
  await one.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  for (const n of [1, 2]) await one.addPort("br0", `p${n}`, n, `i${n}`);
  for (const flow of [
    "priority=9,udp,nw_dst=10.0.0.2,actions=mod_dl_dst:02:00:00:00:00:77,dec_ttl,2",
    "priority=8,tcp,actions=ct(table=1,zone=5)",
    "priority=7,arp,actions=normal",
    "priority=6,udp,nw_dst=10.0.0.9,actions=drop",
    "table=1,ct_state=+trk+new,tcp,actions=ct(commit,zone=5),2",
  ])
    await one.ofctl("add-flow", "br0", flow);
  const came = async (count: number, frames: readonly Uint8Array[]): Promise<void> => {
    const before = one.sentBy(2).length;
    for (const frame of frames) one.inject(1, frame);
    await waitFor(() => one.sentBy(2).length >= before + count, "frames to pass", DEADLINE_MS);
  };
  // One after the other, so that the first of each kind has been judged before the next comes.
  await came(1, [udpFrame({ ...PAIR, sourcePort: 999 })]);
  await came(
    20,
    Array.from({ length: 20 }, (_, i) => udpFrame({ ...PAIR, sourcePort: 1000 + i })),
  );
  for (let i = 0; i < 5; i++) await came(1, [tcpFrame({ ...PAIR, sourcePort: 2000 + i }, 2)]);
  one.inject(1, ethernetFrame({ to: 0xff, from: 1, text: "of no flow" }));
  await came(1, [udpFrame({ ...PAIR, destination: "10.0.0.9" }), udpFrame(PAIR)]);
});
afterAll(async () => {
  await one.destroy();
});

const linesOf = (text: string): string[] => text.trim().split("\n");

test("tell each kind of packets with masks, counters and actions", async () => {
  const lines = linesOf(await one.appctl("dpctl/dump-flows"));
  const routed = lines.filter((line) => line.includes("02:00:00:00:00:77"));
  expect(routed).toHaveLength(1);
  const match =
    /^recirc_id\(0\),in_port\(\d+\),packet_type\(ns=0,id=0\),eth_type\(0x0800\),ipv4\(([^)]*)\), packets:(\d+), bytes:(\d+), used:(\d+\.\d{3})s, actions:(.*)$/.exec(
      routed[0]!,
    );
  expect(match).not.toBeNull();
  const [, ip, packets, bytes, , actions] = match!;
  // TTL is looked at because it is lowered, the destination by the flows; addresses and ports of senders are not.
  expect(ip).toBe("dst=10.0.0.2,proto=17,ttl=64,frag=no");
  expect(Number(packets)).toBe(21);
  expect(Number(bytes)).toBe(21 * udpFrame(PAIR).byteLength);
  expect(actions).toMatch(/^set\(eth\(dst=02:00:00:00:00:77\)\),set\(ipv4\(ttl=63\)\),\d+$/);
  expect(lines.filter((line) => line.includes("dst=10.0.0.9"))).toEqual([
    expect.stringMatching(/actions:drop$/),
  ]);
});

test("tell both parts of the way through connection tracking", async () => {
  const lines = linesOf(await one.appctl("dpctl/dump-flows"));
  const [ahead] = lines.filter((line) => line.includes("recirc_id(0)") && line.includes("proto=6"));
  expect(ahead).toMatch(/packets:4, .*, actions:ct\(zone=5\),recirc\(0x2\)$/);
  const behind = lines.filter((line) => line.includes("recirc_id(0x2)"));
  expect(behind.length).toBeGreaterThan(0);
  for (const line of behind) expect(line).toMatch(/actions:ct\(commit,zone=5\),\d+$/);
});

test("are chosen by filter=, and named with their flows where that is asked for", async () => {
  const udp = linesOf(await one.appctl("dpctl/dump-flows", "filter=udp,nw_dst=10.0.0.9"));
  expect(udp).toHaveLength(1);
  expect(udp[0]).toContain("actions:drop");
  expect(await one.appctl("dpctl/dump-flows", "filter=in_port=p2")).toBe("");
  const named = linesOf(await one.appctl("dpctl/dump-flows", "-m", "--names", "filter=tcp"));
  expect(named[0]).toContain("in_port(p1)");
  expect(named.some((line) => /flows:\[table=0 cookie=0x0 priority=8\]$/.test(line))).toBe(true);
  expect(linesOf(await one.appctl("dpif/dump-flows", "br0")).length).toBeGreaterThanOrEqual(4);
  const count = /flows: (\d+)/.exec(await one.appctl("dpctl/show"))?.[1];
  expect(linesOf(await one.appctl("dpctl/dump-flows"))).toHaveLength(Number(count));
});
