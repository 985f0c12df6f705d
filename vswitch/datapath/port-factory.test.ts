import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createMemfd } from "../../base/linux/index.js";
import { arenaSizeOf, PacketPool } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { PortFactory, type PortSpec } from "./port-factory.js";

const window = new GuestWindow(16 << 20);
const arenaOffset = window.reserveAnonymous(arenaSizeOf(4, 1));
const pool = new PacketPool({ slots: 4, largeSlots: 1, arena: window.bytes, arenaOffset });
const factory = new PortFactory({ pool, window, hostDevices: true });
const dir = mkdtempSync("/tmp/pl-pf-");
const path = join(dir, "socket");
afterAll(() => {
  window.close();
  rmSync(dir, { recursive: true });
});

const spec = (type: string, options: Record<string, string>): PortSpec => ({
  ...{ name: "p", type, options, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500 },
});
const descriptors = (): number => readdirSync("/proc/self/fd").length;

test("an option that is on or off takes true and false, and anything else is refused by name", () => {
  const switches = [
    ["stream", "server", { path }],
    ["dpdkvhostuser", "allow-unsealed-memory", { path }],
    ["dpdkvhostuserclient", "allow-unsealed-memory", { "vhost-server-path": path }],
    ["system", "qdisc-bypass", {}],
    ["tap", "persist", {}],
    ["internal", "persist", {}],
  ] as const;
  for (const [type, option, others] of switches) {
    for (const wrong of ["yes", "1", "", "true "]) {
      const before = descriptors();
      const handed = { fds: [createMemfd("handed", 4096)], state: {} };
      expect(() => factory.create(spec(type, { ...others, [option]: wrong }), handed)).toThrow(
        `options:${option} cannot be "${wrong}": true, false are possible`,
      );
      expect(descriptors()).toBe(before);
    }
  }
  for (const [text, listens] of [
    ["true", true],
    ["TRUE", true],
    ["false", false],
  ] as const) {
    const port = factory.create(spec("stream", { path, server: text }));
    port.tick(0);
    expect(existsSync(path)).toBe(listens);
    port.close();
    rmSync(path, { force: true });
  }
});
