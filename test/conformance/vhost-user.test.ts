// The vhost-user port against QEMU and a real virtio driver: negotiation, frames both ways, and both sides killed in
// turn.
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PacketPool, SLOT_SIZE, TX_DROPPED, TX_PACKETS } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
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

function startGuest(role: "server" | "client"): void {
  const chardev = `socket,id=c,path=${dir}/net.sock${role === "server" ? ",server=on,wait=off" : ",reconnect=1"}`;
  guest = new BootGuest("vhost-user,id=n,chardev=c", [
    ...["-machine", "pc,memory-backend=m", "-object", "memory-backend-memfd,id=m,size=64M,share=on"],
    ...["-chardev", chardev],
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
