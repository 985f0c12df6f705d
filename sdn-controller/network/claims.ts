// What a port or function asks of its network, and how a batch of such claims is settled: what was had before is kept,
// then explicit requests are served, then the rest is chosen. Pure apart from the pools it is given.

import { formatIpv4Address } from "../../base/wire/index.js";
import type { AddressPool } from "./address-pool.js";
import { autoconfiguredOf, formatIpAddress, ipv6 } from "./ip-address.js";
import { formatMac, isUnicastMac } from "./mac.js";
import type { Refusal } from "./network-plan.js";

export interface ClaimRequest {
  readonly owner: string;
  readonly pool: AddressPool;
  /** Text that could not be understood, if any: the claim is refused. */
  readonly invalid?: string;
  readonly mac: number | undefined;
  /** Addresses asked for; empty = choose one. */
  readonly addresses: readonly number[];
  /** Addresses of IPv6 asked for, besides those that the machine forms itself. */
  readonly addresses6: readonly bigint[];
  /** How many more addresses to choose besides those asked for. */
  readonly extraCount: number;
  readonly previousMac: number | undefined;
  readonly previousAddresses: readonly number[];
}

export interface Claim {
  readonly mac: number;
  /** Those asked for in their order, then the chosen ones. */
  readonly addresses: readonly number[];
  /** One formed from the MAC for each subnet of IPv6, then those asked for. */
  readonly addresses6: readonly bigint[];
}

/** Settles all requests at once; the result does not depend on their order. */
export function settleClaims(requests: readonly ClaimRequest[]): Map<string, Claim | Refusal> {
  const ordered = [...requests].sort((a, b) => (a.owner < b.owner ? -1 : 1));
  for (const request of ordered) keepPrevious(request);
  const refused = new Map<string, Refusal>();
  for (const request of ordered) {
    const refusal = claimRequested(request);
    if (refusal !== undefined) {
      releaseAll(request);
      refused.set(request.owner, refusal);
    }
  }
  const settled = new Map<string, Claim | Refusal>(refused);
  for (const request of ordered) {
    if (!refused.has(request.owner)) settled.set(request.owner, choose(request));
  }
  return settled;
}

function keepPrevious(request: ClaimRequest): void {
  const { pool, owner } = request;
  const mac = request.previousMac;
  if (mac !== undefined && isUnicastMac(mac) && (request.mac ?? mac) === mac) pool.claimMac(mac, owner);
  const asked = request.addresses;
  for (const address of asked)
    if (request.previousAddresses.includes(address)) pool.claimAddress(address, owner);
  for (const address of previousExtras(request)) {
    if (pool.isHostAddress(address)) pool.claimAddress(address, owner);
  }
}

function previousExtras(request: ClaimRequest): number[] {
  return request.previousAddresses
    .filter((address) => !request.addresses.includes(address))
    .slice(0, request.extraCount);
}

function claimRequested(request: ClaimRequest): Refusal | undefined {
  const { pool, owner, mac } = request;
  if (request.invalid !== undefined) return { reason: "InvalidAddress", message: request.invalid };
  if (mac !== undefined) {
    if (!isUnicastMac(mac))
      return { reason: "InvalidAddress", message: `${formatMac(mac)} is not a unicast MAC address` };
    if (!pool.claimMac(mac, owner)) return inUse(formatMac(mac), pool.macOwner(mac));
  }
  for (const address of request.addresses) {
    if (!pool.isHostAddress(address)) {
      return {
        reason: "InvalidAddress",
        message: `${formatIpv4Address(address)} is not a host address of the network's subnets`,
      };
    }
    if (!pool.claimAddress(address, owner))
      return inUse(formatIpv4Address(address), pool.addressOwner(address));
  }
  for (const address of request.addresses6) {
    const text = formatIpAddress(ipv6(address));
    if (!pool.isHostAddress6(address))
      return { reason: "InvalidAddress", message: `${text} is not a host address of the network's subnets` };
    if (!pool.claimAddress6(address, owner)) return inUse(text, pool.addressOwner(address));
  }
  return undefined;
}

function inUse(what: string, owner: string | undefined): Refusal {
  return { reason: "AddressInUse", message: `${what} belongs to ${owner ?? "another"}` };
}

function choose(request: ClaimRequest): Claim | Refusal {
  const { pool, owner } = request;
  const addresses = [...request.addresses];
  const extras = previousExtras(request).filter((address) => pool.addressOwner(address) === owner);
  for (let i = 0; i < request.extraCount; i++) {
    const address = extras[i] ?? pool.chooseAddress(owner);
    if (address === undefined) {
      releaseAll(request);
      return { reason: "AddressesExhausted", message: "no address is free in the network's subnets" };
    }
    addresses.push(address);
  }
  const previous = request.previousMac;
  const kept = previous !== undefined && pool.macOwner(previous) === owner ? previous : undefined;
  const mac = request.mac ?? kept ?? pool.chooseMac(owner);
  // What somebody else asked for stays theirs: the machine that forms it, too, cannot use it.
  const formed = pool.subnets6
    .map((subnet) => autoconfiguredOf(subnet, mac))
    .filter((address) => pool.claimAddress6(address, owner));
  return { mac, addresses, addresses6: [...new Set([...formed, ...request.addresses6])] };
}

function releaseAll(request: ClaimRequest): void {
  const { pool, owner } = request;
  for (const address of [...request.addresses, ...request.previousAddresses])
    pool.releaseAddress(address, owner);
  for (const address of request.addresses6) pool.releaseAddress6(address, owner);
  for (const mac of [request.mac, request.previousMac]) if (mac !== undefined) pool.releaseMac(mac, owner);
}
