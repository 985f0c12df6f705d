// Ports for a datapath in steady state that come in pairs, each of which gets what leaves by the other: over devices of the
// host, where that lets us, and over sockets; and one whose peer reads nothing, and has sent the beginning of a frame.
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  addressOf,
  closeFile,
  listenUnix,
  probeFacility,
  sysAccept,
  sysSend,
} from "../../base/linux/index.js";
import { type PacketPool, type Port, StreamPort } from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { AfxdpPort, SystemPort, TapPort } from "../port/index.js";

export const DEVICE_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);

export interface SteadyPortModules {
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  /** Puts the ports of a pair, by their number, onto bridges of their own, by which frames go to each. */
  readonly join: (name: string, open: (end: 1 | 2) => Port) => void;
  /** Puts the port onto a bridge of its own, by which frames go to it, and waits until its link is up. */
  readonly feed: (port: Port) => void;
  /** To be done at the end. */
  readonly removals: (() => void)[];
}

/** A TAP port and one over the device that it made; AF_XDP sockets at both ends of a cable. */
export function addDevicePorts({ pool, window, join: joinPair, removals }: SteadyPortModules): void {
  if (!probeFacility("tap").available) return;
  const name = `plss${process.pid % 100_000}`;
  joinPair("tap", (end) =>
    end === 1 ? new TapPort({ name, pool, mac: DEVICE_MAC }) : new SystemPort({ name, pool, window }),
  );
  silence(name);
  if (process.getuid?.() !== 0 || !probeFacility("af-xdp").available) return;
  const ends = ["a", "b"].map((end) => `plx${end}${process.pid % 100_000}`) as [string, string];
  execFileSync("ip", ["link", "add", ends[0], "type", "veth", "peer", "name", ends[1]]);
  removals.push(() => execFileSync("ip", ["link", "del", ends[0]]));
  for (const end of ends) silence(end);
  joinPair("xdp", (end) => new AfxdpPort({ name: ends[end - 1] as string, pool, window }));
}

/** A stream port and its peer, which dials it; and one whose buffer is always full, with a part of a frame in the other. */
export function addStreamPorts(dir: string, modules: SteadyPortModules): void {
  const { pool, window, join: joinPair, feed, removals } = modules;
  const path = join(dir, "stream");
  joinPair(
    "stream",
    (end) => new StreamPort({ name: "s", pool, window, path, role: end === 1 ? "listen" : "dial" }),
  );
  const deaf = join(dir, "deaf");
  const listener = listenUnix(deaf);
  feed(new StreamPort({ name: "deaf", pool, window, path: deaf }));
  const fds = [sysAccept(listener), listener];
  // A frame of 100 bytes begins, and never ends.
  const begun = Uint8Array.of(0, 0, 0, 100, 1, 2, 3);
  sysSend(fds[0] as number, addressOf(begun), begun.byteLength);
  removals.push(() => fds.forEach(closeFile));
}

/** The kernel sends nothing of its own by the device: what it tells its neighbours over IPv6 it tells when it likes. */
function silence(device: string): void {
  const path = `/proc/sys/net/ipv6/conf/${device}/disable_ipv6`;
  if (existsSync(path)) writeFileSync(path, "1");
}
