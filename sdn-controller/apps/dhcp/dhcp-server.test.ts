import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BOOTREQUEST,
  DHCP_OPTION,
  type DhcpMessage,
  dhcpAddresses,
  encodeDhcp,
  encodeEthernet,
  encodeIpv4,
  encodeUdp,
  MAC_BROADCAST,
  parseDhcp,
  parseEthernet,
  parseIpv4,
  parseUdp,
  tryParseIpv4Address,
} from "../../../base/wire/index.js";
import { type Prefix, parsePrefix } from "../../network/ipv4.js";

import type { PortView } from "../../network/views.js";
import { answerDhcp } from "./dhcp-server.js";

const address = (text: string): number => tryParseIpv4Address(text) as number;
const MAC = Uint8Array.of(2, 0x50, 1, 2, 3, 4);
const port: PortView = {
  key: "shop/web1-eth0",
  namespace: "shop",
  virtualMachine: "web1",
  network: {
    key: "shop/front",
    segmentId: 10,
    subnets: [parsePrefix("10.10.0.0/24") as Prefix],
    subnets6: [],
    dnsServers6: [],
    mtu: 1400,
    gateway: undefined,
    dnsServers: [],
    dhcpAddresses: [address("10.10.0.1")],
    dhcpMac: 0x0250aabbccdd,
  },
  mac: 0x025001020304,
  addresses6: [],
  addresses: [address("10.10.0.7")],
  labels: {},
  namedPorts: [],
};

function frame(messageType: DhcpMessage["messageType"], more: Partial<DhcpMessage> = {}): Uint8Array {
  const payload = encodeDhcp({
    operation: BOOTREQUEST,
    messageType,
    transactionId: 0xdeadbeef,
    seconds: 0,
    broadcast: false,
    clientAddress: 0,
    yourAddress: 0,
    serverAddress: 0,
    relayAddress: 0,
    clientMac: MAC,
    options: new Map(),
    ...more,
  });
  const pair = { source: more.clientAddress ?? 0, destination: 0xffffffff };
  const udp = encodeUdp({ sourcePort: 68, destinationPort: 67, payload }, pair);
  return encodeEthernet({
    destination: MAC_BROADCAST,
    source: MAC,
    etherType: 0x0800,
    payload: encodeIpv4({ ...pair, protocol: 17, payload: udp }),
  });
}

function answer(request: Uint8Array, to: PortView = port) {
  const outcome = answerDhcp(request, to);
  if (outcome.kind === "none") return outcome;
  const ethernet = parseEthernet(outcome.frame);
  const ip = parseIpv4(ethernet.payload);
  return { ethernet, ip, message: parseDhcp(parseUdp(ip.payload, ip).payload) };
}

function replied(request: Uint8Array, to: PortView = port) {
  const result = answer(request, to);
  if ("kind" in result) throw new Error(`no reply: ${result.reason}`);
  return result;
}

const requested = (text: string) => new Map([[DHCP_OPTION.requestedAddress, dhcpAddresses(address(text))]]);

describe("answerDhcp()", () => {
  it("offers the port's address with mask, MTU, server and lease, and no router without a gateway", () => {
    const { message, ip, ethernet } = replied(frame("discover"));
    expect(message).toMatchObject({ messageType: "offer", transactionId: 0xdeadbeef });
    expect(message.yourAddress).toBe(address("10.10.0.7"));
    expect([...(message.options.get(DHCP_OPTION.interfaceMtu) ?? [])]).toEqual([1400 >> 8, 1400 & 255]);
    expect([...(message.options.get(DHCP_OPTION.subnetMask) ?? [])]).toEqual([255, 255, 255, 0]);
    expect([...(message.options.get(DHCP_OPTION.serverIdentifier) ?? [])]).toEqual([10, 10, 0, 1]);
    expect(message.options.has(DHCP_OPTION.leaseSeconds)).toBe(true);
    expect(message.options.has(DHCP_OPTION.router)).toBe(false);
    expect([ip.source, ip.destination]).toEqual([address("10.10.0.1"), address("10.10.0.7")]);
    expect(ethernet.destination).toEqual(MAC);
  });

  it("names the gateway and DNS servers where the network has them, and broadcasts when asked to", () => {
    const network = { ...port.network, gateway: address("10.10.0.254"), dnsServers: [address("10.10.0.53")] };
    const { message, ip } = replied(frame("discover", { broadcast: true }), { ...port, network });
    expect([...(message.options.get(DHCP_OPTION.router) ?? [])]).toEqual([10, 10, 0, 254]);
    expect([...(message.options.get(DHCP_OPTION.dnsServers) ?? [])]).toEqual([10, 10, 0, 53]);
    expect(ip.destination).toBe(0xffffffff);
  });

  it("acknowledges the right address when selecting, rebooting and renewing, and refuses any other", () => {
    const selecting = new Map([
      ...requested("10.10.0.7"),
      [DHCP_OPTION.serverIdentifier, dhcpAddresses(address("10.10.0.1"))] as const,
    ]);
    expect(replied(frame("request", { options: selecting })).message.messageType).toBe("ack");
    expect(replied(frame("request", { options: requested("10.10.0.7") })).message.messageType).toBe("ack");
    const renewing = replied(frame("request", { clientAddress: address("10.10.0.7") }));
    expect(renewing.message).toMatchObject({ messageType: "ack", clientAddress: address("10.10.0.7") });
    const wrong = replied(frame("request", { options: requested("10.10.0.8") }));
    expect(wrong.message).toMatchObject({ messageType: "nak", yourAddress: 0 });
    expect(wrong.ip.destination).toBe(0xffffffff);
    expect(replied(frame("request", { clientAddress: address("10.9.0.7") })).message.messageType).toBe("nak");
  });

  it("answers inform without an address or a lease, and release and another server's client not at all", () => {
    const { message } = replied(frame("inform", { clientAddress: address("10.10.0.7") }));
    expect(message).toMatchObject({ messageType: "ack", yourAddress: 0 });
    expect(message.options.has(DHCP_OPTION.leaseSeconds)).toBe(false);
    expect(answer(frame("release", { clientAddress: address("10.10.0.7") }))).toMatchObject({
      reason: "release",
    });
    const other = new Map([[DHCP_OPTION.serverIdentifier, dhcpAddresses(address("10.10.0.2"))]]);
    expect(answer(frame("request", { options: other }))).toMatchObject({ reason: "other-server" });
    expect(answer(frame("discover", { clientMac: MAC_BROADCAST }))).toMatchObject({
      reason: "foreign-hardware-address",
    });
  });

  it("survives any bytes", () => {
    const good = frame("discover");
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.nat(good.length - 1),
        fc.nat(255),
        (bytes, at, value) => {
          answerDhcp(bytes, port);
          const broken = Uint8Array.from(good);
          broken[at] = value;
          answerDhcp(broken, port);
          answerDhcp(good.subarray(0, at), port);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
