// One direction of an FTP control connection: how far it has come, where its lines begin, and what is changed in it.
// Source: RFC 959, 5.3 (commands end with a line), RFC 9293. Thread: datapath worker. Hot: no.
import { StreamEdits } from "./stream-edits.js";

/** Line beginnings that are remembered, for segments that come again or out of order. */
const LINE_STARTS_MAX = 4;

export class FtpStream {
  readonly edits = new StreamEdits();
  /** One past the last octet that has passed, as sent; meaningless before the first. */
  end = 0;
  /** How far the other end has everything, as sent. */
  acknowledged = 0;
  #started = false;
  readonly #lineStarts = new Int32Array(LINE_STARTS_MAX);
  #lineCount = 0;

  /** The stream begins anew, its first octet being `first`. */
  begin(first: number): void {
    this.edits.clear();
    this.#lineCount = 0;
    this.end = first;
    this.acknowledged = first;
    this.#started = true;
    this.lineStartsAt(first);
  }

  /** `begin` unless it has begun. Who is met in the middle of a conversation is taken to begin a line. */
  meet(sequence: number): void {
    if (!this.#started) this.begin(sequence);
  }

  lineStartsAt(sequence: number): void {
    this.#lineStarts[this.#lineCount++ % LINE_STARTS_MAX] = sequence;
  }

  isLineStart(sequence: number): boolean {
    const known = Math.min(this.#lineCount, LINE_STARTS_MAX);
    for (let i = 0; i < known; i++) if (this.#lineStarts[i] === (sequence | 0)) return true;
    return false;
  }

  /** Octets up to `end` have passed. */
  advance(end: number): void {
    if (((end - this.end) | 0) > 0) this.end = end | 0;
    this.edits.advance(this.end);
  }

  acknowledge(acknowledged: number): void {
    if (((acknowledged - this.acknowledged) | 0) > 0) this.acknowledged = acknowledged | 0;
  }
}
