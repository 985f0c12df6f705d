// Two Linux guests on one switch, each with a card that leaves checksums and cutting to hardware; the second guest also
// has one that does neither. What goes between them arrives whole, over split and packed rings, and large packets are
// seen on the switch exactly where they should be; a switch that is killed and started again goes on with both layouts.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  VIRTIO_F_RING_PACKED,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_HOST_TSO4,
} from "../../base/virtio/index.js";
import { ConsoleGuest } from "../support/console-guest.js";
import { requirePrograms } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const MEGABYTES = 12;
const DEADLINE_MS = 150_000;
const OFF = "csum=off,guest_csum=off,gso=off,host_tso4=off,host_tso6=off,guest_tso4=off,guest_tso6=off";
/** Bytes of a frame that no card cuts, with some room. */
const FRAME_SIZE = 1600;

let vswitch: SwitchProcess;
let one: ConsoleGuest;
let two: ConsoleGuest;

beforeAll(async () => {
  requirePrograms("qemu-system-x86_64", "ovs-vsctl", "ovs-ofctl");
  vswitch = new SwitchProcess();
  await vswitch.start();
  const path = (name: string): string => vswitch.path(`${name}.sock`);
  const ports = ["a", "b", "c", "d"].flatMap((name, i) => [
    ...["--", "add-port", "br0", name, "--", "set", "Interface", name, "type=dpdkvhostuserclient"],
    ...[`ofport_request=${i + 1}`, `options:vhost-server-path=${path(name)}`],
  ]);
  await vswitch.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", ...ports);
  [one, two] = (await ConsoleGuest.bootAll([
    [
      { path: path("a"), address: "10.0.1.1/24", options: "packed=on" },
      { path: path("c"), address: "10.0.2.1/24" },
    ],
    [
      { path: path("b"), address: "10.0.1.2/24" },
      { path: path("d"), address: "10.0.2.2/24", options: OFF },
    ],
  ])) as [ConsoleGuest, ConsoleGuest];
  for (const guest of [one, two]) {
    await guest.run(`mkdir -p /www; head -c ${MEGABYTES}m /dev/urandom >/www/data; httpd -p 80 -h /www`);
  }
}, DEADLINE_MS);

afterAll(async () => {
  await Promise.all([one?.kill(), two?.kill()]);
  await vswitch?.destroy();
});

interface Count {
  readonly packets: number;
  readonly bytes: number;
}
/** What had come in by each port when meanSize() was asked last. */
const before = new Map<number, Count>();

async function received(port: number): Promise<Count> {
  const text = await vswitch.ofctl("dump-ports", "br0", String(port));
  const [, packets, bytes] = /rx pkts=(\d+), bytes=(\d+)/.exec(text) ?? [];
  return { packets: Number(packets), bytes: Number(bytes) };
}

/** Mean bytes of what came in by a port since the last time. */
async function meanSize(port: number): Promise<number> {
  const last = before.get(port) ?? { packets: 0, bytes: 0 };
  const now = await received(port);
  before.set(port, now);
  return (now.bytes - last.bytes) / (now.packets - last.packets);
}

/** `to` fetches what `from` has, at this address. */
async function fetch(to: ConsoleGuest, from: ConsoleGuest, address: string): Promise<void> {
  const arrived = await to.run(`wget -q -O - http://${address}/data | md5sum`);
  expect(arrived).toBe(await from.run("md5sum </www/data"));
}

describe("two guests", { timeout: DEADLINE_MS }, () => {
  it("reach each other by every card, with the features that are meant", async () => {
    await one.run("ping -c 3 -W 5 10.0.1.2 && ping -c 3 -W 5 10.0.2.2");
    const has = async (guest: ConsoleGuest, card: number): Promise<string> => {
      const bits = await guest.features(card);
      return [VIRTIO_F_RING_PACKED, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4]
        .map((bit) => bits[bit])
        .join("");
    };
    expect([await has(one, 0), await has(one, 1)]).toEqual(["1111", "0111"]);
    expect([await has(two, 0), await has(two, 1)]).toEqual(["0111", "0000"]);
  });

  it("hand each other large packets whole", async () => {
    for (const port of [1, 2]) await meanSize(port);
    await fetch(one, two, "10.0.1.2");
    expect(await meanSize(2)).toBeGreaterThan(FRAME_SIZE);
    await fetch(two, one, "10.0.1.1");
    expect(await meanSize(1)).toBeGreaterThan(FRAME_SIZE);
  });

  it("get frames cut and checksummed on a card that does not take them otherwise", async () => {
    for (const port of [3, 4]) await meanSize(port);
    await fetch(two, one, "10.0.2.1");
    expect(await meanSize(3)).toBeGreaterThan(FRAME_SIZE);
    await fetch(one, two, "10.0.2.2");
    expect(await meanSize(4)).toBeLessThan(FRAME_SIZE);
  });

  it("go on with a switch that was killed under load", async () => {
    for (const [guest, address] of [
      [one, "10.0.1.2"],
      [two, "10.0.1.1"],
    ] as const) {
      // In a session of its own: the shell on the console may be hung up.
      const script = `wget -q -O - http://${address}/data | md5sum >/tmp/sum; touch /tmp/done`;
      await guest.run(`setsid sh -c '${script}' </dev/null >/dev/null 2>&1 & true`);
    }
    await meanSize(1);
    await waitFor(
      async () => (await received(1)).bytes > before.get(1)!.bytes + 100_000,
      "some of the data on the switch",
      20_000,
      5,
    );
    await vswitch.end("SIGKILL");
    expect(await one.run("[ -e /tmp/done ] || echo going")).toBe("going");
    await vswitch.start();
    for (const [guest, other] of [
      [one, two],
      [two, one],
    ] as const) {
      await guest.run(
        "n=0; until [ -e /tmp/done ]; do usleep 100000; n=$((n + 1)); [ $n -lt 600 ] || exit 1; done",
      );
      expect(await guest.run("cat /tmp/sum")).toBe(await other.run("md5sum </www/data"));
    }
  });
});
