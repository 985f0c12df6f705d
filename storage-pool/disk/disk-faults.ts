// What was found wrong on a disk that is in use, whoever came upon it: reads, proofs, scrubs, the opening. Kept until all that
// the disk holds was looked through and was right, or made so. Thread: the pool's worker. Hot: no (only what is bad comes here).
import { SEGMENT_BLOCKS } from "../log/format.js";

/** Places that are remembered; beyond that they are only counted. */
const PLACES_MAX = 65_536;

export class DiskFaults {
  /** Blocks and headers found bad since the disk was opened, put right or not; one that is read again counts again. */
  foundCount = 0;
  /** Why its first 4 KiB are not what they were; "" when they are. */
  head = "";
  /** How long its file was when that was seen, and before: [0, 0] when it was not cut short. Bytes. */
  cut: readonly [seenBytes: number, wasBytes: number] = [0, 0];
  /** Put right since everything was looked through. */
  #mendedCount = 0;
  /** Slot × SEGMENT_BLOCKS + block of what is bad and was not put right. */
  #bad = new Set<number>();
  /** The same, found by the look that goes on. */
  #seen: Set<number> | undefined;

  /** A block, or a header, was bad; `mended`: it is written anew from what is good. */
  note(slot: number, block: number, mended: boolean): void {
    this.foundCount++;
    const place = slot * SEGMENT_BLOCKS + block;
    if (mended) {
      this.#mendedCount++;
      this.#bad.delete(place);
      this.#seen?.delete(place);
      return;
    }
    for (const places of [this.#bad, this.#seen]) {
      if (places !== undefined && places.size < PLACES_MAX) places.add(place);
    }
  }

  /** What was in a slot is not wanted any more. */
  forgetSlot(slot: number): void {
    for (const place of this.#bad) {
      if (Math.floor(place / SEGMENT_BLOCKS) !== slot) continue;
      this.#bad.delete(place);
      this.#seen?.delete(place);
    }
  }

  /** Everything on the disk is looked through from now on. */
  beginLook(): void {
    this.#seen = new Set();
  }

  /** Everything was, and what could be put right is right. */
  endLook(): void {
    if (this.#seen === undefined) return;
    this.#bad = this.#seen;
    this.#seen = undefined;
    this.#mendedCount = 0;
    this.cut = [0, 0];
  }

  /** What is wrong, for people; "" when nothing is known to be. */
  get text(): string {
    const parts: string[] = [];
    if (this.head !== "") parts.push(this.head);
    const [seenBytes, wasBytes] = this.cut;
    if (wasBytes > 0) parts.push(`its file was cut short: seen with ${seenBytes} bytes, of ${wasBytes}`);
    const { size } = this.#bad;
    if (size > 0)
      parts.push(
        `${counted(size)} on it ${size === 1 ? "is" : "are"} bad; a scrub puts right what has a good copy elsewhere`,
      );
    if (this.#mendedCount > 0) {
      const were = this.#mendedCount === 1 ? "was" : "were";
      parts.push(
        `${counted(this.#mendedCount)} on it ${were} bad and ${were} put right from other copies; a scrub looks at the others`,
      );
    }
    return parts.join("; ");
  }
}

function counted(count: number): string {
  const least = count === PLACES_MAX ? "at least " : "";
  return `${least}${count} block${count === 1 ? "" : "s"}`;
}
