// The vhost-user port against QEMU: its network boot firmware is a real virtio driver that asks for an address, so
// negotiation and frames both ways are proven without any guest of ours. Then both sides are killed in turn.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Batch, PacketPool, SLOT_SIZE, TX_DROPPED, TX_PACKETS } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { VhostUserPort } from "../../vswitch/port/index.js";
import { requirePrograms } from "../support/run.js";

const GUEST_MAC = "525400a1b2c3";
const SERVER_MAC = "525400000001";
const SLOTS = 512;
let dir = "";
let window: GuestWindow;
let pool: PacketPool;
let port: VhostUserPort;
let qemu: ChildProcess | undefined;
const batch = new Batch();

beforeEach(() => {
  requirePrograms("qemu-system-x86_64");
  dir = mkdtempSync("/tmp/pl-");
  window = new GuestWindow(1 << 30);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
});
afterEach(async () => {
  port.close();
  await killQemu();
  window.close();
  rmSync(dir, { recursive: true });
});

function startQemu(role: "server" | "client"): void {
  const chardev = `socket,id=c,path=${dir}/net.sock${role === "server" ? ",server=on,wait=off" : ",reconnect=1"}`;
  qemu = spawn(
    "qemu-system-x86_64",
    [
      ...["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "64"],
      ...["-machine", "pc,memory-backend=m"],
      ...["-object", "memory-backend-memfd,id=m,size=64M,share=on"],
      ...["-chardev", chardev, "-netdev", "vhost-user,id=n,chardev=c"],
      ...[
        "-device",
        `virtio-net-pci,netdev=n,mac=${GUEST_MAC.match(/../g)!.join(":")},vectors=0,bootindex=0`,
      ],
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  // QEMU tells of each loss of the switch; that is what these tests are about.
  qemu.stderr?.resume();
}

async function killQemu(): Promise<void> {
  if (qemu === undefined || qemu.exitCode !== null || qemu.signalCode !== null) return;
  const exited = once(qemu, "exit");
  qemu.kill("SIGKILL");
  await exited;
}

function openPort(role: "dial" | "listen" = "dial"): void {
  port = new VhostUserPort({ name: "vm", pool, window, path: `${dir}/net.sock`, role });
}

/** The first frame from the guest that `wanted` accepts. */
async function frameFromGuest(what: string, wanted: (hex: string) => boolean): Promise<Buffer> {
  let found: Buffer | undefined;
  await waitFor(
    () => {
      port.tick(performance.now());
      port.rx(batch);
      for (let i = 0; i < batch.length; i++) {
        const frame = Buffer.from(pool.frame(batch.packets[i]!));
        if (found === undefined && wanted(frame.toString("hex"))) found = frame;
      }
      batch.freeAll(pool);
      return found !== undefined;
    },
    () => `${what}; link ${port.linkUp} ${port.lastError}, counters ${Array.from(port.stats).join(" ")}`,
    60_000,
    2,
  );
  return found!;
}

const isDhcp = (hex: string): boolean => hex.slice(12, 24) === GUEST_MAC && hex.slice(24, 28) === "0800";
const dhcpType = (frame: Buffer): number => {
  for (let at = 42 + 240; at < frame.length && frame[at] !== 255; at += 2 + frame[at + 1]!) {
    if (frame[at] === 53) return frame[at + 2]!;
  }
  return 0;
};

/** A DHCP answer to `request` (RFC 2131), offering 10.0.0.2 from 10.0.0.1 with a boot file there. */
function dhcpAnswer(request: Buffer, type: number): Uint8Array {
  const options = `3501${type.toString(16).padStart(2, "0")}36040a000001330400000e100104ffffff00ff`;
  const dhcp = Buffer.alloc(300);
  request.copy(dhcp, 0, 42, 42 + 44);
  dhcp[0] = 2;
  dhcp.set([10, 0, 0, 2], 16);
  dhcp.set([10, 0, 0, 1], 20);
  dhcp.write("boot", 108);
  dhcp.write(`63825363${options}`, 236, "hex");
  const frame = Buffer.alloc(42 + dhcp.length);
  frame.write(`${GUEST_MAC}${SERVER_MAC}0800`, 0, "hex");
  frame.write("4500", 14, "hex");
  frame.writeUInt16BE(28 + dhcp.length, 16);
  frame.write("4011", 22, "hex");
  frame.set([10, 0, 0, 1, 255, 255, 255, 255], 26);
  frame.writeUInt16BE(checksum(frame.subarray(14, 34)), 24);
  frame.writeUInt16BE(67, 34);
  frame.writeUInt16BE(68, 36);
  frame.writeUInt16BE(8 + dhcp.length, 38);
  dhcp.copy(frame, 42);
  return frame;
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function sendToGuest(frame: Uint8Array): void {
  batch.push(pool.allocateFrom(frame));
  port.tx(batch);
}

/** The whole exchange: the guest asks, we answer, and it uses the address that it was told. */
async function leaseAddress(): Promise<void> {
  const discover = await frameFromGuest("a DHCP discover", isDhcp);
  expect(dhcpType(discover)).toBe(1);
  sendToGuest(dhcpAnswer(discover, 2));
  const request = await frameFromGuest("a DHCP request", (hex) => {
    return isDhcp(hex) && dhcpType(Buffer.from(hex, "hex")) === 3;
  });
  sendToGuest(dhcpAnswer(request, 5));
  // The guest announces the address, so it believed the answers.
  await frameFromGuest("an ARP from 10.0.0.2", (hex) => {
    return hex.slice(24, 28) === "0806" && hex.slice(56, 64) === "0a000002";
  });
  expect(port.stats[TX_PACKETS]).toBeGreaterThanOrEqual(2);
}

test("a guest under QEMU leases an address; QEMU killed and started again does so once more", async () => {
  openPort();
  for (let life = 0; life < 2; life++) {
    startQemu("server");
    await leaseAddress();
    expect(port.stats[TX_DROPPED]).toBe(0);
    await killQemu();
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
  openPort();
  startQemu("server");
  const discover = await frameFromGuest("a DHCP discover", isDhcp);
  expect(dhcpType(discover)).toBe(1);
  port.close();
  openPort();
  await leaseAddress();
});

test("QEMU dials a port that listens, and again after the port is gone", async () => {
  openPort("listen");
  port.tick(performance.now());
  startQemu("client");
  await frameFromGuest("a DHCP discover", isDhcp);
  port.close();
  openPort("listen");
  await leaseAddress();
});
