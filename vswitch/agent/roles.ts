// The roles of all controller connections of one bridge: at most one master, stale elections refused.
// Source: OpenFlow Switch Specification 1.3.5, 6.3.5 and 7.3.9.

import type { ControllerRole } from "../../base/openflow/index.js";

/** A connection as far as roles are concerned. */
export interface RoleHolder {
  role: Exclude<ControllerRole, "nochange">;
  /** It was the master, and another one is now. */
  onDemoted?(): void;
}

/** What a role reply carries while no election has been seen. */
export const NO_GENERATION = 0xffffffffffffffffn;

export class Roles {
  readonly #holders = new Set<RoleHolder>();
  #generationId: bigint | undefined;

  get generationId(): bigint {
    return this.#generationId ?? NO_GENERATION;
  }

  join(holder: RoleHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: RoleHolder): void {
    this.#holders.delete(holder);
  }

  /**
   * Gives `holder` the role it asks for; a new master makes the old one a slave. False = refused as stale:
   * `generationId` is older than the newest seen (as a signed distance, so that it may wrap around).
   */
  request(holder: RoleHolder, role: ControllerRole, generationId: bigint): boolean {
    if (role === "nochange") return true;
    if (role === "master" || role === "slave") {
      const newest = this.#generationId;
      if (newest !== undefined && BigInt.asIntN(64, generationId - newest) < 0n) return false;
      this.#generationId = generationId;
    }
    this.assign(holder, role);
    return true;
  }

  /** The same without an election. */
  assign(holder: RoleHolder, role: RoleHolder["role"]): void {
    if (role === "master") {
      for (const other of this.#holders) {
        if (other === holder || other.role !== "master") continue;
        other.role = "slave";
        other.onDemoted?.();
      }
    }
    holder.role = role;
  }
}
