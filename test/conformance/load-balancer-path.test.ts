// The load balancer in the path, all of it real but the machines: `plinth nfd` behind a stream port of `plinth
// vswitchd`, driven by the SDN controller. The test is the client and the two web machines.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  ETHERTYPE_IPV4,
  formatIpv4Address,
  parseEthernet,
  parseIpv4,
  parseTcp,
  TCP_ACK,
  TCP_SYN,
} from "../../base/wire/index.js";
import type { Sdn } from "../../sdn-controller/index.js";
import { formatMac } from "../../sdn-controller/network/mac.js";
import { bytesOf } from "../../sdn-controller/pipeline/flow.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { tcpFrame } from "../support/pipeline-frames.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { addShopBridge, BRIDGE, startShopController } from "../support/shop-controller.js";

const DEADLINE_MS = 20_000;
const CLIENT = 1;
const WEBS = [2, 3];
const CONNECTIONS = 20;

describe("a load balancer in the path", () => {
  let device: PlinthSwitch;
  let sdn: Sdn;
  let nfd: DaemonProcess;
  let dir: string;
  const answered = new Map<number, number>();

  beforeAll(async () => {
    dir = mkdtempSync("/tmp/plb-");
    nfd = new DaemonProcess({
      args: ["nfd", "--dir", dir],
      controlSocket: join(dir, "run", "nfd.sock"),
    });
    await nfd.start();
    device = await PlinthSwitch.open();
    await addShopBridge(device, (id) => !id.startsWith("nf:"));
    sdn = await startShopController(device);
    const { controller } = sdn;
    const view = controller.compiler.inventory.function("shop/web");
    if (view === undefined) throw new Error("no load balancer");
    const socket = join(dir, "nf.sock");
    await nfd.call("function.apply", {
      name: "shop/web",
      type: "LoadBalancer",
      socket,
      macAddress: formatMac(view.mac),
      address: formatIpv4Address(view.address),
      probeAddress: formatIpv4Address(view.probeAddress),
      ports: [{ port: 80, targetPort: 80, protocol: "TCP" }],
      endpoints: view.endpoints.map(({ name, address, mac, draining }) => ({
        name,
        address: formatIpv4Address(address),
        macAddress: formatMac(mac),
        draining,
      })),
      healthCheck: { intervalMs: 200, timeoutMs: 100, healthyThreshold: 1, unhealthyThreshold: 5 },
    });
    await device.vsctl(
      ...["add-port", BRIDGE, "nf", "--", "set", "interface", "nf", "type=stream", `options:path=${socket}`],
      `external_ids:iface-id="nf:shop/web"`,
    );
    await waitFor(
      () => controller.isSettled && controller.compiler.ofportOf("nf:shop/web") !== undefined,
      "the function to be attached",
      DEADLINE_MS,
    );
  });
  afterAll(async () => {
    await sdn?.close();
    await device?.destroy();
    await nfd?.end("SIGTERM");
    rmSync(dir, { recursive: true, force: true });
  });

  /** Web machines answer every SYN that they have got since the last time. */
  function serve(): void {
    for (const port of WEBS) {
      const frames = device.sentBy(port);
      for (let i = answered.get(port) ?? 0; i < frames.length; i++) {
        const { source, destination, etherType, payload } = parseEthernet(frames[i] as Uint8Array);
        if (etherType !== ETHERTYPE_IPV4) continue;
        const ip = parseIpv4(payload);
        const tcp = parseTcp(ip.payload, ip);
        if (tcp.flags !== TCP_SYN) continue;
        // As a machine does: the answer goes to the MAC that ARP gives for the address, not to where the frame came from.
        const from = { ofport: port, mac: destination, address: ip.destination };
        const to = { ofport: 0, mac: macOf(ip.source) ?? source, address: ip.source };
        const ends = { source: tcp.destinationPort, destination: tcp.sourcePort };
        device.inject(port, tcpFrame(from, to, ends, TCP_SYN | TCP_ACK, 900, tcp.sequence + 1));
      }
      answered.set(port, frames.length);
    }
  }

  function macOf(address: number): Uint8Array | undefined {
    for (const port of sdn.controller.compiler.inventory.ports()) {
      if (port.addresses.includes(address)) return bytesOf(port.mac, 6);
    }
    return undefined;
  }

  it("finds its endpoints healthy through its own port", async () => {
    const healthy = async (): Promise<boolean> => {
      serve();
      const list = (await nfd.call("function.list")) as {
        endpoints: { state: string }[];
      }[];
      return list[0]?.endpoints.length === 2 && list[0].endpoints.every(({ state }) => state === "Healthy");
    };
    await waitFor(healthy, "both web machines to be healthy", DEADLINE_MS);
  });

  it("answers clients under the virtual address, spread over both machines", async () => {
    const client = sdn.controller.compiler.inventory.port("shop/client");
    const view = sdn.controller.compiler.inventory.function("shop/web");
    if (client === undefined || view === undefined) throw new Error("no client");
    const self = { ofport: CLIENT, mac: bytesOf(client.mac, 6), address: client.addresses[0] as number };
    const vip = { ofport: 9, mac: bytesOf(view.mac, 6), address: view.address };
    const before = device.sentBy(CLIENT).length;
    for (let i = 0; i < CONNECTIONS; i++) {
      device.inject(CLIENT, tcpFrame(self, vip, { source: 30_000 + i, destination: 80 }, TCP_SYN, 100, 0));
    }
    await waitFor(
      () => {
        serve();
        return device.sentBy(CLIENT).length - before >= CONNECTIONS;
      },
      () => `${CONNECTIONS} answers; there are ${device.sentBy(CLIENT).length - before}`,
      DEADLINE_MS,
    );
    const ports = new Set<number>();
    for (const frame of device.sentBy(CLIENT).slice(before)) {
      const { source, payload } = parseEthernet(frame);
      const ip = parseIpv4(payload);
      const tcp = parseTcp(ip.payload, ip);
      expect(formatIpv4Address(ip.source)).toBe("10.10.0.100");
      expect(source).toEqual(vip.mac);
      expect(tcp).toMatchObject({ sourcePort: 80, flags: TCP_SYN | TCP_ACK, acknowledgment: 101 });
      ports.add(tcp.destinationPort);
    }
    expect(ports.size).toBe(CONNECTIONS);
    for (const port of WEBS) {
      const fromClient = device.sentBy(port).filter((frame) => {
        const { etherType, payload } = parseEthernet(frame);
        return etherType === ETHERTYPE_IPV4 && parseIpv4(payload).source === self.address;
      });
      expect(fromClient.length).toBeGreaterThan(0);
    }
  });
});
