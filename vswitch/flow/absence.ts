// Why a subtable has nothing for a packet, by as little of the packet's key as shows it. Who looks at less of a packet has
// a verdict for more packets: an access list for other addresses than those of the traffic need not make each conversation
// an entry of its own in the masked cache.
//
//   words of the mask:  link and pipeline ─► network ─► transport           (the stages)
//                       none with these?     nor with these?
//                                   ▲ none with such an address?  ▲ none with such a port?    (by the first bits)
//
// What is shown is noted (asked-values.ts), as what a subtable is asked is: a flow that comes ends the caches when it is
// one that was shown to be absent. Where this happens again and again, the subtable is asked its whole mask for a while,
// so that a table that changes all the time among the addresses of the traffic does not end all caches each time.
// Source: Pfaff et al., "The Design and Implementation of Open vSwitch", NSDI 2015, 5.3 and 5.4; classifier.h of Open
// vSwitch, "Staged Lookup" and "Prefix Tracking". Beyond that, prefixes are tracked for each subtable and each port.
// Thread: datapath worker. Hot: yes (shows), as long as packets come that the caches do not know.
import type { AskedValues } from "./asked-values.js";
import { HashCounts } from "./hash-counts.js";
import * as K from "./key.js";
import { ABSENCE_RESTS_FIRST, ABSENCE_RESTS_MAX } from "./limits.js";
import { PrefixSet } from "./prefix-set.js";

/** Words of the mask up to the end of a stage, and what flows have in them. */
class Stage {
  readonly counts = new HashCounts();
  readonly salt: number;
  readonly #words: Int32Array;
  readonly #mask: Int32Array;

  constructor(words: readonly number[], mask: Int32Array, salt: number) {
    this.#words = Int32Array.from(words);
    this.#mask = mask;
    this.salt = salt;
  }

  hash(key: Int32Array): number {
    const words = this.#words;
    let hash = 0;
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      hash = Math.imul(hash ^ (key[word]! & this.#mask[word]!), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash;
  }

  consult(consulted: Int32Array): void {
    consultWords(this.#words, this.#mask, consulted);
  }
}

/** A field whose mask is a prefix. */
class Prefix {
  readonly word: number;
  /** How far the field stands from the word's upper end. */
  readonly shift: number;
  readonly set = new PrefixSet();
  readonly salt: number;
  readonly #mask: number;
  /** Numbers of bits by which something was shown to be absent, as bits (1 in the lowest), and when that began. */
  #shown = 0;
  #stamp = 0;

  constructor(word: number, shift: number, mask: number, salt: number) {
    this.word = word;
    this.shift = shift;
    this.#mask = mask;
    this.salt = salt;
  }

  valueOf(key: Int32Array): number {
    return (key[this.word]! << this.shift) & this.#mask;
  }

  /** Notes that no flow has a value that begins with so many bits of this one. */
  note(value: number, bits: number, asked: AskedValues): void {
    if (this.#stamp !== asked.stamp) {
      this.#stamp = asked.stamp;
      this.#shown = 0;
    }
    this.#shown |= 1 << (bits - 1);
    asked.note(this.#hash(value, bits));
  }

  /** Whether the value may have been shown to be absent. */
  mayBeNoted(value: number, asked: AskedValues): boolean {
    if (this.#stamp !== asked.stamp) return false;
    // Where there is one with these bits in common, they have shown nothing.
    const first = this.set.bitsToTell(value);
    if (first === 0) return false;
    for (let left = this.#shown & (-1 << (first - 1)); left !== 0; left &= left - 1)
      if (asked.mayHave(this.#hash(value, 32 - Math.clz32(left & -left)))) return true;
    return false;
  }

  #hash(value: number, bits: number): number {
    let hash = Math.imul((value & firstBits(bits)) ^ this.salt, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ bits, 0x85ebca6b);
    return hash ^ (hash >>> 13);
  }
}

export class Absence {
  readonly #asked: AskedValues;
  /** What comes ahead of the network stage, and of that of transport; null where there is nothing, or nothing behind. */
  readonly #link: Stage | null;
  readonly #network: Stage | null;
  readonly #addresses: readonly Prefix[];
  readonly #ports: readonly Prefix[];
  /** Look-ups by the whole mask after the last flow that ended the caches, and still; below 0: since then by less. */
  #rests = 0;
  #left = 0;

  /** Of a subtable with this mask. */
  constructor(mask: Int32Array, asked: AskedValues) {
    this.#asked = asked;
    const words = [...mask.keys()].filter((word) => mask[word] !== 0);
    const link = words.filter((word) => stageOf(word) === LINK);
    const upToNetwork = words.filter((word) => stageOf(word) !== TRANSPORT);
    const isStage = (some: readonly number[], ahead: number): boolean =>
      some.length > ahead && some.length < words.length;
    this.#link = isStage(link, 0) ? new Stage(link, mask, asked.nextSalt()) : null;
    this.#network = isStage(upToNetwork, link.length) ? new Stage(upToNetwork, mask, asked.nextSalt()) : null;
    this.#addresses = ADDRESSES.flatMap((word) => prefixOf(word, 0, mask[word]!, asked));
    const ports = mask[K.K_TP]!;
    this.#ports = [
      ...prefixOf(K.K_TP, 0, ports & 0xffff0000, asked),
      ...prefixOf(K.K_TP, 16, ports << 16, asked),
    ];
  }

  /** Whether it is shown that no flow matches `key`. Then the bits that show it are in `consulted`, when given. */
  shows(key: Int32Array, consulted: Int32Array | null): boolean {
    if (this.#left > 0) {
      this.#left--;
      return false;
    }
    if (this.#rests !== 0 && --this.#left < -ABSENCE_RESTS_MAX) this.#rests = 0;
    return (
      this.#showsBy(this.#link, key, consulted) ||
      this.#showsByFirst(this.#addresses, key, consulted) ||
      this.#showsBy(this.#network, key, consulted) ||
      this.#showsByFirst(this.#ports, key, consulted)
    );
  }

  /** A flow comes that is the first with its match. Returns whether it may have been shown to be absent. */
  add(value: Int32Array): boolean {
    const isFelt = this.isFeltBy(value);
    const { length } = this.#addresses;
    this.#link?.counts.add(this.#link.hash(value));
    this.#network?.counts.add(this.#network.hash(value));
    for (let i = 0; i < length; i++) this.#addresses[i]!.set.add(this.#addresses[i]!.valueOf(value));
    for (let i = 0; i < this.#ports.length; i++) this.#ports[i]!.set.add(this.#ports[i]!.valueOf(value));
    if (!isFelt) return false;
    this.#rests = Math.min(ABSENCE_RESTS_MAX, 4 * this.#rests + ABSENCE_RESTS_FIRST);
    this.#left = this.#rests;
    return true;
  }

  /** The last flow with its match goes. */
  remove(value: Int32Array): void {
    const { length } = this.#addresses;
    this.#link?.counts.remove(this.#link.hash(value));
    this.#network?.counts.remove(this.#network.hash(value));
    for (let i = 0; i < length; i++) this.#addresses[i]!.set.remove(this.#addresses[i]!.valueOf(value));
    for (let i = 0; i < this.#ports.length; i++) this.#ports[i]!.set.remove(this.#ports[i]!.valueOf(value));
  }

  /** Whether a flow with this value may have been shown to be absent since the caches were made void. */
  isFeltBy(value: Int32Array): boolean {
    const asked = this.#asked;
    for (let i = 0; i < this.#addresses.length; i++) {
      const address = this.#addresses[i]!;
      if (address.mayBeNoted(address.valueOf(value), asked)) return true;
    }
    for (let i = 0; i < this.#ports.length; i++) {
      const port = this.#ports[i]!;
      if (port.mayBeNoted(port.valueOf(value), asked)) return true;
    }
    return this.#isFeltIn(this.#link, value) || this.#isFeltIn(this.#network, value);
  }

  #isFeltIn(stage: Stage | null, value: Int32Array): boolean {
    if (stage === null) return false;
    const hash = stage.hash(value);
    return !stage.counts.has(hash) && this.#asked.mayHave(hash ^ stage.salt);
  }

  #showsBy(stage: Stage | null, key: Int32Array, consulted: Int32Array | null): boolean {
    if (stage === null) return false;
    const hash = stage.hash(key);
    if (stage.counts.has(hash)) return false;
    this.#asked.note(hash ^ stage.salt);
    if (consulted !== null) stage.consult(consulted);
    return true;
  }

  /** By what was looked at anyway, or by the fewest bits. */
  #showsByFirst(prefixes: readonly Prefix[], key: Int32Array, consulted: Int32Array | null): boolean {
    let best: Prefix | null = null;
    let bestBits = 33;
    for (let i = 0; i < prefixes.length; i++) {
      const prefix = prefixes[i]!;
      const bits = prefix.set.bitsToTell(prefix.valueOf(key));
      if (bits === 0) continue;
      const needed = firstBits(bits) >>> prefix.shift;
      const isFree = consulted !== null && (consulted[prefix.word]! & needed) === (needed | 0);
      if (!isFree && bits >= bestBits) continue;
      best = prefix;
      bestBits = bits;
      if (isFree) break;
    }
    if (best === null) return false;
    best.note(best.valueOf(key), bestBits, this.#asked);
    if (consulted !== null)
      consulted[best.word] = consulted[best.word]! | (firstBits(bestBits) >>> best.shift);
    return true;
  }
}

/** ORs these words of the mask into `consulted`, in which options of tunnels have no place. */
export function consultWords(words: Int32Array, mask: Int32Array, consulted: Int32Array): void {
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word >= K.KEY_WORDS) return;
    consulted[word] = consulted[word]! | mask[word]!;
  }
}

const LINK = 0;
const NETWORK = 1;
const TRANSPORT = 2;
/** Words with addresses; of IPv6 each is looked at by itself. */
const ADDRESSES = [...Array(8).keys()].map((i) => K.K_DST + 3 - i);

function stageOf(word: number): number {
  if (word === K.K_TP || word === K.K_TCP_FLAGS || word === K.K_CT_TP) return TRANSPORT;
  if (word >= K.K_HARDWARE && word < K.K_PIPELINE) return TRANSPORT;
  if (word === K.K_IP || word === K.K_V6 || (word >= K.K_SRC && word < K.K_TCP_FLAGS)) return NETWORK;
  return word >= K.K_CT_SRC && word < K.K_CT_TP ? NETWORK : LINK;
}

/** The field in the upper bits of `mask`, which stands `shift` bits from the word's upper end; none without a prefix. */
function prefixOf(word: number, shift: number, mask: number, asked: AskedValues): Prefix[] {
  const length = Math.clz32(~mask);
  return length > 0 && (mask | 0) === firstBits(length)
    ? [new Prefix(word, shift, mask, asked.nextSalt())]
    : [];
}

/** 1 to 32 of them. */
function firstBits(bits: number): number {
  return -1 << (32 - bits);
}
