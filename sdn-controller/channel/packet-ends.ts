// Who sent a packet and who was to get it, in names that people know. Pure.
import type { Compiler } from "../compiler.js";
import { formatIpAddress } from "../network/ip-address.js";
import { addressesOf, functionKeyOf, type PortView } from "../network/views.js";

/** Clients that one name tells. */
const CLIENTS_SHOWN = 4;

/** "namespace/machine", or the port where there is none. */
export function machineName({ key, namespace, virtualMachine }: PortView): string {
  return virtualMachine === undefined ? `port ${key}` : `${namespace}/${virtualMachine}`;
}

/**
 * Who is behind a switch port. What a load balancer passes on is its clients': with `address` the one that has it, else
 * all that share `identity`.
 */
export function endName(
  compiler: Compiler,
  ofport: number,
  client: { readonly identity?: number; readonly address?: string | undefined } = {},
): string {
  const port = compiler.portAt(ofport);
  if (port !== undefined) return machineName(port);
  const id = compiler.interfaceAt(ofport);
  const balancer = compiler.inventory.function(functionKeyOf(id ?? "") ?? "");
  if (balancer === undefined) return id ?? `port ${ofport}`;
  const through = `${balancer.key}[NetworkFunction]`;
  const alike = compiler.inventory
    .portsOf(balancer.network.key)
    .filter(({ key }) => compiler.policies.identityOf(key)?.number === client.identity);
  const exact = alike.filter((each) =>
    addressesOf(each).some((address) => formatIpAddress(address) === client.address),
  );
  const names = [...new Set((exact.length > 0 ? exact : alike).map(machineName))].sort();
  if (names.length === 0) return through;
  const more = names.length - CLIENTS_SHOWN;
  return `${names.slice(0, CLIENTS_SHOWN).join(", ")}${more > 0 ? ` and ${more} more` : ""} through ${through}`;
}
