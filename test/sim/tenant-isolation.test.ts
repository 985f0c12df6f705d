// Nobody crosses into another tenant, whatever bytes a machine sends: the controller's flows for two tenants that
// chose the same VLAN, subnet and addresses, on our own flow tables, against frames made to get across.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  encodeEthernet,
  encodeIcmp,
  encodeIpv4,
  encodeTcp,
  encodeUdp,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  MAC_BROADCAST,
  TCP_ACK,
  TCP_SYN,
} from "../../base/wire/index.js";
import { type InventoryChange, type SdnController, startSdn } from "../../sdn-controller/index.js";
import { Conntrack } from "../../vswitch/conntrack/index.js";
import { FlowTableSwitch } from "../support/flow-table-switch.js";

const PORTS = new Map([
  ["red/a", 1],
  ["red/b", 2],
  ["red/shut", 3],
  ["blue/a", 4],
  ["blue/b", 5],
  ["nf:red/web", 8],
  ["nf:blue/web", 9],
]);
const RED = [1, 2, 3, 8];
const BLUE = [4, 5, 9];
const SHUT = 3;
const VLAN = 10;

let dir: string;
let controller: SdnController;
let tables: FlowTableSwitch;
let close: () => Promise<void>;

beforeAll(async () => {
  dir = mkdtempSync("/tmp/ten-");
  const sdn = await startSdn(
    {
      openflowSocket: join(dir, "of.sock"),
      ovsdbEndpoint: `unix:${join(dir, "none.sock")}`,
      outputs: { onStatus: () => {}, onEvent: () => {} },
    },
    { clock: systemClock, log: silentLog },
  );
  close = () => sdn.close();
  controller = sdn.controller;
  controller.update([...tenant("red", ["a", "b", "shut"]), ...tenant("blue", ["a", "b"]), shut()]);
  controller.setAttachments(PORTS);
  controller.inventoryComplete();
  tables = new FlowTableSwitch((pool) => new Conntrack({ pool, pickupGraceMs: 0 }));
  await tables.device.dial(join(dir, "of.sock"));
  await waitFor(() => controller.isSettled, "the flows to be there", 10_000);
});

afterAll(async () => {
  await tables?.device.hangUp();
  await close?.();
  rmSync(dir, { recursive: true, force: true });
});

function tenant(namespace: string, machines: readonly string[]): InventoryChange[] {
  const network = { namespace, name: "lan", vlan: VLAN, subnets: ["10.0.0.0/24"] };
  const balancer = {
    ...{ namespace, name: "web", network: "lan", address: "10.0.0.100", targetPorts: [80], drain: [] },
    selector: { matchLabels: { machine: "b" } },
  };
  return [
    { kind: "Namespace", key: namespace, value: { name: namespace, labels: {} } },
    { kind: "Network", key: `${namespace}/lan`, value: network },
    ...machines.map((name, i): InventoryChange => {
      const labels = { machine: name };
      const input = { namespace, name, network: "lan", virtualMachine: name, labels, namedPorts: [] };
      return {
        kind: "Port",
        key: `${namespace}/${name}`,
        value: { ...input, addresses: [`10.0.0.${10 + i}`] },
      };
    }),
    { kind: "NetworkFunction", key: `${namespace}/web`, value: balancer },
  ];
}

/** The machine `shut` may neither send nor receive. */
function shut(): InventoryChange {
  const spec = {
    podSelector: { matchLabels: { machine: "shut" } },
    policyTypes: ["Ingress", "Egress"] as const,
  };
  return { kind: "NetworkPolicy", key: "red/shut", value: { namespace: "red", name: "shut", spec } };
}

interface Station {
  readonly mac: Uint8Array;
  readonly address: number;
}

const bytesOf = (mac: number): Uint8Array =>
  Uint8Array.from(Buffer.from(mac.toString(16).padStart(12, "0"), "hex"));

function machine(key: string): Station {
  const view = controller.compiler.inventory.port(key);
  if (view === undefined) throw new Error(`no port ${key}`);
  return { mac: bytesOf(view.mac), address: view.addresses[0] as number };
}

/** Everybody who can be named in a frame: machines, load balancers, probes, and the DHCP servers. */
function stations(): Station[] {
  const { inventory } = controller.compiler;
  const all: Station[] = ["red/a", "red/b", "red/shut", "blue/a", "blue/b"].map(machine);
  for (const namespace of ["red", "blue"]) {
    const balancer = inventory.function(`${namespace}/web`);
    if (balancer === undefined) throw new Error(`no balancer in ${namespace}`);
    all.push({ mac: bytesOf(balancer.mac), address: balancer.address });
    all.push({ mac: bytesOf(balancer.mac), address: balancer.probeAddress });
    const { dhcpMac, dhcpAddresses } = balancer.network;
    all.push({ mac: bytesOf(dhcpMac), address: dhcpAddresses[0] as number });
  }
  all.push({ mac: MAC_BROADCAST, address: 0xffffffff }, { mac: MAC_BROADCAST, address: 0x0a0000ff });
  all.push({ mac: Uint8Array.of(1, 0, 0x5e, 0, 0, 1), address: 0xe0000001 });
  return all;
}

/** The ports that `frame`, put in at `port`, came out of. */
function reached(port: number, frame: Uint8Array): number[] {
  const before = [...PORTS.values()].map((each) => [each, tables.sentBy(each).length] as const);
  tables.inject(port, frame);
  return before.filter(([each, count]) => tables.sentBy(each).length > count).map(([each]) => each);
}

interface Plan {
  readonly at: number;
  readonly macFrom: number;
  readonly macTo: number;
  readonly from: number;
  readonly to: number;
  readonly kind: "tcp" | "udp" | "icmp" | "error" | "arp" | "other";
  readonly source: number;
  readonly destination: number;
  readonly flags: number;
  readonly fragment: number;
  readonly tags: readonly (readonly [number, number])[];
  readonly flips: readonly (readonly [number, number])[];
  readonly cut: number;
}

function plans(at: readonly number[]): fc.Arbitrary<Plan> {
  const who = fc.nat(13);
  const number = fc.constantFrom(0, 53, 67, 68, 80, 1000, 40_000);
  return fc.record({
    at: fc.constantFrom(...at),
    ...{ macFrom: who, macTo: who, from: who, to: who },
    kind: fc.constantFrom("tcp", "udp", "icmp", "error", "arp", "other"),
    ...{ source: number, destination: number },
    flags: fc.constantFrom(TCP_SYN, TCP_ACK, TCP_SYN | TCP_ACK, 1 | TCP_ACK, 4),
    fragment: fc.constantFrom(0, 0, 0, 0x2000, 1, 0x2001, 0x4000),
    tags: fc.array(
      fc.tuple(fc.constantFrom(0x8100, 0x88a8, 0x9100), fc.constantFrom(0, 1, VLAN, 4095, 4096)),
      { maxLength: 3 },
    ),
    flips: fc.array(fc.tuple(fc.nat(63), fc.nat(255)), { maxLength: 2 }),
    cut: fc.constantFrom(0, 0, 0, 1, 9, 20),
  });
}

function build(plan: Plan, all: readonly Station[]): Uint8Array {
  const station = (index: number): Station => all[index % all.length] as Station;
  const pair = { source: station(plan.from).address, destination: station(plan.to).address };
  const payload = plan.kind === "arp" ? arp(plan, pair) : ip(plan, pair);
  if (plan.kind !== "arp") new DataView(payload.buffer, payload.byteOffset).setUint16(6, plan.fragment);
  const tags = plan.tags.flatMap(([type, vid]) => [type >> 8, type & 255, vid >> 8, vid & 255]);
  const etherType = plan.kind === "arp" ? ETHERTYPE_ARP : ETHERTYPE_IPV4;
  const ends = { destination: station(plan.macTo).mac, source: station(plan.macFrom).mac };
  const plain = encodeEthernet({ ...ends, etherType, payload });
  const frame = Uint8Array.of(...plain.subarray(0, 12), ...tags, ...plain.subarray(12));
  for (const [position, value] of plan.flips) if (position < frame.length) frame[position] = value;
  return frame.subarray(0, Math.max(14, frame.length - plan.cut));
}

function ip(plan: Plan, pair: { source: number; destination: number }): Uint8Array {
  const ports = { sourcePort: plan.source, destinationPort: plan.destination };
  const { flags } = plan;
  switch (plan.kind) {
    case "tcp": {
      const segment = encodeTcp({ ...ports, sequence: 1, acknowledgment: 2, flags }, pair);
      return encodeIpv4({ ...pair, protocol: IPPROTO_TCP, payload: segment });
    }
    case "udp": {
      const datagram = encodeUdp({ ...ports, payload: new Uint8Array(20) }, pair);
      return encodeIpv4({ ...pair, protocol: IPPROTO_UDP, payload: datagram });
    }
    case "error": {
      const back = { source: pair.destination, destination: pair.source };
      const quoted = encodeUdp({ ...ports, payload: new Uint8Array(0) }, back);
      const message = { type: 3, code: 1, rest: 0 };
      const inner = encodeIpv4({ ...back, protocol: IPPROTO_UDP, payload: quoted });
      return encodeIpv4({
        ...pair,
        protocol: IPPROTO_ICMP,
        payload: encodeIcmp({ ...message, payload: inner }),
      });
    }
    case "icmp": {
      const message = { type: plan.flags === TCP_SYN ? 8 : 0, code: 0, rest: 7 };
      const payload = encodeIcmp({ ...message, payload: new Uint8Array(8) });
      return encodeIpv4({ ...pair, protocol: IPPROTO_ICMP, payload });
    }
    default:
      return encodeIpv4({ ...pair, protocol: 47, payload: new Uint8Array(24) });
  }
}

function arp(plan: Plan, pair: { source: number; destination: number }): Uint8Array {
  const payload = new Uint8Array(28);
  const view = new DataView(payload.buffer);
  view.setUint32(0, 0x00010800);
  view.setUint32(4, 0x06040000 | (plan.flags === TCP_SYN ? 1 : 2));
  payload.set((stations()[plan.macFrom] as Station).mac, 8);
  view.setUint32(14, pair.source);
  view.setUint32(24, pair.destination);
  return payload;
}

/** A frame that is right in everything, so that what is refused is refused for the tenant's sake. */
function honest(from: Station, to: Station, sourcePort = 1000, destinationPort = 53): Uint8Array {
  const pair = { source: from.address, destination: to.address };
  const payload = encodeUdp({ sourcePort, destinationPort, payload: new Uint8Array(8) }, pair);
  const packet = encodeIpv4({ ...pair, protocol: IPPROTO_UDP, payload });
  return encodeEthernet({
    destination: to.mac,
    source: from.mac,
    etherType: ETHERTYPE_IPV4,
    payload: packet,
  });
}

describe("two tenants with the same VLAN, subnet and addresses", () => {
  it("have segments, and so connections, of their own", () => {
    const segmentOf = (key: string) => controller.compiler.inventory.port(key)?.network.segmentId;
    expect(segmentOf("red/a")).not.toBe(segmentOf("blue/a"));
    expect(machine("red/a").address).toBe(machine("blue/a").address);
    expect(machine("red/a").mac).not.toEqual(machine("blue/a").mac);
    expect(reached(1, honest(machine("red/a"), machine("red/b")))).toEqual([2]);
    // The same addresses and ports: an answer in one is none in the other.
    const answer = honest(machine("blue/b"), machine("blue/a"), 53, 1000);
    expect(reached(5, answer)).toEqual([4]);
    expect(reached(4, honest(machine("blue/a"), machine("blue/b")))).toEqual([5]);
  });

  it("do not reach each other by any MAC, nor each other's load balancer", () => {
    const [a, b] = [machine("red/a"), machine("blue/b")];
    expect(reached(1, honest(a, b))).toEqual([]);
    expect(reached(1, honest(a, { mac: MAC_BROADCAST, address: b.address }))).toEqual([]);
    const balancer = controller.compiler.inventory.function("blue/web");
    const vip = { mac: bytesOf(balancer?.mac ?? 0), address: balancer?.address ?? 0 };
    expect(reached(1, honest(a, vip))).toEqual([]);
    expect(reached(4, honest(machine("blue/a"), vip))).toEqual([9]);
  });

  it("do not reach each other with any frame, not even from a network function of their own", () => {
    const all = stations();
    for (const [from, others] of [
      [RED, BLUE],
      [BLUE, RED],
    ] as const) {
      fc.assert(
        fc.property(plans(from), (plan) => {
          const out = reached(plan.at, build(plan, all));
          expect(out.filter((port) => others.includes(port))).toEqual([]);
        }),
        { numRuns: 4000 },
      );
    }
  });
});

describe("a machine that policy shuts off", () => {
  it("reaches no other machine with any frame, whatever connections there are", () => {
    const all = stations();
    const [a, b] = [machine("red/a"), machine("red/b")];
    for (const port of [53, 80, 1000]) {
      expect(reached(1, honest(a, b, 40_000, port))).toEqual([2]);
      expect(reached(2, honest(b, a, port, 40_000))).toEqual([1]);
    }
    fc.assert(
      fc.property(plans([SHUT]), (plan) => {
        const out = reached(plan.at, build({ ...plan, macFrom: 2 }, all));
        expect(out.filter((port) => port === 1 || port === 2)).toEqual([]);
      }),
      { numRuns: 4000 },
    );
  });

  it("cannot pass an ICMP error that quotes somebody else's connection", () => {
    const [a, b, closed] = [machine("red/a"), machine("red/b"), machine("red/shut")];
    expect(reached(1, honest(a, b, 5000, 5001))).toEqual([2]);
    const pair = { source: closed.address, destination: b.address };
    const quoted = honest(a, b, 5000, 5001).subarray(14, 42);
    const payload = encodeIcmp({ type: 3, code: 1, rest: 0, payload: quoted });
    const packet = encodeIpv4({ ...pair, protocol: IPPROTO_ICMP, payload });
    const ends = { destination: b.mac, source: closed.mac };
    expect(reached(3, encodeEthernet({ ...ends, etherType: ETHERTYPE_IPV4, payload: packet }))).toEqual([]);
  });
});
