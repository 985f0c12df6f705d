// Hashes over parts of the key, and choices made by them: for multipath and bundle.
// Source: ovs-actions(7), multipath and bundle. The hash itself is our own: which link a packet gets is not specified,
// only that it stays the same and that both directions share it where the fields are symmetric.
// Thread: datapath worker. Hot: yes.
import type { BundleAction, HashFields, MultipathAction } from "../../base/openflow/index.js";
import * as K from "./key.js";

/** By the number that stands in a program. */
export const HASH_FIELDS: readonly HashFields[] = [
  "eth_src",
  "symmetric_l4",
  "symmetric_l3l4",
  "symmetric_l3l4+udp",
  "nw_src",
  "nw_dst",
  "symmetric_l3",
];
export const LINK_ALGORITHMS: readonly MultipathAction["algorithm"][] = [
  "modulo_n",
  "hash_threshold",
  "hrw",
  "iter_hash",
];
export const MEMBER_ALGORITHMS: readonly BundleAction["algorithm"][] = ["active_backup", "hrw"];

const ETH_SRC = 0;
const SYMMETRIC_L4 = 1;
const SYMMETRIC_L3L4_UDP = 3;
const NW_SRC = 4;
const NW_DST = 5;
const MODULO_N = 0;
const HASH_THRESHOLD = 1;
const HRW = 2;
const ITERATIONS_MAX = 64;

function mix(hash: number, word: number): number {
  hash = Math.imul(hash ^ word, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

function finish(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** A number of 32 bits; `fields` indexes HASH_FIELDS. */
export function hashFields(fields: number, basis: number, key: Int32Array): number {
  let hash = mix(0x9747b28c, basis);
  if (fields === ETH_SRC) {
    hash = mix(hash, key[K.K_ETH_DST + 1]! & 0xffff);
    return finish(mix(hash, key[K.K_ETH_SRC_LOW]!));
  }
  if (fields === NW_SRC || fields === NW_DST) {
    const start = fields === NW_SRC ? K.K_SRC : K.K_DST;
    for (let i = 0; i < 4; i++) hash = mix(hash, key[start + i]!);
    return finish(hash);
  }
  if (fields === SYMMETRIC_L4) {
    // Both addresses side by side, so that exchanging them changes nothing.
    hash = mix(hash, (key[K.K_ETH_DST]! >>> 16) ^ (key[K.K_ETH_DST + 1]! & 0xffff));
    const destinationLow = (key[K.K_ETH_DST]! << 16) | (key[K.K_ETH_DST + 1]! >>> 16);
    hash = mix(hash, destinationLow ^ key[K.K_ETH_SRC_LOW]!);
    hash = mix(hash, key[K.K_TYPE_TCI]! & ~0xe000);
  }
  for (let i = 0; i < 4; i++) hash = mix(hash, key[K.K_SRC + i]! ^ key[K.K_DST + i]!);
  const protocol = key[K.K_IP]! >>> 24;
  const withPorts = protocol === 6 || protocol === 132 || (protocol === 17 && fields === SYMMETRIC_L3L4_UDP);
  if (fields <= SYMMETRIC_L3L4_UDP && fields >= SYMMETRIC_L4) hash = mix(hash, protocol);
  if (withPorts && fields >= SYMMETRIC_L4 && fields <= SYMMETRIC_L3L4_UDP)
    hash = mix(hash, (key[K.K_TP]! >>> 16) ^ (key[K.K_TP]! & 0xffff));
  return finish(hash);
}

/** A number of 32 bits of what `mask` leaves of the key. */
export function hashMasked(mask: Int32Array, basis: number, key: Int32Array): number {
  let hash = mix(0x9747b28c, basis);
  for (let i = 0; i < mask.length; i++) if (mask[i] !== 0) hash = mix(hash, key[i]! & mask[i]!);
  return finish(hash);
}

/** A link from 0 to `links` − 1; `algorithm` indexes LINK_ALGORITHMS, `argument` is iter_hash's modulus. */
export function chooseLink(
  algorithm: number,
  fields: number,
  basis: number,
  links: number,
  argument: number,
  key: Int32Array,
): number {
  const hash = hashFields(fields, basis, key);
  if (algorithm === MODULO_N) return hash % links;
  if (algorithm === HASH_THRESHOLD) return Math.floor((hash / 0x1_0000_0000) * links);
  if (algorithm === HRW) {
    let best = 0;
    let weightMax = -1;
    for (let link = 0; link < links; link++) {
      const weight = finish(mix(hash, link));
      if (weight <= weightMax) continue;
      weightMax = weight;
      best = link;
    }
    return best;
  }
  // Tries hashes of growing basis until one falls below the number of links, as far as it is worth it.
  const modulus = Math.max(links, argument >>> 0);
  for (let i = 0; i < ITERATIONS_MAX; i++) {
    const link = hashFields(fields, basis + i, key) % modulus;
    if (link < links) return link;
  }
  return hash % links;
}

/** How much `port` is wanted for `hash`, for the highest random weight. */
export function weigh(hash: number, port: number): number {
  return finish(mix(hash, port));
}
