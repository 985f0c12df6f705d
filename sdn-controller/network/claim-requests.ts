// What ports and functions ask of their network, from the text that users wrote. Pure.

import { tryParseIpv4Address } from "../../base/wire/index.js";
import type { LoadBalancerInput, PortInput } from "../inputs.js";
import type { AddressPool } from "./address-pool.js";
import type { Claim, ClaimRequest } from "./claims.js";
import { tryParseIpAddress, tryParseIpv6Address } from "./ip-address.js";
import { parseMac } from "./mac.js";

/** `previous` is what the port held until now; failing that its status says what it held before a restart. */
export function portRequest(
  owner: string,
  input: PortInput,
  pool: AddressPool,
  previous: Claim | undefined,
): ClaimRequest {
  const asked = input.addresses ?? [];
  const addresses = asked.flatMap((text) => tryParseIpv4Address(text) ?? []);
  const addresses6 = asked.flatMap((text) => (text.includes(":") ? (tryParseIpv6Address(text) ?? []) : []));
  const mac = input.macAddress === undefined ? undefined : parseMac(input.macAddress);
  const bad =
    asked.find((text) => tryParseIpAddress(text) === undefined) ??
    (input.macAddress !== undefined && mac === undefined ? input.macAddress : undefined);
  const before = input.allocated;
  return {
    owner,
    pool,
    ...(bad === undefined ? {} : { invalid: `"${bad}" is not an address` }),
    mac,
    addresses,
    addresses6,
    extraCount: addresses.length === 0 ? 1 : 0,
    previousMac: previous?.mac ?? parseMac(before?.macAddress ?? ""),
    previousAddresses:
      previous?.addresses ?? (before?.addresses ?? []).flatMap((text) => tryParseIpv4Address(text) ?? []),
  };
}

/** The virtual address, and one to choose for probes. */
export function functionRequest(
  owner: string,
  input: LoadBalancerInput,
  pool: AddressPool,
  previous: Claim | undefined,
): ClaimRequest {
  const address = tryParseIpv4Address(input.address);
  const probe = tryParseIpv4Address(input.allocated?.probeAddress ?? "");
  return {
    owner,
    pool,
    ...(address === undefined ? { invalid: `"${input.address}" is not an address` } : {}),
    mac: undefined,
    addresses: address === undefined ? [] : [address],
    addresses6: [],
    extraCount: 1,
    previousMac: previous?.mac ?? parseMac(input.allocated?.macAddress ?? ""),
    previousAddresses: previous?.addresses ?? [
      ...(address === undefined ? [] : [address]),
      ...(probe === undefined ? [] : [probe]),
    ],
  };
}
