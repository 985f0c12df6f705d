// Verdicts in memory that two threads share: the one that judges writes them (verdict-writer.ts), and one that takes frames
// in by a port reads them (verdict-reader.ts) and finishes those frames itself. All are of frames of that one port.
//
//   words  | header 32 | masks, 16 each | entry 0, 32 | entry 1 | …
//   header   0 published | 1 epoch | 2 masks | 16–25 factors of the hash
//   entry    0 serial | 1 mask | 2–10 words 1–9 of a row (burst-keys.ts) under it | 11 fate | 12 lane of the port |
//            13 bytes that fit | 14 lowers the TTL | 15 what becomes of the tag, or −1 |
//            16–18 mask and 19–21 value of the first words of the frame | 28 mask and 29 value of the tag
//            doubles at 22, 24, 26: packets, bytes and last use, which are the reader's
//
// An entry counts when its serial is one of 1 … published. Entries are only added. To take back what is published the
// writer sets `published` to 0 and waits until the reader is between two bursts (SlotBank.awaitPass): then nobody reads
// entries, and their counters are final. The next epoch begins with serial 1.
// Pure. Hot: yes (publishedHash, agrees).

export const PUBLISHED = 0;
export const EPOCH = 1;
export const MASK_COUNT = 2;
export const FACTORS_AT = 16;
export const MASKS_AT = 32;
export const MASK_WORDS = 16;
export const PUBLISHED_MASKS_MAX = 16;
export const ENTRIES_AT = MASKS_AT + MASK_WORDS * PUBLISHED_MASKS_MAX;
export const ENTRY_SHIFT = 5;

export const E_SERIAL = 0;
export const E_MASK = 1;
/** Word 1 of the row stands at E_ROW + 1. */
export const E_ROW = 1;
export const E_FATE = 11;
export const E_LANE = 12;
export const E_SIZE_MAX = 13;
export const E_LOWERS_TTL = 14;
/** TAG_*, or −1. */
export const E_TAG = 15;
export const E_REWRITE = 16;
export const E_TAG_MASK = 28;
export const E_TAG_VALUE = 29;
/** In doubles from the beginning of the entry. */
export const E_PACKETS = 11;
export const E_BYTES = 12;
export const E_USED_MS = 13;

export const FATE_DROP = 0;
export const FATE_OUTPUT = 1;
/** The frame is changed before it leaves. */
export const FATE_REWRITE = 2;

/** Entries that a key may stand in, side by side. */
export const PUBLISHED_WAYS = 4;
/** In word 4 of the row of a tagged frame, never in that of another; in the mask of every entry. */
export const ROW_TAGGED = 0x1000;

/** Bytes for so many entries, a power of two. */
export function publishedSize(entries: number): number {
  return 4 * (ENTRIES_AT + (entries << ENTRY_SHIFT));
}

export function entriesIn(memory: SharedArrayBuffer): number {
  return ((memory.byteLength >>> 2) - ENTRIES_AT) >>> ENTRY_SHIFT;
}

/** Of what the mask leaves of the row at `row`. */
export function publishedHash(words: Int32Array, maskId: number, rows: Int32Array, row: number): number {
  const mask = (MASKS_AT + maskId * MASK_WORDS) | 0;
  const even =
    Math.imul(rows[(row + 2) | 0]! & words[(mask + 2) | 0]!, words[FACTORS_AT + 2]!) +
    Math.imul(rows[(row + 4) | 0]! & words[(mask + 4) | 0]!, words[FACTORS_AT + 4]!) +
    Math.imul(rows[(row + 6) | 0]! & words[(mask + 6) | 0]!, words[FACTORS_AT + 6]!) +
    Math.imul(rows[(row + 8) | 0]! & words[(mask + 8) | 0]!, words[FACTORS_AT + 8]!);
  const odd =
    Math.imul(rows[(row + 1) | 0]! & words[(mask + 1) | 0]!, words[FACTORS_AT + 1]!) +
    Math.imul(rows[(row + 3) | 0]! & words[(mask + 3) | 0]!, words[FACTORS_AT + 3]!) +
    Math.imul(rows[(row + 5) | 0]! & words[(mask + 5) | 0]!, words[FACTORS_AT + 5]!) +
    Math.imul(rows[(row + 7) | 0]! & words[(mask + 7) | 0]!, words[FACTORS_AT + 7]!) +
    Math.imul(rows[(row + 9) | 0]! & words[(mask + 9) | 0]!, words[FACTORS_AT + 9]!);
  const hash = (even + odd + Math.imul(maskId + 1, 0x9e3779b1)) | 0;
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}

/** Whether what the mask leaves of the row is what the entry at `at` has. */
export function agrees(
  words: Int32Array,
  at: number,
  maskId: number,
  rows: Int32Array,
  row: number,
): boolean {
  const mask = (MASKS_AT + maskId * MASK_WORDS) | 0;
  const differs =
    ((rows[(row + 1) | 0]! & words[(mask + 1) | 0]!) ^ words[(at + E_ROW + 1) | 0]!) |
    ((rows[(row + 2) | 0]! & words[(mask + 2) | 0]!) ^ words[(at + E_ROW + 2) | 0]!) |
    ((rows[(row + 3) | 0]! & words[(mask + 3) | 0]!) ^ words[(at + E_ROW + 3) | 0]!) |
    ((rows[(row + 4) | 0]! & words[(mask + 4) | 0]!) ^ words[(at + E_ROW + 4) | 0]!) |
    ((rows[(row + 5) | 0]! & words[(mask + 5) | 0]!) ^ words[(at + E_ROW + 5) | 0]!) |
    ((rows[(row + 6) | 0]! & words[(mask + 6) | 0]!) ^ words[(at + E_ROW + 6) | 0]!) |
    ((rows[(row + 7) | 0]! & words[(mask + 7) | 0]!) ^ words[(at + E_ROW + 7) | 0]!) |
    ((rows[(row + 8) | 0]! & words[(mask + 8) | 0]!) ^ words[(at + E_ROW + 8) | 0]!) |
    ((rows[(row + 9) | 0]! & words[(mask + 9) | 0]!) ^ words[(at + E_ROW + 9) | 0]!);
  return differs === 0;
}
