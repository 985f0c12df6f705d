// The endpoints of one load balancer: their slots (the numbers that the connection table keeps), their health, and the
// tables that push() reads. Connections begin at endpoints known to be healthy only. A segment in the middle of a
// connection that nobody remembers is from before a restart: it follows the table of all that are not known to be
// unhealthy, so that it finds its endpoint also before the first checks are answered.
//
//   opening:  Healthy, not draining            resuming:  Healthy or Unknown, not draining
//
// Invariant: a slot keeps its endpoint while that is configured; `forget` is called before a slot gets another.
// Thread: the engine's worker.
import { parseIpv4Address, parseMac } from "../../../base/wire/index.js";
import type { EndpointStatus } from "../../chain/network-function.js";
import { ENDPOINTS_MAX } from "../../limits.js";
import { createProber } from "../../probe/create-prober.js";
import { Health } from "../../probe/health.js";
import type { Prober, ProbeTarget } from "../../probe/prober.js";
import type { Endpoint, LoadBalancerConfig } from "./load-balancer-config.js";
import { buildMaglevTable, MAGLEV_SIZE } from "./maglev.js";

/** One endpoint that we have ever been told of; its index is its number in the connection table. */
interface Slot {
  endpoint: Endpoint;
  health: Health;
  /** False once it is no longer in the configuration. */
  present: boolean;
}

interface SlotTarget extends ProbeTarget {
  readonly slot: Slot;
}

/** A Maglev table and the slots of its members. */
export interface Ring {
  /** Value of the hash → index in `members`, or negative when there is none. */
  readonly table: Int16Array;
  readonly members: Int16Array;
}

const EMPTY_RING: Ring = { table: new Int16Array(MAGLEV_SIZE).fill(-1), members: new Int16Array(0) };

export class EndpointSet {
  opening: Ring = EMPTY_RING;
  resuming: Ring = EMPTY_RING;
  /** By slot; 0 where no endpoint is. */
  readonly address = new Uint32Array(ENDPOINTS_MAX);
  /** Six bytes by slot. */
  readonly mac = new Uint8Array(ENDPOINTS_MAX * 6);
  /** By slot; 1: may keep the connections it has. */
  readonly alive = new Uint8Array(ENDPOINTS_MAX);
  prober: Prober<SlotTarget> | undefined;
  readonly #slots: Slot[] = [];
  readonly #forget: (slot: number) => void;
  #config: LoadBalancerConfig;

  /** `forget` is told of each slot that is about to get another endpoint. */
  constructor(config: LoadBalancerConfig, forget: (slot: number) => void) {
    this.#config = config;
    this.#forget = forget;
    this.configure(config);
  }

  configure(config: LoadBalancerConfig): void {
    const before = this.#config.healthCheck.protocol;
    this.#config = config;
    this.#place(config);
    this.#publish();
    if (before !== config.healthCheck.protocol) this.prober = undefined;
    this.#configureProber(config);
  }

  /** How many slots have ever been used. */
  get length(): number {
    return this.#slots.length;
  }

  /** By configured endpoint; `connectionsOf` counts those of a slot. */
  status(connectionsOf: (slot: number) => number): EndpointStatus[] {
    return this.#config.endpoints.map((endpoint) => {
      const index = this.#slots.findIndex((slot) => slot.present && slot.endpoint.name === endpoint.name);
      const { health } = this.#slots[index] as Slot;
      return {
        name: endpoint.name,
        address: endpoint.address,
        state: endpoint.draining && health.state !== "Unhealthy" ? "Draining" : health.state,
        reason: health.reason,
        connections: connectionsOf(index),
      };
    });
  }

  /** Gives every endpoint a slot: its old one if it is known with the same address, else a free one. */
  #place(config: LoadBalancerConfig): void {
    for (const slot of this.#slots) slot.present = false;
    const added: Endpoint[] = [];
    for (const endpoint of config.endpoints) {
      const slot = this.#slots.find(
        (other) => other.endpoint.name === endpoint.name && other.endpoint.address === endpoint.address,
      );
      if (slot === undefined) {
        added.push(endpoint);
        continue;
      }
      slot.endpoint = endpoint;
      slot.health.configure(config.healthCheck);
      slot.present = true;
    }
    for (const endpoint of added) {
      let index = this.#slots.findIndex((slot) => !slot.present);
      if (index < 0) index = this.#slots.length;
      else this.#forget(index);
      this.#slots[index] = { endpoint, health: new Health(config.healthCheck), present: true };
    }
  }

  /** Recomputes what push() reads from slots and their health. */
  #publish(): void {
    const opening: number[] = [];
    const resuming: number[] = [];
    const unchecked = this.#config.probeAddress === undefined;
    this.address.fill(0);
    for (const [i, { endpoint, health, present }] of this.#slots.entries()) {
      const usable = unchecked || health.state !== "Unhealthy";
      this.alive[i] = present && usable ? 1 : 0;
      if (!present) continue;
      this.address[i] = parseIpv4Address(endpoint.address);
      this.mac.set(parseMac(endpoint.macAddress), i * 6);
      if (!usable || endpoint.draining) continue;
      resuming.push(i);
      if (unchecked || health.state === "Healthy") opening.push(i);
    }
    this.opening = this.#ringOf(opening);
    this.resuming = resuming.length === opening.length ? this.opening : this.#ringOf(resuming);
  }

  #ringOf(slots: readonly number[]): Ring {
    const names = slots.map((i) => (this.#slots[i] as Slot).endpoint.name);
    return { table: buildMaglevTable(names), members: Int16Array.from(slots) };
  }

  #configureProber(config: LoadBalancerConfig): void {
    const { healthCheck: check, probeAddress } = config;
    const port =
      check.protocol === "ICMP" ? 0 : config.ports.find(({ protocol }) => protocol === "TCP")?.targetPort;
    if (probeAddress === undefined || port === undefined) {
      this.prober = undefined;
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
    this.prober ??= createProber<SlotTarget>(check.protocol);
    const source = { ...check, address: parseIpv4Address(probeAddress), mac: parseMac(config.macAddress) };
    this.prober.configure(source, targets, ({ slot }, good, reason) => {
      if (slot.health.report(good, reason)) this.#publish();
    });
  }
}
