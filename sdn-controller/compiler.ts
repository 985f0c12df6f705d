// From inventory changes to desired flows and status: the pure heart of the controller. It recompiles the owners that a
// change can affect and nothing else. Invariant: the flow store depends only on the present inventory and attachments.
// Thread: the controller's. No I/O, no clock.

import { isDeepStrictEqual } from "node:util";
import { assert } from "../base/assert/index.js";
import { formatIpv4Address } from "../base/wire/index.js";
import { arpBaseFlows, arpOwnFlow, arpResponderFlow } from "./apps/arp/arp-flows.js";
import { ndBaseFlows, ndOwnFlow, ndResponderFlow } from "./apps/arp/nd-flows.js";
import { classifyBaseFlows, classifyPortFlows } from "./apps/classify/classify-flows.js";
import {
  connectionBaseFlows,
  connectionFunctionFlows,
  connectionNetworkFlows,
} from "./apps/connection/connection-flows.js";
import { dhcpPortFlows } from "./apps/dhcp/dhcp-flows.js";
import { dropBaseFlows } from "./apps/drops/drop-flows.js";
import { l2BaseFlows, l2PortFlows } from "./apps/l2/l2-flows.js";
import { steerBaseFlows, steeringFlows } from "./apps/load-balancer/steering-flows.js";
import {
  type IdentityHandling,
  identityFlows,
  policyBaseFlows,
  policyFlows,
} from "./apps/policy/policy-flows.js";
import { guardBaseFlows, guardFunctionFlows, guardPortFlows } from "./apps/spoof-guard/guard-flows.js";
import type { InventoryChange, StatusPatch } from "./inputs.js";
import { Inventory, type InventoryDelta } from "./network/inventory.js";
import { formatMac } from "./network/mac.js";
import { isRefusal } from "./network/network-plan.js";
import {
  functionInterfaceId,
  functionKeyOf,
  hasIpv6,
  ipv6AddressesOf,
  type LoadBalancerView,
  type NetworkView,
  type PortView,
} from "./network/views.js";
import type { Flow } from "./pipeline/flow.js";
import { FlowStore } from "./pipeline/flow-store.js";
import { ConjunctionIds } from "./policy/conjunctions.js";
import { logsDenied } from "./policy/handling.js";
import { IDENTITY_WORLD } from "./policy/identity.js";
import type { Direction } from "./policy/network-policy.js";
import { modelOfAdminPolicy, modelOfNetworkPolicy } from "./policy/policy-model.js";
import { type PolicyDelta, PolicySet } from "./policy/policy-set.js";
import type { Invariant } from "./proof/invariants.js";
import { functionStatus, networkStatus, portStatus } from "./status.js";

export interface CompileResult {
  readonly status: readonly StatusPatch[];
  readonly rulesTouched: number;
  /** Owners whose flows were made again: the measure of a change's cost. */
  readonly ownersTouched: number;
  /** Ports that were looked at again: of all others nothing changed. */
  readonly ports: ReadonlySet<string>;
}

export class Compiler {
  readonly inventory: Inventory;
  readonly policies = new PolicySet();
  readonly flows = new FlowStore();
  /** Switch port numbers by iface-id. */
  #attachments: ReadonlyMap<string, number> = new Map();
  #byOfport: ReadonlyMap<number, string> = new Map();
  #moved = new Set<string>();
  readonly #conjunctions = new ConjunctionIds();
  /** Everything that was told and not taken back, by kind and key. */
  readonly #told = new Map<string, InventoryChange>();
  readonly #invariants = new Map<string, Invariant>();

  /** What it knows of networks, ports and functions is another compiler's, and is not to be changed. */
  readonly #borrows: boolean;

  /** With `inventory`, the settled one of another compiler, for as long as that does not change. */
  constructor(inventory?: Inventory) {
    this.inventory = inventory ?? new Inventory();
    this.#borrows = inventory !== undefined;
    this.flows.set("Pipeline", [
      ...classifyBaseFlows(),
      ...guardBaseFlows(),
      ...arpBaseFlows(),
      ...ndBaseFlows(),
      ...steerBaseFlows(),
      ...connectionBaseFlows(),
      ...l2BaseFlows(),
      ...policyBaseFlows(),
      ...dropBaseFlows(),
    ]);
  }

  /** Which switch port carries which iface-id; replaces what was known. Takes effect with the next `apply`. */
  setAttachments(attachments: ReadonlyMap<string, number>): void {
    for (const [id, ofport] of attachments) if (this.#attachments.get(id) !== ofport) this.#moved.add(id);
    for (const id of this.#attachments.keys()) if (!attachments.has(id)) this.#moved.add(id);
    this.#attachments = new Map(attachments);
    this.#byOfport = new Map([...attachments].map(([id, ofport]) => [ofport, id]));
  }

  /** The port of ours behind a switch port. */
  portAt(ofport: number): PortView | undefined {
    const id = this.#byOfport.get(ofport);
    return id === undefined ? undefined : this.inventory.port(id);
  }

  /** The iface-id behind a switch port. */
  interfaceAt(ofport: number): string | undefined {
    return this.#byOfport.get(ofport);
  }

  ofportOf(interfaceId: string): number | undefined {
    return this.#attachments.get(interfaceId);
  }

  apply(changes: readonly InventoryChange[]): CompileResult {
    for (const change of changes) this.#take(change);
    const delta = this.inventory.settle();
    for (const key of delta.ports) this.#setPolicyPort(key, this.inventory.port(key));
    const policy = this.policies.settle();
    const ports = new Set([...delta.ports, ...policy.ports]);
    const functions = new Set(delta.functions);
    for (const id of this.#moved) {
      const functionKey = functionKeyOf(id);
      if (functionKey === undefined) ports.add(id);
      else functions.add(functionKey);
    }
    this.#moved = new Set();
    for (const key of delta.networks) this.flows.set(`Network/${key}`, this.#networkFlows(key));
    for (const key of ports) this.flows.set(`Port/${key}`, this.#portFlows(key));
    for (const key of functions) this.flows.set(`NetworkFunction/${key}`, this.#functionFlows(key));
    this.#setPolicyFlows(policy);
    return {
      status: this.#status(delta),
      rulesTouched: policy.rulesTouched,
      ownersTouched:
        delta.networks.size + ports.size + functions.size + policy.identities.size + policy.units.size,
      ports,
    };
  }

  #setPolicyPort(key: string, port: PortView | undefined): void {
    const { policies } = this;
    if (port === undefined) policies.setPort(key, undefined);
    else {
      const { namespace, labels, namedPorts, network } = port;
      policies.setPort(key, { namespace, labels, namedPorts, ipv6: hasIpv6(network) });
    }
  }

  #setPolicyFlows({ identities, units }: PolicyDelta): void {
    for (const number of identities) this.flows.set(`Identity/${number}`, this.#identityFlows(number));
    for (const [unit, rules] of units)
      this.flows.set(
        unit,
        this.#conjunctions.renew(unit, (idOf) => policyFlows(rules, idOf)),
      );
  }

  /** Promises about reachability, in order of name. They make no flows. */
  get invariants(): Invariant[] {
    return [...this.#invariants.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Everything that was told and not taken back. */
  told(): Iterable<InventoryChange> {
    return this.#told.values();
  }

  /** What lies in a namespace and bears on reachability, as it would be told that all of it goes. */
  emptied(namespace: string): InventoryChange[] {
    return [...this.#told.values()]
      .filter(({ kind, key }) => kind !== "Network" && key.startsWith(`${namespace}/`))
      .map(({ kind, key }) => ({ kind, key, value: undefined }) as InventoryChange);
  }

  /** Whether one of `changes` makes a port come, go or be another, or gives a namespace that is there other labels. */
  shifts(changes: readonly InventoryChange[]): boolean {
    return changes.some((change) => {
      const before = this.#told.get(nameOf(change))?.value;
      if (change.kind === "Port") return !isDeepStrictEqual(before, change.value);
      if (change.kind !== "Namespace" || before === undefined || change.value === undefined) return false;
      return !isDeepStrictEqual((before as typeof change.value).labels, change.value.labels);
    });
  }

  /**
   * Another compiler that was told the same, but for what `keeps` is false of, and `changes` on top. Nothing is
   * plugged in there.
   */
  fork(changes: readonly InventoryChange[], keeps?: (told: InventoryChange) => boolean): Compiler {
    if (keeps === undefined && !changes.some(isOfInventory)) return this.#forkPolicies(changes);
    const other = new Compiler();
    const told = [...this.#told.values()].filter((change) => keeps?.(change) !== false);
    other.apply([...told.map((change) => this.#settled(change)), ...changes]);
    return other;
  }

  /** The same where networks and ports stay what they are: only what policies make of them is compiled. */
  #forkPolicies(changes: readonly InventoryChange[]): Compiler {
    const other = new Compiler(this.inventory);
    for (const change of this.#told.values())
      if (isOfInventory(change)) other.#told.set(nameOf(change), change);
      else other.#take(change);
    for (const change of changes) other.#take(change);
    for (const port of this.inventory.ports()) other.#setPolicyPort(port.key, port);
    other.#setPolicyFlows(other.policies.settle());
    return other;
  }

  /** A compiler that was told nothing. */
  bare(): Compiler {
    return new Compiler();
  }

  /** With the addresses that were given out meanwhile, so that they stay what they are. */
  #settled(change: InventoryChange): InventoryChange {
    if (change.kind !== "Port" || change.value === undefined) return change;
    const port = this.inventory.port(change.key);
    if (port === undefined) return change;
    const allocated = { macAddress: formatMac(port.mac), addresses: port.addresses.map(formatIpv4Address) };
    return { ...change, value: { ...change.value, allocated } };
  }

  #take(change: InventoryChange): void {
    assert(
      !this.#borrows || !isOfInventory(change),
      "a compiler's inventory that is another's stays as it is",
    );
    const name = nameOf(change);
    if (change.value === undefined) this.#told.delete(name);
    else this.#told.set(name, change);
    switch (change.kind) {
      case "Namespace":
        this.policies.setNamespace(change.key, change.value?.labels);
        break;
      case "Network":
        this.inventory.setNetwork(change.key, change.value);
        break;
      case "Port":
        this.inventory.setPort(change.key, change.value);
        break;
      case "Invariant":
        if (change.value === undefined) this.#invariants.delete(change.key);
        else this.#invariants.set(change.key, change.value);
        break;
      case "NetworkFunction":
        this.inventory.setFunction(change.key, change.value);
        break;
      case "NetworkPolicy":
        this.policies.setPolicy(
          `${change.kind}/${change.key}`,
          change.value && modelOfNetworkPolicy(change.value),
        );
        break;
      case "AdminNetworkPolicy":
      case "BaselineAdminNetworkPolicy":
        this.policies.setPolicy(
          `${change.kind}/${change.key}`,
          change.value && modelOfAdminPolicy(change.value),
        );
        break;
    }
  }

  #networkFlows(key: string): Flow[] {
    const network = this.#network(key);
    if (network === undefined) return [];
    const resource = `Network/${key}`;
    return [
      ...connectionNetworkFlows(network),
      ...network.dhcpAddresses.map((address) =>
        arpResponderFlow(resource, network.segmentId, address, network.dhcpMac),
      ),
    ];
  }

  #network(key: string): NetworkView | undefined {
    const network = this.inventory.network(key);
    return network === undefined || isRefusal(network) ? undefined : network;
  }

  #portFlows(key: string): Flow[] {
    const port = this.inventory.port(key);
    const ofport = this.#attachments.get(key);
    const identity = this.policies.identityOf(key)?.number;
    if (port === undefined || ofport === undefined || identity === undefined) return [];
    const resource = `Port/${key}`;
    const { segmentId } = port.network;
    return [
      ...classifyPortFlows(resource, ofport, segmentId, identity),
      ...guardPortFlows(port, ofport),
      ...dhcpPortFlows(port, ofport),
      ...port.addresses.flatMap((address) => [
        arpResponderFlow(resource, segmentId, address, port.mac),
        arpOwnFlow(resource, ofport, address),
      ]),
      ...ipv6AddressesOf(port).flatMap((address) => [
        ndResponderFlow(resource, segmentId, address, port.mac),
        ndOwnFlow(resource, ofport, address),
      ]),
      ...l2PortFlows(port, ofport, identity),
    ];
  }

  #functionFlows(key: string): Flow[] {
    const balancer = this.inventory.function(key);
    const ofport = this.#attachments.get(functionInterfaceId(key));
    if (balancer === undefined || ofport === undefined) return [];
    return [
      ...classifyPortFlows(`NetworkFunction/${key}`, ofport, balancer.network.segmentId, IDENTITY_WORLD),
      ...guardFunctionFlows(balancer, ofport),
      ...steeringFlows(balancer, ofport),
      ...connectionFunctionFlows(balancer, ofport),
      ...this.#functionArp(balancer, ofport),
    ];
  }

  #functionArp(balancer: LoadBalancerView, ofport: number): Flow[] {
    const resource = `NetworkFunction/${balancer.key}`;
    return [balancer.address, balancer.probeAddress].flatMap((address) => [
      arpResponderFlow(resource, balancer.network.segmentId, address, balancer.mac),
      arpOwnFlow(resource, ofport, address),
    ]);
  }

  #identityFlows(number: number): Flow[] {
    if (this.policies.identity(number) === undefined) return [];
    const isolation = this.policies.isolationOf(number);
    const staged = this.policies.stagedIsolationOf(number);
    const handlingOf = (direction: Direction): IdentityHandling => {
      const policies = isolation[direction].map((key) => this.policies.policy(key)?.handling ?? {});
      return {
        isolated: policies.length > 0,
        keepsLive: policies.every(({ keepsLive }) => keepsLive === true),
        logsDenied: policies.some(logsDenied),
        staged: staged[direction].length > 0,
      };
    };
    return identityFlows(number, { Ingress: handlingOf("Ingress"), Egress: handlingOf("Egress") });
  }

  #status(delta: InventoryDelta): StatusPatch[] {
    return [
      ...[...delta.networks].flatMap((key) => networkStatus(this.inventory, key) ?? []),
      ...[...delta.ports].flatMap((key) => portStatus(this.inventory, key) ?? []),
      ...[...delta.functions].flatMap((key) => functionStatus(this.inventory, key) ?? []),
    ];
  }
}

function nameOf({ kind, key }: InventoryChange): string {
  return `${kind}/${key}`;
}

/** Whether it is about what has addresses, and not only about what is allowed. */
function isOfInventory({ kind }: InventoryChange): boolean {
  return kind === "Network" || kind === "Port" || kind === "NetworkFunction";
}
