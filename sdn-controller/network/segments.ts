// Segment numbers: one per network, never shared, kept from the status over a restart. Prefers the network's VLAN id,
// so that what an operator reads in a flow is what the user wrote. Invariant: 1–65535, at most one network each.
import { SEGMENT_ID_MAX, VLAN_MAX } from "../limits.js";

export class Segments {
  readonly #owners = new Map<number, string>();
  readonly #byNetwork = new Map<string, number>();

  /** The network's number; `wanted` (from its status) is kept when it is valid and free. Undefined when none is left. */
  acquire(network: string, vlan: number, wanted: number | undefined): number | undefined {
    const current = this.#byNetwork.get(network);
    if (current !== undefined) return current;
    const number = this.#isFree(wanted) ? wanted : this.#isFree(vlan) ? vlan : this.#lowestAboveVlans();
    if (number === undefined) return undefined;
    this.#owners.set(number, network);
    this.#byNetwork.set(network, number);
    return number;
  }

  release(network: string): void {
    const number = this.#byNetwork.get(network);
    if (number === undefined) return;
    this.#byNetwork.delete(network);
    this.#owners.delete(number);
  }

  #isFree(number: number | undefined): number is number {
    return (
      number !== undefined &&
      Number.isInteger(number) &&
      number >= 1 &&
      number <= SEGMENT_ID_MAX &&
      !this.#owners.has(number)
    );
  }

  #lowestAboveVlans(): number | undefined {
    for (let number = VLAN_MAX + 2; number <= SEGMENT_ID_MAX; number++) {
      if (!this.#owners.has(number)) return number;
    }
    return undefined;
  }
}
