// What is set per zone: how many connections it may have, and how long they are remembered.
// Source: ovs-dpctl(8) ct-set-limits; ovs-vswitchd.conf.db(5) CT_Zone and CT_Timeout_Policy. Thread: datapath worker.
// Hot: yes (limitOf, timeoutMs).
import { PlinthError } from "../../base/errors/index.js";
import type { FragmentCounters } from "./fragments.js";
import { TIMEOUT_POLICIES_MAX } from "./limits.js";
import { DEFAULT_TIMEOUTS_MS, TIMEOUT_NAMES } from "./timeouts.js";

const ZONES = 65_536;

/** A limit of 0 is none. */
export interface ZoneLimit {
  readonly zone: number;
  readonly limit: number;
}

/** Zones with time-outs of their own, in seconds, by the names of CT_Timeout_Policy. */
export interface ZoneTimeouts {
  readonly zone: number;
  readonly timeouts: Readonly<Record<string, number>>;
}

/** What may be set while connections are tracked; what is absent stays. */
export interface ConntrackSettings {
  readonly connectionsMax?: number;
  readonly checkSequence?: boolean;
  readonly defaultLimit?: number;
  readonly limits?: readonly ZoneLimit[];
  readonly deleteLimits?: readonly number[];
  /** All zones with time-outs of their own. */
  readonly timeouts?: readonly ZoneTimeouts[];
  readonly fragments?: FragmentSettings;
}

/** Of one IP version, or of both where none is named. */
export interface FragmentSettings {
  readonly version?: 4 | 6;
  readonly enabled?: boolean;
  /** Bytes, IP header and all; of a fragment that is not the last. */
  readonly sizeMin?: number;
  /** Held at most, of both versions. */
  readonly max?: number;
}

export interface FragmentStatus {
  readonly enabled: boolean;
  readonly sizeMin: number;
  readonly counters: Readonly<FragmentCounters>;
}

/** A datagram of which fragments are held. */
export interface FragmentListInfo {
  readonly ipv6: boolean;
  /** As text. */
  readonly source: string;
  readonly destination: string;
  readonly identification: number;
  readonly zone: number;
  /** 0 for IPv6. */
  readonly protocol: number;
  readonly count: number;
  readonly state: "open" | "first frag" | "last frag" | "first/last frag";
}

export interface ConntrackStatus {
  readonly fragmentLists: readonly FragmentListInfo[];
  readonly fragmentsMax: number;
  readonly fragmentsHeld: number;
  /** IPv4, IPv6. */
  readonly fragments: readonly [FragmentStatus, FragmentStatus];
  readonly connections: number;
  readonly connectionsMax: number;
  readonly checkSequence: boolean;
  readonly defaultLimit: number;
  readonly limits: readonly (ZoneLimit & { readonly count: number })[];
}

export class Zones {
  /** Of zones without one of their own; 0 = none. */
  defaultLimit = 0;
  /** −1: the default. */
  readonly #limits = new Float64Array(ZONES).fill(-1);
  readonly #policyOf = new Uint16Array(ZONES);
  #policies: Float64Array[] = [DEFAULT_TIMEOUTS_MS];

  /** Connections that the zone may have; 0 = no limit. */
  limitOf(zone: number): number {
    const limit = this.#limits[zone]!;
    return limit < 0 ? this.defaultLimit : limit;
  }

  timeoutMs(zone: number, state: number): number {
    return this.#policies[this.#policyOf[zone]!]![state]!;
  }

  setLimit(zone: number, limit: number): void {
    this.#limits[zone] = limit;
  }

  /** The zone has the default again. */
  deleteLimit(zone: number): void {
    this.#limits[zone] = -1;
  }

  /** Zones with a limit of their own, by number. */
  limits(): ZoneLimit[] {
    const all: ZoneLimit[] = [];
    for (let zone = 0; zone < ZONES; zone++) {
      const limit = this.#limits[zone]!;
      if (limit >= 0) all.push({ zone, limit });
    }
    return all;
  }

  /** These zones and no others have time-outs of their own. Throws TOO_MANY_TIMEOUT_POLICIES. */
  setTimeouts(all: readonly ZoneTimeouts[]): void {
    if (all.length >= TIMEOUT_POLICIES_MAX)
      throw new PlinthError(
        "TOO_MANY_TIMEOUT_POLICIES",
        `${all.length} zones with time-outs of their own; at most ${TIMEOUT_POLICIES_MAX - 1}`,
      );
    this.#policyOf.fill(0);
    this.#policies = [DEFAULT_TIMEOUTS_MS];
    for (let i = 0; i < all.length; i++) {
      const { zone, timeouts } = all[i]!;
      this.#policyOf[zone] = this.#policies.length;
      this.#policies.push(policyOf(timeouts));
    }
  }
}

function policyOf(seconds: Readonly<Record<string, number>>): Float64Array {
  return DEFAULT_TIMEOUTS_MS.map((standard, state) => {
    const chosen = seconds[TIMEOUT_NAMES[state] as string];
    return chosen === undefined ? standard : chosen * 1000;
  });
}
