// Rings of a connection that another thread works on for a while. The thread that has the connection lends them, with
// everything that is needed to work on them, and gets them back before anything of it may change.
//
//   back-end that has the connection            other thread (lent-rings.ts)
//   lendRings() ──────── RingLoan ───────────►  LentRings: maps the memory itself, works on the rings
//   before any change: RingLender.recall() ──►  gives back, and says where each ring goes on
//
// Descriptors stay those of the lender; both threads are of one process. Source: as vhost-user-backend.ts. Pure.
import type { RingAddresses } from "./vhost-user-effects.js";
import type { VhostUserRegion } from "./vhost-user-wire.js";

export interface LentRing {
  readonly index: number;
  readonly size: number;
  /** Where it goes on: as Virtqueue.base. */
  readonly base: number;
  readonly addresses: RingAddresses;
  /** −1: there is none. */
  readonly kickFd: number;
  readonly callFd: number;
}

export interface RingLoan {
  /** What the driver chose. */
  readonly features: bigint;
  readonly allowUnsealed: boolean;
  readonly regions: readonly { readonly region: VhostUserRegion; readonly fd: number }[];
  readonly rings: readonly LentRing[];
}

/** Who gets rings back for the one that lent them. */
export interface RingLender {
  /** Returns when nobody works on the rings any more; false: whoever did has ended in the middle of it. */
  recall(): boolean;
  /** After recall(): where the ring goes on, and whether its driver broke it. */
  base(ring: number): number;
  isBroken(ring: number): boolean;
}
