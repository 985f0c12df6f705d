// The load balancer in the path, all of it real but the machines: `plinth nfd` behind a stream port of `plinth
// vswitchd`, driven by the SDN controller. The test is the client and the two web machines.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { callControl } from "../../base/jsonrpc/index.js";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import {
  ETHERTYPE_IPV4,
  formatIpv4Address,
  formatMac,
  parseEthernet,
  parseIpv4,
  parseTcp,
  TCP_ACK,
  TCP_SYN,
} from "../../base/wire/index.js";
import { type Sdn, startSdn } from "../../sdn-controller/index.js";
import { OFPORTS, POLICIES, policyChange, shopChanges } from "../../sdn-controller/testing/shop.js";
import { tcpFrame } from "../support/pipeline-suite.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { endChild, PLINTH } from "../support/run.js";

const BRIDGE = "br-int";
const DEADLINE_MS = 20_000;
const CLIENT = 1;
const WEBS = [2, 3];
const CONNECTIONS = 20;

const macBytes = (mac: number): Uint8Array =>
  Uint8Array.from(Buffer.from(mac.toString(16).padStart(12, "0"), "hex"));

describe("a load balancer in the path", () => {
  let device: PlinthSwitch;
  let sdn: Sdn;
  let nfd: ChildProcess;
  let dir: string;
  const answered = new Map<number, number>();

  beforeAll(async () => {
    dir = mkdtempSync("/tmp/plb-");
    nfd = spawn(process.execPath, [PLINTH, "nfd", "--dir", dir], { stdio: "ignore" });
    const control = join(dir, "run", "nfd.sock");
    await waitFor(() => existsSync(control), "nfd to be ready", DEADLINE_MS);
    device = await PlinthSwitch.start();
    await device.vsctl(
      "add-br",
      BRIDGE,
      "--",
      "set",
      "bridge",
      BRIDGE,
      "datapath_type=netdev",
      "fail_mode=secure",
    );
    await device.vsctl("set-controller", BRIDGE, `unix:${join(device.dir, "of.sock")}`);
    for (const [id, ofport] of OFPORTS) {
      if (!id.startsWith("nf:")) await device.addPort(BRIDGE, `p${ofport}`, ofport, id);
    }
    sdn = await startSdn(
      {
        openflowSocket: join(device.dir, "of.sock"),
        ovsdbEndpoint: device.endpoint,
        outputs: { onStatus: () => {}, onEvent: () => {} },
      },
      { clock: systemClock, log: silentLog },
    );
    const { controller } = sdn;
    controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
    controller.inventoryComplete();
    const view = controller.compiler.inventory.function("shop/web");
    if (view === undefined) throw new Error("no load balancer");
    const socket = join(dir, "nf.sock");
    await callControl(control, "function.apply", {
      name: "shop/web",
      type: "LoadBalancer",
      socket,
      macAddress: formatMac(macBytes(view.mac)),
      address: formatIpv4Address(view.address),
      probeAddress: formatIpv4Address(view.probeAddress),
      ports: [{ port: 80, targetPort: 80, protocol: "TCP" }],
      endpoints: view.endpoints.map(({ name, address, mac, draining }) => ({
        name,
        address: formatIpv4Address(address),
        macAddress: formatMac(macBytes(mac)),
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
    await device?.stop();
    if (nfd !== undefined) await endChild(nfd, "SIGTERM");
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
      if (port.addresses.includes(address)) return macBytes(port.mac);
    }
    return undefined;
  }

  it("finds its endpoints healthy through its own port", async () => {
    const healthy = async (): Promise<boolean> => {
      serve();
      const list = (await callControl(join(dir, "run", "nfd.sock"), "function.list")) as {
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
    const self = { ofport: CLIENT, mac: macBytes(client.mac), address: client.addresses[0] as number };
    const vip = { ofport: 9, mac: macBytes(view.mac), address: view.address };
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
