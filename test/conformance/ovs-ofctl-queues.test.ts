// Queues, configured with the real ovs-vsctl and asked for with the real ovs-ofctl.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { tagged, udpFrame } from "../../vswitch/testing/frames.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { ethernetFrame, textOf } from "../support/switch.js";

const DEADLINE_MS = 20_000;

let ovs: PlinthSwitch;

beforeAll(async () => {
  ovs = await PlinthSwitch.open();
  await ovs.vsctl("add-br", "br0");
  for (const n of [1, 2]) await ovs.addPort("br0", `p${n}`, n, `vm${n}`);
  await ovs.plugged();
});

afterAll(async () => {
  await ovs?.destroy();
});

describe("queues", () => {
  it("are there as QoS and Queue rows say, and count what set_queue sends by them", async () => {
    expect(await ovs.ofctl("queue-stats", "br0")).toContain("0 queues");
    await ovs.vsctl(
      ...["--", "--id=@q5", "create", "Queue", "other_config:min-rate=1000000000"],
      ...["other_config:max-rate=5000000000"],
      ...[
        "--",
        "--id=@q7",
        "create",
        "Queue",
        "other_config:priority=1",
        "dscp=46",
        "--",
        "--id=@qos",
        "create",
        "QoS",
        "type=linux-htb",
      ],
      ...["queues:5=@q5", "queues:7=@q7", "--", "set", "Port", "p2", "qos=@qos"],
    );
    const shown = await ovs.appctl("qos/show", "p2");
    expect(shown).toContain("QoS: p2 linux-htb\nmax-rate: 10000000000\n\nDefault:\n");
    expect(shown).toMatch(
      /Queue 5:\n {2}max-rate: 5000000000\n {2}min-rate: 1000000000\n {2}tx_packets: 0\n/,
    );
    expect(shown).toMatch(/Queue 7:\n {2}priority: 1\n/);
    const config = await ovs.ofctl("queue-get-config", "br0", "2");
    expect(config).toContain("0");
    expect(config).toMatch(/5.*min_rate:10\.0%.*max_rate:50\.0%/);
    expect(config).toContain("7");
    await ovs.ofctl("add-flow", "br0", "in_port=1,dl_vlan=9,actions=set_queue:7,output:2,pop_queue,output:2");
    const bytes = ethernetFrame({ to: 2, from: 1, vlan: 9, text: "queued" });
    ovs.inject(1, bytes);
    ovs.inject(1, ethernetFrame({ to: 2, from: 1, text: "after" }));
    await waitFor(() => ovs.sentBy(2).map(textOf).includes("after"), "the frames", DEADLINE_MS);
    const count = async (queue: string): Promise<string> => {
      const [, size, packets] =
        /bytes=(\d+), pkts=(\d+)/.exec(await ovs.ofctl("queue-stats", "br0", "2", queue)) ?? [];
      return `${size}, ${packets}`;
    };
    expect(await count("7")).toBe(`${bytes.byteLength}, 1`);
    expect(await count("5")).toBe("0, 0");
    // The second copy left its queue, and the frame behind it was in none: both are queue 0's.
    expect(await count("0")).toBe(`${bytes.byteLength + 60}, 2`);
  });

  it("mark what leaves by them with their DSCP, tagged frames too, until it is taken away", async () => {
    const plain = tagged(udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }), 0x8100, 9);
    const traffic = (): number[] =>
      ovs
        .sentBy(2)
        .filter(({ byteLength }) => byteLength === plain.byteLength)
        .map((frame) => frame[19] as number);
    // Once by queue 7 and once by none.
    ovs.inject(1, plain);
    await waitFor(() => traffic().length === 2, "both copies", DEADLINE_MS);
    expect(traffic()).toEqual([46 << 2, 0]);
    const uuid = await ovs.vsctl("--bare", "--columns=_uuid", "find", "Queue", "dscp=46");
    await ovs.vsctl("clear", "Queue", uuid, "dscp");
    ovs.inject(1, plain);
    await waitFor(() => traffic().length === 4, "both copies again", DEADLINE_MS);
    expect(traffic().slice(2)).toEqual([0, 0]);
  });

  it("are refused by name when there is none, or no such port", async () => {
    // ovs-ofctl prints the error that it is answered.
    expect(await ovs.ofctl("queue-stats", "br0", "2", "6")).toContain("OFPQOFC_BAD_QUEUE");
    expect(await ovs.ofctl("queue-stats", "br0", "9", "0")).toContain("OFPQOFC_BAD_PORT");
    expect(await ovs.ofctl("queue-get-config", "br0", "9")).toContain("OFPQOFC_BAD_PORT");
  });

  it("go with their QoS row", async () => {
    await ovs.vsctl(
      "clear",
      "Port",
      "p2",
      "qos",
      "--",
      "--all",
      "destroy",
      "QoS",
      "--",
      "--all",
      "destroy",
      "Queue",
    );
    expect(await ovs.ofctl("queue-stats", "br0")).toContain("0 queues");
  });
});
