// A layer-4 load balancer on one arm: DNAT only, the client's address is kept.
//
//   client ──► VIP:port   ═ this function ═►  endpoint:targetPort     destination rewritten, source MAC is ours
//   client ◄── VIP:port   ◄═ this function ═  endpoint:targetPort     source rewritten back
//
// The switch steers replies here, so both directions of a connection pass. A connection stays with its endpoint while
// that endpoint lives (connection table); new ones, and all after a restart, follow the Maglev table, which every
// restart computes alike. Source: RFC 1624 (checksums), RFC 791, RFC 9293, RFC 768.
// Thread: the engine's worker. Hot: yes (push). Configuration and status are not.
import type { Batch, PacketPool } from "../../../base/packet/index.js";
import {
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SIZE,
  ETHERNET_SIZE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  IPPROTO_TCP,
  IPPROTO_UDP,
  parseIpv4Address,
  parseMac,
  updateChecksum16,
  updateChecksum32,
} from "../../../base/wire/index.js";
import type {
  EndpointStatus,
  FunctionModules,
  FunctionStatus,
  NetworkFunction,
} from "../../chain/network-function.js";
import { CONNECTION_IDLE_S, CONNECTIONS_MAX, ENDPOINTS_MAX } from "../../limits.js";
import { Health } from "../../probe/health.js";
import { type ProbeTarget, TcpProber } from "../../probe/tcp-prober.js";
import { ConnectionTable, MISSING } from "./connection-table.js";
import type { Endpoint, LoadBalancerConfig } from "./load-balancer-config.js";
import { buildMaglevTable, MAGLEV_SIZE, mix32 } from "./maglev.js";

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

/** One endpoint that we have ever been told of; its slot is its number in the connection table. */
interface Slot {
  endpoint: Endpoint;
  health: Health;
  /** False once it is no longer in the configuration. */
  present: boolean;
}

interface SlotTarget extends ProbeTarget {
  readonly slot: Slot;
}

export class LoadBalancer implements NetworkFunction {
  readonly #pool: PacketPool;
  readonly #connections = new ConnectionTable(CONNECTIONS_MAX, CONNECTION_IDLE_S);
  readonly #counts = new Float64Array(COUNTERS.length);
  readonly #slots: Slot[] = [];
  #config: LoadBalancerConfig;
  #prober: TcpProber<SlotTarget> | undefined;

  // What push() reads, rebuilt by #publish().
  #address = 0;
  #probeAddress = 0;
  readonly #mac = new Uint8Array(6);
  #serviceCount = 0;
  readonly #servicePort = new Uint16Array(64);
  readonly #serviceTarget = new Uint16Array(64);
  readonly #serviceProtocol = new Uint8Array(64);
  readonly #slotAddress = new Uint32Array(ENDPOINTS_MAX);
  readonly #slotMac = new Uint8Array(ENDPOINTS_MAX * 6);
  /** 1: may keep the connections it has. */
  readonly #slotAlive = new Uint8Array(ENDPOINTS_MAX);
  #maglev: Int16Array = new Int16Array(MAGLEV_SIZE).fill(-1);
  /** Maglev index → slot. */
  #members: Int16Array = new Int16Array(0);

  constructor(config: LoadBalancerConfig, modules: FunctionModules) {
    this.#pool = modules.pool;
    this.#config = config;
    this.configure(config);
  }

  /** Takes a new configuration; connections to endpoints that stay are not touched. */
  configure(config: LoadBalancerConfig): void {
    this.#config = config;
    this.#address = parseIpv4Address(config.address);
    this.#mac.set(parseMac(config.macAddress));
    this.#probeAddress = config.probeAddress === undefined ? 0 : parseIpv4Address(config.probeAddress);
    this.#serviceCount = config.ports.length;
    config.ports.forEach((service, i) => {
      // cold
      this.#servicePort[i] = service.port;
      this.#serviceTarget[i] = service.targetPort;
      this.#serviceProtocol[i] = service.protocol === "TCP" ? IPPROTO_TCP : IPPROTO_UDP;
    });
    this.#placeEndpoints(config);
    this.#publish();
    this.#configureProber(config);
  }

  push(input: Batch, output: Batch, nowMs: number): void {
    const nowS = (nowMs / 1000) | 0;
    for (let i = 0; i < input.length; i++) {
      const packet = input.packets[i] as number;
      if (this.#handle(packet, nowS, nowMs)) output.push(packet);
      else this.#pool.free(packet);
    }
    input.length = 0;
  }

  tick(output: Batch, nowMs: number): void {
    this.#prober?.tick(nowMs, (frame) => this.#send(output, frame));
  }

  status(nowMs: number): FunctionStatus {
    const counters: Record<string, number> = { evicted: this.#connections.evicted };
    COUNTERS.forEach((name, i) => {
      // cold
      counters[name] = this.#counts[i] as number;
    });
    return {
      endpoints: this.#config.endpoints.map((endpoint) => this.#statusOf(endpoint, (nowMs / 1000) | 0)),
      counters,
    };
  }

  #statusOf(endpoint: Endpoint, nowS: number): EndpointStatus {
    const index = this.#slots.findIndex((slot) => slot.present && slot.endpoint.name === endpoint.name);
    const slot = this.#slots[index] as Slot;
    const state = endpoint.draining && slot.health.state !== "Unhealthy" ? "Draining" : slot.health.state;
    return {
      name: endpoint.name,
      address: endpoint.address,
      state,
      reason: slot.health.reason,
      connections: this.#connections.countOf(index, nowS),
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
    const minimum = protocol === IPPROTO_TCP ? 20 : protocol === IPPROTO_UDP ? 8 : 0;
    if (minimum === 0) return this.#drop("dropped-not-ours");
    if (total < header + minimum) return this.#drop("dropped-malformed");
    const destination = view.getUint32(ip + 16);
    if (destination === this.#address) return this.#forward(at, ip, ip + header, protocol, nowS);
    if (destination === this.#probeAddress && protocol === IPPROTO_TCP && this.#prober !== undefined) {
      this.#count("probes");
      this.#prober.receive(view, ip, header, nowMs);
      return false;
    }
    return this.#reply(at, ip, ip + header, protocol, nowS);
  }

  #forward(at: number, ip: number, l4: number, protocol: number, nowS: number): boolean {
    const { view, bytes } = this.#pool;
    const port = view.getUint16(l4 + 2);
    let service = 0;
    while (
      service < this.#serviceCount &&
      (this.#servicePort[service] !== port || this.#serviceProtocol[service] !== protocol)
    ) {
      service++;
    }
    if (service === this.#serviceCount) return this.#drop("dropped-no-service");
    const client = view.getUint32(ip + 12);
    const ports = view.getUint32(l4);
    let slot = this.#connections.find(client, ports, service, protocol, nowS);
    if (slot === MISSING || this.#slotAlive[slot] === 0) {
      const index = this.#maglev[
        mix32(mix32(client ^ Math.imul(protocol, 0x9e3779b1)) ^ ports) % MAGLEV_SIZE
      ] as number;
      if (index < 0) return this.#drop("dropped-no-endpoint");
      slot = this.#members[index] as number;
      this.#connections.put(client, ports, service, protocol, slot, nowS);
    }
    for (let i = 0; i < 6; i++) {
      bytes[at + i] = this.#slotMac[slot * 6 + i] as number;
      bytes[at + 6 + i] = this.#mac[i] as number;
    }
    this.#rewrite(
      ip,
      l4,
      protocol,
      16,
      2,
      this.#slotAddress[slot] as number,
      this.#serviceTarget[service] as number,
    );
    return this.#count("forwarded");
  }

  #reply(at: number, ip: number, l4: number, protocol: number, nowS: number): boolean {
    const { view, bytes } = this.#pool;
    const slot = this.#slotOf(view.getUint32(ip + 12));
    if (slot < 0) return this.#drop("dropped-not-ours");
    const targetPort = view.getUint16(l4);
    const client = view.getUint32(ip + 16);
    const clientPort = view.getUint16(l4 + 2);
    let service = -1;
    for (let i = 0; i < this.#serviceCount; i++) {
      if (this.#serviceTarget[i] !== targetPort || this.#serviceProtocol[i] !== protocol) continue;
      // Two ports may lead to one target port; the connection table knows which was meant. After a restart it is
      // empty, and the first is right whenever there is only one.
      const ports = ((clientPort << 16) | (this.#servicePort[i] as number)) >>> 0;
      if (this.#connections.find(client, ports, i, protocol, nowS) === slot) {
        service = i;
        break;
      }
      if (service < 0) service = i;
    }
    if (service < 0) return this.#drop("dropped-not-ours");
    for (let i = 0; i < 6; i++) bytes[at + 6 + i] = this.#mac[i] as number;
    this.#rewrite(ip, l4, protocol, 12, 0, this.#address, this.#servicePort[service] as number);
    return this.#count("replied");
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
    for (let i = 0; i < this.#slots.length; i++) if (this.#slotAddress[i] === address) return i;
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

  /** Gives every endpoint a slot: its old one if it is known with the same address, else a free one. */
  #placeEndpoints(config: LoadBalancerConfig): void {
    for (const slot of this.#slots) slot.present = false; // cold
    const added: Endpoint[] = [];
    for (const endpoint of config.endpoints) {
      // cold
      const slot = this.#slots.find(
        (other) => other.endpoint.name === endpoint.name && other.endpoint.address === endpoint.address,
      );
      if (slot === undefined) added.push(endpoint);
      else {
        slot.endpoint = endpoint;
        slot.present = true;
      }
    }
    for (const endpoint of added) {
      // cold
      let index = this.#slots.findIndex((slot) => !slot.present);
      if (index < 0) index = this.#slots.length;
      else this.#connections.forget(index);
      this.#slots[index] = { endpoint, health: new Health(config.healthCheck), present: true };
    }
  }

  /** Recomputes what push() reads from slots and their health. */
  #publish(): void {
    const members: number[] = [];
    this.#slotAddress.fill(0);
    this.#slots.forEach((slot, i) => {
      // cold
      const healthy = this.#config.probeAddress === undefined || slot.health.state === "Healthy";
      this.#slotAlive[i] = slot.present && healthy ? 1 : 0;
      if (!slot.present) return;
      this.#slotAddress[i] = parseIpv4Address(slot.endpoint.address);
      this.#slotMac.set(parseMac(slot.endpoint.macAddress), i * 6);
      if (healthy && !slot.endpoint.draining) members.push(i);
    });
    this.#members = Int16Array.from(members);
    this.#maglev = buildMaglevTable(members.map((i) => (this.#slots[i] as Slot).endpoint.name));
  }

  #configureProber(config: LoadBalancerConfig): void {
    const port = config.ports.find(({ protocol }) => protocol === "TCP")?.targetPort;
    if (config.probeAddress === undefined || port === undefined) {
      this.#prober = undefined;
      return;
    }
    const targets = this.#slots
      .filter((slot) => slot.present)
      .map((slot) => ({
        address: parseIpv4Address(slot.endpoint.address),
        mac: parseMac(slot.endpoint.macAddress),
        port,
        slot,
      }));
    const probe = { address: this.#probeAddress, mac: this.#mac, ...config.healthCheck };
    this.#prober ??= new TcpProber();
    this.#prober.configure(probe, targets, ({ slot }, good, reason) => {
      if (slot.health.report(good, reason)) this.#publish();
    });
  }

  #send(output: Batch, frame: Uint8Array): void {
    if (output.room === 0) return; // The probe will be repeated.
    const packet = this.#pool.allocateFrom(frame);
    if (packet >= 0) output.push(packet);
  }
}
