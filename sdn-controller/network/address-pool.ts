// Who owns which address and MAC on one network. Deterministic: the lowest free address, a MAC hashed from the owner's
// name; nothing is remembered beyond what the owners claim, so a restart that claims the same gets the same.
// Invariant: an address or MAC has at most one owner; network, broadcast and reserved addresses are never handed out.
import { hash32 } from "./hash.js";
import { type IpPrefix, ipPrefixContains, ipv6 } from "./ip-address.js";
import { lastAddressOf, type Prefix, prefixContains } from "./ipv4.js";

/** Locally administered, unicast (IEEE 802-2014, 8.4); four hashed octets follow. */
const MAC_PREFIX = 0x0250 * 2 ** 32;

export class AddressPool {
  /** Nothing is chosen in these: a machine forms its own address. */
  readonly subnets6: readonly IpPrefix[];
  readonly #subnets: readonly Prefix[];
  readonly #reserved: ReadonlySet<number>;
  readonly #addresses = new Map<number, string>();
  readonly #addresses6 = new Map<bigint, string>();
  readonly #macs = new Map<number, string>();
  /** Per subnet: no address below it is free. */
  readonly #lowest: number[];

  /** `reserved` addresses can be claimed by request but are never chosen. */
  constructor(subnets: readonly Prefix[], reserved: ReadonlySet<number>, subnets6: readonly IpPrefix[] = []) {
    this.subnets6 = subnets6;
    this.#subnets = subnets;
    this.#reserved = reserved;
    this.#lowest = subnets.map((subnet) => subnet.address + 1);
  }

  /** Whether the address is a host's address of one of the subnets. */
  isHostAddress(address: number): boolean {
    return this.#subnets.some(
      (subnet) =>
        prefixContains(subnet, address) && address !== subnet.address && address !== lastAddressOf(subnet),
    );
  }

  /** Whether a machine may have it: in one of the subnets, and not the anycast address of routers (RFC 4291, 2.6.1). */
  isHostAddress6(address: bigint): boolean {
    return this.subnets6.some(
      (subnet) => ipPrefixContains(subnet, ipv6(address)) && address !== subnet.address,
    );
  }

  addressOwner(address: number | bigint): string | undefined {
    return typeof address === "bigint" ? this.#addresses6.get(address) : this.#addresses.get(address);
  }

  macOwner(mac: number): string | undefined {
    return this.#macs.get(mac);
  }

  /** False when another owner has it. */
  claimAddress(address: number, owner: string): boolean {
    const current = this.#addresses.get(address);
    if (current !== undefined) return current === owner;
    this.#addresses.set(address, owner);
    return true;
  }

  claimAddress6(address: bigint, owner: string): boolean {
    const current = this.#addresses6.get(address);
    if (current === undefined) this.#addresses6.set(address, owner);
    return current === undefined || current === owner;
  }

  releaseAddress6(address: bigint, owner: string): void {
    if (this.#addresses6.get(address) === owner) this.#addresses6.delete(address);
  }

  claimMac(mac: number, owner: string): boolean {
    const current = this.#macs.get(mac);
    if (current !== undefined) return current === owner;
    this.#macs.set(mac, owner);
    return true;
  }

  /** The lowest free address, now claimed; undefined when every subnet is full. */
  chooseAddress(owner: string): number | undefined {
    for (const [index, subnet] of this.#subnets.entries()) {
      const last = lastAddressOf(subnet);
      let address = this.#lowest[index] as number;
      while (address < last && this.#addresses.has(address)) address++;
      this.#lowest[index] = address;
      while (address < last && (this.#addresses.has(address) || this.#reserved.has(address))) address++;
      if (address >= last) continue;
      this.#addresses.set(address, owner);
      return address;
    }
    return undefined;
  }

  chooseMac(owner: string): number {
    let low = hash32(owner);
    while (this.#macs.has(MAC_PREFIX + low)) low = (low + 1) >>> 0;
    this.#macs.set(MAC_PREFIX + low, owner);
    return MAC_PREFIX + low;
  }

  releaseAddress(address: number, owner: string): void {
    if (this.#addresses.get(address) !== owner) return;
    this.#addresses.delete(address);
    this.#subnets.forEach((subnet, index) => {
      if (prefixContains(subnet, address)) {
        this.#lowest[index] = Math.min(this.#lowest[index] as number, address);
      }
    });
  }

  releaseMac(mac: number, owner: string): void {
    if (this.#macs.get(mac) === owner) this.#macs.delete(mac);
  }
}
