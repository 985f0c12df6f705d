// The networks, ports and functions that should exist, checked and allocated. Changes go in as inputs, come out as views
// for the apps and as status for the user. What a member was given before (in memory or in its status) it keeps.
// Invariant: a view exists exactly when its object is valid and fully allocated. Thread: the controller's. No I/O.
import type { LoadBalancerInput, NetworkInput, PortInput } from "../inputs.js";
import { selects } from "../policy/selector.js";
import { AddressPool } from "./address-pool.js";
import { functionRequest, portRequest } from "./claim-requests.js";
import { type Claim, type ClaimRequest, settleClaims } from "./claims.js";
import { hash32 } from "./hash.js";
import { isRefusal, planNetwork, type Refusal } from "./network-plan.js";
import { Segments } from "./segments.js";
import type { EndpointView, LoadBalancerView, NetworkView, PortView } from "./views.js";

interface NetworkEntry {
  readonly input: NetworkInput;
  readonly state: { readonly view: NetworkView; readonly pool: AddressPool } | Refusal;
}

type Member =
  | { readonly kind: "Port"; readonly key: string; readonly input: PortInput }
  | { readonly kind: "NetworkFunction"; readonly key: string; readonly input: LoadBalancerInput };

/** Keys of objects whose view or refusal may have changed. */
export interface InventoryDelta {
  readonly networks: ReadonlySet<string>;
  readonly ports: ReadonlySet<string>;
  readonly functions: ReadonlySet<string>;
}

export class Inventory {
  readonly #segments = new Segments();
  readonly #networks = new Map<string, NetworkEntry>();
  readonly #members = new Map<string, Member>();
  readonly #byNetwork = new Map<string, Set<string>>();
  /** Outcome per owner; kept from change to change, so that allocations are stable. */
  readonly #outcomes = new Map<string, (Claim & { readonly pool: AddressPool }) | Refusal>();
  readonly #functionNumbers = new Map<string, number>();
  readonly #views = new Map<string, PortView>();
  readonly #functionViews = new Map<string, LoadBalancerView>();
  #dirtyNetworks = new Set<string>();
  #dirtyOwners = new Set<string>();
  #pendingNetworks = new Map<string, NetworkInput | undefined>();

  setNetwork(key: string, input: NetworkInput | undefined): void {
    this.#pendingNetworks.set(key, input);
  }

  setPort(key: string, input: PortInput | undefined): void {
    this.#setMember(`Port/${key}`, input === undefined ? undefined : { kind: "Port", key, input });
  }

  setFunction(key: string, input: LoadBalancerInput | undefined): void {
    const owner = `NetworkFunction/${key}`;
    this.#setMember(owner, input === undefined ? undefined : { kind: "NetworkFunction", key, input });
    if (input === undefined) this.#functionNumbers.delete(key);
  }

  network(key: string): NetworkView | Refusal | undefined {
    const state = this.#networks.get(key)?.state;
    if (state === undefined) return undefined;
    return isRefusal(state) ? state : state.view;
  }

  port(key: string): PortView | undefined {
    return this.#views.get(key);
  }

  get portCount(): number {
    return this.#views.size;
  }

  ports(): Iterable<PortView> {
    return this.#views.values();
  }

  portsOf(networkKey: string): PortView[] {
    return this.#membersOf(networkKey).flatMap((member) =>
      member.kind === "Port" ? (this.#views.get(member.key) ?? []) : [],
    );
  }

  function(key: string): LoadBalancerView | undefined {
    return this.#functionViews.get(key);
  }

  functionsOf(networkKey: string): LoadBalancerView[] {
    return this.#membersOf(networkKey).flatMap((member) =>
      member.kind === "NetworkFunction" ? (this.#functionViews.get(member.key) ?? []) : [],
    );
  }

  /** Why an object has no view; undefined when it has one or does not exist. */
  refusalOf(kind: Member["kind"], key: string): Refusal | undefined {
    const outcome = this.#outcomes.get(`${kind}/${key}`);
    return outcome !== undefined && isRefusal(outcome) ? outcome : undefined;
  }

  /** Brings views up to date with everything set since the last call. */
  settle(): InventoryDelta {
    this.#settleNetworks();
    for (const network of this.#dirtyNetworks) {
      for (const owner of this.#byNetwork.get(network) ?? []) this.#dirtyOwners.add(owner);
    }
    const networks = this.#dirtyNetworks;
    const owners = this.#dirtyOwners;
    this.#dirtyNetworks = new Set();
    this.#dirtyOwners = new Set();
    this.#allocate(owners);
    const touched = this.#refreshPorts(owners);
    return { networks, ports: touched.ports, functions: this.#refreshFunctions(owners, touched.networks) };
  }

  #setMember(owner: string, member: Member | undefined): void {
    const before = this.#members.get(owner);
    if (before !== undefined) this.#byNetwork.get(networkKeyOf(before))?.delete(owner);
    if (member === undefined) this.#members.delete(owner);
    else {
      this.#members.set(owner, member);
      const key = networkKeyOf(member);
      const owners = this.#byNetwork.get(key) ?? new Set();
      this.#byNetwork.set(key, owners.add(owner));
    }
    this.#dirtyOwners.add(owner);
  }

  #membersOf(networkKey: string): Member[] {
    return [...(this.#byNetwork.get(networkKey) ?? [])].flatMap((owner) => this.#members.get(owner) ?? []);
  }

  /** Networks with a number in their status come first, so that nobody new takes it. */
  #settleNetworks(): void {
    const pending = [...this.#pendingNetworks].sort(([a], [b]) => (a < b ? -1 : 1));
    this.#pendingNetworks = new Map();
    for (const [key, input] of pending) {
      this.#dirtyNetworks.add(key);
      if (input !== undefined) continue;
      this.#segments.release(key);
      this.#networks.delete(key);
    }
    const live = pending.flatMap(([key, input]) => (input === undefined ? [] : [{ key, input }]));
    const known = live.filter(({ input }) => input.segmentId !== undefined);
    const fresh = live.filter(({ input }) => input.segmentId === undefined);
    for (const { key, input } of [...known, ...fresh]) this.#networks.set(key, this.#enter(key, input));
  }

  #enter(key: string, input: NetworkInput): NetworkEntry {
    const plan = planNetwork(input);
    if (isRefusal(plan)) return { input, state: plan };
    const segmentId = this.#segments.acquire(key, input.vlan, input.segmentId);
    if (segmentId === undefined) {
      return { input, state: { reason: "SegmentsExhausted", message: "every segment number is taken" } };
    }
    const reserved = new Set([
      ...plan.dhcpAddresses,
      ...(plan.gateway === undefined ? [] : [plan.gateway]),
      ...plan.dnsServers,
    ]);
    const pool = new AddressPool(plan.subnets, reserved, plan.subnets6);
    for (const address of plan.dhcpAddresses) pool.claimAddress(address, `Network/${key}`);
    return {
      input,
      state: { pool, view: { key, segmentId, ...plan, dhcpMac: pool.chooseMac(`Network/${key}`) } },
    };
  }

  #allocate(owners: Set<string>): void {
    const previous = new Map<string, Claim>();
    for (const owner of [...owners]) this.#release(owner, previous, owners);
    const requests: ClaimRequest[] = [];
    for (const owner of owners) {
      const member = this.#members.get(owner);
      if (member === undefined) continue;
      const network = this.#networks.get(networkKeyOf(member));
      if (network === undefined || isRefusal(network.state)) {
        this.#outcomes.set(owner, refusalWithout(member, network !== undefined));
      } else requests.push(requestOf(owner, member, network.state.pool, previous.get(owner)));
    }
    const pools = new Map(requests.map((request) => [request.owner, request.pool]));
    for (const [owner, outcome] of settleClaims(requests)) {
      this.#outcomes.set(
        owner,
        isRefusal(outcome) ? outcome : { ...outcome, pool: pools.get(owner) as AddressPool },
      );
    }
  }

  /** Gives back what `owner` holds; whoever was refused on that network gets another chance. */
  #release(owner: string, previous: Map<string, Claim>, owners: Set<string>): void {
    const outcome = this.#outcomes.get(owner);
    this.#outcomes.delete(owner);
    const member = this.#members.get(owner);
    if (outcome === undefined || isRefusal(outcome)) return;
    previous.set(owner, outcome);
    for (const address of outcome.addresses) outcome.pool.releaseAddress(address, owner);
    for (const address of outcome.addresses6) outcome.pool.releaseAddress6(address, owner);
    outcome.pool.releaseMac(outcome.mac, owner);
    const network = member === undefined ? undefined : networkKeyOf(member);
    for (const [other, state] of this.#outcomes) {
      if (!isRefusal(state) || owners.has(other)) continue;
      const waiting = this.#members.get(other);
      if (waiting !== undefined && (network === undefined || networkKeyOf(waiting) === network))
        owners.add(other);
    }
  }

  #refreshPorts(owners: ReadonlySet<string>): { ports: Set<string>; networks: Set<string> } {
    const ports = new Set<string>();
    const networks = new Set<string>();
    for (const owner of owners) {
      if (!owner.startsWith("Port/")) continue;
      const key = owner.slice("Port/".length);
      const before = this.#views.get(key);
      const after = this.#portView(owner);
      ports.add(key);
      for (const view of [before, after]) if (view !== undefined) networks.add(view.network.key);
      if (after === undefined) this.#views.delete(key);
      else this.#views.set(key, after);
    }
    return { ports, networks };
  }

  #portView(owner: string): PortView | undefined {
    const member = this.#members.get(owner);
    const outcome = this.#outcomes.get(owner);
    if (member?.kind !== "Port" || outcome === undefined || isRefusal(outcome)) return undefined;
    const state = this.#networks.get(networkKeyOf(member))?.state;
    if (state === undefined || isRefusal(state)) return undefined;
    const { input } = member;
    return {
      key: member.key,
      namespace: input.namespace,
      virtualMachine: input.virtualMachine,
      network: state.view,
      mac: outcome.mac,
      addresses: outcome.addresses,
      addresses6: outcome.addresses6,
      labels: input.labels,
      namedPorts: input.namedPorts,
    };
  }

  #refreshFunctions(owners: ReadonlySet<string>, networks: ReadonlySet<string>): Set<string> {
    const functions = new Set<string>();
    for (const owner of owners) {
      if (owner.startsWith("NetworkFunction/")) functions.add(owner.slice("NetworkFunction/".length));
    }
    for (const network of networks) {
      for (const member of this.#membersOf(network)) {
        if (member.kind === "NetworkFunction") functions.add(member.key);
      }
    }
    for (const key of [...functions].sort()) {
      const view = this.#functionView(key);
      if (view === undefined) this.#functionViews.delete(key);
      else this.#functionViews.set(key, view);
    }
    return functions;
  }

  #functionView(key: string): LoadBalancerView | undefined {
    const owner = `NetworkFunction/${key}`;
    const member = this.#members.get(owner);
    const outcome = this.#outcomes.get(owner);
    if (member?.kind !== "NetworkFunction" || outcome === undefined || isRefusal(outcome)) return undefined;
    const state = this.#networks.get(networkKeyOf(member))?.state;
    if (state === undefined || isRefusal(state)) return undefined;
    const [address, probeAddress] = outcome.addresses as [number, number];
    return {
      key,
      number: this.#numberOf(key),
      network: state.view,
      address,
      mac: outcome.mac,
      probeAddress,
      targetPorts: member.input.targetPorts,
      endpoints: this.#endpointsOf(member.input, state.view.key),
    };
  }

  #endpointsOf(input: LoadBalancerInput, networkKey: string): EndpointView[] {
    const byName = new Map<string, EndpointView>();
    const ports = this.portsOf(networkKey).sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const port of ports) {
      const name = port.virtualMachine;
      const address = port.addresses[0];
      if (name === undefined || address === undefined || byName.has(name)) continue;
      if (!selects(input.selector, port.labels)) continue;
      byName.set(name, {
        port: port.key,
        name,
        address,
        mac: port.mac,
        draining: input.drain.includes(name),
      });
    }
    return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #numberOf(key: string): number {
    const current = this.#functionNumbers.get(key);
    if (current !== undefined) return current;
    const taken = new Set(this.#functionNumbers.values());
    let number = hash32(key) & 0xffffff;
    while (number === 0 || taken.has(number)) number = (number + 1) & 0xffffff;
    this.#functionNumbers.set(key, number);
    return number;
  }
}

function networkKeyOf(member: Member): string {
  return `${member.input.namespace}/${member.input.network}`;
}

function refusalWithout(member: Member, exists: boolean): Refusal {
  const name = member.input.network;
  return exists
    ? { reason: "NetworkNotReady", message: `network "${name}" has no valid configuration` }
    : {
        reason: "NetworkNotFound",
        message: `network "${name}" does not exist in namespace "${member.input.namespace}"`,
      };
}

function requestOf(
  owner: string,
  member: Member,
  pool: AddressPool,
  previous: Claim | undefined,
): ClaimRequest {
  return member.kind === "Port"
    ? portRequest(owner, member.input, pool, previous)
    : functionRequest(owner, member.input, pool, previous);
}
