// A guest without a disk: QEMU's network boot firmware is a real driver that asks for an address by DHCP, so a port is
// proven in both directions without any guest image. It runs under TCG, which is there on every machine.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Batch, type PacketPool, type Port } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";

const GUEST_MAC = "525400a1b2c3";
const SERVER_MAC = "525400000001";
const DEADLINE_MS = 60_000;

/** QEMU with one virtio network card on `netdev` (id=n) and the further arguments that it needs. */
export class BootGuest {
  readonly #process: ChildProcess;

  constructor(netdev: string, extra: readonly string[] = []) {
    const mac = GUEST_MAC.match(/../g)!.join(":");
    this.#process = spawn(
      "qemu-system-x86_64",
      [
        ...["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "64", ...extra],
        ...["-netdev", netdev, "-device", `virtio-net-pci,netdev=n,mac=${mac},vectors=0,bootindex=0`],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    // QEMU tells of each loss of the switch; that is what these tests are about.
    this.#process.stderr?.resume();
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exited;
  }
}

/** The other side of a guest's port: takes its frames, answers its questions. */
export class BootServer {
  readonly #port: Port & { readonly lastError: string };
  readonly #pool: PacketPool;
  readonly #batch = new Batch();

  constructor(port: Port & { readonly lastError: string }, pool: PacketPool) {
    this.#port = port;
    this.#pool = pool;
  }

  /** The guest's first question for an address. */
  async discover(): Promise<Buffer> {
    return this.#frame("a DHCP discover", (frame) => isDhcp(frame) && dhcpType(frame) === 1);
  }

  /** The whole exchange: the guest asks, we answer, and it announces the address that it was told. */
  async lease(): Promise<void> {
    const discover = await this.discover();
    this.#send(dhcpAnswer(discover, 2));
    const request = await this.#frame("a DHCP request", (frame) => isDhcp(frame) && dhcpType(frame) === 3);
    this.#send(dhcpAnswer(request, 5));
    await this.#frame("an ARP from 10.0.0.2", (frame) => {
      const hex = frame.toString("hex");
      return hex.slice(24, 28) === "0806" && hex.slice(56, 64) === "0a000002";
    });
  }

  #send(frame: Uint8Array): void {
    this.#batch.push(this.#pool.allocateFrom(frame));
    this.#port.tx(this.#batch);
  }

  async #frame(what: string, wanted: (frame: Buffer) => boolean): Promise<Buffer> {
    const port = this.#port;
    const batch = this.#batch;
    let found: Buffer | undefined;
    await waitFor(
      () => {
        port.tick(performance.now());
        port.rx(batch);
        for (let i = 0; i < batch.length; i++) {
          const frame = Buffer.from(this.#pool.frame(batch.packets[i]!));
          if (found === undefined && wanted(frame)) found = frame;
        }
        batch.freeAll(this.#pool);
        return found !== undefined;
      },
      () => `${what}; link ${port.linkUp} ${port.lastError}, counters ${Array.from(port.stats).join(" ")}`,
      DEADLINE_MS,
      2,
    );
    return found!;
  }
}

const isDhcp = (frame: Buffer): boolean =>
  frame.toString("hex", 6, 14) === `${GUEST_MAC}0800` && frame.length > 42 + 240;

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
