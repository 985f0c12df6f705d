// Text that is changed within one direction of a TCP stream, and what becomes of the numbers behind it.
//
//   as sent     …|10,0,0,1,5,1|\r\n…          edits lie apart, in the order of the stream; the newest EDITS_MAX are
//   as received …|192,0,2,1,5,1|\r\n…         remembered, older ones only as the sum of their differences
//
// Every number of the stream as sent has one in the stream as received, and the order stays. So it does not matter how
// the sender cuts a text into segments when it sends it again: each piece becomes the piece between the numbers of its
// ends. Inside an edit octet n stays octet n as far as the new text goes, and the last octet stays the last one.
// Invariant: received(sent) never decreases; received(sentOf(n)) ≤ n, so that nothing is taken for received that is not.
// Source: RFC 9293, 3.4 (sequence numbers); RFC 3022, 4.4 (FTP under translation). Pure; sequence numbers are Int32.

/** Edits that are remembered word for word, per direction. */
export const EDITS_MAX = 8;
/** An edit so far behind is forgotten whether or not its receiver has said that it has it: numbers wrap at 2^32. */
const REACH = 1 << 30;

interface Edit {
  /** Number of the first octet, as sent. */
  readonly at: number;
  /** Octets as sent. */
  readonly size: number;
  readonly text: Uint8Array;
}

export class StreamEdits {
  /** Octets that all forgotten edits have added. */
  #added = 0;
  readonly #edits: Edit[] = [];

  /** Nothing has ever been changed: numbers stay as they are. */
  get isPlain(): boolean {
    return this.#added === 0 && this.#edits.length === 0;
  }

  clear(): void {
    this.#added = 0;
    this.#edits.length = 0;
  }

  /**
   * From now on the `size` octets from `at` on, which no edit has touched and nothing behind which has passed, are
   * `text`. False when too many edits are still on their way; `acknowledged` is how far the receiver has everything.
   */
  add(at: number, size: number, text: Uint8Array, acknowledged: number): boolean {
    const [oldest] = this.#edits;
    if (this.#edits.length === EDITS_MAX && oldest !== undefined) {
      if (((acknowledged - oldest.at - oldest.size) | 0) < 0) return false;
      this.#forget();
    }
    this.#edits.push({ at: at | 0, size, text });
    return true;
  }

  /** The stream has come to `end`, as sent. */
  advance(end: number): void {
    for (let [oldest] = this.#edits; oldest !== undefined; [oldest] = this.#edits) {
      if (((end - oldest.at - oldest.size) | 0) <= REACH) return;
      this.#forget();
    }
  }

  #forget(): void {
    const oldest = this.#edits.shift() as Edit;
    this.#added = (this.#added + oldest.text.byteLength - oldest.size) | 0;
  }

  /** The number as its receiver sees it. */
  received(sent: number): number {
    let added = this.#added;
    for (const { at, size, text } of this.#edits) {
      const inside = (sent - at) | 0;
      if (inside <= 0) break;
      if (inside < size) return (at + added + insideReceived(inside, size, text.byteLength)) | 0;
      added += text.byteLength - size;
    }
    return (sent + added) | 0;
  }

  /** How far the sender's octets have come when its receiver has come to `received`. */
  sentOf(received: number): number {
    let added = this.#added;
    for (const { at, size, text } of this.#edits) {
      const inside = (received - at - added) | 0;
      if (inside <= 0) break;
      if (inside < text.byteLength) return (at + insideSent(inside, size, text.byteLength)) | 0;
      added += text.byteLength - size;
    }
    return (received - added) | 0;
  }

  /** Whether an edit touches the octets from `start` up to `end`, as sent. */
  touches(start: number, end: number): boolean {
    for (const { at, size } of this.#edits)
      if (((at - end) | 0) < 0 && ((at + size - start) | 0) > 0) return true;
    return false;
  }

  /** Writes what becomes of `payload`, whose first octet has the number `start`, to `to`; returns how much that is. */
  apply(payload: Uint8Array, start: number, to: Uint8Array): number {
    let read = 0;
    let written = 0;
    const plain = (count: number): void => {
      to.set(payload.subarray(read, read + count), written);
      read += count;
      written += count;
    };
    for (const { at, size, text } of this.#edits) {
      const before = (at - start) | 0;
      if (before >= payload.byteLength) break;
      if (before + size <= read) continue;
      if (before > read) plain(before - read);
      const end = Math.min(before + size, payload.byteLength);
      const from = insideReceived(read - before, size, text.byteLength);
      const piece = text.subarray(from, insideReceived(end - before, size, text.byteLength));
      to.set(piece, written);
      written += piece.byteLength;
      read = end;
    }
    plain(payload.byteLength - read);
    return written;
  }
}

/** Octets of the new text that stand for the first `inside` of `size`. */
function insideReceived(inside: number, size: number, textSize: number): number {
  if (inside >= size) return textSize;
  if (inside <= 0) return 0;
  return inside === size - 1 ? textSize - 1 : Math.min(inside, textSize - 1);
}

/** Octets of the old text that the first `inside` of the new one stand for. */
function insideSent(inside: number, size: number, textSize: number): number {
  if (inside >= textSize) return size;
  return inside === textSize - 1 ? size - 1 : Math.min(inside, Math.max(0, size - 2));
}
