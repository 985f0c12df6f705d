// Two tenants that chose the same VLAN, subnet and addresses, and frames made to get from one to the other.
import fc from "fast-check";
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
import type { InventoryChange, SdnController } from "../../sdn-controller/index.js";

/** Switch port of each port and network function. */
export const TENANT_PORTS = new Map([
  ["red/a", 1],
  ["red/b", 2],
  ["red/shut", 3],
  ["blue/a", 4],
  ["blue/b", 5],
  ["nf:red/web", 6],
  ["nf:blue/web", 9],
]);
export const RED = [1, 2, 3, 6];
export const BLUE = [4, 5, 9];
export const SHUT = 3;
const VLAN = 10;

export function tenants(): InventoryChange[] {
  return [...tenant("red", ["a", "b", "shut"]), ...tenant("blue", ["a", "b"]), shut()];
}

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

export interface Station {
  readonly mac: Uint8Array;
  readonly address: number;
}

export const bytesOf = (mac: number): Uint8Array =>
  Uint8Array.from(Buffer.from(mac.toString(16).padStart(12, "0"), "hex"));

export function machine(controller: SdnController, key: string): Station {
  const view = controller.compiler.inventory.port(key);
  if (view === undefined) throw new Error(`no port ${key}`);
  return { mac: bytesOf(view.mac), address: view.addresses[0] as number };
}

/** Everybody who can be named in a frame: machines, load balancers, probes, and the DHCP servers. */
export function stations(controller: SdnController): Station[] {
  const { inventory } = controller.compiler;
  const all: Station[] = ["red/a", "red/b", "red/shut", "blue/a", "blue/b"].map((key) =>
    machine(controller, key),
  );
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

export interface Plan {
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

export function plans(at: readonly number[]): fc.Arbitrary<Plan> {
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

export function build(plan: Plan, all: readonly Station[]): Uint8Array {
  const station = (index: number): Station => all[index % all.length] as Station;
  const pair = { source: station(plan.from).address, destination: station(plan.to).address };
  const payload = plan.kind === "arp" ? arp(plan, pair, station(plan.macFrom).mac) : ip(plan, pair);
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

function arp(plan: Plan, pair: { source: number; destination: number }, sender: Uint8Array): Uint8Array {
  const payload = new Uint8Array(28);
  const view = new DataView(payload.buffer);
  view.setUint32(0, 0x00010800);
  view.setUint32(4, 0x06040000 | (plan.flags === TCP_SYN ? 1 : 2));
  payload.set(sender, 8);
  view.setUint32(14, pair.source);
  view.setUint32(24, pair.destination);
  return payload;
}

/** A frame that is right in everything, so that what is refused is refused for the tenant's sake. */
export function honest(from: Station, to: Station, sourcePort = 1000, destinationPort = 53): Uint8Array {
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
