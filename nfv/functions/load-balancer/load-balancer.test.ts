import { beforeEach, describe, expect, it } from "vitest";
import { Batch, PacketPool } from "../../../base/packet/index.js";
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  encodeArp,
  encodeEthernet,
  encodeIcmp,
  encodeIpv4,
  encodeTcp,
  encodeUdp,
  formatIpv4Address,
  formatMac,
  ICMP_ECHO_REPLY,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  parseArp,
  parseEthernet,
  parseIcmp,
  parseIpv4,
  parseIpv4Address,
  parseMac,
  parseTcp,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from "../../../base/wire/index.js";
import { LoadBalancer } from "./load-balancer.js";
import type { LoadBalancerConfig } from "./load-balancer-config.js";

const VIP = "10.10.0.100";
const LB_MAC = "02:00:00:00:00:64";
const CLIENT = "10.10.0.50";
const CLIENT_MAC = "02:00:00:00:00:32";

const config: LoadBalancerConfig = {
  name: "shop/web",
  type: "LoadBalancer",
  socket: "/x",
  macAddress: LB_MAC,
  address: VIP,
  ports: [
    { port: 80, targetPort: 8080, protocol: "TCP" },
    { port: 53, targetPort: 53, protocol: "UDP" },
  ],
  endpoints: [
    { name: "web1", address: "10.10.0.2", macAddress: "02:00:00:00:00:02", draining: false },
    { name: "web2", address: "10.10.0.3", macAddress: "02:00:00:00:00:03", draining: false },
  ],
  healthCheck: {
    protocol: "TCP",
    intervalMs: 1000,
    timeoutMs: 400,
    healthyThreshold: 1,
    unhealthyThreshold: 2,
  },
};

let pool: PacketPool;
let input: Batch;
let output: Batch;
beforeEach(() => {
  pool = new PacketPool({ slots: 128 });
  input = new Batch();
  output = new Batch();
});

/** Pushes one frame and returns what comes out, or undefined. */
function through(balancer: LoadBalancer, frame: Uint8Array, nowMs = 1000): Uint8Array | undefined {
  input.push(pool.allocateFrom(frame));
  balancer.push(input, output, nowMs);
  const out = output.length === 0 ? undefined : pool.frame(output.packets[0] as number);
  output.freeAll(pool);
  return out;
}

function tcp(
  from: [string, string, number],
  to: [string, string, number],
  flags = TCP_ACK,
  payload = "hello",
) {
  const pair = { source: parseIpv4Address(from[0]), destination: parseIpv4Address(to[0]) };
  return encodeEthernet({
    source: parseMac(from[1]),
    destination: parseMac(to[1]),
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({
      ...pair,
      protocol: IPPROTO_TCP,
      payload: encodeTcp(
        { sourcePort: from[2], destinationPort: to[2], sequence: 99, flags, payload: Buffer.from(payload) },
        pair,
      ),
    }),
  });
}

const request = (port: number) => tcp([CLIENT, CLIENT_MAC, port], [VIP, LB_MAC, 80]);
const opening = (port: number) => tcp([CLIENT, CLIENT_MAC, port], [VIP, LB_MAC, 80], TCP_SYN, "");

/** Addresses and ports of a TCP frame; both checksums are verified on the way. */
function read(frame: Uint8Array | undefined) {
  if (frame === undefined) throw new Error("nothing came out");
  const ethernet = parseEthernet(frame);
  const ip = parseIpv4(ethernet.payload);
  const segment = parseTcp(ip.payload, ip);
  return {
    from: `${formatIpv4Address(ip.source)}:${segment.sourcePort}`,
    to: `${formatIpv4Address(ip.destination)}:${segment.destinationPort}`,
    sourceMac: formatMac(ethernet.source),
    destinationMac: formatMac(ethernet.destination),
    payload: Buffer.from(segment.payload).toString(),
  };
}

describe("LoadBalancer.push()", () => {
  it("brings a machine back to itself in its own name, and its answer as that of the virtual address", () => {
    const alone = { ...config, endpoints: config.endpoints.slice(0, 1) };
    const balancer = new LoadBalancer(alone, { pool });
    const [web] = alone.endpoints as [LoadBalancerConfig["endpoints"][0]];
    const self = (port: number): [string, string, number] => [web.address, web.macAddress, port];
    const there = read(through(balancer, tcp(self(4000), [VIP, LB_MAC, 80], TCP_SYN, "")));
    const macs = { sourceMac: LB_MAC, destinationMac: web.macAddress };
    expect(there).toMatchObject({ from: `${VIP}:4000`, to: `${web.address}:8080`, ...macs });
    const answer = tcp(self(8080), [VIP, LB_MAC, 4000]);
    const back = { from: `${VIP}:80`, to: `${web.address}:4000`, ...macs };
    expect(read(through(balancer, answer))).toMatchObject(back);
    // Neither does one that has forgotten everything lose it, nor does anybody else get through to a port that is none.
    const forgetful = new LoadBalancer(alone, { pool });
    expect(read(through(forgetful, answer))).toMatchObject(back);
    expect(through(balancer, tcp(self(8081), [VIP, LB_MAC, 4000]))).toBeUndefined();
    expect(through(balancer, tcp([CLIENT, CLIENT_MAC, 8080], [VIP, LB_MAC, 4000]))).toBeUndefined();
    expect(balancer.status(1000).counters).toMatchObject({
      forwarded: 1,
      replied: 1,
      "dropped-no-service": 2,
    });
  });

  it("rewrites the destination only, keeps the client, and repairs both checksums", () => {
    const out = read(through(new LoadBalancer(config, { pool }), request(4000)));
    expect(out.from).toBe(`${CLIENT}:4000`);
    expect(["10.10.0.2:8080", "10.10.0.3:8080"]).toContain(out.to);
    expect(out.destinationMac).toBe(
      out.to.startsWith("10.10.0.2") ? "02:00:00:00:00:02" : "02:00:00:00:00:03",
    );
    expect(out.sourceMac).toBe(LB_MAC);
    expect(out.payload).toBe("hello");
  });

  it("rewrites replies back to the virtual address and port", () => {
    const balancer = new LoadBalancer(config, { pool });
    const to = read(through(balancer, request(4000))).to.split(":")[0] as string;
    const mac = to === "10.10.0.2" ? "02:00:00:00:00:02" : "02:00:00:00:00:03";
    const out = read(through(balancer, tcp([to, mac, 8080], [CLIENT, CLIENT_MAC, 4000])));
    expect(out).toMatchObject({
      from: `${VIP}:80`,
      to: `${CLIENT}:4000`,
      sourceMac: LB_MAC,
      destinationMac: CLIENT_MAC,
    });
  });

  it("keeps a connection at its endpoint when others come, and after a restart", () => {
    const balancer = new LoadBalancer(config, { pool });
    const before = new Map<number, string>();
    for (let port = 1000; port < 1100; port++) before.set(port, read(through(balancer, request(port))).to);
    expect(new Set(before.values()).size).toBe(2);
    const restarted = new LoadBalancer(config, { pool });
    for (const [port, to] of before) expect(read(through(restarted, request(port))).to).toBe(to);
    const third = { name: "web3", address: "10.10.0.4", macAddress: "02:00:00:00:00:04", draining: false };
    balancer.configure({ ...config, endpoints: [third, ...config.endpoints] });
    for (const [port, to] of before) expect(read(through(balancer, request(port))).to).toBe(to);
  });

  it("gives a draining endpoint no new connection but keeps those it has", () => {
    const balancer = new LoadBalancer(config, { pool });
    const first = read(through(balancer, request(2000))).to;
    const endpoints = config.endpoints.map((endpoint) => ({
      ...endpoint,
      draining: first.startsWith(endpoint.address),
    }));
    balancer.configure({ ...config, endpoints });
    expect(read(through(balancer, request(2000))).to).toBe(first);
    for (let port = 3000; port < 3050; port++)
      expect(read(through(balancer, request(port))).to).not.toBe(first);
    expect(
      balancer
        .status(1000)
        .endpoints.map(({ state }) => state)
        .sort(),
    ).toEqual(["Draining", "Unknown"]);
  });

  it("moves connections off an endpoint that is gone, and drops when none is left", () => {
    const balancer = new LoadBalancer(config, { pool });
    for (let port = 1000; port < 1020; port++) through(balancer, request(port));
    balancer.configure({ ...config, endpoints: config.endpoints.slice(1) });
    for (let port = 1000; port < 1020; port++)
      expect(read(through(balancer, request(port))).to).toBe("10.10.0.3:8080");
    balancer.configure({ ...config, endpoints: [] });
    expect(through(balancer, request(1000))).toBeUndefined();
    expect(balancer.status(1000).counters["dropped-no-endpoint"]).toBe(1);
  });

  it("keeps a UDP datagram without checksum without one", () => {
    const pair = { source: parseIpv4Address(CLIENT), destination: parseIpv4Address(VIP) };
    const datagram = encodeUdp({ sourcePort: 5, destinationPort: 53, payload: Uint8Array.of(1) }, pair);
    datagram[6] = 0;
    datagram[7] = 0;
    const frame = encodeEthernet({
      source: parseMac(CLIENT_MAC),
      destination: parseMac(LB_MAC),
      etherType: ETHERTYPE_IPV4,
      payload: encodeIpv4({ ...pair, protocol: IPPROTO_UDP, payload: datagram }),
    });
    const out = parseIpv4(
      parseEthernet(through(new LoadBalancer(config, { pool }), frame) as Uint8Array).payload,
    );
    expect([...out.payload.subarray(6, 8)]).toEqual([0, 0]);
  });

  it("answers ARP for its addresses only", () => {
    const ask = (target: string) =>
      encodeEthernet({
        destination: new Uint8Array(6).fill(255),
        source: parseMac(CLIENT_MAC),
        etherType: ETHERTYPE_ARP,
        payload: encodeArp({
          operation: 1,
          senderMac: parseMac(CLIENT_MAC),
          senderAddress: parseIpv4Address(CLIENT),
          targetMac: new Uint8Array(6),
          targetAddress: parseIpv4Address(target),
        }),
      });
    const balancer = new LoadBalancer(config, { pool });
    const reply = parseEthernet(through(balancer, ask(VIP)) as Uint8Array);
    expect(formatMac(reply.destination)).toBe(CLIENT_MAC);
    expect(parseArp(reply.payload)).toEqual({
      operation: 2,
      senderMac: parseMac(LB_MAC),
      senderAddress: parseIpv4Address(VIP),
      targetMac: parseMac(CLIENT_MAC),
      targetAddress: parseIpv4Address(CLIENT),
    });
    expect(through(balancer, ask("10.10.0.2"))).toBeUndefined();
  });

  it("counts by reason what it does not carry, and leaks no packet", () => {
    const balancer = new LoadBalancer(config, { pool });
    const fragment = request(1).slice();
    fragment[20] = 0x20;
    through(balancer, fragment);
    through(balancer, tcp([CLIENT, CLIENT_MAC, 1], [VIP, LB_MAC, 81]));
    through(balancer, tcp([CLIENT, CLIENT_MAC, 1], ["10.10.0.9", LB_MAC, 80]));
    const short = request(1).slice(0, 40);
    through(balancer, short);
    expect(balancer.status(0).counters).toMatchObject({
      "dropped-fragment": 1,
      "dropped-no-service": 1,
      "dropped-not-ours": 1,
      "dropped-malformed": 1,
      forwarded: 0,
    });
    expect(pool.available).toBe(128);
  });
});

describe("LoadBalancer with probes", () => {
  const probed = { ...config, probeAddress: "10.10.0.101" };

  /** Answers every probe that is out, as an endpoint that listens would. */
  function answerProbes(balancer: LoadBalancer, nowMs: number, alive: readonly string[]): void {
    balancer.tick(output, nowMs);
    const frames = [...output.packets.subarray(0, output.length)].map((packet) => pool.frame(packet));
    output.freeAll(pool);
    for (const frame of frames) {
      const ip = parseIpv4(parseEthernet(frame).payload);
      const syn = parseTcp(ip.payload, ip);
      if (!alive.includes(formatIpv4Address(ip.destination)) || syn.flags !== TCP_SYN) continue;
      const pair = { source: ip.destination, destination: ip.source };
      const payload = encodeTcp(
        {
          sourcePort: syn.destinationPort,
          destinationPort: syn.sourcePort,
          sequence: 1,
          acknowledgment: (syn.sequence + 1) >>> 0,
          flags: TCP_SYN | TCP_ACK,
        },
        pair,
      );
      const answer = encodeEthernet({
        source: parseEthernet(frame).destination,
        destination: parseEthernet(frame).source,
        etherType: ETHERTYPE_IPV4,
        payload: encodeIpv4({ ...pair, protocol: IPPROTO_TCP, payload }),
      });
      // The half-open connection is reset at once.
      const reset = parseIpv4(parseEthernet(through(balancer, answer, nowMs + 1) as Uint8Array).payload);
      expect(parseTcp(reset.payload, reset).flags).toBe(TCP_RST);
    }
  }

  it("sends connections to healthy endpoints only, and back when one recovers", () => {
    const balancer = new LoadBalancer(probed, { pool });
    expect(through(balancer, opening(1), 0)).toBeUndefined();
    answerProbes(balancer, 0, ["10.10.0.2"]);
    balancer.tick(output, 500);
    output.freeAll(pool);
    expect(balancer.status(500).endpoints).toMatchObject([{ state: "Healthy" }, { state: "Unhealthy" }]);
    for (let port = 1; port < 30; port++)
      expect(read(through(balancer, opening(port), 600)).to).toBe("10.10.0.2:8080");
    answerProbes(balancer, 1000, ["10.10.0.2", "10.10.0.3"]);
    const reached = new Set<string>();
    for (let port = 100; port < 160; port++) reached.add(read(through(balancer, opening(port), 1100)).to);
    expect(reached.size).toBe(2);
  });

  it("finds the endpoint of a connection from before a restart before the first check is answered", () => {
    const balancer = new LoadBalancer(probed, { pool });
    answerProbes(balancer, 0, ["10.10.0.2", "10.10.0.3"]);
    const before = new Map<number, string>();
    for (let port = 1; port < 60; port++) before.set(port, read(through(balancer, opening(port), 50)).to);
    expect(new Set(before.values()).size).toBe(2);
    const restarted = new LoadBalancer(probed, { pool });
    expect(through(restarted, opening(999), 60)).toBeUndefined();
    for (const [port, to] of before) expect(read(through(restarted, request(port), 60)).to).toBe(to);
    answerProbes(restarted, 100, ["10.10.0.2"]);
    for (const [port, to] of before) expect(read(through(restarted, request(port), 150)).to).toBe(to);
    restarted.tick(output, 600);
    output.freeAll(pool);
    for (const port of before.keys())
      expect(read(through(restarted, request(port), 650)).to).toBe("10.10.0.2:8080");
  });

  it("applies changed thresholds to endpoints that it knows", () => {
    const balancer = new LoadBalancer(probed, { pool });
    balancer.configure({ ...probed, healthCheck: { ...probed.healthCheck, healthyThreshold: 2 } });
    answerProbes(balancer, 0, ["10.10.0.2", "10.10.0.3"]);
    expect(balancer.status(10).endpoints).toMatchObject([{ state: "Unknown" }, { state: "Unknown" }]);
    answerProbes(balancer, 1000, ["10.10.0.2", "10.10.0.3"]);
    expect(balancer.status(1010).endpoints).toMatchObject([{ state: "Healthy" }, { state: "Healthy" }]);
  });

  /** Sends back what is out as ICMP echo, except to those who are dead. */
  function answerEchoes(balancer: LoadBalancer, nowMs: number, alive: readonly string[]): number {
    balancer.tick(output, nowMs);
    const frames = [...output.packets.subarray(0, output.length)].map((packet) => pool.frame(packet));
    output.freeAll(pool);
    for (const frame of frames) {
      const { source, destination, payload } = parseEthernet(frame);
      const ip = parseIpv4(payload);
      expect(ip.protocol).toBe(IPPROTO_ICMP);
      if (!alive.includes(formatIpv4Address(ip.destination))) continue;
      const echo = parseIcmp(ip.payload);
      const answer = encodeEthernet({
        source: destination,
        destination: source,
        etherType: ETHERTYPE_IPV4,
        payload: encodeIpv4({
          source: ip.destination,
          destination: ip.source,
          protocol: IPPROTO_ICMP,
          payload: encodeIcmp({ ...echo, type: ICMP_ECHO_REPLY }),
        }),
      });
      expect(through(balancer, answer, nowMs + 1)).toBeUndefined();
    }
    return frames.length;
  }

  it("checks by ICMP where there is no TCP port, and drops ICMP that is no answer", () => {
    const udp: LoadBalancerConfig = {
      ...probed,
      ports: [{ port: 53, targetPort: 53, protocol: "UDP" }],
      healthCheck: { ...probed.healthCheck, protocol: "ICMP" },
    };
    const balancer = new LoadBalancer(udp, { pool });
    expect(answerEchoes(balancer, 0, ["10.10.0.3"])).toBe(2);
    balancer.tick(output, 500);
    output.freeAll(pool);
    expect(balancer.status(500).endpoints).toMatchObject([{ state: "Unhealthy" }, { state: "Healthy" }]);
    const pair = { source: parseIpv4Address("10.10.0.3"), destination: parseIpv4Address(CLIENT) };
    const echo = encodeIcmp({ type: ICMP_ECHO_REPLY, code: 0, rest: 1, payload: new Uint8Array(4) });
    const stray = encodeEthernet({
      source: parseMac("02:00:00:00:00:03"),
      destination: parseMac(LB_MAC),
      etherType: ETHERTYPE_IPV4,
      payload: encodeIpv4({ ...pair, protocol: IPPROTO_ICMP, payload: echo }),
    });
    expect(through(balancer, stray, 600)).toBeUndefined();
    expect(balancer.status(600).counters).toMatchObject({ probes: 1, "dropped-not-ours": 1 });
    expect(pool.available).toBe(128);
  });

  it("keeps what it knows of its endpoints when the kind of check changes", () => {
    const balancer = new LoadBalancer(probed, { pool });
    answerProbes(balancer, 0, ["10.10.0.2", "10.10.0.3"]);
    balancer.configure({ ...probed, healthCheck: { ...probed.healthCheck, protocol: "ICMP" } });
    expect(balancer.status(10).endpoints).toMatchObject([{ state: "Healthy" }, { state: "Healthy" }]);
    expect(answerEchoes(balancer, 20, ["10.10.0.2", "10.10.0.3"])).toBe(2);
    expect(balancer.status(30).endpoints[0]?.reason).toMatch(/answered/);
  });
});
