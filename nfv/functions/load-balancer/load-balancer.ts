// A layer-4 load balancer on one arm: DNAT only, the client's address is kept.
//
//   client ──► VIP:port   ═ this function ═►  endpoint:targetPort     destination rewritten, source MAC is ours
//   client ◄── VIP:port   ◄═ this function ═  endpoint:targetPort     source rewritten back
//
//   endpoint ──► VIP:port ═ this function ═►  the same endpoint       both rewritten: it knows no answer from itself
//
// The switch steers replies here, so both directions of a connection pass. A connection stays with its endpoint while
// that endpoint lives (connection table); new ones, and all after a restart, follow the Maglev table, which every
// restart computes alike (endpoint-set.ts).
// Source: RFC 1624 (checksums), RFC 791, RFC 9293, RFC 768.
// Thread: the engine's worker. Hot: yes (push). Configuration and status are not.
import type { Batch, PacketPool } from "../../../base/packet/index.js";
import {
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SIZE,
  ETHERNET_SIZE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ICMP_SIZE,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  parseIpv4Address,
  parseMac,
  TCP_ACK,
  TCP_SYN,
  updateChecksum16,
  updateChecksum32,
} from "../../../base/wire/index.js";
import type { FunctionModules, FunctionStatus, NetworkFunction } from "../../chain/network-function.js";
import { CONNECTION_IDLE_S, CONNECTIONS_MAX } from "../../limits.js";
import { ConnectionTable, MISSING } from "./connection-table.js";
import { EndpointSet } from "./endpoint-set.js";
import type { LoadBalancerConfig, ServicePort } from "./load-balancer-config.js";
import { MAGLEV_SIZE, mix32 } from "./maglev.js";

const COUNTERS = [
  "forwarded",
  "replied",
  "probes",
  "arp",
  "dropped-malformed",
  "dropped-fragment",
  "dropped-no-service",
  "dropped-no-endpoint",
  "dropped-not-ours",
] as const;
type Counter = (typeof COUNTERS)[number];

/** The least that a header takes, by IP protocol; 0: not for us. */
const HEADER_SIZE = new Uint8Array(256);
HEADER_SIZE[IPPROTO_TCP] = 20;
HEADER_SIZE[IPPROTO_UDP] = 8;
HEADER_SIZE[IPPROTO_ICMP] = ICMP_SIZE;

export class LoadBalancer implements NetworkFunction {
  readonly #pool: PacketPool;
  readonly #connections = new ConnectionTable(CONNECTIONS_MAX, CONNECTION_IDLE_S);
  readonly #counts = new Float64Array(COUNTERS.length);
  readonly #endpoints: EndpointSet;
  /** Where answers to what push() takes may go. */
  #output: Batch | undefined;
  readonly #answer = (frame: Uint8Array): void => {
    if (this.#output !== undefined) this.#send(this.#output, frame);
  };

  // What push() reads, rebuilt by #configureServices().
  #address = 0;
  #probeAddress = 0;
  readonly #mac = new Uint8Array(6);
  #serviceCount = 0;
  readonly #servicePort = new Uint16Array(64);
  readonly #serviceTarget = new Uint16Array(64);
  readonly #serviceProtocol = new Uint8Array(64);

  constructor(config: LoadBalancerConfig, modules: FunctionModules) {
    this.#pool = modules.pool;
    this.#endpoints = new EndpointSet(config, (slot) => this.#connections.forget(slot));
    this.#configureServices(config);
  }

  /** Takes a new configuration; connections to endpoints that stay are not touched. */
  configure(config: LoadBalancerConfig): void {
    this.#endpoints.configure(config);
    this.#configureServices(config);
  }

  push(input: Batch, output: Batch, nowMs: number): void {
    const nowS = (nowMs / 1000) | 0;
    this.#output = output;
    for (let i = 0; i < input.length; i++) {
      const packet = input.packets[i] as number;
      if (this.#handle(packet, nowS, nowMs)) output.push(packet);
      else this.#pool.free(packet);
    }
    input.length = 0;
  }

  tick(output: Batch, nowMs: number): void {
    this.#endpoints.prober?.tick(nowMs, (frame) => this.#send(output, frame));
  }

  status(nowMs: number): FunctionStatus {
    const counters: Record<string, number> = { evicted: this.#connections.evicted };
    for (let i = 0; i < COUNTERS.length; i++) counters[COUNTERS[i] as Counter] = this.#counts[i] as number;
    return {
      endpoints: this.#endpoints.status((slot) => this.#connections.countOf(slot, (nowMs / 1000) | 0)),
      counters,
    };
  }

  /** True when the frame, rewritten in place, is to be sent back to the switch. */
  #handle(packet: number, nowS: number, nowMs: number): boolean {
    const { view } = this.#pool;
    const at = this.#pool.offset[packet] as number;
    const length = this.#pool.length[packet] as number;
    const type = view.getUint16(at + 12);
    if (type === ETHERTYPE_ARP) return this.#answerArp(at, length);
    const ip = at + ETHERNET_SIZE;
    if (type !== ETHERTYPE_IPV4 || length < ETHERNET_SIZE + 20) return this.#drop("dropped-not-ours");
    const first = view.getUint8(ip);
    const header = (first & 15) * 4;
    const total = view.getUint16(ip + 2);
    if (first >>> 4 !== 4 || header < 20 || total < header || total > length - ETHERNET_SIZE) {
      return this.#drop("dropped-malformed");
    }
    // A later fragment has no ports, and the first alone cannot be delivered.
    if ((view.getUint16(ip + 6) & 0x3fff) !== 0) return this.#drop("dropped-fragment");
    const protocol = view.getUint8(ip + 9);
    const minimum = HEADER_SIZE[protocol] as number;
    if (minimum === 0) return this.#drop("dropped-not-ours");
    if (total < header + minimum) return this.#drop("dropped-malformed");
    const destination = view.getUint32(ip + 16);
    const { prober } = this.#endpoints;
    if (destination === this.#probeAddress && prober?.protocol === protocol) {
      this.#count("probes");
      prober.receive(view, ip, header, nowMs, this.#answer);
      return false;
    }
    if (protocol === IPPROTO_ICMP) return this.#drop("dropped-not-ours");
    if (destination === this.#address) return this.#forward(at, ip, ip + header, protocol, nowS);
    return this.#reply(at, ip, ip + header, protocol, nowS);
  }

  #forward(at: number, ip: number, l4: number, protocol: number, nowS: number): boolean {
    const { view, bytes } = this.#pool;
    const endpoints = this.#endpoints;
    const port = view.getUint16(l4 + 2);
    let service = 0;
    while (
      service < this.#serviceCount &&
      (this.#servicePort[service] !== port || this.#serviceProtocol[service] !== protocol)
    ) {
      service++;
    }
    if (service === this.#serviceCount) return this.#replyToItself(at, ip, l4, protocol, nowS);
    const client = view.getUint32(ip + 12);
    const ports = view.getUint32(l4);
    let slot = this.#connections.find(client, ports, service, protocol, nowS);
    if (slot === MISSING || endpoints.alive[slot] === 0) {
      const begins = protocol !== IPPROTO_TCP || (view.getUint8(l4 + 13) & (TCP_SYN | TCP_ACK)) === TCP_SYN;
      const ring = begins ? endpoints.opening : endpoints.resuming;
      const hash = mix32(mix32(client ^ Math.imul(protocol, 0x9e3779b1)) ^ ports) % MAGLEV_SIZE;
      const index = ring.table[hash] as number;
      if (index < 0) return this.#drop("dropped-no-endpoint");
      slot = ring.members[index] as number;
      this.#connections.put(client, ports, service, protocol, slot, nowS);
    }
    for (let i = 0; i < 6; i++) {
      bytes[at + i] = endpoints.mac[slot * 6 + i] as number;
      bytes[at + 6 + i] = this.#mac[i] as number;
    }
    const address = endpoints.address[slot] as number;
    this.#rewrite(ip, l4, protocol, 16, 2, address, this.#serviceTarget[service] as number);
    // A machine that is its own endpoint would take a frame from its own address for a forgery.
    if (address === client) this.#rewrite(ip, l4, protocol, 12, 0, this.#address, ports >>> 16);
    return this.#count("forwarded");
  }

  /** What an endpoint answers to the virtual address is for itself: a connection of its own that came back to it. */
  #replyToItself(at: number, ip: number, l4: number, protocol: number, nowS: number): boolean {
    const { view, bytes } = this.#pool;
    const client = view.getUint32(ip + 12);
    const slot = this.#slotOf(client);
    if (slot < 0) return this.#drop("dropped-no-service");
    const clientPort = view.getUint16(l4 + 2);
    const service = this.#serviceBehind(client, clientPort, view.getUint16(l4), protocol, slot, nowS);
    if (service < 0) return this.#drop("dropped-no-service");
    for (let i = 0; i < 6; i++) {
      bytes[at + i] = this.#endpoints.mac[slot * 6 + i] as number;
      bytes[at + 6 + i] = this.#mac[i] as number;
    }
    this.#rewrite(ip, l4, protocol, 16, 2, client, clientPort);
    this.#rewrite(ip, l4, protocol, 12, 0, this.#address, this.#servicePort[service] as number);
    return this.#count("replied");
  }

  #reply(at: number, ip: number, l4: number, protocol: number, nowS: number): boolean {
    const { view, bytes } = this.#pool;
    const slot = this.#slotOf(view.getUint32(ip + 12));
    if (slot < 0) return this.#drop("dropped-not-ours");
    const client = view.getUint32(ip + 16);
    const clientPort = view.getUint16(l4 + 2);
    const service = this.#serviceBehind(client, clientPort, view.getUint16(l4), protocol, slot, nowS);
    if (service < 0) return this.#drop("dropped-not-ours");
    for (let i = 0; i < 6; i++) bytes[at + 6 + i] = this.#mac[i] as number;
    this.#rewrite(ip, l4, protocol, 12, 0, this.#address, this.#servicePort[service] as number);
    return this.#count("replied");
  }

  /** The service that an endpoint answers for from `targetPort`, or −1. */
  #serviceBehind(
    client: number,
    clientPort: number,
    targetPort: number,
    protocol: number,
    slot: number,
    nowS: number,
  ): number {
    let service = -1;
    for (let i = 0; i < this.#serviceCount; i++) {
      if (this.#serviceTarget[i] !== targetPort || this.#serviceProtocol[i] !== protocol) continue;
      // Two ports may lead to one target port; the connection table knows which was meant. After a restart it is
      // empty, and the first is right whenever there is only one.
      const ports = ((clientPort << 16) | (this.#servicePort[i] as number)) >>> 0;
      if (this.#connections.find(client, ports, i, protocol, nowS) === slot) return i;
      if (service < 0) service = i;
    }
    return service;
  }

  /** Replaces one address (at `ip + addressAt`) and one port (at `l4 + portAt`), repairing both checksums. */
  #rewrite(
    ip: number,
    l4: number,
    protocol: number,
    addressAt: number,
    portAt: number,
    address: number,
    port: number,
  ): void {
    const { view } = this.#pool;
    const oldAddress = view.getUint32(ip + addressAt);
    const oldPort = view.getUint16(l4 + portAt);
    view.setUint32(ip + addressAt, address);
    view.setUint16(l4 + portAt, port);
    view.setUint16(ip + 10, updateChecksum32(view.getUint16(ip + 10), oldAddress, address));
    const sumAt = l4 + (protocol === IPPROTO_TCP ? 16 : 6);
    const sum = view.getUint16(sumAt);
    // UDP over IPv4 may go without a checksum (RFC 768), which zero says; a computed zero is sent as all ones.
    if (protocol === IPPROTO_UDP && sum === 0) return;
    const repaired = updateChecksum16(updateChecksum32(sum, oldAddress, address), oldPort, port);
    view.setUint16(sumAt, protocol === IPPROTO_UDP && repaired === 0 ? 0xffff : repaired);
  }

  /** Turns an ARP request for one of our addresses into its reply, in place (RFC 826). */
  #answerArp(at: number, length: number): boolean {
    const { view, bytes } = this.#pool;
    const arp = at + ETHERNET_SIZE;
    if (
      length < ETHERNET_SIZE + ARP_SIZE ||
      view.getUint32(arp) !== 0x00010800 ||
      view.getUint16(arp + 4) !== 0x0604
    ) {
      return this.#drop("dropped-malformed");
    }
    const target = view.getUint32(arp + 24);
    const ours = target === this.#address || (target === this.#probeAddress && target !== 0);
    if (view.getUint16(arp + 6) !== ARP_REQUEST || !ours) return this.#drop("dropped-not-ours");
    view.setUint16(arp + 6, ARP_REPLY);
    bytes.copyWithin(at, arp + 8, arp + 14);
    bytes.copyWithin(arp + 18, arp + 8, arp + 18);
    for (let i = 0; i < 6; i++) {
      bytes[at + 6 + i] = this.#mac[i] as number;
      bytes[arp + 8 + i] = this.#mac[i] as number;
    }
    view.setUint32(arp + 14, target);
    return this.#count("arp");
  }

  #slotOf(address: number): number {
    const { length, address: known } = this.#endpoints;
    for (let i = 0; i < length; i++) if (known[i] === address) return i;
    return -1;
  }

  #drop(reason: Counter): false {
    this.#count(reason);
    return false;
  }

  #count(counter: Counter): true {
    const index = COUNTERS.indexOf(counter);
    this.#counts[index] = (this.#counts[index] as number) + 1;
    return true;
  }

  #configureServices(config: LoadBalancerConfig): void {
    this.#address = parseIpv4Address(config.address);
    this.#mac.set(parseMac(config.macAddress));
    this.#probeAddress = config.probeAddress === undefined ? 0 : parseIpv4Address(config.probeAddress);
    this.#serviceCount = config.ports.length;
    for (let i = 0; i < config.ports.length; i++) {
      const service = config.ports[i] as ServicePort;
      this.#servicePort[i] = service.port;
      this.#serviceTarget[i] = service.targetPort;
      this.#serviceProtocol[i] = service.protocol === "TCP" ? IPPROTO_TCP : IPPROTO_UDP;
    }
  }

  #send(output: Batch, frame: Uint8Array): void {
    if (output.room === 0) return; // The probe will be repeated.
    const packet = this.#pool.allocateFrom(frame);
    if (packet >= 0) output.push(packet);
  }
}
