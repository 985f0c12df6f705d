// Everything that `plinth up --check` proves, in order.
import { NETWORK_PROOFS } from "./network-proofs.js";
import { RESTART_PROOFS } from "./restart-proofs.js";
import { VOLUME_PROOFS } from "./volume-proofs.js";
import type { Proof } from "./world.js";

export type { Proof, Resource, World } from "./world.js";

export const PROOFS: readonly Proof[] = [...NETWORK_PROOFS, ...VOLUME_PROOFS, ...RESTART_PROOFS];

/** The short ones, which a normal start shows: they change nothing. */
export const GREETING_PROOFS: readonly Proof[] = NETWORK_PROOFS.slice(0, 5);
