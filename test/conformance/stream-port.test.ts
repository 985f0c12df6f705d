// The stream port against QEMU's `-netdev stream` and a real virtio driver, dialling and listening.
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createWindowPool, RX_ERRORS, StreamPort } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { BootGuest, BootServer } from "../support/boot-guest.js";
import { requirePrograms } from "../support/run.js";

let dir = "";
let port: StreamPort;
let guest: BootGuest | undefined;
const { pool, window } = createWindowPool(512, 64 << 20);

beforeEach(() => {
  requirePrograms("qemu-system-x86_64");
  dir = mkdtempSync("/tmp/pl-");
});
afterEach(async () => {
  port.close();
  await guest?.kill();
  expect(pool.available).toBe(512);
  rmSync(dir, { recursive: true });
});

const netdev = (server: "on" | "off"): string =>
  `stream,id=n,server=${server},addr.type=unix,addr.path=${dir}/net.sock`;

test("a port that listens serves a guest that dials, and the next one after that was killed", async () => {
  port = new StreamPort({ name: "vm", pool, window, path: `${dir}/net.sock`, role: "listen" });
  port.tick(performance.now());
  for (let life = 0; life < 2; life++) {
    guest = new BootGuest(netdev("off"));
    await new BootServer(port, pool).lease();
    await guest.kill();
    await waitFor(
      () => {
        port.tick(performance.now());
        return !port.linkUp;
      },
      "the loss of QEMU to be noticed",
      5000,
      2,
    );
  }
  expect(port.stats[RX_ERRORS]).toBe(0);
});

test("a port that dials reaches a guest that listens", async () => {
  port = new StreamPort({ name: "vm", pool, window, path: `${dir}/net.sock` });
  guest = new BootGuest(netdev("on"));
  await new BootServer(port, pool).lease();
});
