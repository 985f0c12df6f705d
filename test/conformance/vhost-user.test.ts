// The vhost-user port against QEMU and a real virtio driver: negotiation, frames both ways, and both sides killed in
// turn.
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Batch, PacketPool, SLOT_SIZE, TX_DROPPED, TX_ERRORS, TX_PACKETS } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { QmpClient } from "../../hypervisor-core/index.js";
import { VhostUserPort } from "../../vswitch/port/index.js";
import { BootGuest, BootServer } from "../support/boot-guest.js";
import { requirePrograms } from "../support/run.js";

const SLOTS = 512;
let dir = "";
let window: GuestWindow;
let pool: PacketPool;
let port: VhostUserPort;
let guest: BootGuest | undefined;

beforeEach(() => {
  requirePrograms("qemu-system-x86_64");
  dir = mkdtempSync("/tmp/pl-");
  window = new GuestWindow(1 << 30);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
});
afterEach(async () => {
  port.close();
  await guest?.kill();
  window.close();
  rmSync(dir, { recursive: true });
});

function startGuest(role: "server" | "client", more: readonly string[] = []): void {
  const chardev = `socket,id=c,path=${dir}/net.sock${role === "server" ? ",server=on,wait=off" : ",reconnect=1"}`;
  guest = new BootGuest("vhost-user,id=n,chardev=c", [
    ...["-machine", "pc,memory-backend=m", "-object", "memory-backend-memfd,id=m,size=64M,share=on"],
    ...["-chardev", chardev],
    ...more,
  ]);
}

function openPort(role: "dial" | "listen" = "dial"): BootServer {
  port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/net.sock`, role });
  return new BootServer(port, pool);
}

test("a guest under QEMU leases an address; QEMU killed and started again does so once more", async () => {
  const server = openPort();
  for (let life = 1; life <= 2; life++) {
    startGuest("server");
    await server.lease();
    expect(port.stats[TX_PACKETS]).toBeGreaterThanOrEqual(2 * life);
    expect(port.stats[TX_DROPPED]).toBe(0);
    await guest?.kill();
    await waitFor(
      () => {
        port.tick(performance.now());
        return !port.linkUp;
      },
      "the loss of QEMU to be noticed",
      5000,
      2,
    );
    expect(pool.available).toBe(SLOTS);
  }
});

test("a restarted switch takes over the rings of a running guest", async () => {
  const server = openPort();
  startGuest("server");
  await server.discover();
  port.close();
  await openPort().lease();
});

test("QEMU dials a port that listens, and again after the port is gone", async () => {
  const server = openPort("listen");
  port.tick(performance.now());
  startGuest("client");
  await server.discover();
  port.close();
  await openPort("listen").lease();
});

test("memory that is plugged in reaches the switch, and host_mtu bounds what the guest is sent", async () => {
  const MORE = 64 << 20;
  const server = openPort();
  const qmp = `${dir}/qmp`;
  startGuest("server", [
    ...["-m", "64M,slots=2,maxmem=512M", "-qmp", `unix:${qmp},server=on,wait=off`],
    ...["-global", "virtio-net-pci.host_mtu=1400"],
  ]);
  await server.discover();
  const before = window.reservedBytes;
  const monitor = await QmpClient.open({ path: qmp, deadlineMs: 10_000 });
  try {
    await monitor.execute("object-add", {
      "qom-type": "memory-backend-memfd",
      id: "more",
      size: MORE,
      share: true,
    });
    const plugged = monitor.execute("device_add", { driver: "pc-dimm", id: "dimm", memdev: "more" });
    await waitFor(
      () => {
        port.tick(performance.now());
        return window.reservedBytes >= before + MORE;
      },
      () => `the new memory beside ${before} bytes; ${port.lastError}`,
      10_000,
      2,
    );
    await plugged;
  } finally {
    monitor.close();
  }
  await server.lease();
  expect(port.linkUp).toBe(true);
  const errors = port.stats[TX_ERRORS]!;
  const batch = new Batch();
  for (const size of [1414, 1415]) batch.push(pool.allocateFrom(new Uint8Array(size).fill(0xff)));
  const sent = port.stats[TX_PACKETS]!;
  port.tx(batch);
  expect(port.stats[TX_PACKETS]).toBe(sent + 1);
  expect(port.stats[TX_ERRORS]).toBe(errors + 1);
});
